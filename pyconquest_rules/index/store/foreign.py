"""Finding the objects in a database that this program did not create. Triggers, views and expressions of a schema are code.

The text of each object is checked, because the other columns of `sqlite_master` may be forged. Its words must be known to be
harmless: names, types, keys. Any other word makes an object foreign.
"""

import json
import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pyconquest_rules.index.store.databases import MOST_OBJECTS
from pyconquest_rules.index.store.read_only import text_of
from pyconquest_rules.index.store.tokens import TOKEN

BARE, VIEW = re.compile(r"[\w$]+"), re.compile(r"\s*(\(|AS\s)", re.IGNORECASE)

MOST_TEXT = 16 << 20

RUNS = frozenset({"CHECK", "AS", "GENERATED", "ALWAYS", "SELECT"})
"""Words of a table that make SQLite run something, or take its columns from elsewhere."""
CHANGES = RUNS | {"COLLATE", "CONFLICT", "DEFAULT", "FOREIGN", "REFERENCES", "UNIQUE"}
"""These, and words that make a table reject rows or store other values than it gets."""


@dataclass(frozen=True, slots=True)
class Object:
    """A row of `sqlite_master`: a table, an index, a view or a trigger."""

    kind: str
    name: str
    table: str
    text: str | None

    def __str__(self) -> str:
        """Return the object as an error names it."""
        kind = self.kind if self.kind in ("table", "index", "view", "trigger") else "object"
        virtual = (self.text or "").upper().startswith("CREATE VIRTUAL")
        return f"the {'virtual ' if virtual else ''}{kind} {json.dumps(self.name[:64])}"


def objects(connection: sqlite3.Connection) -> list[Object]:
    """Return all objects of a database. SQLite parses the schema for that, but runs nothing of it.

    Raises sqlite3.Error if SQLite fails, or if the schema exceeds the limits.
    """
    before, connection.text_factory = connection.text_factory, text_of
    found, room = list[Object](), MOST_TEXT
    try:
        for kind, name, table, text in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"):
            is_text = all(isinstance(value, str) for value in (kind, name, table, text or ""))
            room -= len(text or "") if is_text else room + 1
            if room < 0 or len(found) == MOST_OBJECTS:
                raise sqlite3.DatabaseError("its schema is not one that this program makes")
            found.append(Object(kind, name, table, text))
    finally:
        connection.text_factory = before
    return found


def is_plain_table(object_: Object, *, ours: bool) -> bool:
    """Return whether a table runs no code. A table of this program (`ours`) must also store its rows unchanged."""
    words = _after(object_, "CREATE TABLE ")
    forbidden = CHANGES if ours else RUNS
    if object_.kind != "table" or not words or words[0] != "(" or any(word.upper() in forbidden for word in words):
        return False
    computed = any(word.upper() == "DEFAULT" and next_ == "(" for word, next_ in pairwise(words))
    return not computed and all(_is_name(word) or word[0] == "'" or word in {"(", ")", ",", "+", "-", "."} for word in words)


def is_plain_index(object_: Object, ours: Collection[str]) -> bool:
    """Return whether an index is on columns only. On a table of this program (`ours`), it must not be unique."""
    if object_.kind != "index":
        return False
    if object_.text is None:
        return object_.name.startswith("sqlite_autoindex_")
    words = _after(object_, "CREATE INDEX ")
    if not words and object_.table.lower() not in ours:
        words = _after(object_, "CREATE UNIQUE INDEX ")
    if len(words) < 5 or words[0].upper() != "ON" or not _is_name(words[1]) or (words[2], words[-1]) != ("(", ")"):
        return False
    if words[1].strip('"`[]').lower() != object_.table.lower():
        return False
    return all(_is_name(word) or word == "," for word in words[3:-1])


def is_view(object_: Object) -> bool:
    """Return whether an object is just a view, with the name that its text has. SQLite uses the name in the text."""
    rest = _rest(object_, "CREATE VIEW ")
    if object_.kind != "view" or not rest:
        return False
    if ";" not in rest and VIEW.match(rest):  # true for most views, whose texts are long
        return True
    words = _words(rest)
    return bool(words) and (words[0] == "(" or words[0].upper() == "AS") and ";" not in words


def _after(object_: Object, beginning: str) -> tuple[str, ...]:
    """Return the words of an object's text after a beginning and its name; none if it does not begin like that."""
    return _words(_rest(object_, beginning))


def _rest(object_: Object, beginning: str) -> str:
    """Return an object's text after a beginning and its name; "" if it does not begin like that."""
    text, name = object_.text or "", object_.name
    if not text.startswith(beginning):
        return ""
    doubled = name.replace('"', '""')
    # An unquoted name of several words could hide the text after it.
    bare = [name] if BARE.fullmatch(name) else []
    others = [f"{left}{name}{right}" for left, right in ("[]", "``", "''") if right not in name]
    for written in (*bare, f'"{doubled}"', *others):
        rest = text[len(beginning) :].removeprefix(written)
        if len(rest) < len(text) - len(beginning) and (rest[:1].isspace() or rest[:1] == "("):
            return rest
    return ""


@lru_cache(maxsize=1024)
def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in TOKEN.findall(text) if not word[0].isspace() and word[:2] not in ("--", "/*"))


def _is_name(word: str) -> bool:
    return word[0] in '"`[_$' or word[0].isalnum()
