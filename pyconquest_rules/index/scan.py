"""Bringing an index up to date with its sources: decide what to read, forget what is gone, read the rest.

Workers turn paths into headers; this process alone writes. Size and mtime say what is unchanged; nothing of that is opened.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from pyconquest_rules.errors import SourceError
from pyconquest_rules.events import Emit, FileTold, Walked
from pyconquest_rules.index.header import Header, Rejected, Wanted, read
from pyconquest_rules.index.store import Known, Outcome, Store
from pyconquest_rules.index.walk import File, Skipped, walk

CHUNK = 64
CHUNKS_IN_FLIGHT = 16
CHUNKS_A_TRANSACTION = 50

COUNTS = ("seen", "read", "indexed", "unchanged", "rejected", "skipped", "duplicate", "conflict", "vanished")


Workers = Callable[[int], Executor]


@dataclass(frozen=True, slots=True)
class Tree:
    """A source as the index takes it: a name, the real path of its root, and the patterns of what is left out."""

    name: str
    root: Path
    exclude: tuple[str, ...] = ()


class Scan:
    """One bringing up to date of one index. `counts` and `reasons` say what became of the files."""

    def __init__(self, store: Store, emit: Emit) -> None:
        self.store, self.emit = store, emit
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        self.reasons: Counter[str] = Counter()
        self.roots: dict[str, Path] = {}
        store.connection.execute(
            "CREATE TEMP TABLE to_read (device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
        )
        store.connection.execute("CREATE TEMP TABLE gone (device TEXT, path BLOB)")

    def run(
        self, trees: Sequence[Tree], workers: Workers, *, own: frozenset[bytes] = frozenset(), allow_vanish: bool = False
    ) -> None:
        """Indexes `trees`. `own` are files and folders of ours, which are not read; `workers` gives who reads so many files.

        Raises SourceError, before anything is changed, where a root is missing or more than half of a source vanished.
        """
        troubles = [self._look(tree, own, allow_vanish) for tree in trees]
        if any(troubles):
            raise SourceError("\n".join(filter(None, troubles)))
        self._forget()
        (number,) = self.store.connection.execute("SELECT count(*) FROM temp.to_read").fetchone()
        if number:
            with workers(number) as executor:
                self._read(executor)

    def drop(self, name: str) -> None:
        """Notes all files of a source, which the rules no longer name, as gone."""
        device = self.store.sources()[name].device
        paths = ((device, known.path) for known in self.store.known(device))
        self.store.connection.executemany("INSERT INTO temp.gone VALUES (?, ?)", paths)

    def _look(self, tree: Tree, own: frozenset[bytes], allow_vanish: bool) -> str | None:
        """Compares a tree with what the index knows of it, notes what to read and what is gone, gives what stands against it."""
        device = self.store.device(tree.name, tree.root)
        self.roots[device] = tree.root
        there = tree.root.is_dir()
        if not (there or allow_vanish):
            return f'source "{tree.name}": there is no folder {tree.root}; mount it, or say --allow-vanish if it is gone for good'
        before = Counter(self.counts)
        walked = walk(os.fsencode(tree.root), tree.exclude, own) if there else iter(())
        known = to_read = 0
        for now, then in compare(walked, self.store.known(device)):
            known += then is not None
            to_read += self._note(device, tree.root, now, then)
        seen, vanished = (self.counts[name] - before[name] for name in ("seen", "vanished"))
        self.emit(Walked(tree.name, seen, to_read))
        if vanished * 2 > known and not allow_vanish:
            what = f'source "{tree.name}": {vanished} of {known} indexed files vanished from {tree.root}'
            return f"{what}; say --allow-vanish if that is right"
        return None

    def _note(self, device: str, root: Path, now: File | Skipped | None, then: Known | None) -> bool:
        """Notes one file that is there now, was known, or both. Whether it is to be read."""
        insert = self.store.connection.execute
        self.counts["seen"] += now is not None
        if isinstance(now, File) and then and (now.size, now.mtime_ns) == (then.size, then.mtime_ns):
            self._tell(root, now.path, Outcome("unchanged", then.reason))
            return False
        if then:
            insert("INSERT INTO temp.gone VALUES (?, ?)", (device, then.path))
        match now:
            case File():
                insert("INSERT INTO temp.to_read VALUES (?, ?, ?, ?)", (device, now.path, now.size, now.mtime_ns))
                return True
            case Skipped():
                self._tell(root, now.path, Outcome("skipped", now.reason))
            case None:
                self.counts["vanished"] += 1
        return False

    def _forget(self) -> None:
        """Takes out what is gone or will be read anew; what else held the same instances is read too."""
        store = self.store
        with store.transaction():
            for device, path in store.connection.execute("SELECT device, path FROM temp.gone"):
                others = store.forget(device, path)
                store.connection.executemany("INSERT OR IGNORE INTO temp.to_read VALUES (?, ?, ?, ?)", others)
            store.prune()

    def _read(self, executor: Executor) -> None:
        """Reads what is to be read, many chunks to a transaction: a kill loses at most the files of one, which are read again."""
        chunks = self._chunks()
        while group := deque(islice(chunks, CHUNKS_A_TRANSACTION)):
            with self.store.transaction():
                for device, results in in_order(executor, self.store.wanted, self.roots, group):
                    for file, header in results:
                        self._put(device, file, header)

    def _put(self, device: str, file: File, header: Header | str) -> None:
        root = self.roots[device]
        self.counts["read"] += 1
        if isinstance(header, Header):
            outcome = self.store.add(device, root, file, header)
        else:
            outcome = self.store.reject(device, file, header)
        self._tell(root, file.path, outcome)

    def _tell(self, root: Path, path: bytes, outcome: Outcome) -> None:
        self.counts[outcome.outcome] += 1
        self.counts["conflict"] += outcome.reason == "conflict" and outcome.outcome == "rejected"
        if outcome.outcome in ("rejected", "skipped") and outcome.reason:
            self.reasons[outcome.reason] += 1
        self.emit(FileTold(os.path.join(os.fsencode(root), path), outcome.outcome, outcome.reason))

    def _chunks(self) -> Iterator[tuple[str, list[File]]]:
        """What is to be read, in the order of the walk, each chunk of one device."""
        rows = self.store.connection.execute("SELECT device, path, size, mtime_ns FROM temp.to_read ORDER BY device, path")
        for device, files in groupby(rows, key=itemgetter(0)):
            while chunk := [File(*row[1:]) for row in islice(files, CHUNK)]:
                yield device, chunk


def compare(walked: Iterable[File | Skipped], known: Iterable[Known]) -> Iterator[tuple[File | Skipped | None, Known | None]]:
    """Joins two streams in the order of their paths: what is there now beside what was known; None where one lacks it."""
    now_stream, then_stream = iter(walked), iter(known)
    now, then = next(now_stream, None), next(then_stream, None)
    while now or then:
        if then is None or (now is not None and now.path < then.path):
            yield now, None
            now = next(now_stream, None)
        elif now is None or then.path < now.path:
            yield None, then
            then = next(then_stream, None)
        else:
            yield now, then
            now, then = next(now_stream, None), next(then_stream, None)


Read = list[tuple[File, Header | str]]


def in_order(
    executor: Executor, wanted: Wanted, roots: dict[str, Path], chunks: deque[tuple[str, list[File]]]
) -> Iterator[tuple[str, Read]]:
    """The headers of `chunks` in their order, a few chunks ahead in the workers."""
    running: deque[tuple[str, Future[Read]]] = deque()
    while chunks or running:
        while chunks and len(running) < CHUNKS_IN_FLIGHT:
            device, files = chunks.popleft()
            running.append((device, executor.submit(read_all, os.fsencode(roots[device]), files, wanted)))
        device, future = running.popleft()
        yield device, future.result()


def read_all(root: bytes, files: Sequence[File], wanted: Wanted) -> Read:
    """In a worker: the header of each file, or the reason why there is none."""
    return [(file, _header(os.path.join(root, file.path), wanted)) for file in files]


def _header(path: bytes, wanted: Wanted) -> Header | str:
    try:
        return read(path, wanted)
    except Rejected as rejected:
        return rejected.reason.value
