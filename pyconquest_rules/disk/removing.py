"""Delete files that the ledger records: only if they are unchanged, and durably."""

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.files import StepError
from pyconquest_rules.disk.folders import Folders
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import RemoveFile


@dataclass(frozen=True, slots=True)
class Removed:
    """The outcome of a deletion that succeeded: the recorded file no longer exists."""


def remove_together(operations: Sequence[RemoveFile], folders: Folders) -> list[Removed | StepError]:
    """Remove files, and return the outcome of each, in order.

    It compares size, time and SHA-256 of each file, deletes it, and then syncs each folder once.
    """
    with folders:
        errors = [_error(_remove, operation, folders) for operation in operations]
        return [
            error or _error(_sync, operation, folders) or Removed() for error, operation in zip(errors, operations, strict=True)
        ]


def _error(do: Callable[[RemoveFile, Folders], None], operation: RemoveFile, folders: Folders) -> StepError | None:
    try:
        # A missing file needs nothing more.
        with suppress(FileNotFoundError):
            do(operation, folders)
    except StepError as error:
        return error
    except UnsafePath as error:
        return StepError(str(error))
    except OSError as error:
        return StepError(f"it cannot be deleted: {os.strerror(error.errno or 0)}")
    return None


def _remove(operation: RemoveFile, folders: Folders) -> None:
    if operation.forget:
        return
    if folders.outputs.place(operation.destination) != operation.destination:
        raise StepError("its path has another name now; the file stays, because an action may request it")
    place, _, name = operation.destination.rpartition("/")
    folder = folders.descriptor(place, name, make=False)
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not (_is_made(operation, status, folder, name) and _same(status, os.stat(name, dir_fd=folder, follow_symlinks=False))):
        raise StepError("it changed since it was made; the file stays")
    os.unlink(name, dir_fd=folder)


def _is_made(operation: RemoveFile, status: os.stat_result, folder: int, name: str) -> bool:
    """Return whether the file is the recorded one. Its bytes are compared, because a deletion is final."""
    if Stamp.of(status) != operation.stamp:
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(name, dir_fd=folder)) == operation.source
    return stat.S_ISREG(status.st_mode) and hash_of(name, folder) == operation.sha256


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return os.path.samestat(before, after) and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _sync(operation: RemoveFile, folders: Folders) -> None:
    # Also if the file is missing: a killed run may have deleted it without a sync.
    folders.sync(operation.destination.rpartition("/")[0])
