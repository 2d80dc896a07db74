"""Turn errors of tomli into messages for the author of a rules file."""

import re
from time import monotonic
from typing import Any, NamedTuple

import tomli

from pyconquest_rules.errors import Problem, RulesError


class Message(NamedTuple):
    """The message and the hint for errors of tomli whose text begins with `pattern`.

    `statement`: the message is about the whole key or header, not about one character.
    """

    pattern: str
    message: str
    hint: str | None
    statement: bool = False


MESSAGES = (
    Message("Cannot overwrite a value", "this key already exists", "keep one of the two", statement=True),
    Message("Duplicate inline table key", "this table has a key twice", "keep one of the two", statement=True),
    Message("Cannot declare", "this table already exists", "keep one, and put the keys of both below it", statement=True),
    Message(
        "Cannot (?:mutate|redefine)", "this adds to a table that is complete", "write all its keys in one place", statement=True
    ),
    Message(
        "Unterminated string", "this text is never closed", 'end it with the quotes that it begins with: """', statement=True
    ),
    # At the end of the file, a missing value means that a list is open.
    Message(
        "Unclosed array|Invalid value",
        "this list is never closed",
        "end it with ], and separate its elements with commas",
        statement=True,
    ),
    Message("Unclosed inline table", "this table is never closed", "end it with } on the same line", statement=True),
    Message(
        r"Illegal character '\\n'", "the text is not closed on its line", 'end it with a quote; text of several lines needs """'
    ),
    Message("Illegal character|Found invalid", "this control character is not allowed", "remove it"),
    Message(
        "Unescaped|Invalid hex|Escaped",
        "this backslash begins an escape sequence",
        r"write \\ for \, or put the text in single quotes: 'C:\data'",
    ),
    Message("Expected '='|Invalid initial", "expected a key, = and a value", 'write key = "value"'),
    Message("Expected '\\]", "this header is not closed", "write [kind.name]"),
    Message(
        "Expected newline", "expected the end of the line", 'write one key per line, text in quotes, and \\" for a quote in it'
    ),
    Message("Invalid statement", "this is not a key or a header", 'write key = "value", or [kind.name]'),
    Message("Invalid date", "this date or time does not exist", 'write dates of DICOM as text: "20240131"'),
)
STATEMENT = re.compile(r"\[\[?[^\]\n]*\]*|[^=\s][^=\n]*[^=\s]|.|$")
WORD = re.compile(r"[^\s,\]}#\"']+")
TRUTH = {"True": "true", "False": "false", "yes": "true", "no": "false", "on": "true", "off": "false"}
MOST_LINES, SECONDS = 100, 0.5
DIGITS = re.compile(r"[0-9_]{4300}")


def parsed(file: str, source: str) -> dict[str, Any]:
    """Return the document of a TOML text.

    Raises RulesError with one problem if the text is not valid TOML, because nothing after the first error can be trusted.
    """
    try:
        return tomli.loads(source)
    except tomli.TOMLDecodeError as error:
        raise RulesError([_problem(file, error)]) from None
    except RecursionError:
        raise RulesError([Problem(file, 1, 1, 1, "tables, lists or keys are nested too deeply", None, "")]) from None
    except ValueError:
        place = DIGITS.search(source)
        line = source.count("\n", 0, place.start()) + 1 if place else 1
        raise RulesError([Problem(file, line, 1, 1, "a number has thousands of digits", None, "")]) from None


def _problem(file: str, error: tomli.TOMLDecodeError) -> Problem:
    source, start = error.doc, error.pos
    other = Message("", f"this is not valid TOML: {error.msg}", None)
    found = next((message for message in MESSAGES if re.match(message.pattern, error.msg)), other)
    length = 1
    if error.msg == "Invalid value" and source[start - 1 :] != "\n":
        match = WORD.match(source, start)
        word = match[0] if match else ""
        found, length = Message("", "this is not a valid value", _instead(word)), len(word) or 1
    elif found.statement:
        start = _statement(source, start)
        length = len(STATEMENT.findall(source, start)[0])
    line = source.count("\n", 0, start)
    column = start - (source.rfind("\n", 0, start) + 1) + 1
    return Problem(file, line + 1, column, max(1, length), found.message, found.hint, source.split("\n")[line].removesuffix("\r"))


def _instead(word: str) -> str:
    """Return what to write instead of an invalid value."""
    if word in TRUTH:
        return f"write {TRUTH[word]}"
    return f'put text in quotes: "{word}"' if word else "write a value after the ="


def _statement(source: str, position: int) -> int:
    """Return where the statement begins that tomli was reading at a position: the last line before which all is valid."""
    start, end = position, monotonic() + SECONDS
    for _ in range(MOST_LINES):
        if monotonic() > end:
            break
        start = source.rfind("\n", 0, start) + 1
        try:
            tomli.loads(source[:start])
        except (ValueError, RecursionError):
            start -= 1
            continue
        break
    line = source[start:].partition("\n")[0]
    return start + len(line) - len(line.lstrip())
