"""Steps in each other's way, and paths where something stands that is not ours: nothing is lost, nothing is replaced unseen."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Done, Instance, Workplace
from tests.plan.manual import SOURCE, action, copies, listed, planned

BY_PATIENT = "export/{{ PatientID }}.dcm"
FOREIGN = b"not ours"


def foreign(workplace: Workplace, path: str) -> Path:
    file = workplace.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(FOREIGN)
    return file


def reasons(done: Done) -> dict[str, int]:
    found: dict[str, int] = done.summary["reasons"]
    return found


# A path that holds other content which is not ours: on_conflict decides.


@pytest.fixture
def conflict(workplace: Workplace, instance: Instance) -> Workplace:
    """One instance whose destination is taken by a file of somebody else's, and one beside it."""
    instance("data/1.dcm", PatientID="P1", SOPInstanceUID="1.2.3")
    instance("data/2.dcm", PatientID="P2")
    foreign(workplace, "export/P1.dcm")
    return workplace


def test_conflict_is_an_error(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT))
    plan = conflict.run("plan", "--list", "--json")
    assert plan.code == 1
    blocked = next(step for step in listed(plan) if step["status"] == "blocked")
    assert (blocked["destination"], blocked["reason"]) == ("export/P1.dcm", "conflict")
    assert blocked["message"] == "other content is there that no action made"
    applied = conflict.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 1, 1)
    assert conflict.files("export")["P1.dcm"] == FOREIGN


def test_conflict_is_skipped(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT, on_conflict="skip"))
    assert reasons(conflict.run("plan", "--json")) == {"todo:new": 1, "unchanged:conflict": 1}
    assert conflict.run("apply").code == 0
    assert conflict.files("export")["P1.dcm"] == FOREIGN
    assert conflict.run("plan", "--detailed-exitcode").code == 0


def test_conflict_is_overwritten(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT, on_conflict="overwrite"))
    assert planned(conflict)["export/P1.dcm"] == ("todo", "conflict")
    assert conflict.run("apply").code == 0
    assert conflict.files("export")["P1.dcm"] == conflict.files("data")["1.dcm"]
    assert conflict.run("plan", "--detailed-exitcode").code == 0


def test_conflict_is_renamed_and_the_second_run_does_nothing(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT, on_conflict="rename"))
    assert conflict.run("apply", "--json").summary["done"] == 2
    files = conflict.files("export")
    assert files["P1.dcm"] == FOREIGN
    renamed = next(name for name in files if name.startswith("P1~"))
    assert files[renamed] == conflict.files("data")["1.dcm"]
    assert conflict.run("plan", "--detailed-exitcode").code == 0
    assert conflict.run("apply", "--json").summary["done"] == 0
    assert conflict.files("export") == files


def test_a_renamed_step_whose_name_is_taken_too_is_blocked(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT, on_conflict="rename"))
    assert conflict.run("apply").code == 0
    renamed = next(conflict.folder.glob("export/P1~*.dcm"))
    renamed.unlink()
    renamed.mkdir()
    assert planned(conflict) == {f"export/{renamed.name}": ("blocked", "conflict")}


@pytest.mark.parametrize("on_conflict", ["error", "skip", "overwrite", "rename"])
def test_a_folder_in_the_place_of_the_file_is_never_replaced(conflict: Workplace, on_conflict: str) -> None:
    (conflict.folder / "export/P1.dcm").unlink()
    (conflict.folder / "export/P1.dcm").mkdir()
    conflict.rules(copies(BY_PATIENT, on_conflict=on_conflict))
    assert planned(conflict)["export/P1.dcm"] == ("blocked", "conflict")
    assert conflict.run("apply").code == 1
    assert (conflict.folder / "export/P1.dcm").is_dir()


def test_a_file_in_the_place_of_a_folder_is_a_conflict(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    foreign(workplace, "export/P1")
    workplace.rules(copies())
    assert planned(workplace) == {"export/P1/1.dcm": ("blocked", "conflict")}


def test_a_file_whose_name_differs_in_case_only_is_a_conflict(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="abc")
    foreign(workplace, "export/ABC.DCM")
    workplace.rules(copies(BY_PATIENT, on_conflict="overwrite"))
    assert planned(workplace) == {"export/abc.dcm": ("blocked", "conflict")}


def test_a_file_at_the_very_path_does_not_hide_one_whose_name_differs_in_case_only(conflict: Workplace) -> None:
    conflict.rules(copies(BY_PATIENT, on_conflict="overwrite"))
    assert planned(conflict)["export/P1.dcm"] == ("todo", "conflict")
    foreign(conflict, "export/p1.DCM")
    assert planned(conflict)["export/P1.dcm"] == ("blocked", "conflict")


def test_a_folder_whose_name_differs_in_case_only_is_a_conflict(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="abc", InstanceNumber=1)
    foreign(workplace, "export/ABC/x")
    workplace.rules(copies())
    assert planned(workplace) == {"export/abc/1.dcm": ("blocked", "conflict")}


def test_a_link_in_the_place_of_the_file_is_not_followed(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    target = foreign(workplace, "elsewhere/precious")
    (workplace.folder / "export").mkdir()
    (workplace.folder / "export/P1.dcm").symlink_to(target)
    workplace.rules(copies(BY_PATIENT))
    assert planned(workplace) == {"export/P1.dcm": ("blocked", "conflict")}
    workplace.rules(copies(BY_PATIENT, on_conflict="overwrite"))
    assert workplace.run("apply").code == 0
    assert target.read_bytes() == FOREIGN
    assert not (workplace.folder / "export/P1.dcm").is_symlink()


def test_a_foreign_name_that_is_not_utf8_does_no_harm(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    (workplace.folder / "export").mkdir()
    Path(os.fsdecode(os.fsencode(workplace.folder) + b"/export/caf\xe9.dcm")).write_bytes(FOREIGN)
    workplace.rules(copies(BY_PATIENT))
    assert workplace.run("apply").code == 0
    assert workplace.run("verify", "--json").summary["extra"] == 1


# What an earlier run put there from another instance is as good as foreign: it may be the last copy of that instance.


def test_the_file_of_another_instance_is_not_replaced(workplace: Workplace, instance: Instance) -> None:
    first = instance("data/1.dcm", PatientID="P1")
    workplace.rules(copies(BY_PATIENT))
    assert workplace.run("apply").code == 0
    before = workplace.files("export")
    first.unlink()
    instance("data/2.dcm", PatientID="P1")
    plan = workplace.run("plan", "--list", "--json", "--allow-vanish")
    assert [(step["reason"], step["message"]) for step in listed(plan)] == [
        ("conflict", "another instance was put there earlier")
    ]
    assert workplace.run("apply", "--allow-vanish").code == 1
    assert workplace.files("export") == before


def test_two_actions_that_are_run_apart_do_not_replace_each_others_files(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1", Modality="CT")
    instance("data/2.dcm", PatientID="P1", Modality="MR", SeriesInstanceUID="1.2.4")
    sets = "".join(f"[select.{m.lower()}]\nlevel = 'series'\nwhere = \"Modality = '{m}'\"\n" for m in ("CT", "MR"))
    workplace.rules(SOURCE + sets + action("ct", BY_PATIENT, select="ct") + action("mr", BY_PATIENT, select="mr"))
    assert workplace.run("apply", "copy.ct").code == 0
    before = workplace.files("export")
    assert planned(workplace, "copy.mr") == {"export/P1.dcm": ("blocked", "conflict")}
    assert workplace.run("apply", "copy.mr").code == 1
    assert workplace.files("export") == before
    assert set(planned(workplace).values()) == {("blocked", "collision")}


# Two steps of one plan that want one path.


def collide(
    workplace: Workplace, instance: Instance, first: str, second: str, *, to: str = BY_PATIENT, **options: object
) -> dict[str, tuple[str, str]]:
    """The plan for two instances of these PatientIDs, and a third that is in nobody's way."""
    for number, patient in enumerate((first, second, "in nobody's way"), start=1):
        instance(f"data/{number}.dcm", PatientID=patient, InstanceNumber=number)
    workplace.rules(copies(to, **options))
    steps = planned(workplace)
    assert steps.pop(next(path for path in steps if "nobody" in path)) == ("todo", "new")
    return steps


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("P1", "P1"),
        ("abc", "ABC"),
        ("Müller", "MÜLLER"),
        ("stra\u00dfe", "STRASSE"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("\u212a1", "k1"),
        ("a/b", "a_b"),
        ("abc.", "abc"),
        ("P1\u0007", "P1_"),
    ],
    ids=["equal", "case", "case of umlauts", "sharp s", "NFD and NFC", "Kelvin sign", "slash", "point at the end", "control"],
)
def test_two_instances_that_want_one_path_are_both_blocked(
    workplace: Workplace, instance: Instance, first: str, second: str
) -> None:
    steps = collide(workplace, instance, first, second, to="export/{{ PatientID }}")
    assert set(steps.values()) == {("blocked", "collision")}
    applied = workplace.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 1, 2)
    assert len(workplace.files("export")) == 1


def test_collisions_are_told_apart_by_rename_and_the_second_run_does_nothing(workplace: Workplace, instance: Instance) -> None:
    steps = collide(workplace, instance, "P1", "p1", on_conflict="rename")
    assert set(steps.values()) == {("todo", "new")}
    assert workplace.run("apply").code == 0
    files = workplace.files("export")
    assert sorted(files.values()) == sorted(workplace.files("data").values())
    assert all("~" in name for name in files if name.lower().startswith("p1"))
    assert workplace.run("plan", "--detailed-exitcode").code == 0
    assert workplace.run("apply", "--json").summary["done"] == 0


@pytest.mark.parametrize(
    ("first", "second"), [("abc", "ABC"), ("a/b", "a_b"), ("abc.", "abc"), ("CON", "CON_")], ids=["case", "slash", "point", "CON"]
)
def test_folders_that_are_alike_are_not_mixed(workplace: Workplace, instance: Instance, first: str, second: str) -> None:
    steps = collide(workplace, instance, first, second, to="export/{{ PatientID }}/deep/{{ InstanceNumber }}.dcm")
    assert set(steps.values()) == {("blocked", "collision")}
    assert workplace.run("apply", "--json").summary["done"] == 1


def test_folders_of_one_name_in_nfc_and_nfd_are_one_patient(workplace: Workplace, instance: Instance) -> None:
    steps = collide(workplace, instance, "Mu\u0308ller", "M\u00fcller", to="export/{{ PatientID }}/{{ InstanceNumber }}.dcm")
    assert steps == {"export/M\u00fcller/1.dcm": ("todo", "new"), "export/M\u00fcller/2.dcm": ("todo", "new")}


def test_a_file_where_another_step_needs_a_folder(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1", InstanceNumber=1)
    instance("data/2.dcm", PatientID="P1", InstanceNumber=2)
    workplace.rules(copies("export/{{ PatientID }}{% if InstanceNumber == 2 %}/x{% endif %}"))
    assert planned(workplace) == {"export/P1": ("blocked", "collision"), "export/P1/x": ("todo", "new")}


def test_collisions_are_found_across_actions(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    workplace.rules(SOURCE + action("one", BY_PATIENT) + action("other", "export/p1.DCM"))
    assert planned(workplace) == {"export/P1.dcm": ("blocked", "collision"), "export/p1.DCM": ("blocked", "collision")}


def test_one_instance_selected_twice_is_copied_once(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    twice = "[select.twice]\nlevel = 'image'\nquery = 'select * from images union all select * from images'\n"
    workplace.rules(SOURCE + twice + action("export", BY_PATIENT, select="twice"))
    assert workplace.run("apply", "--json").summary["done"] == 1


def test_one_instance_in_two_folders_that_are_alike_is_not_told_apart_by_rename(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    query = "select SOPInstanceUID, 'a' as subject from images union all select SOPInstanceUID, 'A' from images"
    twice = f'[select.twice]\nlevel = "image"\nquery = "{query}"\n'
    to = "export/{{ subject }}/{{ PatientID }}.dcm"
    workplace.rules(SOURCE + twice + action("export", to, select="twice", on_conflict="rename"))
    steps = planned(workplace)
    assert sorted(os.path.dirname(path) for path in steps) == ["export/A", "export/a"]
    assert set(steps.values()) == {("blocked", "collision")}


def test_instances_without_a_path_that_are_selected_twice_are_one_step_each(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID=None)
    instance("data/2.dcm", PatientID=None)
    twice = "[select.twice]\nlevel = 'image'\nquery = 'select * from images union all select * from images'\n"
    workplace.rules(SOURCE + twice + action("export", BY_PATIENT, select="twice"))
    assert reasons(workplace.run("plan", "--json")) == {"blocked:missing-value": 2}


def test_a_series_that_a_query_returns_twice_goes_to_two_places(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    query = "select SOPInstanceUID, 'a' as subject from images union all select SOPInstanceUID, 'b' from images"
    twice = f'[select.twice]\nlevel = "image"\nquery = "{query}"\n'
    workplace.rules(SOURCE + twice + action("export", "export/{{ subject }}.dcm", select="twice"))
    assert workplace.run("apply", "--json").summary["done"] == 2
    assert sorted(workplace.files("export")) == ["a.dcm", "b.dcm"]


# A file that is moved away is gone for whoever needs it later.


def test_a_move_waits_until_the_file_was_copied(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    workplace.rules(SOURCE + action("away", "moved/{{ PatientID }}.dcm", mode="move") + action("copied", BY_PATIENT))
    plan = workplace.run("plan", "--list", "--json")
    assert [(step["action"], step["status"], step["reason"]) for step in listed(plan)] == [
        ("copy.away", "blocked", "collision"),
        ("copy.copied", "todo", "new"),
    ]
    assert workplace.run("apply").code == 1
    assert workplace.run("apply").code == 0
    assert [sorted(workplace.files(folder)) for folder in ("data", "moved", "export")] == [[], ["P1.dcm"], ["P1.dcm"]]


def test_a_move_after_the_copy_is_done_in_one_run(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID="P1")
    workplace.rules(SOURCE + action("copied", BY_PATIENT) + action("away", "moved/{{ PatientID }}.dcm", mode="move"))
    assert workplace.run("apply", "--json").summary["done"] == 2
    assert [sorted(workplace.files(folder)) for folder in ("data", "moved", "export")] == [[], ["P1.dcm"], ["P1.dcm"]]


def test_one_file_is_not_moved_to_two_places(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(SOURCE + action("one", "one/x.dcm", mode="move") + action("other", "other/x.dcm", mode="move"))
    assert workplace.run("apply", "--json").summary["blocked"] == 2
    assert sorted(workplace.files("data")) == ["1.dcm"]


# One folder may be written in several ways.


@pytest.mark.parametrize("output", ["..", "/"], ids=["above the rules file", "everything"])
def test_an_output_above_the_rules_file(workplace: Workplace, instance: Instance, output: str) -> None:
    instance("data/1.dcm", PatientID="P1")
    deep = action("deep", "export/{{ PatientID }}/{{ Modality }}/x.dcm")
    absolute = action("absolute", f"{workplace.folder}/export/{{{{ PatientID }}}}/absolute.dcm")
    beside = action("beside", "../{{ PatientID }}/{{ Modality }}/beside.dcm") if output == ".." else ""
    workplace.rules(f"outputs = ['{output}']\n{SOURCE}{action('export', BY_PATIENT)}{deep}{absolute}{beside}")
    applied = workplace.run("apply", "--json")
    assert (applied.code, applied.summary["done"]) == (0, 4 if beside else 3)
    assert workplace.run("plan", "--detailed-exitcode").code == 0
    assert sorted(workplace.files("export")) == ["P1.dcm", "P1/CT/x.dcm", "P1/absolute.dcm"]
    shutil.rmtree(workplace.folder.parent / "P1", ignore_errors=True)
