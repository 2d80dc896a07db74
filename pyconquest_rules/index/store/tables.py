"""The tables of an index: Conquest's own, made from `dicom.sql`, and ours, whose names begin with `rules_`.

The Conquest tables hold values by the server's rules: 10-letter columns, cut to length. The views have them in full length.
"""

from collections.abc import Iterator

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.conquest.dicom_sql import Column, SQLType
from pyconquest_rules.index.derived import contradictions, geometry, references, rt
from pyconquest_rules.index.store.derived_views import contradiction_views, reference_views
from pyconquest_rules.index.store.schema import LEVELS, PYCONQUEST_COLUMNS, TABLES, VIEWS, Field, Schema, quoted
from pyconquest_rules.index.store.views import level_view

BOOKKEEPING = ("AccessTime", "qTimeStamp", "qFlags", "qSpare")


def statements(schema: Schema) -> Iterator[str]:
    """Yield the SQL that creates an empty index: Conquest's tables and indexes, pyconquest's views, and our tables and views."""
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
    yield from reference_views(schema)
    yield contradictions.TABLE
    yield from contradiction_views(schema)
    for level in LEVELS:
        yield f"CREATE VIEW {VIEWS[level]} AS {level_view(schema, level)}"
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
    """Return the definition of a column for CREATE TABLE."""
    kind = "char" if column.sql_type is SQLType.DATE else "varchar"
    return f"{quoted(column.column)} {kind}({column.length})"


def _lookups(schema: Schema) -> Iterator[str]:
    """Yield the server's indexes, but not `idx_patientid`, which is on the sex of the patient by mistake."""
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

OTHER_BYTES = "reason IN ('conflict', 'superseded')"
"""The condition for files with the SOPInstanceUID of an indexed file, but different bytes."""

CONTESTED = f"SELECT SOPInstanceUID FROM rules_files WHERE {OTHER_BYTES}"

OUR_TABLES = (
    "CREATE TABLE rules_index (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    # rank: the number of a source in the rules
    "CREATE TABLE rules_sources (device TEXT PRIMARY KEY, name TEXT UNIQUE, path TEXT, rank INT) WITHOUT ROWID",
    # path: relative to the root of the source, with "/", in the bytes of the file system
    "CREATE TABLE rules_files (device TEXT, path TEXT, size INT, mtime_ns INT, outcome TEXT, reason TEXT,"
    " SOPInstanceUID TEXT, TransferSyntaxUID TEXT, digest TEXT, BurnedInAnnotation TEXT,"
    " PRIMARY KEY (device, path)) WITHOUT ROWID",
    "CREATE INDEX rules_files_instance ON rules_files (SOPInstanceUID)",
    "CREATE INDEX rules_files_refused ON rules_files (reason) WHERE outcome = 'rejected' AND reason != 'not-dicom'",
    f"CREATE INDEX rules_files_contested ON rules_files (SOPInstanceUID) WHERE {OTHER_BYTES}",
    # the file that defines a patient, study or series row: the first of all its files
    "CREATE TABLE rules_first (level TEXT, key TEXT, device TEXT, path TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
    "CREATE INDEX rules_first_file ON rules_first (device, path)",
    # new columns whose instances have not been read yet
    "CREATE TABLE rules_pending (level TEXT, name TEXT, PRIMARY KEY (level, name)) WITHOUT ROWID",
    "CREATE TABLE rules_tables (name TEXT PRIMARY KEY, fingerprint TEXT) WITHOUT ROWID",
    # the full text of values that the Conquest columns store cut or changed
    "CREATE TABLE rules_full (level TEXT, key TEXT, name TEXT, value TEXT, PRIMARY KEY (level, key, name)) WITHOUT ROWID",
    # rows whose defining file changed or vanished; with level 'geometry', series to be measured
    "CREATE TABLE rules_stale (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
    # instances whose study is not that of their series: a series has only one row, in one study
    "CREATE TABLE rules_strays (SOPInstanceUID TEXT PRIMARY KEY, StudyInstanceUID TEXT) WITHOUT ROWID",
    "CREATE INDEX rules_strays_study ON rules_strays (StudyInstanceUID)",
    # rows of the Conquest tables that another program inserted, changed or deleted since the last `index`
    "CREATE TABLE rules_touched (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID",
)

# The root "/" ends in a slash already.
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
"""The number of files that are or should be DICOM but could not be indexed, by reason. An index of its own makes it fast."""

WRITING = "writing"
"""While `rules_index` has this key, this program writes and the triggers of `rules_touched` do nothing."""


def _triggers(schema: Schema, level: Level) -> Iterator[str]:
    """Yield the triggers that note what other programs write.

    They ignore columns that a server updates itself, such as AccessTime, and `hash`, which programs may set.
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
