"""The JSON Schema of a rules file, `rules.schema.json`: editors complete and explain keys with it."""

from collections.abc import Iterable
from typing import Any

from pyconquest_rules.rules.environment import TEXT_SCHEMA
from pyconquest_rules.rules.kinds import TableKind
from pyconquest_rules.rules.model import form


def json_schema(kinds: Iterable[TableKind[Any]]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a rules file."""
    made = _for_editors({**form(kinds).model.model_json_schema(), "description": "A rules file of pyconquest-rules."})
    made["$defs"]["Text"] = TEXT_SCHEMA
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rules of pyconquest-rules", **made}


def _for_editors(at: Any) -> Any:
    """Return a JSON Schema without pydantic's titles and without null, which TOML does not have.

    Tables whose names must match a pattern accept no other names.
    """
    if isinstance(at, list):
        return [_for_editors(element) for element in at if element != {"type": "null"}]
    if not isinstance(at, dict):
        return at
    made = {key: _for_editors(value) for key, value in at.items() if key not in ("properties", "$defs", "title")}
    # The keys in these are names of the rules file, not words of JSON Schema.
    for key in [key for key in ("properties", "$defs") if key in at]:
        made[key] = {name: _for_editors(schema) for name, schema in at[key].items()}
    if isinstance(made.get("default", ""), dict | None):
        del made["default"]
    if "patternProperties" in made:
        made["additionalProperties"] = False
    match made:
        case {"anyOf": [only], **rest}:
            return {**only, **rest}
        case {"anyOf": branches, **rest} if branches == TEXT_SCHEMA["anyOf"]:
            return {"$ref": "#/$defs/Text", **rest}
    return made
