"""Mistakes of a rules file at their places: from what pydantic and our own checks say to `file:line:column`."""

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pyconquest_rules.errors import Mistake, Problem, did_you_mean
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.positions import Path, Positions, Span


class Places:
    """Makes Problems of one rules file."""

    def __init__(self, file: str, source: str, document: Mapping[str, Any]) -> None:
        self.file, self.document, self.positions = file, document, Positions(source)

    def at_key(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A mistake of a key, or of a table as a whole."""
        return self._problem(self.positions.key(path), message, hint)

    def at_value(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A mistake of a value."""
        return self._problem(self.positions.value(path), message, hint)

    def within(self, path: Path, mistake: Mistake) -> Problem:
        """A mistake in a text of the file, at the word that it names."""
        span = self.positions.within(path, mistake.fragment) if mistake.fragment else self.positions.value(path)
        return self._problem(span, mistake.message, mistake.hint)

    def of_pydantic(self, errors: Sequence[ErrorDetails]) -> list[Problem]:
        """What pydantic found, one Problem for each place."""
        problems: dict[tuple[int, int], Problem] = {}
        for error in errors:
            problem = self._of(error)
            problems.setdefault((problem.line, problem.column), problem)
        return list(problems.values())

    def _of(self, error: ErrorDetails) -> Problem:
        path, rest = self.follow(error["loc"])
        match error["type"]:
            case "missing":
                return self.at_key(path, f'"{rest[0]}" is missing')
            case "extra_forbidden":
                return self.at_key(path, f'unknown key "{path[-1]}"', did_you_mean(str(path[-1]), keys_at(path[:-1])))
            case "enum" | "literal_error":
                expected = str(error.get("ctx", {}).get("expected", "")).replace("'", '"')
                words = re.findall(r'"([^"]*)"', expected)
                return self.at_value(path, f"must be {expected}", did_you_mean(str(error["input"]), words))
            case "string_pattern_mismatch":
                return self.at_key(
                    path,
                    f'"{error["input"]}" is not a name',
                    "names are letters, digits and _, and begin with a letter (lower case but for columns)",
                )
            case _ if rest and rest[-1] != "[key]":
                return self.at_value(path, "must be text, a number or a boolean")
            case _:
                return self.at_value(
                    path,
                    error["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("valid string", "text"),
                )

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


def keys_at(path: Path) -> list[str]:
    """The keys that the model knows at a place."""
    at: Any = RulesFile
    for part in path:
        if isinstance(at, type) and issubclass(at, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in at.model_fields.items()}
            at = fields.get(str(part))
        elif get_origin(at) in (dict, tuple):
            at = get_args(at)[1 if get_origin(at) is dict else 0]
        if get_origin(at) in (Union, UnionType):
            at = get_args(at)[0]
    return (
        [field.alias or name for name, field in at.model_fields.items()]
        if isinstance(at, type) and issubclass(at, BaseModel)
        else []
    )
