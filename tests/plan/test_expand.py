"""`[select.NAME]` with `from` and `expand`: what belongs to a set, along references, as pydicom reads them."""

import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.chains import Reading
from tests.conftest import Instance, Workplace
from tests.headers.nested import item

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


def test_error_blocks_the_actions_that_select_the_set_also_through_another(chain: Workplace) -> None:
    chain.rules(rules("CT", ALL, "error"))
    done = chain.run("apply")
    assert done.code == 4
    assert "failed: select.rt_set has 101 references without a target in the index" in done.out
    assert chain.run("plan", "--json").summary["reasons"] == {"blocked:expectation": 5}
    assert not (chain.folder / "out").exists()


def test_an_incomplete_set_is_an_expectation_with_its_own_name(chain: Workplace) -> None:
    chain.rules(rules("CT", ALL, "error"))
    planned = chain.run("plan", "copy.export", "--json")
    (result,) = [line for line in planned.lines if line["event"] == "expectation"]
    assert (result["name"], result["severity"], result["rows"]) == ("select.rt_set", "error", 101)
    assert result["blocks"] == ["copy.export", "copy.doses"]
    assert planned.summary["expectations"] == {"select.rt_set": {"rows": 101, "exceeded": True, "failed": True}}
    assert chain.run("status").code == 4
    exported = chain.run("export", "select.rt_set", "-o", "missing.csv")
    assert exported.code == 0
    lines = (chain.folder / "missing.csv").read_text(encoding="utf-8").splitlines()
    assert (lines[0], len(lines)) == ("SeriesInstanceUID,MissingUID", 102)


def test_actions_that_do_not_select_the_set_are_not_held_back(chain: Workplace) -> None:
    text = rules("CT", ALL, "error").replace("from rt_set where", "from series where 'rt_set' = 'rt_set' and")
    chain.rules(text)
    assert chain.run("plan", "copy.doses", "--json").code == 0
    applied = chain.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (4, 1, 4)
    chain.rules(text[: text.index("[copy.export]")] + text[text.index("[copy.doses]") :])
    planned = chain.run("plan", "--json")
    assert (planned.code, planned.summary["expectations"]) == (0, {})


def test_a_complete_set_is_exported(chain: Workplace) -> None:
    chain.rules(rules("RTPLAN", ["RTDOSE"], "error"))
    for name in ("ct.0.dcm", "rtdose.dcm", "rtss.dcm"):
        (chain.folder / "data" / name).unlink()
    plan = chain.folder / "data" / "rtplan.dcm"
    dataset = dcmread(plan)
    del dataset.ReferencedStructureSetSequence, dataset.BeamSequence
    dataset.save_as(plan)
    done = chain.run("apply")
    assert done.code == 0
    assert "ok select.rt_set" in done.out


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
    reading = Reading((chain.folder / "data").glob("*.dcm"))
    missing = {uid for _, uid in reading.missing(reading.modality)}
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


def test_the_frames_of_a_deformation_are_guesses(workplace: Workplace, instance: Instance) -> None:
    for number in ("1", "2", "3"):
        instance(f"data/{number}.dcm", SeriesInstanceUID=f"1.{number}", FrameOfReferenceUID=f"1.9.{number}")
    frames = [item(SourceFrameOfReferenceUID=f"1.9.{number}") for number in ("1", "2")]
    instance("data/r.dcm", Modality="REG", SeriesInstanceUID="1.4", DeformableRegistrationSequence=frames)
    workplace.rules(rules("REG", ["CT"])).run("index")
    rows = [line["values"] for line in workplace.run("query", "rt_set", "--json").lines if line["event"] == "row"]
    shown = sorted((row["SeriesInstanceUID"], row["via"]) for row in rows)
    assert shown == [("1.1", "guess"), ("1.2", "guess"), ("1.4", "from")]


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
