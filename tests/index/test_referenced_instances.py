"""`referenced_instances`: every instance that a structure set, a segmentation, a plan or a registration references."""

import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from pyconquest_rules.headers import pointers, values
from pyconquest_rules.headers.pointers import Pointer
from pyconquest_rules.index.derived.references import DERIVED, NAMED, packed
from tests import raw
from tests.conftest import REPOSITORY, Instance, Workplace
from tests.execute.listeners import listening, storescu
from tests.headers.nested import item
from tests.index.queries import RULES, rows
from tests.index.written import put
from tests.raw import LITTLE, ROOT

CT = "1.2.840.10008.5.1.4.1.1.2"


def image(uid: str) -> Dataset:
    return item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid)


def images(*numbers: int) -> list[Dataset]:
    return [image(f"1.9.{number}") for number in numbers]


def in_series(keyword: str, *numbers: int) -> list[Dataset]:
    return [item(SeriesInstanceUID="1.9", **{keyword: images(*numbers)})]


def contours(*numbers: int) -> list[Dataset]:
    return [item(ContourSequence=[item(ContourImageSequence=images(number)) for number in numbers])]


def structures(*numbers: int) -> list[Dataset]:
    return [item(RTReferencedStudySequence=[item(RTReferencedSeriesSequence=in_series("ContourImageSequence", *numbers))])]


def functional_groups(*numbers: int) -> list[Dataset]:
    return [item(DerivationImageSequence=[item(SourceImageSequence=images(number))]) for number in numbers]


def evidence(*numbers: int) -> list[Dataset]:
    return [item(ReferencedSeriesSequence=in_series("ReferencedSOPSequence", *numbers))]


KINDS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "structure set by series": ("RTSTRUCT", {"ReferencedFrameOfReferenceSequence": structures(1, 2, 3)}, "1.9"),
    "structure set by contours": ("RTSTRUCT", {"ROIContourSequence": [*contours(1, 2), *contours(2, 2, 3)]}, None),
    "segmentation by series": ("SEG", {"ReferencedSeriesSequence": in_series("ReferencedInstanceSequence", 1, 2, 3)}, "1.9"),
    "segmentation by frames": ("SEG", {"PerFrameFunctionalGroupsSequence": functional_groups(1, 2, 3, 3)}, None),
    "segmentation as a whole": ("SEG", {"SharedFunctionalGroupsSequence": functional_groups(1, 2, 3)}, None),
    "plan": (
        "RTPLAN",
        {
            "ReferencedStructureSetSequence": images(1),
            "ReferencedDoseSequence": images(2),
            "BeamSequence": [item(ReferencedReferenceImageSequence=images(3))],
        },
        None,
    ),
    "ion plan": ("RTPLAN", {"IonBeamSequence": [item(ReferencedReferenceImageSequence=images(n)) for n in (1, 2, 3)]}, None),
    "dose": ("RTDOSE", {"ReferencedRTPlanSequence": images(1), "ReferencedInstanceSequence": images(2, 3)}, None),
    "record": ("RTRECORD", {"ReferencedRTPlanSequence": images(1), "ReferencedTreatmentRecordSequence": images(2, 3)}, None),
    "registration": ("REG", {"RegistrationSequence": [item(ReferencedImageSequence=images(n)) for n in (1, 2, 3)]}, None),
    "deformation": ("REG", {"DeformableRegistrationSequence": [item(ReferencedImageSequence=images(1, 2, 3))]}, None),
    "registration of another study": (
        "REG",
        {
            "StudiesContainingOtherReferencedInstancesSequence": [
                item(ReferencedSeriesSequence=in_series("ReferencedInstanceSequence", 1, 2, 3))
            ]
        },
        "1.9",
    ),
    "report": ("SR", {"CurrentRequestedProcedureEvidenceSequence": [*evidence(1), *evidence(2, 3)]}, "1.9"),
    "key objects": ("KO", {"PertinentOtherEvidenceSequence": evidence(1, 2, 3)}, "1.9"),
    "presentation": ("PR", {"ReferencedSeriesSequence": in_series("ReferencedImageSequence", 1, 2, 3)}, "1.9"),
    "fiducials": ("FID", {"FiducialSetSequence": [item(ReferencedImageSequence=images(1, 2, 3))]}, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_referenced_instance_is_a_row(workplace: Workplace, instance: Instance, kind: str) -> None:
    modality, elements, series = KINDS[kind]
    instance("data/object.dcm", SOPInstanceUID="1.8.1", SeriesInstanceUID="1.8", Modality=modality, **elements)
    workplace.rules(RULES.format(path="data")).run("index")
    found = rows(workplace, "select * from referenced_instances order by ReferencedSOPInstanceUID")
    assert [row["ReferencedSOPInstanceUID"] for row in found] == ["1.9.1", "1.9.2", "1.9.3"]
    assert {(row["SOPInstanceUID"], row["SeriesInstanceUID"], row["Modality"]) for row in found} == {("1.8.1", "1.8", modality)}
    assert {(row["ReferencedSOPClassUID"], row["ReferencedSeriesInstanceUID"]) for row in found} == {(CT, series)}
    assert {str(row["Sequences"]) for row in found} == set(elements)
    # The series of what is in the index is known from there.
    instance("data/3.dcm", SOPInstanceUID="1.9.3", SeriesInstanceUID="1.9")
    workplace.run("index")
    known = "select ReferencedSeriesInstanceUID as s from referenced_instances where ReferencedSOPInstanceUID = '1.9.3'"
    assert rows(workplace, known) == [{"s": "1.9"}]


def recipe() -> str:
    """Return the query for missing slices in docs/rules.md."""
    page = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    query: str = page.partition("### Missing slices")[2].partition("```sql\n")[2].partition("```")[0]
    assert query
    return query


@pytest.mark.parametrize("there", [(), (1,), (1, 3), (2, 3), (1, 2, 3)])
def test_missing_slices_are_found_by_the_query_of_the_docs(
    workplace: Workplace, instance: Instance, there: tuple[int, ...]
) -> None:
    named = {"ReferencedFrameOfReferenceSequence": structures(1, 2, 3), "ROIContourSequence": contours(1, 2)}
    instance("data/rs.dcm", SOPInstanceUID="1.8.1", SeriesInstanceUID="1.8", Modality="RTSTRUCT", **named)
    for number in there:
        instance(f"data/{number}.dcm", SOPInstanceUID=f"1.9.{number}", SeriesInstanceUID="1.9")
    workplace.rules(RULES.format(path="data")).run("index")
    missing = {f"1.9.{number}" for number in {1, 2, 3} - {*there}}
    assert {row["ReferencedSOPInstanceUID"] for row in rows(workplace, recipe())} == missing


def test_missing_slices_of_a_real_chain(workplace: Workplace, shared: Path) -> None:
    chain = shared / "corpus" / "dicompyler-core-rtchain" / "example_data"
    workplace.rules(RULES.format(path=chain)).run("index")
    slices = {str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for file in chain.glob("ct*.dcm")}
    named = named_by(pydicom.dcmread(chain / "rtss.dcm"))
    missing = {row["ReferencedSOPInstanceUID"] for row in rows(workplace, recipe()) if row["Modality"] == "RTSTRUCT"}
    assert missing == named - slices


def test_the_sequences_show_which_slices_have_contours(workplace: Workplace, instance: Instance) -> None:
    named = {"ReferencedFrameOfReferenceSequence": structures(1, 2), "ROIContourSequence": contours(2, 4)}
    instance("data/rs.dcm", Modality="RTSTRUCT", **named)
    workplace.rules(RULES.format(path="data")).run("index")
    query = "select ReferencedSOPInstanceUID as i, Sequences as s from referenced_instances order by 1"
    both = "ReferencedFrameOfReferenceSequence,ROIContourSequence"
    assert [(row["i"], row["s"]) for row in rows(workplace, query)] == [
        ("1.9.1", "ReferencedFrameOfReferenceSequence"),
        ("1.9.2", both),
        ("1.9.4", "ROIContourSequence"),
    ]


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "US", None])
def test_images_are_not_looked_into(workplace: Workplace, instance: Instance, modality: str | None) -> None:
    named = {"ReferencedImageSequence": images(1), "SourceImageSequence": images(2)}
    instance("data/1.dcm", Modality=modality, **named)
    workplace.rules(RULES.format(path="data")).run("index")
    assert rows(workplace, "select * from referenced_instances") == []


def named_by(dataset: Dataset) -> set[str]:
    """Return every referenced instance that pydicom finds, without studies."""

    def walk(at: Dataset) -> Iterator[str]:
        for element in at:
            if element.keyword == "ReferencedSOPInstanceUID" and element.value:
                yield str(element.value).strip()
            if element.VR == "SQ":
                for inner in element.value:
                    if element.keyword == "RTReferencedStudySequence":
                        del inner.ReferencedSOPInstanceUID
                    yield from walk(inner)

    return set(walk(dataset))


def test_references_of_real_files_are_those_that_pydicom_finds(workplace: Workplace, shared: Path) -> None:
    folders = ["dicompyler-core-rtchain", "rt-utils", "highdicom", "dcmqi", "pydicom"]
    sources = "".join(f'[sources.s{n}]\npath = "{shared / "corpus" / name}"\n' for n, name in enumerate(folders))
    workplace.rules(sources).run("index")
    query = f"select SOPInstanceUID as uid, Source, ObjectFile from images where Modality in {DERIVED}"
    compared = 0
    for row in rows(workplace, query):
        file = shared / "corpus" / folders[int(str(row["Source"])[1:])] / str(row["ObjectFile"])
        with warnings.catch_warnings(action="ignore"):
            try:
                theirs = named_by(pydicom.dcmread(file, stop_before_pixels=True))
            except pydicom.errors.InvalidDicomError:
                continue
        found = rows(
            workplace, f"select ReferencedSOPInstanceUID as i from referenced_instances where SOPInstanceUID = '{row['uid']}'"
        )
        assert sorted(str(each["i"]) for each in found) == sorted(theirs), file
        compared += 1
    assert compared > 25


@pytest.mark.parametrize("written", [LITTLE, raw.IMPLICIT_LITTLE], ids=["explicit", "implicit"])
@pytest.mark.parametrize("form", [b"%s\0", b" %s", b"%s  ", b"\0\0%s", b" %s\0\0"])
def test_padding_is_not_part_of_a_reference(workplace: Workplace, written: raw.Written, form: bytes) -> None:
    named = written.sequence(
        "ReferencedRTPlanSequence",
        *(written.item(written.element("ReferencedSOPInstanceUID", "UI", form % uid)) for uid in (b"1.9.1", b"1.9.22", b"1.9.1")),
    )
    put(workplace, "1.dcm", 1, {"Modality": ("CS", b" RTDOSE "), "ReferencedRTPlanSequence": named}, written)
    workplace.rules(RULES.format(path="data")).run("index")
    query = "select SOPInstanceUID as a, ReferencedSOPInstanceUID as b from referenced_instances order by 2"
    assert [tuple(row.values()) for row in rows(workplace, query)] == [(f"{ROOT}.1", "1.9.1"), (f"{ROOT}.1", "1.9.22")]


LIMITS = [
    ({"ROIContourSequence": contours(*range(20))}, "ROIContourSequence", "items"),
    ({"PerFrameFunctionalGroupsSequence": functional_groups(*range(20))}, "PerFrameFunctionalGroupsSequence", "items"),
    ({"RegistrationSequence": [item(ReferencedImageSequence=images(*range(20)))]}, "RegistrationSequence", "items"),
    ({"BeamSequence": [item(ReferencedReferenceImageSequence=images(*range(80)))]}, "BeamSequence", "bytes"),
    ({"ReferencedFrameOfReferenceSequence": structures(*range(80))}, "ReferencedFrameOfReferenceSequence", "bytes"),
]


@pytest.mark.parametrize(("elements", "lost", "limit"), LIMITS)
def test_references_beyond_a_limit_are_a_row_without_an_instance(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, elements: dict[str, Any], lost: str, limit: str
) -> None:
    more = {"ReferencedStructureSetSequence": images(99)}
    instance("data/1.dcm", Modality="REG", **elements, **more)
    if limit == "items":
        monkeypatch.setattr(pointers, "MOST_ITEMS", 10)
    else:
        monkeypatch.setattr(values, "LIMIT", 500)
    done = workplace.rules(RULES.format(path="data")).run("index")
    assert (done.code, "indexed with a note: long-value" in done.err) == (0, True)
    query = "select Sequences as s from referenced_instances where ReferencedSOPInstanceUID is null"
    assert {"s": lost} in rows(workplace, query)
    # Nobody who looks for what is missing takes it for complete.
    assert [row for row in rows(workplace, recipe()) if row["ReferencedSOPInstanceUID"] is None]
    if limit == "items":  # what else the instance names is there
        query = "select count(*) as n from referenced_instances where ReferencedSOPInstanceUID = '1.9.99'"
        assert rows(workplace, query) == [{"n": 1}]


@pytest.mark.parametrize(("depth", "found"), [(1, "1.9.1"), (pointers.DEEPEST, "1.9.1"), (pointers.DEEPEST + 1, None)])
def test_a_content_tree_is_read_to_its_limit(workplace: Workplace, instance: Instance, depth: int, found: str | None) -> None:
    tree = item(ReferencedSOPSequence=images(1))
    for _ in range(depth - 1):
        tree = item(ContentSequence=[tree])
    instance("data/sr.dcm", Modality="SR", ContentSequence=[tree])
    workplace.rules(RULES.format(path="data")).run("index")
    shown = rows(workplace, "select ReferencedSOPInstanceUID as uid, Sequences as at from referenced_instances")
    assert shown == [{"uid": found, "at": "ContentSequence"}]


def test_sequences_that_cannot_be_read_are_a_row_without_an_instance(workplace: Workplace) -> None:
    broken = LITTLE.element("ReferencedRTPlanSequence", "SQ", b"\x08\x00\x55\x11UI\x04\x001.2\x00")  # no item around it
    whole = LITTLE.sequence("ReferencedDoseSequence", LITTLE.item(LITTLE.element("ReferencedSOPInstanceUID", "UI", b"1.9")))
    put(
        workplace, "1.dcm", 1, {"Modality": ("CS", "RTDOSE"), "ReferencedRTPlanSequence": broken, "ReferencedDoseSequence": whole}
    )
    done = workplace.rules(RULES.format(path="data")).run("index")
    assert "indexed with a note: unreadable-value" in done.err
    found = rows(workplace, "select ReferencedSOPInstanceUID as i, Sequences as s from referenced_instances order by 1")
    assert [tuple(row.values()) for row in found] == [(None, "ReferencedRTPlanSequence"), ("1.9", "ReferencedDoseSequence")]


def test_more_contours_than_items_are_read_if_they_name_the_same_slices(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointers, "MOST_ITEMS", 10)
    instance("data/1.dcm", Modality="RTSTRUCT", ROIContourSequence=[*contours(*range(10)), *contours(*range(10))])
    workplace.rules(RULES.format(path="data")).run("index")
    assert rows(workplace, "select count(ReferencedSOPInstanceUID) as n, count(*) as m from referenced_instances") == [
        {"n": 10, "m": 10}
    ]


def test_rows_follow_their_instance(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm", SOPInstanceUID="1.8.1", Modality="RTSTRUCT", ROIContourSequence=contours(1, 2, 3))
    workplace.rules(RULES.format(path="data")).run("index")
    instance("data/1.dcm", SOPInstanceUID="1.8.1", Modality="RTSTRUCT", ROIContourSequence=contours(4))
    workplace.run("index")
    query = "select ReferencedSOPInstanceUID as i from referenced_instances"
    assert rows(workplace, query) == [{"i": "1.9.4"}]
    file.unlink()
    workplace.run("index", "--allow-vanish")
    assert rows(workplace, query) == []
    assert rows(workplace, "select count(*) as n from rules_pointers") == [{"n": 0}]


@pytest.mark.parametrize(
    "uids",
    [
        ["1.9.1"],
        [f"1.2.826.0.1.3680043.8.498.{n:030d}" for n in range(2500)],
        [f"{n}.{n * 7919}" for n in range(1, 40)],
        ["1.2", "1.2.3", "1.2.3.4"],
        ["2.25.1", "3.25.1"],
        ["1E", "1e5", "007"],
    ],
)
def test_packed_uids_are_unpacked_unchanged(uids: list[str]) -> None:
    rows = packed(Pointer(uid, None, None, ("A",)) for uid in uids)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE p (prefix TEXT, total INT, width INT, suffixes TEXT)")
    connection.executemany("INSERT INTO p VALUES (?, ?, ?, ?)", [row[-4:] for row in rows])
    connection.execute(
        "CREATE TABLE n AS WITH RECURSIVE n(number) AS (VALUES (0) UNION SELECT number + 1 FROM n LIMIT 100) SELECT * FROM n"
    )
    found = connection.execute(f"SELECT {NAMED} FROM p JOIN n ON n.number < p.total ORDER BY p.rowid, n.number")
    assert [uid for (uid,) in found] == uids
    assert max(len(row.suffixes) for row in rows) < 64 * 1024


def test_the_index_holds_two_hundred_slices_of_many_contours_in_little_room(workplace: Workplace, instance: Instance) -> None:
    names = [f"1.3.6.1.4.1.14519.5.2.1.7009.2403.1234567890123456789012345{n:05d}" for n in range(200)]
    series = [item(SeriesInstanceUID="1.9", ContourImageSequence=[image(uid) for uid in names])]
    frames = [item(RTReferencedStudySequence=[item(RTReferencedSeriesSequence=series)])]
    rois = [item(ContourSequence=[item(ContourImageSequence=[image(uid)]) for uid in names]) for _ in range(10)]
    instance("data/1.dcm", Modality="RTSTRUCT", ReferencedFrameOfReferenceSequence=frames, ROIContourSequence=rois)
    workplace.rules(RULES.format(path="data")).run("index")
    assert rows(workplace, "select count(*) as n from referenced_instances") == [{"n": 200}]
    with sqlite3.connect(workplace.folder / "conquest.db") as database:
        (size,) = database.execute("SELECT sum(length(suffixes) + length(prefix)) FROM rules_pointers").fetchone()
    assert size < 2000


def test_received_instances_have_references_too(workplace: Workplace, instance: Instance) -> None:
    (workplace.folder / "archive").mkdir()
    workplace.rules(
        '[sources.a]\npath = "archive"\nlayout = "{{ SOPInstanceUID }}.dcm"\n'
        '[listen.inbox]\nae_title = "RULES"\nport = 0\ninto = "a"\n'
    )
    file = instance(
        "sent/1.dcm", Modality="RTSTRUCT", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", ROIContourSequence=contours(1)
    )
    with listening(workplace) as (port, _):
        assert storescu(port, file) == 0
    assert rows(workplace, "select ReferencedSOPInstanceUID as i from referenced_instances") == [{"i": "1.9.1"}]


def test_an_index_without_the_view_gets_it_and_its_rows(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", Modality="RTSTRUCT", ROIContourSequence=contours(1, 2))
    workplace.rules(RULES.format(path="data")).run("index")
    with sqlite3.connect(workplace.folder / "conquest.db") as database:
        database.executescript(
            "DROP VIEW referenced_instances; DROP TABLE rules_pointers;"
            "UPDATE rules_index SET value = replace(value, '\"format\": 5', '\"format\": 4') WHERE key = 'columns';"
            "UPDATE rules_index SET value = 'of an earlier version' WHERE key = 'schema'"
        )
    assert workplace.run("index", "--json").summary["read"] == 1
    assert len(rows(workplace, "select * from referenced_instances")) == 2


def test_a_layout_without_modality_has_the_view_too(workplace: Workplace, instance: Instance) -> None:
    text = (REPOSITORY / "dicom.sql").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines(keepends=True) if '"Modality"' not in line]
    (workplace.folder / "own.sql").write_text("".join(kept), encoding="utf-8")
    instance("data/1.dcm", Modality="RTSTRUCT", ROIContourSequence=contours(1))
    done = workplace.rules('[index]\ndicom_sql = "own.sql"\n' + RULES.format(path="data")).run("index")
    assert done.code == 0, done.err
    query = "select Modality as m, ReferencedSOPInstanceUID as i from referenced_instances"
    assert rows(workplace, query) == [{"m": None, "i": "1.9.1"}]
