"""Turn messages about a key or a value of a rules file into problems with `file:line:column`."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path as File
from typing import Any

from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.index.query.sql_mistakes import SQLMistake
from pyconquest_rules.rules.positions import Path, Positions, Span


class Places:
    """Makes the problems of one rules file. `document` is the file as tomli parsed it, with the tables of `included` files."""

    def __init__(self, file: str, source: str, document: Mapping[str, Any]) -> None:
        self.file, self.document, self.positions = file, document, Positions(source)
        self.included: tuple[File, ...] = ()
        self._moved: Mapping[Path, Path] = {}
        self._owners: Mapping[Path, Places] = {}

    def joined(self, document: Mapping[str, Any], owners: Mapping[Path, "Places"], files: tuple[File, ...]) -> "Places":
        """Return the places of a document that has tables of other `files` too. `owners` has the file of each such table."""
        other = copy(self)
        other.document, other._owners, other.included = document, owners, files
        return other

    def replaced(self, table: str, values: Mapping[str, Any], moved: Mapping[Path, Path]) -> "Places":
        """Return the same document with other values in a table. `moved` has the paths at which such values are written."""
        other = copy(self)
        if values:
            other.document = {**self.document, table: {**self.document[table], **values}}
        other._moved = moved
        return other

    def names(self, kind: str) -> list[str]:
        """Return the names of the tables of a kind, valid or not."""
        return [*self.document.get(kind, {})]

    def at_key(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """Return a problem at a key, or at the header of a table."""
        owner, path = self._at(path)
        return owner._problem(owner.positions.key(path), message, hint)

    def at_value(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """Return a problem at a value."""
        owner, path = self._at(path)
        return owner._problem(owner.positions.value(path), message, hint)

    def within(self, path: Path, mistake: Mistake) -> Problem:
        """Return a problem at the word of a text that a mistake names, or else at the whole text."""
        owner, path = self._at(path)
        nth = mistake.nth if isinstance(mistake, SQLMistake) else 1
        span = owner.positions.within(path, mistake.fragment, nth) if mistake.fragment else owner.positions.value(path)
        return owner._problem(span, mistake.message, mistake.hint)

    def written(self, path: Path, value: str) -> str:
        """Return a value for messages. A value from the environment may be a secret, so its variable is named instead."""
        found, rest = self.follow((*path, "env"))
        return value if rest else f"${self.at(found)}"

    def at(self, path: Path) -> Any:
        """Return the value of the document at a path."""
        value: Any = self.document
        for part in path:
            value = value[part]
        return value

    def follow(self, place: Sequence[int | str]) -> tuple[Path, Sequence[int | str]]:
        """Split a location of pydantic into the path that the document has, and the rest.

        The rest is a missing key, or a part that pydantic adds, such as the name of a type.
        """
        at: Any = self.document
        for depth, part in enumerate(place):
            inside = part in at if isinstance(at, Mapping) else isinstance(at, list) and part in range(len(at))
            if not inside:
                return tuple(place[:depth]), place[depth:]
            at = at[part]
        return tuple(place), ()

    def _at(self, path: Path) -> tuple["Places", Path]:
        """Return the file and the path at which the value of a path is written."""
        path = (*self._moved.get(path[:2], path[:2]), *path[2:])
        return self._owners.get(path[:2]) or self._owners.get(path[:1]) or self, path

    def _problem(self, span: Span, message: str, hint: str | None) -> Problem:
        return Problem(self.file, span.line, span.column, span.length, message, hint, self.positions.line(span.line))
