"""Read data sets of peers: the same values as pydicom, without its memory and recursion."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pyconquest_rules.network.elements import Unreadable, elements, items

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SEQUENCE, UNDEFINED = struct.pack("<HH2sHI", 8, 0x1199, b"SQ", 0, 0xFFFFFFFF), 0xFFFFFFFF
ITEM, ITEM_END, END = (
    struct.pack("<HHI", 0xFFFE, number, length) for number, length in ((0xE000, UNDEFINED), (0xE00D, 0), (0xE0DD, 0))
)


def written(data: Dataset, syntax: str, *, delimited: bool) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = syntax == IMPLICIT, True
    for element in data:
        if element.VR == "SQ":
            element.is_undefined_length = delimited
            for item in element.value:
                item.is_undefined_length_sequence_item = delimited
    write_dataset(file, data)
    return bytes(file.getvalue())


@pytest.mark.parametrize("delimited", [False, True])
@pytest.mark.parametrize("agreed", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_values_and_items_equal_those_of_pydicom(syntax: str, agreed: str, delimited: bool) -> None:
    """Also if the node answers in the other transfer syntax than negotiated."""
    data = Dataset()
    data.PatientID, data.TransactionUID = "P1", "1.2"
    data.ReferencedSOPSequence = [Dataset(), Dataset()]
    for number, item in enumerate(data.ReferencedSOPSequence):
        item.ReferencedSOPInstanceUID = f"1.2.{number}"
    found = elements(written(data, syntax, delimited=delimited), agreed)
    assert bytes(found[0x00100020]) == b"P1"
    uids = [bytes(item[0x00081155]).rstrip(b"\0") for item in items(found[0x00081199], syntax)]
    assert uids == [b"1.2.0", b"1.2.1"]


@pytest.mark.parametrize("depth", [1, 1000, 30_000])
def test_nesting_costs_no_memory(depth: int) -> None:
    data = (SEQUENCE + ITEM) * depth + (ITEM_END + END) * depth + struct.pack("<HH2sH", 0x10, 0x20, b"LO", 2) + b"P1"
    assert bytes(elements(data, EXPLICIT)[0x00100020]) == b"P1"
    assert len(list(items(elements(data, EXPLICIT)[0x00081199], EXPLICIT))) == 1


@pytest.mark.parametrize(
    "data",
    [b"\x10", b"\x10\0\x20\0LO\xff\0P", SEQUENCE + ITEM, SEQUENCE * 1000, (SEQUENCE + ITEM) * 10_000, ITEM_END * 3],
    ids=["a byte", "a long value", "an open item", "open sequences", "deep and open", "delimiters"],
)
def test_a_truncated_data_set_is_unreadable(data: bytes) -> None:
    with suppress(Unreadable):
        assert 0x00100020 not in elements(data, EXPLICIT)


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_any_bytes_are_read_or_unreadable(data: bytes, syntax: str) -> None:
    with suppress(Unreadable):
        for value in elements(data, syntax).values():
            list(items(value, syntax))
