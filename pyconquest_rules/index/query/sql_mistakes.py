"""SQLite's errors in the terms of the rules file, with the word of the query that is wrong."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from time import monotonic

from pyconquest_rules.dicom import dictionary, tags
from pyconquest_rules.errors import Mistake, did_you_mean
from pyconquest_rules.index.query.deadline import TOO_MUCH_SPACE
from pyconquest_rules.index.store.schema import VIEWS, column_names

READS = "a query must be one SELECT that only reads"
TABLE_NAMES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') UNION SELECT name FROM sqlite_temp_master"
TOO_MUCH = {
    "interrupted": "the query took too long and was stopped",
    TOO_MUCH_SPACE: "the query takes too much temporary space and was stopped",
    "database or disk is full": "the sets take too much temporary space",
    "out of memory": "the query takes too much memory and was stopped",
    "string or blob too big": "a text is too long for this query; use fewer functions, || and columns",
    "query string is too large": "the SQL is longer than 32768 bytes",
    "LIKE or GLOB pattern too complex": "a pattern of LIKE or GLOB is longer than 80 bytes",
    "user-defined function raised exception": "a function cannot use a value: it is too long, or not valid UTF-8",
}
SECONDS = 0.5
"""The time to search for the position of an error. Most queries need a thousandth of it."""
WRITES = re.compile(
    r"(?i)\b(?:insert|replace|update|delete|drop|create|alter|attach|detach|vacuum|reindex|analyze|pragma\w*)\b(?!\s*\()"
    r"|\bpragma_\w+"
)


class SQLMistake(Mistake):
    """An error in a query. `nth`, from 1, is the occurrence of the word `fragment` that is wrong."""

    def __init__(self, message: str, *, fragment: str | None = None, hint: str | None = None, nth: int = 1) -> None:
        super().__init__(message, fragment=fragment, hint=hint)
        self.nth = nth


@contextmanager
def explained(
    connection: sqlite3.Connection, text: str, params: Iterable[str], functions: Iterable[str], before: str = ""
) -> Iterator[None]:
    """Turn errors of SQLite about `text`, the end of the statement `before` + `text`, into a Mistake.

    `params` and `functions` are the names that `text` may use.
    """
    try:
        yield
    except MemoryError:
        said = "out of memory"
    except UnicodeEncodeError:
        raise Mistake("the SQL or a parameter is not valid UTF-8") from None
    except OverflowError:
        raise Mistake("a parameter is a number that is too large") from None
    except (sqlite3.Error, sqlite3.Warning) as error:
        said = str(error)
    else:
        return
    if match := re.fullmatch(r'near "(.+)": syntax error', said, re.DOTALL):
        nth = _nth(connection, text, match[1], said, before)
        raise SQLMistake(f'SQL syntax error near "{match[1]}"', fragment=match[1], nth=nth)
    if match := re.fullmatch(r'no such column: "?(?:.+\.)?(.+?)"?(?: - .*)?', said):
        raise Mistake(f'unknown column "{match[1]}"', fragment=match[1], hint=_column(connection, match[1]))
    if match := re.search(r"binding (?:parameter )?:?(\w+)", said):
        hint = did_you_mean(match[1], params) or "set it in params or in [vars]"
        raise Mistake(f'the parameter ":{match[1]}" has no value', fragment=f":{match[1]}", hint=hint)
    if match := re.search(r"no such function: (\w+)|not authorized to use function: (\w+)", said):
        word = match[1] or match[2]
        what = f'unknown function "{word}"' if match[1] else f'the function "{word}" is not allowed'
        raise Mistake(what, fragment=word, hint=did_you_mean(word, functions))
    raise _other(said, text)


def _other(said: str, text: str) -> Mistake:
    """Return the Mistake for an error whose text by itself tells enough."""
    if said in TOO_MUCH:
        return Mistake(TOO_MUCH[said])
    if said == "incomplete input":
        return Mistake("the SQL is incomplete", hint="a parenthesis is not closed, or the end is missing")
    if match := re.fullmatch(r'unrecognized token: "(.+)"', said, re.DOTALL):
        quoted = match[1][0] in "'\"`["
        return Mistake("a quote is never closed" if quoted else f"{match[1]} is not SQL", fragment=match[1])
    if match := re.fullmatch(r"(no such \w+|ambiguous column name): (.+)", said):
        words = {"no such table": "unknown table", "ambiguous column name": "more than one table has the column"}
        hint = f"name its table: TABLE.{match[2]}" if match[1].startswith("ambiguous") else None
        return Mistake(f'{words.get(match[1], match[1])} "{match[2]}"', fragment=match[2], hint=hint)
    if match := re.search(r"(?:function|aggregate:) (\w+)(?:\(\))?", said):
        return Mistake(f"SQL: {said}", fragment=match[1])
    if "has no name" in said:
        return Mistake("parameters need names", fragment="?", hint="write :name, and set it in params or in [vars]")
    if "one statement at a time" in said:
        return Mistake(READS, fragment=";", hint="remove everything after the semicolon")
    if match := re.fullmatch(r"vtable constructor failed: (\w+)", said):
        return Mistake(READS, fragment=match[1])
    if "not authorized" in said or "prohibited" in said:
        word = WRITES.search(text)
        return Mistake(READS, fragment=word[0] if word else None)
    return Mistake(f"SQL: {said}")


def _nth(connection: sqlite3.Connection, text: str, word: str, said: str, before: str) -> int:
    """Return which occurrence of `word` SQLite means: the first one up to which the text yields the same error."""
    places = re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)" if re.fullmatch(r"\w+", word) else re.escape(word), text)
    end = monotonic() + SECONDS
    for nth, place in enumerate(islice(places, 100), start=1):
        if monotonic() > end:
            break
        try:
            connection.execute(f"EXPLAIN {before}{text[: place.end()]}").close()
        except (sqlite3.Error, sqlite3.Warning) as error:
            if str(error) == said:
                return nth
    return 1


def _column(connection: sqlite3.Connection, word: str) -> str | None:
    """Return the hint for an unknown column."""
    columns = [(name, table) for table in table_names(connection) for name in _columns(connection, table)]
    tables = [table for name, table in columns if name.lower() == word.lower()]
    if tables:
        return f'"{word}" is a column of {", ".join([t for t in tables if t in VIEWS.values()] or tables)}'
    return how_to_index(word) or did_you_mean(word, (name for name, _ in columns))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        return column_names(connection, table)
    except sqlite3.Error:
        # A view of pyconquest may name columns that the user's dicom.sql does not have.
        return []


def table_names(connection: sqlite3.Connection) -> list[str]:
    """Return the tables and views that users query, without the internal ones."""
    names = [name for (name,) in connection.execute(TABLE_NAMES)]
    return [name for name in names if not name.startswith(("rules_", "sqlite_")) and " " not in name]


def how_to_index(keyword: str) -> str | None:
    """Return how to add an element to the index; None if this is not a keyword of PS3.6."""
    if keyword not in tags():
        return None
    if dictionary()[tags()[keyword]].VR == "SQ":
        return f'it is a sequence; add one of its elements to the index: [[schema.image]] column = "…" tag = "{keyword}[0].…"'
    return f'add it to the index: [[schema.image]] column = "{keyword}" tag = "{keyword}"'
