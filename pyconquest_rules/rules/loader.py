"""From the text of a rules file to Rules, or to all of its mistakes at once."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import tomli
from pydantic import ValidationError

from pyconquest_rules.errors import Problem, RulesError, UsageError
from pyconquest_rules.rules.check import Check
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.rules import Rules

LARGEST = 1 << 20

# Where `{ env = "X", default = "y" }` may stand instead of text.
ENVIRONMENT = frozenset({"outputs", "vars", "sources", "index"})


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Rules:
    """The rules of a file, checked without data or network.

    Raises RulesError with every mistake, UsageError where there is no such file.
    """
    source = _text(file)
    shown = os.path.relpath(file) if len(os.path.relpath(file)) < len(str(file)) else str(file)
    try:
        document = tomli.loads(source)
    except tomli.TOMLDecodeError as error:
        line = (error.doc.splitlines() or [""])[min(error.lineno, len(error.doc.splitlines()) or 1) - 1]
        raise RulesError([Problem(shown, error.lineno, error.colno, 1, f"TOML: {error.msg}", None, line)]) from None
    places = Places(shown, source, deepcopy(document))
    problems = list(_environment(document, environment, places))
    rules_file, found = _validated(document, places)
    problems += found
    if rules_file is None:
        raise RulesError(problems)
    check = Check(file, rules_file, places)
    problems += check.problems
    if problems:
        raise RulesError(problems)
    return check.rules()


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST:
            raise UsageError(f"{file} is larger than {LARGEST} bytes, which no rules file is")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"cannot read the rules file {file}: {os.strerror(error.errno or 0)}") from None


def _environment(document: dict[str, Any], environment: Mapping[str, str], places: Places) -> Iterator[Problem]:
    """Puts the values of variables in the place of `{ env = … }`."""
    for path, holder in [*_variables(document)]:
        variable = holder[path[-1]]
        value = environment.get(variable["env"], variable.get("default"))
        if value is None:
            hint = f'set it, or give a default: {{ env = "{variable["env"]}", default = "…" }}'
            yield places.at_value(path, f"the environment has no variable {variable['env']}", hint)
        holder[path[-1]] = value or ""


def _variables(at: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
    for key, value in items:
        inside = (*path, key)
        if isinstance(value, dict) and inside[0] in ENVIRONMENT and _is_variable(value):
            yield inside, at
        elif path or key in ENVIRONMENT:
            yield from _variables(value, inside)


def _is_variable(table: dict[str, Any]) -> bool:
    return "env" in table and table.keys() <= {"env", "default"} and all(isinstance(value, str) for value in table.values())


def _validated(document: dict[str, Any], places: Places) -> tuple[RulesFile | None, list[Problem]]:
    """The model of the document, without what is wrong in it, and what is wrong: so that the rest can be checked too."""
    try:
        return RulesFile.model_validate(document), []
    except ValidationError as error:
        errors = error.errors()
    for wrong in errors:
        path, _ = places.follow(wrong["loc"])
        _remove(document, path[:2])
    document.setdefault("rules_version", 1)
    try:
        return RulesFile.model_validate(document), places.of_pydantic(errors)
    except ValidationError:
        return None, places.of_pydantic(errors)


def _remove(document: dict[str, Any], path: tuple[Any, ...]) -> None:
    """Takes a whole table `[kind.name]`, or one key of a table like `[index]`, out of the document."""
    at: Any = document
    for part in path[:-1]:
        at = at.get(part, {})
    if path and isinstance(at, dict):
        at.pop(path[-1], None)
