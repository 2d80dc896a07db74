"""SQLite's errors in the words of who wrote the query, at the word that is wrong."""

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
    "string or blob too big": "a text is too long for this query: fewer functions, || and columns let it read longer ones",
    "query string is too large": "the SQL is longer than 32768 bytes",
    "LIKE or GLOB pattern too complex": "a pattern of LIKE or GLOB is longer than 80 bytes",
    "user-defined function raised exception": "a function cannot use a value: it is too long, or no text in UTF-8",
}
SECONDS = 0.5  # to find a place; of most queries they need a thousandth
WRITES = re.compile(
    r"(?i)\b(?:insert|replace|update|delete|drop|create|alter|attach|detach|vacuum|reindex|analyze|pragma\w*)\b(?!\s*\()"
    r"|\bpragma_\w+"
)


class SQLMistake(Mistake):
    """A mistake in a query. `nth` tells, from 1, which of the places where `fragment` stands as a word is meant."""

    def __init__(self, message: str, *, fragment: str | None = None, hint: str | None = None, nth: int = 1) -> None:
        super().__init__(message, fragment=fragment, hint=hint)
        self.nth = nth


@contextmanager
def explained(
    connection: sqlite3.Connection, text: str, params: Iterable[str], functions: Iterable[str], before: str = ""
) -> Iterator[None]:
    """Within it, what SQLite says of `text`, the end of the statement `before` + `text`, becomes a Mistake.

    `params` and `functions` are the names that `text` may use.
    """
    try:
        yield
    except MemoryError:
        said = "out of memory"
    except UnicodeEncodeError:
        raise Mistake("the SQL or a parameter is no text in UTF-8") from None
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
        hint = did_you_mean(match[1], params) or "give it in params or in [vars]"
        raise Mistake(f'the parameter ":{match[1]}" has no value', fragment=f":{match[1]}", hint=hint)
    if match := re.search(r"no such function: (\w+)|not authorized to use function: (\w+)", said):
        word = match[1] or match[2]
        what = f'unknown function "{word}"' if match[1] else f'the function "{word}" may not be used'
        raise Mistake(what, fragment=word, hint=did_you_mean(word, functions))
    raise _other(said, text)


def _other(said: str, text: str) -> Mistake:
    """The Mistakes that need no more than what SQLite said."""
    if said in TOO_MUCH:
        return Mistake(TOO_MUCH[said])
    if said == "incomplete input":
        return Mistake("the SQL ends too early", hint="a bracket is not closed, or something is missing at the end")
    if match := re.fullmatch(r'unrecognized token: "(.+)"', said, re.DOTALL):
        quoted = match[1][0] in "'\"`["
        return Mistake("a quote is never closed" if quoted else f"{match[1]} is not SQL", fragment=match[1])
    if match := re.fullmatch(r"(no such \w+|ambiguous column name): (.+)", said):
        words = {"no such table": "unknown table", "ambiguous column name": "more than one table has the column"}
        hint = f"write its table before it: TABLE.{match[2]}" if match[1].startswith("ambiguous") else None
        return Mistake(f'{words.get(match[1], match[1])} "{match[2]}"', fragment=match[2], hint=hint)
    if match := re.search(r"(?:function|aggregate:) (\w+)(?:\(\))?", said):
        return Mistake(f"SQL: {said}", fragment=match[1])
    if "has no name" in said:
        return Mistake("values are bound by name", fragment="?", hint="write :name, and give it in params or in [vars]")
    if "one statement at a time" in said:
        return Mistake(READS, fragment=";", hint="leave out what follows the semicolon")
    if match := re.fullmatch(r"vtable constructor failed: (\w+)", said):
        return Mistake(READS, fragment=match[1])
    if "not authorized" in said or "prohibited" in said:
        word = WRITES.search(text)
        return Mistake(READS, fragment=word[0] if word else None)
    return Mistake(f"SQL: {said}")


def _nth(connection: sqlite3.Connection, text: str, word: str, said: str, before: str) -> int:
    """Which of the places of `word` SQLite means: the first up to which the text makes it say the same."""
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
    """The way out for a column that is not where the query looks for it."""
    columns = [(name, table) for table in table_names(connection) for name in _columns(connection, table)]
    tables = [table for name, table in columns if name.lower() == word.lower()]
    if tables:
        return f'"{word}" is a column of {", ".join([t for t in tables if t in VIEWS.values()] or tables)}'
    return how_to_index(word) or did_you_mean(word, (name for name, _ in columns))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        return column_names(connection, table)
    except sqlite3.Error:
        # A view of pyconquest's names columns that the dicom.sql of the user may not have.
        return []


def table_names(connection: sqlite3.Connection) -> list[str]:
    """The tables and views that a query may well name: not those of our own bookkeeping."""
    names = [name for (name,) in connection.execute(TABLE_NAMES)]
    return [name for name in names if not name.startswith(("rules_", "sqlite_")) and " " not in name]


def how_to_index(keyword: str) -> str | None:
    """How an element gets into the index; None for what is no keyword of PS3.6."""
    if keyword not in tags():
        return None
    if dictionary()[tags()[keyword]].VR == "SQ":
        return f'it is a sequence; add an element of it to the index: [[schema.image]] column = "…" tag = "{keyword}[0].…"'
    return f'add it to the index: [[schema.image]] column = "{keyword}" tag = "{keyword}"'
