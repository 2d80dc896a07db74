"""Removing what was made: only what it was, still as it was made, and durably before anybody forgets it."""

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
    """Nothing that was made stands at the destination any more."""


def remove_together(operations: Sequence[RemoveFile], folders: Folders) -> list[Removed | StepError]:
    """Remove files, and gives what became of each, in their order.

    Order: compare size, time and SHA-256, remove, and when all are removed sync each folder once.
    """
    with folders:
        errors = [_error(_remove, operation, folders) for operation in operations]
        return [
            error or _error(_sync, operation, folders) or Removed() for error, operation in zip(errors, operations, strict=True)
        ]


def _error(do: Callable[[RemoveFile, Folders], None], operation: RemoveFile, folders: Folders) -> StepError | None:
    try:
        # What is gone, or never was, needs nothing more.
        with suppress(FileNotFoundError):
            do(operation, folders)
    except StepError as error:
        return error
    except UnsafePath as error:
        return StepError(str(error))
    except OSError as error:
        return StepError(f"it cannot be removed: {os.strerror(error.errno or 0)}")
    return None


def _remove(operation: RemoveFile, folders: Folders) -> None:
    if operation.forget:
        return
    if folders.outputs.place(operation.destination) != operation.destination:
        raise StepError("it has another name now, by which an action may want it, and stays")
    place, _, name = operation.destination.rpartition("/")
    folder = folders.descriptor(place, name, make=False)
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not (_is_made(operation, status, folder, name) and _same(status, os.stat(name, dir_fd=folder, follow_symlinks=False))):
        raise StepError("it changed since it was made, and stays")
    os.unlink(name, dir_fd=folder)


def _is_made(operation: RemoveFile, status: os.stat_result, folder: int, name: str) -> bool:
    """Return whether what stands there is what was made: a deletion is for ever, so that its bytes are read."""
    if Stamp.of(status) != operation.stamp:
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(name, dir_fd=folder)) == operation.source
    return stat.S_ISREG(status.st_mode) and hash_of(name, folder) == operation.sha256


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return os.path.samestat(before, after) and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _sync(operation: RemoveFile, folders: Folders) -> None:
    # Also of what was gone: a run that was killed may have removed it just before.
    folders.sync(operation.destination.rpartition("/")[0])
