"""Conquest's `dicom.sql`: which element becomes which column of which table.

The grammar is that of the server's parser (measured on Conquest 1.5.0e), with one addition for files that were written for
pyconquest: a line that begins with `#` is a comment. Text that the server accepts, but that makes it crash, overrun a
buffer or fail to create tables, is an error here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pyconquest_rules.dicom import Level, TagPath, tags
from pyconquest_rules.errors import Problem, RulesError, did_you_mean


class SQLType(StrEnum):
    """The SQL type of a column in Conquest's tables: text, or a date of eight digits."""

    CHAR = "SQL_C_CHAR"
    DATE = "SQL_C_DATE"


class DICOMType(StrEnum):
    """How Conquest reads the value of an element."""

    STR = "DT_STR"
    MSTR = "DT_MSTR"
    ISTR = "DT_ISTR"
    DATE = "DT_DATE"
    TIME = "DT_TIME"
    UINT16 = "DT_UINT16"
    UINT32 = "DT_UINT32"
    UI = "DT_UI"
    FL = "DT_FL"
    FD = "DT_FD"
    STARTSEQUENCE = "DT_STARTSEQUENCE"
    ENDSEQUENCE = "DT_ENDSEQUENCE"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the element with its value, its name as written, its length in bytes and its types."""

    tag: TagPath
    name: str
    length: int
    sql_type: SQLType
    dicom_type: DICOMType

    @property
    def column(self) -> str:
        """The name of the column in the Conquest table: the first ten letters."""
        return self.name[:10]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table layout: the columns of each table, key first, link to the level above last. `worklist` may be empty."""

    patient: tuple[Column, ...]
    study: tuple[Column, ...]
    series: tuple[Column, ...]
    image: tuple[Column, ...]
    worklist: tuple[Column, ...] = ()

    def level(self, level: Level) -> tuple[Column, ...]:
        """Return the columns of the table of a Query/Retrieve level."""
        match level:
            case Level.PATIENT:
                return self.patient
            case Level.STUDY:
                return self.study
            case Level.SERIES:
                return self.series
            case Level.IMAGE:
                return self.image


def parse(text: str, file: str = "dicom.sql") -> Layout:
    """Return the table layout that the text of a `dicom.sql` describes. `file` is its name in errors.

    Rows of START- and ENDSEQUENCE make no column. HL7 fields are ignored. Raises RulesError with the first error of grammar,
    or else with all missing sections, names that are equal in their first ten letters, and misplaced keys and links.
    """
    source = _Source(file, text)
    sections = _Reader(source).sections()
    problems = list(_problems(source, sections))
    if problems:
        raise RulesError(problems)
    columns = {title: tuple(row.column for row in rows) for title, rows in sections.items()}
    return Layout(*(columns.get(title, ()) for title in SECTIONS))


def is_dicom_sql(text: str) -> bool:
    """Return whether a text begins like a `dicom.sql`, with a section. The rest may be invalid."""
    return next((token.text in SECTIONS for token in _Source("", text).tokens() if not _is_comment(token.text)), False)


def standard_text() -> str:
    """Return the text of the standard table layout in the package. Raises FileNotFoundError if the installation is broken."""
    packaged = files("pyconquest_rules") / "dicom.sql"
    # In a checkout the file is in the top folder, where users look for it. Only a wheel has it inside the package.
    return (packaged if packaged.is_file() else Path(__file__).parents[3] / "dicom.sql").read_text(encoding="utf-8")


TITLES = {Level.PATIENT: "*Patient*", Level.STUDY: "*Study*", Level.SERIES: "*Series*", Level.IMAGE: "*Image*"}
WORKLIST = "*WorkList*"
SECTIONS = [*TITLES.values(), WORKLIST]
# A second column with one of these names would make the server's CREATE TABLE fail.
SERVER_COLUMNS = ("AccessTime", "qTimeStamp", "qFlags", "qSpare")
IMAGE_SERVER_COLUMNS = (*SERVER_COLUMNS, "ObjectFile", "DeviceName")

TOKEN = re.compile(
    r"""(?P<blank>\s+|^\#[^\n]*)|(?P<token>/\*.*?\*/|/\*|//|\*\w+\*|"[^"\n]*"|[\w.]+|.)""",
    re.DOTALL | re.MULTILINE | re.ASCII,
)
NUMBER = re.compile(r"0[xX]0*(?P<hex>[0-9A-Fa-f]{1,4})|0*(?P<decimal>[0-9]{1,5})")
# The server copies names and HL7 fields into buffers of 32 bytes without checking their length.
QUOTED = re.compile(r'"[!-~]{1,31}"')
IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
ROW = 'a row is { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR }'
WORKLIST_ROW = 'a row of *WorkList* is { 0x0008, 0x0050, "AccessionNumber", 16, SQL_C_CHAR, DT_STR, "OBR.3" }'


class _Kind(StrEnum):
    """What the grammar expects, in the words of a message."""

    SECTION = "a section"
    OPEN = '"{"'
    COMMA = '","'
    CLOSE = '"}"'
    NUMBER = "a number from 0 to 0xFFFF"
    QUOTED = "1 to 31 letters in quotes, without a space"
    SQL = "an SQL type"
    DICOM = "a DICOM type"


WORDS: Mapping[_Kind, Sequence[str]] = {_Kind.SECTION: SECTIONS, _Kind.SQL: list(SQLType), _Kind.DICOM: list(DICOMType)}
# The group comes before these, the HL7 field of the worklist after them.
FIELDS = (_Kind.NUMBER, _Kind.QUOTED, _Kind.NUMBER, _Kind.SQL, _Kind.DICOM)


class _Token(NamedTuple):
    text: str
    start: int


class _Row(NamedTuple):
    column: Column
    name: _Token


@dataclass(frozen=True, slots=True)
class _Source:
    file: str
    text: str

    def tokens(self) -> Iterator[_Token]:
        yield from (_Token(found[0], found.start()) for found in TOKEN.finditer(self.text) if found["token"])
        yield self.end()

    def end(self) -> _Token:
        return _Token("", len(self.text.rstrip()))

    def line(self, token: _Token) -> int:
        return self.text.count("\n", 0, token.start) + 1

    def problem(self, token: _Token, message: str, hint: str) -> Problem:
        begin = self.text.rfind("\n", 0, token.start) + 1
        source_line = self.text[begin:].partition("\n")[0].rstrip("\r")
        return Problem(self.file, self.line(token), token.start - begin + 1, max(1, len(token.text)), message, hint, source_line)


class _Reader:
    """Reads one token after another. Raises RulesError at the first unexpected one."""

    def __init__(self, source: _Source) -> None:
        self.source, self.tokens = source, source.tokens()
        self.token = next(self.tokens)

    def sections(self) -> dict[str, list[_Row]]:
        found: dict[str, list[_Row]] = {}
        while self.token.text:
            if _is_comment(self.token.text):
                self.token = next(self.tokens)
                continue
            title = self.take(_Kind.SECTION, "").text
            found.setdefault(title, []).extend(self.rows(title == WORKLIST))
        return found

    def rows(self, worklist: bool) -> Iterator[_Row]:
        form = WORKLIST_ROW if worklist else ROW
        self.take(_Kind.OPEN, form)
        while self.token.text == "{":
            row = self.row(worklist, form)
            # The server makes no columns for these two either.
            if row.column.dicom_type not in (DICOMType.STARTSEQUENCE, DICOMType.ENDSEQUENCE):
                yield self.checked(row)
            if self.token.text == ",":
                self.take(_Kind.COMMA, form)
        self.take(_Kind.CLOSE, form)

    def row(self, worklist: bool, form: str) -> _Row:
        self.take(_Kind.OPEN, form)
        fields = [self.take(_Kind.NUMBER, form)]
        for kind in (*FIELDS, _Kind.QUOTED) if worklist else FIELDS:
            self.take(_Kind.COMMA, form)
            fields.append(self.take(kind, form))
        self.take(_Kind.CLOSE, form)
        group, element, name, length, sql_type, dicom_type = fields[:6]
        tag, types = _number(group.text) << 16 | _number(element.text), (SQLType(sql_type.text), DICOMType(dicom_type.text))
        return _Row(Column(TagPath((), tag), name.text[1:-1], _number(length.text), *types), name)

    def checked(self, row: _Row) -> _Row:
        if not IDENTIFIER.fullmatch(row.column.name):
            raise self.error(row.name, f"{row.name.text} cannot be the name of a column", "use letters, digits and _")
        if row.column.tag.tag & 0xFFFF == 0:
            raise self.error(row.name, "Conquest takes element 0 for the end of the section", "remove this row")
        return row

    def take(self, kind: _Kind, form: str) -> _Token:
        token = self.token
        if not _fits(token.text, kind):
            raise self.error(token, f"expected {kind}, found {_shown(token.text)}", _hint(token.text, kind) or form)
        self.token = next(self.tokens)
        return token

    def error(self, token: _Token, message: str, hint: str) -> RulesError:
        return RulesError([self.source.problem(token, message, hint)])


def _number(text: str) -> int:
    match = NUMBER.fullmatch(text)
    return int(match["hex"] or match["decimal"], 16 if match["hex"] else 10) if match else -1


def _fits(text: str, kind: _Kind) -> bool:
    match kind:
        case _Kind.OPEN | _Kind.COMMA | _Kind.CLOSE:
            return f'"{text}"' == kind
        case _Kind.NUMBER:
            return 0 <= _number(text) <= 0xFFFF
        case _Kind.QUOTED:
            return QUOTED.fullmatch(text) is not None
        case _Kind.SECTION | _Kind.SQL | _Kind.DICOM:
            return text in WORDS[kind]


def _shown(text: str) -> str:
    line = text.partition("\n")[0].rstrip()
    return line if line.startswith('"') else f'"{line}"' if line else "the end of the file"


def _hint(text: str, kind: _Kind) -> str | None:
    if text == "/*":
        return "this comment is never closed: end it with */"
    if _is_comment(text) or text in ("//", "#"):
        return "write comments as /* … */, between sections"
    if kind in WORDS:
        return did_you_mean(text, WORDS[kind]) or f"use one of: {', '.join(WORDS[kind])}"
    return f'write "{text}"' if kind is _Kind.QUOTED and IDENTIFIER.match(text) else None


def _is_comment(text: str) -> bool:
    return text.startswith("/*") and text.endswith("*/")


def _problems(source: _Source, sections: Mapping[str, Sequence[_Row]]) -> Iterator[Problem]:
    for level, above in zip(Level, [None, *Level], strict=False):
        title, rows = TITLES[level], sections.get(TITLES[level])
        if not rows:
            yield source.problem(source.end(), f"section {title} is missing or empty", f"its first row must be {level.key}")
            continue
        if not _holds(rows[0], level):
            yield source.problem(rows[0].name, f"{title} must begin with {level.key}", "the first column is the key of the table")
        if above and not _holds(rows[-1], above):
            hint = f"the last column is the link to {TITLES[above]}"
            yield source.problem(rows[-1].name, f"{title} must end with {above.key}", hint)
    for title, rows in sections.items():
        yield from _alike(source, rows, IMAGE_SERVER_COLUMNS if title == TITLES[Level.IMAGE] else SERVER_COLUMNS)


def _holds(row: _Row, level: Level) -> bool:
    return row.column.tag.tag == tags()[level.key]


def _alike(source: _Source, rows: Iterable[_Row], server: Iterable[str]) -> Iterator[Problem]:
    taken = {name.casefold(): f"the column {name} that the server adds" for name in server}
    for row in rows:
        # SQLite compares the names of columns without case.
        short = row.column.column.casefold()
        if short in taken:
            message = f"{row.name.text} has the same first 10 letters as {taken[short]}"
            yield source.problem(row.name, message, "choose a name that differs in its first 10 letters")
        taken.setdefault(short, f"{row.name.text} of line {source.line(row.name)}")
