"""Limits of a rules file: larger than any real file needs, and small enough that checks stay fast."""

from collections.abc import Iterator
from typing import Any

from pyconquest_rules.errors import Problem
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

DEEPEST, MOST_VALUES, LONGEST_TEXT = 16, 10_000, 65536
# Outputs and sources are compared in pairs, and the file of each table is opened.
MOST_OF = {"outputs": 100, "sources": 200, "tables": 100}
LARGEST_NUMBER = 2**63 - 1


def beyond(places: Places) -> list[Problem]:
    """Return a problem for each limit that a document exceeds. The other checks rely on these limits."""
    if too_many := [places.at_key((kind,), f"there are more than {MOST_OF[kind]} {kind}") for kind in _too_many(places)]:
        return too_many
    problems, number = list[Problem](), 0
    waiting: list[tuple[Path, Any]] = [((), dict(places.document))]
    while waiting:
        path, value = waiting.pop()
        number += 1
        if number > MOST_VALUES:
            return [*problems, places.at_key(path, f"the file has more than {MOST_VALUES} keys and values")]
        if len(path) > DEEPEST:
            return [*problems, places.at_key(path, f"tables and lists are nested more than {DEEPEST} deep")]
        if what := _wrong(path, value):
            problems.append(places.at_value(path, what))
        waiting += reversed([*_inside(path, value)])
    return problems


def _too_many(places: Places) -> Iterator[str]:
    for kind, most in MOST_OF.items():
        match places.document.get(kind):
            case dict() | list() as found if len(found) > most:
                yield kind


def _inside(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    match value:
        case dict():
            yield from (((*path, key), inside) for key, inside in value.items())
        case list():
            yield from (((*path, number), inside) for number, inside in enumerate(value))


def _wrong(path: Path, value: object) -> str | None:
    match value:
        case int() if not -LARGEST_NUMBER - 1 <= value <= LARGEST_NUMBER:
            return "this number is too large"
        case str() if len(value) > LONGEST_TEXT:
            return f"this text is longer than {LONGEST_TEXT} characters"
        case str() if "\0" in value:
            return "this text has the character U+0000"
    match path:
        case (*_, str(key)) if len(key) > LONGEST_TEXT:
            return f"this key is longer than {LONGEST_TEXT} characters"
        case (*_, str(key)) if "\0" in key:
            return "this key has the character U+0000"
    return None
