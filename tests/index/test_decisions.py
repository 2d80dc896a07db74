"""Decisions of users are state: they survive the index, hold for later files, and can be read, edited and undone."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules import app
from pyconquest_rules.app import Rules
from pyconquest_rules.index.store.decisions import Decisions
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[sources.second]
path = "more"

[select.old]
level = "study"
where = "StudyDate < '20200101'"

[select.one]
level = "image"
where = "InstanceNumber = 1"
"""


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """P1 with two images, "P 2" with an old study; a stray of P3 in the series of P1."""
    instance("data/1.dcm", SOPInstanceUID="1.9.1")
    instance("data/2.dcm", SOPInstanceUID="1.9.2")
    old = {"PatientID": "P 2", "StudyDate": "20190101", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1"}
    instance("data/3.dcm", SOPInstanceUID="1.9.3", **old)
    instance("more/4.dcm", SOPInstanceUID="1.9.4", PatientID="P3", StudyInstanceUID="1.3")
    workplace.rules(RULES).run("index")
    return workplace


def decisions(archive: Workplace) -> list[str]:
    text = (archive.folder / ".pyconquest-rules/decisions.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def write(archive: Workplace, text: str | bytes) -> None:
    (archive.folder / ".pyconquest-rules/decisions.txt").write_bytes(text.encode() if isinstance(text, str) else text)


def images(archive: Workplace, *options: str) -> set[str]:
    found = archive.run("query", "select SOPInstanceUID from images", "--json")
    return {line["values"]["SOPInstanceUID"] for line in found.lines[:-1]}


def rebuild(archive: Workplace) -> None:
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    archive.run("index")


@pytest.mark.parametrize(
    ("what", "line", "gone"),
    [
        ("P 2", 'forget patient "P 2"', {"1.9.3"}),
        (" P1 ", "forget patient P1", {"1.9.1", "1.9.2"}),
        ("1.2", "forget study 1.2", {"1.9.3"}),
        ("1.2.1", "forget series 1.2.1", {"1.9.3"}),
        ("1.9.1", "forget image 1.9.1", {"1.9.1"}),
        ("old", "forget study 1.2", {"1.9.3"}),
        ("one", "forget image 1.9.1", {"1.9.1"}),
    ],
)
def test_forgotten_instances_stay_forgotten_in_a_rebuilt_index(archive: Workplace, what: str, line: str, gone: set[str]) -> None:
    before = images(archive)
    assert archive.run("forget", what, "--yes").code == 0
    assert line in decisions(archive)
    assert before - images(archive) == gone
    for file in archive.folder.glob("data/*.dcm"):
        file.touch()
    archive.run("index")
    assert before - images(archive) == gone
    rebuild(archive)
    assert before - images(archive) == gone
    assert archive.run("forget", line.split(" ", 2)[2].strip('"'), "--undo").code == 0
    archive.run("index")
    assert images(archive) == before


@pytest.mark.parametrize(
    ("what", "new", "stays_out"),
    [
        ("P1", {"PatientID": "P1", "StudyInstanceUID": "1.77"}, True),
        ("P1", {"PatientID": "P1 ", "StudyInstanceUID": "1.77"}, True),
        ("P1", {"PatientID": "p1"}, False),
        ("1.2", {"PatientID": "P9", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.99"}, True),
        ("1.2.1", {"SeriesInstanceUID": "1.2.1"}, True),
        ("1.9.1", {"SOPInstanceUID": "1.9.1", "PatientID": "P7"}, True),
        ("1.9.1", {"SOPInstanceUID": "1.9.77"}, False),
    ],
)
def test_a_decision_holds_for_files_that_arrive_later(
    archive: Workplace, instance: Instance, what: str, new: dict[str, Any], stays_out: bool
) -> None:
    archive.run("forget", what, "--yes")
    instance("more/new.dcm", **{"SOPInstanceUID": "1.9.50", **new})
    summary = archive.run("index", "--json").summary
    assert (summary["skipped"], summary["indexed"]) == ((1, 0) if stays_out else (0, 1))
    query = "select Outcome, Reason from files where Path like '%new.dcm'"
    values = archive.run("query", query, "--json").lines[0]["values"]
    assert values == ({"Outcome": "skipped", "Reason": "forgotten"} if stays_out else {"Outcome": "indexed", "Reason": None})


def test_the_next_command_applies_a_line_written_by_hand(archive: Workplace) -> None:
    lines, series = decisions(archive), "1.2.826.0.1.3680043.10.3.1"
    for by_hand in ("forget patient P1", 'forget  patient "P\\u0031"  # consent withdrawn', f"forget series {series}"):
        write(archive, "\n".join([*lines, by_hand]) + "\n")
        assert "1.9.1" not in images(archive), by_hand
        write(archive, "\n".join(lines))
        archive.run("index")
        assert "1.9.1" in images(archive)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# fine\nforgte patient P1\n", 2),
        ("forget patient\n", 1),
        ("forget person P1", 1),
        ('forget patient "P1\n', 1),
        ("forget patient P1\nforget patient P\x07\n", 2),
        (b"# \n\nforget patient P\xff\n", 3),
        ("device archive MAG-1", 1),
        ("device archive MAG0\ndevice second MAG0\n", 2),
        ("device archive MAG0\ndevice archive MAG1\n", 2),
        ("choose 1.2 archive /etc/passwd", 1),
        ("choose 1.2 archive a\nchoose 1.2 archive b", 2),
        ("forget patient " + "P" * 9000, 1),
        ("forget patient \u202eP1", 1),
    ],
)
def test_an_invalid_line_is_rejected_with_its_number_and_nothing_changes(
    archive: Workplace, text: str | bytes, line: int
) -> None:
    before = (archive.folder / "conquest.db").read_bytes()
    write(archive, text)
    for command in (("index",), ("query", "select 1"), ("plan",)):
        done = archive.run(*command)
        assert (done.code, f"decisions.txt:{line}:" in done.err) == (2, True), done.err
    assert (archive.folder / "conquest.db").read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "nothing"])
def test_a_decisions_path_that_is_not_a_file_is_rejected(archive: Workplace, kind: str) -> None:
    file = archive.folder / ".pyconquest-rules/decisions.txt"
    file.unlink()
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "loop":
            file.symlink_to(file)
    done = archive.run("index")
    assert done.code == {"nothing": 0, "pipe": 1, "device": 1}.get(kind, 2)  # 1: no state folder of ours has such a thing
    assert "Traceback" not in done.err


def test_a_deleted_file_is_written_again_from_the_index(archive: Workplace) -> None:
    archive.run("forget", "P1", "--yes")
    before = decisions(archive)
    (archive.folder / ".pyconquest-rules/decisions.txt").unlink()
    archive.run("index")
    assert decisions(archive) == before
    assert "1.9.1" not in images(archive)


def test_lines_keep_their_position_and_unknown_lines_stay(archive: Workplace) -> None:
    text = "# ours\ndevice archive MAG0\nretain for-ever 7\n\ndevice second MAG1\nforget study 1.7  # why\n# end\n"
    write(archive, text)
    archive.run("forget", "P1", "--yes")
    now = (archive.folder / ".pyconquest-rules/decisions.txt").read_text()
    assert now == text.replace("forget study", "forget patient P1\nforget study")
    archive.run("forget", "P1", "--undo")
    assert (archive.folder / ".pyconquest-rules/decisions.txt").read_text() == text


@pytest.mark.parametrize("value", ["P1", "a b", 'quote " and \\', "#", "", "Größe", "\u202e", "\udcff", "x" * 64, "a#b", "'"])
def test_every_value_is_read_as_it_was_written(value: str) -> None:
    written = Decisions().changed([("forget", "patient", value)])
    written.text.encode()
    assert Decisions.of_text(written.text).all == {("forget", "patient", value)}


def test_devices_come_from_the_file(archive: Workplace) -> None:
    query = "select distinct DeviceName || ' ' || Source as d from images order by 1"

    def devices() -> list[str]:
        return [line["values"]["d"] for line in archive.run("query", query, "--json").lines[:-1]]

    assert devices() == ["MAG0 archive", "MAG1 second"]
    write(archive, "device archive MAG1\ndevice second MAG0\n")
    assert devices() == ["MAG0 second", "MAG1 archive"]
    write(archive, "device archive MAG7\ndevice second MAG0\n")
    rebuild(archive)
    assert devices() == ["MAG0 second", "MAG7 archive"]
    assert archive.run("index", "--json").summary["read"] == 0
    archive.rules(RULES.replace("archive", "other"))
    rebuild(archive)
    assert devices() == ["MAG0 second", "MAG1 other"]


def test_decisions_of_an_index_of_an_earlier_version_are_written_to_the_file(archive: Workplace) -> None:
    archive.run("forget", "1.9.1", "--yes")
    (archive.folder / ".pyconquest-rules/decisions.txt").unlink()
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("DELETE FROM rules_index WHERE key IN ('decisions', 'order', 'columns')")
        connection.execute("UPDATE rules_index SET value = 'of an earlier version' WHERE key = 'schema'")
    archive.run("index")
    assert decisions(archive) == ["device archive MAG0", "device second MAG1", "forget image 1.9.1"]
    assert images(archive) == {"1.9.2", "1.9.3", "1.9.4"}


KILLED = """
import os, signal, sys
from pyconquest_rules.index.store import decisions
change = decisions.DecisionsFile.change
def killed(self, *arguments, **keywords):
    change(self, *arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)
decisions.DecisionsFile.change = killed
from pyconquest_rules.cli.main import main
sys.argv[1:] = ["forget", "P1", "--yes"]
main()
"""


def test_the_next_run_finishes_after_a_kill(archive: Workplace) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=archive.folder, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert "forget patient P1" in decisions(archive)
    archive.run("index")
    assert images(archive) == {"1.9.3", "1.9.4"}


def test_a_chosen_file_is_indexed_in_any_order(archive: Workplace, instance: Instance) -> None:
    instance("more/z.dcm", SOPInstanceUID="1.9.1", SeriesDescription="chosen")
    assert archive.run("index").code == 1
    source = "select Source, ObjectFile from images where SOPInstanceUID = '1.9.1'"
    assert archive.run("query", source, "--json").lines[0]["values"]["ObjectFile"] == "1.dcm"
    write(archive, "\n".join([*decisions(archive), "choose 1.9.1 second z.dcm"]))
    assert archive.run("index").code == 0
    for _ in range(2):
        assert archive.run("query", source, "--json").lines[0]["values"] == {"Source": "second", "ObjectFile": "z.dcm"}
        rebuild(archive)
    write(archive, "\n".join(line for line in decisions(archive) if "choose" not in line))
    assert archive.run("index").code == 1
    assert archive.run("query", source, "--json").lines[0]["values"]["ObjectFile"] == "1.dcm"


def test_a_stray_is_forgotten_with_its_shown_study(archive: Workplace) -> None:
    """1.9.4 tells the study 1.3, but its series is shown in that of P1."""
    archive.run("forget", "1.2.826.0.1.3680043.10.2.1", "--yes")
    assert images(archive) == {"1.9.3"}
    rebuild(archive)
    assert images(archive) == {"1.9.3"}


def test_version_control_sees_only_the_decisions(archive: Workplace) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    subprocess.run([git, "init", "-q"], cwd=archive.folder, check=True)
    archive.run("forget", "P1", "--yes")
    shown = subprocess.run(
        [git, "ls-files", "-o", "--exclude-standard", ".pyconquest-rules"], cwd=archive.folder, check=True, capture_output=True
    )
    assert {Path(name).name for name in shown.stdout.decode().split()} == {".gitignore", "decisions.txt"}


def test_decisions_that_change_during_a_wait_for_the_index_are_applied(
    archive: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.run("index")
    write(archive, "device archive MAG0\ndevice second MAG1\n# new\n")
    rules, begins = Rules.load(archive.folder / "rules.toml"), Store.transaction

    def late(store: Store, *, measure: bool = True) -> Any:
        monkeypatch.setattr(Store, "transaction", begins)
        write(archive, "device archive MAG0\ndevice second MAG1\n# new\nforget patient P1\n")
        return begins(store, measure=measure)

    monkeypatch.setattr(Store, "transaction", late)
    app.index(rules)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        (text,) = connection.execute("SELECT value FROM rules_index WHERE key = 'decisions'").fetchone()
    assert "forget patient P1" in text.splitlines()
    assert "1.9.1" not in images(archive)
