"""The SQL function `roi_match(names, include, exclude)`: it filters ROI names as pyconquest's `filter_roinames` does."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

MOST_PATTERNS, LONGEST_PATTERN, LONGEST_NAME, MOST_REPEATS, MOST_NAMES = 50, 200, 64, 3, 2000

MOST_WAYS = 10**8
"""The limit for all names and patterns of a call: about a tenth of a second."""

TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]|([*+?{(|)])", re.DOTALL)


class Pattern(NamedTuple):
    """A pattern. Matching a name of n letters takes at most `ways * n ** repeats` attempts."""

    compiled: re.Pattern[str]
    repeats: int
    ways: int


def roi_match(names: str | None, include: str | None, exclude: str | None = None) -> str | None:
    """Return the names of a JSON list that match `include` but not `exclude`, as a JSON list; None if there are none.

    `include` and `exclude` are a regular expression, or a JSON list of them. They match from the beginning of a name, without
    case. None, "" or "[]" as `include` matches every name, as `exclude` none.

    Raises ValueError for a pattern that is invalid or could take too long, and if there are too many names for the patterns.
    """
    try:
        listed = json.loads(names) if names else []
    except (ValueError, RecursionError):
        return None
    found = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    wanted, unwanted = patterns(include), patterns(exclude)
    _check_work(found, (*wanted, *unwanted))
    kept = [
        name
        for name in found
        if (not wanted or any(pattern.compiled.match(name[:LONGEST_NAME]) for pattern in wanted))
        and not any(pattern.compiled.match(name[:LONGEST_NAME]) for pattern in unwanted)
    ]
    return json.dumps(kept, ensure_ascii=False) if kept else None


@lru_cache(64)
def patterns(text: str | None) -> tuple[Pattern, ...]:
    """Return the patterns of an argument. Raises ValueError as `roi_match` does."""
    found = _listed(text or "[]")
    if len(found) > MOST_PATTERNS:
        raise ValueError("too many patterns")
    return tuple(_pattern(each) for each in found if each)


def _listed(text: str) -> list[str]:
    """Return the texts of a JSON list; any other text, such as `[12]`, is one pattern."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else [text]


def _pattern(text: str) -> Pattern:
    """Return a pattern that is fast on every name: with few repeats, no repeated groups and no back-references."""
    signs = "".join(found[1] or "" for found in TOKEN.finditer(text))
    repeats = len(re.findall(r"[*+?{]", signs))
    if len(text) > LONGEST_PATTERN or repeats > MOST_REPEATS or re.search(r"\)[*+?{]|\\[1-9]|\(\?", text):
        raise ValueError("the pattern is too long, or repeats too much")
    try:
        return Pattern(re.compile(text, re.IGNORECASE), repeats, _ways(signs))
    except re.error:
        raise ValueError("the pattern is not a valid regular expression") from None


def _ways(signs: str) -> int:
    """Return how many combinations of alternatives a pattern has."""
    ways, open_groups = 1, [1]
    for sign in signs:
        match sign:
            case "(":
                open_groups.append(1)
            case "|":
                open_groups[-1] += 1
            case ")" if len(open_groups) > 1:
                ways *= open_groups.pop()
    return ways * open_groups[0]


def _check_work(names: list[str], wanted: tuple[Pattern, ...]) -> None:
    """Raise ValueError if matching would take too long."""
    if len(names) > MOST_NAMES:
        raise ValueError("there are too many names")
    lengths = [min(len(name), LONGEST_NAME) for name in names]
    if sum(pattern.ways * length**pattern.repeats for length in lengths for pattern in wanted) > MOST_WAYS:
        raise ValueError("the patterns have too many ways to match so many names")
