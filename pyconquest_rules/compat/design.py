"""The columns of an index: those of a `dicom.sql`, and those of `add_column_to_database`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pyconquest_rules.dicom import Level, tag_path
from pyconquest_rules.errors import Mistake, UsageError
from pyconquest_rules.index.conquest.dicom_sql import IMAGE_SERVER_COLUMNS, parse, standard_text
from pyconquest_rules.index.store.schema import LEVELS, PYCONQUEST_COLUMNS, TABLES, Addition, Schema, schema

LEVEL_OF = {name.lower(): level for level, name in TABLES.items()}

Definition = Sequence[str | int]
"""A column as in pyconquest: group, element, name; for a nested element also item, group and element."""


@dataclass(frozen=True)
class Design:
    """A `dicom.sql`, its path, and the added columns."""

    dicom_sql: str
    file: str
    added: tuple[Addition, ...] = ()

    @classmethod
    def of(cls, file: str) -> "Design":
        """Read a `dicom.sql`, or the packaged one if the file is missing. Raises RulesError if it is invalid."""
        path = Path(file)
        there = path.is_file()
        text = path.read_text(encoding="utf-8", errors="replace") if there else standard_text()
        design = cls(text, file if there else "dicom.sql")
        parse(design.dicom_sql, design.file)
        return design

    @cached_property
    def schema(self) -> Schema:
        """Return the columns of the four levels. Added columns keep their full names, as in pyconquest."""
        made = schema(parse(self.dicom_sql, self.file), self.added)
        levels = (
            tuple(
                replace(field, column=field.name) if Addition(level, field.name, field.tag) in self.added else field
                for field in fields
            )
            for level, fields in zip(LEVELS, made.levels, strict=True)
        )
        return replace(made, levels=tuple(levels))

    def with_column(self, column: Addition) -> "Design":
        """Add a column, or replace an added one of that name. Raises UsageError if `dicom.sql` has that column."""
        others = tuple(a for a in self.added if (a.level, a.column.lower()) != (column.level, column.column.lower()))
        taken = {field.column.lower() for field in Design(self.dicom_sql, self.file).schema.level(column.level)}
        if column.level is Level.IMAGE:
            taken |= {name.lower() for name, _ in PYCONQUEST_COLUMNS}
        if column.column.lower() in taken | {name.lower() for name in IMAGE_SERVER_COLUMNS}:
            raise UsageError(f"{TABLES[column.level]} already has a column {column.column}")
        return replace(self, added=(*others, column))

    def to_json(self) -> str:
        """Return the text that the index stores."""
        added = [[column.level, column.column, str(column.tag)] for column in self.added]
        return json.dumps({"dicom_sql": self.dicom_sql, "file": self.file, "added": added})

    @classmethod
    def from_json(cls, text: str) -> "Design":
        """Read the text of `to_json`."""
        found = json.loads(text)
        added = tuple(Addition(Level(level), name, tag_path(tag)) for level, name, tag in found["added"])
        return cls(found["dicom_sql"], found["file"], added)


def column(table: str, definition: Definition) -> Addition:
    """Return the column of a definition, as `["0x300a", "0x0070", "Dose", 0, "0x300c", "0x0004", 0, "0x300a", "0x0084"]`.

    Raises UsageError if the table or the element is unknown.
    """
    level = LEVEL_OF.get(table.lower())
    if level is None:
        raise UsageError(f'unknown table "{table}"; tables are: {", ".join(TABLES.values())}')
    try:
        group, element, name, *nested = definition
        steps = [_tag(group, element)]
        for start in range(0, len(nested), 3):
            item, group, element = nested[start : start + 3]
            steps[-1] += f"[{int(item)}]"
            steps.append(_tag(group, element))
        return Addition(level, str(name).strip('"'), tag_path(".".join(steps)))
    except (ValueError, TypeError):
        raise UsageError(
            'invalid column; write ["0x0020", "0x000e", "SeriesInst"], and in a sequence also item, group and element'
        ) from None
    except Mistake as mistake:
        raise UsageError(f"cannot add a column: {mistake}") from None


def _tag(group: str | int, element: str | int) -> str:
    numbers = (value if isinstance(value, int) else int(value, 16) for value in (group, element))
    return ",".join(f"{number:04x}" for number in numbers)
