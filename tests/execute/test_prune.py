"""`prune`: files that are no longer requested are removed, and nothing else."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconquest_rules.disk.removing import remove_together
from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action, copies, listed, planned
from tests.properties import workplace_of

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"
MODES = ["copy", "hardlink", "symlink"]


def pruning(to: str = TO, where: str = "1", **options: object) -> str:
    """Rules with one action that prunes."""
    lines = {"select": "some", "to": to, **options}
    table = "\n".join(f"{key} = {value!r}" for key, value in lines.items())
    return f'{SOURCE}[select.some]\nlevel = "image"\nwhere = "{where}"\n\n[copy.export]\nprune = true\n{table}\n'


@pytest.fixture
def five(workplace: Workplace, instance: Instance) -> Workplace:
    """Five instances of two patients, copied; number 5 will leave the set."""
    for number in range(1, 6):
        instance(f"data/{number}.dcm", InstanceNumber=number, SOPInstanceUID=f"1.2.{number}", PatientID=f"P{number // 4}")
    assert workplace.rules(pruning()).run("apply").code == 0
    return workplace.rules(pruning(where="InstanceNumber < 5"))


GONE = "export/P1/5.dcm"


def ledger(workplace: Workplace) -> list[str]:
    """The destinations that the ledger knows."""
    with sqlite3.connect(workplace.folder / ".pyconquest-rules/state.db") as connection:
        return [destination for (destination,) in connection.execute("SELECT target FROM done ORDER BY 1")]


def test_a_plan_shows_it_and_apply_does_it(five: Workplace) -> None:
    plan = five.run("plan", "--list", "--json")
    assert plan.code == 0
    assert plan.summary["actions"] == {"copy.export": {"todo": 1, "unchanged": 4, "blocked": 0, "bytes": 0}}
    assert [(step["destination"], step["status"], step["reason"]) for step in listed(plan)] == [(GONE, "todo", "prune")]
    assert f"- copy.export {GONE}  (prune)" in five.run("plan", "--list").out
    applied = five.run("apply", "--json")
    assert applied.code == 0
    assert (applied.summary["done"], applied.summary["unchanged"], applied.summary["bytes"]) == (1, 4, 0)
    assert sorted(five.files("export")) == ["P0/1.dcm", "P0/2.dcm", "P0/3.dcm", "P1/4.dcm"]
    assert len(ledger(five)) == 4
    assert len(five.files("data")) == 5
    assert five.run("plan", "--detailed-exitcode").code == 0
    assert five.run("verify", "--deep").code == 0


def test_without_prune_nothing_goes(five: Workplace) -> None:
    five.rules(pruning(where="InstanceNumber < 5").replace("prune = true", ""))
    assert planned(five) == {}


@pytest.mark.parametrize("mode", MODES)
def test_whose_source_is_gone(workplace: Workplace, instance: Instance, mode: str) -> None:
    for number in (1, 2, 3):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    workplace.rules(pruning(mode=mode)).run("apply")
    (workplace.folder / "data/2.dcm").unlink()
    assert workplace.run("apply", "--json").summary["done"] == 1
    assert sorted(os.listdir(workplace.folder / "export/P1")) == ["1.dcm", "3.dcm"]
    assert sorted(workplace.files("data")) == ["1.dcm", "3.dcm"]


@pytest.mark.parametrize("mode", MODES)
def test_a_template_that_changed_moves_the_export(five: Workplace, mode: str) -> None:
    five.rules(pruning(mode=mode)).run("apply")
    five.rules(pruning("export/new/{{ InstanceNumber }}.dcm", mode=mode))
    assert five.run("apply", "--allow-prune", "--json").summary["done"] == 10
    assert five.files("export") == {f"new/{name}": data for name, data in five.files("data").items()}


def touched(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def longer(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"x")


def linked(file: Path) -> None:
    status = file.stat()
    file.unlink()
    file.symlink_to("elsewhere")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("change", [touched, longer, linked, piped, a_folder])
def test_what_changed_since_it_was_made_stays(five: Workplace, change: Callable[[Path], None]) -> None:
    change(five.folder / GONE)
    plan = five.run("plan", "--list", "--json")
    assert plan.code == 1
    (step,) = listed(plan)
    assert (step["status"], step["reason"], step["message"]) == (
        "blocked",
        "conflict",
        "it changed since it was made, and stays",
    )
    assert five.run("apply").code == 1
    assert os.path.lexists(five.folder / GONE)
    assert GONE in ledger(five)


def rotten(file: Path) -> None:
    """Changes a byte and nothing else: size and time stay."""
    status = file.stat()
    file.write_bytes(b"x" + file.read_bytes()[1:])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_bytes_are_read_before_they_are_removed(five: Workplace) -> None:
    rotten(five.folder / GONE)
    assert planned(five) == {GONE: ("todo", "prune")}
    applied = five.run("apply", "--json")
    assert (applied.code, applied.summary["failed"]) == (1, 1)
    assert applied.lines[0]["message"] == "it changed since it was made; the file stays"
    assert (five.folder / GONE).read_bytes().startswith(b"x")
    assert GONE in ledger(five)


def test_what_is_gone_already_is_forgotten(five: Workplace) -> None:
    (five.folder / GONE).unlink()
    (step,) = listed(five.run("plan", "--list", "--json"))
    assert (step["status"], step["reason"], step["message"]) == ("todo", "prune", "it is already gone; the ledger forgets it")
    assert five.run("apply").code == 0
    assert GONE not in ledger(five)


def test_a_folder_that_is_gone_is_forgotten_with_what_it_held(five: Workplace) -> None:
    five.rules(pruning(where="PatientID = 'P0'"))
    shutil.rmtree(five.folder / "export/P1")
    assert five.run("apply", "--json").summary["done"] == 2
    assert not (five.folder / "export/P1").exists()
    assert len(ledger(five)) == 3


def test_folders_stay(five: Workplace) -> None:
    five.rules(pruning(where="PatientID = 'P0'"))
    assert five.run("apply").code == 0
    assert os.listdir(five.folder / "export/P1") == []


def test_no_link_is_followed(five: Workplace) -> None:
    (five.folder / "export/P1").rename(five.folder / "away")
    (five.folder / "export/P1").symlink_to(five.folder / "away")
    five.rules(pruning(where="PatientID = 'P0'"))
    assert set(planned(five).values()) == {("blocked", "unsafe-path")}
    assert five.run("apply").code == 1
    assert sorted(os.listdir(five.folder / "away")) == ["4.dcm", "5.dcm"]


def test_a_link_that_comes_between_plan_and_apply_is_not_followed(five: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(*given: Any) -> Any:
        if not (five.folder / "away").exists():
            (five.folder / "export/P1").rename(five.folder / "away")
            (five.folder / "export/P1").symlink_to(five.folder / "away")
        return remove_together(*given)

    monkeypatch.setattr("pyconquest_rules.engine.putting.remove_together", swapped)
    assert five.run("apply", "--json").summary["failed"] == 1
    assert sorted(os.listdir(five.folder / "away")) == ["4.dcm", "5.dcm"]


def test_nothing_outside_the_outputs_of_today_goes(five: Workplace) -> None:
    five.rules("outputs = ['new']\n" + pruning("new/{{ InstanceNumber }}.dcm"))
    assert set(planned(five, "--allow-prune").values()) == {("todo", "new"), ("blocked", "unsafe-path")}
    five.run("apply", "--allow-prune")
    assert len(five.files("export")) == 5


def test_nothing_inside_a_source_goes(five: Workplace) -> None:
    five.rules(pruning("new/{{ InstanceNumber }}.dcm") + '[sources.other]\npath = "export"\n')
    five.run("apply", "--allow-prune")
    assert len(five.files("export")) == 5


def test_another_name_of_a_folder_is_the_same_place(five: Workplace) -> None:
    (five.folder / "link").symlink_to("export")
    five.rules("outputs = ['export', 'link']\n" + pruning("link/{{ PatientID }}/{{ InstanceNumber }}.dcm"))
    assert five.run("apply", "--allow-prune").code == 0
    assert len(five.files("export")) == 5
    assert all(name.startswith("link/") for name in ledger(five))


def test_names_that_differ_in_case_only(five: Workplace) -> None:
    five.rules(pruning("export/{{ PatientID | lower }}/{{ InstanceNumber }}.dcm"))
    assert set(planned(five, "--allow-prune").values()) == {("blocked", "conflict")}
    shutil.rmtree(five.folder / "export")
    assert five.run("apply", "--allow-prune").code == 0
    assert sorted(ledger(five)) == [f"export/{name}" for name in sorted(five.files("export"))]
    assert sorted(five.files("export")) == ["p0/1.dcm", "p0/2.dcm", "p0/3.dcm", "p1/4.dcm", "p1/5.dcm"]


def test_what_was_adopted_stays_and_is_forgotten(five: Workplace, instance: Instance) -> None:
    instance("data/6.dcm", InstanceNumber=6, PatientID="P1")
    shutil.copy(five.folder / "data/6.dcm", five.folder / "export/P1/6.dcm")
    assert five.rules(pruning(where="InstanceNumber in (1, 2, 3, 4, 6)")).run("apply", "--json").summary["done"] == 2
    assert "export/P1/6.dcm" in ledger(five)
    five.rules(pruning(where="InstanceNumber < 5"))
    (step,) = listed(five.run("plan", "--list", "--json"))
    assert step["message"] == "it was adopted, not made: it stays, and the ledger forgets it"
    done = five.run("apply", "--json").summary
    assert (done["done"], done["released"], done["removed"]) == (1, 1, 0)
    assert sorted(five.files("export/P1")) == ["4.dcm", "6.dcm"]
    assert five.run("plan", "--detailed-exitcode").code == 0


def test_what_was_made_is_ours_still_when_it_is_adopted_again(five: Workplace) -> None:
    five.rules(pruning())
    touched(five.folder / GONE)
    assert planned(five) == {GONE: ("todo", "adopt")}
    assert five.run("apply").code == 0
    five.rules(pruning(where="InstanceNumber < 5"))
    assert five.run("apply").code == 0
    assert not (five.folder / GONE).exists()


def test_what_was_adopted_is_ours_once_it_was_replaced(five: Workplace, instance: Instance) -> None:
    instance("data/6.dcm", InstanceNumber=6, PatientID="P1", SOPInstanceUID="1.2.6")
    shutil.copy(five.folder / "data/6.dcm", five.folder / "export/P1/6.dcm")
    five.rules(pruning()).run("apply")
    instance("data/6.dcm", InstanceNumber=6, PatientID="P1", SOPInstanceUID="1.2.6", pixels=bytes(10))
    assert five.run("apply", "--json").summary["done"] == 1
    five.rules(pruning(where="InstanceNumber < 6")).run("apply")
    assert not (five.folder / "export/P1/6.dcm").exists()


def test_what_was_moved_there_is_all_that_there_is_and_stays(workplace: Workplace, instance: Instance) -> None:
    for number in range(3):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    workplace.rules(copies(TO, mode="move")).run("apply")
    workplace.rules(pruning())
    assert planned(workplace, "--allow-prune") == {}
    workplace.run("apply", "--allow-prune")
    assert len(workplace.files("export")) == 3


def test_what_another_action_wants_stays(five: Workplace) -> None:
    wanted = f'{action("other", TO)}on_conflict = "skip"\n'
    five.rules(pruning(where="InstanceNumber < 5") + wanted.replace("everything", "fifth").replace("[copy", FIFTH + "[copy"))
    assert planned(five) == {}


FIFTH = '[select.fifth]\nlevel = "image"\nwhere = "InstanceNumber = 5"\n\n'


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (
            "export/{% if InstanceNumber == 5 %}{{ KVP }}{% else %}{{ PatientID }}{% endif %}/{{ InstanceNumber }}.dcm",
            "missing-value",
        ),
        ("export/{% if InstanceNumber == 5 %}taken{% else %}{{ PatientID }}{% endif %}/{{ InstanceNumber }}.dcm", "conflict"),
    ],
)
def test_a_request_that_cannot_be_done_takes_nothing_away(five: Workplace, to: str, why: str) -> None:
    (five.folder / "export/taken").mkdir()
    (five.folder / "export/taken/5.dcm").write_bytes(b"foreign")
    five.rules(pruning(to))
    assert {reason for _, reason in planned(five).values()} == {why}
    assert five.run("apply").code == 1
    assert (five.folder / GONE).exists()


def test_a_collision_takes_nothing_away(five: Workplace, instance: Instance) -> None:
    instance("data/6.dcm", InstanceNumber=5, PatientID="P1")
    five.rules(pruning("export/{{ PatientID }}/{{ InstanceNumber }}{% if InstanceNumber == 5 %}x{% endif %}.dcm"))
    assert planned(five) == {"export/P1/5x.dcm": ("blocked", "collision")}
    assert five.run("apply").code == 1
    assert (five.folder / GONE).exists()


def test_nothing_is_removed_while_something_could_not_be_put(five: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    five.rules(pruning("export/new/{{ InstanceNumber }}.dcm"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        applied = five.run("apply", "--allow-prune", "--json")
    assert (applied.code, applied.summary["failed"], applied.summary["blocked"]) == (1, 5, 5)
    assert len(five.files("export")) == 5
    assert five.run("apply", "--allow-prune", "--json").summary["done"] == 10
    assert len(five.files("export")) == 5


def test_what_cannot_be_removed_is_told_and_tried_again(five: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refused)
        applied = five.run("apply", "--json")
    assert (applied.code, applied.summary["failed"]) == (1, 1)
    assert applied.lines[0]["message"] == "it cannot be deleted: Permission denied"
    assert GONE in ledger(five)
    assert five.run("apply", "--json").summary["done"] == 1
    assert five.run("status", "--json").lines[0]["failed"] == 0


def test_what_is_gone_is_not_forgotten_before_that_is_durable(five: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        assert five.run("apply").code == 1
    assert (GONE in ledger(five), (five.folder / GONE).exists()) == (True, False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        assert five.run("apply").code == 1
    assert GONE in ledger(five)
    assert five.run("apply").code == 0
    assert GONE not in ledger(five)


@pytest.mark.parametrize("where", ["0", "InstanceNumber > 2 and PatientID = 'P1'"])
def test_a_set_that_lost_most_of_what_it_had_is_a_question(five: Workplace, instance: Instance, where: str) -> None:
    # What is new is no reason to take less than half for what it is, in this run or the next.
    for number in range(6, 20):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID="P1")
    five.rules(pruning(where=where))
    for _ in range(2):
        plan = five.run("plan", "--json")
        assert (plan.code, plan.summary["todo"]) == (1, 0)
        assert five.run("apply").code == 1
        assert len(five.files("export")) == 5
    assert "--allow-prune" in five.run("plan", "--list").out
    five.rules(pruning(where=where))
    assert five.run("apply", "--allow-prune").code == 0
    assert len(five.files("export")) == (0 if where == "0" else 16)


def test_a_source_that_is_not_there_any_more_wipes_nothing(five: Workplace) -> None:
    (five.folder / "data").rename(five.folder / "elsewhere")
    assert five.run("apply").code == 1
    (five.folder / "data").mkdir()
    assert five.run("apply", "--allow-vanish").code == 1
    assert len(five.files("export")) == 5


def test_a_saved_plan_that_was_allowed_is_done(five: Workplace) -> None:
    five.rules(pruning(where="0"))
    assert five.run("plan", "--allow-prune", "-o", "p").code == 0
    assert five.run("apply", "--plan", "p", "--json").summary["done"] == 5
    assert five.files("export") == {}


@pytest.mark.parametrize("change", [touched, Path.unlink])
def test_a_saved_plan_is_stale_once_what_it_removes_changed(five: Workplace, change: Callable[[Path], None]) -> None:
    assert five.run("plan", "-o", "p").code == 0
    change(five.folder / GONE)
    assert five.run("apply", "--plan", "p").code == 5
    assert GONE in ledger(five)


def test_prune_of_a_move_is_a_mistake_of_the_rules(workplace: Workplace) -> None:
    refused = workplace.rules(pruning(mode="move")).run("check")
    assert refused.code == 2
    assert 'mode = "move" cannot have prune' in refused.err


def test_an_action_that_needs_one_with_blocked_steps_removes_nothing(five: Workplace) -> None:
    five.rules(pruning(where="InstanceNumber < 5", needs=["copy.first"]) + action("first", "first/x.dcm"))
    assert planned(five)[GONE] == ("blocked", "needs")


def test_explain_tells_of_it(five: Workplace) -> None:
    assert "copy.export: todo (prune) → export/P1/5.dcm" in five.run("explain", "1.2.5").out


NUMBERS = st.lists(st.tuples(st.sampled_from(["a", "B", "ü", "x/y"]), st.integers(0, 5)), min_size=1, max_size=8, unique=True)
TEMPLATES = st.sampled_from([TO, "export/{{ InstanceNumber }}/{{ PatientID }}.dcm", "export/{{ SOPInstanceUID }}.dcm"])


@settings(max_examples=15, deadline=None)
@given(NUMBERS, st.lists(st.tuples(st.integers(-1, 5), TEMPLATES, st.sampled_from(MODES)), min_size=1, max_size=4))
def test_after_apply_the_export_is_what_is_wished(
    instances: list[tuple[str | None, int | None]], steps: list[tuple[int, str, str]]
) -> None:
    with TemporaryDirectory() as name:
        workplace = workplace_of(Path(name), instances)
        sources = workplace.files("data")
        for most, to, mode in steps:
            workplace.rules(pruning(to, where=f"InstanceNumber <= {most}", mode=mode))
            assert workplace.run("apply", "--allow-prune").code == 0
            requested = {f"{number}.dcm" for number, (_, instance) in enumerate(instances) if (instance or 0) <= most}
            exported = workplace.files("export") if (workplace.folder / "export").exists() else {}
            assert sorted(exported.values()) == sorted(sources[name] for name in requested)
            assert len(ledger(workplace)) == len(requested)
            assert workplace.run("verify", "--deep").code == 0
            assert workplace.run("plan", "--detailed-exitcode").code == 0
            assert workplace.files("data") == sources
