"""`[select.NAME]` with `from` and `expand`: what belongs to a set, along references, as pydicom reads them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.conftest import Instance, Workplace

RULES = """
outputs = ["out"]
[sources.data]
path = "data"
[select.start]
level = "{level}"
query = "select {key}, Modality, 'S1' as subject from images where Modality = '{start}'"
[select.rt_set]
from = "start"
expand = {expand}
incomplete = "{incomplete}"
[select.doses]
level = "series"
query = "select SeriesInstanceUID from rt_set where Modality = 'RTDOSE'"
[copy.export]
select = "rt_set"
to = "out/{{{{ subject }}}}/{{{{ Modality }}}}/{{{{ SOPInstanceUID }}}}.dcm"
[copy.doses]
select = "doses"
to = "out/doses/{{{{ SOPInstanceUID }}}}.dcm"
"""
ALL = ["CT", "RTSTRUCT", "RTPLAN", "RTDOSE"]
FILES = {"CT": "ct.0.dcm", "RTSTRUCT": "rtss.dcm", "RTPLAN": "rtplan.dcm", "RTDOSE": "rtdose.dcm"}


def rules(start: str, expand: list[str], incomplete: str = "warn", level: str = "series") -> str:
    key = "SOPInstanceUID" if level == "image" else "SeriesInstanceUID"
    expanded = str(expand).replace("'", '"')
    return RULES.format(start=start, expand=expanded, incomplete=incomplete, level=level, key=key)


@pytest.fixture
def chain(workplace: Workplace, shared: Path) -> Workplace:
    """A CT image, its structure set, plan and dose."""
    folder = shared / "corpus" / "dicompyler-core-rtchain" / "example_data"
    shutil.copytree(folder, workplace.folder / "data", ignore=lambda _, names: [n for n in names if not n.endswith(".dcm")])
    return workplace


def named(dataset: Dataset) -> Iterator[str]:
    """Yield the UIDs of series and instances that a data set names, as pydicom reads them."""
    for element in dataset:
        if element.VR == "SQ" and element.keyword != "ReferencedStudySequence":
            for item in element.value:
                if element.keyword != "RTReferencedStudySequence":  # its ReferencedSOPInstanceUID is that of a study
                    yield from (str(item[key].value) for key in ("ReferencedSOPInstanceUID", "SeriesInstanceUID") if key in item)
                yield from named(item)


def oracle(data: Path, start: str, expand: list[str]) -> tuple[set[str], set[str]]:
    """Return the series that the set has, and the UIDs that they name without a file."""
    files = [dcmread(path) for path in data.glob("*.dcm")]
    of = {uid: str(ds.SeriesInstanceUID) for ds in files for uid in (str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID))}
    modality = {str(ds.SeriesInstanceUID): ds.Modality for ds in files}
    names = {str(ds.SeriesInstanceUID): set(named(ds)) for ds in files}
    pairs = {(a, of[uid]) for a, uids in names.items() for uid in uids if uid in of}
    pairs |= {(b, a) for a, b in pairs}
    found = {series for series, what in modality.items() if what == start}
    while more := {b for a, b in pairs if a in found and b not in found and modality[b] in expand}:
        found |= more
    return found, {uid for series in found for uid in names[series] if uid not in of}


@pytest.mark.parametrize("gone", [None, *FILES])
@pytest.mark.parametrize("start", FILES)
@pytest.mark.parametrize("expand", [ALL, ["RTSTRUCT", "RTPLAN"], ["RTDOSE"]])
def test_set_equals_what_pydicom_reads(chain: Workplace, start: str, expand: list[str], gone: str | None) -> None:
    if gone:
        (chain.folder / "data" / FILES[gone]).unlink()
    chain.rules(rules(start, expand))
    chain.run("index")
    rows = [line["values"] for line in chain.run("query", "rt_set", "--json").lines if line["event"] == "row"]
    series, missing = oracle(chain.folder / "data", start, expand)
    assert {row["SeriesInstanceUID"] for row in rows} == series
    assert len(rows) == len(series)
    assert {row["subject"] for row in rows} <= {"S1"}
    assert all((row["via"] == "from") == (row["Modality"] == start) for row in rows)
    lacking = [line["values"] for line in chain.run("query", "select.rt_set", "--json").lines if line["event"] == "row"]
    assert {row["MissingUID"] for row in lacking} == missing
    assert {row["SeriesInstanceUID"] for row in lacking} <= series


def test_error_blocks_the_actions_that_select_the_set_also_through_another(chain: Workplace) -> None:
    chain.rules(rules("CT", ALL, "error"))
    done = chain.run("apply")
    assert done.code == 4
    assert "failed: select.rt_set has 101 references without a target in the index" in done.out
    assert chain.run("plan", "--json").summary["reasons"] == {"blocked:expectation": 5}
    assert not (chain.folder / "out").exists()


def test_warn_exports_the_set_and_skip_leaves_out_what_names_something_missing(chain: Workplace) -> None:
    chain.rules(rules("CT", ALL, "skip"))
    done = chain.run("apply")
    assert done.code == 0
    assert "; incomplete series are left out" in done.out
    assert [path.parent.name for path in (chain.folder / "out").rglob("*.dcm")] == ["CT"]
    chain.rules(rules("CT", ALL, "warn"))
    assert chain.run("apply").code == 0
    assert sorted({path.parent.name for path in (chain.folder / "out").rglob("*.dcm")}) == [*sorted(ALL), "doses"]


def test_missing_uids_are_shown_only_with_list(chain: Workplace) -> None:
    chain.rules(rules("RTDOSE", ALL))
    missing = oracle(chain.folder / "data", "RTDOSE", ALL)[1]
    plain, listed = chain.run("plan", "--json"), chain.run("plan", "--list")
    assert not any(uid in plain.out + plain.err for uid in missing)
    assert sum(uid in listed.out for uid in missing) == 5
    assert "all rows: query select.rt_set" in listed.out


def test_a_set_of_images_keeps_its_images_and_adds_series(chain: Workplace) -> None:
    chain.rules(rules("RTPLAN", ALL, level="image"))
    chain.run("index")
    rows = [line["values"] for line in chain.run("query", "rt_set", "--json").lines if line["event"] == "row"]
    plan = dcmread(chain.folder / "data" / FILES["RTPLAN"])
    assert [row["SOPInstanceUID"] for row in rows if row["via"] == "from"] == [plan.SOPInstanceUID]
    assert sorted(row["Modality"] for row in rows) == sorted(ALL)


def test_a_frame_of_reference_is_a_guess_and_differing_values_are_not_carried(workplace: Workplace, instance: Instance) -> None:
    for number, patient in (("1", "P1"), ("2", "P2")):
        instance(f"data/{number}.dcm", PatientID=patient, SeriesInstanceUID=f"1.{number}", FrameOfReferenceUID="1.9")
    instance("data/d.dcm", Modality="RTDOSE", SeriesInstanceUID="1.3", FrameOfReferenceUID="1.9")
    workplace.rules(rules("CT", ["RTDOSE"]).replace("'S1' as subject", "PatientID as subject"))
    workplace.run("index")
    rows = [line["values"] for line in workplace.run("query", "rt_set", "--json").lines if line["event"] == "row"]
    shown = sorted((row["SeriesInstanceUID"], row["via"], row["subject"]) for row in rows)
    assert shown == [("1.1", "from", "P1"), ("1.2", "from", "P2"), ("1.3", "guess", None)]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('from = "start"', 'from = "strat"', 'unknown set "strat"'),
        ('from = "start"', 'from = "doses"', "refers to itself"),
        ('from = "start"', 'from = "start"\nwhere = "1"', 'the set "rt_set" has where and from'),
        ('from = "start"', 'from = "start"\nlevel = "study"', "a set with from has no level study"),
        ('"RTPLAN"', '"RTPLAM"', 'unknown modality "RTPLAM"'),
        ('from = "start"', 'level = "series"\nwhere = "1"', "expand needs from"),
    ],
)
def test_check_reports_wrong_sets_with_their_position(workplace: Workplace, before: str, after: str, message: str) -> None:
    workplace.rules(rules("CT", ALL).replace(before, after))
    done = workplace.run("check")
    assert done.code == 2
    assert message in done.err
    assert "rules.toml:" in done.err
