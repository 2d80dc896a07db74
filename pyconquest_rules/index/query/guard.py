"""What foreign SQL may do: read, call functions of an allow-list, and stay within limits."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHORTEST_LIMIT = 256 * 1024
"""The length of texts, in bytes, that every query may read."""

LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 32 * 1024,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 80,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}

FUNCTIONS = frozenset(
    """
    abs changes char coalesce concat concat_ws format glob hex ifnull iif instr length like likely lower ltrim match max min
    nullif octet_length printf quote random replace round rtrim sign soundex substr substring trim typeof unhex unicode
    unlikely upper avg count group_concat string_agg sum total median
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    date time datetime julianday unixepoch strftime timediff
    acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow power
    radians sin sinh sqrt tan tanh trunc
    json json_array json_array_length json_extract json_group_array json_group_object json_object json_type json_valid
    json_quote -> ->> json_each json_tree
    roi_match
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is harder to read
)


@contextmanager
def guarded(connection: sqlite3.Connection, into: str | None = None, longest: int = SHORTEST_LIMIT) -> Iterator[None]:
    """Restrict a connection to reading within LIMITS and texts of up to `longest` bytes.

    `into` is the only temporary table that may be filled.
    """
    limits = {**LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: longest}
    before = {category: connection.setlimit(category, limit) for category, limit in limits.items()}
    connection.set_authorizer(_authorizer(into))
    try:
        yield
    finally:
        connection.set_authorizer(None)
        for category, limit in before.items():
            connection.setlimit(category, limit)


def _authorizer(into: str | None) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
        match action:
            case sqlite3.SQLITE_SELECT | sqlite3.SQLITE_READ | sqlite3.SQLITE_RECURSIVE:
                return sqlite3.SQLITE_OK
            case sqlite3.SQLITE_FUNCTION if second and second.lower() in FUNCTIONS:
                return sqlite3.SQLITE_OK
            case sqlite3.SQLITE_INSERT if into and first == into and database == "temp":
                return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return authorize
