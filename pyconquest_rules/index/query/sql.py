"""SQL of the rules file and of `query`: read-only by construction.

The connection is opened read-only, an authorizer permits only reading and an allow-list of functions, and a deadline
stops long queries. A query is one statement, and its values are always bound.

SQLite can be interrupted only where a statement loops. The work on one row is limited by the length of the statement, the
length of every text, and the number of functions.
"""

import re
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pyconquest_rules.errors import Mistake
from pyconquest_rules.headers.values import LIMIT
from pyconquest_rules.index.query.deadline import Deadline
from pyconquest_rules.index.query.guard import FUNCTIONS, SHORTEST_LIMIT, guarded
from pyconquest_rules.index.query.sql_mistakes import READS, explained
from pyconquest_rules.index.store.read_only import text_of
from pyconquest_rules.index.store.sql_functions import LONGEST
from pyconquest_rules.index.store.tokens import TOKEN

Value = str | int | float | bool | None
Values = Mapping[str, Value]
Row = tuple[Value, ...]

SECONDS = 300.0


class Limits(NamedTuple):
    """The limits of a query: seconds, rows, and bytes in temporary files."""

    seconds: float
    rows: int
    space: int


MOST_COLUMNS, MOST_FUNCTIONS = 500, 64

LONGEST_VALUE = LIMIT + 64 * 1024
"""The longest text, in bytes, that a query without functions may read: any value of a file, and the rest of its row."""

MOST_OF_A_ROW = 2 * LONGEST_VALUE
"""The limit on the texts of one row of a result together, in bytes."""


def columns(connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS) -> tuple[str, ...]:
    """Return the names of the columns of a query without reading a row.

    Raises Mistake if it is not one read-only statement, uses an unknown name, or exceeds a limit.
    """
    compiled(connection, _one(query), params)
    return names(connection, query, params, seconds)


def names(
    connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS, space: int | None = None
) -> tuple[str, ...]:
    """Return the names of the columns of a query that is known to compile. Raises Mistake as `columns` does.

    No row is read, but SQLite may materialise subqueries first, so `space` limits the temporary files.
    """
    longest, deadline = _longest(query, columns=1), Deadline(connection, seconds, space)
    with explained(connection, query, params, FUNCTIONS), guarded(connection, longest=longest), deadline:
        cursor = connection.execute(f"SELECT * FROM ({_one(query)}\n) LIMIT 0", params)
        found = tuple(column[0] for column in cursor.description)
    if len(found) > MOST_COLUMNS:
        raise Mistake(f"the query returns more than {MOST_COLUMNS} columns")
    return found


def compiled(connection: sqlite3.Connection, text: str, params: Values, before: str = "") -> None:
    """Compile `text`, a query or the end of one, exactly as the user wrote it. Raises Mistake as `columns` does.

    The SQL that is later put around it would hide errors: it could close a parenthesis that the user left open.
    """
    check_functions(text)
    with explained(connection, text, params, FUNCTIONS, before), guarded(connection):
        connection.execute(f"EXPLAIN {before}{text}", params).close()


def unknown_table(connection: sqlite3.Connection, query: str, params: Values, before: str = "") -> str | None:
    """Compile as `compiled` does, but return the first table that the database does not have; None if it has all."""
    text = query if before else _one(query)
    check_functions(text)
    with explained(connection, text, params, FUNCTIONS, before), guarded(connection):
        try:
            connection.execute(f"EXPLAIN {before}{text}", params).close()
        except sqlite3.OperationalError as error:
            if match := re.fullmatch(r"no such table: ([\w ]+)", str(error)):
                return match[1]
            raise
    return None


def check_functions(text: str) -> None:
    """Raise Mistake if a query uses too many functions."""
    if _functions(_words(text)) > MOST_FUNCTIONS:
        raise Mistake(f"the query uses more than {MOST_FUNCTIONS} functions", hint="LIKE and GLOB count as functions")


def _longest(query: str, columns: int) -> int:
    """Return the length of the texts, in bytes, that a query may read and create.

    A query without functions may read any value. A function on a long text takes long and cannot be interrupted, so all
    functions share LONGEST. Columns that may be blobs share it too, since `_Texts` does not count blobs.
    """
    words = _words(query)
    makes = _functions(words) + sum(1 for word, next_ in pairwise(words) if word == next_ == "|")
    if not makes:
        return LONGEST_VALUE
    longest = max(LONGEST // makes, SHORTEST_LIMIT)
    return longest if {"cast", "unhex"}.isdisjoint(words) else min(longest, LONGEST // max(columns, 1))


def _words(text: str) -> list[str]:
    return [token.lower() for token in TOKEN.findall(text) if not token[0].isspace() and token[:2] not in ("--", "/*")]


def _functions(words: list[str]) -> int:
    """Return how many functions are in the words of a query."""
    called = sum(1 for word, next_ in pairwise(words) if next_ == "(" and _may_be_function(word))
    return called + sum(words.count(word) for word in ("like", "glob", "match", "->", "->>"))


def _may_be_function(word: str) -> bool:
    return (word[0] in '"`[' or word[0] == "_" or word[0].isalnum()) and word not in NO_FUNCTIONS


def rows(
    connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS
) -> tuple[tuple[str, ...], Generator[Row, None, None]]:
    """Return the names of the columns of a query and an iterator over its rows. Raises Mistake as `columns` does.

    `seconds` limits the time until the next row, not the time of all rows.
    """
    names = columns(connection, query, params, seconds)
    longest = _longest(query, len(names))

    def stream() -> Generator[Row, None, None]:
        deadline, texts = Deadline(connection, seconds), _Texts()
        with explained(connection, query, params, FUNCTIONS), guarded(connection, longest=longest), deadline:
            connection.text_factory = texts.of
            for row in connection.execute(_one(query), params):
                deadline.stop()
                connection.text_factory = text_of
                yield row
                texts.room, connection.text_factory = MOST_OF_A_ROW, texts.of
                deadline.start()
        connection.text_factory = text_of

    return names, stream()


class _Texts:
    """Decodes the texts of rows, and limits the size of each row."""

    def __init__(self) -> None:
        self.room = MOST_OF_A_ROW

    def of(self, stored: bytes) -> str:
        """Decode as `text_of` does. Raises Mistake if the row takes too much memory."""
        self.room -= len(stored)
        if self.room < 0:
            raise Mistake(f"the texts of a row are longer than {MOST_OF_A_ROW} bytes", hint="select fewer columns")
        return text_of(stored)


def fill(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], query: str, params: Values, limits: Limits
) -> tuple[tuple[str, ...], int]:
    """Create the temporary table `table` with the rows of a query. Return its columns and its number of rows.

    Raises Mistake as `columns` does, and if there are more rows than `limits` allows.
    """
    names = _distinct(columns)
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    connection.execute(f'CREATE TEMP TABLE "{table}" ({quoted})')
    with (
        explained(connection, query, params, FUNCTIONS),
        guarded(connection, table, _longest(query, len(names))),
        Deadline(connection, limits.seconds, limits.space),
    ):
        insert = f'INSERT INTO temp."{table}" SELECT * FROM ({_one(query)}\n) LIMIT {limits.rows + 1}'
        rows = connection.execute(insert, params).rowcount
    if rows > limits.rows:
        raise Mistake("the sets return too many rows", hint="a join without a condition returns every combination of rows")
    return names, rows


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names with a number behind repeated ones. SQL compares names without case."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        count = seen[name.lower()] = seen.get(name.lower(), 0) + 1
        distinct.append(name if count == 1 else f"{name}:{count}")
    return tuple(distinct)


def _one(query: str) -> str:
    """Return the query without its closing semicolon. Raises Mistake if it does not begin like a SELECT."""
    text = query.strip().rstrip(";").rstrip()
    # Token by token: a single expression for everything before the first word would backtrack through all comments.
    tokens = (token[0] for token in TOKEN.finditer(text))
    first = next((token for token in tokens if not token.isspace() and token[:2] not in ("--", "/*")), None)
    if first is None or first.lower() not in {"select", "with", "values"}:
        is_word = first is not None and re.fullmatch(r"\w+", first)
        raise Mistake(READS, fragment=first if is_word else None, hint="queries begin with SELECT or WITH")
    return text


NO_FUNCTIONS = frozenset({"in", "values", "as", "over", "filter", "exists", "and", "or", "not", "on", "where", "from", "select"})
