"""Index files, and data sets in memory."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

from pydicom import Dataset, config
from pydicom.filewriter import dcmwrite

from pyconquest_rules.content import Stamp
from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.file import File
from pyconquest_rules.errors import SourceError, UsageError
from pyconquest_rules.events import Event, FileTold, silent
from pyconquest_rules.headers.header import Header, read
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.index.derived.content import PARTS, digest
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.walk import Skipped, walk
from pyconquest_rules.index.scan.workers import here
from pyconquest_rules.index.store.schema import LEVELS, TABLES, quoted
from pyconquest_rules.index.store.store import Store

SOURCE = "data"
PART = ".pyconquest-rules-compat"
"""The prefix of the names of partial files."""
EXCLUDE = (f"**/{PART}*",)
CHUNK = 64
NEEDED = frozenset({0x00080005, 0x00280103})
"""SpecificCharacterSet and PixelRepresentation, which define the encoding of other elements."""

Examined = Callable[[bytes], None]
"""Called with the path, relative to the root, of every file that was examined."""


def scan(store: Store, root: Path, own: frozenset[bytes], examined: Examined) -> None:
    """Update the index from the data directory. Raises SourceError if most files are missing."""
    start = os.fsencode(root) + b"/"

    def emit(event: Event) -> None:
        if isinstance(event, FileTold) and event.path.startswith(start):
            examined(event.path.removeprefix(start))

    try:
        Scan(store, emit, every_file=True).run([Tree(SOURCE, root, EXCLUDE)], here, own=own)
    except SourceError as error:
        hint = "if this is correct, call create_standard_dicom_tables() first"
        raise SourceError(f"{str(error).partition('; ')[0]}; {hint}") from None


def scan_folder(store: Store, root: Path, folder: str, own: frozenset[bytes], examined: Examined) -> None:
    """Index new and changed files below one folder of the data directory."""
    device, prefix = at(store, root), os.fsencode(folder) + b"/"
    found = walk(os.fsencode(root / folder), EXCLUDE, own)
    files = (File(prefix + entry.path, entry.size, entry.mtime_ns) for entry in _report(found, prefix, examined))
    _put_all(store, device, root, (file for file in files if not _is_known(store, device, file)))


def refill(store: Store, root: Path, paths: Iterator[bytes]) -> None:
    """Fill new columns. If the index had to be recreated, index the files at `paths` again."""
    at(store, root)
    if store.connection.execute("SELECT 1 FROM rules_files").fetchone():
        Scan(store, silent).run([], here)
    else:
        add(store, root, paths)


def add(store: Store, root: Path, paths: Iterator[bytes]) -> None:
    """Index the files of the data directory at `paths`, relative to its root, that exist."""
    _put_all(store, at(store, root), root, (file for path in paths if (file := _file(root, path))))


def _put_all(store: Store, device: str, root: Path, files: Iterator[File]) -> None:
    while chunk := [(file, header_of(root / os.fsdecode(file.path), store)) for file in islice(files, CHUNK)]:
        with store.transaction():
            for file, header in chunk:
                put(store, device, root, file, header)


def _file(root: Path, path: bytes) -> File | None:
    try:
        status = os.stat(os.path.join(os.fsencode(root), path))
    except OSError:
        return None
    return File(path, *Stamp.of(status))


def at(store: Store, root: Path) -> str:
    """Record that the data directory is at `root`, and return its device."""
    device = store.device(SOURCE, root)
    with store.transaction():
        store.move(SOURCE, root)
    return device


def _report(found: Iterator[File | Skipped], prefix: bytes, examined: Examined) -> Iterator[File]:
    for entry in found:
        examined(prefix + entry.path)
        if isinstance(entry, File):
            yield entry


def _is_known(store: Store, device: str, file: File) -> bool:
    query = "SELECT size, mtime_ns FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT)"
    row = store.connection.execute(query, (device, file.path)).fetchone()
    return bool(row == (file.size, file.mtime_ns))


def put(store: Store, device: str, root: Path, file: File, header: Header | str) -> None:
    """Replace the rows of a file, within a transaction. Other files of the same instance are read again."""
    others = store.forget(device, file.path)
    _note(store, device, root, file, header)
    roots = {source.device: source.root for source in store.sources().values()}
    for other, path, size, mtime_ns in others:
        header = header_of(roots[other] / os.fsdecode(path), store)
        _note(store, other, roots[other], File(path, size, mtime_ns), header)


def _note(store: Store, device: str, root: Path, file: File, header: Header | str) -> None:
    if isinstance(header, Header):
        store.add(device, root, file, store.records.record(header))
    else:
        store.reject(device, file, header)


def header_of(path: Path, store: Store) -> Header | str:
    """Return the header of a file, or the reason why it is not an instance."""
    try:
        return read(path, store.records.wanted)
    except Rejected as rejected:
        return rejected.reason.value


def add_dataset(store: Store, root: Path, dataset: Dataset, path: str, *, check: bool) -> None:
    """Index a data set as if the file at `path`, relative to the data directory, contained it.

    With `check`, an instance that is in the index only gets a new time. Raises UsageError if it is not an instance.
    """
    header = _header(store, dataset)
    uid, key = header.SOPInstanceUID, quoted(store.schema.key(Level.IMAGE))
    device, name = at(store, root), os.fsencode(path or uid)
    with store.transaction():
        known = store.connection.execute(f"SELECT 1 FROM DICOMImages WHERE {key} = ?", (uid,)).fetchone()
        if known and check:
            store.connection.execute(f"UPDATE DICOMImages SET DatabaseTimeStamp = ? WHERE {key} = ?", (time(), uid))
            return
        for device_of, there in store.connection.execute(
            "SELECT device, CAST(path AS BLOB) FROM rules_files WHERE SOPInstanceUID = ? AND outcome = 'indexed'", (uid,)
        ).fetchall():
            store.forget(device_of, there)
        store.forget(device, name)
        store.add(device, root, _file(root, name) or File(name, 0, 0), store.records.record(header))


def _header(store: Store, dataset: Dataset) -> Header:
    wanted = store.records.wanted.tags | NEEDED
    plain = Dataset({tag: dataset[tag] for tag in dataset.keys() if tag in wanted})  # noqa: SIM118 - its iterator gives elements
    with TemporaryDirectory() as folder:
        file = Path(folder) / "header.dcm"
        with config.disable_value_validation():
            dcmwrite(file, plain, implicit_vr=False, little_endian=True)
        header = header_of(file, store)
    if isinstance(header, str):
        raise UsageError(f"the data set is not an instance that can be indexed ({header})")
    return header._replace(TransferSyntaxUID=getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID"))


def readmit(store: Store, root: Path, skipped: Callable[[bytes], bool]) -> None:
    """Make the next scan read files whose rows were deleted, by us or by SQL, except those for which `skipped` is True."""
    parents = "".join(
        f" JOIN {TABLES[above]} AS {above.value} ON {above.value}.{quoted(store.schema.key(above))}"
        f" = {below.value}.{quoted(store.schema.level(below)[-1].column)}"
        for below, above in zip(LEVELS[:0:-1], LEVELS[-2::-1], strict=True)
    )
    whole = f"SELECT image.{quoted(store.schema.key(Level.IMAGE))} FROM DICOMImages AS image{parents}"
    device = at(store, root)
    rows = store.connection.execute(
        "SELECT CAST(path AS BLOB) FROM rules_files WHERE device = ? AND (reason = 'forgotten' OR outcome = 'indexed'"
        f" AND SOPInstanceUID NOT IN ({whole}))",
        (device,),
    ).fetchall()
    with store.transaction():
        for (path,) in rows:
            if not skipped(path):
                store.forget(device, path)


def fill_hashes(store: Store, root: Path) -> None:
    """Fill the column `hash` of RT objects of the data directory, where it is empty."""
    device, key = at(store, root), quoted(store.schema.key(Level.IMAGE))
    rows = store.connection.execute(
        "SELECT SOPInstanceUID, Modality, CAST(ObjectFile AS BLOB) FROM images WHERE hash IS NULL AND DeviceName = ?"
        f" AND Modality IN ({', '.join('?' * len(PARTS))})",
        (device, *PARTS),
    ).fetchall()
    hashes = [(digest(os.path.join(os.fsencode(root), path), modality), uid) for uid, modality, path in rows]
    with store.transaction():
        store.connection.executemany(f"UPDATE DICOMImages SET hash = ? WHERE {key} = ?", hashes)
