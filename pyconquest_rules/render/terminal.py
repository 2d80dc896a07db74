"""Text on a stream, colored on a terminal and plain elsewhere; and tables of text."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TextIO
from unicodedata import combining, east_asian_width

# Select Graphic Rendition (ECMA-48 8.3.117)
CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}

Part = str | tuple[str, str]
"""A text, or a text and its style: one or more of CODES, separated by spaces."""


class Terminal:
    """A stream of text. `is_terminal`: whether it is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_terminal = stream, stream.isatty()
        self._coloured = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def print(self, *parts: Part) -> None:
        """Print the parts as one line or more."""
        self.stream.write("".join(map(self._styled, parts)) + "\n")

    def _styled(self, part: Part) -> str:
        text, style = (part, "") if isinstance(part, str) else part
        if not (style and self._coloured):
            return text
        return f"\x1b[{';'.join(str(CODES[word]) for word in style.split())}m{text}\x1b[0m"


MEASURED = 1000
"""The number of rows that are kept in memory to find the widths of the columns."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[tuple[Part, ...]]:
    """Yield the lines of a table, beginning with the names of the columns.

    Each column is as wide as its widest cell in the first MEASURED rows. A wider cell moves the rest of its line.
    """
    rest = iter(rows)
    first = list(islice(rest, MEASURED))
    widths = [max(map(width, column)) for column in zip(columns, *first, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(cells, widths, strict=True)).rstrip()

    yield ((line(columns), "bold"),)
    for row in chain(first, rest):
        yield (line(row),)


WIDEST_NAME = 24


def folded(names: Sequence[str], texts: Iterable[Sequence[str]], room: int) -> Iterator[tuple[Part, ...]]:
    """Yield the lines of a list: each name, and its texts beside it on as many lines of `room` columns as needed."""
    indent = min(max(map(width, names), default=0), WIDEST_NAME) + 2
    for name, parts in zip(names, texts, strict=True):
        lines, line = list[str](), ""
        for text in parts:
            if line and indent + width(f"{line}, {text}") >= room:
                lines, line = [*lines, f"{line},"], text
            else:
                line = f"{line}, {text}" if line else text
        lines.append(line)
        beside = width(name) + 2 <= indent
        yield ((name, "bold"), *([" " * (indent - width(name)) + lines[0]] if beside else []))
        yield from ((" " * indent + line,) for line in lines[beside:])


def text_of(part: Part) -> str:
    """Return the text of a part without its style."""
    return part if isinstance(part, str) else part[0]


def printable(text: str, but: str = "") -> str:
    """Return text that is safe to print: control characters and invalid text become escapes, except those in `but`."""
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


def cell(value: object) -> str:
    """Return a value of a row for a table: printable, and "" for None."""
    return "" if value is None else printable(str(value))


def shortened(text: str, columns: int) -> str:
    """Shorten a text to at most so many columns: `…` replaces its middle."""
    if width(text) <= columns:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while width(head) + width(tail) + 1 > max(columns, 3):
        head, tail = (head[:-1], tail) if width(head) > width(tail) else (head, tail[1:])
    return f"{head}…{tail}"


def width(text: str) -> int:
    """Return the width of a text on a terminal, in columns (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
