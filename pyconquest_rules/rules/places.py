"""The mistakes of a rules file at their places: from what a check says of a key or a value to `file:line:column`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.index.query.sql_mistakes import SQLMistake
from pyconquest_rules.rules.positions import Path, Positions, Span


class Places:
    """Makes Problems of one rules file. `document` is what tomli made of it."""

    def __init__(self, file: str, source: str, document: Mapping[str, Any]) -> None:
        self.file, self.document, self.positions = file, document, Positions(source)

    def names(self, kind: str) -> list[str]:
        """Return the names that the file has of a kind, valid or not."""
        return [*self.document.get(kind, {})]

    def at_key(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A mistake of a key, or of a table as a whole."""
        return self._problem(self.positions.key(path), message, hint)

    def at_value(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A mistake of a value."""
        return self._problem(self.positions.value(path), message, hint)

    def within(self, path: Path, mistake: Mistake) -> Problem:
        """A mistake in a text of the file, at the word that it names."""
        nth = mistake.nth if isinstance(mistake, SQLMistake) else 1
        span = self.positions.within(path, mistake.fragment, nth) if mistake.fragment else self.positions.value(path)
        return self._problem(span, mistake.message, mistake.hint)

    def written(self, path: Path, value: str) -> str:
        """How to tell a value: what the environment has may be a secret, so its variable is named."""
        found, rest = self.follow((*path, "env"))
        return value if rest else f"${self.at(found)}"

    def at(self, path: Path) -> Any:
        """What the document has at a path."""
        value: Any = self.document
        for part in path:
            value = value[part]
        return value

    def follow(self, place: Sequence[int | str]) -> tuple[Path, Sequence[int | str]]:
        """As much of a place as the document has, and the rest: a key that is missing, or pydantic's own words."""
        at: Any = self.document
        for depth, part in enumerate(place):
            inside = part in at if isinstance(at, Mapping) else isinstance(at, list) and part in range(len(at))
            if not inside:
                return tuple(place[:depth]), place[depth:]
            at = at[part]
        return tuple(place), ()

    def _problem(self, span: Span, message: str, hint: str | None) -> Problem:
        return Problem(self.file, span.line, span.column, span.length, message, hint, self.positions.line(span.line))
