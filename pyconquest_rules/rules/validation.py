"""The form of a rules file, by pydantic: the model, and what is wrong in words that name no class of ours or of pydantic's."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.kinds.listen.rule import AE_TITLE
from pyconquest_rules.kinds.send.rule import WINDOW
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

# Of what is wrong with these as a whole nothing can be told apart from what it makes wrong elsewhere.
WHOLE = {(kind,) for kind in ("index", "vars", "schema", "select", "sources", "tables")} | {
    *((kind,) for kind in ("copy", "nodes", "send", "retrieve", "listen")),
    *(("schema", level) for level in ("patient", "study", "series", "image")),
}

# To find a hint for each of thousands would take seconds; far fewer are told.
MOST_LOOKED_AT = 1000

COLUMN_NAMES = "names of columns are letters, digits and _, at most 64, and begin with a letter"

STAND_IN = "not_known"
"""The value of a variable that is wrong: a destination that begins with it may lie anywhere."""


def validated(places: Places, environment: Mapping[str, str]) -> tuple[RulesFile | None, list[Problem]]:
    """The model of a document and what is wrong in it.

    What is wrong is left out of the model, or something stands in for it, so that the rest can be checked too. There is no
    model where that would make mistakes of what is right.
    """
    document, problems = deepcopy(dict(places.document)), list[Problem]()
    # First only what is wrong is left out; where a key that must be there was wrong, then its table.
    for whole_tables in (False, True, True):
        try:
            return RulesFile.model_validate(document, context=environment), problems
        except ValidationError as error:
            errors = error.errors(include_url=False)[:MOST_LOOKED_AT]
        paths = [places.follow(wrong["loc"])[0] for wrong in errors]
        problems = problems or list(dict.fromkeys(_problem(places, wrong) for wrong in errors))
        if WHOLE & {*paths} or any(_is_other_kind(wrong) for wrong in errors):
            break
        for path in paths:
            _mend(document, path[:2] if whole_tables else path)
    return None, problems


def _is_other_kind(wrong: ErrorDetails) -> bool:
    """Whether a whole kind of tables is misspelt: what refers to them would seem wrong too."""
    return wrong["type"] == "extra_forbidden" and len(wrong["loc"]) == 1 and _near(wrong["loc"]) is not None


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


def _problem(places: Places, wrong: ErrorDetails) -> Problem:
    """One error of pydantic's in our words, at its place."""
    path, rest = places.follow(wrong["loc"])
    match wrong["type"]:
        case "missing":
            return places.at_key(path, f'"{rest[0]}" is missing', _about((*path, rest[0])))
        case "extra_forbidden":
            return places.at_key(path, f'unknown key "{path[-1]}"', _near(path) or _known(path))
        case "variable" | "told":
            key, message, hint = (wrong["ctx"][name] for name in ("key", "message", "hint"))
            return places.at_value(path, message, hint) if key is None else places.at_key((*path, key), message, hint)
        case "string_type" if path[-1] == "key_password":
            return places.at_value(path, "must be text", 'best: key_password = { env = "NAME" }')
        # Of a value that may be of several types, pydantic tells an error for each.
        case "string_type" | "int_type" | "float_type" | "bool_type" if rest:
            return places.at_value(path, "must be text, a number, true or false", _hint(_as_text(wrong["input"]), wrong, path))
    message, hint = _must_be(wrong, path)
    return places.at_value(path, message, _hint(hint, wrong, path))


def _must_be(wrong: ErrorDetails, path: Path) -> tuple[str, str | None]:
    """What a value must be, and how to write it."""
    found, context = wrong["input"], wrong.get("ctx", {})
    match wrong["type"]:
        case "literal_error":
            return f"must be {context['expected']}", "this program knows no other version"
        case "enum":
            expected = str(context["expected"]).replace("'", '"')
            return f"must be {expected}", did_you_mean(str(found), re.findall(r'"([^"]*)"', expected))
        case "string_pattern_mismatch" if context["pattern"] == AE_TITLE:
            return "is no AE title", "AE titles are 1 to 16 letters of ASCII without a backslash, with no blank at an end"
        case "string_pattern_mismatch" if context["pattern"] == WINDOW:
            return "is no time of day", 'write it as "22:00-06:00", from 00:00 to 23:59'
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
            return "must be a table", _as_table(path)
        case "string_type":
            return "must be text", _as_text(found)
    # Of types that no key has yet, in pydantic's words.
    return wrong["msg"].replace("Input should", "must"), None


def _as_text(found: object) -> str | None:
    match found:
        case dict():
            return None
        case list():
            return "one text, without [ ]" if len(found) == 1 else None
    return f"write it in quotes: {json.dumps(str(found))}"


def _hint(hint: str | None, wrong: ErrorDetails, path: Path) -> str | None:
    """The hint; of a variable of the environment, where none may stand, what to write in its place."""
    if not (isinstance(wrong["input"], dict) and "env" in wrong["input"]):
        return hint
    match path[-2:]:
        case (_, "to" | "layout" | "query" | "where") | ("params", _):
            return "the environment gets in through [vars]: write {{ vars.NAME }} in templates, :NAME in SQL"
    return 'write the value itself; docs/rules.md lists under "The environment" the keys that take a variable'


def _as_list(path: Path, found: object) -> str | None:
    if isinstance(found, dict):
        return f"write [[{'.'.join(map(str, path))}]], with two brackets" if path[0] == "schema" else None
    return f"write [{json.dumps(found)}]" if isinstance(found, str) else None


def _as_table(path: Path) -> str:
    if len(path) > 2 and path[-2] not in fields_at(path[:-2]):
        return f'write {path[-1]} = {{ NAME = "value" }}'
    if len(path) == 1 and path[0] in ("index", "schema", "vars"):
        return f"write [{path[0]}]"
    name = path[-1] if len(path) > 1 and path[-1] not in fields_at(path) else "NAME"
    return f"write [{path[0]}.{name}], and its keys below"


def _near(path: Sequence[int | str]) -> str | None:
    return did_you_mean(str(path[-1]), fields_at(path[:-1]))


def _known(path: Sequence[int | str]) -> str:
    return f"known are: {', '.join(fields_at(path[:-1]))}"


def _about(path: Sequence[int | str]) -> str | None:
    """What the model says of a key."""
    field = fields_at(path[:-1]).get(str(path[-1]))
    return "begin the file with: rules_version = 1" if path == ("rules_version",) else field.description if field else None


def fields_at(path: Sequence[int | str]) -> dict[str, FieldInfo]:
    """The keys that the model knows at a place."""
    at: Any = RulesFile
    for part in path:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = _fields(at).get(str(part))
            at = field.annotation if field else None
        elif get_origin(at) in (dict, tuple):
            at = get_args(at)[1 if get_origin(at) is dict else 0]
        if get_origin(at) in (Union, UnionType):
            at = get_args(at)[0]
    return _fields(at) if isinstance(at, type) and issubclass(at, BaseModel) else {}


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}
