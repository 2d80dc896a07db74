"""What a run never does: write elsewhere, replace what it has not seen, leave a half file, or stop at the first trouble."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pyconquest_rules import app
from pyconquest_rules.app.loading import Rules
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.events import Event, RunStarted
from tests.conftest import Instance, Workplace, needs, save
from tests.plan.manual import copies, planned

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def three(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with three instances."""
    for number in (1, 2, 3):
        instance(f"data/{number}.dcm", InstanceNumber=number, pixels=bytes(1000))
    return workplace.rules(copies(TO))


# Where files may be written.

WEAPONS = [
    "../../x",
    "..",
    "/etc/x",
    "CON",
    "nul.dcm",
    "a\0b",
    "C:\\Windows\\x",
    "..\\..\\x",
    "~root",
    "-rf",
    ".",
    "a\nb",
    "x" * 300,
    "\u00e9" * 200,
    "\u202egpj.exe",
    ".bashrc",
    "P1.",
    "$(id)",
    "{{ 7*7 }}",
    " ",
]


def test_weapons_in_a_value_are_made_safe_or_blocked_and_the_rest_is_copied(workplace: Workplace, instance: Instance) -> None:
    for number, weapon in enumerate(WEAPONS):
        instance(f"data/{number}.dcm", PatientID=weapon, InstanceNumber=number)
    instance("data/two.dcm", PatientID="a_b", InstanceNumber=100)  # the same folder as the one with a line break
    sources = workplace.files("data")
    workplace.rules("outputs = ['deep/er/out']\n" + copies("deep/er/out/{{ PatientID }}/{{ InstanceNumber }}.dcm"))
    plan = workplace.run("plan", "--json").summary
    applied = workplace.run("apply", "--json")
    assert applied.code == 1
    assert (applied.summary["done"], applied.summary["blocked"], applied.summary["failed"]) == (plan["todo"], plan["blocked"], 0)
    assert set(plan["reasons"]) == {"todo:new", "blocked:collision", "blocked:missing-value"}
    written = workplace.files("deep")
    assert all(name.startswith("er/out/") and len(Path(name).parts) == 4 for name in written)
    assert all(len(part.encode()) <= 255 for name in written for part in Path(name).parts)
    assert set(written.values()) < set(sources.values()) == set(workplace.files("data").values())
    assert applied.summary["done"] + applied.summary["blocked"] == len(sources)
    assert {path.name for path in workplace.folder.iterdir()} <= {
        "data", "deep", "rules.toml", "conquest.db", "conquest.db-wal", "conquest.db-shm", ".pyconquest-rules"
    }  # fmt: skip


@pytest.mark.parametrize("to", ["/etc/{{ PatientID }}", "../{{ PatientID }}", "elsewhere/{{ PatientID }}", "{{ PatientID }}/x"])
def test_a_template_that_leaves_the_outputs_is_a_mistake_of_the_rules(workplace: Workplace, to: str) -> None:
    refused = workplace.rules("outputs = ['export']\n" + copies(to)).run("check")
    assert refused.code == 2
    assert "outside the outputs" in refused.err


@pytest.mark.parametrize("to", ["data/{{ PatientID }}/x.dcm", "export/../data/x.dcm", "link/x.dcm"])
def test_a_destination_inside_a_source_is_refused(workplace: Workplace, instance: Instance, to: str) -> None:
    instance("data/1.dcm")
    (workplace.folder / "link").symlink_to("data")
    refused = workplace.rules("outputs = ['.', 'link']\n" + copies(to)).run("check")
    assert refused.code == 2
    assert "inside a source" in refused.err


def test_a_folder_of_the_output_that_is_a_link_is_refused(three: Workplace) -> None:
    elsewhere = three.folder / "elsewhere"
    elsewhere.mkdir()
    (three.folder / "export").mkdir()
    (three.folder / "export/P1").symlink_to(elsewhere)
    assert set(planned(three).values()) == {("blocked", "unsafe-path")}
    assert three.run("apply").code == 1
    assert [*elsewhere.iterdir()] == []


def test_a_folder_that_became_a_link_since_the_plan_is_refused(three: Workplace) -> None:
    elsewhere = three.folder / "elsewhere"
    elsewhere.mkdir()

    def trick() -> None:
        (three.folder / "export").mkdir()
        (three.folder / "export/P1").symlink_to(elsewhere)

    failed = between_plan_and_apply(three, trick)
    assert failed == {"a folder of the destination is a link or a file"}
    assert [*elsewhere.iterdir()] == []


def test_an_output_that_is_itself_a_link_is_followed(three: Workplace) -> None:
    real = three.folder / "disk"
    real.mkdir()
    (three.folder / "export").symlink_to(real)
    three.rules("outputs = ['export']\n" + copies(TO))
    assert three.run("apply").code == 0
    assert sorted(three.files("disk")) == ["P1/1.dcm", "P1/2.dcm", "P1/3.dcm"]
    assert three.run("plan", "--detailed-exitcode").code == 0
    assert three.run("verify").code == 0


def test_an_absolute_output(three: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    three.rules(f"outputs = ['{out}']\n[vars]\nout = '{out}'\n" + copies("{{ vars.out }}/{{ InstanceNumber }}.dcm"))
    assert three.run("apply").code == 0
    assert sorted(path.name for path in out.iterdir()) == ["1.dcm", "2.dcm", "3.dcm"]
    assert three.run("verify", "--json").summary["ok"] == 3


# Between the plan and its doing the world may change.


def between_plan_and_apply(workplace: Workplace, change: Callable[[], object]) -> set[str]:
    """Why steps failed when something changed after they were planned."""
    rules = Rules.load(workplace.folder / "rules.toml")
    app.index(rules)
    events: list[Event] = []
    with app.running(rules), app.plan(rules) as made:
        change()
        app.apply(rules, made, emit=events.append)
    return {event.message for event in events if hasattr(event, "message")}


def test_what_came_to_the_destination_since_the_plan_is_not_replaced(three: Workplace) -> None:
    def come() -> None:
        (three.folder / "export/P1").mkdir(parents=True)
        (three.folder / "export/P1/2.dcm").write_bytes(b"new")

    assert between_plan_and_apply(three, come) == {"the destination changed since it was planned"}
    assert three.files("export")["P1/2.dcm"] == b"new"
    assert len(three.files("export")) == 3


@pytest.mark.parametrize("mode", ["copy", "hardlink", "move"])
def test_what_changed_at_the_destination_since_the_plan_is_not_replaced(three: Workplace, mode: str) -> None:
    (three.folder / "export/P1").mkdir(parents=True)
    (three.folder / "export/P1/2.dcm").write_bytes(b"seen")
    three.rules(copies(TO, mode=mode, on_conflict="overwrite"))
    change = lambda: (three.folder / "export/P1/2.dcm").write_bytes(b"not seen")  # noqa: E731
    assert between_plan_and_apply(three, change) == {"the destination changed since it was planned"}
    assert three.files("export")["P1/2.dcm"] == b"not seen"
    assert "2.dcm" in three.files("data")


def test_what_was_to_be_adopted_and_changed_is_not_recorded(three: Workplace) -> None:
    (three.folder / "export/P1").mkdir(parents=True)
    shutil.copyfile(three.folder / "data/2.dcm", three.folder / "export/P1/2.dcm")
    change = lambda: (three.folder / "export/P1/2.dcm").write_bytes(b"changed")  # noqa: E731
    assert between_plan_and_apply(three, change) == {"the destination changed since it was planned"}
    assert planned(three) == {"export/P1/2.dcm": ("blocked", "conflict")}


def test_a_source_that_changed_since_it_was_indexed_fails_that_step_only(three: Workplace) -> None:
    assert three.run("index").code == 0
    (three.folder / "data/2.dcm").write_bytes(b"x")
    applied = three.run("apply", "--no-index", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["failed"]) == (1, 2, 1)
    assert sorted(three.files("export")) == ["P1/1.dcm", "P1/3.dcm"]
    assert "the source changed since it was indexed" in three.run("apply", "--no-index").err


def test_a_source_that_is_gone_since_it_was_indexed_fails_that_step_only(three: Workplace) -> None:
    assert three.run("index").code == 0
    (three.folder / "data/2.dcm").unlink()
    applied = three.run("apply", "--no-index")
    assert applied.code == 1
    assert "the source is gone" in applied.err
    assert sorted(three.files("export")) == ["P1/1.dcm", "P1/3.dcm"]


def test_a_source_that_became_a_pipe_does_not_hold_up_the_run(three: Workplace) -> None:
    assert three.run("index").code == 0
    (three.folder / "data/2.dcm").unlink()
    os.mkfifo(three.folder / "data/2.dcm")
    assert three.run("apply", "--no-index", "--json").summary["failed"] == 1


def test_a_failed_step_names_no_value_of_a_patient(three: Workplace) -> None:
    assert three.run("index").code == 0
    shutil.rmtree(three.folder / "data")
    applied = three.run("apply", "--no-index")
    assert applied.code == 1
    assert "P1" not in applied.out + applied.err
    assert "failed: copy.export 1.2.826.0.1.3680043.10.1.1: the source is gone" in applied.err


# Destinations that cannot be written.


@pytest.fixture
def small_disk(workplace: Workplace) -> Iterator[Path]:
    """A disk of one megabyte, mounted at export/."""
    folder = workplace.folder / "export"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    needs("the right to mount a disk of its own", mounted)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_the_steps_that_do_not_fit_and_the_next_run_does_them(
    workplace: Workplace, instance: Instance, small_disk: Path
) -> None:
    for number in range(20):
        instance(f"data/{number}.dcm", InstanceNumber=number, pixels=bytes(100_000))
    workplace.rules(copies("export/{{ InstanceNumber }}.dcm"))
    (small_disk / "in the way").write_bytes(bytes(500_000))
    applied = workplace.run("apply")
    assert applied.code == 1
    assert "no space is left at the destination" in applied.err
    files = workplace.files("export")
    files.pop("in the way")
    assert 0 < len(files) < 10
    assert all(data == workplace.files("data")[name] for name, data in files.items())
    (small_disk / "in the way").unlink()
    reasons = workplace.run("plan", "--json").summary["reasons"]
    assert reasons == {"unchanged:done": len(files), "todo:retry": 20 - len(files)}
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    assert workplace.run("apply", "--json").summary["done"] == 20 - len(files)
    assert workplace.files("export") == workplace.files("data")


def test_a_full_disk_under_the_ledger_ends_the_run_before_anything_is_placed_that_it_cannot_note(
    workplace: Workplace, instance: Instance, small_disk: Path
) -> None:
    for number in range(200):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    rules_text = "outputs = ['../out']\n" + copies("../out/{{ InstanceNumber }}.dcm")
    inner = Workplace(small_disk).rules(rules_text.replace('"data"', '"../data"'))
    index = workplace.folder / "conquest.db"
    rules = Rules.load(small_disk / "rules.toml", index)
    app.index(rules)

    def fill(event: Event) -> None:
        if isinstance(event, RunStarted):
            (small_disk / "in the way").write_bytes(bytes(free(small_disk)))

    with app.running(rules), app.plan(rules) as made, pytest.raises(DatabaseError, match="database or disk is full"):
        app.apply(rules, made, emit=fill)
    assert workplace.files("out") == {}
    (small_disk / "in the way").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)  # the ledger of 200 files needs it
    assert inner.run("--database", str(index), "plan", "--json").summary["reasons"] == {"todo:new": 200}
    assert inner.run("--database", str(index), "apply").code == 0
    assert workplace.files("out") == workplace.files("data")


def free(disk: Path) -> int:
    """The bytes that a disk can still take."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_bsize


def test_a_destination_that_cannot_be_written_fails_every_step_and_names_the_side(
    workplace: Workplace, instance: Instance, small_disk: Path
) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(copies("export/{{ InstanceNumber }}.dcm"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    failed = workplace.run("apply")
    assert failed.code == 1
    assert "the destination: Read-only file system" in failed.err


def test_a_state_that_cannot_be_written_ends_the_run_before_it_begins(
    workplace: Workplace, instance: Instance, small_disk: Path
) -> None:
    instance("data/1.dcm")
    inner = Workplace(small_disk).rules("outputs = ['../out']\n" + copies("../out/x.dcm"))
    (small_disk / "data").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    failed = inner.run("--database", str(workplace.folder / "i.db"), "apply")
    assert failed.code == 1
    assert "cannot write to" in failed.err
    assert "Read-only file system" in failed.err


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Within it, root is a user to whom the folder belongs, and who may not read everything."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_or_written_is_said_without_a_name_of_a_patient() -> None:
    with TemporaryDirectory() as name:
        workplace = Workplace(Path(name)).rules(copies(TO))
        source, folder = workplace.folder / "data/1.dcm", workplace.folder / "export/P1"
        source.parent.mkdir()
        save(source, {"SOPClassUID": "1.2", "SOPInstanceUID": "1.2.3", "PatientID": "P1", "InstanceNumber": 1})
        folder.mkdir(parents=True)
        assert workplace.run("plan").code == 0
        with as_nobody(workplace.folder):
            folder.chmod(0)
            unlisted = workplace.run("apply")
            folder.chmod(0o500)
            unwritten = workplace.run("apply")
            folder.chmod(0o700)
            source.chmod(0)
            unread = workplace.run("apply")
    assert (unlisted.code, unwritten.code, unread.code) == (2, 1, 1)
    assert f"a folder below {name} cannot be listed: Permission denied" in unlisted.err
    assert "failed: copy.export 1.2.3: the destination: Permission denied" in unwritten.err
    assert "failed: copy.export 1.2.3: the source: Permission denied" in unread.err


def test_the_events_of_a_run(three: Workplace) -> None:
    rules = Rules.load(three.folder / "rules.toml")
    app.index(rules)
    events: list[Event] = []
    with app.running(rules), app.plan(rules) as made:
        app.apply(rules, made, emit=events.append)
    size = sum(len(data) for data in three.files("data").values())
    assert events[0] == RunStarted(1, 3, size)
    assert [type(event).__name__ for event in events] == ["RunStarted", "StepDone", "StepDone", "StepDone"]
