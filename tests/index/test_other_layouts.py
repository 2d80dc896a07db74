"""Another table layout: columns that are added, removed or changed."""

import sqlite3
from contextlib import closing

import pytest

from pyconquest_rules.index.conquest.dicom_sql import standard_text
from tests.conftest import Workplace
from tests.index.indexing import RULES, counts, dump, index, rows

COLUMN = """
[[schema.image]]
column = "Number"
tag = "InstanceNumber"
[[schema.study]]
column = "Number"
tag = "StudyID"
"""


def test_a_new_column_is_filled_for_indexed_instances(archive: Workplace) -> None:
    index(archive)
    before = index(archive.rules(RULES + COLUMN))
    assert (before.summary["read"], before.summary["indexed"], before.summary["unchanged"]) == (4, 0, 4)
    assert rows(archive, "SELECT Number FROM images ORDER BY SOPInstanceUID") == [(1,), (2,), (3,), (4,)]
    assert counts(index(archive)) == {"seen": 4, "unchanged": 4}


def test_views_of_users_on_ours_stay_when_columns_are_added(archive: Workplace) -> None:
    index(archive)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("CREATE VIEW mine AS SELECT SOPInstanceUID FROM images WHERE InstanceNumber = 1")
    index(archive.rules(RULES + COLUMN))
    assert rows(archive, "SELECT * FROM mine") == [("1.1",)]


def test_a_changed_index_is_the_same_as_a_new_one(archive: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    index(archive)
    index(archive.rules(RULES + COLUMN))
    changed = dump(archive.folder / "conquest.db")
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    index(archive)
    assert changed == dump(archive.folder / "conquest.db")


def without(*names: str) -> str:
    """Return the standard layout without the rows with these names."""
    return "".join(line for line in standard_text().splitlines(True) if not any(f'"{name}"' in line for name in names))


# The lookups and views of the index are made of some of these.
@pytest.mark.parametrize("name", ["KVP", "SeriesPat", "ImagePat", "FrameOfReferenceUID", "Modality", "ReferencedSOPInstanceUID"])
def test_columns_may_be_removed_and_added_again(archive: Workplace, name: str) -> None:
    index(archive)
    (archive.folder / "dicom.sql").write_text(without(name))
    assert index(archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')).code == 0
    columns = rows(
        archive,
        "SELECT c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.name IN ('DICOMSeries', 'DICOMImages')",
    )
    assert (name[:10],) not in columns
    assert rows(archive, "SELECT count(*) FROM images JOIN series USING (SeriesInstanceUID)") == [(4,)]
    assert index(archive.rules(RULES)).code == 0
    assert rows(archive, "SELECT count(*) FROM images WHERE Modality = 'CT' AND PatientID > ''") == [(3,)]


def test_for_a_column_of_another_length_every_file_is_read_again(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "dicom.sql").write_text(standard_text().replace('"KVP",                       16', '"KVP", 24'))
    archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')
    assert counts(index(archive)) == {"seen": 4, "read": 4, "indexed": 4}


def test_tables_of_other_programs_stay_when_the_columns_change(archive: Workplace) -> None:
    index(archive)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("CREATE TABLE notes AS SELECT 'mine' AS text")
    (archive.folder / "dicom.sql").write_text(standard_text().replace('"KVP",                       16', '"KVP", 24'))
    assert index(archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')).summary["indexed"] == 4
    assert rows(archive, "SELECT * FROM notes") == [("mine",)]
