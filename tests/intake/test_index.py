"""The index while instances arrive: geometry, cost and order."""

import sqlite3
from contextlib import closing

import pytest

from pyconquest_rules import app
from tests.conftest import Workplace
from tests.intake.inboxes import put, receiving
from tests.network.raw import data_set


def measured(archive: Workplace) -> list[tuple[int, float]]:
    """Return the geometry that a reader of the index sees."""
    rules = app.Rules.load(archive.folder / "rules.toml")
    with app.opened(rules) as sets:
        query = "SELECT NumberOfSlices, ScanRange FROM series ORDER BY SeriesInstanceUID"
        return [tuple(row) for row in sets.connection.execute(query)]


def stale(archive: Workplace) -> int:
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        (number,) = connection.execute("SELECT count(*) FROM rules_stale WHERE level = 'geometry'").fetchone()
        return int(number)


def test_readers_see_the_geometry_of_a_growing_series(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        for number in range(1, 6):
            assert put(inbox, f"1.2.{number}", data_set(f"1.2.{number}", number=number))[0] == 0
            assert stale(archive) == 1
            assert measured(archive) == [(number, number - 1.0)]
            assert stale(archive) == 0


def test_geometry_is_computed_at_the_end_and_by_index_after_a_kill(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        for number in range(1, 41):
            put(inbox, f"1.2.{number}", data_set(f"1.2.{number}", number=number, series=f"1.3.{number // 2}"))
        assert stale(archive) == 21
    assert stale(archive) == 0
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("INSERT INTO rules_stale VALUES ('geometry', '1.3.1')")
        connection.execute("UPDATE geometry SET NumberOfSlices = 77 WHERE SeriesInstanceUID = '1.3.1'")
    assert archive.run("index").code == 0
    assert stale(archive) == 0
    assert sorted(measured(archive)) == [(1, 0.0)] * 2 + [(2, 1.0)] * 19


def test_the_cost_of_an_instance_does_not_depend_on_the_size_of_its_series(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        steps: list[int] = []
        with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
            rows = ((f"1.9.{number}", "1.2.3.1", number, "") for number in range(20_000))
            connection.executemany("INSERT INTO rules_slices VALUES (?, ?, ?, ?)", rows)
        for series in ("1.2.3.9", "1.2.3.1"):
            put(inbox, f"{series}.1", data_set(f"{series}.1", series=series))
            counted = [0]

            def count(counted: list[int] = counted) -> int:
                counted[0] += 1
                return 0

            inbox.indexer._store.connection.set_progress_handler(count, 10)
            put(inbox, f"{series}.2", data_set(f"{series}.2", series=series))
            inbox.indexer._store.connection.set_progress_handler(None, 0)
            steps.append(counted[0])
    assert steps[1] < 2 * steps[0] + 10


@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2), (2, 1, 3)])
def test_the_order_of_arrival_does_not_change_the_index(archive: Workplace, numbers: tuple[int, ...]) -> None:
    with receiving(archive) as inbox:
        for number in numbers:
            put(inbox, f"1.2.9.{number}", data_set(f"1.2.9.{number}", number=number, text=f"text {number}"))
    query = "select StudyDescription from studies"
    assert archive.run("query", query, "--json").lines[0]["values"] == {"StudyDescription": "text 1"}
    with receiving(archive, newest=True) as inbox:
        put(inbox, "1.2.9.1", data_set("1.2.9.1", number=1, patient="P0", text="corrected"))
        put(inbox, "1.2.9.2", data_set("1.2.9.2", number=2, patient="P3", text="corrected too"))
    assert archive.run("index").code == 0
    grown = archive.run("query", query, "--json").out
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    archive.run("index")
    assert archive.run("query", query, "--json").out == grown
    assert 'corrected"' in grown
