"""Which of several files is indexed, by rule; and rejected files, which stay errors until they are resolved or accepted."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, Instance, Workplace

RULES = """
[index]
{index}

[sources.first]
path = "a"

[sources.second]
path = "b"

[select.ct]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "ct"
to = "export/{{{{ SOPInstanceUID }}}}.dcm"
"""


def rules(workplace: Workplace, index: str = "") -> Workplace:
    return workplace.rules(RULES.format(index=index))


def values(done: Done) -> list[dict[str, Any]]:
    return [line["values"] for line in done.lines[:-1]]


def counting(workplace: Workplace) -> str:
    query = "select Source || '/' || ObjectFile as place from images where SOPInstanceUID = '1.1'"
    return str(values(workplace.run("query", query, "--json"))[0]["place"])


def at(file: Path, time: int) -> Path:
    os.utime(file, ns=(time, time))
    return file


@pytest.fixture
def two(workplace: Workplace, instance: Instance) -> Workplace:
    """Two sources with one instance each."""
    at(instance("a/m.dcm", SOPInstanceUID="1.1", SeriesDescription="before"), 1000)
    at(instance("b/1.dcm", SOPInstanceUID="1.2"), 1000)
    return rules(workplace)


@pytest.mark.parametrize(
    ("index", "name", "time", "counts", "code"),
    [
        ("", "a/z.dcm", 2000, "first/m.dcm", 1),
        ("", "a/b.dcm", 500, "first/b.dcm", 1),
        ("", "b/a.dcm", 2000, "first/m.dcm", 1),
        ('on_conflict = "first-source"', "a/b.dcm", 500, "first/b.dcm", 0),
        ('on_conflict = "first-source"', "b/b.dcm", 2000, "first/m.dcm", 0),
        ('on_conflict = "newest"', "b/b.dcm", 2000, "second/b.dcm", 0),
        ('on_conflict = "newest"', "a/b.dcm", 500, "first/m.dcm", 0),
        ('on_conflict = "newest"', "a/b.dcm", 1000, "first/b.dcm", 0),
        ('on_conflict = "newest"', "b/b.dcm", 1000, "first/m.dcm", 0),
        ('accept = ["conflict"]', "a/b.dcm", 500, "first/b.dcm", 0),
    ],
)
def test_the_rule_decides_whether_a_redelivery_is_indexed(
    two: Workplace, instance: Instance, index: str, name: str, time: int, counts: str, code: int
) -> None:
    rules(two, index)
    assert two.run("apply").code == 0
    at(instance(name, SOPInstanceUID="1.1", SeriesDescription="after"), time)
    assert two.run("index").code == code
    assert counting(two) == counts
    plan = two.run("plan", "--list", "--json")
    steps = [line for line in plan.lines if line["event"] == "step"]
    replaced = counts != "first/m.dcm"
    assert plan.code == code
    assert [(step["reason"], step["message"]) for step in steps] == (
        [("source-changed", "the index now uses another file of this instance")] if replaced else []
    )
    assert two.run("apply").code == code
    assert (b"after" in two.files("export")["1.1.dcm"]) == replaced
    for file in two.folder.glob("conquest.db*"):
        file.unlink()
    two.run("index")
    assert counting(two) == counts


@pytest.mark.parametrize(
    ("index", "outcome", "reason"),
    [
        ("", "rejected", "conflict"),
        ('on_conflict = "first-source"', "duplicate", "superseded"),
        ('on_conflict = "newest"', "duplicate", "superseded"),
    ],
)
def test_the_view_shows_the_other_file(two: Workplace, instance: Instance, index: str, outcome: str, reason: str) -> None:
    other = at(instance("b/ö z.dcm", SOPInstanceUID="1.1", SeriesDescription="after"), 500)
    rules(two, index).run("index")
    (row,) = values(two.run("query", "select * from files where SOPInstanceUID = '1.1' and Outcome != 'indexed'", "--json"))
    assert row == {
        "Path": str(other),
        "Source": "second",
        "FileSize": other.stat().st_size,
        "Outcome": outcome,
        "Reason": reason,
        "Notes": None,
        "SOPInstanceUID": "1.1",
        "OtherFile": str(two.folder / "a/m.dcm"),
    }


def test_a_copy_with_an_earlier_path_takes_the_place_and_no_step_is_repeated(two: Workplace) -> None:
    two.run("apply")
    shutil.copy2(two.folder / "a/m.dcm", two.folder / "a/a.dcm")
    assert two.run("plan", "--detailed-exitcode").code == 0
    assert counting(two) == "first/a.dcm"


def test_the_order_of_sources_decides_which_file_is_indexed(two: Workplace, instance: Instance) -> None:
    instance("b/0.dcm", SOPInstanceUID="1.1", StudyDescription="of b")
    two.run("index")
    assert counting(two) == "first/m.dcm"
    text = (two.folder / "rules.toml").read_text()
    first, second = '[sources.first]\npath = "a"\n', '[sources.second]\npath = "b"\n'
    (two.folder / "rules.toml").write_text(text.replace(first, "").replace(second, f"{second}\n{first}"))
    two.run("index")
    assert counting(two) == "second/0.dcm"
    study = values(two.run("query", "select StudyDescription from studies", "--json"))
    assert study == [{"StudyDescription": "of b"}]


def refused(two: Workplace, instance: Instance, reason: str) -> Path:
    """Write a file that is rejected for a reason."""
    file = instance("a/bad.dcm", SOPInstanceUID="1.1" if reason == "conflict" else "1.77", pixels=bytes(1000))
    data = file.read_bytes()
    match reason:
        case "truncated":
            file.write_bytes(data[:-500])
        case "no-SOPInstanceUID":
            instance("a/bad.dcm", SOPInstanceUID=None)
        case "invalid-SOPInstanceUID":
            instance("a/bad.dcm", SOPInstanceUID="not a UID!")
        case "dicomdir":
            instance("a/bad.dcm", SOPClassUID="1.2.840.10008.1.3.10")
    return file


@pytest.mark.parametrize("reason", ["conflict", "truncated", "no-SOPInstanceUID", "invalid-SOPInstanceUID", "dicomdir"])
def test_a_rejected_file_is_an_error_until_it_is_resolved_or_accepted(two: Workplace, instance: Instance, reason: str) -> None:
    file = refused(two, instance, reason)
    if reason == "conflict":
        file = file.rename(file.with_name("z.dcm"))
    commands = (("index",), ("plan",), ("apply",), ("plan", "--no-index"), ("apply", "--no-index"), ("status",))
    for _ in range(2):
        for command in commands:
            done = two.run(*command)
            assert (done.code, f"1 DICOM file is not in the index: {reason} 1" in done.err) == (1, True), command
    assert two.run("status", "--json").summary["refused"] == 1
    assert two.run("index", "--json").summary["refused"] == {reason: 1}
    (row,) = values(two.run("query", "select Path, Reason from files where Outcome = 'rejected'", "--json"))
    assert row == {"Path": str(file), "Reason": reason}
    rules(two, f'accept = ["{reason}"]')
    assert [two.run(*command).code for command in commands] == [0] * len(commands)
    assert two.run("index", "--json").summary["accepted"] == {reason: 1}
    rules(two, 'accept = ["reader-killed", "malformed"]')
    assert [two.run(*command).code for command in commands] == [1] * len(commands)
    file.unlink()
    assert [two.run(*command).code for command in commands] == [0] * len(commands)


@pytest.mark.parametrize("content", [b"", b"no DICOM", bytes(500), b"\x89PNG\r\n", b"P1 " * 100])
def test_files_that_are_not_dicom_are_not_errors(two: Workplace, content: bytes) -> None:
    (two.folder / "a/notes.txt").write_bytes(content)
    for command in ("index", "plan", "apply", "status"):
        assert two.run(command).code == 0


@pytest.mark.parametrize("accept", ['["conflicts"]', '["not-dicom"]', '"conflict"', "[1]", '["conflict", "Truncated"]'])
def test_an_unknown_reason_to_accept_is_an_error_of_the_rules(two: Workplace, accept: str) -> None:
    done = rules(two, f"accept = {accept}").run("check")
    assert done.code == 2
    assert "rules.toml:4:" in done.err


def test_the_report_has_readable_paths(two: Workplace) -> None:
    awkward = os.fsencode(two.folder / "a") + b"/\xff.dcm"
    shutil.copy(two.folder / "a/m.dcm", os.fsdecode(awkward))
    two.run("index", "--report", "report.jsonl")
    lines = [json.loads(line) for line in (two.folder / "report.jsonl").read_text().splitlines()]
    assert {line["path"] for line in lines} == {str(two.folder / "a/m.dcm"), str(two.folder / "b/1.dcm"), os.fsdecode(awkward)}


@pytest.mark.parametrize(
    "query", ["select count(*) from files", "files", "select f.Path from files f join images using (SOPInstanceUID)"]
)
def test_queries_exports_and_sets_can_use_the_view(two: Workplace, query: str) -> None:
    rules(two, "")
    text = (two.folder / "rules.toml").read_text()
    set_ = '[select.noted]\nlevel = "image"\nquery = "select SOPInstanceUID from files where Outcome = \'indexed\'"\n'
    (two.folder / "rules.toml").write_text(text + set_)
    two.run("index")
    assert two.run("export", query, "-o", "out.csv").code == 0
    assert len(values(two.run("query", "noted", "--json"))) == 2
