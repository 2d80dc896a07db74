"""Text for people on a stream: coloured on a terminal, plain where it goes anywhere else; and tables of it."""

import os
from collections.abc import Iterator, Sequence
from typing import TextIO
from unicodedata import combining, east_asian_width

# Select Graphic Rendition (ECMA-48 8.3.117)
CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}

Part = str | tuple[str, str]
"""A text, or a text and its style: one of CODES, or more of them with a blank between."""


class Terminal:
    """A stream that text is written to. `is_terminal` says whether people look at it as it comes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_terminal = stream, stream.isatty()
        self._coloured = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def print(self, *parts: Part) -> None:
        """One line, or more, of its parts."""
        self.stream.write("".join(map(self._styled, parts)) + "\n")

    def _styled(self, part: Part) -> str:
        text, style = (part, "") if isinstance(part, str) else part
        if not (style and self._coloured):
            return text
        return f"\x1b[{';'.join(str(CODES[word]) for word in style.split())}m{text}\x1b[0m"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[tuple[Part, ...]]:
    """The lines of a table, the names of its columns first; each column is as wide as the widest of its cells."""
    widths = [max(map(_width, column)) for column in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()

    yield ((line(columns), "bold"),)
    for row in rows:
        yield (line(row),)


def printable(text: str, but: str = "") -> str:
    """Text that does nothing to a terminal: control characters and what is no text are shown as escapes, `but` for some."""
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, columns: int) -> str:
    """A text of at most so many columns: what is cut out of its middle is shown as one letter."""
    if _width(text) <= columns:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while _width(head) + _width(tail) + 1 > max(columns, 3):
        head, tail = (head[:-1], tail) if _width(head) > _width(tail) else (head, tail[1:])
    return f"{head}…{tail}"


def _width(text: str) -> int:
    """How many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
