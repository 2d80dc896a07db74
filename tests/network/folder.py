"""The plainest keeper of received instances: a folder in which each is a file named after its SOP Instance UID."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pydicom.filereader import read_partial

from pyconquest_rules.network.part10 import data_set_offset
from pyconquest_rules.network.statuses import Status

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
BLOCK = 1 << 20


class FolderPart:
    """An instance on its way into a folder. Nothing has its final name before all of it is on disk."""

    def __init__(self, folder: Path, part: Path, sop_class: str, sop_instance: str) -> None:
        self._folder, self._part, self._sop_class, self._sop_instance = folder, part, sop_class, sop_instance
        self._file = open(part, "x+b")  # noqa: SIM115 - Folder.part closes it
        self.duplicate, self.reason, self.note = False, "", ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. Raises OSError."""
        self._file.write(data)

    def finish(self) -> int:
        """Syncs, compares with what was asked for, and links into place without replacing."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if (status := self._disagreement()) != Status.SUCCESS:
            return status
        place = self._folder / f"{self._sop_instance}.dcm"
        try:
            os.link(self._part, place)
        except FileExistsError:
            self.duplicate = _same_data_set(self._part, place)
            if not self.duplicate:
                return Status.DUPLICATE_SOP_INSTANCE
        # Of a duplicate too: the thread that linked it may not have come so far.
        sync_folder(self._folder)
        return Status.SUCCESS

    def close(self) -> None:
        """Removes the name that it had on its way."""
        with suppress(OSError):  # as where there is no room for what is still in its buffer
            self._file.close()
        with suppress(OSError):
            self._part.unlink()

    def _disagreement(self) -> Status:
        try:
            self._file.seek(0)
            read = read_partial(self._file, stop_when=lambda tag, *_: tag > SOP_INSTANCE_UID)
            sop_class, sop_instance = read[SOP_CLASS_UID].value, read[SOP_INSTANCE_UID].value
        except Exception:  # noqa: BLE001 - pydicom raises whatever its parsing of hostile bytes comes to
            return Status.CANNOT_UNDERSTAND
        if sop_class != self._sop_class:
            return Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        return Status.SUCCESS if sop_instance == self._sop_instance else Status.CANNOT_UNDERSTAND


class Folder:
    """Keeps instances below `root`, which must be there. The names are SOP Instance UIDs, which the listener has checked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def part(self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str) -> Iterator[FolderPart]:
        """Opens a file with a name of its own beside the final one. Raises OSError."""
        part = FolderPart(self.root, self.root / f"{uuid4().hex}.part", sop_class, sop_instance)
        try:
            yield part
        finally:
            part.close()

    def free(self) -> int:
        """How many bytes of room there are."""
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize


def _same_data_set(one: Path, other: Path) -> bool:
    """Whether the data sets are the same bytes; who sent them, which the file meta information tells, does not count."""
    with one.open("rb") as left, other.open("rb") as right:
        left.seek(data_set_offset(left.fileno()))
        right.seek(data_set_offset(right.fileno()))
        while (block := left.read(BLOCK)) == right.read(BLOCK):
            if not block:
                return True
    return False


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
