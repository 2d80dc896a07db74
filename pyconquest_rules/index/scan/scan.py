"""Bringing an index up to date with its sources: decide what to read, forget what is gone, read the rest.

Workers turn paths into headers; only this process writes. Files whose size and mtime are unchanged are not opened.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from time import time_ns

from pyconquest_rules.archives.names import divided, is_archive, is_member
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.young import is_young, wait_for_tick
from pyconquest_rules.errors import SourceError
from pyconquest_rules.events import Emit, FileTold, Walked
from pyconquest_rules.headers.header import Header, Wanted
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.scan.chunks import Chunk, Reading, read_headers, reads_records
from pyconquest_rules.index.scan.comparison import Comparison, cannot_list, inside, walked
from pyconquest_rules.index.scan.members import Found, members_of
from pyconquest_rules.index.scan.packed import follow, vanished
from pyconquest_rules.index.scan.tally import Tally
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.walk import Skipped, files_of
from pyconquest_rules.index.scan.workers import Workers
from pyconquest_rules.index.store.contest import Outcome
from pyconquest_rules.index.store.migration import choose_concerned, clear_pending, fill, pending
from pyconquest_rules.index.store.records import Record
from pyconquest_rules.index.store.reordering import contested, order_text, remember
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.index.store.touched import is_touched, touched_files
from pyconquest_rules.index.store.young_files import clear_young, note_young, young_files

CHUNK = 128

CHUNKS_A_TRANSACTION = 4
"""Other writers wait while a transaction is open, so nothing is read within one. A kill loses at most one transaction."""


class Scan:
    """One update of one index. `tally` has the outcomes of the files.

    Unchanged files are emitted only with `every_file`, because there may be millions. With `takes_back`, rows that another
    program wrote or deleted are restored from their files. Scripts of pyconquest may change rows, so they do without.
    """

    def __init__(self, store: Store, emit: Emit, *, every_file: bool = False, takes_back: bool = False) -> None:
        self.store, self.emit, self.every_file, self.takes_back = store, emit, every_file, takes_back
        self.tally = Tally(emit)
        self.comparison = Comparison(store, self.tally)
        self.roots: dict[str, Path] = {}
        self.inside: dict[str, bytes] = {}  # the same, each with a slash at its end
        self.all_there = False  # whether no source is missing
        self.began = time_ns()

    def drop(self, name: str) -> None:
        """Remove all files of a source in this update, because the rules no longer have this source."""
        self.comparison.drop(name)

    def run(
        self, trees: Sequence[Tree], workers: Workers, *, own: frozenset[bytes] = frozenset(), allow_vanish: bool = False
    ) -> None:
        """Index `trees`.

        `own` are the files and folders of this program, which are not read. `workers` returns an executor for a number of files.

        Raises SourceError, before the index is changed, if a root is missing or more than half of the indexed files of a
        source vanished.
        """
        new = self.store.is_empty()  # nothing can be gone then, so files are read while the rest is walked
        errors = []
        for tree in trees:
            error = self.comparison.check(tree, allow_vanish=allow_vanish)
            if error is None and not new:
                error = self.comparison.compare(tree, own, allow_vanish=allow_vanish)
            if error:
                errors.append(error)
        if errors:
            raise SourceError("\n".join(errors))
        self._forget(trees)
        self._fill(workers)
        chunks = self._found(trees, own) if new else self._chunks("to_read")
        with Reading(workers, chunks, reads_records(self.store.schema), self.roots) as reading:
            self._read(reading.in_order())
        self._read(self._members())
        self.tally.counts["vanished"] += vanished(self.store.connection)
        self._define(workers)
        self.store.refer()
        if not new:
            self._report_unchanged([self.store.device(tree.name, tree.root) for tree in trees])
        if self.all_there and self.store.order.base:
            remember(self.store.connection, order_text(self.store.order, self.store.decisions))

    def _forget(self, trees: Sequence[Tree]) -> None:
        """Remove files that are gone or will be read again from the index.

        Other files of their instances are read again too, unless they are gone.
        """
        store, connection = self.store, self.store.connection
        sources = store.sources()
        there = {source.device for source in sources.values() if not cannot_list(source.root)}
        if store.order.base:
            self._read_again(contested(connection, order_text(store.order, store.decisions)), there)
        young = young_files(connection)
        self._read_again(young, there)
        self.all_there = len(there) == len(sources)
        moved = [tree for tree in trees if sources[tree.name].root != tree.root]
        # If there is nothing to write, this does not wait for another writer.
        touched = self.takes_back and is_touched(connection)
        follow(connection)
        changed = bool(moved or touched) or connection.execute("SELECT 1 FROM temp.gone").fetchone() is not None
        if changed:
            with store.transaction():
                for tree in moved:
                    store.move(tree.name, tree.root)
                if touched:
                    self._read_again(touched_files(connection, store.schema), there)
                for device, path in connection.execute("SELECT device, path FROM temp.gone"):
                    connection.executemany(
                        "INSERT OR IGNORE INTO temp.to_read SELECT ?1, ?2, ?3, ?4"
                        " WHERE NOT EXISTS (SELECT 1 FROM temp.gone WHERE device = ?1 AND path = ?2)",
                        store.forget(device, path),
                    )
                if touched:
                    store.take_back()
                if young:
                    clear_young(connection)
        self.roots = {source.device: source.root for source in store.sources().values()}
        self.inside = {device: inside(root) for device, root in self.roots.items()}

    def _read_again(self, files: Iterable[tuple[str, bytes, int, int]], devices: set[str]) -> None:
        """Note known files to be removed from the index and read again, if their source exists and they can be read."""
        gone = (
            "INSERT OR IGNORE INTO temp.gone SELECT ?1, ?2"
            " WHERE NOT EXISTS (SELECT 1 FROM temp.kept WHERE device = ?1 AND path = ?2)"
        )
        for file in files:
            # A file that is in `gone` already has vanished, or is in `to_read` too.
            if file[0] in devices and self.store.connection.execute(gone, file[:2]).rowcount:
                self.store.connection.execute("INSERT INTO temp.to_read VALUES (?, ?, ?, ?)", file)

    def _fill(self, workers: Workers) -> None:
        """Read the files that can have values for new columns, and fill these. After a kill, all of them are read again."""
        connection, schema = self.store.connection, self.store.schema
        if not (columns := pending(connection, schema)):
            return
        reads = partial(read_headers, Wanted(tuple(field.tag for _, field in columns)))
        choose_concerned(connection, schema, columns)
        with Reading(workers, self._chunks("to_fill"), reads, self.roots) as reading:
            results = reading.in_order()
            while group := list(islice(results, CHUNKS_A_TRANSACTION)):
                with self.store.transaction():
                    for _, files in group:
                        self.tally.counts["read"] += len(files)
                        for _, header in files:
                            if isinstance(header, Header):
                                fill(connection, schema, columns, header)
                                self.tally.notes.update(header.notes)
        clear_pending(connection)

    def _members(self) -> Iterator[tuple[str, list[Found]]]:
        """Read archives in this process, so that no member waits in memory for others."""
        for device, archives in self._chunks("archives"):
            for archive in archives:
                found = members_of(self.inside[device], archive, self.store.records)
                while some := list(islice(found, CHUNK)):
                    yield device, some

    def _read(self, results: Iterable[tuple[str, Sequence[tuple[File, Record | Outcome | str]]]]) -> None:
        """Write what was read, several chunks in one transaction."""
        remaining = iter(results)
        while group := list(islice(remaining, CHUNKS_A_TRANSACTION)):
            with self.store.transaction():
                for device, files in group:
                    for file, record in files:
                        self._put(device, file, record)
                if any(is_young(file.mtime_ns, self.began, time_ns()) for _, files in group for file, _ in files):
                    note_young(self.store.connection, self.began, time_ns())

    def _put(self, device: str, file: File, record: Record | Outcome | str) -> None:
        path = self.inside[device] + file.path
        if record == Reason.NOT_DICOM and is_archive(path) and not is_member(file.path):
            # A run that is killed before it has read all members leaves this reason, so that the next one begins again.
            self.store.reject(device, file, Reason.READER_KILLED.value)
            self.store.connection.execute("INSERT INTO temp.archives VALUES (?, ?, ?, ?)", (device, *file))
            return
        outcome = self.store.reject(device, file, record) if isinstance(record, Outcome) else self.store.noted(device, file)
        if outcome is None and isinstance(record, Record):
            outcome = self.store.add(device, self.roots[device], file, record)
        elif outcome is None and record == Reason.UNREADABLE and _is_gone(divided(path)[0]):
            outcome = Outcome("skipped", "vanished")
        elif outcome is None:
            outcome = self.store.reject(device, file, str(record))
        self.tally.counts["read"] += outcome.reason != "vanished"
        self.tally.report(path, outcome)

    def _define(self, workers: Workers) -> None:
        """Read the files that now define patient, study and series rows, and write these rows."""
        if not self.store.choose_first():
            return
        with Reading(workers, self._chunks("to_define"), reads_records(self.store.schema), self.roots) as reading:
            results = reading.in_order()
            while group := list(islice(results, CHUNKS_A_TRANSACTION)):
                with self.store.transaction():
                    for device, files in group:
                        for file, record in files:
                            if isinstance(record, Record):
                                self.store.write_above(device, file, record)
        self.store.choose_first()  # rows whose file could not be read stay stale until the next run

    def _report_unchanged(self, devices: Iterable[str]) -> None:
        """Count the files that were not read, and emit them if requested.

        Not earlier: until all files are read, one of the others may change which file of an instance is indexed.
        """
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
            self.tally.counts.update(seen=number, unchanged=number)
            for path, reason in self.store.connection.execute(unchanged, (device,)) if self.every_file else ():
                self.emit(FileTold(self.inside[device] + path, "unchanged", reason))

    def _found(self, trees: Sequence[Tree], own: frozenset[bytes]) -> Iterator[Chunk]:
        """Yield the files of trees for a new index, while they are walked."""
        for tree in trees:
            device, seen, waiting = self.store.device(tree.name, tree.root), Counter[str](), list[File]()
            for run in walked(tree, own):
                if isinstance(run, Skipped):
                    seen["skipped"] += 1
                    self.tally.report(self.inside[device] + run.path, Outcome("skipped", run.reason))
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
        """Yield the files of a temporary table in the order of the walk. A chunk has files of one device."""
        query = f"SELECT device, path, size, mtime_ns FROM temp.{table} WHERE (device, path) > (?, ?) ORDER BY 1, 2 LIMIT {CHUNK}"
        last: tuple[str, bytes] = ("", b"")
        # An open query would keep this process at the state in which it began: SQLite would refuse to write after another
        # process has written, and could not checkpoint its WAL.
        while rows := self.store.connection.execute(query, last).fetchall():
            for device, files in groupby(rows, key=itemgetter(0)):
                yield _settled(device, [File(*row[1:]) for row in files])
            last = rows[-1][:2]


def _settled(device: str, files: list[File]) -> Chunk:
    """Return files as a chunk once a change of any of them would change its mtime."""
    wait_for_tick(file.mtime_ns for file in files)
    return device, files


def _is_gone(path: bytes) -> bool:
    """Return whether a path does not exist any more. An error of the disk does not mean that."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
