"""SQL of the rules file and of `query`: read-only by construction.

The connection is opened read-only, an authorizer lets through reading and an allow-list of functions, and a deadline
stops what never ends. One statement, values always bound.

SQLite asks whether to stop only where a statement loops. What one row takes is kept short by limits: on the length of the
statement and of every text, and on the number of functions.
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


class Most(NamedTuple):
    """What a query may take: seconds, rows, and bytes in temporary files."""

    seconds: float
    rows: int
    space: int


MOST_COLUMNS, MOST_FUNCTIONS = 500, 64

LONGEST_VALUE = LIMIT + 64 * 1024
"""The longest text of a query that only reads: any value of a file, and the rest of its row."""

MOST_OF_A_ROW = 2 * LONGEST_VALUE
"""The texts of one row of a result together, in bytes."""


def columns(connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS) -> tuple[str, ...]:
    """The names of the columns that a query gives, found without reading a row.

    Raises Mistake where it is not one read-only statement, names what does not exist, or takes too long or too much.
    """
    compiled(connection, _one(query), params)
    return names(connection, query, params, seconds)


def names(
    connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS, space: int | None = None
) -> tuple[str, ...]:
    """As `columns`, of a query that was compiled as the user wrote it.

    No row is read, but SQLite computes what is materialised first: so there is a bound on its temporary `space` too.
    """
    longest, deadline = _longest(query, columns=1), Deadline(connection, seconds, space)
    with explained(connection, query, params, FUNCTIONS), guarded(connection, longest=longest), deadline:
        cursor = connection.execute(f"SELECT * FROM ({_one(query)}\n) LIMIT 0", params)
        found = tuple(column[0] for column in cursor.description)
    if len(found) > MOST_COLUMNS:
        raise Mistake(f"the query gives more than {MOST_COLUMNS} columns")
    return found


def compiled(connection: sqlite3.Connection, text: str, params: Values, before: str = "") -> None:
    """Compiles `text`, a query or the end of one, just as the user wrote it. Raises Mistake as `columns` does.

    What is put around it later would show up in the errors: an open bracket would be closed by ours.
    """
    check_functions(text)
    with explained(connection, text, params, FUNCTIONS, before), guarded(connection):
        connection.execute(f"EXPLAIN {before}{text}", params).close()


def unknown_table(connection: sqlite3.Connection, query: str, params: Values, before: str = "") -> str | None:
    """Compiles as `compiled` does, but gives the first table that the database does not have; None where it has all."""
    text = query if before else _one(query)
    check_functions(text)
    with explained(connection, text, params, FUNCTIONS, before), guarded(connection):
        try:
            connection.execute(f"EXPLAIN {before}{text}", params).close()
        except sqlite3.OperationalError as error:
            if match := re.fullmatch(r"no such table: (\w+)", str(error)):
                return match[1]
            raise
    return None


def check_functions(text: str) -> None:
    """Raises Mistake where a query names more functions than may be."""
    if _functions(_words(text)) > MOST_FUNCTIONS:
        raise Mistake(f"the query uses more than {MOST_FUNCTIONS} functions", hint="LIKE and GLOB are functions too")


def _longest(query: str, columns: int) -> int:
    """The length of the texts that a query may read and make, in bytes.

    It is that of any value if the query only reads. What functions do with a text takes long, and nothing stops it: they share
    LONGEST among them. Columns that may hold blobs, whose length nobody counts, share it too.
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
    """How many functions a query names, from its words."""
    called = sum(1 for word, next_ in pairwise(words) if next_ == "(" and _may_be_function(word))
    return called + sum(words.count(word) for word in ("like", "glob", "match", "->", "->>"))


def _may_be_function(word: str) -> bool:
    return (word[0] in '"`[' or word[0] == "_" or word[0].isalnum()) and word not in NO_FUNCTIONS


def rows(
    connection: sqlite3.Connection, query: str, params: Values, seconds: float = SECONDS
) -> tuple[tuple[str, ...], Generator[Row, None, None]]:
    """The names of the columns of a query and its rows, one by one. Raises Mistake as `columns` does.

    A query that goes on giving rows may go on: `seconds` are those until the next one.
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
    """Makes the texts of one row after another."""

    def __init__(self) -> None:
        self.room = MOST_OF_A_ROW

    def of(self, stored: bytes) -> str:
        """As `text_of`. Raises Mistake for a row that would take too much memory."""
        self.room -= len(stored)
        if self.room < 0:
            raise Mistake(f"the texts of a row are longer than {MOST_OF_A_ROW} bytes", hint="ask for fewer columns")
        return text_of(stored)


def fill(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], query: str, params: Values, most: Most
) -> tuple[tuple[str, ...], int]:
    """Makes the temporary table `table` of the rows of a query; returns its columns and how many rows it has.

    Raises Mistake as `columns` does, and for more rows than `most`.
    """
    names = _distinct(columns)
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    connection.execute(f'CREATE TEMP TABLE "{table}" ({quoted})')
    with (
        explained(connection, query, params, FUNCTIONS),
        guarded(connection, table, _longest(query, len(names))),
        Deadline(connection, most.seconds, most.space),
    ):
        insert = f'INSERT INTO temp."{table}" SELECT * FROM ({_one(query)}\n) LIMIT {most.rows + 1}'
        rows = connection.execute(insert, params).rowcount
    if rows > most.rows:
        raise Mistake("the sets give too many rows", hint="a join without a condition gives every row with every other one")
    return names, rows


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Of columns that are called alike (without case, as SQL compares), the later ones get a number."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        count = seen[name.lower()] = seen.get(name.lower(), 0) + 1
        distinct.append(name if count == 1 else f"{name}:{count}")
    return tuple(distinct)


def _one(query: str) -> str:
    """The query without a closing semicolon. Raises Mistake for what does not begin as a SELECT does."""
    text = query.strip().rstrip(";").rstrip()
    # Token by token: one expression for all that comes before a word would try comments in every combination.
    tokens = (token[0] for token in TOKEN.finditer(text))
    first = next((token for token in tokens if not token.isspace() and token[:2] not in ("--", "/*")), None)
    if first is None or first.lower() not in {"select", "with", "values"}:
        is_word = first is not None and re.fullmatch(r"\w+", first)
        raise Mistake(READS, fragment=first if is_word else None, hint="queries begin with SELECT or WITH")
    return text


NO_FUNCTIONS = frozenset({"in", "values", "as", "over", "filter", "exists", "and", "or", "not", "on", "where", "from", "select"})
