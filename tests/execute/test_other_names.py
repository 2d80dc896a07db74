"""Folders that have two names: sources, outputs, and what is the program's own."""

import os
from pathlib import Path

import pytest

from pyconquest_rules import app
from pyconquest_rules.app.loading import Rules
from pyconquest_rules.disk import identity
from pyconquest_rules.events import Event, StepFailed
from tests.conftest import Instance, Workplace
from tests.mounting import Mounts, mounts
from tests.plan.manual import SOURCE, action, copies, planned

__all__ = ["mounts"]

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"
IN_SOURCE = "the destination lies inside a source"


@pytest.fixture
def three(workplace: Workplace, instance: Instance) -> Workplace:
    for number in (1, 2, 3):
        instance(f"data/{number}.dcm", InstanceNumber=number, SOPInstanceUID=f"1.{number}")
    return workplace.rules(copies(TO))


def test_a_folder_of_an_output_that_is_a_source_blocks_its_steps(three: Workplace, mounts: Mounts) -> None:
    before = three.files("data")
    mounts.bind(three.folder / "data", three.folder / "export/P1")
    three.rules(copies(TO, mode="move", on_conflict="overwrite"))
    done = three.run("apply", "--json")
    assert (done.code, done.summary["blocked"]) == (1, 3)
    assert set(planned(three).values()) == {("blocked", "unsafe-path")}
    assert three.files("data") == before


@pytest.mark.parametrize("mode", ["copy", "move", "symlink"])
def test_a_mount_that_comes_after_the_plan_is_seen_by_the_run(three: Workplace, mounts: Mounts, mode: str) -> None:
    before = three.files("data")
    (three.folder / "export/P1").mkdir(parents=True)
    three.rules(copies(TO, mode=mode, on_conflict="overwrite"))
    assert three.run("index").code == 0
    rules = Rules.load(three.folder / "rules.toml")
    with app.plan(rules) as made, app.running(rules):
        mounts.bind(three.folder / "data", three.folder / "export/P1")
        events: list[Event] = []
        assert app.apply(rules, made, emit=events.append).counts["failed"] == 3
    assert {event.message for event in events if isinstance(event, StepFailed)} == {IN_SOURCE}
    assert three.files("data") == before


def test_what_was_made_is_not_removed_from_what_is_now_a_source(three: Workplace, mounts: Mounts) -> None:
    three.rules(copies(TO, prune=True).replace("'", '"').replace("True", "true"))
    assert three.run("apply").code == 0
    three.rules(copies("export/other/{{ InstanceNumber }}.dcm", prune=True).replace("'", '"').replace("True", "true"))
    rules = Rules.load(three.folder / "rules.toml")
    with app.plan(rules, allow_prune=True) as made, app.running(rules):
        mounts.bind(three.folder / "export/P1", three.folder / "data/inside")
        assert app.apply(rules, made).counts["failed"] == 3
    assert len(three.files("export/P1")) == 3


@pytest.mark.parametrize("own", ["rules.toml", "conquest.db", "Conquest.DB-wal", ".pyconquest-rules/x", ".pyconquest-rules/a/b"])
def test_nothing_is_written_onto_what_is_the_programs_own(
    three: Workplace, mounts: Mounts, own: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert three.run("apply").code == 0
    out = mounts.bind(three.folder, tmp_path_factory.mktemp("outside") / "out")
    three.rules(f"outputs = ['{out}']\n" + copies(f"{out}/{own}", on_conflict="overwrite"))
    before = (three.folder / "rules.toml").read_bytes()
    done = three.run("apply")
    assert done.code in (1, 2)
    assert "of this program" in done.err + three.run("plan", "--list").out
    assert (three.folder / "rules.toml").read_bytes() == before
    assert not [path for path in (three.folder / ".pyconquest-rules").rglob("*") if path.name in "xab"]


def test_two_outputs_that_are_one_folder_are_named_one_way(three: Workplace, mounts: Mounts) -> None:
    mounts.bind(three.folder / "export", mkdir(three.folder / "export").with_name("alias"))
    both = action("a", "export/{{ InstanceNumber }}.dcm") + action("b", "alias/{{ InstanceNumber }}.dcm")
    three.rules(f"outputs = ['export', 'alias']\n{SOURCE}{both}")
    done = three.run("apply", "--json")
    assert (done.code, done.summary["blocked"], three.files("export")) == (1, 6, {})
    assert {destination.partition("/")[0] for destination in planned(three)} == {"alias"}


def test_what_one_action_moved_another_one_does_not_replace_by_another_name(
    three: Workplace, mounts: Mounts, instance: Instance
) -> None:
    mounts.bind(mkdir(three.folder / "export/in"), three.folder / "alias")
    first = copies("export/in/x{{ InstanceNumber }}.dcm", mode="move")
    assert three.rules(f"outputs = ['export', 'alias']\n{first}").run("apply").code == 0
    moved = three.files("export")
    instance("data/4.dcm", InstanceNumber=1, SOPInstanceUID="1.4")
    second = copies("alias/x{{ InstanceNumber }}.dcm")
    done = three.rules(f"outputs = ['export', 'alias']\n{second}").run("apply", "--allow-vanish")
    assert done.code == 1
    assert "another instance was put there earlier" in three.run("plan", "--list").out
    assert three.files("export") == moved


@pytest.mark.parametrize(("inner", "says"), [("data", "is the same folder as"), ("data/sub", "lies inside")])
def test_sources_that_share_files_by_other_names_are_reported(
    workplace: Workplace, instance: Instance, mounts: Mounts, inner: str, says: str
) -> None:
    instance("data/sub/1.dcm")
    mounts.bind(workplace.folder / inner, workplace.folder / "alias")
    workplace.rules("[sources.one]\npath = 'data'\n[sources.two]\npath = 'alias'\n")
    done = workplace.run("index")
    assert f'{says} source "one", under another name' in done.err
    workplace.rules("[sources.two]\npath = 'alias'\n[sources.one]\npath = 'data'\n")
    assert ("is the same" if inner == "data" else "contains") in workplace.run("index").err


def test_what_is_the_programs_own_is_not_indexed_by_another_name(
    three: Workplace, mounts: Mounts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alias = mounts.bind(three.folder, tmp_path_factory.mktemp("outside") / "alias")
    three.rules(f"[sources.all]\npath = '{alias}'\n")
    assert three.run("index").code == 0
    done = three.run("index", "--json")
    assert done.summary["indexed"] + done.summary["unchanged"] == 4  # with the rules file
    assert done.summary["reasons"]["own"] >= 2


def test_files_that_commands_write_do_not_go_into_a_source(three: Workplace, mounts: Mounts) -> None:
    mounts.bind(mkdir(three.folder / "data/sub"), three.folder / "alias")
    assert three.run("index").code == 0
    done = three.run("export", "everything", "-o", "alias/out.csv")
    assert done.code == 2
    assert 'it is inside the source "archive"' in done.err
    assert not list((three.folder / "data/sub").iterdir())


def test_without_a_list_of_mounts_inodes_tell(three: Workplace, mounts: Mounts, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on systems that have no /proc: only a mount of a folder inside the source cannot be told there.
    monkeypatch.setattr(identity, "mounts", dict)
    mounts.bind(three.folder / "data", three.folder / "export/P1")
    before = three.files("data")
    assert three.rules(copies(TO, on_conflict="overwrite")).run("apply", "--json").summary["blocked"] == 3
    assert three.files("data") == before


def test_folders_whose_names_differ_in_case_are_two_on_a_disk_that_tells_them_apart(
    workplace: Workplace, instance: Instance, mounts: Mounts
) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(f"outputs = ['DATA']\n{copies('DATA/{{ InstanceNumber }}.dcm')}")
    assert workplace.run("apply").code == 0
    assert list(workplace.files("DATA")) == ["1.dcm"]


# A disk that does not tell capital letters from small ones.


@pytest.fixture
def stick(tmp_path: Path, mounts: Mounts, instance: Instance) -> Workplace:
    place = Workplace(mounts.caseless(tmp_path / "backing", tmp_path / "stick"))
    for number in (1, 2):
        instance(place.folder / f"data/{number}.dcm", InstanceNumber=number, SOPInstanceUID=f"1.{number}")
    return place


@pytest.mark.parametrize("to", ["export/patientid/A{{ InstanceNumber }}.dcm", "Export/PATIENTID/a{{ InstanceNumber }}.DCM"])
def test_a_template_that_changes_in_case_only_keeps_its_files(stick: Workplace, instance: Instance, to: str) -> None:
    first = copies("export/PatientID/A{{ InstanceNumber }}.dcm") + "prune = true\n"
    assert stick.rules(first).run("apply").code == 0
    made = stick.files("export")
    instance(stick.folder / "data/3.dcm", InstanceNumber=3, SOPInstanceUID="1.3")
    stick.rules(f"outputs = ['.']\n{copies(to)}prune = true\n")
    done = stick.run("apply", "--json", "--allow-vanish")
    assert (done.code, done.summary["done"], done.summary["blocked"]) == (0, 1, 0)
    assert {name: data for name, data in stick.files("export").items() if "3" not in name} == made
    assert stick.run("apply", "--json", "--allow-vanish").summary["done"] == 0
    assert stick.run("verify", "--deep", "--json").summary == {
        "event": "summary", "ok": 3, "missing": 0, "changed": 0, "extra": 0, "outside": 0
    }  # fmt: skip


def test_two_patients_whose_names_differ_in_case_do_not_share_a_folder(stick: Workplace, instance: Instance) -> None:
    assert stick.rules(copies(TO)).run("apply").code == 0
    instance(stick.folder / "data/1.dcm", PatientID="p1", InstanceNumber=1, SOPInstanceUID="1.9")
    os.unlink(stick.folder / "data/2.dcm")
    done = stick.run("apply", "--json", "--allow-vanish")
    assert (done.code, done.summary["done"], done.summary["blocked"]) == (1, 0, 1)


def mkdir(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
