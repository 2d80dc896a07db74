"""The inbox on disks without hard links, without room, and with folders that are deleted meanwhile."""

import errno
import os
import shutil

import pytest

from pyconquest_rules.disk import placing
from pyconquest_rules.network.statuses import Status
from tests.conftest import Workplace
from tests.intake.inboxes import OLDER, kept, put, receiving
from tests.network.raw import data_set


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
@pytest.mark.parametrize("renames", [True, False])
def test_replaces_nothing_without_hard_links(
    code: int, renames: bool, archive: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    if not renames:
        monkeypatch.setattr(placing, "_renamed", lambda *_: False)
    first, second = data_set("1.2.9"), data_set("1.2.9", text="second")
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", first)[0] == 0
        assert put(inbox, "1.2.9", first) == (0, "", True)
        assert put(inbox, "1.2.9", second)[0] == Status.DUPLICATE_SOP_INSTANCE
        (archive.folder / "archive/P1/1.2.10.dcm").write_bytes(b"notes")
        assert put(inbox, "1.2.10", data_set("1.2.10"))[0] == Status.PROCESSING_FAILURE
        (archive.folder / "archive/P1/1.2.11.dcm").touch()  # as a kill leaves it on a disk without links and renames
        assert (put(inbox, "1.2.11", data_set("1.2.11"))[0] == 0) != renames
    assert (archive.folder / "archive/P1/1.2.10.dcm").read_bytes() == b"notes"
    assert kept(archive.folder / "archive/P1/1.2.9.dcm") == first
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", second)[0] == 0
    assert kept(archive.folder / "archive" / OLDER / "1.dcm") == first
    assert [path for path in os.listdir(archive.folder / "archive") if "incoming" in path] == []


@pytest.mark.parametrize("what", [".pyconquest-rules-incoming", "P1", "", "P1 and the rest", "nothing"])
def test_creates_deleted_folders_again(what: str, archive: Workplace) -> None:
    root = archive.folder / "archive"
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.8", data_set("1.2.8"))[0] == 0
        for name in os.listdir(root) if " and " in what else [what] if what != "nothing" else []:
            shutil.rmtree(root / name)
        for number in range(9, 14):
            assert put(inbox, f"1.2.{number}", data_set(f"1.2.{number}"))[0] == 0
    assert len([path for path in archive.files("archive") if path.endswith(".dcm")]) >= 5
    assert not (root / ".pyconquest-rules-incoming").exists()


def test_a_full_index_is_a_full_disk(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.8", data_set("1.2.8"))[0] == 0
        connection = inbox.indexer._store.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

        def put_another(number: int) -> int:
            return put(inbox, f"1.3.{number}", data_set(f"1.3.{number}", patient=f"P{number}", series=f"1.4.{number}"))[0]

        number, error = 0, None
        while error is None:
            number += 1
            try:
                put_another(number)
            except OSError as raised:
                error = raised
        assert (error.errno, error.strerror) == (errno.ENOSPC, "no space is left for the index")
        connection.execute("PRAGMA max_page_count = 100000")
        assert put_another(number) == 0
    summary = archive.run("index", "--json").summary
    assert (summary["read"], summary["unchanged"]) == (0, number + 1)
