"""Patterns of `exclude`, on the path from the folder of the source: `*`, `?`, `[ab]` within a name, `**` across folders."""

import re
import sys
from collections.abc import Sequence
from fnmatch import translate

# How Python makes names of files text, and bytes again.
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?.[^\]]*\]|.", re.DOTALL)


def expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """One regular expression for the relative paths that any of the patterns matches; None if there are no patterns."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL) if patterns else None


def _expression(pattern: str) -> str:
    parts = []
    for token in TOKEN.findall(pattern.strip("/")):
        match token:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(token) > 1:  # letters in brackets; fnmatch knows all that can be wrong with them
                parts.append("(?!/)" + translate(token)[: -len(r"\Z")])
            case _:
                parts.append(re.escape(token))
    return "".join(parts) + r"\Z"


def broken(pattern: str) -> tuple[str, str] | None:
    """What is wrong with a pattern that would match nothing, or something else than it seems to; and what to write."""
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


def _empty_range(brackets: str) -> str | None:
    ranges = re.findall(r"(?s).-[^\]]", brackets.removeprefix("[").removeprefix("!").removesuffix("]"))
    return next((each for each in ranges if each[0] > each[2]), None)
