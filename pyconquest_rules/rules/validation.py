"""The form of a rules file, by pydantic: the model, and what is wrong in words that name no class of ours or of pydantic's."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.rules.fields import Form, PathTemplate, Statement
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

# Of what is wrong with all other tables as a whole nothing can be told apart from what it makes wrong elsewhere.
MENDED = {("rules_version",), ("outputs",)}

# To find a hint for each of thousands would take seconds; far fewer are told.
MOST_LOOKED_AT = 1000

COLUMN_NAMES = "names of columns are letters, digits and _, at most 64, and begin with a letter"

STAND_IN = "not_known"
"""The value of a variable that is wrong: a destination that begins with it may lie anywhere."""


def validated(places: Places, form: Form, environment: Mapping[str, str]) -> tuple[RulesFile | None, list[Problem]]:
    """Return the model of a document and what is wrong in it.

    What is wrong is left out of the model, or something stands in for it, so that the rest can be checked too. There is no
    model where that would make mistakes of what is right.
    """
    document, problems, words = deepcopy(dict(places.document)), list[Problem](), _Words(places, form)
    # First only what is wrong is left out; where a key that must be there was wrong, then its table.
    for whole_tables in (False, True, True):
        try:
            return cast("RulesFile", form.model.model_validate(document, context=environment)), problems
        except ValidationError as error:
            errors = error.errors(include_url=False)[:MOST_LOOKED_AT]
        paths = [places.follow(wrong["loc"])[0] for wrong in errors]
        problems = problems or list(dict.fromkeys(words.problem(wrong) for wrong in errors))
        if any(words.is_whole(path) for path in paths) or any(words.is_other_kind(wrong) for wrong in errors):
            break
        for path in paths:
            _mend(document, path[:2] if whole_tables else path)
    return None, problems


def _mend(document: dict[str, Any], path: Path) -> None:
    """Leaves out what is wrong, or puts something in its place that lets the rest be checked."""
    match path:
        case () | ("rules_version",):
            document["rules_version"] = 1
        case ("outputs", *_):
            document["outputs"] = ["/"]
        case ("vars", str(name)):
            document["vars"][name] = STAND_IN
        case ("schema", str(level), int(number), *_):
            # The places of the others are counted in the file, so that none may go.
            match document["schema"][level][number]:
                case {"column": str(column)} if path[3:] != ("column",):
                    stand_in = column
                case _:
                    stand_in = f"x{number}x"
            document["schema"][level][number] = {"column": stand_in, "tag": "0000,0000"}
        case ("select", str(name), "params", str(key)):
            # Of a table that is left out for another mistake nothing is there any more.
            document["select"].get(name, {"params": {}})["params"][key] = 0
        case ("select" | "tables", str(), *_):
            _remove(document, path[:2])
        case _:
            _remove(document, path)


def _remove(document: dict[str, Any], path: Path) -> None:
    """Takes the key at a path out of the document; of an element of an array, the key of the whole array."""
    at, keys = document, [part for part in path if isinstance(part, str)]
    for part in keys[:-1]:
        at = at.get(part, {})
    at.pop(keys[-1], None)


@dataclass(frozen=True, slots=True)
class _Words:
    """What is wrong in a document, in words that name no class."""

    places: Places
    form: Form

    def is_whole(self, path: Path) -> bool:
        """Whether a path is that of all tables of a kind, or of all columns of a level."""
        match path:
            case (_,):
                return path not in MENDED and path[0] in self.form.fields_at(())
            case ("schema", _):
                return path[1] in self.form.fields_at(("schema",))
        return False

    def is_other_kind(self, wrong: ErrorDetails) -> bool:
        """Whether a whole kind of tables is misspelt: what refers to them would seem wrong too."""
        return wrong["type"] == "extra_forbidden" and len(wrong["loc"]) == 1 and self._near(wrong["loc"]) is not None

    def problem(self, wrong: ErrorDetails) -> Problem:
        """One error of pydantic's in our words, at its place."""
        path, rest = self.places.follow(wrong["loc"])
        match wrong["type"]:
            case "missing":
                return self.places.at_key(path, f'"{rest[0]}" is missing', self._about((*path, rest[0])))
            case "extra_forbidden":
                return self.places.at_key(path, f'unknown key "{path[-1]}"', self._near(path) or self._known(path))
            case "variable" | "told":
                key, message, hint = (wrong["ctx"][name] for name in ("key", "message", "hint"))
                return (
                    self.places.at_value(path, message, hint) if key is None else self.places.at_key((*path, key), message, hint)
                )
            case "string_type" if path[-1] == "key_password":
                return self.places.at_value(path, "must be text", 'best: key_password = { env = "NAME" }')
            # Of a value that may be of several types, pydantic tells an error for each.
            case "string_type" | "int_type" | "float_type" | "bool_type" if rest:
                return self.places.at_value(
                    path, "must be text, a number, true or false", self._hint(_as_text(wrong["input"]), wrong, path)
                )
        message, hint = self._must_be(wrong, path)
        return self.places.at_value(path, message, self._hint(hint, wrong, path))

    def _must_be(self, wrong: ErrorDetails, path: Path) -> tuple[str, str | None]:
        """What a value must be, and how to write it."""
        found, context = wrong["input"], wrong.get("ctx", {})
        match wrong["type"]:
            case "literal_error":
                return f"must be {context['expected']}", "this program knows no other version"
            case "enum":
                expected = str(context["expected"]).replace("'", '"')
                return f"must be {expected}", did_you_mean(str(found), re.findall(r'"([^"]*)"', expected))
            case "string_pattern_mismatch":
                return f'"{found}" cannot be the name of a column', COLUMN_NAMES
            case "string_too_short" | "too_short":
                return "must not be empty", None
            case "string_too_long":
                return "must be one letter" if context[
                    "max_length"
                ] == 1 else f"must have at most {context['max_length']} letters", None
            case "bool_type":
                return "must be true or false", "without quotes" if isinstance(found, str) else None
            case "tuple_type":
                return "must be a list", _as_list(path, found)
            case "dict_type" | "model_type":
                return "must be a table", self._as_table(path)
            case "string_type":
                return "must be text", _as_text(found)
        # Of types that no key has yet, in pydantic's words.
        return wrong["msg"].replace("Input should", "must"), None

    def _hint(self, hint: str | None, wrong: ErrorDetails, path: Path) -> str | None:
        """The hint; of a variable of the environment, where none may stand, what to write in its place."""
        if not (isinstance(wrong["input"], dict) and "env" in wrong["input"]):
            return hint
        is_template = any(isinstance(marker, PathTemplate | Statement) for marker in self.form.markers_at(path))
        if is_template or path[-2:-1] == ("params",):
            return "the environment gets in through [vars]: write {{ vars.NAME }} in templates, :NAME in SQL"
        return 'write the value itself; docs/rules.md lists under "The environment" the keys that take a variable'

    def _as_table(self, path: Path) -> str:
        if len(path) > 2 and path[-2] not in self.form.fields_at(path[:-2]):
            return f'write {path[-1]} = {{ NAME = "value" }}'
        if len(path) == 1 and path[0] in ("index", "schema", "vars"):
            return f"write [{path[0]}]"
        name = path[-1] if len(path) > 1 and path[-1] not in self.form.fields_at(path) else "NAME"
        return f"write [{path[0]}.{name}], and its keys below"

    def _near(self, path: Path) -> str | None:
        return did_you_mean(str(path[-1]), self.form.fields_at(path[:-1]))

    def _known(self, path: Path) -> str:
        return f"known are: {', '.join(self.form.fields_at(path[:-1]))}"

    def _about(self, path: Path) -> str | None:
        """What the model says of a key."""
        field = self.form.fields_at(path[:-1]).get(str(path[-1]))
        return "begin the file with: rules_version = 1" if path == ("rules_version",) else field.description if field else None


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
