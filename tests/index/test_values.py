import csv
import os
import re
import struct
from codecs import lookup
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import CODES_TO_ENCODINGS, convert_encodings, decode_bytes, python_encoding
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from pyconquest_rules.dicom import TagPath, tags
from pyconquest_rules.headers.charsets import BY_ESCAPE, CODECS, charset
from pyconquest_rules.headers.elements import LONG_VRS, SHORT_VRS
from pyconquest_rules.headers.header import Wanted, read
from pyconquest_rules.headers.opening import Reason, Rejected
from pyconquest_rules.headers.values import CHARSET_VRS, LIMIT, MOST_NUMBERS, NUMBERS, TooLong, text
from pyconquest_rules.index.store.records import stored

LATIN_1 = charset(b"ISO_IR 100")
UTF_8 = charset(b"ISO_IR 192")


@pytest.mark.parametrize(
    ("raw", "vr", "expected"),
    [
        (b"", "LO", None),
        (b"   ", "LO", ""),
        (b"\0", "UI", ""),
        (b"  P1 \0 ", "LO", "  P1"),
        (b"doe^JANE=x=y", "PN", "doe^JANE=x=y"),
        (b"DERIVED \\PRIMARY\\AXIAL ", "CS", "DERIVED \\PRIMARY\\AXIAL"),
        (b"+007", "IS", "+007"),
        (b"1.50\\ 2e1 ", "DS", "1.50\\ 2e1"),
        (b"NaN", "IS", "NaN"),
        (b"a\0b", "LO", "a\ufffdb"),
        (b"\1\0\2\0", "US", "1\\2"),
        (b"\xff\xff", "SS", "-1"),
        (b"\1\0\0", "US", "1"),
        (b"\1", "US", ""),
        (struct.pack("<f", 0.1), "FL", "0.1000000014901161"),
        (struct.pack("<d", 1 / 3), "FD", "0.3333333333333333"),
        (struct.pack("<2d", float("nan"), float("-inf")), "FD", "nan\\-inf"),
        (b"\x08\0\x18\0\x10\0\xff\xab", "AT", "(0008,0018)\\(0010,ABFF)"),
        (b"\1\2", "OB", None),
        (b"private text ", "UN", "private text"),
        (b"\1\2", "UN", None),
        (b"caf\xe9", "UN", None),
    ],
)
def test_text(raw: bytes, vr: str, expected: str | None) -> None:
    assert text(raw, vr, True, LATIN_1) == expected


def test_numbers_of_big_endian() -> None:
    assert text(b"\0\1\0\2", "US", False, LATIN_1) == "1\\2"


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        (b"", b"M\xfcller", "Müller"),
        (b"ISO_IR 100", b"M\xfcller", "Müller"),
        (b"ISO-IR 100 ", b"M\xfcller", "Müller"),
        (b"iso_ir 192\\", "Müller".encode(), "Müller"),
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller"),
        (b"GB18030", "\u4e5f\\\u6d1e".encode("gb18030"), "\u4e5f\\\u6d1e"),
        (b"../../etc", b"M\xfcller", "Müller"),
        (b"zip", b"x", "x"),
        (b"", "山".encode("iso2022_jp"), "山"),
        (b"", b"\x1b-Fa\xc4\\M\xfcller", "aΔ\\Müller"),
        (b"", b"\x1b[31mred", "\x1b[31mred"),
    ],
)
def test_character_sets(name: bytes, raw: bytes, expected: str) -> None:
    assert text(raw, "LO", True, charset(name)) == expected


def test_a_character_set_applies_only_to_its_vrs() -> None:
    assert text("Ü".encode(), "LO", True, UTF_8) == "Ü"
    assert text("Ü".encode(), "CS", True, UTF_8) == "Ã\x9c"


@pytest.mark.parametrize("vr", ["UT", "US", "FD", "AT", "UN"])
def test_a_text_is_complete_or_none(vr: str) -> None:
    size = MOST_NUMBERS if vr in NUMBERS else LIMIT
    assert len(text(b"1" * size, vr, True, LATIN_1) or "") >= size // 8
    with pytest.raises(TooLong):
        text(b"1" * (size + 8), vr, True, LATIN_1)


@given(
    st.binary(max_size=80),
    st.sampled_from(["PN", "LO", "CS", "UN", "US", "FD", "AT", "SV"]),
    st.sampled_from(sorted(CODECS.values())),
)
def test_any_bytes_become_a_text_that_a_database_can_store(raw: bytes, vr: str, codec: str) -> None:
    found = text(raw.replace(b"!", b"\x1b$B"), vr, True, codec)
    assert found is None or "\0" not in found.encode().decode()


@pytest.mark.parametrize(
    ("full", "dicom_type", "sql_type", "length", "expected"),
    [
        (None, "DT_STR", "SQL_C_CHAR", 16, None),
        ("", "DT_STR", "SQL_C_CHAR", 16, ""),
        ("abc", "DT_STR", "SQL_C_CHAR", 2, "ab"),
        ("a b", "DT_STR", "SQL_C_CHAR", 2, "a"),
        ("  a", "DT_STR", "SQL_C_CHAR", 3, "  a"),
        ("Jérôme", "DT_STR", "SQL_C_CHAR", 2, "J"),
        ("Jérôme", "DT_STR", "SQL_C_CHAR", 3, "Jé"),
        ("a\\b", "DT_MSTR", "SQL_C_CHAR", 16, "a\\b"),
        ("128\\64", "DT_UINT16", "SQL_C_CHAR", 5, "128"),
        ("0.5\\2", "DT_FD", "SQL_C_CHAR", 16, "0.5"),
        ("19970430", "DT_DATE", "SQL_C_DATE", 8, "19970430"),
        ("1997.04.30", "DT_DATE", "SQL_C_DATE", 8, "199704"),
        ("1997/04/30", "DT_DATE", "SQL_C_DATE", 10, "19970430"),
        ("12.5", "DT_TIME", "SQL_C_CHAR", 16, "12.5"),
    ],
)
def test_stored(full: str | None, dicom_type: str, sql_type: str, length: int, expected: str | None) -> None:
    assert stored(full, dicom_type, sql_type, length) == expected


# What the real server stored, for files of pydicom. Columns of the stock dicom.sql that are not a keyword cut short:
KEYWORDS = {
    "ImageNumbe": "InstanceNumber",
    "ImageDate": "ContentDate",
    "ImageTime": "ContentTime",
    "EchoNumber": "EchoNumbers",
    "AcqDate": "AcquisitionDate",
    "AcqTime": "AcquisitionTime",
    "AcqNumber": "AcquisitionNumber",
    "ReceivingC": "ReceiveCoilName",
    "PhotoMetri": "PhotometricInterpretation",
    "QRows": "Rows",
    "QColumns": "Columns",
    "ImagePat": "PatientID",
    "SeriesPat": "PatientID",
    "ModelName": "ManufacturerModelName",
    "ReferPhysi": "ReferringPhysicianName",
    "PatientsAg": "PatientAge",
    "PatientsWe": "PatientWeight",
}
UINT16 = {"SamplesPer", "QRows", "QColumns", "BitsStored"}
# Not read from the file.
NOT_OF_THE_FILE = {"AccessTime", "qTimeStamp", "qFlags", "qSpare", "StudyModal", "ObjectFile", "DeviceName"}


def keyword(column: str) -> str:
    cut_short = [keyword for keyword in tags() if keyword[:10] == column]
    return KEYWORDS.get(column) or min(cut_short, key=len)


@pytest.fixture
def conquest() -> Path:
    """Measurements of a Conquest server. They are beside the checkout, not part of it."""
    folder = Path(__file__).parents[3] / "shared" / "conquest"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{folder} is missing")
        pytest.skip(f"{folder} is missing: nothing to compare with")
    return folder


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("Patients", {"same": 298, "decoded": 15, "invented patient": 15, "not in the wheel": 2, Reason.NO_SOP_INSTANCE_UID: 6}),
        ("Studies", {"same": 988, "decoded": 15, "invented patient": 11, "not in the wheel": 2}),
        ("Series", {"same": 1315, "invented patient": 11, "not in the wheel": 2}),
        ("Images", {"same": 1707, "invented patient": 15, "not in the wheel": 2}),
    ],
)
def test_columns_have_the_values_of_the_server(conquest: Path, table: str, expected: dict[str, int]) -> None:
    columns = columns_of(conquest, table)
    wanted = Wanted(tuple(TagPath((), tags()[keyword(column)]) for column, _, _ in columns))
    outcomes: Counter[str] = Counter()
    with (conquest / f"golden_single_DICOM{table}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            path = Path(pydicom.__file__).parent / "data" / row["source_file"]
            if not path.exists():
                assert row["source_file"].startswith("0009703828/")  # a sample of Conquest
                outcomes["not in the wheel"] += 1
                continue
            try:
                full = read(path, wanted).values
            except Rejected as rejected:
                outcomes[rejected.reason] += 1
                continue
            for (column, sql_type, length), value in zip(columns, full, strict=True):
                assert not isinstance(value, tuple)
                ours = stored(value, "DT_UINT16" if column in UINT16 else "DT_STR", sql_type, length)
                outcomes[compared(path, column, ours, row)] += 1
    assert outcomes == expected


def columns_of(conquest: Path, table: str) -> list[tuple[str, str, int]]:
    schema = (conquest / "schema_dgate150e_sqlite.sql").read_text()
    statement = next(line for line in schema.splitlines() if line.startswith(f"CREATE TABLE DICOM{table} "))
    columns = re.findall(r"(\w+) +(varchar|char)\((\d+)\)", statement)
    types = {"char": "SQL_C_DATE", "varchar": "SQL_C_CHAR"}
    return [(name, types[kind], int(length)) for name, kind, length in columns if name not in NOT_OF_THE_FILE]


def compared(path: Path, column: str, ours: str | None, row: dict[str, str]) -> str:
    """Return how our value agrees with the server's. Each permitted difference has a name."""
    theirs = None if row[column] == "<NULL>" else row[column]
    if ours == theirs:
        return "same"
    if keyword(column) == "PatientID" and ours is None:
        # The server makes an ID of name and date, or "0".
        assert theirs == "0" or re.search(r"\d{8}$|^Anonymized$", theirs or "")
        return "invented patient"
    # The server stores bytes as they are, whatever the character set.
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), (theirs or "").encode())
    assert keyword(column) == "PatientName"
    encodings = convert_encodings(pydicom.dcmread(path).get("SpecificCharacterSet"))
    assert ours == decode_bytes(raw, encodings, {ord("^"), ord("=")})
    return "decoded"


def test_our_tables_of_the_standard_equal_those_of_pydicom() -> None:
    assert {name: lookup(charset(name.encode())).name for name in python_encoding} == {
        name: lookup(codec).name for name, codec in python_encoding.items()
    }
    assert BY_ESCAPE == CODES_TO_ENCODINGS
    assert {vr.decode() for vr in SHORT_VRS} == EXPLICIT_VR_LENGTH_16
    assert {vr.decode() for vr in LONG_VRS} == EXPLICIT_VR_LENGTH_32
    assert CHARSET_VRS == CUSTOMIZABLE_CHARSET_VR
