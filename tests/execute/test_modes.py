"""How a file comes to its destination: copy, hardlink, symlink, reflink, move."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies, planned

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"
FIRST, SECOND = "export/P1/1.dcm", "export/P1/2.dcm"


@pytest.fixture
def sources(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with two instances, of another time than now."""
    for number in (1, 2):
        os.utime(instance(f"data/{number}.dcm", InstanceNumber=number), ns=(0, 1_500_000_000_123_456_789))
    return workplace


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    needs("a second file system at /dev/shm", memory.is_dir() and memory.stat().st_dev != tmp_path.stat().st_dev)
    folder = Path(mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def inode(file: Path) -> tuple[int, int]:
    return file.stat().st_dev, file.stat().st_ino


def test_copy_keeps_the_time_and_is_a_file_of_its_own(sources: Workplace) -> None:
    assert sources.rules(copies(TO)).run("apply").code == 0
    copy, source = sources.folder / FIRST, sources.folder / "data/1.dcm"
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert inode(copy) != inode(source)


def test_hardlink(sources: Workplace) -> None:
    assert sources.rules(copies(TO, mode="hardlink")).run("apply").code == 0
    assert inode(sources.folder / FIRST) == inode(sources.folder / "data/1.dcm")
    assert sources.run("plan", "--detailed-exitcode").code == 0
    assert sources.run("verify", "--deep").code == 0


def test_symlink(sources: Workplace) -> None:
    assert sources.rules(copies(TO, mode="symlink")).run("apply").code == 0
    assert os.readlink(sources.folder / FIRST) == str(sources.folder / "data/1.dcm")
    assert sources.run("plan", "--detailed-exitcode").code == 0
    assert sources.run("verify", "--deep").code == 0


def test_a_symlink_that_leads_elsewhere_now_is_mended(sources: Workplace) -> None:
    assert sources.rules(copies(TO, mode="symlink")).run("apply").code == 0
    (sources.folder / FIRST).unlink()
    (sources.folder / FIRST).symlink_to(sources.folder / "data/2.dcm")
    assert planned(sources) == {FIRST: ("blocked", "destination-changed")}
    assert sources.run("apply").code == 1
    assert os.readlink(sources.folder / FIRST) == str(sources.folder / "data/2.dcm")
    assert sources.rules(copies(TO, mode="symlink", on_changed="restore")).run("apply").code == 0
    assert os.readlink(sources.folder / FIRST) == str(sources.folder / "data/1.dcm")


def test_reflink_shares_blocks_or_says_that_it_cannot(sources: Workplace) -> None:
    done = sources.rules(copies(TO, mode="reflink")).run("apply", "--json")
    if done.code == 0:
        assert sources.files("export") == {"P1/1.dcm": sources.files("data")["1.dcm"], "P1/2.dcm": sources.files("data")["2.dcm"]}
        return
    assert (done.code, done.summary["failed"]) == (1, 2)
    assert sources.files("export") == {}
    assert 'the file system of the destination does not support this mode: use mode = "copy"' in sources.run("apply").err


def test_a_hardlink_to_another_file_system_fails_and_leaves_nothing(sources: Workplace, other_device: Path) -> None:
    rules = f"outputs = ['{other_device}']\n" + copies(f"{other_device}/{{{{ InstanceNumber }}}}.dcm", mode="hardlink")
    done = sources.rules(rules).run("apply")
    assert done.code == 1
    assert 'source and destination are on different file systems: use mode = "copy"' in done.err
    assert [*other_device.iterdir()] == []


def test_a_move_to_another_file_system(sources: Workplace, other_device: Path) -> None:
    before = sources.files("data")
    rules = f"outputs = ['{other_device}']\n" + copies(f"{other_device}/{{{{ InstanceNumber }}}}.dcm", mode="move")
    assert sources.rules(rules).run("apply").code == 0
    assert {file.name: file.read_bytes() for file in other_device.iterdir()} == before
    assert sources.files("data") == {}


@pytest.mark.parametrize("modes", [("copy", "hardlink"), ("hardlink", "copy"), ("symlink", "copy"), ("copy", "symlink")])
def test_an_edited_mode_is_done_anew_and_back(sources: Workplace, modes: tuple[str, str]) -> None:
    before = sources.files("data")
    for mode in (*modes, modes[0]):
        assert sources.rules(copies(TO, mode=mode)).run("apply", "--json").summary["done"] == 2
        copy, source = sources.folder / FIRST, sources.folder / "data/1.dcm"
        assert (inode(copy) == inode(source), copy.is_symlink()) == (mode != "copy", mode == "symlink")
        assert sources.run("plan", "--detailed-exitcode").code == 0
        assert sorted(sources.files("export")) == ["P1/1.dcm", "P1/2.dcm"]
    assert sources.files("data") == before


def test_a_copy_that_somebody_made_a_hardlink_becomes_one_without_a_rest(sources: Workplace) -> None:
    assert sources.rules(copies(TO)).run("apply").code == 0
    (sources.folder / FIRST).unlink()
    os.link(sources.folder / "data/1.dcm", sources.folder / FIRST)
    assert sources.rules(copies(TO, mode="hardlink")).run("apply").code == 0
    assert sorted(os.listdir(sources.folder / "export/P1")) == ["1.dcm", "2.dcm"]


# move: the source goes once its bytes, read back from the destination, are there and the ledger knows.


@pytest.fixture
def moved(sources: Workplace) -> Workplace:
    """Both instances moved to export/."""
    assert sources.rules(copies(TO, mode="move")).run("apply").code == 0
    return sources


def test_move_takes_the_source_away_and_the_index_knows(sources: Workplace) -> None:
    before = sources.files("data")
    done = sources.rules(copies(TO, mode="move")).run("apply", "--json")
    assert (done.code, done.summary["done"]) == (0, 2)
    assert sources.files("data") == {}
    assert sources.files("export") == {f"P1/{name}": data for name, data in before.items()}
    assert sources.run("query", "select * from images", "--json").summary["rows"] == 0


def test_after_a_move_nothing_is_to_be_done_and_nothing_vanished(moved: Workplace) -> None:
    indexed = moved.run("index", "--json")
    assert (indexed.code, indexed.summary["vanished"]) == (0, 0)
    assert moved.run("plan", "--detailed-exitcode").code == 0
    assert moved.run("apply", "--json").summary["done"] == 0
    assert moved.run("verify", "--deep").code == 0


def test_new_files_are_moved_beside_those_of_earlier_runs(moved: Workplace, instance: Instance) -> None:
    instance("data/3.dcm", InstanceNumber=3)
    assert moved.run("apply", "--json").summary["done"] == 1
    assert sorted(moved.files("export")) == ["P1/1.dcm", "P1/2.dcm", "P1/3.dcm"]


def test_a_move_never_replaces_what_an_earlier_one_put_there(moved: Workplace, instance: Instance) -> None:
    before = moved.files("export")
    instance("data/other.dcm", InstanceNumber=1)
    assert planned(moved) == {FIRST: ("blocked", "conflict")}
    instance("data/other.dcm", InstanceNumber=1, SOPInstanceUID="1.2.826.0.1.3680043.10.1.1", PatientName="Doe^John")
    assert planned(moved) == {FIRST: ("blocked", "conflict")}
    assert moved.run("apply").code == 1
    assert moved.files("export") == before
    assert sorted(moved.files("data")) == ["other.dcm"]


def test_a_file_that_comes_again_after_its_move_is_taken_away_again(moved: Workplace) -> None:
    shutil.copyfile(moved.folder / FIRST, moved.folder / "data/again.dcm")
    assert planned(moved) == {FIRST: ("todo", "adopt")}
    assert moved.run("apply").code == 0
    assert moved.files("data") == {}
    assert sorted(moved.files("export")) == ["P1/1.dcm", "P1/2.dcm"]


def test_a_rule_edited_from_copy_to_move_takes_the_sources_away(sources: Workplace) -> None:
    assert sources.rules(copies(TO)).run("apply").code == 0
    assert sources.rules(copies(TO, mode="move")).run("apply", "--json").summary["done"] == 2
    assert sources.files("data") == {}
    assert len(sources.files("export")) == 2


def test_a_rule_edited_from_hardlink_to_move_takes_the_sources_away(sources: Workplace) -> None:
    before = sources.files("data")
    assert sources.rules(copies(TO, mode="hardlink")).run("apply").code == 0
    assert sources.rules(copies(TO, mode="move")).run("apply", "--json").summary["done"] == 2
    assert sources.files("data") == {}
    assert sources.files("export") == {f"P1/{name}": data for name, data in before.items()}


def test_a_move_of_one_instance_in_two_files_loses_neither(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1, SOPInstanceUID="1.2.3", PatientName="Doe^Jane")
    instance("data/2.dcm", InstanceNumber=1, SOPInstanceUID="1.2.3", PatientName="Doe^John")
    before = sorted(workplace.files("data").values())
    workplace.rules(copies(TO, mode="move"))
    for _ in range(3):
        workplace.run("apply")
    assert sorted([*workplace.files("data").values(), *workplace.files("export").values()]) == before
