"""The tables and views of an index: Conquest's own, made from `dicom.sql`, and ours beside them, which begin with `rules_`.

The Conquest tables hold values by the server's rules (10-letter columns, cut to length). The views `patients`, `studies`,
`series` and `images` give the same data by DICOM keyword, clean and in full length.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pyconquest_rules.dicom import Level, TagPath, dictionary, keyword
from pyconquest_rules.index.conquest.dicom_sql import Column, DICOMType, Layout, SQLType
from pyconquest_rules.index.derived import contradictions, geometry, references, rt

FORMAT = 4

TABLES = {Level.PATIENT: "DICOMPatients", Level.STUDY: "DICOMStudies", Level.SERIES: "DICOMSeries", Level.IMAGE: "DICOMImages"}
VIEWS = {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "images"}
LEVELS = tuple(Level)

PATIENT_ID = TagPath((), 0x00100020)
MODALITY = TagPath((), 0x00080060)
MODALITIES_IN_STUDY = TagPath((), 0x00080061)
SPECIFIC_CHARACTER_SET = TagPath((), 0x00080005)

NUMERIC_VR = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "US or SS"})
# Of several values the server stores the first of these types.
FIRST_ONLY = frozenset({DICOMType.UINT16, DICOMType.UINT32, DICOMType.FL, DICOMType.FD})
BOOKKEEPING = ("AccessTime", "qTimeStamp", "qFlags", "qSpare")
PYCONQUEST_COLUMNS = (*rt.COLUMNS, ("DatabaseTimeStamp", "real"), ("hash", "text"))

# pyconquest's column Referenced of a series has this tag in its layout, and holds the series that an RTSTRUCT is made for.
REFERENCED = TagPath((), 0x00081155)


@dataclass(frozen=True, slots=True)
class Addition:
    """A column that the rules file adds to a level: `[[schema.image]]`."""

    level: Level
    column: str
    tag: TagPath


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a level: as the Conquest table calls it (`column`) and as the view calls it (`name`)."""

    column: str
    name: str
    tag: TagPath
    length: int
    sql_type: SQLType
    dicom_type: DICOMType

    @property
    def numeric(self) -> bool:
        """Whether the view shows the value as a number: IS, DS and the binary numbers (PS3.5 6.2)."""
        element = dictionary().get(self.tag.tag)
        return element is not None and element.VR in NUMERIC_VR

    @property
    def single(self) -> bool:
        """Whether PS3.6 gives the element one value."""
        element = dictionary().get(self.tag.tag)
        return element is not None and element.VM == "1"


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of the four levels, key first and link to the level above last, and of the worklist."""

    levels: tuple[tuple[Field, ...], ...]
    worklist: tuple[Column, ...]
    content_hash: bool = False

    def level(self, level: Level) -> tuple[Field, ...]:
        """The columns of one level."""
        return self.levels[LEVELS.index(level)]

    def key(self, level: Level) -> str:
        """The 10-letter key column of a level's Conquest table."""
        return self.level(level)[0].column

    def patient_id(self, level: Level) -> str | None:
        """The column, quoted, in which a level itself tells the PatientID; None where the layout has none."""
        return next((quoted(field.column) for field in self.level(level) if field.tag == PATIENT_ID), None)

    def tags(self) -> tuple[TagPath, ...]:
        """Every tag that a file must be asked for, each once."""
        return tuple(dict.fromkeys(field.tag for level in LEVELS for field in self.level(level)))

    @property
    def fingerprint(self) -> str:
        """Changes when an index made for another schema cannot be brought up to date file by file."""
        return hashlib.sha256(f"{FORMAT}\n{self!r}".encode()).hexdigest()


def schema(layout: Layout, additions: tuple[Addition, ...] = (), *, content_hash: bool = False) -> Schema:
    """The schema of a `dicom.sql` with the columns that a rules file adds; these stand before the link to the level above."""

    def fields(level: Level) -> tuple[Field, ...]:
        stock = _named(layout.level(level))
        added = tuple(
            Field(a.column[:10], a.column, a.tag, 255, SQLType.CHAR, DICOMType.STR) for a in additions if a.level is level
        )
        return stock + added if level is Level.PATIENT else stock[:-1] + added + stock[-1:]

    return Schema(tuple(map(fields, LEVELS)), layout.worklist, content_hash)


def _named(columns: tuple[Column, ...]) -> tuple[Field, ...]:
    """Columns with the name of their keyword. Of two columns for one tag the view has the first: they hold the same."""
    fields = []
    for column in columns:
        name = "ReferencedSeriesInstanceUID" if column.tag == REFERENCED else keyword(column.tag.tag) or column.name
        fields.append(Field(column.column, name, column.tag, column.length, column.sql_type, column.dicom_type))
    return tuple(fields)


def statements(schema: Schema) -> Iterator[str]:
    """The SQL that makes an empty index: Conquest's tables and lookups, pyconquest's views, our tables and views."""
    yield _worklist(schema.worklist)
    for level in LEVELS:
        yield _table(level, schema.level(level))
    yield from _lookups(schema)
    yield from UIDMODS
    yield from PYCONQUEST_VIEWS
    yield from OUR_TABLES
    yield FILES
    yield from references.TABLE
    yield from geometry.TABLES
    yield from _referenced(schema)
    yield contradictions.TABLE
    yield from _contradictions(schema)
    for level in LEVELS:
        yield f"CREATE VIEW {VIEWS[level]} AS {_view(schema, level)}"
        yield from _triggers(schema, level)


def _table(level: Level, fields: tuple[Field, ...]) -> str:
    first, *others = fields
    columns = [f"{declared(first)} PRIMARY KEY NOT NULL", *map(declared, others)]
    columns += _bookkeeping()
    if level is Level.IMAGE:
        columns += [
            "ObjectFile varchar(255)",
            "DeviceName varchar(32)",
            *(f"{name} {type_}" for name, type_ in PYCONQUEST_COLUMNS),
        ]
    return f"CREATE TABLE {TABLES[level]} ({', '.join(columns)})"


def _worklist(columns: tuple[Column, ...]) -> str:
    return f"CREATE TABLE DICOMWorkList ({', '.join([*map(declared, columns), *_bookkeeping()])})"


def _bookkeeping() -> list[str]:
    types = dict.fromkeys(BOOKKEEPING, "int") | {"qSpare": "varchar(64)"}
    return [f"{name} {type_}" for name, type_ in types.items()]


def declared(column: Column | Field) -> str:
    """A column as CREATE TABLE takes it."""
    kind = "char" if column.sql_type is SQLType.DATE else "varchar"
    return f"{quoted(column.column)} {kind}({column.length})"


def _lookups(schema: Schema) -> Iterator[str]:
    """The server's lookups; its index `idx_patientid` on the patient's sex is a slip of its own and left out."""
    study, series, image = (schema.key(level) for level in LEVELS[1:])
    patient, study_link, series_link = (schema.level(level)[-1].column for level in LEVELS[1:])
    yield f"CREATE INDEX study_lnk ON DICOMStudies ({quoted(patient)})"
    yield f"CREATE INDEX idx_patientid_studyinsta ON DICOMStudies ({quoted(patient)}, {quoted(study)})"
    yield f"CREATE INDEX series_lnk ON DICOMSeries ({quoted(study_link)})"
    yield f"CREATE INDEX idx_studyinsta_seriesinst ON DICOMSeries ({quoted(study_link)}, {quoted(series)})"
    yield f"CREATE INDEX images_lnk ON DICOMImages ({quoted(series_link)})"
    yield f"CREATE INDEX idx_seriesinst_sopinstanc ON DICOMImages ({quoted(series_link)}, {quoted(image)})"
    for level, name in ((Level.SERIES, "series_pat"), (Level.IMAGE, "images_pat")):
        if column := schema.patient_id(level):
            yield f"CREATE INDEX {name} ON {TABLES[level]} ({column})"


UIDMODS = (
    "CREATE TABLE UIDMODS (MODTime int, OldUID varchar(64), MODType varchar(32), NewUID varchar(64), Stage varchar(32),"
    " Annotation varchar(64))",
    "CREATE INDEX mods_old ON UIDMODS (OldUID)",
    "CREATE INDEX mods_stage ON UIDMODS (Stage)",
    "CREATE INDEX mods_joint ON UIDMODS (OldUID, Stage)",
    "CREATE INDEX mods_back ON UIDMODS (NewUID, Stage)",
)

PYCONQUEST_VIEWS = (
    "CREATE VIEW v_series AS SELECT DICOMSeries.*, DICOMStudies.* FROM DICOMSeries"
    " JOIN DICOMStudies ON DICOMSeries.StudyInsta = DICOMStudies.StudyInsta",
    "CREATE VIEW v_seriesRT AS SELECT DICOMSeries.*, DICOMStudies.*, DICOMImages.* FROM DICOMSeries"
    " JOIN DICOMStudies ON DICOMSeries.StudyInsta = DICOMStudies.StudyInsta"
    " JOIN DICOMImages ON DICOMImages.SeriesInst = DICOMSeries.SeriesInst"
    " WHERE DICOMSeries.Modality IN ('RTSTRUCT', 'RTDOSE', 'RTPLAN')",
)

BESIDE = "reason IN ('conflict', 'superseded')"
"""Of files that have the SOPInstanceUID of another one, and other bytes."""

CONTESTED = f"SELECT SOPInstanceUID FROM rules_files WHERE {BESIDE}"

OUR_TABLES = (
    "CREATE TABLE rules_index (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    # rank is the number of a source in the rules
    "CREATE TABLE rules_sources (device TEXT PRIMARY KEY, name TEXT UNIQUE, path TEXT, rank INT) WITHOUT ROWID",
    # path counts from the root of the source, with "/"; it holds the bytes of the name as the file system has them
    "CREATE TABLE rules_files (device TEXT, path TEXT, size INT, mtime_ns INT, outcome TEXT, reason TEXT,"
    " SOPInstanceUID TEXT, TransferSyntaxUID TEXT, digest TEXT, PRIMARY KEY (device, path)) WITHOUT ROWID",
    "CREATE INDEX rules_files_instance ON rules_files (SOPInstanceUID)",
    "CREATE INDEX rules_files_refused ON rules_files (reason) WHERE outcome = 'rejected' AND reason != 'not-dicom'",
    f"CREATE INDEX rules_files_contested ON rules_files (SOPInstanceUID) WHERE {BESIDE}",
    # the file that says a patient, study or series row: the first of all files that could
    "CREATE TABLE rules_first (level TEXT, key TEXT, device TEXT, path TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
    "CREATE INDEX rules_first_file ON rules_first (device, path)",
    # columns that came, for which instances are still to be read
    "CREATE TABLE rules_pending (level TEXT, name TEXT, PRIMARY KEY (level, name)) WITHOUT ROWID",
    "CREATE TABLE rules_tables (name TEXT PRIMARY KEY, fingerprint TEXT) WITHOUT ROWID",
    # the full text of values that the Conquest columns hold cut or changed
    "CREATE TABLE rules_full (level TEXT, key TEXT, name TEXT, value TEXT, PRIMARY KEY (level, key, name)) WITHOUT ROWID",
    # rows of which the file that said them changed or went; and of level 'geometry', series to be measured
    "CREATE TABLE rules_stale (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
    # instances that tell another study than the one that their series is in: a series has but one row
    "CREATE TABLE rules_strays (SOPInstanceUID TEXT PRIMARY KEY, StudyInstanceUID TEXT) WITHOUT ROWID",
    "CREATE INDEX rules_strays_study ON rules_strays (StudyInstanceUID)",
    # rows of the Conquest tables that somebody else inserted, changed or deleted since the last `index`
    "CREATE TABLE rules_touched (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
)

# What became of each file. What paths hold is bytes; a root that is "/" has its slash already.
WHOLE_PATH = "CASE {source}.path WHEN '/' THEN '' ELSE {source}.path END || '/' || {file}.path".format
FILES = f"""
CREATE VIEW files AS
SELECT {WHOLE_PATH(source="s", file="f")} AS Path, s.name AS Source, f.size AS FileSize, f.outcome AS Outcome,
    CASE WHEN f.outcome != 'indexed' THEN f.reason END AS Reason, CASE f.outcome WHEN 'indexed' THEN f.reason END AS Notes,
    f.SOPInstanceUID,
    CASE WHEN f.outcome IN ('duplicate', 'rejected') AND f.SOPInstanceUID IS NOT NULL THEN (
        SELECT {WHOLE_PATH(source="t", file="o")} FROM rules_files AS o JOIN rules_sources AS t USING (device)
        WHERE o.SOPInstanceUID = f.SOPInstanceUID AND o.outcome = 'indexed') END AS OtherFile
FROM rules_files AS f JOIN rules_sources AS s USING (device)
"""

REFUSED = "SELECT reason, count(*) FROM rules_files WHERE outcome = 'rejected' AND reason != 'not-dicom' GROUP BY reason"
"""The files that could not be indexed, though they are DICOM or were to be, by reason. It has an index of its own."""

WRITING = "writing"
"""While `rules_index` has this key, the triggers of `rules_touched` are silent: we ourselves write."""


def _triggers(schema: Schema, level: Level) -> Iterator[str]:
    """The triggers that note what others write. What a server changes in passing, such as AccessTime, is left out.

    So is `hash`, which programs may set for themselves.
    """
    key, columns = quoted(schema.key(level)), [quoted(field.column) for field in schema.level(level)]
    if level is Level.IMAGE:
        columns += ["ObjectFile", "DeviceName", *(name for name, _ in rt.COLUMNS)]
    note = f"INSERT OR IGNORE INTO rules_touched VALUES ('{level.value}', {{}}.{key});".format
    when = f"WHEN NOT EXISTS (SELECT 1 FROM rules_index WHERE key = '{WRITING}')"
    for name, event, noted in (
        ("inserted", "INSERT", note("NEW")),
        ("updated", f"UPDATE OF {', '.join(columns)}", note("OLD") + note("NEW")),
        ("deleted", "DELETE", note("OLD")),
    ):
        yield f"CREATE TRIGGER rules_{level.value}_{name} AFTER {event} ON {TABLES[level]} {when} BEGIN {noted} END"


def _referenced(schema: Schema) -> Iterator[str]:
    """The views of what points at what; `referenced` only if the layout has the columns that it is made of."""
    series = {field.tag: quoted(field.column) for field in schema.level(Level.SERIES)}
    keys = {"image": quoted(schema.key(Level.IMAGE)), "series": quoted(schema.key(Level.SERIES))}
    keys["series_link"] = quoted(schema.level(Level.IMAGE)[-1].column)
    own = {field.tag: quoted(field.column) for field in schema.level(Level.IMAGE)}
    told = [f"trim({at}.{fields[MODALITY]})" for at, fields in (("i", own), ("s", series)) if MODALITY in fields]
    yield references.INSTANCES_VIEW.format(**keys, modality=(told or ["NULL"])[0], referenced=references.NAMED)
    if MODALITY in series and references.FRAME in series:
        names = {"modality": series[MODALITY], "frame": series[references.FRAME]}
        yield references.VIEW.format(**names, **keys, derived=", ".join(f"'{modality}'" for modality in references.DERIVED))
        yield f"CREATE INDEX rules_frame ON DICOMSeries ({series[references.FRAME]})"


def fill_referenced(schema: Schema) -> tuple[str, str] | None:
    """The SQL that finds whether it is out of date which series plans and doses are made for, and the SQL that says it anew.

    None where the layout has no such column.
    """
    series = {field.tag: quoted(field.column) for field in schema.level(Level.SERIES)}
    if REFERENCED not in series or MODALITY not in series:
        return None
    keys = {"image": quoted(schema.key(Level.IMAGE)), "series": quoted(schema.key(Level.SERIES))}
    link = quoted(schema.level(Level.IMAGE)[-1].column)
    names = {"referenced": series[REFERENCED], "modality": series[MODALITY], "series_link": link}
    return references.FIND_OUTDATED.format(**keys, **names), references.FILL_REFERENCED.format(**keys, **names)


def _contradictions(schema: Schema) -> Iterator[str]:
    """The views of what instances say against each other. Without PatientID in its images, a layout tells of one patient only."""
    names = {"image": Level.IMAGE, "series": Level.SERIES, "study": Level.STUDY}
    links = {"series_link": Level.IMAGE, "study_link": Level.SERIES, "patient": Level.STUDY}
    columns = {name: quoted(schema.key(level)) for name, level in names.items()}
    columns |= {name: quoted(schema.level(level)[-1].column) for name, level in links.items()}
    of_image, of_series = (schema.patient_id(level) for level in (Level.IMAGE, Level.SERIES))
    columns["image_patient"] = f"i.{of_image}" if of_image else "NULL"
    columns["series_patient"] = f"s.{of_series}" if of_series else f"t.{columns['patient']}"
    for view in contradictions.VIEWS:
        yield view.format(**columns)


ALIAS = {Level.PATIENT: "p", Level.STUDY: "st", Level.SERIES: "se", Level.IMAGE: "i"}


def _view(schema: Schema, level: Level) -> str:
    """The SELECT of a level's view: its own columns, those of the levels above, and counts of the levels below.

    LEFT JOIN throughout: SQLite leaves out a left join whose columns a query does not use.
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
        columns |= files | {"Source": "so.name", "FileSize": "f.size"}
        source += " LEFT JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile"
        source += " LEFT JOIN rules_sources AS so ON so.device = i.DeviceName"
    return f"SELECT {', '.join(f'{sql} AS {quoted(name)}' for name, sql in columns.items())} FROM {source}"


def _all_joins(schema: Schema, level: Level) -> list[str]:
    """The joins to the levels above, and the one that gives the PatientID.

    The tables hold '' for a missing PatientID, where it is a key; the views show NULL. It is joined, as an expression would have
    no lookup, and comes first if the level itself tells it: SQLite moves no outer join to the front.
    """
    at = next(at for at in reversed(LEVELS[: LEVELS.index(level) + 1]) if schema.patient_id(at))
    key = f"pid.{quoted(schema.key(Level.PATIENT))}"
    known = f" LEFT JOIN DICOMPatients AS pid ON {key} = {ALIAS[at]}.{schema.patient_id(at)} AND {key} != ''"
    return [known, *_joins(schema, level)] if at is level else [*_joins(schema, level), known]


def patient_of_images(schema: Schema) -> str:
    """A query for SOPInstanceUID, SeriesInstanceUID and PatientID of every image, as the tables hold them: '' if missing."""
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
    """The joins to the levels above. A patient is found by the level's own PatientID where it has one: a study may hold two."""
    for below, above in zip(reversed(LEVELS), list(reversed(LEVELS))[1:], strict=False):
        if LEVELS.index(below) > LEVELS.index(level):
            continue
        link = f"{ALIAS[below]}.{quoted(schema.level(below)[-1].column)}"
        if above is Level.PATIENT:
            own = schema.patient_id(level)
            link = f"{ALIAS[level]}.{own}" if own else link
        yield f" LEFT JOIN {TABLES[above]} AS {ALIAS[above]} ON {ALIAS[above]}.{quoted(schema.key(above))} = {link}"


def _counts(schema: Schema, level: Level) -> dict[str, str]:
    """`StudyCount`, `SeriesCount` and `ImageCount` of the levels below, as subqueries that run only where they are asked for."""
    counts = {}
    source, on = "", f"{ALIAS[level]}.{quoted(schema.key(level))}"
    for above, below in pairwise(LEVELS):
        if LEVELS.index(below) <= LEVELS.index(level):
            continue
        table, link = TABLES[below], f"{TABLES[below]}.{quoted(schema.level(below)[-1].column)}"
        # As in the joins: what tells a patient itself is counted for that one, whoever its study belongs to.
        own = schema.patient_id(below) if level is Level.PATIENT else None
        if own or not source:
            source, where = table, f"{f'{table}.{own}' if own else link} = {on}"
        else:
            source += f" JOIN {table} ON {link} = {TABLES[above]}.{quoted(schema.key(above))}"
        counts[f"{below.value.capitalize()}Count"] = f"(SELECT count(*) FROM {source} WHERE {where})"
    return counts


def _value(schema: Schema, level: Level, field: Field) -> str:
    """A column as people want it: keys as stored, numbers as numbers, other text trimmed and in full length."""
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
    # Only what fills its column, but for the rest of a letter or the points of a date, can have been cut: few are looked up.
    least = field.length // 2 if field.sql_type is SQLType.DATE else max(0, field.length - 3)
    may_be_cut = f"length(CAST({column} AS BLOB)) >= {least}"
    return f"CASE WHEN {may_be_cut} THEN coalesce({full}, {shown(column)}) ELSE {shown(column)} END"


SPACE = "\t\n\r "
"""What may stand around a number: PS3.5 6.2 has spaces only, but readers take line ends too."""

# What a text that is one number does not hold, in turn: other letters; space within; no digit or point at the end, space aside;
# a sign within; two points; a point or e after an e; no digit before an e.
NO_NUMBERS = (
    *(f"*[^-+.0-9eE{SPACE}]*", f"*[-+.0-9eE][{SPACE}]*[-+.0-9eE]*"),
    *("*[-+eE]", f"*[-+eE][{SPACE}]*", "*[-+.0-9][-+]*", "*.*.*", "*[eE]*[.eE]*"),
    *("*[^.0-9][eE]*", "[eE]*", "*[^0-9].[eE]*", ".[eE]*"),
)


def _number(text: str) -> str:
    """A number where a text is one number, as pydicom reads IS and DS, that SQLite can hold; else the text."""
    right = " AND ".join([f"{text} GLOB '*[0-9]*'", *(f"{text} NOT GLOB '{glob}'" for glob in NO_NUMBERS)])
    right += f" AND abs(CAST({text} AS REAL)) < 9e999"
    digits = f"{text} GLOB '[0-9]*' AND {text} NOT GLOB '*[^0-9]*'"  # most, and soon told
    return f"CASE WHEN length({text}) < 300 AND ({digits} OR ({right})) THEN CAST({text} AS NUMERIC) ELSE trim({text}) END"


def column_names(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table or view; none if it is not there.

    By the statement, not by `pragma_table_info`: the first use of that lets the queries of the rules use it too.
    """
    return [column[1] for column in connection.execute(f"PRAGMA table_info({quoted(table)})")]


def quoted(name: str) -> str:
    """A name as SQL takes it whatever its letters."""
    return '"' + name.replace('"', '""') + '"'
