"""Comparing existing files with known files. Runs of unchanged files are compared at once."""

from bisect import bisect
from collections.abc import Iterable, Iterator
from itertools import starmap
from operator import itemgetter
from sqlite3 import Cursor

from pyconquest_rules.disk.file import File
from pyconquest_rules.index.scan.walk import Run, Skipped, entries

ROWS_AT_ONCE = 1000

Pair = tuple[File | Skipped | None, File | None]
"""The existing file and the known file of a path; None for the one that is missing."""


def changes(found: Iterable[Run | Skipped], rows: Cursor) -> Iterator[int | Run | Pair]:
    """Join the results of `runs` with rows of (path, size, mtime_ns), both ordered by path.

    Yield the number of files in an unchanged run, a run whose files are all new, and a pair for every other path. A pair may
    be unchanged too.
    """
    known = _Known(rows)
    for part in found:
        if isinstance(part, list) and known.begins_with(part):
            yield len(part)
            continue
        last = part.path if isinstance(part, Skipped) else part[-1][0]
        if isinstance(part, list) and known.is_behind(last):
            yield part
        else:
            yield from compare(entries(part), known.up_to(last))
    yield from compare((), known.up_to(None))


def compare(now_stream: Iterable[File | Skipped], then_stream: Iterable[File]) -> Iterator[Pair]:
    """Join existing and known files, both ordered by path, and yield them in pairs."""
    walked, known = iter(now_stream), iter(then_stream)
    now, then = next(walked, None), next(known, None)
    while now or then:
        if then is None or (now is not None and now.path < then.path):
            yield now, None
            now = next(walked, None)
        elif now is None or then.path < now.path:
            yield None, then
            then = next(known, None)
        else:
            yield now, then
            now, then = next(walked, None), next(known, None)


class _Known:
    """Known rows, taken in order."""

    def __init__(self, rows: Cursor) -> None:
        self.rows = rows
        self.ahead: Run = []

    def begins_with(self, run: Run) -> bool:
        """Return whether the next rows are these. If so, take them."""
        number = len(run)
        if number > len(self.ahead):
            self.ahead += self.rows.fetchmany(number - len(self.ahead))
        if self.ahead[:number] != run:
            return False
        self.ahead = self.ahead[number:]
        return True

    def is_behind(self, last: bytes) -> bool:
        """Return whether there is no row up to a path."""
        self.ahead = self.ahead or self.rows.fetchmany(ROWS_AT_ONCE)
        return not self.ahead or self.ahead[0][0] > last

    def up_to(self, last: bytes | None) -> Iterator[File]:
        """Take the rows up to a path, or all remaining rows."""
        while True:
            number = len(self.ahead) if last is None else bisect(self.ahead, last, key=itemgetter(0))
            taken, self.ahead = self.ahead[:number], self.ahead[number:]
            yield from starmap(File, taken)
            if self.ahead or not (more := self.rows.fetchmany(ROWS_AT_ONCE)):
                return
            self.ahead = more
