"""`verify`: what was done, proved against the disk."""

import os
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action, copies

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def exported(workplace: Workplace, instance: Instance) -> Workplace:
    """Three instances of two patients, copied."""
    for number, patient in ((1, "P1"), (2, "P1"), (3, "P2")):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=patient, pixels=bytes(100))
    assert workplace.rules(copies(TO)).run("apply").code == 0
    return workplace


def verified(workplace: Workplace, *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what was found at each destination that is not as it should be."""
    done = workplace.run("verify", "--json", *arguments)
    found = {line["destination"]: line["finding"] for line in done.lines if line["event"] == "finding"}
    counts = {name: number for name, number in done.summary.items() if name not in ("event", "ok") and number}
    assert sum(counts.values()) == len(found) == len(done.lines) - 1
    return done.code, found


def test_all_is_well(exported: Workplace) -> None:
    done = exported.run("verify", "--json")
    assert done.code == 0
    assert done.summary == {"event": "summary", "ok": 3, "missing": 0, "changed": 0, "extra": 0, "outside": 0}
    assert exported.run("verify").err == "verify: ok 3, missing 0, changed 0, extra 0\n"


def test_missing(exported: Workplace) -> None:
    (exported.folder / "export/P1/2.dcm").unlink()
    assert verified(exported) == (1, {"export/P1/2.dcm": "missing"})


def test_a_folder_that_is_gone_is_missing_with_all_that_it_held(exported: Workplace) -> None:
    (exported.folder / "export/P1").rename(exported.folder / "away")
    assert verified(exported) == (1, {"export/P1/1.dcm": "missing", "export/P1/2.dcm": "missing"})


def test_changed_by_size_or_time(exported: Workplace) -> None:
    os.utime(exported.folder / "export/P1/2.dcm", ns=(0, 0))
    (exported.folder / "export/P2/3.dcm").write_bytes(b"x")
    assert verified(exported) == (1, {"export/P1/2.dcm": "changed", "export/P2/3.dcm": "changed"})


def flip_a_byte(file: Path) -> None:
    """Changes a byte and nothing else: size and time stay."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_deep_finds_a_changed_byte_that_size_and_time_do_not_tell(exported: Workplace) -> None:
    flip_a_byte(exported.folder / "export/P1/2.dcm")
    assert verified(exported) == (0, {})
    assert verified(exported, "--deep") == (1, {"export/P1/2.dcm": "changed"})


@pytest.mark.parametrize("replace", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_any_more_is_changed(exported: Workplace, replace: object) -> None:
    file = exported.folder / "export/P1/2.dcm"
    file.unlink()
    assert callable(replace)
    replace(file)
    assert verified(exported, "--deep") == (1, {"export/P1/2.dcm": "changed"})


@pytest.mark.parametrize("extra", ["export/P1/extra", "export/extra", "export/other/folder/extra"])
def test_extra_files_in_folders_of_destinations_and_below_the_fixed_part_of_the_template(exported: Workplace, extra: str) -> None:
    (exported.folder / extra).parent.mkdir(parents=True, exist_ok=True)
    (exported.folder / extra).write_bytes(b"x")
    assert verified(exported) == (1, {extra: "extra"})


def test_what_lies_beside_the_fixed_part_of_the_template_is_nobodys_business(exported: Workplace) -> None:
    (exported.folder / "beside").write_bytes(b"x")
    assert verified(exported) == (0, {})


def test_an_extra_file_is_told_once_however_many_actions_and_folders_lead_to_it(workplace: Workplace, instance: Instance) -> None:
    for number in range(4):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    # In the order of their paths files and folders of one folder alternate.
    names = "{% if InstanceNumber in [1, 3] %}{{ InstanceNumber }}/x{% else %}{{ InstanceNumber }}.dcm{% endif %}"
    workplace.rules(SOURCE + action("one", f"out/{names}") + action("other", f"out/1b/{names}"))
    assert workplace.run("apply").code == 0
    for extra in ("out/extra", "out/empty/extra"):
        (workplace.folder / extra).parent.mkdir(exist_ok=True)
        (workplace.folder / extra).write_bytes(b"x")
    assert verified(workplace) == (1, {"out/extra": "extra", "out/empty/extra": "extra"})


def test_targets(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(SOURCE + action("one", "one/x.dcm", tags=["t"]) + action("other", "other/x.dcm"))
    assert workplace.run("apply").code == 0
    (workplace.folder / "one/x.dcm").unlink()
    (workplace.folder / "other/extra").write_bytes(b"x")
    assert verified(workplace, "tag:t") == (1, {"one/x.dcm": "missing"})
    assert verified(workplace, "copy.other") == (1, {"other/extra": "extra"})
    assert verified(workplace) == (1, {"one/x.dcm": "missing", "other/extra": "extra"})


def test_files_of_another_action_in_the_same_folder_are_not_extra(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(SOURCE + action("one", "out/one.dcm") + action("other", "out/other.dcm"))
    assert workplace.run("apply").code == 0
    assert verified(workplace, "copy.one") == (0, {})


def test_an_action_that_the_rules_no_longer_have_is_proved_all_the_same(exported: Workplace) -> None:
    exported.rules(SOURCE)
    (exported.folder / "export/P1/2.dcm").unlink()
    assert verified(exported) == (1, {"export/P1/2.dcm": "missing"})


def test_what_lies_outside_the_outputs_of_today_is_not_looked_at(exported: Workplace) -> None:
    exported.rules("outputs = ['new']\n" + copies("new/{{ InstanceNumber }}.dcm"))
    assert verified(exported) == (1, {f"export/{name}": "outside" for name in exported.files("export")})


def test_a_fixed_part_that_is_written_as_an_absolute_path(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(f"[vars]\nout = '{workplace.folder}/export'\n" + copies("{{ vars.out }}/{{ PatientID }}/x.dcm"))
    assert workplace.run("apply").code == 0
    assert verified(workplace) == (0, {})


def test_nothing_was_done_yet(workplace: Workplace) -> None:
    assert workplace.rules(copies(TO)).run("verify", "--json").summary["ok"] == 0
    assert not (workplace.folder / ".pyconquest-rules").exists()


def test_a_broken_ledger_is_an_error_that_says_so(exported: Workplace) -> None:
    (exported.folder / ".pyconquest-rules/state.db").write_bytes(b"no database at all" * 1000)
    for command in ("verify", "plan", "apply", "history", "status"):
        failed = exported.run(command)
        assert failed.code == 1
        assert "state.db: file is not a database" in failed.err.replace("\n", "")
