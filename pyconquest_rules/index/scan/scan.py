"""Bringing an index up to date with its sources: decide what to read, forget what is gone, read the rest.

Workers turn paths into headers; this process alone writes. Size and mtime say what is unchanged; nothing of that is opened.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from time import time_ns

from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.young import is_young, wait_for_tick
from pyconquest_rules.errors import SourceError
from pyconquest_rules.events import Emit, FileTold, Walked
from pyconquest_rules.headers import notes
from pyconquest_rules.headers.header import Header, Wanted
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.scan.changes import changes
from pyconquest_rules.index.scan.chunks import Chunk, Reading, read_headers, reads_records
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.walk import OTHER, Run, Skipped, files_of, runs
from pyconquest_rules.index.scan.workers import Workers
from pyconquest_rules.index.scan.wrong_places import missing, not_a_folder
from pyconquest_rules.index.store.contest import Outcome
from pyconquest_rules.index.store.records import Record
from pyconquest_rules.index.store.store import Store

CHUNK = 128
# Others who write wait while a transaction is open, so nothing is read within; a kill loses what one transaction holds.
CHUNKS_A_TRANSACTION = 4

COUNTS = ("seen", "read", "indexed", "unchanged", "rejected", "skipped", "duplicate", "conflict", "vanished", "kept")


class Scan:
    """One bringing up to date of one index. `counts`, `reasons` and `notes` say what became of the files.

    `emit` is told of files that are unchanged only where `every_file` is asked for: there may be millions.
    `takes_back`: rows that somebody else wrote or deleted come back as their files say; scripts of pyconquest may do so.
    """

    def __init__(self, store: Store, emit: Emit, *, every_file: bool = False, takes_back: bool = False) -> None:
        self.store, self.emit, self.every_file, self.takes_back = store, emit, every_file, takes_back
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.roots: dict[str, Path] = {}
        self.inside: dict[str, bytes] = {}  # the same, each with a slash behind it
        self.all_there = False  # whether no source is missing
        self.began = time_ns()
        store.connection.execute(
            "CREATE TEMP TABLE to_read (device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
        )
        store.connection.execute("CREATE TEMP TABLE kept (device TEXT, path BLOB, PRIMARY KEY (device, path)) WITHOUT ROWID")
        store.connection.execute("CREATE TEMP TABLE gone (device TEXT, path BLOB, PRIMARY KEY (device, path)) WITHOUT ROWID")

    def run(
        self, trees: Sequence[Tree], workers: Workers, *, own: frozenset[bytes] = frozenset(), allow_vanish: bool = False
    ) -> None:
        """Indexes `trees`. `own` are files and folders of ours, which are not read; `workers` gives who reads so many files.

        Raises SourceError, before anything is changed, where a root is missing, or where more than half of a source
        vanished or what was indexed cannot be seen.
        """
        new = self.store.is_empty()  # nothing can be gone then, so what is found is read while the rest is walked
        troubles = [trouble for tree in trees for trouble in self._look(tree, own, allow_vanish, new)]
        if troubles:
            raise SourceError("\n".join(troubles))
        self._forget(trees)
        self._fill(workers)
        chunks = self._found(trees, own) if new else self._chunks("to_read")
        with Reading(workers, chunks, reads_records(self.store.schema), self.roots) as reading:
            self._read(reading.in_order())
        self._settle(workers)
        self.store.refer()
        if not new:
            self._tell_unchanged([self.store.device(tree.name, tree.root) for tree in trees])
        if self.all_there:
            self.store.ordered()

    def _settle(self, workers: Workers) -> None:
        """Reads the files that are to say patients, studies and series anew."""
        if not self.store.choose_first():
            return
        with Reading(workers, self._chunks("to_tell"), reads_records(self.store.schema), self.roots) as reading:
            results = reading.in_order()
            while group := list(islice(results, CHUNKS_A_TRANSACTION)):
                with self.store.transaction():
                    for device, files in group:
                        for file, record in files:
                            if isinstance(record, Record):
                                self.store.tell(device, file, record)
        self.store.choose_first()  # what could not be read now is left for the next run

    def _fill(self, workers: Workers) -> None:
        """Reads what columns that came can concern, and fills them; after a kill all of it again."""
        if not (columns := self.store.pending()):
            return
        reads = partial(read_headers, Wanted(tuple(field.tag for _, field in columns)))
        self.store.choose_concerned(columns)
        with Reading(workers, self._chunks("to_fill"), reads, self.roots) as reading:
            results = reading.in_order()
            while group := list(islice(results, CHUNKS_A_TRANSACTION)):
                with self.store.transaction():
                    for _, files in group:
                        self.counts["read"] += len(files)
                        for _, header in files:
                            if isinstance(header, Header):
                                self.store.fill(columns, header)
                                self.notes.update(header.notes)
        self.store.filled()

    def drop(self, name: str) -> None:
        """Notes all files of a source, which the rules no longer name, as gone."""
        device = self.store.sources()[name].device
        paths = "SELECT device, CAST(path AS BLOB) FROM rules_files WHERE device = ?"
        self.store.connection.execute(f"INSERT INTO temp.gone {paths}", (device,))

    def _look(self, tree: Tree, own: frozenset[bytes], allow_vanish: bool, new: bool) -> Iterator[str]:
        """Compares a tree with what the index knows of it, notes what to read and what is gone, gives what stands against it.

        Only looks whether it is there at all where the index is `new`.
        """
        why = _cannot_list(tree.root)
        if why and (wrong := not_a_folder(tree.root)):
            yield f'source "{tree.name}": {wrong}'
            return
        if why and not allow_vanish:
            yield f'source "{tree.name}": {missing(tree.root, why, known=self._knows(tree.name))}'
            return
        device = self.store.device(tree.name, tree.root)
        if new:
            return
        counts = self._compare(device, tree.root, _runs(tree, own), allow_vanish)
        self.counts["vanished"] += counts["vanished"]
        self.counts["kept"] += counts["kept"]
        self.emit(Walked(tree.name, counts["seen"], counts["to_read"]))
        if counts["vanished"] * 2 > counts["known"] and not allow_vanish:
            what = f'source "{tree.name}": {counts["vanished"]} of {counts["known"]} indexed files vanished from {tree.root}'
            yield f"{what}; say --allow-vanish if that is right"

    def _knows(self, name: str) -> bool:
        """Whether the index has files of a source."""
        source = self.store.sources().get(name)
        query = "SELECT 1 FROM rules_files WHERE device = ? LIMIT 1"
        return source is not None and self.store.connection.execute(query, (source.device,)).fetchone() is not None

    def _compare(self, device: str, root: Path, found: Iterable[Run | Skipped], allow_vanish: bool) -> Counter[str]:
        """Notes every file of a tree that is not as it was; counts what was seen, known, vanished, is kept, and will be read.

        What is known below a folder that cannot be read is kept, unless `allow_vanish`: nobody knows that it is gone.
        """
        counts = Counter[str]()
        closed = Skipped(b"/", "")  # the last that may be a folder left out; no path begins like this
        unread = set[bytes]()
        for change in changes(found, self.store.known(device)):
            if isinstance(change, int):
                counts.update(seen=change, known=change)
                continue
            if isinstance(change, list):
                counts.update(seen=len(change), to_read=len(change))
                insert = "INSERT INTO temp.to_read VALUES (?, ?, ?, ?)"
                self.store.connection.executemany(insert, ((device, *file) for file in files_of(change)))
                continue
            now, then = change
            if isinstance(now, Skipped) and now.reason == Reason.UNREADABLE:
                unread.add(now.path)
            elif isinstance(now, Skipped) and now.reason in ("excluded", "own", OTHER):
                closed = now
            counts["seen"] += now is not None
            counts["known"] += then is not None
            if then is not None and not allow_vanish and _is_below(then.path, unread):
                counts["kept"] += 1
                self.store.connection.execute("INSERT INTO temp.kept VALUES (?, ?)", (device, then.path))
                then = None
            below = then is not None and (then.path + b"/").startswith(closed.path + b"/")
            counts["vanished"] += now is None and then is not None and not below
            counts["to_read"] += self._note(device, root, now, then)
        return counts

    def _note(self, device: str, root: Path, now: File | Skipped | None, then: File | None) -> bool:
        """Notes one file that is there now, was known, or both. Whether it is to be read."""
        if now == then:
            return False
        insert = self.store.connection.execute
        if then:
            insert("INSERT INTO temp.gone VALUES (?, ?)", (device, then.path))
        match now:
            case File():
                insert("INSERT INTO temp.to_read VALUES (?, ?, ?, ?)", (device, *now))
                return True
            case Skipped():
                self._tell(inside(root) + now.path, Outcome("skipped", now.reason))
        return False

    def _forget(self, trees: Sequence[Tree]) -> None:
        """Takes out what is gone or will be read anew; what else held the same instances is read too, unless it is gone."""
        store, rows = self.store, self.store.connection
        sources = store.sources()
        there = {source.device for source in sources.values() if not _cannot_list(source.root)}
        self._read_again(store.contested(), there)
        young = store.young()
        self._read_again(young, there)
        self.all_there = len(there) == len(sources)
        moved = [tree for tree in trees if sources[tree.name].root != tree.root]
        # Where there is nothing to write, nobody who writes is waited for.
        touched = self.takes_back and store.is_touched()
        changed = bool(moved or touched) or rows.execute("SELECT 1 FROM temp.gone").fetchone() is not None
        if changed:
            with store.transaction():
                for tree in moved:
                    store.move(tree.name, tree.root)
                if touched:
                    self._read_again(store.touched(), there)
                for device, path in rows.execute("SELECT device, path FROM temp.gone"):
                    rows.executemany(
                        "INSERT OR IGNORE INTO temp.to_read SELECT ?1, ?2, ?3, ?4"
                        " WHERE NOT EXISTS (SELECT 1 FROM temp.gone WHERE device = ?1 AND path = ?2)",
                        store.forget(device, path),
                    )
                if touched:
                    store.take_back()
                if young:
                    store.looked_again()
        self.roots = {source.device: source.root for source in store.sources().values()}
        self.inside = {device: inside(root) for device, root in self.roots.items()}

    def _read_again(self, files: Iterable[tuple[str, bytes, int, int]], devices: set[str]) -> None:
        """Notes known files to be forgotten and read anew, as far as their source is there."""
        # What cannot be read now stays as it is known.
        gone = (
            "INSERT OR IGNORE INTO temp.gone SELECT ?1, ?2"
            " WHERE NOT EXISTS (SELECT 1 FROM temp.kept WHERE device = ?1 AND path = ?2)"
        )
        for file in files:
            if file[0] in devices and self.store.connection.execute(gone, file[:2]).rowcount:  # else it vanished, or came before
                self.store.connection.execute("INSERT INTO temp.to_read VALUES (?, ?, ?, ?)", file)

    def _tell_unchanged(self, devices: Iterable[str]) -> None:
        """Only now is it known what was not read, and what that is beside what was: another file of its instance may count."""
        count = (
            "SELECT (SELECT count(*) FROM rules_files WHERE device = ?1)"
            " - (SELECT count(*) FROM temp.to_read AS t JOIN rules_files AS f ON f.device = ?1 AND f.path = CAST(t.path AS TEXT)"
            " WHERE t.device = ?1) - (SELECT count(*) FROM temp.kept WHERE device = ?1)"
        )
        unchanged = (
            "SELECT CAST(path AS BLOB), reason FROM rules_files AS f WHERE device = ? AND NOT EXISTS"
            " (SELECT 1 FROM temp.to_read AS t WHERE t.device = f.device AND t.path = CAST(f.path AS BLOB)) AND NOT EXISTS"
            " (SELECT 1 FROM temp.kept AS k WHERE k.device = f.device AND k.path = CAST(f.path AS BLOB)) ORDER BY device, path"
        )
        for device in devices:
            (number,) = self.store.connection.execute(count, (device,)).fetchone()
            self.counts.update(seen=number, unchanged=number)
            for path, reason in self.store.connection.execute(unchanged, (device,)) if self.every_file else ():
                self.emit(FileTold(self.inside[device] + path, "unchanged", reason))

    def _read(self, results: Iterator[tuple[str, list[tuple[File, Record | str]]]]) -> None:
        """Writes what was read, many chunks to a transaction."""
        while group := list(islice(results, CHUNKS_A_TRANSACTION)):
            with self.store.transaction():
                for device, files in group:
                    for file, record in files:
                        self._put(device, file, record)
                if any(is_young(file.mtime_ns, self.began, time_ns()) for _, files in group for file, _ in files):
                    self.store.note_young(self.began, time_ns())

    def _put(self, device: str, file: File, record: Record | str) -> None:
        path = self.inside[device] + file.path
        outcome = self.store.noted(device, file)
        if outcome is None and isinstance(record, Record):
            outcome = self.store.add(device, self.roots[device], file, record)
        elif outcome is None and record == Reason.UNREADABLE and _is_gone(path):
            outcome = Outcome("skipped", "vanished")
        elif outcome is None:
            outcome = self.store.reject(device, file, str(record))
        self.counts["read"] += outcome.reason != "vanished"
        self._tell(path, outcome)

    def _tell(self, path: bytes, outcome: Outcome) -> None:
        if outcome.reason == OTHER:
            return
        self.counts["seen"] += 1
        self.counts[outcome.outcome] += 1
        if outcome.reason is not None:
            self._count(outcome.outcome, outcome.reason)
        self.emit(FileTold(path, outcome.outcome, outcome.reason))

    def _count(self, outcome: str, reason: str) -> None:
        self.counts["conflict"] += reason == "conflict" and outcome == "rejected"
        if outcome == "indexed":
            self.notes.update(notes.notes(reason))
        elif reason != "same-bytes":
            self.reasons[reason] += 1

    def _found(self, trees: Sequence[Tree], own: frozenset[bytes]) -> Iterator[Chunk]:
        """The files of trees of which none is known, as they are walked."""
        for tree in trees:
            device, seen, waiting = self.store.device(tree.name, tree.root), Counter[str](), list[File]()
            for run in _runs(tree, own):
                if isinstance(run, Skipped):
                    seen["skipped"] += 1
                    self._tell(self.inside[device] + run.path, Outcome("skipped", run.reason))
                    continue
                seen["files"] += len(run)
                waiting += files_of(run)
                whole = len(waiting) // CHUNK * CHUNK
                for start in range(0, whole, CHUNK):
                    yield _settled(device, waiting[start : start + CHUNK])
                waiting = waiting[whole:]
            self.emit(Walked(tree.name, seen.total(), seen["files"]))
            if waiting:
                yield _settled(device, waiting)

    def _chunks(self, table: str) -> Iterator[Chunk]:
        """The files of a temporary table, in the order of the walk, each chunk of one device."""
        query = f"SELECT device, path, size, mtime_ns FROM temp.{table} WHERE (device, path) > (?, ?) ORDER BY 1, 2 LIMIT {CHUNK}"
        last: tuple[str, bytes] = ("", b"")
        # A query that stays open would hold this process at what the index was when it began: SQLite would then refuse to
        # write after others have written, and could not tidy its WAL.
        while rows := self.store.connection.execute(query, last).fetchall():
            for device, files in groupby(rows, key=itemgetter(0)):
                yield _settled(device, [File(*row[1:]) for row in files])
            last = rows[-1][:2]


def _settled(device: str, files: list[File]) -> Chunk:
    """Files to be read, once a change of any would change its time."""
    wait_for_tick(file.mtime_ns for file in files)
    return device, files


def _is_gone(path: bytes) -> bool:
    """Whether nothing has a path any more: a disk that fails does not say so."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    """Whether a path is one of some paths, or lies below one."""
    while folders and path and path not in folders:
        path = path.rpartition(b"/")[0]
    return path in folders


def inside(root: Path) -> bytes:
    """What the paths of files below a root begin with."""
    return os.fsencode(root).rstrip(b"/") + b"/"


def _runs(tree: Tree, own: frozenset[bytes]) -> Iterator[Run | Skipped]:
    """What is in a tree; nothing where it is missing."""
    if _cannot_list(tree.root):
        return
    try:
        yield from runs(os.fsencode(tree.root), tree.exclude, own, tree.before)
    except OSError:  # of the root itself, before anything is found: it can be opened, but not listed
        yield Skipped(b"", Reason.UNREADABLE)


def _cannot_list(folder: Path) -> str | None:
    """Why a folder cannot be listed; None where it can."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror
    return None
