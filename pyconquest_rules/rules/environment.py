"""Values from the environment: `{ env = "NAME", default = "text" }` in place of a text."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema

from pyconquest_rules.errors import did_you_mean
from pyconquest_rules.rules.fields import NamedFile, wrong

KEYS = {
    "env": "The name of the environment variable.",
    "default": "The value if the variable is not set, or is empty.",
}


def _value(value: object, info: ValidationInfo) -> object:
    """Return the value of `{ env = "X", default = "y" }` in the environment, which is the context; any other value as it is.

    Raises an error for an unknown key, for a key that is not text, and for a variable that is not set and has no default.
    """
    if not isinstance(value, dict):
        return value
    name, default = _written(value), value.get("default")
    text = (info.context or {}).get(name) or default
    if text is None:
        hint = f'set it, or add a default: {{ env = "{name}", default = "…" }}'
        raise wrong(f"the environment variable {name} is not set, or is empty", hint=hint)
    return text


def _written(value: object) -> object:
    """Return the name of the variable in `{ env = "X", default = "y" }`; any other value as it is.

    Raises an error for an unknown key, and for a key that is not text.
    """
    if not isinstance(value, dict):
        return value
    for key, inside in value.items():
        if key not in KEYS:
            raise wrong(f'unknown key "{key}"', key, did_you_mean(key, KEYS) or "known keys are: env, default")
        if not isinstance(inside, str):
            raise wrong("must be text", key)
    if "env" not in value:
        raise wrong('"env" is missing', hint='write { env = "NAME" }, or the text itself')
    return value["env"]


TEXT_SCHEMA: dict[str, Any] = {
    "description": "Text, or an environment variable.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {key: {"type": "string", "description": text} for key, text in KEYS.items()},
            "required": ["env"],
            "additionalProperties": False,
        },
    ],
}

Text = Annotated[str, BeforeValidator(_value), WithJsonSchema(TEXT_SCHEMA)]
"""Text, or an environment variable."""

UnreadText = Annotated[str, BeforeValidator(_written), WithJsonSchema(TEXT_SCHEMA)]
"""The same, but the environment is not read."""

TextOfFile = Annotated[Text, NamedFile()]
"""The same, for the path of a file."""

Secret = Annotated[SecretStr, BeforeValidator(_value), WithJsonSchema(TEXT_SCHEMA)]
"""The same, but never shown."""
