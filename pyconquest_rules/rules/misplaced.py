"""Templates that stand where none is read: they would be passed on as text."""

import re
from collections.abc import Iterator
from typing import Any

from pyconquest_rules.errors import MOST_TOLD, Mistake, Problem
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

VARIABLE = re.compile(r"\{\{-?\s*(?:vars\.)?([a-z][a-z0-9_]*)")
# A password may hold any characters, and must not be shown.
NOT_SHOWN = "key_password"


def misplaced(places: Places) -> list[Problem]:
    """Return a problem for each text of a document that holds a template, but is not one."""
    problems = list[Problem]()
    for path, text in _texts((), places.document):
        if len(problems) <= MOST_TOLD and NOT_SHOWN not in path and not _is_template(path) and (found := _template(text)):
            message, hint = _told(path, found)
            problems.append(places.within(path, Mistake(message, fragment=found.splitlines()[0], hint=hint)))
    return problems


def in_sql(text: str) -> Mistake | None:
    """Return what is wrong with SQL that holds a template; None if it holds none."""
    found = _template(text)
    if found is None:
        return None
    message, hint = _told(("select", "", "query"), found)
    return Mistake(message, fragment=found, hint=hint)


def _template(text: str) -> str | None:
    """The first template in a text. Found without an expression, which would look for each end from every beginning."""
    for begin, end in (("{{", "}}"), ("{%", "%}")):
        if (start := text.find(begin)) >= 0 and (stop := text.find(end, start + 2)) >= 0:
            return text[start : stop + 2]
    return None


def _is_template(path: Path) -> bool:
    match path:
        case ("copy", _, "to") | ("sources", _, "layout") | ("retrieve", _, "match", _):
            return True
    return False


def _told(path: Path, template: str) -> tuple[str, str]:
    """The message and the hint for a template at a path."""
    named = VARIABLE.match(template)
    name = named[1] if named and named[1] != "vars" else "NAME"
    match path:
        case ("select", _, "query" | "where"):
            return "templates do not work in SQL", f"write :{name}, without quotes; values are bound"
        case ("select", _, "params", *_):
            return "templates do not work in params", f"leave it out: the SQL can use [vars] as they are, as :{name}"
    return "templates do not work here", "they work in to of [copy], layout of [sources] and match of [retrieve]"


def _texts(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, inside in value.items():
                yield from _texts((*path, key), inside)
        case list():
            for number, inside in enumerate(value):
                yield from _texts((*path, number), inside)
