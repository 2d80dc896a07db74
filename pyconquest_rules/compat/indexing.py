"""Bringing files, and data sets in memory, into the index."""

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
PART = ".pyconquest-rules-compat"  # begins the names of files that are not whole yet
EXCLUDE = (f"**/{PART}*",)
CHUNK = 64
NEEDED = frozenset({0x00080005, 0x00280103})  # SpecificCharacterSet and PixelRepresentation: they say how others are written

Told = Callable[[bytes], None]  # is told the path of every file that was looked at, from the root


def scan(store: Store, root: Path, own: frozenset[bytes], told: Told) -> None:
    """Brings the index up to date with the data directory. Raises SourceError where most of it vanished."""
    start = os.fsencode(root) + b"/"

    def emit(event: Event) -> None:
        if isinstance(event, FileTold) and event.path.startswith(start):
            told(event.path.removeprefix(start))

    try:
        Scan(store, emit, every_file=True).run([Tree(SOURCE, root, EXCLUDE)], here, own=own)
    except SourceError as error:
        hint = "if that is right, call create_standard_dicom_tables() first"
        raise SourceError(f"{str(error).partition('; ')[0]}; {hint}") from None


def scan_folder(store: Store, root: Path, folder: str, own: frozenset[bytes], told: Told) -> None:
    """Indexes what is new or changed below one folder of the data directory."""
    device, prefix = at(store, root), os.fsencode(folder) + b"/"
    found = walk(os.fsencode(root / folder), EXCLUDE, own)
    files = (File(prefix + entry.path, entry.size, entry.mtime_ns) for entry in _told(found, prefix, told))
    _put_all(store, device, root, (file for file in files if not _is_known(store, device, file)))


def refill(store: Store, root: Path, paths: Iterator[bytes]) -> None:
    """Fills columns that came. An index that had to be made anew for them gets the files at `paths` again."""
    at(store, root)
    if store.connection.execute("SELECT 1 FROM rules_files").fetchone():
        Scan(store, silent).run([], here)
    else:
        add(store, root, paths)


def add(store: Store, root: Path, paths: Iterator[bytes]) -> None:
    """Indexes these files of the data directory, given from its root, as far as they are there."""
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
    """The device of the data directory, which is at `root` now."""
    device = store.device(SOURCE, root)
    with store.transaction():
        store.move(SOURCE, root)
    return device


def _told(found: Iterator[File | Skipped], prefix: bytes, told: Told) -> Iterator[File]:
    for entry in found:
        told(prefix + entry.path)
        if isinstance(entry, File):
            yield entry


def _is_known(store: Store, device: str, file: File) -> bool:
    query = "SELECT size, mtime_ns FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT)"
    row = store.connection.execute(query, (device, file.path)).fetchone()
    return bool(row == (file.size, file.mtime_ns))


def put(store: Store, device: str, root: Path, file: File, header: Header | str) -> None:
    """Puts what was read of a file in the place of what the index knows of it, within a transaction.

    What the index knew by the same instance is read again.
    """
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
    """What the index wants of a file, or why it is no instance."""
    try:
        return read(path, store.records.wanted)
    except Rejected as rejected:
        return rejected.reason.value


def add_dataset(store: Store, root: Path, dataset: Dataset, path: str, *, check: bool) -> None:
    """Indexes what a data set says, as if the file at `path`, from the root of the data directory, held it.

    `check`: an instance that is in the index stays as it is and gets a new time. Raises UsageError for what is no instance.
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
        raise UsageError(f"the data set is no instance that can be indexed ({header})")
    return header._replace(TransferSyntaxUID=getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID"))


def let_in(store: Store, root: Path, passed_over: Callable[[bytes], bool]) -> None:
    """Lets the next scan read what was deleted from the index, by us or by SQL, but not in folders that are passed over."""
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
            if not passed_over(path):
                store.forget(device, path)


def fill_hashes(store: Store, root: Path) -> None:
    """Fills the column `hash` of the RT objects of the data directory that have none."""
    device, key = at(store, root), quoted(store.schema.key(Level.IMAGE))
    rows = store.connection.execute(
        "SELECT SOPInstanceUID, Modality, CAST(ObjectFile AS BLOB) FROM images WHERE hash IS NULL AND DeviceName = ?"
        f" AND Modality IN ({', '.join('?' * len(PARTS))})",
        (device, *PARTS),
    ).fetchall()
    hashes = [(digest(os.path.join(os.fsencode(root), path), modality), uid) for uid, modality, path in rows]
    with store.transaction():
        store.connection.executemany(f"UPDATE DICOMImages SET hash = ? WHERE {key} = ?", hashes)
