"""Query the index, export tables, and write the configuration of a Conquest server."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO

from pyconquest_rules.app.asserting import assertion_names, assertion_of
from pyconquest_rules.app.opening import opened
from pyconquest_rules.errors import UsageError, did_you_mean
from pyconquest_rules.index.conquest.conquest_config import LONGEST_OBJECT_FILE
from pyconquest_rules.index.conquest.conquest_config import files as conquest_files
from pyconquest_rules.index.query import sql
from pyconquest_rules.index.query.export import Format
from pyconquest_rules.index.query.export import export as write_rows
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.query.sql_mistakes import table_names
from pyconquest_rules.index.store.decisions import DEVICE
from pyconquest_rules.index.store.schema import VIEWS
from pyconquest_rules.rules.misplaced import in_sql
from pyconquest_rules.rules.rules import Rules


@contextmanager
def query(rules: Rules, text: str) -> Iterator[tuple[tuple[str, ...], Iterator[sql.Row]]]:
    """Yield the columns and the rows of a SELECT, or of a set, table, view or expectation by its name.

    [vars] are parameters of the SELECT.

    Raises Mistake for invalid SQL, and UsageError for an unknown name.
    """
    with opened(rules) as sets:
        named = assertion_of(rules, text.strip(), sets)
        text, params = (named.query, named.params) if named else (_of_name(rules, sets, text), rules.values)
        if mistake := in_sql(text):
            raise mistake
        sets.make_named(text, params)
        names, rows = sql.rows(sets.connection, text, params)
        with closing(rows):
            yield names, rows


def _of_name(rules: Rules, sets: Sets, text: str) -> str:
    """Return `text`, or a SELECT of all rows if it is the name of a set, table or view.

    Raises UsageError if it is one word, but not such a name.
    """
    name = text.strip().strip('"')
    if not name or re.search(r"[^\w.:-]", name):
        return text
    known = [*sets.selections, *table_names(sets.connection)]
    if name.lower() not in map(str.lower, known):
        hint = (
            did_you_mean(name, [*known, *assertion_names(rules)])
            or f"sets are: {', '.join(sets.selections) or 'none'}; views are: {', '.join(VIEWS.values())}"
        )
        raise UsageError(f'unknown set, table or view "{name}"; {hint}')
    return f'SELECT * FROM "{name}"'


def export(rules: Rules, text: str, file: BinaryIO, form: Format) -> int:
    """Write the rows of a table, set or SELECT to `file` and return their number.

    Raises Mistake for invalid SQL, and UsageError for an unknown name or for Parquet without pyarrow.
    """
    with query(rules, text) as (columns, rows):
        return write_rows(columns, rows, file, form)


def conquest_config(rules: Rules, *, ae_title: str, port: int) -> tuple[dict[str, str], int]:
    """Return the configuration files of a Conquest server for the index, by name, and the number of images that it cannot serve.

    These images are members of archives, or their paths are too long for Conquest. Sources that the rules no longer have are
    left out.
    """
    with opened(rules) as sets:
        rows = sets.connection.execute("SELECT device, name FROM rules_sources").fetchall()
        too_long = "SELECT count(*) FROM DICOMImages WHERE length(CAST(ObjectFile AS BLOB)) > ? OR instr(ObjectFile, '//')"
        (unserved,) = sets.connection.execute(too_long, (LONGEST_OBJECT_FILE,)).fetchone()
    roots = {tree.name: tree.root for tree in rules.trees}  # the paths in the index may be forged
    devices = {device: roots[name] for device, name in rows if name in roots and DEVICE.fullmatch(str(device))}
    return conquest_files(rules.database.resolve(), devices, rules.dicom_sql, ae_title=ae_title, port=port), unserved


SUMMARY = """
SELECT PatientID, coalesce(Modality, '') AS Modality, count(*) AS number
FROM series GROUP BY PatientID, Modality ORDER BY PatientID, Modality
"""


def summary(rules: Rules) -> Iterator[tuple[str | None, dict[str, int]]]:
    """Yield each PatientID, or None, with the number of series of each modality, in the order of PatientID."""
    with query(rules, SUMMARY) as (_, rows):
        for patient, series in groupby(rows, key=itemgetter(0)):
            yield None if patient is None else str(patient), {str(modality): int(number or 0) for _, modality, number in series}
