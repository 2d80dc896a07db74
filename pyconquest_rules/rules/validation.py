"""Validate the form of a rules file with pydantic. Messages use the words of the rules file and never name a class."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.rules.fields import OWN_ERROR, Form, MemberTemplate, PathTemplate, Statement, TextTemplate
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

# If any other top-level key is invalid as a whole, the rest cannot be checked: every reference to its tables would be an error.
REPLACEABLE = {("rules_version",), ("outputs",)}

# Searching hints for thousands of errors would take seconds, and MOST_TOLD are shown.
MOST_EXAMINED = 1000

COLUMN_NAMES = "a column name has letters, digits and _, at most 64, and begins with a letter"

STAND_IN = "not_known"
"""Replaces the value of an invalid variable. A destination that begins with it is not compared with the outputs."""


def validated(places: Places, form: Form, environment: Mapping[str, str]) -> tuple[RulesFile | None, list[Problem]]:
    """Return the model of a document, and its problems.

    The model lacks the invalid values, or has valid ones in their place, so that the rest can be checked too. It is None if
    the lack would cause errors in valid parts of the file.
    """
    document, problems, messages = deepcopy(dict(places.document)), list[Problem](), _Messages(places, form)
    # The first repair removes only invalid values. If a required key was among them, the next one removes its table.
    for whole_tables in (False, True, True):
        try:
            return cast("RulesFile", form.model.model_validate(document, context=environment)), problems
        except ValidationError as error:
            errors = error.errors(include_url=False)[:MOST_EXAMINED]
        paths = [places.follow(wrong["loc"])[0] for wrong in errors]
        problems = problems or list(dict.fromkeys(messages.problem(wrong) for wrong in errors))
        if any(messages.is_whole(path) for path in paths) or any(messages.is_misspelt_kind(wrong) for wrong in errors):
            break
        for path in paths:
            _repair(document, path[:2] if whole_tables else path)
    return None, problems


def _repair(document: dict[str, Any], path: Path) -> None:
    """Remove the invalid value at a path, or replace it by a valid one with which the rest can be checked."""
    match path:
        case () | ("rules_version",):
            document["rules_version"] = 1
        case ("outputs", *_):
            document["outputs"] = ["/"]
        case ("vars", str(name)):
            document["vars"][name] = STAND_IN
        case ("schema", str(level), int(number), *_):
            # Removing an element would shift the positions of those after it.
            match document["schema"][level][number]:
                case {"column": str(column)} if path[3:] != ("column",):
                    stand_in = column
                case _:
                    stand_in = f"x{number}x"
            document["schema"][level][number] = {"column": stand_in, "tag": "0000,0000"}
        case ("select", str(name), "params", str(key)):
            # The table itself may have been removed because of another error.
            document["select"].get(name, {"params": {}})["params"][key] = 0
        case ("select" | "tables", str(), *_):
            _remove(document, path[:2])
        case _:
            _remove(document, path)


def _remove(document: dict[str, Any], path: Path) -> None:
    """Remove the key at a path from the document; for an element of an array, the key of the whole array."""
    at, keys = document, [part for part in path if isinstance(part, str)]
    for part in keys[:-1]:
        at = at.get(part, {})
    at.pop(keys[-1], None)


@dataclass(frozen=True, slots=True)
class _Messages:
    """Turns errors of pydantic into problems, with messages in the words of the rules file."""

    places: Places
    form: Form

    def is_whole(self, path: Path) -> bool:
        """Whether a path stands for all tables of a kind, or for all columns of a level."""
        match path:
            case (_,):
                return path not in REPLACEABLE and path[0] in self.form.fields_at(())
            case ("schema", _):
                return path[1] in self.form.fields_at(("schema",))
        return False

    def is_misspelt_kind(self, wrong: ErrorDetails) -> bool:
        """Whether the name of a kind is misspelt. Every reference to its tables would seem invalid too."""
        return wrong["type"] == "extra_forbidden" and len(wrong["loc"]) == 1 and self._near(wrong["loc"]) is not None

    def problem(self, wrong: ErrorDetails) -> Problem:
        """Return an error of pydantic's as a problem at its position."""
        path, rest = self.places.follow(wrong["loc"])
        match wrong["type"]:
            case "missing":
                return self.places.at_key(path, f'"{rest[0]}" is missing', self._about((*path, rest[0])))
            case "extra_forbidden":
                return self.places.at_key(path, f'unknown key "{path[-1]}"', self._near(path) or self._known(path))
            case code if code == OWN_ERROR:
                key, message, hint = (wrong["ctx"][name] for name in ("key", "message", "hint"))
                return (
                    self.places.at_value(path, message, hint) if key is None else self.places.at_key((*path, key), message, hint)
                )
            case "string_type" if path[-1] == "key_password":
                return self.places.at_value(path, "must be text", 'write key_password = { env = "NAME" }')
            # pydantic reports an error for each type that a value may have.
            case "string_type" | "int_type" | "float_type" | "bool_type" if rest:
                return self.places.at_value(
                    path, "must be text, a number, true or false", self._hint(_as_text(wrong["input"]), wrong, path)
                )
        message, hint = self._must_be(wrong, path)
        return self.places.at_value(path, message, self._hint(hint, wrong, path))

    def _must_be(self, wrong: ErrorDetails, path: Path) -> tuple[str, str | None]:
        """Return what a value must be, and how to write it."""
        found, context = wrong["input"], wrong.get("ctx", {})
        match wrong["type"]:
            case "literal_error":
                return f"must be {context['expected']}", "this program supports no other version"
            case "enum":
                expected = str(context["expected"]).replace("'", '"')
                return f"must be {expected}", did_you_mean(str(found), re.findall(r'"([^"]*)"', expected))
            case "string_pattern_mismatch":
                return f'"{found}" is not a valid column name', COLUMN_NAMES
            case "string_too_short" | "too_short":
                return "must not be empty", None
            case "string_too_long":
                most = context["max_length"]
                return f"must have at most {most} characters" if most != 1 else "must be one character", None
            case "bool_type":
                return "must be true or false", "without quotes" if isinstance(found, str) else None
            case "tuple_type":
                return "must be a list", _as_list(path, found)
            case "dict_type" | "model_type":
                return "must be a table", self._as_table(path)
            case "string_type":
                return "must be text", _as_text(found)
        # Other types of errors keep the words of pydantic: "must be less than or equal to 65535".
        return wrong["msg"].replace("Input should", "must"), None

    def _hint(self, hint: str | None, wrong: ErrorDetails, path: Path) -> str | None:
        """Return the hint. For an environment variable where none is allowed, it says what to write instead."""
        if not (isinstance(wrong["input"], dict) and "env" in wrong["input"]):
            return hint
        texts = PathTemplate | MemberTemplate | TextTemplate | Statement
        is_template = any(isinstance(marker, texts) for marker in self.form.markers_at(path))
        if is_template or path[-2:-1] == ("params",):
            return "set it in [vars], then write {{ vars.NAME }} in templates and :NAME in SQL"
        return 'write the value itself; docs/rules.md lists under "The environment" the keys that take a variable'

    def _as_table(self, path: Path) -> str:
        if len(path) > 2 and path[-2] not in self.form.fields_at(path[:-2]):
            return f'write {path[-1]} = {{ NAME = "value" }}'
        if len(path) == 1 and path[0] in ("index", "schema", "vars"):
            return f"write [{path[0]}]"
        name = path[-1] if len(path) > 1 and path[-1] not in self.form.fields_at(path) else "NAME"
        return f"write [{path[0]}.{name}] and put its keys below"

    def _near(self, path: Path) -> str | None:
        return did_you_mean(str(path[-1]), self.form.fields_at(path[:-1]))

    def _known(self, path: Path) -> str:
        return f"known keys are: {', '.join(self.form.fields_at(path[:-1]))}"

    def _about(self, path: Path) -> str | None:
        """Return the description of a missing key."""
        field = self.form.fields_at(path[:-1]).get(str(path[-1]))
        if path == ("rules_version",):
            return "begin the file with: rules_version = 1"
        return field.description if field else None


def _as_text(found: object) -> str | None:
    match found:
        case dict():
            return None
        case list():
            return "one text, without [ ]" if len(found) == 1 else None
    return f"write it in quotes: {json.dumps(str(found))}"


def _as_list(path: Path, found: object) -> str | None:
    if isinstance(found, dict):
        return f"write [[{'.'.join(map(str, path))}]], with two brackets" if path[0] == "schema" else None
    return f"write [{json.dumps(found)}]" if isinstance(found, str) else None
