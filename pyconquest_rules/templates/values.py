"""The values that a template gets for an instance, their text, and the errors about them."""

import unicodedata
from collections.abc import Callable, Sequence

LONGEST_VALUE = 65536

# The values of the names that a template uses, in its own order: str, int, float or None.
Values = Sequence[object]
Evaluate = Callable[[Values], object]


class RenderError(Exception):
    """A value of an instance does not fit the template. `name` is its keyword or column; the text never has the value."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name} {what}")
        self.name = name


class MissingValue(RenderError):
    """A value is missing, None or empty, and the template has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "has no value")


class BadValue(RenderError):
    """A filter or a comparison cannot use the value of a name."""


def text_of(value: object) -> str:
    """Return a value as text: 1.0 as "1", -0.0 as "0", None as ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value + 0.0).removesuffix(".0")
    return "" if value is None else str(value)


def clean(text: str) -> str:
    """Return the text in Unicode's form NFC, without whitespace around it."""
    return unicodedata.normalize("NFC", text).strip()


def look_up(name: str, position: int) -> Evaluate:
    """Return the function that reads the value at a position. It raises MissingValue if the value is None or empty."""

    def value_at_position(values: Values) -> object:
        value = values[position]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        text = clean(text_of(value))
        if not text:
            raise MissingValue(name)
        return text

    return value_at_position


def attempt(evaluate: Evaluate) -> Evaluate:
    """Return the same function, but with "" for values that are missing, empty or unusable."""

    def value_or_empty(values: Values) -> object:
        try:
            value = evaluate(values)
        except RenderError:
            return ""
        return value if text_of(value).strip() else ""

    return value_or_empty
