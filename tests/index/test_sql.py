"""Our SQL functions return what SQLite's own functions return; queries stay within their limits."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconquest_rules.errors import Mistake
from pyconquest_rules.index.query import sql
from pyconquest_rules.index.query.deadline import Deadline
from pyconquest_rules.index.store import read_only
from pyconquest_rules.index.store.sql_functions import set_up

LETTERS = st.text(st.sampled_from("abAB %_.\0é\U0001f600\u0308"), max_size=6)
VALUES = (
    st.none()
    | st.integers(-100, 10**12)
    | st.floats(allow_nan=False)
    | LETTERS
    | st.sampled_from([b"", b"a", b"ab", "é".encode()])
)
FORMATS = st.lists(
    st.sampled_from(["%d", "%05d", "%s", "%-8s", "%.2f", "%8.3e", "%q", "%%", "%x", "%,d", "a", "é", "%", "%z"])
).map("".join)

SQLITE, OURS = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
set_up(OURS)


def given_by(connection: sqlite3.Connection, text: str, given: tuple[Any, ...]) -> Any:
    """Return the result of SQLite, as bytes."""
    return connection.execute(f"SELECT typeof(x), CAST(x AS BLOB) FROM (SELECT {text} AS x)", given).fetchone()


@given(st.sampled_from(["instr(?, ?)", "trim(?, ?)", "ltrim(?, ?)", "rtrim(?, ?)"]), VALUES, VALUES)
@settings(max_examples=500, deadline=None)
def test_functions_of_two_arguments_equal_those_of_sqlite(text: str, one: Any, other: Any) -> None:
    assert given_by(OURS, text, (one, other)) == given_by(SQLITE, text, (one, other))


@given(VALUES, VALUES, VALUES)
@settings(max_examples=500, deadline=None)
def test_replace_equals_that_of_sqlite(text: Any, old: Any, new: Any) -> None:
    assert given_by(OURS, "replace(?, ?, ?)", (text, old, new)) == given_by(SQLITE, "replace(?, ?, ?)", (text, old, new))


@given(FORMATS | VALUES, VALUES, VALUES)
@settings(max_examples=500, deadline=None)
def test_printf_equals_that_of_sqlite(form: Any, one: Any, other: Any) -> None:
    if not isinstance(form, bytes):
        assert given_by(OURS, "printf(?, ?, ?)", (form, one, other)) == given_by(SQLITE, "printf(?, ?, ?)", (form, one, other))


def test_a_deadline_counts_computing_time_only() -> None:
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        read_only.set_up(connection)
        _, rows = sql.rows(connection, f"{endless} x FROM r", {}, 0.05)
        with closing(rows), Deadline(connection, 1000):  # far longer than it takes to see that no row is interrupted
            assert [next(rows)[0] for _ in range(10_000)][-1] == 10_000
        _, rows = sql.rows(connection, f"{endless} count(*) FROM r", {}, 0.05)
        with pytest.raises(Mistake, match="took too long"):
            next(rows)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_limits_hold_within_a_query_only() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        read_only.set_up(connection)
        before = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        _, rows = sql.rows(
            connection, "SELECT x || x || x || x || x FROM (SELECT :x || :x || :x || :x AS x)", {"x": "a" * 200_000}
        )
        with pytest.raises(Mistake, match="a text is too long for this query"):
            next(rows)
        assert connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == before
