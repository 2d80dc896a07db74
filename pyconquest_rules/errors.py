"""The errors of the program. A message says where, what, and what to do.

Every error of ours is an `Error`. Its text never has patient data: it names instances by SOPInstanceUID. Only requested
reports show paths.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import nlargest
from typing import ClassVar

MOST_TOLD, LONGEST_TOLD = 100, 2000
NEAREST = 50


class Error(Exception):
    """An error that ends a command with `exit_code` (DESIGN section 2)."""

    exit_code: ClassVar[int] = 2


class UsageError(Error):
    """The command line names something that does not exist, or is invalid."""


class SourceError(Error):
    """A source cannot be indexed as a whole: its root is missing, or most of it vanished."""

    exit_code = 1


class OutputError(Error):
    """An output must not be written: most of its files vanished, or there is not enough space."""

    exit_code = 1


class DatabaseError(Error):
    """A database cannot be used: it is not ours, of a newer version, busy or damaged."""

    exit_code = 1


class LockDiffers(Error):
    """The selection of a release differs from its lock."""

    exit_code = 4


class StalePlan(Error):
    """The saved plan differs from the current plan."""

    exit_code = 5


class Locked(Error):
    """Another run holds the lock of this rules file."""

    exit_code = 6


class Interrupted(Error):
    """Ctrl-C interrupted a command."""

    exit_code = 130


class Mistake(Error):
    """An error in a text of the rules file (a query, a template, a tag), before its position in the file is known.

    `fragment` is the word of that text to mark; `hint` says what to do.
    """

    def __init__(self, message: str, *, fragment: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.fragment, self.hint = message, fragment, hint


# A literal password, instead of { env = "NAME" }.
SECRET = re.compile(
    r"""(\bkey_password["']?\s*=\s*)(?!\{\s*env\s*=\s*["'][^"']*["']\s*\})"""
    r"""(\{[^}]*\}?|"(?:\\.|[^"\\])*"?|'[^']*'?|[^\s,}#]+)"""
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One error of a rules file. `line` and `column` count from 1; `length` is at least 1."""

    file: str
    line: int
    column: int
    length: int
    message: str
    hint: str | None
    source_line: str

    def __str__(self) -> str:
        """Return `file:line:column: message`, the source line, a caret line and the hint, each of limited length."""
        place, hint = f"{self.file}:{self.line}:{self.column}: {_short(self.message)}", _short(self.hint or "")
        if not self.source_line or len(self.source_line) > LONGEST_TOLD:
            return f"{place}\n  = {hint}" if hint else place
        shown, margin = SECRET.sub(lambda found: f"{found[1]}{'*' * len(found[2])}", self.source_line), f"{self.line:>5} | "
        # Keep tabs before the caret, so that it is below its word in any terminal.
        lead = "".join("\t" if c == "\t" else " " for c in self.source_line[: self.column - 1])
        caret = "^" * max(1, min(self.length, len(self.source_line) - self.column + 1))
        text = f"{place}\n{margin}{shown}\n{' ' * (len(margin) - 2)}| {lead}{caret}"
        return f"{text}\n{' ' * (len(margin) - 2)}= {hint}" if hint else text


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}…"


class RulesError(Error):
    """All errors of a rules file, in the order of their positions. The text has the first MOST_TOLD."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        files = list(dict.fromkeys(problem.file for problem in problems))
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda p: (files.index(p.file), p.line, p.column, p.message)))
        more = [f"and {len(self.problems) - MOST_TOLD} more"] if len(self.problems) > MOST_TOLD else []
        super().__init__("\n\n".join([*map(str, self.problems[:MOST_TOLD]), *more]))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return `did you mean "planning_ct"?` if one of `known` is similar to `word`, ignoring case; else None."""
    folded, by_fold = word.casefold(), {k.casefold(): k for k in known}
    pairs = {folded[start : start + 2] for start in range(len(folded) - 1)}
    # Counting common pairs of letters is much faster than measuring the similarity of thousands of words.
    among = nlargest(NEAREST, by_fold, key=lambda k: sum(map(k.__contains__, pairs)) - abs(len(k) - len(folded)))
    near = get_close_matches(folded, among, n=1, cutoff=0.6)
    return f'did you mean "{by_fold[near[0]]}"?' if near else None
