"""Where the keys and values of a TOML document stand in its text.

tomli gives the values without their places, so this reads the same text again for the places alone. It leaves every
judgement to tomli: a text that tomli refuses is read to its end as well, but the places are then worth nothing.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import tomli

Path = tuple[str | int, ...]
"""The way to a value: keys of tables, indices of arrays and of arrays of tables. `("schema", "image", 0, "tag")`."""

Extent = tuple[int, int]
"""Offsets in the text of a document: of the first character, and of the one after the last."""


@dataclass(frozen=True, slots=True)
class Span:
    """A place of at least one character, on one line. `line` and `column` count characters from 1."""

    line: int
    column: int
    length: int


class Positions:
    """The places of all the keys and values of one document."""

    def __init__(self, source: str) -> None:
        self._source = source
        # Not splitlines(): TOML knows no other line end than \n and \r\n, and its strings may hold U+2028.
        self._lines = source.split("\n")
        self._starts = list(accumulate((len(line) + 1 for line in self._lines), initial=0))
        self._root = _Reader(source).read()

    def key(self, path: Path) -> Span:
        """The last key of `path` with its quotes, where it is first written: in a [header] or before a `=`.

        What has no key, as an element of an array or what is not in the document, is found at the key of its nearest
        parent that has one, else at the first character.
        """
        return self._span(self._node(path).key)

    def value(self, path: Path) -> Span:
        """The whole value, of several lines only the first. What has no value in the text is found at its key."""
        node = self._node(path)
        return self._span(node.value or node.key)

    def within(self, path: Path, fragment: str, nth: int = 1) -> Span:
        """The `nth` `fragment` in the string at `path` that is no part of a longer word, else `value(path)`.

        It is taken in another case only where it is nowhere in its own. Text written with an escape is not found.
        """
        start, stop = self._node(path).value or (0, 0)
        content = _content(self._source[start:stop])
        found = [*_word(fragment).finditer(content)] or [*_word(fragment, re.IGNORECASE).finditer(content)]
        match = found[min(nth, len(found)) - 1] if found else None
        return self._span((start + match.start(), start + match.end())) if match and fragment else self.value(path)

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its line end; empty if the document has no such line."""
        return self._lines[number - 1].removesuffix("\r") if 1 <= number <= len(self._lines) else ""

    def _node(self, path: Path) -> "_Node":
        """The node at `path`; for one that is not there, an empty node with the key of its nearest parent."""
        node = self._root
        for part in path:
            if part not in node.children:
                return _Node(node.key)
            node = node.children[part]
        return node

    def _span(self, extent: Extent) -> Span:
        start, stop = extent
        number = bisect_right(self._starts, start)
        line_start = self._starts[number - 1]
        line_stop = line_start + len(self.line(number))
        return Span(number, start - line_start + 1, max(1, min(stop, line_stop) - start))


def _word(fragment: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    before = r"(?<!\w)" if re.match(r"\w", fragment) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", fragment) else ""
    return re.compile(before + re.escape(fragment) + after, flags)


def _content(literal: str) -> str:
    """What a string literal says, each character at its place in the literal; empty if it is no string.

    Quotes and escapes are blanked with NUL, which no document holds, so that the word in `"\\tag"` is `ag`. A numbered
    escape is mostly a letter and blanked with one: `"\\u00e9tude"` shows no word `tude`.
    """
    quote = literal[:1]
    if quote not in QUOTES:
        return ""
    width = 3 if literal.startswith(quote * 3) else 1
    content = "\0" * width + literal[width : len(literal) - width]
    if quote == "'":
        return content
    return ESCAPE.sub(lambda escape: ("_" if escape[0][1] in "xuU" else "\0") * len(escape[0]), content)


QUOTES = ('"', "'")
ESCAPE = re.compile(r"\\(?:x.{2}|u.{4}|U.{8}|.)", re.DOTALL)

# No pattern fails, so that reading ends on any text: a string left open ends with its line or the text, and in place of
# a key any character will do. As none has to try again either, reading is linear. Groups repeat with `*` and not with
# `*+`, which takes too much in Python 3.11.0 to 3.11.4 (python/cpython#100061).
BASIC = r'"(?:[^"\\\n]++|\\.)*"?'
LITERAL = r"'[^'\n]*+'?"
# A key of parts without quotes and spaces, as nearly all are: a file may be nothing but dots.
PLAIN_PARTS = re.compile(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+(?=[ \t]*+[=\]])")
KEY = re.compile(rf"{BASIC}|{LITERAL}|[A-Za-z0-9_-]++|.?", re.DOTALL)
VALUE = re.compile(
    # Three quotes end a string of several lines; one or two more just before them are its text.
    r'"""(?:[^"\\]++|\\.|"(?!""))*"{0,5}'
    r"|'''(?:[^']++|'(?!''))*'{0,5}"
    rf"|{BASIC}|{LITERAL}"
    r"|[\[{]"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9:.Zz+-]*+"
    r"|[^ \t\r\n,\]}#]*+",
    re.DOTALL,
)
HEADER, HEADER_END = re.compile(r"\[{0,2}[ \t]*+"), re.compile(r"[ \t]*+\]{0,2}")
DOT = re.compile(r"(?:[ \t]*+\.[ \t]*+)?")
EQUALS = re.compile(r"[ \t]*+=?[ \t]*+")
GAP = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*")


@dataclass(slots=True)
class _Node:
    """A value with the place of its key. `value` is None for what a header or a dotted key made."""

    key: Extent
    value: Extent | None = None
    children: dict[str | int, "_Node"] = field(default_factory=dict)

    def child(self, part: str | int, key: Extent) -> "_Node":
        """The child of that name or index; if there is none, a new one with that key."""
        if part not in self.children:
            self.children[part] = _Node(key)
        return self.children[part]

    def last(self) -> "_Node":
        """The last element of an array, which is what a header means by the array's name; a table itself."""
        return self.children.get(len(self.children) - 1, self)


class _Reader:
    """Reads a document once, from its first character to its last.

    The arrays and inline tables that are open, and where they began, are on a stack of its own: tomli takes 400 of
    them in one another, too many for recursion.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._offset = 0
        self._root = self._table = _Node((0, 0))
        self._open: list[tuple[_Node, int]] = []

    def read(self) -> _Node:
        """The table of the whole document."""
        self._take(GAP)
        while self._offset < len(self._source):
            if self._open:
                self._inner(*self._open[-1])
            elif self._source[self._offset] == "[":
                self._header()
            else:
                self._entry(self._table)
            self._take(GAP)
        return self._root

    def _inner(self, container: _Node, start: int) -> None:
        """The next comma of an open array or inline table, its end, its next element or its next key."""
        character = self._source[self._offset]
        if character == ",":
            self._offset += 1
        elif character in "]}":
            self._offset += 1
            container.value = start, self._offset
            self._open.pop()
        elif self._source[start] == "[":
            self._value(container.child(len(container.children), container.key))
        else:
            self._entry(container)

    def _header(self) -> None:
        adds_element = self._source.startswith("[[", self._offset)
        self._take(HEADER)
        node, key = self._root, self._root.key
        for name, key in self._keys():
            node = node.last().child(name, key)
        self._table = node.child(len(node.children), key) if adds_element else node
        self._take(HEADER_END)

    def _entry(self, table: _Node) -> None:
        for name, key in self._keys():
            table = table.child(name, key)
        self._take(EQUALS)
        self._value(table)

    def _keys(self) -> Iterator[tuple[str, Extent]]:
        """The parts of a dotted key, with their places."""
        if plain := PLAIN_PARTS.match(self._source, self._offset):
            start, self._offset = self._offset, plain.end()
            for part in plain[0].split("."):
                yield part, (start, start + len(part))
                start += len(part) + 1
            return
        more = True
        while more:
            start, stop = self._take(KEY)
            yield _name(self._source[start:stop]), (start, stop)
            dot, after = self._take(DOT)
            more = after > dot

    def _value(self, node: _Node) -> None:
        start, stop = self._take(VALUE)
        if self._source[start:stop] in ("[", "{"):
            self._open.append((node, start))
        else:
            node.value = start, stop

    def _take(self, pattern: re.Pattern[str]) -> Extent:
        """Go past what `pattern` takes here, maybe nothing, and tell where that is."""
        start = self._offset
        if match := pattern.match(self._source, start):
            self._offset = match.end()
        return start, self._offset


def _name(part: str) -> str:
    """The name that a part of a key stands for; an unsound part stands for itself."""
    if part[:1] not in QUOTES:
        return part
    try:
        return str(tomli.loads(f"name = {part}")["name"])
    except tomli.TOMLDecodeError:
        return part
