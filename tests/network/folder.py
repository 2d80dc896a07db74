"""Store received instances in a folder, each in a file named after its SOP Instance UID."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pydicom.filereader import read_partial

from pyconquest_rules.disk.room import free
from pyconquest_rules.network.part10 import data_set_offset
from pyconquest_rules.network.statuses import Status

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
BLOCK = 1 << 20


class FolderPart:
    """An instance that is being received. It gets its final name only when it is complete and durable."""

    def __init__(self, folder: Path, part: Path, sop_class: str, sop_instance: str) -> None:
        self._folder, self._part, self._sop_class, self._sop_instance = folder, part, sop_class, sop_instance
        self._file = open(part, "x+b")  # noqa: SIM115 - Folder.part closes it
        self.duplicate, self.reason, self.note = False, "", ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Raises OSError."""
        self._file.write(data)

    def finish(self) -> int:
        """Sync the file, compare it with the request, and give it its name without replacing."""
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
        # Also for a duplicate: the thread that linked it may not have synced yet.
        sync_folder(self._folder)
        return Status.SUCCESS

    def close(self) -> None:
        """Close and delete the temporary file."""
        with suppress(OSError):  # for example, if there is no room for the bytes in its buffer
            self._file.close()
        with suppress(OSError):
            self._part.unlink()

    def _disagreement(self) -> Status:
        try:
            self._file.seek(0)
            read = read_partial(self._file, stop_when=lambda tag, *_: tag > SOP_INSTANCE_UID)
            sop_class, sop_instance = read[SOP_CLASS_UID].value, read[SOP_INSTANCE_UID].value
        except Exception:  # noqa: BLE001 - pydicom raises many types on hostile bytes
            return Status.CANNOT_UNDERSTAND
        if sop_class != self._sop_class:
            return Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        return Status.SUCCESS if sop_instance == self._sop_instance else Status.CANNOT_UNDERSTAND


class Folder:
    """Stores instances below `root`, which must exist. The listener has checked the SOP Instance UIDs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def part(self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str) -> Iterator[FolderPart]:
        """Open a temporary file. Raises OSError."""
        part = FolderPart(self.root, self.root / f"{uuid4().hex}.part", sop_class, sop_instance)
        try:
            yield part
        finally:
            part.close()

    def free(self) -> int:
        """Return the number of free bytes."""
        return free(self.root)


def _same_data_set(one: Path, other: Path) -> bool:
    """Return whether two data sets are identical. The file meta information may differ."""
    with one.open("rb") as left, other.open("rb") as right:
        left.seek(data_set_offset(left.fileno()))
        right.seek(data_set_offset(right.fileno()))
        while (block := left.read(BLOCK)) == right.read(BLOCK):
            if not block:
                return True
    return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
