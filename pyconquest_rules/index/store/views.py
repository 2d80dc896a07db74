"""The SQL of the views `patients`, `studies`, `series` and `images`: the data by DICOM keyword, clean and in full length."""

from collections.abc import Iterator
from itertools import pairwise

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.conquest.dicom_sql import DICOMType, SQLType
from pyconquest_rules.index.derived import geometry
from pyconquest_rules.index.store.schema import LEVELS, PATIENT_ID, PYCONQUEST_COLUMNS, TABLES, Field, Schema, quoted

# Types of which the server stores only the first value.
FIRST_ONLY = frozenset({DICOMType.UINT16, DICOMType.UINT32, DICOMType.FL, DICOMType.FD})

ALIAS = {Level.PATIENT: "p", Level.STUDY: "st", Level.SERIES: "se", Level.IMAGE: "i"}


def level_view(schema: Schema, level: Level) -> str:
    """Return the SELECT of a level's view: its own columns, those of the levels above, and counts of the levels below.

    All joins are LEFT JOINs, because SQLite omits a left join whose columns a query does not use.
    """
    columns: dict[str, str] = {}
    for at in reversed(LEVELS[: LEVELS.index(level) + 1]):
        for field in schema.level(at):
            columns.setdefault(field.name, _value(schema, at, field))
    columns |= _counts(schema, level)
    source = f"{TABLES[level]} AS {ALIAS[level]}{''.join(_all_joins(schema, level))}"
    if level is Level.SERIES:
        columns |= {name: f"g.{name}" for name in geometry.COLUMNS}
        source += f" LEFT JOIN geometry AS g ON g.SeriesInstanceUID = {ALIAS[level]}.{quoted(schema.key(level))}"
    if level is Level.IMAGE:
        columns |= {name: f"i.{name}" for name, _ in PYCONQUEST_COLUMNS}
        files = {"TransferSyntaxUID": "f.TransferSyntaxUID", "ObjectFile": "i.ObjectFile", "DeviceName": "i.DeviceName"}
        files["BurnedInAnnotation"] = "f.BurnedInAnnotation"
        columns |= files | {"Source": "so.name", "FileSize": "f.size"}
        source += " LEFT JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile"
        source += " LEFT JOIN rules_sources AS so ON so.device = i.DeviceName"
    return f"SELECT {', '.join(f'{sql} AS {quoted(name)}' for name, sql in columns.items())} FROM {source}"


def _all_joins(schema: Schema, level: Level) -> list[str]:
    """Return the joins to the levels above, and the join for the PatientID.

    A missing PatientID is '' in the tables, where it is a key, and NULL in the views. This is a join, because an expression
    could not use an index. It comes first if the level has its own PatientID: SQLite does not reorder outer joins.
    """
    at = next(at for at in reversed(LEVELS[: LEVELS.index(level) + 1]) if schema.patient_id(at))
    key = f"pid.{quoted(schema.key(Level.PATIENT))}"
    known = f" LEFT JOIN DICOMPatients AS pid ON {key} = {ALIAS[at]}.{schema.patient_id(at)} AND {key} != ''"
    return [known, *_joins(schema, level)] if at is level else [*_joins(schema, level), known]


def patient_of_images(schema: Schema) -> str:
    """Return a query for SOPInstanceUID, SeriesInstanceUID and PatientID of every image. A missing PatientID is ''."""
    at = next(at for at in reversed(LEVELS) if schema.patient_id(at))
    above = [Level.SERIES, Level.STUDY][: LEVELS[::-1].index(at)]
    links = [f"{ALIAS[of]}.{quoted(schema.level(of)[-1].column)}" for of in (Level.IMAGE, Level.SERIES)]
    joins = [
        f" JOIN {TABLES[to]} AS {ALIAS[to]} ON {ALIAS[to]}.{quoted(schema.key(to))} = {link}"
        for link, to in zip(links, above, strict=False)
    ]
    image, series = (quoted(schema.level(Level.IMAGE)[place].column) for place in (0, -1))
    return (
        f"SELECT i.{image} AS SOPInstanceUID, i.{series} AS SeriesInstanceUID, {ALIAS[at]}.{schema.patient_id(at)} AS PatientID"
        f" FROM DICOMImages AS i{''.join(joins)}"
    )


def _joins(schema: Schema, level: Level) -> Iterator[str]:
    """Yield the joins to the levels above. If the level has its own PatientID, that one is joined: a study may have two."""
    for below, above in zip(reversed(LEVELS), list(reversed(LEVELS))[1:], strict=False):
        if LEVELS.index(below) > LEVELS.index(level):
            continue
        link = f"{ALIAS[below]}.{quoted(schema.level(below)[-1].column)}"
        if above is Level.PATIENT:
            own = schema.patient_id(level)
            link = f"{ALIAS[level]}.{own}" if own else link
        yield f" LEFT JOIN {TABLES[above]} AS {ALIAS[above]} ON {ALIAS[above]}.{quoted(schema.key(above))} = {link}"


def _counts(schema: Schema, level: Level) -> dict[str, str]:
    """Return `StudyCount`, `SeriesCount` and `ImageCount` of the levels below, as subqueries that run only if selected."""
    counts = {}
    source, on = "", f"{ALIAS[level]}.{quoted(schema.key(level))}"
    for above, below in pairwise(LEVELS):
        if LEVELS.index(below) <= LEVELS.index(level):
            continue
        table, link = TABLES[below], f"{TABLES[below]}.{quoted(schema.level(below)[-1].column)}"
        # As in the joins, a row with its own PatientID counts for that patient, not for the patient of its study.
        own = schema.patient_id(below) if level is Level.PATIENT else None
        if own or not source:
            source, where = table, f"{f'{table}.{own}' if own else link} = {on}"
        else:
            source += f" JOIN {table} ON {link} = {TABLES[above]}.{quoted(schema.key(above))}"
        counts[f"{below.value.capitalize()}Count"] = f"(SELECT count(*) FROM {source} WHERE {where})"
    return counts


def _value(schema: Schema, level: Level, field: Field) -> str:
    """Return the SQL of a column of a view: keys as stored, numbers as numbers, other text trimmed and in full length."""
    if field.tag == PATIENT_ID:
        return f"pid.{quoted(schema.key(Level.PATIENT))}"
    column, fields = f"{ALIAS[level]}.{quoted(field.column)}", schema.level(level)
    if field == fields[0] or (field == fields[-1] and level is not Level.PATIENT):
        return column
    shown = _number if field.numeric else "trim({})".format
    full = (
        f"(SELECT {shown('value')} FROM rules_full WHERE level = '{level.value}'"
        f" AND key = {ALIAS[level]}.{quoted(schema.key(level))} AND name = '{field.name}')"
    )
    if field.dicom_type in FIRST_ONLY and not field.single:
        return f"coalesce({full}, {shown(column)})"
    # Only a value that nearly fills its column can have been cut, so few are looked up. It may lack the rest of a cut
    # character, or the points of a date.
    least = field.length // 2 if field.sql_type is SQLType.DATE else max(0, field.length - 3)
    may_be_cut = f"length(CAST({column} AS BLOB)) >= {least}"
    return f"CASE WHEN {may_be_cut} THEN coalesce({full}, {shown(column)}) ELSE {shown(column)} END"


SPACE = "\t\n\r "
"""Padding around a number. PS3.5 6.2 permits spaces only, but readers accept line ends too."""

# Patterns that match no number, in this order: other characters; a space inside; a wrong end; a sign inside; two points; a point
# or e after an e; no digit before an e.
NO_NUMBERS = (
    *(f"*[^-+.0-9eE{SPACE}]*", f"*[-+.0-9eE][{SPACE}]*[-+.0-9eE]*"),
    *("*[-+eE]", f"*[-+eE][{SPACE}]*", "*[-+.0-9][-+]*", "*.*.*", "*[eE]*[.eE]*"),
    *("*[^.0-9][eE]*", "[eE]*", "*[^0-9].[eE]*", ".[eE]*"),
)


def _number(text: str) -> str:
    """Return SQL for a text as a number, if pydicom would read it as one IS or DS and SQLite can store it; else as text."""
    is_number = " AND ".join([f"{text} GLOB '*[0-9]*'", *(f"{text} NOT GLOB '{glob}'" for glob in NO_NUMBERS)])
    is_number += f" AND abs(CAST({text} AS REAL)) < 9e999"
    digits = f"{text} GLOB '[0-9]*' AND {text} NOT GLOB '*[^0-9]*'"  # most numbers, and a fast test
    return f"CASE WHEN length({text}) < 300 AND ({digits} OR ({is_number})) THEN CAST({text} AS NUMERIC) ELSE trim({text}) END"
