"""On a network file system there is neither WAL nor shared memory: index and state have a rollback journal and real locks.

No network is mounted here: which type a folder has is read from a list of mounts that the tests write. A disk of FUSE, the
file system of sshfs and others, is real.
"""

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pyconquest_rules.disk import filesystems
from pyconquest_rules.disk.filesystems import Sharing, kind_of, sharing
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.index.store.databases import is_wal
from tests.conftest import Instance, Workplace
from tests.mounting import Mounts, mounts

__all__ = ["mounts"]

RULES = """
outputs = ["export"]
[sources.archive]
path = "data"
[select.all]
level = "image"
where = "1"
[copy.export]
select = "all"
to = "export/{{ SOPInstanceUID }}.dcm"
"""
STATE = ".pyconquest-rules/state.db"
MEETING = ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph")
ALONE = ("fuse.sshfs", "fuse", "9p", "vboxsf", "virtiofs", "fuse.rclone")


def mounted(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str) -> None:
    """Make a folder look like a mount of a type."""
    point = str(folder.resolve()).replace(" ", "\\040")
    mounts = folder.parent / f"{folder.name}.mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n7 1 0:50 / {point} rw,relatime shared:1 - {kind} server:/x rw\n")
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two instances to copy."""
    instance("data/1.dcm")
    instance("data/2.dcm")
    return workplace.rules(RULES)


def mode(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def databases(workplace: Workplace) -> list[Path]:
    return [workplace.folder / "conquest.db", workplace.folder / STATE]


def leftovers(workplace: Workplace) -> list[str]:
    return [path.name for path in workplace.folder.rglob("*.db-*")]


@pytest.mark.parametrize("kind", [*MEETING, *ALONE])
def test_a_database_created_on_a_network_disk_has_a_rollback_journal(
    archive: Workplace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, archive.folder, kind)
    for command in ("apply", "apply", "verify", "forget P1 --yes", "plan --no-index", "history"):
        assert archive.run(*command.split()).code == 0, command
        assert leftovers(archive) == []
    assert [mode(file) for file in databases(archive)] == ["delete", "delete"]


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuseblk", "zfs", "ext4 "])
def test_local_disks_keep_wal(archive: Workplace, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, archive.folder, kind)
    assert archive.run("apply").code == 0
    assert [mode(file) for file in databases(archive)] == ["wal", "wal"]


@pytest.mark.parametrize("first", ["apply", "query", "status", "verify", "plan --no-index"])
def test_a_project_can_move_to_a_network_disk_and_back(archive: Workplace, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.run("apply").code == 0
    assert [is_wal(file) for file in databases(archive)] == [True, True]
    local = filesystems.MOUNTS
    mounted(monkeypatch, archive.folder, "nfs4")
    arguments = ["query", "SELECT count(*) FROM images"] if first == "query" else first.split()
    assert archive.run(*arguments).code == 0
    assert archive.run("apply").code == 0
    assert [is_wal(file) for file in databases(archive)] == [False, False]
    monkeypatch.setattr(filesystems, "MOUNTS", local)
    assert archive.run("apply").code == 0
    assert [is_wal(file) for file in databases(archive)] == [True, True]


def test_the_wal_of_a_killed_writer_is_not_lost_on_a_network_disk(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.run("apply").code == 0
    with Ledger(archive.folder, write=True) as ledger:
        ledger.runs.wait_for("inbox", "1.2.3")
        for file in (archive.folder / ".pyconquest-rules").glob("state.db*"):
            shutil.copy(file, archive.folder / file.name)
    for file in archive.folder.glob("state.db*"):
        shutil.move(file, archive.folder / ".pyconquest-rules" / file.name)
    assert (archive.folder / f"{STATE}-wal").stat().st_size
    mounted(monkeypatch, archive.folder, "nfs4")
    with Ledger(archive.folder) as ledger:
        assert ledger.runs.waiting("inbox") == ["1.2.3"]
    assert leftovers(archive) == []


WRITES = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.executemany(sys.argv[2], [("x" * 50 + str(i), "x" * 5000) for i in range(200)])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("first", ["apply", "query", "verify", "index"])
def test_a_writer_that_was_killed_on_a_network_disk_is_rolled_back(
    archive: Workplace, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, archive.folder, "nfs4")
    assert archive.run("apply").code == 0
    inserts = ("INSERT INTO rules_index VALUES (?, ?)", "INSERT INTO state VALUES (?, ?)")
    for file, insert in zip(databases(archive), inserts, strict=True):
        done = subprocess.run([sys.executable, "-c", WRITES, str(file), insert], check=False)
        assert done.returncode == -signal.SIGKILL
        assert file.with_name(f"{file.name}-journal").stat().st_size
    arguments = ["query", "SELECT count(*) FROM images"] if first == "query" else [first]
    assert archive.run(*arguments).code == 0
    assert archive.run("apply").code == 0
    assert archive.run("verify").code == 0
    assert leftovers(archive) == []


def test_a_disk_by_fuse_has_no_wal(tmp_path: Path, mounts: Mounts, instance: Instance) -> None:
    disk = Workplace(mounts.caseless(tmp_path / "backing", tmp_path / "disk")).rules(RULES)
    assert sharing(disk.folder) is Sharing.UNLOCKED
    instance(disk.folder / "data/1.dcm")
    for command in ("apply", "apply", "verify", "query SELECT(1)"):
        assert disk.run(*command.split()).code == 0
        assert leftovers(disk) == []
    assert [is_wal(file) for file in databases(disk)] == [False, False]


# The run lock


@pytest.mark.parametrize("kind", ALONE)
def test_where_machines_do_not_see_each_others_locks_the_lock_names_its_machine(
    archive: Workplace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, archive.folder, kind)
    assert archive.run("apply").code == 0
    lock = archive.folder / ".pyconquest-rules/lock"
    assert lock.read_bytes() == b""
    lock.write_bytes(b"other\x1b[2J")
    done = archive.run("apply")
    assert done.code == 6
    assert "a run on the machine 'other\\x1b[2J' is going on, or was killed" in done.err
    assert f"remove {lock}" in done.err
    lock.unlink()
    assert archive.run("apply").code == 0


def test_a_run_of_this_machine_that_was_killed_holds_nothing(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, archive.folder, "fuse.sshfs")
    archive.run("apply")
    (archive.folder / ".pyconquest-rules/lock").write_text(socket.gethostname())
    assert archive.run("apply").code == 0


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "ext4"])
def test_a_running_run_holds_the_lock_everywhere(archive: Workplace, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, archive.folder, kind)
    archive.run("apply")
    descriptor = os.open(archive.folder / ".pyconquest-rules/lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert archive.run("apply").code == 6
    os.close(descriptor)
    assert archive.run("apply").code == 0


# Mounts


def test_the_innermost_and_last_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    inner = tmp_path / "a b\\c" / "d"
    inner.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inner)
    point = str(tmp_path).replace("\\", "\\134")
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:5 / {point} rw - nfs4 server:/x rw\n"
        f"3 2 0:6 / {point}/a\\040b\\134c rw master:1 propagate_from:2 - cifs //server/x rw\n"
        f"4 3 0:7 / {point}/a\\040b\\134c/d rw - tmpfs none rw\n"
        f"5 4 0:8 / {point}/a\\040b\\134c/d rw - fuse.sshfs me@server: rw\n"
        f"6 1 0:9 / {point}-else rw - 9p x rw\n"
        "a line of another kind\n7 1\n\n"
    )
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)
    assert kind_of(tmp_path) == kind_of(tmp_path / "missing") == "nfs4"
    assert kind_of(inner.parent) == "cifs"
    assert kind_of(inner) == kind_of(tmp_path / "link") == "fuse.sshfs"
    assert kind_of(tmp_path.parent) == "ext4"
    assert [sharing(folder) for folder in (tmp_path.parent, tmp_path, inner)] == [Sharing.LOCAL, Sharing.LOCKED, Sharing.UNLOCKED]


def test_without_a_list_of_mounts_every_folder_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "MOUNTS", tmp_path / "none")
    assert sharing(tmp_path) is Sharing.LOCAL


def test_the_mounts_of_this_machine_are_read() -> None:
    if sys.platform == "linux":
        assert kind_of(Path("/proc")) == "proc"
