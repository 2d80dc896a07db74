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


@pytest.fixture
def hundred(workplace: Workplace, instance: Instance) -> Workplace:
    """A hundred instances, copied."""
    for number in range(100):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=f"P{number % 10}", pixels=bytes(100))
    assert workplace.rules(copies(TO)).run("apply").code == 0
    return workplace


def test_parts_of_a_subset_are_all_of_it_and_the_same_in_every_run(hundred: Workplace) -> None:
    for file in (hundred.folder / "export").rglob("*.dcm"):
        flip_a_byte(file)
    for number in range(20):
        (hundred.folder / f"export/extra{number}").write_bytes(b"x")
    parts = [verified(hundred, "--deep", "--subset", f"{number}/3")[1] for number in (1, 2, 3)]
    assert sum(map(len, parts)) == len(parts[0] | parts[1] | parts[2]) == 120
    assert all(20 < len(part) < 60 for part in parts)
    assert parts[1] == verified(hundred, "--deep", "--subset", "2/3")[1]
    assert hundred.run("verify", "--subset", "1/1", "--json").summary["ok"] == 100


def test_only_what_is_looked_at_is_read(hundred: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr("pyconquest_rules.engine.verify.hash_of", lambda name, folder: read.append(name))
    done = hundred.run("verify", "--deep", "--subset", "1/5", "--json")
    assert done.summary["changed"] == len(read) == len(done.lines) - 1
    assert 0 < len(read) < 50


def test_a_share_is_random(hundred: Workplace) -> None:
    assert hundred.run("verify", "--subset", "100%", "--json").summary["ok"] == 100
    assert 0 < hundred.run("verify", "--subset", "50.5%", "--json").summary["ok"] < 100


@pytest.mark.parametrize(
    "share", ["0/3", "4/3", "1/0", "-1/3", "1/x", "half", "", "0%", "101%", "-5%", "5", "%", "1e1%", "nan%", "1/3 "]
)
def test_a_share_that_is_none_is_a_usage_error(exported: Workplace, share: str) -> None:
    refused = exported.run("verify", f"--subset={share}")
    assert refused.code == 2
    assert "write N/M for the N-th of M parts" in refused.err


def test_a_hundred_flipped_bytes_are_found_and_mended(hundred: Workplace) -> None:
    before = hundred.files("export")
    for file in (hundred.folder / "export").rglob("*.dcm"):
        flip_a_byte(file)
    rotten = hundred.files("export")
    assert hundred.run("apply", "--json").summary["done"] == 0
    assert hundred.run("verify", "--deep", "--json").summary["changed"] == 100
    repair = hundred.run("verify", "--deep", "--repair", "--json")
    assert (repair.code, repair.summary["changed"], repair.summary["unmended"]) == (1, 100, 0)
    assert repair.summary["plan"]["reasons"] == {"todo:destination-changed": 100}
    assert hundred.files("export") == rotten
    assert hundred.run("apply", "--json").summary["done"] == 100
    assert hundred.files("export") == before
    assert verified(hundred, "--deep") == (0, {})
    assert hundred.run("apply", "--json").summary["done"] == 0


def test_repair_plans_what_is_missing_and_changed(exported: Workplace) -> None:
    before = exported.files("export")
    (exported.folder / "export/P1/1.dcm").unlink()
    (exported.folder / "export/P1/2.dcm").write_bytes(b"x")
    flip_a_byte(exported.folder / "export/P2/3.dcm")
    (exported.folder / "export/extra").write_bytes(b"x")
    repair = exported.run("verify", "--deep", "--repair", "-o", "p")
    assert repair.code == 1
    assert "todo               3  (destination-changed 2, destination-missing 1" in repair.out
    assert "not repaired" not in repair.out
    assert exported.run("apply", "--plan", "p", "--json").summary["done"] == 3
    assert exported.files("export") == {**before, "extra": b"x"}
    assert verified(exported, "--deep") == (1, {"export/extra": "extra"})


def test_a_repair_that_was_saved_is_stale_once_the_file_changed_again(exported: Workplace) -> None:
    flip_a_byte(exported.folder / "export/P1/2.dcm")
    assert exported.run("verify", "--deep", "--repair", "-o", "p").code == 1
    (exported.folder / "export/P1/2.dcm").write_bytes(b"again")
    assert exported.run("apply", "--plan", "p").code == 5
    assert (exported.folder / "export/P1/2.dcm").read_bytes() == b"again"


def test_what_was_found_once_stays_found_until_its_bytes_are_right(exported: Workplace) -> None:
    file = exported.folder / "export/P1/2.dcm"
    right = file.read_bytes()
    flip_a_byte(file)
    assert exported.run("verify", "--deep", "--repair").code == 1
    assert verified(exported) == (1, {"export/P1/2.dcm": "changed"})
    file.write_bytes(right)
    assert verified(exported) == (0, {})
    assert exported.run("apply", "--json").summary["done"] == 1  # adopted
    assert verified(exported, "--deep") == (0, {})


def unmended(workplace: Workplace, *arguments: str) -> dict[str, str]:
    """What `verify --repair` says of each destination that it does not mend."""
    repair = workplace.run("verify", "--deep", "--repair", "--json", *arguments)
    assert repair.code == 1
    found = {line["destination"]: line["message"] for line in repair.lines if line["event"] == "unmended"}
    assert repair.summary["unmended"] == len(found)
    return found


def test_what_has_no_source_any_more_cannot_be_mended(exported: Workplace) -> None:
    for path in ("export/P1/1.dcm", "export/P1/2.dcm", "export/P2/3.dcm", "data/2.dcm"):
        flip_a_byte(exported.folder / path)
    (exported.folder / "data/1.dcm").unlink()
    os.utime(exported.folder / "data/3.dcm", ns=(1, 1))
    assert unmended(exported) == {
        "export/P1/1.dcm": "the source is gone",
        "export/P1/2.dcm": "the source holds other bytes too, with the same size and time",
        "export/P2/3.dcm": "the source changed since",
    }
    # What rots with its source is told again and again, and never taken for right.
    exported.run("apply")
    assert verified(exported, "--deep")[1]["export/P1/2.dcm"] == "changed"


def test_a_hard_link_rots_with_its_source(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", pixels=bytes(100))
    workplace.rules(copies("export/x.dcm", mode="hardlink")).run("apply")
    flip_a_byte(workplace.folder / "export/x.dcm")
    assert unmended(workplace) == {"export/x.dcm": "the source holds other bytes too, with the same size and time"}
    assert workplace.run("apply", "--json").summary["done"] == 0
    assert verified(workplace, "--deep") == (1, {"export/x.dcm": "changed"})


def test_what_no_action_wishes_any_more_is_not_mended(exported: Workplace) -> None:
    flip_a_byte(exported.folder / "export/P1/2.dcm")
    exported.rules(copies("export/new/{{ InstanceNumber }}.dcm"))
    assert unmended(exported) == {"export/P1/2.dcm": "no action requests it any more"}
    exported.rules(copies("export/new/{{ InstanceNumber }}.dcm") + "prune = true\n")
    assert unmended(exported, "copy.export") == {"export/P1/2.dcm": "it changed since it was made; not removed"}


def test_what_something_else_stands_in_the_way_of_is_not_mended(exported: Workplace) -> None:
    (exported.folder / "export/P1/2.dcm").unlink()
    (exported.folder / "export/P1/2.dcm").mkdir()
    assert unmended(exported) == {"export/P1/2.dcm": "something that is no file stands there"}


def test_repair_of_what_is_well_is_the_plan(exported: Workplace) -> None:
    repair = exported.run("verify", "--repair", "--json")
    assert (repair.code, repair.summary["ok"], repair.summary["plan"]["todo"]) == (0, 3, 0)


def test_a_plan_is_saved_of_a_repair_alone(exported: Workplace) -> None:
    refused = exported.run("verify", "-o", "p")
    assert refused.code == 2
    assert "--repair" in refused.err
