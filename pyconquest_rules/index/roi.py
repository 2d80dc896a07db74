"""`roi_match(names, include, exclude)` in SQL: the ROI names that one wants, as pyconquest's `filter_roinames` chooses them."""

import json
import re
from functools import lru_cache

MOST_PATTERNS, LONGEST_PATTERN, LONGEST_NAME, MOST_REPEATS = 50, 200, 64, 3

REPEAT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]|([*+?{])", re.DOTALL)


def roi_match(names: str | None, include: str | None, exclude: str | None) -> str | None:
    """The names of a JSON list that a pattern of `include` matches and none of `exclude`, as a JSON list; NULL if there is none.

    Patterns are regular expressions, or a JSON list of them; they match from the beginning of a name, without case. NULL or
    "" as `include` is every name, as `exclude` none. Raises ValueError for a pattern that is wrong or could run for ever.
    """
    try:
        found = json.loads(names) if names else []
    except ValueError:
        return None
    wanted, unwanted = patterns(include), patterns(exclude)
    kept = [
        name
        for name in (found if isinstance(found, list) else [])
        if isinstance(name, str)
        and (not wanted or any(pattern.match(name[:LONGEST_NAME]) for pattern in wanted))
        and not any(pattern.match(name[:LONGEST_NAME]) for pattern in unwanted)
    ]
    return json.dumps(kept, ensure_ascii=False) if kept else None


@lru_cache(64)
def patterns(text: str | None) -> tuple[re.Pattern[str], ...]:
    """The patterns of an argument."""
    found = json.loads(text) if text and text.startswith('["') else [text] if text else []
    if len(found) > MOST_PATTERNS:
        raise ValueError("too many patterns")
    return tuple(_pattern(each) for each in found if each)


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern that ends soon on every name: few repeats, none of a group, no look back at what was matched."""
    repeats = sum(1 for found in REPEAT.finditer(text) if found[1])
    if len(text) > LONGEST_PATTERN or repeats > MOST_REPEATS or re.search(r"\)[*+?{]|\\[1-9]|\(\?", text):
        raise ValueError("the pattern is too long, or repeats too much")
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error:
        raise ValueError("the pattern is no regular expression") from None
