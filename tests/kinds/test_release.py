"""`[release.NAME]`: its checks, its lock, and what differs from a lock."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.release.lock import Locked, read, write
from tests.conftest import Instance, Workplace

NUMBER = 5
RULES = """
outputs = ["export"]

[vars]
out = "export"

[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "{{ vars.out }}/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[copy.more]
select = "scans"
to = "other/{{ SOPInstanceUID }}.dcm"

[release.v1]
actions = ["copy.export"]
root = "{{ vars.out }}"
lock = "locks/v1.txt"
title = "Head and neck"
licence = "CC-BY-4.0"
""".replace('outputs = ["export"]', 'outputs = ["export", "other"]')
UID = "1.2.826.0.1.3680043.10.1."


@pytest.fixture
def released(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with instances and a release."""
    for number in range(NUMBER):
        instance(f"data/{number}.dcm")
    return workplace.rules(RULES)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('actions = ["copy.export"]', 'actions = ["copy.exprt"]', 'did you mean "copy.export"?'),
        ('actions = ["copy.export"]', 'actions = ["copy.more"]', "copy.more makes files outside the root"),
        ('actions = ["copy.export"]', "actions = []", "must not be empty"),
        ('actions = ["copy.export"]', 'actions = ["send.away"]', "send.away makes no files"),
        ('root = "{{ vars.out }}"', 'root = "{{ vars.ou }}"', "ou"),
        ('root = "{{ vars.out }}"', 'root = "{{ PatientID }}"', "no instance is known yet"),
        ('root = "{{ vars.out }}"', 'root = "export/deeper/{{ vars.out }}/x"', None),
        ('lock = "locks/v1.txt"', 'lock = "/etc/v1.txt"', "must be below the folder of the rules file"),
        ('lock = "locks/v1.txt"', 'lock = "a/../../v1.txt"', "must be below the folder of the rules file"),
        ('title = "Head and neck"', 'title = "Head\\nand neck"', "must be one line"),
        ('title = "Head and neck"', 'titel = "Head and neck"', 'did you mean "title"?'),
        ("[release.v1]", "[release.diff]", '"diff" is reserved'),
    ],
)
def test_is_checked_with_places(released: Workplace, before: str, after: str, message: str | None) -> None:
    assert before in RULES
    nodes = '\n[nodes.far]\nae_title = "FAR"\nhost = "127.0.0.1"\nport = 104\n[send.away]\nselect = "scans"\nnode = "far"\n'
    done = released.rules(RULES.replace(before, after) + nodes).run("check")
    assert done.code == (2 if message else 0), done.err
    if message:
        line = 1 + (RULES[: RULES.index(before)].count("\n") + 1)
        assert done.err.startswith(f"rules.toml:{line}:"), done.err
        assert message in done.err, done.err


def test_a_lock_has_every_file_with_the_digest_of_its_source(released: Workplace) -> None:
    assert released.run("lock").code == 0
    text = (released.folder / "locks/v1.txt").read_text()
    first, *lines = text.splitlines()
    assert first == "# pyconquest-rules lock 1"
    keys = [line.split("\t")[0] for line in lines if line.startswith("#")]
    assert keys == ["# date", "# release", "# title", "# licence", "# rules"]
    files = [line.split("\t") for line in lines if not line.startswith("#")]
    digests = sorted(sha256(file.read_bytes()).hexdigest() for file in (released.folder / "data").iterdir())
    assert sorted(fields[2] for fields in files) == digests
    assert [fields[0] for fields in files] == [f"P1/{UID}{number}.dcm" for number in range(1, NUMBER + 1)]
    assert {tuple(fields[4:]) for fields in files} == {("1.2.826.0.1.3680043.10.2.1", "1.2.826.0.1.3680043.10.3.1")}


def test_what_was_locked_is_planned_and_made(released: Workplace) -> None:
    assert released.run("lock", "v1").code == 0
    assert released.run("plan", "--locked").code == 0
    assert released.run("apply", "--locked").code == 0
    before = (released.folder / "locks/v1.txt").read_bytes()
    assert released.run("lock", "release.v1").code == 0  # now the ledger knows the digests
    assert (released.folder / "locks/v1.txt").read_bytes() == before


def test_a_lock_keeps_its_date_while_nothing_else_changes(
    released: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(day: int) -> str:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(day * 86400))
        assert released.run("lock").code == 0
        return (released.folder / "locks/v1.txt").read_text()

    first = locked(1)
    assert "# date\t1970-01-02\n" in first
    assert locked(2) == first
    instance("data/new.dcm")
    assert "# date\t1970-01-04\n" in locked(3)


def test_what_was_added_went_and_changed_is_reported(released: Workplace, instance: Instance) -> None:
    assert released.run("lock").code == 0
    shutil.copy(released.folder / "locks/v1.txt", released.folder / "before.txt")
    instance("data/new.dcm", PatientID="P2", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    instance("data/0.dcm", SOPInstanceUID=f"{UID}1", InstanceNumber=77)
    (released.folder / "data/1.dcm").unlink()
    done = released.run("plan", "--locked")
    assert done.code == 4
    for what in ("added", "changed", "gone"):
        assert f"{what:<7}  instances: 1, series: 1, studies: 1, patients: 1" in done.err
    assert UID not in done.err
    assert "lock again: pyconquest-rules lock v1" in done.err
    listed = released.run("plan", "--locked", "--list").err
    for what, number in (("added", NUMBER + 1), ("changed", 1), ("gone", 2)):
        assert f"{what} {UID}{number}" in listed
    assert released.run("apply", "--locked").code == 4
    assert released.files("export") == {}

    assert released.run("lock").code == 0
    counts = released.run("lock", "diff", "before.txt", "locks/v1.txt", "--json").lines
    assert [line["values"]["change"] for line in counts[:-1]] == ["added", "changed", "gone"]
    assert {line["values"]["instances"] for line in counts[:-1]} == {1}
    named = released.run("lock", "diff", "locks/v1.txt", "before.txt", "--list", "--json").lines
    assert [tuple(line["values"].values()) for line in named[:-1]] == [
        ("added", f"{UID}2"),
        ("changed", f"{UID}1"),
        ("gone", f"{UID}{NUMBER + 1}"),
    ]
    assert released.run("lock", "diff", "before.txt", "before.txt", "--json").summary["rows"] == 0


def test_the_forms_for_ci_show_the_plan_and_that_it_differs(released: Workplace, instance: Instance) -> None:
    released.run("lock")
    same = released.run("plan", "--locked", "--format", "junit")
    assert (same.code, "differs" in same.out) == (0, False)
    instance("data/new.dcm")
    for form, text in (("junit", 'type="lock" message="the plan differs'), ("markdown", "- **The plan differs from the lock")):
        done = released.run("plan", "--locked", "--format", form)
        assert (done.code, text in done.out, "copy.export" in done.out) == (4, True, True)
        assert "added    instances: 1" in done.err


def test_another_destination_is_a_change(released: Workplace) -> None:
    assert released.run("lock").code == 0
    released.rules(RULES.replace("{{ PatientID }}/{{ SOP", "{{ Modality }}/{{ SOP"))
    done = released.run("plan", "--locked", "--json")
    assert done.code == 4
    assert f"changed  instances: {NUMBER}, series: 1" in done.err
    assert "the rules of the release changed too" in done.err
    assert done.summary["exit_code"] == 4


def test_files_that_the_release_does_not_have_are_not_compared(released: Workplace) -> None:
    assert released.run("lock").code == 0
    released.rules(RULES.replace("other/{{ SOP", "other/{{ Modality }}/{{ SOP"))
    assert released.run("plan", "--locked").code == 0
    done = released.run("plan", "copy.more", "--locked")
    assert (done.code, "have all actions of no release" in done.err) == (2, True)


def test_no_lock_is_an_error_with_the_way_out(released: Workplace) -> None:
    for command in ("plan", "apply"):
        done = released.run(command, "--locked")
        assert (done.code, "write it with: pyconquest-rules lock v1" in done.err) == (2, True)
    assert released.files("export") == {}
    assert "releases are: v1" in released.run("lock", "v2").err


def test_blocked_steps_are_not_locked(released: Workplace) -> None:
    released.rules(RULES.replace("{{ PatientID }}/{{ SOPInstanceUID }}", "{{ PatientID }}"))
    done = released.run("lock")
    assert (done.code, f"{NUMBER} steps of the release are blocked" in done.err) == (1, True)
    assert not (released.folder / "locks/v1.txt").exists()


def test_another_file_at_the_place_of_the_lock_stays(released: Workplace) -> None:
    (released.folder / "locks").mkdir()
    (released.folder / "locks/v1.txt").write_text("notes of somebody")
    assert released.run("lock").code == 2
    assert (released.folder / "locks/v1.txt").read_text() == "notes of somebody"


def test_an_unresolved_merge_is_an_error_with_its_line(released: Workplace) -> None:
    assert released.run("lock").code == 0
    lock = released.folder / "locks/v1.txt"
    lock.write_text(lock.read_text() + "<<<<<<< HEAD\n")
    done = released.run("plan", "--locked")
    assert (done.code, f":{NUMBER + 7}:1: not a valid line of a lock" in done.err) == (2, True), done.err


def test_the_same_data_gives_the_same_lock_anywhere(released: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    assert released.run("lock").code == 0
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    for number in reversed(range(NUMBER)):
        (other / "data").mkdir(exist_ok=True)
        shutil.copy(released.folder / f"data/{number}.dcm", other / f"data/{9 - number}.dcm")
    away = str(tmp_path / "away")
    (other / "rules.toml").write_text(
        "rules_version = 1\n" + RULES.replace('["export", ', f'["{away}", ').replace('out = "export"', f'out = "{away}"')
    )
    environment = {**os.environ, "TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "pyconquest_rules", "lock"]
    subprocess.run(command, cwd=other, env=environment, check=True, capture_output=True, umask=0o077)
    assert (other / "locks/v1.txt").read_bytes() == (released.folder / "locks/v1.txt").read_bytes()


@pytest.mark.parametrize("name", [b"a\\n", b"a\nb", b"a\rb", b"\\\\", b"plain", "Müller".encode(), b"\xff", b"# x", b" "])
def test_every_destination_survives_a_lock(tmp_path: Path, name: bytes) -> None:
    file = Locked(b"x/" + name, "1.2", "0" * 64, "0" * 12, "1.3", "1.4")
    with (tmp_path / "lock").open("wb") as stream:
        assert write(stream, [("rules", "1")], [file, file]) == 1
    assert [*read(tmp_path / "lock")] == [file]


def test_a_lock_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"# pyconquest-rules lock 2\n")
    with pytest.raises(UsageError, match="is not a lock of this program"):
        next(read(tmp_path / "lock"))


def test_is_in_the_schema(released: Workplace) -> None:
    schema = json.loads(released.run("schema").out)
    assert schema["$defs"]["Release"]["required"] == ["actions", "root", "lock"]
