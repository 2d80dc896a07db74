"""Asking the index: rows, tables, and what Conquest is to know of it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from pyconquest_rules.app.opening import opened
from pyconquest_rules.execute.export import Format
from pyconquest_rules.execute.export import export as write_rows
from pyconquest_rules.index import sql
from pyconquest_rules.index.conquest_config import LONGEST_OBJECT_FILE
from pyconquest_rules.index.conquest_config import files as conquest_files
from pyconquest_rules.rules.misplaced import in_sql
from pyconquest_rules.rules.rules import Rules


@contextmanager
def query(rules: Rules, text: str) -> Iterator[tuple[tuple[str, ...], Iterator[sql.Row]]]:
    """The columns and the rows of one SELECT, or of a set that is named. `vars` are parameters. Raises Mistake for wrong SQL."""
    with opened(rules) as sets:
        text = f'SELECT * FROM "{text}"' if text in rules.selections else text
        if mistake := in_sql(text):
            raise mistake
        sets.make_named(text, rules.values)
        names, rows = sql.rows(sets.connection, text, rules.values)
        with closing(rows):
            yield names, rows


def export(rules: Rules, text: str, file: BinaryIO, form: Format) -> int:
    """Write the rows of a table, set or SELECT to `file` and return their number.

    Raises Mistake for wrong SQL, UsageError for Parquet without pyarrow.
    """
    text = text if " " in text.strip() else f'SELECT * FROM "{text.strip()}"'
    with query(rules, text) as (columns, rows):
        return write_rows(columns, rows, file, form)


def conquest_config(rules: Rules, *, ae_title: str, port: int) -> tuple[dict[str, str], int]:
    """The files by name with which a Conquest server serves the index, and how many images have a path too long for it.

    Sources that the rules no longer name are no devices.
    """
    with opened(rules) as sets:
        rows = sets.connection.execute("SELECT device, name, CAST(path AS BLOB) FROM rules_sources").fetchall()
        too_long = "SELECT count(*) FROM DICOMImages WHERE length(CAST(ObjectFile AS BLOB)) > ?"
        (unserved,) = sets.connection.execute(too_long, (LONGEST_OBJECT_FILE,)).fetchone()
    named = {tree.name for tree in rules.trees}
    devices = {device: Path(os.fsdecode(path)) for device, name, path in rows if name in named}
    return conquest_files(rules.database.resolve(), devices, rules.dicom_sql, ae_title=ae_title, port=port), unserved


SUMMARY = """
SELECT PatientID, coalesce(Modality, '') AS Modality, count(*) AS number
FROM series GROUP BY PatientID, Modality ORDER BY PatientID, Modality
"""


def summary(rules: Rules) -> Iterator[tuple[str, dict[str, int]]]:
    """Per patient, in the order of PatientID, the number of series of each modality."""
    with query(rules, SUMMARY) as (_, rows):
        for patient, series in groupby(rows, key=itemgetter(0)):
            yield str(patient), {str(modality): int(number or 0) for _, modality, number in series}
