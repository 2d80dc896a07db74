"""Comparing the files of a source with the index, before anything is changed.

The results are temporary tables: `to_read` has the files to read, `gone` those to remove from the index first, and `kept` those
below folders that cannot be read.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyconquest_rules.disk.file import File
from pyconquest_rules.events import Walked
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.scan import packed
from pyconquest_rules.index.scan.changes import changes
from pyconquest_rules.index.scan.tally import Tally
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.walk import OTHER, Run, Skipped, files_of, runs
from pyconquest_rules.index.scan.wrong_places import missing, not_a_folder
from pyconquest_rules.index.store.contest import Outcome
from pyconquest_rules.index.store.places import known_files
from pyconquest_rules.index.store.store import Store


class Comparison:
    """Compares sources with an index."""

    def __init__(self, store: Store, tally: Tally) -> None:
        self.store, self.tally = store, tally
        store.connection.execute(
            "CREATE TEMP TABLE to_read (device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
        )
        store.connection.execute("CREATE TEMP TABLE kept (device TEXT, path BLOB, PRIMARY KEY (device, path)) WITHOUT ROWID")
        store.connection.execute("CREATE TEMP TABLE gone (device TEXT, path BLOB, PRIMARY KEY (device, path)) WITHOUT ROWID")
        store.connection.execute(packed.TABLE)

    def drop(self, name: str) -> None:
        """Note all files of a source as gone, because the rules no longer have this source."""
        device = self.store.sources()[name].device
        paths = "SELECT device, CAST(path AS BLOB) FROM rules_files WHERE device = ?"
        self.store.connection.execute(f"INSERT INTO temp.gone {paths}", (device,))

    def check(self, tree: Tree, *, allow_vanish: bool) -> str | None:
        """Return why a source cannot be scanned; None if it can. A new source gets its device."""
        why = cannot_list(tree.root)
        if why and (wrong := not_a_folder(tree.root)):
            return f'source "{tree.name}": {wrong}'
        if why and not allow_vanish:
            return f'source "{tree.name}": {missing(tree.root, why, known=self._knows(tree.name))}'
        self.store.device(tree.name, tree.root)
        return None

    def compare(self, tree: Tree, own: frozenset[bytes], *, allow_vanish: bool) -> str | None:
        """Note what to read of a source and what is gone. Return an error if too many of its files vanished."""
        device = self.store.device(tree.name, tree.root)
        counts = self._compare(device, tree.root, walked(tree, own), allow_vanish)
        if counts["packed"]:
            counts.update(known=packed.members(self.store.connection, device), vanished=counts["packed"])
        self.tally.counts["vanished"] += counts["vanished"]
        self.tally.counts["kept"] += counts["kept"]
        self.tally.emit(Walked(tree.name, counts["seen"], counts["to_read"]))
        if counts["vanished"] * 2 > counts["known"] and not allow_vanish:
            what = f'source "{tree.name}": {counts["vanished"]} of {counts["known"]} indexed files vanished from {tree.root}'
            return f"{what}; if you removed them, run again with --allow-vanish"
        return None

    def _knows(self, name: str) -> bool:
        """Return whether the index has files of a source."""
        source = self.store.sources().get(name)
        query = "SELECT 1 FROM rules_files WHERE device = ? LIMIT 1"
        return source is not None and self.store.connection.execute(query, (source.device,)).fetchone() is not None

    def _compare(self, device: str, root: Path, found: Iterable[Run | Skipped], allow_vanish: bool) -> Counter[str]:
        """Note every file of a tree that changed. Return how many files were seen, known, vanished, kept, and are to be
        read; `packed` are the members of archives that vanished.

        Known files below a folder that cannot be read are kept unless `allow_vanish`: they may still exist.
        """
        counts = Counter[str]()
        closed = Skipped(b"/", "")  # the last entry that may be an excluded folder; no path begins with a slash
        unread = set[bytes]()
        for change in changes(found, known_files(self.store.connection, device)):
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
            if now is None and then is not None and not below:
                counts.update(vanished=1, packed=packed.members(self.store.connection, device, then.path))
            counts["to_read"] += self._note(device, root, now, then)
        return counts

    def _note(self, device: str, root: Path, now: File | Skipped | None, then: File | None) -> bool:
        """Note one file that exists now, was known, or both. Return whether it is to be read."""
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
                self.tally.report(inside(root) + now.path, Outcome("skipped", now.reason))
        return False


def walked(tree: Tree, own: frozenset[bytes]) -> Iterator[Run | Skipped]:
    """Yield the entries of a tree; none if its root is missing."""
    if cannot_list(tree.root):
        return
    try:
        yield from runs(os.fsencode(tree.root), tree.exclude, own, tree.before)
    except OSError:  # raised for the root only, before any entry: it can be opened, but not listed
        yield Skipped(b"", Reason.UNREADABLE)


def cannot_list(folder: Path) -> str | None:
    """Return why a folder cannot be listed; None if it can."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror
    return None


def inside(root: Path) -> bytes:
    """Return the beginning of the absolute paths of all files below a root."""
    return os.fsencode(root).rstrip(b"/") + b"/"


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    """Return whether a path is one of these folders or lies in one."""
    while folders and path and path not in folders:
        path = path.rpartition(b"/")[0]
    return path in folders
