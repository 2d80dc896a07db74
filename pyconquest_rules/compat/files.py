"""Copy, store and delete files: complete, durable, and without replacing another file."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from pyconquest_rules.compat.errors import Conflict, NotCopied
from pyconquest_rules.compat.indexing import PART, SOURCE, add, at
from pyconquest_rules.content import Stamp, Verbatim
from pyconquest_rules.dicom import tag_path, unpadded
from pyconquest_rules.disk.existing import is_made
from pyconquest_rules.disk.files import StepError, put, take_away
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import UsageError
from pyconquest_rules.headers.header import Wanted, read
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.index.store.forgetting import Forgetting, delete
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.paths import UnsafePath, renamed
from pyconquest_rules.steps import Mode, PutFile
from pyconquest_rules.templates import RenderError, Template

log = logging.getLogger("pyconquest")

STORED = Wanted((tag_path("PatientID"), tag_path("SeriesInstanceUID")))
FOLDER = Template("{{ PatientID }}/x", {})


@dataclass(frozen=True, slots=True)
class Instance:
    """A file of the index: its instance, its patient, its path relative to the source, and its absolute path."""

    SOPInstanceUID: str
    PatientID: str
    path: bytes
    absolute: bytes


def instances(connection: sqlite3.Connection, root: Path, level: str, key: str) -> list[Instance]:
    """Return the files of a series, study or patient. `level` is the keyword of its key."""
    rows = connection.execute(
        "SELECT i.SOPInstanceUID, coalesce(i.PatientID, ''), CAST(i.ObjectFile AS BLOB), s.name, CAST(s.path AS BLOB)"
        f" FROM images AS i JOIN rules_sources AS s ON s.device = i.DeviceName WHERE i.{level} = ?"
        " ORDER BY i.DeviceName, i.ObjectFile",
        (key if level == "ObjectFile" else unpadded(str(key)),),
    ).fetchall()
    return [
        Instance(uid, patient, path, os.path.join(os.fsencode(root) if name == SOURCE else elsewhere, path))
        for uid, patient, path, name, elsewhere in rows
    ]


def patient_folder(patient: str) -> str:
    """Return the folder of a patient with a "/" at its end, or "" for an empty PatientID. Raises UsageError."""
    if not patient.strip():
        return ""
    try:
        return FOLDER.path({"PatientID": patient}).path.removesuffix("x")
    except (RenderError, UnsafePath) as error:
        raise UsageError(f"the PatientID cannot be a folder name: {error}") from None


def copy_into(found: Sequence[Instance], folder: str, root: Path, own: frozenset[bytes], *, by_patient: bool) -> list[str]:
    """Copy instances into a folder. Return the paths of the copies, relative to it.

    Raises UsageError if the folder lies in the data directory, NotCopied, or Conflict if another file has the name.
    """
    outputs = Outputs(Path(folder), ["."], [root], [Path(os.fsdecode(path)) for path in own])
    copies = []
    with _as_own_errors():
        for image in found:
            below = patient_folder(image.PatientID) if by_patient else ""
            name = os.fsdecode(os.path.basename(image.path))
            copies.append(_placed(outputs, image.absolute, below + name, image.SOPInstanceUID).destination)
    return copies


def store_file(store: Store, root: Path, source: Path, own: frozenset[bytes], *, by_uid: bool, move: bool) -> str:
    """Store a file in the data directory, in the folder of its patient, and index it. Return its SeriesInstanceUID.

    Raises UsageError if the file is not an instance, NotCopied, or Conflict if another file has its SOPInstanceUID.
    """
    try:
        header = read(source, STORED)
    except Rejected as rejected:
        raise UsageError(f"the file is not an instance that can be indexed ({rejected.reason})") from None
    uid, (patient, series) = header.SOPInstanceUID, header.values
    name = f"{uid}.dcm" if by_uid else source.name
    with _as_own_errors():
        _check_known(store, at(store, root), root, uid, source)
        root.mkdir(parents=True, exist_ok=True)
        outputs = Outputs(root, ["."], [], [Path(os.fsdecode(path)) for path in own])
        operation = _placed(outputs, os.fsencode(source), patient_folder(str(patient or "")) + name, uid)
        add(store, root, iter([os.fsencode(operation.destination)]))
        if move:
            take_away(operation, outputs, outputs.guard())
    return unpadded(str(series or ""))


def _check_known(store: Store, device: str, root: Path, uid: str, source: Path) -> None:
    row = store.connection.execute(
        "SELECT CAST(path AS BLOB) FROM rules_files WHERE device = ? AND SOPInstanceUID = ? AND outcome = 'indexed'",
        (device, uid),
    ).fetchone()
    if row is None:
        return
    there = os.path.join(os.fsencode(root), row[0])
    if not os.path.isfile(there):
        with store.transaction():
            store.forget(device, row[0])
    elif hash_of(there) != hash_of(os.fsencode(source)):
        raise Conflict(f"the data directory already has another file of {uid}; delete the old one with delete_series()")


def _placed(outputs: Outputs, source: bytes, destination: str, uid: str) -> PutFile:
    """Copy a file to a destination, or to a different name beside it if another file has that name."""
    status = os.stat(source)
    for name in (destination, renamed(destination, uid)):
        operation = PutFile(Mode.COPY, Verbatim(source, Stamp.of(status)), outputs.place(name), None, False)
        if is_made(Mode.COPY, operation.content, operation.destination, outputs):
            return operation
        if not os.path.lexists(os.path.join(outputs.base, operation.destination)):
            put(operation, outputs, f"{PART}-{os.getpid()}.part")
            return operation
        log.warning("%s: another file has the name of its copy", uid)
    raise Conflict(f"another file exists at the destination of {uid}; give another destination")


@contextmanager
def _as_own_errors() -> Iterator[None]:
    """Turn errors of files into errors of this package."""
    try:
        yield
    except UnsafePath as error:
        raise UsageError(f"cannot copy there: {error}") from None
    except StepError as error:
        raise NotCopied(str(error)) from None
    except OSError as error:
        raise NotCopied(f"a file cannot be read or written: {error.strerror}") from None


def take_out(store: Store, found: Sequence[Instance], root: Path, *, files: bool, rows: bool) -> None:
    """Delete files, rows of the index, or both. Files that stay are left out of the index until they change."""
    at(store, root)
    with store.transaction():
        forgetting = Forgetting(store)
        forgetting.choose_instances(image.SOPInstanceUID for image in found)
        asked = {image.absolute for image in found}
        places = [place for place in forgetting.places() if place.whole in asked]
        gone, failed = delete(places, [root]) if files else ([], 0)
        if failed:
            log.error("%d files could not be deleted", failed)
        if rows:
            forgetting.forget(gone)


@contextmanager
def unpacked(archive: Path, below: Path) -> Iterator[Iterator[Path]]:
    """Unpack the files of a zip file, one at a time, into a temporary folder."""
    with TemporaryDirectory(dir=below if below.is_dir() else None) as folder, ZipFile(archive) as packed:

        def files() -> Iterator[Path]:
            for member in packed.infolist():
                if not member.is_dir():
                    file = Path(packed.extract(member, folder))
                    yield file
                    file.unlink()

        yield files()
