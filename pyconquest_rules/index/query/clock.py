"""The only clock of sets is `:today`. SQLite's own clock moves during a run, is in UTC, and ignores `--today`."""

from itertools import pairwise

from pyconquest_rules.errors import Mistake
from pyconquest_rules.index.store.tokens import TOKEN

TODAY = "today"
READ_THE_CLOCK = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"})
CLOCKS = frozenset({"current_date", "current_time", "current_timestamp"})
HINT = "write :today, the day of the run: date(:today, '-7 days'), strftime('%Y%m%d', :today, '-7 days')"


def check_clock(text: str) -> None:
    """Raise Mistake if the SQL of a set reads the clock of SQLite."""
    words = [token for token in TOKEN.findall(text) if not token[0].isspace() and token[:2] not in ("--", "/*")]
    reads = any(word.lower() in READ_THE_CLOCK and after == "(" for word, after in pairwise(words))
    empty = (a for a, b, c in zip(words, words[1:], words[2:], strict=False) if (b, c) == ("(", ")"))
    clocks = (word for word in words if word.lower() in CLOCKS or (reads and word[0] in "'\"" and word[1:-1].lower() == "now"))
    word = next((word for word in empty if word.lower() in READ_THE_CLOCK), None) or next(clocks, None)
    if word is not None:
        raise Mistake("a set must not read the clock, or each run selects other rows", fragment=word.strip("'\""), hint=HINT)
