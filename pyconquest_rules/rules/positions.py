"""The positions of the keys and values of a TOML document in its text.

tomli returns values without positions, so this module reads the same text again, only for the positions. It does not
validate: it also reads a text that tomli rejects to its end, but the positions are then meaningless.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import tomli

Path = tuple[str | int, ...]
"""The path of a value: keys of tables, and indices of arrays and of arrays of tables: `("schema", "image", 0, "tag")`."""

Extent = tuple[int, int]
"""Two offsets in the text of a document: of the first character, and of the character after the last one."""


@dataclass(frozen=True, slots=True)
class Span:
    """A position of at least one character, on one line. `line` and `column` count characters from 1."""

    line: int
    column: int
    length: int


class Positions:
    """The positions of all keys and values of one document."""

    def __init__(self, source: str) -> None:
        self._source = source
        # Not splitlines(): in TOML only \n and \r\n end a line, and a string may contain U+2028.
        self._lines = source.split("\n")
        self._starts = list(accumulate((len(line) + 1 for line in self._lines), initial=0))
        self._root = _Reader(source).read()

    def key(self, path: Path) -> Span:
        """Return the position of the last key of `path`, with its quotes, where it first occurs: in a [header] or before a `=`.

        An element of an array, or a key that is not in the document, has the position of its nearest parent with a key, or
        else of the first character.
        """
        return self._span(self._node(path).key)

    def value(self, path: Path) -> Span:
        """Return the position of a value; of several lines, only the first. Without a value, return that of the key."""
        node = self._node(path)
        return self._span(node.value or node.key)

    def within(self, path: Path, fragment: str, nth: int = 1) -> Span:
        """Return the position of the `nth` `fragment` in the string at `path`, or else of the whole value.

        The fragment must not be part of a longer word. Case is ignored only if no occurrence has the same case. A fragment
        that is written with escapes is not found.
        """
        start, stop = self._node(path).value or (0, 0)
        content = _content(self._source[start:stop])
        found = [*_word(fragment).finditer(content)] or [*_word(fragment, re.IGNORECASE).finditer(content)]
        match = found[min(nth, len(found)) - 1] if found else None
        return self._span((start + match.start(), start + match.end())) if match and fragment else self.value(path)

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its line end; "" if the document has no such line."""
        return self._lines[number - 1].removesuffix("\r") if 1 <= number <= len(self._lines) else ""

    def _node(self, path: Path) -> "_Node":
        """Return the node at `path`; if it does not exist, an empty node with the key of its nearest parent."""
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
    """Return the content of a string literal, each character at the offset that it has in the literal; "" if it is not a string.

    NUL, which no document contains, replaces quotes and escapes, so that the word in `"\\tag"` is `ag`. A letter replaces a
    numbered escape, which usually stands for one: `"\\u00e9tude"` has no word `tude`.
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

# Every pattern matches any text, so that reading always ends: an open string ends with its line or with the text, and any
# character counts as a key. No pattern backtracks, so reading is linear. Groups repeat with `*` instead of `*+`, which
# matches too much in Python 3.11.0 to 3.11.4 (python/cpython#100061).
BASIC = r'"(?:[^"\\\n]++|\\.)*"?'
LITERAL = r"'[^'\n]*+'?"
# A dotted key without quotes and spaces, in one match: a file may consist of dots only.
PLAIN_PARTS = re.compile(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+(?=[ \t]*+[=\]])")
KEY = re.compile(rf"{BASIC}|{LITERAL}|[A-Za-z0-9_-]++|.?", re.DOTALL)
VALUE = re.compile(
    # Three quotes end a string of several lines. One or two more quotes just before them belong to its content.
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
    """A value and the position of its key. `value` is None for a table that a header or a dotted key created."""

    key: Extent
    value: Extent | None = None
    children: dict[str | int, "_Node"] = field(default_factory=dict)

    def child(self, part: str | int, key: Extent) -> "_Node":
        """Return the child with a name or index; if there is none, add one with that key."""
        if part not in self.children:
            self.children[part] = _Node(key)
        return self.children[part]

    def last(self) -> "_Node":
        """Return the last element of an array, which a header means by the name of the array; for a table, the table."""
        return self.children.get(len(self.children) - 1, self)


class _Reader:
    """Reads a document once, from its first character to its last.

    `_open` is the stack of open arrays and inline tables, with their offsets. tomli accepts 400 nested ones, too many for
    recursion.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._offset = 0
        self._root = self._table = _Node((0, 0))
        self._open: list[tuple[_Node, int]] = []

    def read(self) -> _Node:
        """Return the node of the whole document."""
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
        """Read the next part of an open array or inline table: a comma, its end, an element, or a key and its value."""
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
        """Yield the parts of a dotted key, with their positions."""
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
        """Match `pattern` at the current offset, move past the match, which may be empty, and return its extent."""
        start = self._offset
        if match := pattern.match(self._source, start):
            self._offset = match.end()
        return start, self._offset


def _name(part: str) -> str:
    """Return the name that a part of a key stands for; an invalid part stands for itself."""
    if part[:1] not in QUOTES:
        return part
    try:
        return str(tomli.loads(f"name = {part}")["name"])
    except tomli.TOMLDecodeError:
        return part
