"""Patterns of `exclude`, matched on the path from the root of the source: `*`, `?`, `[ab]` within a name, `**` across folders.

Patterns and paths may be hostile, so a pattern becomes an expression that never backtracks: after each `*` and `**`, the first
match is as good as any later one, because the next `*` or `**` can still match the text between. The work for a path is at most
the length of the path times the length of the patterns.
"""

import re
import sys
from collections.abc import Sequence
from fnmatch import translate
from itertools import groupby

MOST_PATTERNS, LONGEST_PATTERN, LONGEST_TOGETHER = 100, 1000, 10_000

# The encoding by which Python turns file names into text and back.
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

TOKEN = re.compile(r"\*\*|\*|\?|\[!?.[^\]]*\]|.", re.DOTALL)
ANY_FOLDERS = "(?:[^/]++/)*"


def expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """Return one regular expression for the relative paths that any pattern matches; None if there are no patterns."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns)) if patterns else None


def _expression(pattern: str) -> str:
    names = pattern.strip("/").split("/")
    # Names in a row, with a `**` between one row and the next.
    runs = [[*run] for any_, run in groupby(names, lambda name: name == "**") if not any_]
    first, last = names[0] != "**", names[-1] != "**"
    parts = []
    for number, run in enumerate(runs):
        text = "/".join(map(_name, run))
        at_end = last and number == len(runs) - 1
        if number == 0 and first:
            parts.append(text if at_end else f"{text}/")
        else:
            parts.append(f"{ANY_FOLDERS}{text}" if at_end else f"(?>{ANY_FOLDERS}?{text}/)")
    return "".join(parts) + (r"\Z" if last else r"(?s:.)*\Z")


def _name(pattern: str) -> str:
    """Return an expression for one name of a path. A "/" or the end must follow."""
    pieces: list[list[str]] = [[]]
    for token in TOKEN.findall(pattern):
        if token in ("*", "**"):
            pieces.append([])
        else:
            pieces[-1].append(_letter(token))
    first, *others = map("".join, pieces)
    if not others:
        return first
    return first + "".join(f"(?>[^/]*?{other})" for other in others[:-1] if other) + f"[^/]*{others[-1]}"


def _letter(part: str) -> str:
    if part == "?":
        return "[^/]"
    # fnmatch translates brackets, with all their special cases.
    return "(?!/)" + translate(part)[: -len(r"\Z")] if len(part) > 1 else re.escape(part)


def broken(pattern: str) -> tuple[str, str] | None:
    """Return the error of a pattern and a hint; None if it is valid. Patterns that cannot match as they look are errors."""
    if len(pattern) > LONGEST_PATTERN:
        return f"the pattern is longer than {LONGEST_PATTERN} characters", "write several shorter ones"
    names = pattern.strip("/").split("/")
    for part in TOKEN.findall(pattern):
        if part == "[":
            return 'a "[" is never closed', 'close it with "]"; to match "[" itself, write "[[]"'
        if part[0] == "[" and "/" in part:
            return 'a "/" is not allowed in brackets', "brackets match one letter of a name"
        if part[0] == "[" and (empty := _empty_range(part)):
            return f'the range "{empty}" has no letters', f'write it as "{empty[::-1]}"'
    if not pattern.strip("/"):
        return "the pattern is empty", 'write "**" to leave out everything'
    if any("**" in name and name != "**" for name in names):
        return '"**" must be the whole name of a folder', 'write "**/*.txt" for all folders, or "*" within a name'
    if {".", "..", ""} & {*names}:
        return 'no path has a folder "", "." or ".."', 'patterns begin at the folder of the source: "scratch/**"'
    if re.search(r"\{[^{}/]*,[^{}]*\}", pattern):
        return "braces have no meaning in a pattern", 'write one pattern for each: ["*.txt", "*.csv"]'
    return None


def too_many(patterns: Sequence[str]) -> str | None:
    """Return the error of the patterns of a source together; None if they are within the limits."""
    if len(patterns) > MOST_PATTERNS:
        return f"a source has more than {MOST_PATTERNS} patterns"
    if sum(map(len, patterns)) > LONGEST_TOGETHER:
        return f"the patterns of a source are longer than {LONGEST_TOGETHER} characters together"
    return None


def _empty_range(brackets: str) -> str | None:
    ranges = re.findall(r"(?s).-[^\]]", brackets.removeprefix("[").removeprefix("!").removesuffix("]"))
    return next((each for each in ranges if each[0] > each[2]), None)
