"""Find templates in keys that do not render them. Without this check they would be used literally."""

import re
from collections.abc import Iterator
from typing import Any

from pyconquest_rules.errors import MOST_TOLD, Mistake, Problem
from pyconquest_rules.rules.fields import Form, MemberTemplate, PathTemplate, Statement, VariablesOnly
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

VARIABLE = re.compile(r"\{\{-?\s*(?:vars\.)?([a-z][a-z0-9_]*)")
# A password may have any characters, and is never shown.
NOT_SHOWN = "key_password"


def misplaced(places: Places, form: Form) -> list[Problem]:
    """Return a problem for each text of a document that has a template although its key does not render it."""
    problems = list[Problem]()
    for path, text in _texts((), places.document):
        if len(problems) > MOST_TOLD or NOT_SHOWN in path or (found := _template(text)) is None:
            continue
        if not _is_template(path, form):
            message, hint = _error_at(path, found, form)
            problems.append(places.within(path, Mistake(message, fragment=found.splitlines()[0], hint=hint)))
    return problems


def in_sql(text: str) -> Mistake | None:
    """Return the Mistake of SQL that has a template; None if it has none."""
    found = _template(text)
    if found is None:
        return None
    message, hint = _in_sql(found)
    return Mistake(message, fragment=found, hint=hint)


def _template(text: str) -> str | None:
    """Return the first template in a text. A regular expression would need quadratic time for many `{{` without an end."""
    for begin, end in (("{{", "}}"), ("{%", "%}")):
        if (start := text.find(begin)) >= 0 and (stop := text.find(end, start + 2)) >= 0:
            return text[start : stop + 2]
    return None


def _is_template(path: Path, form: Form) -> bool:
    return any(isinstance(marker, PathTemplate | MemberTemplate | VariablesOnly) for marker in form.markers_at(path))


def _error_at(path: Path, template: str, form: Form) -> tuple[str, str]:
    """Return the message and the hint for a template at a path."""
    if any(isinstance(marker, Statement) for marker in form.markers_at(path)):
        return _in_sql(template)
    match path:
        case ("select", _, "params", *_):
            hint = f"remove it; the SQL can use the variable directly, as :{_variable(template)}"
            return "templates do not work in params", hint
    *most, last = (f"{key} of [{kind}]" for kind, key in form.templates())
    return "templates do not work here", f"they work in {', '.join(most)} and {last}"


def _in_sql(template: str) -> tuple[str, str]:
    return "templates do not work in SQL", f"write :{_variable(template)}, without quotes; values are bound as parameters"


def _variable(template: str) -> str:
    """Return the name of the variable that a template would render, or NAME."""
    named = VARIABLE.match(template)
    return named[1] if named and named[1] != "vars" else "NAME"


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
