"""Which columns an index has: a `dicom.sql`, and what `add_column_to_database` put beside it."""

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

# A column as pyconquest defines it: group, element, name; for an element of an item also the item, group and element.
Definition = Sequence[str | int]


@dataclass(frozen=True)
class Design:
    """A `dicom.sql`, where it was read, and the columns beside it."""

    dicom_sql: str
    file: str
    added: tuple[Addition, ...] = ()

    @classmethod
    def of(cls, file: str) -> "Design":
        """The design of a `dicom.sql`; the packaged one where there is no such file. Raises RulesError for one that is wrong."""
        path = Path(file)
        there = path.is_file()
        text = path.read_text(encoding="utf-8", errors="replace") if there else standard_text()
        design = cls(text, file if there else "dicom.sql")
        parse(design.dicom_sql, design.file)
        return design

    @cached_property
    def schema(self) -> Schema:
        """The columns of the four levels. Those that were added keep their whole name, as in pyconquest."""
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
        """With one more column; one of its name that was added before is replaced. Raises UsageError where `dicom.sql` has it."""
        others = tuple(a for a in self.added if (a.level, a.column.lower()) != (column.level, column.column.lower()))
        taken = {field.column.lower() for field in Design(self.dicom_sql, self.file).schema.level(column.level)}
        if column.level is Level.IMAGE:
            taken |= {name.lower() for name, _ in PYCONQUEST_COLUMNS}
        if column.column.lower() in taken | {name.lower() for name in IMAGE_SERVER_COLUMNS}:
            raise UsageError(f"{TABLES[column.level]} has a column {column.column} already")
        return replace(self, added=(*others, column))

    def to_json(self) -> str:
        """As the index remembers it."""
        added = [[column.level, column.column, str(column.tag)] for column in self.added]
        return json.dumps({"dicom_sql": self.dicom_sql, "file": self.file, "added": added})

    @classmethod
    def from_json(cls, text: str) -> "Design":
        """What `to_json` wrote."""
        found = json.loads(text)
        added = tuple(Addition(Level(level), name, tag_path(tag)) for level, name, tag in found["added"])
        return cls(found["dicom_sql"], found["file"], added)


def column(table: str, definition: Definition) -> Addition:
    """A column from pyconquest's definition, `["0x300a", "0x0070", "Dose", 0, "0x300c", "0x0004", 0, "0x300a", "0x0084"]`.

    Raises UsageError where it names no table of a level, or no element.
    """
    level = LEVEL_OF.get(table.lower())
    if level is None:
        raise UsageError(f'no level has a table "{table}"; tables are: {", ".join(TABLES.values())}')
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
            'a column is ["0x0020", "0x000e", "SeriesInst"]; in a sequence also its item, group and element'
        ) from None
    except Mistake as mistake:
        raise UsageError(f"a column cannot be added: {mistake}") from None


def _tag(group: str | int, element: str | int) -> str:
    numbers = (value if isinstance(value, int) else int(value, 16) for value in (group, element))
    return ",".join(f"{number:04x}" for number in numbers)
