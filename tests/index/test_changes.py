"""Changes since the last index: comparing by folder gives the same result as comparing by file."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyconquest_rules import app
from pyconquest_rules.disk.file import File
from pyconquest_rules.events import Event, FileTold
from pyconquest_rules.index.scan.changes import Pair, changes, compare
from pyconquest_rules.index.scan.walk import Run, Skipped, entries, files_of
from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"
"""

PATHS = st.sampled_from([b"%c/%d" % (folder, number) for folder in b"abc" for number in range(4)])
KNOWN = st.dictionaries(PATHS, st.integers(0, 1))
SKIPPED = st.sets(st.sampled_from([b"a", b"a/1", b"b", b"b/2x", b"d"]))


def cursor(known: dict[bytes, int]) -> sqlite3.Cursor:
    """Return the rows of these paths, each with its size and an mtime of 1."""
    rows = sqlite3.connect(":memory:").cursor()
    rows.execute("CREATE TABLE files (path BLOB, size INT)")
    rows.executemany("INSERT INTO files VALUES (?, ?)", known.items())
    return rows.execute("SELECT path, size, 1 FROM files ORDER BY path")


def found(now: dict[bytes, int], skipped: set[bytes]) -> Iterator[Run | Skipped]:
    """Yield files in runs by their folders, and between them the skipped paths, in the order of a walk."""
    run: Run = []
    for path in sorted({*now, *skipped}):
        if run and (path in skipped or os.path.dirname(path) != os.path.dirname(run[-1][0])):
            yield run
            run = []
        if path in skipped:
            yield Skipped(path, "excluded")
        else:
            run.append((path, now[path], 1))
    if run:
        yield run


def one_by_one(told: Iterable[int | Run | Pair]) -> list[int | Pair]:
    """Return the changes, with a pair for each file of a run of new files."""
    pairs: list[int | Pair] = []
    for change in told:
        pairs += [(file, None) for file in files_of(change)] if isinstance(change, list) else [change]
    return pairs


@given(KNOWN, KNOWN, SKIPPED)
@example({b"a/1": 0, b"a/2": 0}, {b"a/2": 0}, set())  # the rows that were looked at belong to what comes next
def test_changes_by_run_equal_changes_by_file(then: dict[bytes, int], now: dict[bytes, int], skipped: set[bytes]) -> None:
    now = {path: size for path, size in now.items() if path not in skipped}
    told = one_by_one(changes(found(now, skipped), cursor(then)))
    walked = [entry for part in found(now, skipped) for entry in entries(part)]
    pairs = list(compare(walked, [File(path, size, 1) for path, size in sorted(then.items())]))
    assert [pair for pair in told if not isinstance(pair, int) and pair[0] != pair[1]] == [(a, b) for a, b in pairs if a != b]
    same = sum(change if isinstance(change, int) else change[0] == change[1] for change in told)
    assert same == sum(a == b for a, b in pairs)


def test_an_unchanged_folder_is_one_number() -> None:
    files = {b"a/%02d" % number: 0 for number in range(50)}
    assert list(changes(found(files, set()), cursor(files))) == [50]


def test_an_unknown_folder_is_one_run() -> None:
    known, new = ({b"%c/%02d" % (folder, number): 0 for number in range(50)} for folder in b"ab")
    first, second = changes(found({**known, **new}, set()), cursor(known))
    assert (first, second) == (50, [(path, 0, 1) for path in sorted(new)])


def test_for_a_new_file_only_its_folder_is_compared_file_by_file() -> None:
    known = {b"%c/%02d" % (folder, number): 0 for folder in b"abc" for number in range(50)}
    told = one_by_one(changes(found({**known, b"b/00x": 0}, set()), cursor(known)))
    assert [told[0], told[-1]] == [50, 50]
    assert [pair for pair in told[1:-1] if not isinstance(pair, int) and pair[0] != pair[1]] == [(File(b"b/00x", 0, 1), None)]


def test_without_changes_index_does_not_wait_for_other_writers(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    (workplace.folder / "cohort.csv").write_text("PatientID\nP1\n")
    workplace.rules(f'{RULES}[tables.cohort]\ncsv = "cohort.csv"\n')
    workplace.run("index")
    with closing(sqlite3.connect(workplace.folder / "conquest.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert workplace.run("index", "--json").summary["unchanged"] == 1


@pytest.mark.parametrize("every_file", [False, True])
def test_every_file_also_emits_unchanged_files(workplace: Workplace, instance: Instance, every_file: bool) -> None:
    rules = app.Rules.load(workplace.rules(RULES).folder / "rules.toml")
    file = instance("data/1.dcm")
    app.index(rules)
    told: list[Event] = []
    assert app.index(rules, emit=told.append, every_file=every_file).counts["unchanged"] == 1
    paths = [(event.path, event.outcome) for event in told if isinstance(event, FileTold)]
    assert paths == ([(os.fsencode(file), "unchanged")] if every_file else [])
