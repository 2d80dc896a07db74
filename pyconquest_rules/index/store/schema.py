"""The columns of an index: those of `dicom.sql`, and those that a rules file adds."""

import hashlib
import sqlite3
from dataclasses import dataclass

from pyconquest_rules.dicom import Level, TagPath, dictionary, keyword
from pyconquest_rules.index.conquest.dicom_sql import Column, DICOMType, Layout, SQLType
from pyconquest_rules.index.derived import rt

FORMAT = 5

TABLES = {Level.PATIENT: "DICOMPatients", Level.STUDY: "DICOMStudies", Level.SERIES: "DICOMSeries", Level.IMAGE: "DICOMImages"}

VIEWS = {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "images"}

LEVELS = tuple(Level)

PATIENT_ID = TagPath((), 0x00100020)

MODALITY = TagPath((), 0x00080060)

MODALITIES_IN_STUDY = TagPath((), 0x00080061)

BURNED_IN = TagPath((), 0x00280301)


NUMERIC_VR = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "US or SS"})

PYCONQUEST_COLUMNS = (*rt.COLUMNS, ("DatabaseTimeStamp", "real"), ("hash", "text"))

# The tag of pyconquest's column Referenced of a series in its table layout. The column has the series that an RTSTRUCT is for.
REFERENCED = TagPath((), 0x00081155)


@dataclass(frozen=True, slots=True)
class Addition:
    """A column that the rules file adds to a level: `[[schema.image]]`."""

    level: Level
    column: str
    tag: TagPath


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a level. `column` is its name in the Conquest table, `name` its name in the view."""

    column: str
    name: str
    tag: TagPath
    length: int
    sql_type: SQLType
    dicom_type: DICOMType

    @property
    def numeric(self) -> bool:
        """Whether the view has the value as a number: for IS, DS and the binary numbers (PS3.5 6.2)."""
        element = dictionary().get(self.tag.tag)
        return element is not None and element.VR in NUMERIC_VR

    @property
    def single(self) -> bool:
        """Whether the value multiplicity of the element is 1 (PS3.6)."""
        element = dictionary().get(self.tag.tag)
        return element is not None and element.VM == "1"


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of the four levels and of the worklist. The key comes first, the link to the level above last."""

    levels: tuple[tuple[Field, ...], ...]
    worklist: tuple[Column, ...]
    content_hash: bool = False

    def level(self, level: Level) -> tuple[Field, ...]:
        """Return the columns of one level."""
        return self.levels[LEVELS.index(level)]

    def key(self, level: Level) -> str:
        """Return the key column, of at most 10 letters, of a level's Conquest table."""
        return self.level(level)[0].column

    def patient_id(self, level: Level) -> str | None:
        """Return the quoted column of a level that has the PatientID; None if the table layout has none."""
        return next((quoted(field.column) for field in self.level(level) if field.tag == PATIENT_ID), None)

    def tags(self) -> tuple[TagPath, ...]:
        """Return every tag to read from a file, each once."""
        return tuple(dict.fromkeys(field.tag for level in LEVELS for field in self.level(level)))

    @property
    def fingerprint(self) -> str:
        """A digest of the schema. An index with another fingerprint has to be changed or rebuilt."""
        return hashlib.sha256(f"{FORMAT}\n{self!r}".encode()).hexdigest()


def schema(layout: Layout, additions: tuple[Addition, ...] = (), *, content_hash: bool = False) -> Schema:
    """Return the schema of a `dicom.sql`, with the columns that a rules file adds before the link to the level above."""

    def fields(level: Level) -> tuple[Field, ...]:
        stock = _named(layout.level(level))
        added = tuple(
            Field(a.column[:10], a.column, a.tag, 255, SQLType.CHAR, DICOMType.STR) for a in additions if a.level is level
        )
        return stock + added if level is Level.PATIENT else stock[:-1] + added + stock[-1:]

    return Schema(tuple(map(fields, LEVELS)), layout.worklist, content_hash)


def _named(columns: tuple[Column, ...]) -> tuple[Field, ...]:
    """Return columns named by their keyword. Of two columns for one tag, the view uses the first; both have the same value."""
    fields = []
    for column in columns:
        name = "ReferencedSeriesInstanceUID" if column.tag == REFERENCED else keyword(column.tag.tag) or column.name
        fields.append(Field(column.column, name, column.tag, column.length, column.sql_type, column.dicom_type))
    return tuple(fields)


def column_names(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of a table or view; none if it does not exist.

    It does not use the function `pragma_table_info`: after its first use, queries of the rules could call it too.
    """
    return [column[1] for column in connection.execute(f"PRAGMA table_info({quoted(table)})")]


def quoted(name: str) -> str:
    """Return a name in double quotes for SQL."""
    return '"' + name.replace('"', '""') + '"'
