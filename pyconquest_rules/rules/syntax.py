"""What is no TOML, in the words of who wrote it."""

import re
from time import monotonic
from typing import Any, NamedTuple

import tomli

from pyconquest_rules.errors import Problem, RulesError


class Told(NamedTuple):
    """What is said of an error of tomli's. `whole`: it is about the line on which the key or header stands, not a character."""

    said: str
    message: str
    hint: str | None
    whole: bool = False


TOLD = (
    Told("Cannot overwrite a value", "this key is there already", "keep one of the two", whole=True),
    Told("Duplicate inline table key", "this table has a key twice", "keep one of the two", whole=True),
    Told("Cannot declare", "this table is there already", "keep one, and put the keys of both below it", whole=True),
    Told("Cannot (?:mutate|redefine)", "this adds to what is complete", "write all its keys in one place", whole=True),
    Told("Unterminated string", "this text is never closed", 'end it with the quotes that it begins with: """', whole=True),
    # After the last line only a list can still want a value.
    Told(
        "Unclosed array|Invalid value",
        "this list is never closed",
        "end it with ]; commas stand between its elements",
        whole=True,
    ),
    Told("Unclosed inline table", "this table is never closed", "end it with }; it stands on one line", whole=True),
    Told(
        r"Illegal character '\\n'", "the text is not closed on its line", 'end it with a quote; text of several lines is in """'
    ),
    Told("Illegal character|Found invalid", "this character may not stand here", "it is a control character; take it out"),
    Told(
        "Unescaped|Invalid hex|Escaped",
        "this backslash is read as an escape",
        r"write \\ for \, or put the text in single quotes: 'C:\data'",
    ),
    Told("Expected '='|Invalid initial", "here should be a key, = and a value", 'key = "value"'),
    Told("Expected '\\]", "this header is not closed", "write [kind.name]"),
    Told("Expected newline", "the line should end here", 'one key a line; text stands in quotes, a quote in it is \\"'),
    Told("Invalid statement", "this is no key and no header", 'key = "value", or [kind.name]'),
    Told("Invalid date", "there is no such date or time", 'DICOM writes dates as text: "20240131"'),
)
STATEMENT = re.compile(r"\[\[?[^\]\n]*\]*|[^=\s][^=\n]*[^=\s]|.|$")
WORD = re.compile(r"[^\s,\]}#\"']+")
TRUTH = {"True": "true", "False": "false", "yes": "true", "no": "false", "on": "true", "off": "false"}
MOST_LINES, SECONDS = 100, 0.5
DIGITS = re.compile(r"[0-9_]{4300}")


def parsed(file: str, source: str) -> dict[str, Any]:
    """The document of a TOML text. Raises RulesError at the first place where it is none: what follows cannot be told."""
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
    told = next((told for told in TOLD if re.match(told.said, error.msg)), Told("", f"this is no TOML: {error.msg}", None))
    length, hint = 1, told.hint
    if error.msg == "Invalid value" and source[start - 1 :] != "\n":
        word = WORD.match(source, start)
        told, length, hint = Told("", "this is no value", None), len(word[0]) if word else 1, _instead(word[0] if word else "")
    elif told.whole:
        start = _statement(source, start)
        length = len(STATEMENT.findall(source, start)[0])
    line = source.count("\n", 0, start)
    column = start - (source.rfind("\n", 0, start) + 1) + 1
    return Problem(file, line + 1, column, max(1, length), told.message, hint, source.split("\n")[line].removesuffix("\r"))


def _instead(word: str) -> str:
    if word in TRUTH:
        return f"write {TRUTH[word]}"
    return f'text stands in quotes: "{word}"' if word else "write a value behind the ="


def _statement(source: str, position: int) -> int:
    """Where the statement begins that tomli was reading at `position`: the last line up to which all is well."""
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
