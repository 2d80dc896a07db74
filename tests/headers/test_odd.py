"""Odd elements, sequences and ends of files: each loses at most its own value, and is noted."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyconquest_rules.dicom import tag_path
from pyconquest_rules.headers import values
from pyconquest_rules.headers.header import Header, Reader, Wanted
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.opening import Reason
from tests import raw
from tests.conftest import Workplace
from tests.headers.reading import careful, outcome
from tests.odd_files import Elements
from tests.raw import BIG, IMPLICIT_LITTLE, LITTLE, UNDEFINED, Written

CODES, TEXT = 0x00081110, 0x00081030
CODE = "ReferencedStudySequence[{}].CodeValue"

Read = Callable[..., Header | Reason]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a data set with the fast and the careful reader, which must agree."""

    def read(data: bytes, *paths: str, syntax: str = raw.EXPLICIT) -> Header | Reason:
        file, wanted = tmp_path / "file", Wanted(tuple(map(tag_path, paths)))
        file.write_bytes(raw.file(data, syntax))
        fast, slow = outcome(Reader(wanted), file), outcome(careful(wanted), file)
        assert fast == slow
        return fast

    return read


def found(header: Header | Reason) -> tuple[object, ...]:
    """Return the values and the notes."""
    assert isinstance(header, Header), header
    return (*header.values, set(header.notes))


STRANGE = ("??", "--", "  ", "\0\0", "ZZ", "QX", "ox", "A ", "1A", "\xff\xff")


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("vr", STRANGE)
@pytest.mark.parametrize("how", [LITTLE, BIG], ids=["little", "big"])
@pytest.mark.parametrize("text", ["", "ab", "SCAN 7", "CSCSCSCS", "x" * 300])
def test_reading_continues_after_an_element_with_an_unknown_vr(read: Read, how: Written, vr: str, long: bool, text: str) -> None:
    data = how.instance(1, {TEXT: how.element(TEXT, vr, text, long=long)}) + how.pixels()
    syntax = raw.EXPLICIT if how is LITTLE else raw.BIG_ENDIAN
    assert found(read(data, "StudyDescription", "PatientID", syntax=syntax)) == (text or None, "P1", {Note.UNKNOWN_VR})


@pytest.mark.parametrize("vr", STRANGE)
def test_the_first_the_last_and_several_may_have_unknown_vrs(read: Read, vr: str) -> None:
    first, last = LITTLE.element(0x00080005, vr, "ISO_IR 100"), LITTLE.element(0x00400254, vr, "end")
    between: Elements = {tag: LITTLE.element(tag, vr, "abcd") for tag in (0x00080090, TEXT, 0x00201041)}
    long = LITTLE.element(0x00204000, "ZZ", "long", long=True)
    data = first + LITTLE.instance(1, between | {0x00204000: long}) + last
    paths = ("StudyDescription", "ImageComments", "PerformedProcedureStepDescription", "PatientID")
    assert found(read(data, *paths)) == ("abcd", "long", "end", "P1", {Note.UNKNOWN_VR})


def test_a_sequence_with_an_unknown_vr_is_read(read: Read) -> None:
    items = [LITTLE.item(LITTLE.element("CodeValue", "SH", name), undefined=True) for name in ("one", "two")]
    data = LITTLE.instance(1, {CODES: LITTLE.sequence(CODES, *items, vr="ZZ", undefined=True)})
    assert found(read(data, CODE.format(1), "PatientID"))[:2] == ("two", "P1")


def test_elements_without_vrs_are_read_among_others(read: Read) -> None:
    implicit: Elements = {tag: IMPLICIT_LITTLE.element(tag, "", "abcdef") for tag in (TEXT, 0x0008103E, 0x00081040, 0x00201041)}
    data = LITTLE.instance(1, implicit) + LITTLE.pixels()
    assert found(read(data, "StudyDescription", "SeriesDescription", "PatientID"))[:3] == ("abcdef", "abcdef", "P1")


@pytest.mark.parametrize("vr", ["UN", "SQ"])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("item_undefined", [True, False])
@pytest.mark.parametrize("inner", [LITTLE, IMPLICIT_LITTLE], ids=["explicit", "implicit"])
@pytest.mark.parametrize("nested", [True, False])
def test_items_are_read_as_they_are_written(
    read: Read, vr: str, undefined: bool, item_undefined: bool, inner: Written, nested: bool
) -> None:
    content = inner.element("CodeValue", "SH", "one")
    if nested:
        content += inner.sequence("ConceptNameCodeSequence", inner.item(content), undefined=undefined)
    items = [LITTLE.item(), LITTLE.item(content, undefined=item_undefined)]
    data = LITTLE.instance(1, {CODES: LITTLE.sequence(CODES, *items, vr=vr, undefined=undefined)}) + LITTLE.pixels()
    odd = {Note.ODD_SEQUENCE} if (vr == "UN") == (inner is LITTLE) else set()
    assert found(read(data, CODE.format(1), CODE.format(0), CODE.format(2), "PatientID")) == ("one", None, None, "P1", odd)
    assert found(read(data, "PatientID")) == ("P1", set())  # whatever is in sequences that nobody wants
    deeper = "ReferencedStudySequence[*].ConceptNameCodeSequence[0].CodeValue"
    assert found(read(data, deeper))[0] == (("one",) if nested else None)


def test_items_of_un_are_little_endian_in_big_endian_too(read: Read) -> None:
    item = IMPLICIT_LITTLE.item(IMPLICIT_LITTLE.element("CodeValue", "SH", "one"), undefined=True)
    body = item + IMPLICIT_LITTLE.sequence_end()
    data = BIG.instance(1, {CODES: BIG.element(CODES, "UN", body, length=UNDEFINED)})
    assert found(read(data, CODE.format(0), "PatientID", syntax=raw.BIG_ENDIAN)) == ("one", "P1", set())


CODED = LITTLE.element("CodeValue", "SH", "one")


@pytest.mark.parametrize(
    ("sequence", "value", "notes"),
    [
        (LITTLE.sequence(CODES, b"no items at all."), None, {Note.UNREADABLE_VALUE}),
        (LITTLE.sequence(CODES, b"no items at all.", vr="UN"), None, {Note.UNREADABLE_VALUE}),
        (LITTLE.element(CODES, "LO", "a text"), None, {Note.UNREADABLE_VALUE}),
        (LITTLE.sequence(CODES, LITTLE.item(CODED, length=500)), "one", {Note.ODD_SEQUENCE}),
        (LITTLE.sequence(CODES, LITTLE.item(CODED) + b"abcdefgh"), "one", set()),
        (LITTLE.sequence(CODES, LITTLE.item(CODED + b"abc")), "one", {Note.ODD_SEQUENCE}),
        (
            LITTLE.sequence(CODES, LITTLE.item(LITTLE.element("CodeValue", "SH", "one", length=12))),
            None,
            {Note.UNREADABLE_VALUE, Note.ODD_SEQUENCE},
        ),
        (
            LITTLE.sequence(CODES, LITTLE.item(LITTLE.element("CodeValue", "UT", "one", length=0xFFFFFFF0))),
            None,
            {Note.UNREADABLE_VALUE, Note.ODD_SEQUENCE},
        ),
        (
            LITTLE.sequence(CODES, LITTLE.item(LITTLE.element("PurposeOfReferenceCodeSequence", "SQ", b"", length=900) + CODED)),
            None,
            {Note.ODD_SEQUENCE},
        ),
    ],
)
def test_an_odd_sequence_loses_only_its_own_values(read: Read, sequence: bytes, value: str, notes: set[Note]) -> None:
    data = LITTLE.instance(1, {CODES: sequence}) + LITTLE.pixels()
    assert found(read(data, CODE.format(0), "PatientID")) == (value, "P1", notes)
    assert found(read(data, "PatientID")) == ("P1", set())


@pytest.mark.parametrize("length", [0, 4, 0x1000, UNDEFINED])
@pytest.mark.parametrize("how", [LITTLE, IMPLICIT_LITTLE], ids=["explicit", "implicit"])
@pytest.mark.parametrize("place", ["item", "sequence", "both"])
def test_the_length_of_a_delimiter_means_nothing(read: Read, how: Written, length: int, place: str) -> None:
    item_length, end_length = (length if place in (each, "both") else 0 for each in ("item", "sequence"))
    item = how.item(how.element("CodeValue", "SH", "one") + how.item_end(item_length), length=UNDEFINED)
    nested = how.element("ConceptNameCodeSequence", "SQ", item * 2 + how.sequence_end(end_length), length=UNDEFINED)
    outer = how.item(how.element("CodeValue", "SH", "two") + nested + how.item_end(item_length), length=UNDEFINED)
    body = outer + item + how.sequence_end(end_length)
    data = how.instance(1, {CODES: how.element(CODES, "SQ", body, length=UNDEFINED)}) + how.pixels()
    syntax = raw.IMPLICIT if how.implicit else raw.EXPLICIT
    assert found(read(data, CODE.format(0), CODE.format(1), "PatientID", syntax=syntax)) == ("two", "one", "P1", set())


@pytest.mark.parametrize(
    ("end", "notes"),
    [
        (LITTLE.sequence_end(), set()),
        (LITTLE.sequence_end(4), set()),
        (LITTLE.sequence_end(UNDEFINED), set()),
        (LITTLE.sequence_end(UNDEFINED) + b"behind", set()),
        (b"", {Note.MISSING_DELIMITER}),
        (bytes(8), {Note.MISSING_DELIMITER}),
        (bytes(3), {Note.MISSING_DELIMITER}),
        (LITTLE.sequence_end()[:5], {Note.MISSING_DELIMITER}),
        (LITTLE.element(0xFFFCFFFC, "OB", b"ab"), {Note.MISSING_DELIMITER}),
    ],
)
def test_pixel_data_end_with_their_last_fragment(read: Read, end: bytes, notes: set[Note]) -> None:
    data = LITTLE.instance(1, {"NumberOfFrames": ("IS", "2")}) + LITTLE.fragments(b"\xff\xd8", b"\xff\xd9", end=end)
    assert found(read(data, "PatientID", syntax=raw.JPEG)) == ("P1", notes)


@pytest.mark.parametrize("fragments", [(b"a" * 20,), ()])
def test_frames_that_are_missing_are_cut_off(read: Read, fragments: tuple[bytes, ...]) -> None:
    data = LITTLE.instance(1, {"NumberOfFrames": ("IS", "2")}) + LITTLE.fragments(*fragments, end=b"")
    assert read(data, "PatientID", syntax=raw.JPEG) is Reason.TRUNCATED


PADDING = struct.pack("<HH", 0xFFFC, 0xFFFC)


@pytest.mark.parametrize(
    "stray", [b"abc", b"\xff" * 7, b"\r\n--boundary--\r\n", b"\xff" * 512, PADDING + b"OB", PADDING + b"\0\0\0\x7f" * 9]
)
@pytest.mark.parametrize("how", [LITTLE, BIG], ids=["little", "big"])
def test_stray_bytes_are_noted(read: Read, how: Written, stray: bytes) -> None:
    syntax = raw.EXPLICIT if how is LITTLE else raw.BIG_ENDIAN
    assert found(read(how.instance() + stray, "PatientID", syntax=syntax)) == ("P1", {Note.TRAILING_BYTES})
    assert found(read(how.instance() + how.pixels() + stray, "PatientID", syntax=syntax)) == ("P1", set())


@pytest.mark.parametrize("cut", [8, 11, 20, 29, 36, 60])
def test_a_file_that_is_cut_is_truncated(read: Read, cut: int) -> None:
    """This holds even if only the tag of an element is left."""
    assert read(LITTLE.instance()[:-cut], "PatientID") is Reason.TRUNCATED


@pytest.mark.parametrize("how", [LITTLE, IMPLICIT_LITTLE], ids=["explicit", "implicit"])
@pytest.mark.parametrize("vr", ["UT", "UN"])
@pytest.mark.parametrize("size", [1000, 65_536, 65_538, 1_000_000, 16_000_000])
def test_a_value_is_complete(read: Read, how: Written, vr: str, size: int) -> None:
    text = "".join(f"{number:08}" for number in range(size // 8))
    inner = how.sequence("DVHSequence", how.item(how.element("DVHData", vr, text, long=True)))
    data = how.instance(1, {"ImageComments": how.element("ImageComments", vr, text, long=True)}) + inner
    syntax = raw.IMPLICIT if how.implicit else raw.EXPLICIT
    assert found(read(data, "ImageComments", "PatientID", syntax=syntax)) == (text, "P1", set())
    assert found(read(data, "DVHSequence[0].DVHData", syntax=syntax)) == (text, set())


@pytest.mark.parametrize("size", [values.LIMIT + 2, 20_000_000])
def test_a_value_that_is_too_long_is_none(read: Read, size: int) -> None:
    data = LITTLE.instance(1, {"ImageComments": ("UT", "x" * size)})
    assert found(read(data, "ImageComments", "PatientID")) == (None, "P1", {Note.LONG_VALUE})


def test_all_items_are_complete_or_none(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = tuple(f"1.2.3.{number}" for number in range(20_000))
    items = [LITTLE.item(LITTLE.element("ReferencedSOPInstanceUID", "UI", uid)) for uid in uids]
    data = LITTLE.instance(1, {CODES: LITTLE.sequence(CODES, *items)})
    path = "ReferencedStudySequence[*].ReferencedSOPInstanceUID"
    assert found(read(data, path)) == (uids, set())
    monkeypatch.setattr(values, "LIMIT", 100_000)
    assert found(read(data, path, "PatientID")) == (None, "P1", {Note.LONG_VALUE})


def test_notes_reach_the_report_and_the_summary(workplace: Workplace) -> None:
    folder = workplace.rules("""
        [sources.data]
        path = "data"
    """).folder
    (folder / "data").mkdir()
    several: tuple[Elements, ...] = ({}, {TEXT: ("??", "a")}, {CODES: LITTLE.sequence(CODES, b"no items at all.")})
    for number, more in enumerate(several):
        uid = f"{raw.ROOT}.{number}"
        (folder / f"data/{number}").write_bytes(raw.file(LITTLE.instance(number, more) + b"abc", uid=uid))
    indexed = workplace.run("index", "--json").summary
    assert (indexed["indexed"], indexed["notes"]) == (3, {"trailing-bytes": 3, "unknown-vr": 1})
    with (folder / "rules.toml").open("a") as rules:
        rules.write('[[schema.image]]\ncolumn = "Code"\ntag = "ReferencedStudySequence[0].CodeValue"\n')
    assert workplace.run("index", "--report", "r.jsonl", "--json").summary["notes"]["unreadable-value"] == 1
    report = (folder / "r.jsonl").read_text()
    assert '"trailing-bytes,unreadable-value"' in report
    assert '"trailing-bytes,unknown-vr"' in report
    assert workplace.run("query", "select Code from images where Code is not null", "--json").summary["rows"] == 0


@pytest.mark.parametrize("size", [100, 70_000, 1_000_000, 10_000_000])
def test_long_values_are_complete(workplace: Workplace, size: int) -> None:
    folder = workplace.rules("""
        [sources.data]
        path = "data"
        [[schema.image]]
        column = "Comments"
        tag = "ImageComments"
    """).folder
    text = "".join(f"{number:08}" for number in range(size // 8))
    (folder / "data").mkdir()
    (folder / "data/1").write_bytes(raw.file(LITTLE.instance(1, {"ImageComments": ("UT", text)})))
    assert workplace.run("index").code == 0
    row = workplace.run("query", "select * from images", "--json").lines[0]["values"]
    assert row["Comments"] == text
    assert workplace.run("query", "select length(Comments) as n from images", "--json").lines[0]["values"] == {"n": len(text)}
    assert workplace.run("export", "images", "-o", "out.csv").code == 0
    assert text in (folder / "out.csv").read_text()
