"""What a killed run placed but had not recorded is ours; what others put in its way, or what it only began, is not."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.execute.processes import kill
from tests.plan.manual import SOURCE, action

TO = "export/{{ InstanceNumber }}.dcm"
NUMBER = 40


@pytest.fixture
def forty(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with forty instances."""
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    return want(workplace)


def want(workplace: Workplace, where: str = "1", **options: object) -> Workplace:
    """Have the rules copy what a condition selects, and prune the rest."""
    copy = action("export", TO, **options).replace("'", '"')
    selected = SOURCE.replace('"1"', f'"{where}"')
    return workplace.rules(f"{selected}{copy}prune = true\n")


def placed(workplace: Workplace) -> set[str]:
    return {name for name in workplace.files("export") if name.endswith(".dcm")}


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_what_a_killed_run_placed_goes_with_its_patient(forty: Workplace, mode: str) -> None:
    want(forty, mode=mode)
    kill(forty, "os.unlink", 12)
    there = placed(forty)
    assert there
    assert forty.run("verify", "--json").summary["ok"] == len(there)
    assert want(forty, "0", mode=mode).run("apply", "--allow-prune", "--json").summary["removed"] == len(there)
    assert forty.files("export") == {}


def test_what_a_killed_run_began_leaves_nothing(forty: Workplace) -> None:
    kill(forty, "os.fsync", 12)
    parts = [*(forty.folder / "export").iterdir()]
    assert parts
    assert want(forty, "0").run("apply", "--allow-prune").code == 0
    assert [*(forty.folder / "export").iterdir()] == []


def test_a_file_of_others_with_the_same_bytes_and_time_is_not_taken_for_ours(forty: Workplace) -> None:
    kill(forty, "os.link", 1)  # every file of the group is complete, none has its name
    for number in range(NUMBER):
        shutil.copy2(forty.folder / f"data/{number}.dcm", forty.folder / f"export/{number}.dcm")
    assert want(forty, "0").run("apply", "--allow-prune", "--json").summary["done"] == 0
    assert forty.files("export") == forty.files("data")


def test_what_others_changed_since_the_kill_stays(forty: Workplace) -> None:
    kill(forty, "os.unlink", 12)
    for name in placed(forty):
        (forty.folder / "export" / name).write_bytes(b"notes of somebody")
    kept = forty.files("export")
    want(forty, "0").run("apply", "--allow-prune")
    assert {name: data for name, data in kept.items() if name.endswith(".dcm")} == forty.files("export")


@pytest.mark.parametrize("on_conflict", ["overwrite", "rename"])
def test_what_was_placed_beside_or_over_other_content_is_ours(forty: Workplace, on_conflict: str) -> None:
    for number in range(NUMBER):
        (forty.folder / "export").mkdir(exist_ok=True)
        (forty.folder / f"export/{number}.dcm").write_bytes(b"of others")
    want(forty, on_conflict=on_conflict)
    kill(forty, "Ledger.record", 1)
    ours = {name for name in placed(forty) if (forty.folder / "export" / name).read_bytes() != b"of others"}
    assert ours
    want(forty, "0", on_conflict=on_conflict).run("apply", "--allow-prune")
    assert set(forty.files("export").values()) == {b"of others"}


def test_plan_shows_what_a_killed_run_placed_and_writes_nothing(forty: Workplace) -> None:
    kill(forty, "Ledger.record", 1)
    there, state = placed(forty), forty.folder / ".pyconquest-rules/state.db"
    assert there
    before = rows(state)
    assert forty.run("plan", "--json").summary["reasons"] == {"unchanged:done": len(there), "todo:new": NUMBER - len(there)}
    assert rows(state) == before
    applied = forty.run("apply", "--json").summary
    assert (applied["done"], applied["unchanged"], applied["adopted"]) == (NUMBER - len(there), len(there), 0)


def rows(state: Path) -> list[str]:
    """All that a database holds."""
    with closing(sqlite3.connect(state)) as connection:
        return [*connection.iterdump()]
