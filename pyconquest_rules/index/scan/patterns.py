"""Patterns of `exclude`, on the path from the folder of the source: `*`, `?`, `[ab]` within a name, `**` across folders.

They may be a stranger's, and paths too. So a pattern becomes an expression that never tries again what it decided: after each `*`
and each `**` the first place that fits is as good as any later one, as the next `*` or `**` can still take what is between.
The work for a path is at most its length times that of the patterns.
"""

import re
import sys
from collections.abc import Sequence
from fnmatch import translate
from itertools import groupby

MOST_PATTERNS, LONGEST_PATTERN, LONGEST_TOGETHER = 100, 1000, 10_000

# How Python makes names of files text, and bytes again.
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

TOKEN = re.compile(r"\*\*|\*|\?|\[!?.[^\]]*\]|.", re.DOTALL)
ANY_FOLDERS = "(?:[^/]++/)*"


def expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """One regular expression for the relative paths that any of the patterns matches; None if there are no patterns."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns)) if patterns else None


def _expression(pattern: str) -> str:
    names = pattern.strip("/").split("/")
    # Names in a row, and what stands between them: `**` or nothing.
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
    """An expression for one whole name of a path; a "/" or the end must follow."""
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
    # Letters in brackets; fnmatch knows all that can be wrong with them.
    return "(?!/)" + translate(part)[: -len(r"\Z")] if len(part) > 1 else re.escape(part)


def broken(pattern: str) -> tuple[str, str] | None:
    """What is wrong with a pattern that would match nothing, or something else than it seems to; and what to write."""
    if len(pattern) > LONGEST_PATTERN:
        return f"the pattern is longer than {LONGEST_PATTERN} characters", "write several shorter ones"
    names = pattern.strip("/").split("/")
    for part in TOKEN.findall(pattern):
        if part == "[":
            return 'a "[" is never closed', 'close it with "]"; to match "[" itself, write "[[]"'
        if part[0] == "[" and "/" in part:
            return 'a "/" cannot stand in brackets', "brackets match one letter of a name"
        if part[0] == "[" and (empty := _empty_range(part)):
            return f'the range "{empty}" has no letters', f'write it as "{empty[::-1]}"'
    if not pattern.strip("/"):
        return "the pattern is empty", 'write "**" to leave out everything'
    if any("**" in name and name != "**" for name in names):
        return '"**" must be the whole name of a folder', 'write "**/*.txt" for all folders, or "*" within a name'
    if {".", "..", ""} & {*names}:
        return 'no path has a folder "", "." or ".."', 'patterns count from the folder of the source: "scratch/**"'
    if re.search(r"\{[^{}/]*,[^{}]*\}", pattern):
        return "braces have no meaning in a pattern", 'write one pattern for each: ["*.txt", "*.csv"]'
    return None


def too_many(patterns: Sequence[str]) -> str | None:
    """What is wrong with the patterns of a source together."""
    if len(patterns) > MOST_PATTERNS:
        return f"a source has more than {MOST_PATTERNS} patterns"
    if sum(map(len, patterns)) > LONGEST_TOGETHER:
        return f"the patterns of a source are longer than {LONGEST_TOGETHER} characters together"
    return None


def _empty_range(brackets: str) -> str | None:
    ranges = re.findall(r"(?s).-[^\]]", brackets.removeprefix("[").removeprefix("!").removesuffix("]"))
    return next((each for each in ranges if each[0] > each[2]), None)
