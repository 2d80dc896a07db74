"""The positions of keys and values of a TOML document."""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconquest_rules.rules.positions import Path, Positions, Span

RULES = """\
# What is exported, and where to
[index]
sql = "dicom.sql"  # = [not.a.header]

[copy.export]
from = ['pacs', "disk"]
to   = "{{ PatientID }}/{{ Modality }}/{{ SOPInstanceUID }}.dcm"
when.modality = { is = "CT", not = ["RTPLAN", "RTDOSE"] }
query = '''
  select SeriesInstanceUID
  from series where Modality = 'CT'
'''

[[schema.image]]
tag = "BeamDose"

[[ schema . "image" ]]
tag = 300
since = 2026-03-01 12:30:00

[schema.image.more]
deep = true
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("index",), (2, 2, 5), (2, 2, 5)),
        (("index", "sql"), (3, 1, 3), (3, 7, 11)),
        (("copy",), (5, 2, 4), (5, 2, 4)),
        (("copy", "export"), (5, 7, 6), (5, 7, 6)),
        (("copy", "export", "from"), (6, 1, 4), (6, 8, 16)),
        (("copy", "export", "from", 1), (6, 1, 4), (6, 17, 6)),
        (("copy", "export", "when"), (8, 1, 4), (8, 1, 4)),
        (("copy", "export", "when", "modality"), (8, 6, 8), (8, 17, 41)),
        (("copy", "export", "when", "modality", "is"), (8, 19, 2), (8, 24, 4)),
        (("copy", "export", "when", "modality", "not", 1), (8, 30, 3), (8, 47, 8)),
        (("copy", "export", "query"), (9, 1, 5), (9, 9, 3)),
        (("schema",), (14, 3, 6), (14, 3, 6)),
        (("schema", "image"), (14, 10, 5), (14, 10, 5)),
        (("schema", "image", 0), (14, 10, 5), (14, 10, 5)),
        (("schema", "image", 0, "tag"), (15, 1, 3), (15, 7, 10)),
        (("schema", "image", 1), (17, 13, 7), (17, 13, 7)),
        (("schema", "image", 1, "tag"), (18, 1, 3), (18, 7, 3)),
        (("schema", "image", 1, "since"), (19, 1, 5), (19, 9, 19)),
        (("schema", "image", 1, "more", "deep"), (22, 1, 4), (22, 8, 4)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=repr)
def test_rules_file(line_end: str, path: Path, key: tuple[int, int, int], value: tuple[int, int, int]) -> None:
    positions = Positions(RULES.replace("\n", line_end))
    assert positions.key(path) == Span(*key)
    assert positions.value(path) == Span(*value)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), Span(1, 1, 1)),
        (("copie", "export"), Span(1, 1, 1)),
        (("copy", "export", "too"), Span(5, 7, 6)),
        (("copy", "export", "to", "much"), Span(7, 1, 2)),
        (("copy", "export", "from", 2), Span(6, 1, 4)),
        (("copy", "export", "when", "modality", "has"), Span(8, 6, 8)),
        (("schema", "image", 0, "more"), Span(14, 10, 5)),
        (("schema", "image", 2), Span(14, 10, 5)),
        (("schema", "image", 1, "more", 0), Span(21, 15, 4)),
    ],
    ids=repr,
)
def test_a_missing_key_has_the_position_of_its_nearest_parent(path: Path, place: Span) -> None:
    positions = Positions(RULES)
    assert (positions.key(path), positions.value(path), positions.within(path, "image")) == (place, place, place)


@pytest.mark.parametrize(
    ("literal", "length"),
    [
        ("+1_000", 6),
        ("-inf # nan", 4),
        ("1.5e-3 ", 6),
        ("2026-03-01", 10),
        ("2026-03-01 # 12:00:00", 10),
        ("2026-03-01 12:30:00.5+01:00 # noon", 27),
        ("2026-03-01T12:30:00Z", 20),
        ("12:30:00", 8),
        ('""', 2),
        ("''  ", 2),
        ('""""""', 6),
        ("''''''", 6),
        (r'"\"#\\"  # "', 7),
        (r"'C:\' # '", 5),
        ('"""two quotes at the end"""""', 29),
        ("'''\"\"\"it's two''''' # '''", 19),
        (r'"""\"" and \\""" # """', 16),
        ('"""\nlong\n"""', 3),
        ("'''long\nlonger'''", 7),
        ('[ "]", # "]"\n 2 ]', 12),
        ("[[], [ ],]", 10),
        ("{}", 2),
        ("{ 'a}' . b = 1, c = [{ d = '}' }] }", 35),
        ("{ # TOML 1.1\n a = 1,\n}", 12),
        ('"\\x41\\e" # TOML 1.1', 8),
    ],
    ids=repr,
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=repr)
def test_every_kind_of_value(line_end: str, literal: str, length: int) -> None:
    positions = Positions(f"é = {literal}\n[next]\nb = 1\n".replace("\n", line_end))
    assert positions.value(("é",)) == Span(1, 5, length)
    after = 2 + literal.count("\n")
    assert positions.key(("next",)) == Span(after, 2, 4)
    assert positions.value(("next", "b")) == Span(after + 1, 5, 1)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("bare-key_1", "bare-key_1"),
        ("1979-05-27", "1979-05-27"),
        ('""', ""),
        ("''", ""),
        (r'"\u00e9\"]="', 'é"]='),
        (r"'\u00e9\'", r"\u00e9" + "\\"),
        ('"a.b # 😀"', "a.b # 😀"),
    ],
)
def test_every_kind_of_key(written: str, name: str) -> None:
    positions = Positions(f"[ x\t.{written} ]\n{written}.x = {{ {written} . {written}= 1 }}")
    assert positions.key(("x", name)) == Span(1, 6, len(written))
    assert positions.key(("x", name, name)) == Span(2, 1, len(written))
    assert positions.key(("x", name, name, "x", name)) == Span(2, len(written) + 8, len(written))
    assert positions.key(("x", name, name, "x", name, name)) == Span(2, 2 * len(written) + 11, len(written))


def test_a_table_has_the_position_where_it_first_occurs() -> None:
    positions = Positions("[a.b.c]\n[a]\nb.d = 1\n")
    assert positions.key(("a",)) == Span(1, 2, 1)
    assert positions.key(("a", "b")) == Span(1, 4, 1)
    assert positions.key(("a", "b", "d")) == Span(3, 3, 1)


def test_a_header_extends_the_last_element_of_an_array() -> None:
    positions = Positions("[[a]]\n[[a.b]]\n[[a.b]]\nc.d = 1\n[[a]]\n[a.b.c]\n[[a.e]]\n[a.e.f]")
    assert positions.key(("a", 0, "b", 1, "c", "d")) == Span(4, 3, 1)
    assert positions.key(("a", 1, "b", "c")) == Span(6, 6, 1)
    assert positions.key(("a", 1, "e", 0)) == Span(7, 5, 1)
    assert positions.key(("a", 1, "e", 0, "f")) == Span(8, 6, 1)


@pytest.mark.parametrize(
    ("path", "fragment", "place"),
    [
        (("copy", "export", "to"), "Modality", Span(7, 28, 8)),
        (("copy", "export", "to"), "{{ Modality }}", Span(7, 25, 14)),
        (("copy", "export", "to"), "}}.dcm", Span(7, 58, 6)),
        (("copy", "export", "to"), "patientid", Span(7, 12, 9)),
        (("copy", "export", "to"), "InstanceUID", Span(7, 8, 57)),
        (("copy", "export", "to"), '"', Span(7, 8, 57)),
        (("copy", "export", "to"), "", Span(7, 8, 57)),
        (("copy", "export", "query"), "series", Span(11, 8, 6)),
        (("copy", "export", "query"), "'CT'", Span(11, 32, 4)),
        (("copy", "export", "query"), "SeriesInstanceUID\n  from", Span(10, 10, 17)),
        (("copy", "export", "from", 1), "disk", Span(6, 18, 4)),
        (("copy", "export", "from"), "disk", Span(6, 8, 16)),
        (("copy", "export"), "export", Span(5, 7, 6)),
        (("schema", "image"), "image", Span(14, 10, 5)),
        (("schema", "image", 1), "mage", Span(17, 13, 7)),
        (("schema", "image", 1, "tag"), "300", Span(18, 7, 3)),
    ],
    ids=repr,
)
def test_a_word_within_a_string(path: Path, fragment: str, place: Span) -> None:
    assert Positions(RULES).within(path, fragment) == place


@pytest.mark.parametrize(
    ("literal", "fragment", "place"),
    [
        ('"tag Tag tags"', "Tag", Span(1, 10, 3)),
        ('"tags TAG"', "tag", Span(1, 11, 3)),
        (r'"\tag ag"', "ag", Span(1, 8, 2)),
        (r'"\tag"', "tag", Span(1, 5, 6)),
        (r"'\tag'", "tag", Span(1, 7, 3)),
        (r'"\t a"', " ", Span(1, 8, 1)),
        (r'"\\tag"', "tag", Span(1, 8, 3)),
        (r'"\"tag\" is"', "tag", Span(1, 8, 3)),
        (r'"\u00e9tude tude"', "tude", Span(1, 17, 4)),
        (r'"\U0001f600"', "U0001f600", Span(1, 5, 12)),
        (r'"caf\u00e9"', "café", Span(1, 5, 11)),
        (r'"$1.00 (a|b)*"', "(a|b)*", Span(1, 12, 6)),
        ('"""a"""', "a", Span(1, 8, 1)),
        ('"""\\\n  a\n""b"""""', "b", Span(3, 3, 1)),
    ],
    ids=repr,
)
def test_a_word_is_searched_in_the_content_of_the_string(literal: str, fragment: str, place: Span) -> None:
    assert Positions(f"a = {literal}").within(("a",), fragment) == place


def test_lines() -> None:
    positions = Positions("# a\x85b\u2028c\r\n\r\n'''\n''' = 1")
    assert [positions.line(number) for number in range(6)] == ["", "# a\x85b\u2028c", "", "'''", "''' = 1", ""]


def test_arrays_deeper_than_the_stack_of_python() -> None:
    positions = Positions("a = " + "[" * 5000 + "1" + "]" * 5000)
    assert positions.value(("a", *[0] * 4999)) == Span(1, 5004, 3)


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        ("", "[[a]]\n[a.b]\n", ""),
        ("a = [", " \n#\n", "]"),
        ('a = """', '""\\"', '"""'),
        ("a = [", "[{ b = 1 }],", "]"),
        ("a", ".a", "=1"),
    ],
)
def test_time_is_linear(before: str, unit: str, after: str) -> None:
    Positions(before + unit * (500_000 // len(unit)) + after)  # would take an hour if each unit looked at all others


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="a1.=[]{}\"'\\u#, \t\r\n\x00é"))
def test_any_text_is_read_to_its_end(text: str) -> None:
    Positions(text).within(("a",), "a")


# The rest writes a tree of names and literals as a document with random quotes, spaces, comments and kinds of tables. The
# writer records the position of each part.

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
Table: TypeAlias = dict[str, Tree]
Place: TypeAlias = tuple[int, str]  # an offset, and the text there

SCALARS = ["0", "+1_0", "0xfF", "-1.5e+3", "inf", "-nan", "true", "false", "12:30:00", "2026-03-01", "2026-03-01T12:30:00.25Z"]
SPACES = ("", " ", "\t ")
GAPS = (*SPACES, "\n", " # ]}\"'\n", '\n\n#"""\n#\n\t')
LINE_ENDS = ("\n", "  # = [a]\n", "\n\n \t\n")


def one_line(text: str) -> Iterator[str]:
    """Yield the literals of `text` on one line."""
    yield json.dumps(text, ensure_ascii=False)
    if not re.search(r"['\n\x07]", text):
        yield f"'{text}'"


def several_lines(text: str) -> Iterator[str]:
    """Yield the literals of `text` that may have several lines."""
    body = re.sub(r'\\([n"])|(\\.)', lambda m: m[2] or m[1].replace("n", "\n"), json.dumps(text, ensure_ascii=False)[1:-1])
    yield '"""\n' + body.replace('"""', r'""\"') + '"""'
    if not re.search(r"'''|\x07", text):
        yield f"'''\n{text}'''"


def tables(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Table]:
    return st.dictionaries(st.text(alphabet="ab1_-.é\"'\\ #]=\n", max_size=4), trees, max_size=4)


strings = st.text(alphabet="ab \"'\\\n#=[]{},é😀\u2028\x07", max_size=8).flatmap(
    lambda text: st.sampled_from([*one_line(text), *several_lines(text)])
)
documents = tables(
    st.recursive(
        st.sampled_from([*SCALARS, "2026-03-01 12:30:00"]) | strings,
        lambda trees: st.lists(trees, max_size=3) | tables(trees) | st.lists(tables(trees), min_size=1, max_size=3),
        max_leaves=12,
    )
)


class Writer:
    """Writes a document as `text`. `keys` and `values` have the position of each path."""

    def __init__(self, document: Table, data: st.DataObject) -> None:
        self.data = data
        self.line_end = self.choose("\n", "\r\n")
        self.text = ""
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.table(document, (), [])

    def choose(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def put(self, text: str) -> Place:
        start = len(self.text)
        self.text += text.replace("\n", self.line_end)
        return start, self.text[start:]

    def table(self, table: Table, path: Path, header: list[Path]) -> None:
        """Write a table: its entries, and after or before them the tables that have their own headers."""
        is_element = bool(path) and isinstance(path[-1], int)
        inner = {name: tree for name, tree in table.items() if is_table_like(tree) and self.choose(True, False)}
        entries = {name: tree for name, tree in table.items() if name not in inner}
        inner_first = bool(path) and not is_element and self.choose(True, False)
        if inner_first:
            self.inner_tables(inner, path, header)
        if path and (is_element or entries or not inner or self.choose(True, False)):
            self.header(path, header)
        for parts, tree in self.flat(entries, path, []):
            self.put(self.choose(*SPACES))
            self.entry(parts, tree)
            self.put(self.choose(*LINE_ENDS))
        if not inner_first:
            self.inner_tables(inner, path, header)

    def inner_tables(self, tables: Table, path: Path, header: list[Path]) -> None:
        for name, tree in tables.items():
            here = (*path, name)
            if isinstance(tree, dict):
                self.table(tree, here, [*header, here])
            for index, element in enumerate(tree if isinstance(tree, list) else []):
                assert isinstance(element, dict)
                self.table(element, (*here, index), [*header, here])

    def header(self, path: Path, header: list[Path]) -> None:
        is_element = path != header[-1]
        self.put(self.choose(*SPACES) + ("[[" if is_element else "[") + self.choose(*SPACES))
        self.keys.setdefault(path, self.dotted(header))
        self.put(self.choose(*SPACES) + ("]]" if is_element else "]") + self.choose(*LINE_ENDS))

    def dotted(self, parts: list[Path]) -> Place:
        """Write a dotted key, and return the position of its last part."""
        place = 0, ""
        for number, path in enumerate(parts):
            self.put(self.choose(*SPACES) + "." + self.choose(*SPACES) if number else "")
            name = str(path[-1])
            bare = [name] if re.fullmatch("[A-Za-z0-9_-]+", name) else []
            place = self.put(self.choose(*bare, *one_line(name)))
            self.keys.setdefault(path, place)
        return place

    def flat(self, table: Table, path: Path, parts: list[Path]) -> Iterator[tuple[list[Path], Tree]]:
        """Write the entries of a table; some tables in it are written as dotted keys."""
        for name, tree in table.items():
            here = (*path, name)
            if isinstance(tree, dict) and tree and self.choose(True, False):
                yield from self.flat(tree, here, [*parts, here])
            else:
                yield [*parts, here], tree

    def entry(self, parts: list[Path], tree: Tree) -> None:
        self.dotted(parts)
        self.put(self.choose(*SPACES) + "=" + self.choose(*SPACES))
        self.value(parts[-1], tree)

    def value(self, path: Path, tree: Tree) -> None:
        start = len(self.text)
        if isinstance(tree, str):
            self.put(tree)
        elif isinstance(tree, list):
            self.array(path, tree)
        else:
            self.inline_table(path, tree)
        self.values[path] = start, self.text[start:]

    def array(self, path: Path, array: list[Tree]) -> None:
        self.put("[" + self.choose(*GAPS))
        for index, tree in enumerate(array):
            self.put("," + self.choose(*GAPS) if index else "")
            self.keys[*path, index] = self.keys[path]
            self.value((*path, index), tree)
            self.put(self.choose(*GAPS))
        self.put(self.choose("]", ",]", ", # ]\n]") if array else "]")

    def inline_table(self, path: Path, table: Table) -> None:
        self.put("{" + self.choose(*SPACES))
        for number, (parts, tree) in enumerate(self.flat(table, path, [])):
            self.put("," + self.choose(*SPACES) if number else "")
            self.entry(parts, tree)
            self.put(self.choose(*SPACES))
        self.put("}")


def is_table_like(tree: Tree) -> bool:
    """Return whether a header can introduce a value: a table or an array of tables."""
    return isinstance(tree, dict) or (isinstance(tree, list) and bool(tree) and all(isinstance(item, dict) for item in tree))


def paths(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every path of a document as tomli parsed it, with its value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        yield (*path, part), child
        yield from paths(child, (*path, part))


def span(text: str, place: Place) -> Span:
    offset, written = place
    line_start = text.rfind("\n", 0, offset) + 1
    return Span(text.count("\n", 0, offset) + 1, offset - line_start + 1, len(re.split(r"\r?\n", written)[0]))


@settings(max_examples=300, deadline=None)
@given(documents, st.data())
def test_every_position_of_any_document(document: Table, data: st.DataObject) -> None:
    writer = Writer(document, data)
    positions = Positions(writer.text)
    found = dict(paths(tomli.loads(writer.text)))
    assert found.keys() == writer.keys.keys()
    for path, value in found.items():
        key = positions.key(path)
        assert key == span(writer.text, writer.keys[path])
        assert positions.value(path) == span(writer.text, writer.values.get(path, writer.keys[path]))
        if isinstance(path[-1], str):
            written = positions.line(key.line)[key.column - 1 :][: key.length]
            assert tomli.loads(f"{written} = 1") == {path[-1]: 1}
        if path in writer.values:
            assert repr(tomli.loads(f"a = {writer.values[path][1]}")["a"]) == repr(value)
