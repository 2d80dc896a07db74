"""The tables and views of an index: their columns, and the values that queries return."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pyconquest_rules.dicom import Level, keyword
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.store.schema import LEVELS, VIEWS, schema
from pyconquest_rules.index.store.tables import statements
from tests.conftest import Instance, Workplace
from tests.index.indexing import stored

RULES = """
[sources.archive]
path = "data"
"""

PACKAGED = schema(parse(standard_text()))


def query(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query as the command prints them."""
    done = workplace.run("query", sql, "--json")
    assert done.code == 0, done.err
    return [tuple(line["values"].values()) for line in done.lines if line["event"] == "row"]


def indexed(workplace: Workplace, more: str = "") -> Workplace:
    assert workplace.rules(RULES + more).run("index").code == 0
    return workplace


@pytest.fixture(scope="module")
def empty() -> Iterator[sqlite3.Connection]:
    """An index without a row."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements(PACKAGED):
            connection.execute(statement)
        yield connection


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]


# The tables of Conquest

SERVER = ["AccessTime", "qTimeStamp", "qFlags", "qSpare"]
TABLES = {
    "DICOMPatients": "PatientID PatientNam PatientBir PatientSex",
    "DICOMStudies": """StudyInsta StudyDate StudyTime StudyID StudyDescr AccessionN ReferPhysi PatientsAg PatientsWe StudyModal
        PatientNam PatientBir PatientSex OperatorsN PatientID""",
    "DICOMSeries": """SeriesInst SeriesNumb SeriesDate SeriesTime SeriesDesc Modality PatientPos ContrastBo Manufactur ModelName
        BodyPartEx ProtocolNa StationNam Institutio FrameOfRef SeriesPat Referenced NumberOfFr DoseSummat StructureS OperatorsN
        ManModelNa
        StudyInsta""",
    "DICOMImages": """SOPInstanc SOPClassUI ImageNumbe ImageDate ImageTime EchoNumber NumberOfFr AcqDate AcqTime ReceivingC
        AcqNumber SliceLocat SamplesPer PhotoMetri QRows QColumns BitsStored ImageType ImageID ImagePat KVP SliceThick ImagePosit
        ImageOrien PixelSpaci Modality SeriesDesc ExposureTi TubeCurren Exposure CTDIvol RescaleInt RescaleSlo
        Rows Colums Pitch RotationTi DoseRight Collimatio SeriesInst""",
}


@pytest.mark.parametrize("table", TABLES)
def test_the_columns_of_the_packaged_layout(empty: sqlite3.Connection, table: str) -> None:
    found = columns(empty, table)
    expected = [*TABLES[table].split(), *SERVER, *(["ObjectFile", "DeviceName"] if table == "DICOMImages" else [])]
    assert found[: len(expected)] == expected


LOOKUPS = {
    "study_lnk": "PatientID",
    "idx_patientid_studyinsta": "PatientID StudyInsta",
    "series_lnk": "StudyInsta",
    "series_pat": "SeriesPat",
    "idx_studyinsta_seriesinst": "StudyInsta SeriesInst",
    "images_lnk": "SeriesInst",
    "images_pat": "ImagePat",
    "idx_seriesinst_sopinstanc": "SeriesInst SOPInstanc",
}


def test_the_indexes_of_the_server_but_for_one(empty: sqlite3.Connection, shared: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as server:
        server.executescript((shared / "conquest/schema_dgate150e_sqlite.sql").read_text())
        theirs = {name: lookup for name, lookup in lookups(server).items() if name != "idx_patientid"}
    assert {name: lookup for name, lookup in lookups(empty).items() if not name.startswith("rules_")} == theirs
    assert {name: lookup for name, lookup in theirs.items() if not name.startswith("mods_")} == LOOKUPS


def lookups(connection: sqlite3.Connection) -> dict[str, str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    found = {name: connection.execute("SELECT name FROM pragma_index_info(?)", (name,)).fetchall() for (name,) in names}
    return {name: " ".join(column for (column,) in of) for name, of in found.items()}


# The views of pyconquest


def test_old_queries_of_pyconquest(workplace: Workplace, instance: Instance) -> None:
    instance("data/ct.dcm", SOPInstanceUID="1.1", SeriesInstanceUID="1.2.1", SeriesDescription="axial")
    dose = {"SOPInstanceUID": "1.2", "SeriesInstanceUID": "1.2.2", "Modality": "RTDOSE", "StudyDescription": "head"}
    instance("data/dose.dcm", **dose)
    indexed(workplace)
    assert query(workplace, "select seriesinst, SeriesPat from dicomseries where modality='CT'") == [("1.2.1", "P1")]
    assert query(workplace, "select Objectfile from DICOMImages where Modality='RTDOSE'") == [("dose.dcm",)]
    assert query(workplace, "select ObjectFile,ImagePat from dicomimages where seriesinst='1.2.1'") == [("ct.dcm", "P1")]
    assert query(workplace, "select SeriesInst, SeriesDesc, PatientID from v_series order by 1") == [
        ("1.2.1", "axial", "P1"),
        ("1.2.2", None, "P1"),
    ]
    assert query(workplace, "select SOPInstanc, Modality, ObjectFile from v_seriesRT") == [("1.2", "RTDOSE", "dose.dcm")]


# The views by keyword


@pytest.mark.parametrize("level", LEVELS)
def test_a_view_has_the_keywords_of_its_level_and_of_those_above(empty: sqlite3.Connection, level: Level) -> None:
    expected = {keyword(f.tag.tag) for above in LEVELS[: LEVELS.index(level) + 1] for f in PACKAGED.level(above)}
    # The layout has it in a series for pyconquest, which keeps another UID in it.
    expected -= {"ReferencedSOPInstanceUID", None}
    assert expected <= set(columns(empty, VIEWS[level]))


@pytest.mark.parametrize("level", LEVELS)
def test_no_view_has_a_column_twice(empty: sqlite3.Connection, level: Level) -> None:
    found = [name.lower() for name in columns(empty, VIEWS[level])]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(("level", "counts"), [("patients", 3), ("studies", 2), ("series", 1), ("images", 0)])
def test_a_view_counts_the_levels_below(empty: sqlite3.Connection, level: str, counts: int) -> None:
    names = [name for name in ("StudyCount", "SeriesCount", "ImageCount") if name in columns(empty, level)]
    assert names == ["StudyCount", "SeriesCount", "ImageCount"][3 - counts :]


def test_counts(workplace: Workplace, instance: Instance) -> None:
    for study, series in (("1.2.1", "1.3.1"), ("1.2.1", "1.3.2"), ("1.2.2", "1.3.3")):
        for _ in range(2):
            instance(f"data/{study}-{series}-{_}.dcm", StudyInstanceUID=study, SeriesInstanceUID=series)
    indexed(workplace)
    assert query(workplace, "SELECT StudyCount, SeriesCount, ImageCount FROM patients") == [(2, 3, 6)]
    assert query(workplace, "SELECT SeriesCount, ImageCount FROM studies ORDER BY StudyInstanceUID") == [(2, 4), (1, 2)]
    assert query(workplace, "SELECT ImageCount FROM series") == [(2,), (2,), (2,)]


def test_columns_of_the_levels_above(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientSex="F", StudyDescription="head", SeriesDescription="axial", InstanceNumber=7)
    indexed(workplace)
    above = "PatientID, PatientName, PatientSex, StudyDate, StudyDescription, Modality, SeriesDescription"
    expected = ("P1", "Doe^Jane", "F", "20240203", "head", "CT", "axial")
    for view in ("images", "series"):
        assert query(workplace, f"SELECT {above} FROM {view}") == [expected]
    assert query(workplace, "SELECT PatientID, PatientName, PatientSex, StudyDate FROM studies") == [expected[:4]]


def test_an_image_has_its_path_and_source(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/sub folder/1.dcm")
    indexed(workplace)
    where = "SELECT Source, DeviceName, ObjectFile, FileSize, TransferSyntaxUID FROM images"
    assert query(workplace, where) == [("archive", "MAG0", "sub folder/1.dcm", file.stat().st_size, "1.2.840.10008.1.2.1")]


def test_a_path_that_is_not_utf8(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm")
    shutil.move(file, file.with_name("\udcff\udcfe.dcm"))
    indexed(workplace)
    assert query(workplace, "SELECT Source, FileSize, ObjectFile FROM images") == [("archive", *found(file), "\udcff\udcfe.dcm")]
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection:
        connection.text_factory = bytes
        assert connection.execute("SELECT ObjectFile FROM DICOMImages").fetchall() == [(b"\xff\xfe.dcm",)]


def found(file: Path) -> tuple[int]:
    (moved,) = file.parent.iterdir()
    return (moved.stat().st_size,)


# Two of what should be one


def test_two_patients_in_one_study(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.1", PatientID="P1", PatientName="One")
    instance("data/2.dcm", SOPInstanceUID="1.2", PatientID="P2", PatientName="Two", SeriesInstanceUID="1.2.9")
    instance("data/3.dcm", SOPInstanceUID="1.3", PatientID="P3", PatientName="Three", PatientSex="O")
    indexed(workplace)
    assert query(workplace, "SELECT PatientID, PatientName, ImageCount FROM patients ORDER BY 1") == [
        ("P1", "One", 1),
        ("P2", "Two", 1),
        ("P3", "Three", 1),
    ]
    assert query(workplace, "SELECT SOPInstanceUID, PatientID FROM images ORDER BY 1") == [
        ("1.1", "P1"),
        ("1.2", "P2"),
        ("1.3", "P3"),
    ]
    assert query(workplace, "SELECT PatientID, SeriesCount, ImageCount FROM studies") == [("P1", 2, 3)]


def test_a_series_in_two_studies_is_in_the_first(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", StudyInstanceUID="1.2.1")
    instance("data/2.dcm", StudyInstanceUID="1.2.2")
    indexed(workplace)
    assert query(workplace, "SELECT StudyInstanceUID, ImageCount FROM studies ORDER BY 1") == [("1.2.1", 2), ("1.2.2", 0)]


@pytest.mark.parametrize("missing", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_without_an_identifier(workplace: Workplace, instance: Instance, missing: str) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.1", **{missing: None})
    instance("data/2.dcm", SOPInstanceUID="1.2", **{missing: ""})
    indexed(workplace)
    shown = None if missing == "PatientID" else ""
    assert query(workplace, f"SELECT SOPInstanceUID, {missing} FROM images ORDER BY 1") == [("1.1", shown), ("1.2", shown)]
    for view in ("patients", "studies", "series"):
        assert query(workplace, f"SELECT ImageCount FROM {view}") == [(2,)]


# Values

LONG = 32
PLACEHOLDER = "1234567890" * 3 + "12"


def with_number(instance: Instance, raw: str) -> None:
    """Write an instance with any text as its SliceThickness (DS), which pydicom would not write."""
    file = instance("data/1.dcm", SliceThickness=PLACEHOLDER)
    data = file.read_bytes()
    assert data.count(PLACEHOLDER.encode()) == 1
    file.write_bytes(data.replace(PLACEHOLDER.encode(), raw.encode("latin-1").ljust(LONG)))


NUMBERS: dict[str, object] = {
    "007": 7,
    "1.5": 1.5,
    "-3": -3,
    "+3": 3,
    ".5": 0.5,
    "5.": 5,
    "-.5e-3": -0.0005,
    "1E3": 1000,
    " 2.0 ": 2,
    "-0": 0,
    "99999999999999999999": 1e20,
    "1e300": 1e300,
    # longer than the 16 bytes of the column, which without their end would be other numbers
    "-4.3368086899420e-19": -4.336808689942e-19,
    "123456789.12345678901": 123456789.12345678901,
    "0000000000000000000000012": 12,
}
NO_NUMBERS = [
    "",
    "abc",
    "1.5\\2.5",
    "1,5",
    "1 2",
    "--5",
    "+-5",
    "5-",
    "e5",
    "-e5",
    "1e",
    "1e+",
    "1e5e5",
    "1e5.5",
    "1.2.3",
    ".",
    "-",
]
NO_NUMBERS += ["0x10", "NaN", "inf", "1e400", "-1e999", "5 mm", "1.2345678901234567e-05mm", "é", "1\\2\\3\\4\\5\\6\\7\\8\\9\\10"]


@pytest.mark.parametrize("raw", NUMBERS)
def test_numbers_are_numbers(workplace: Workplace, instance: Instance, raw: str) -> None:
    with_number(instance, raw)
    ((value, kind),) = stored(indexed(workplace), "SELECT SliceThickness, typeof(SliceThickness) FROM images")
    assert value == NUMBERS[raw]
    assert kind in ("integer", "real")


@pytest.mark.parametrize("raw", NO_NUMBERS)
def test_other_text_stays_text(workplace: Workplace, instance: Instance, raw: str) -> None:
    with_number(instance, raw)
    assert stored(indexed(workplace), "SELECT SliceThickness FROM images") == [(raw,)]


def test_numbers_of_several_values_stay_text(workplace: Workplace, instance: Instance) -> None:
    position = [-123.456789012345, -234.567890123456, -345.678901234567]
    instance("data/1.dcm", ImagePositionPatient=[str(number) for number in position], Rows=512, InstanceNumber=12)
    shown = stored(indexed(workplace), "SELECT ImagePositionPatient, Rows, InstanceNumber FROM images")
    assert shown == [("\\".join(map(str, position)), 512, 12)]


def test_the_table_has_the_first_of_several_binary_numbers_and_the_view_all(workplace: Workplace, instance: Instance) -> None:
    row = '    { 0x0028, 0x1101, "Palette", 5, SQL_C_CHAR, DT_UINT16 },\n'
    text = standard_text().replace('    { 0x0018, 0x0060, "KVP",', row + '    { 0x0018, 0x0060, "KVP",')
    (workplace.folder / "dicom.sql").write_text(text)
    instance("data/1.dcm", RedPaletteColorLookupTableDescriptor=[6, 0, 16])
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT Palette FROM DICOMImages") == [("6",)]
    assert stored(workplace, "SELECT RedPaletteColorLookupTableDescriptor FROM images") == [("6\\0\\16",)]


@pytest.mark.parametrize(
    "text", ["d" * 64, "d" * 65, "d" * 1000, "é" * 32, "é" * 33, "ab" + "\u6f22" * 40, "a" + "é" * 60, "😀" * 17]
)
def test_text_is_complete_in_the_view_and_cut_in_the_table(workplace: Workplace, instance: Instance, text: str) -> None:
    instance("data/1.dcm", StudyDescription=text)
    indexed(workplace)
    assert stored(workplace, "SELECT StudyDescription FROM images") == [(text,)]
    ((cut,),) = stored(workplace, "SELECT StudyDescr FROM DICOMStudies")
    assert text.startswith(cut)
    assert 61 <= len(cut.encode()) <= 64


@pytest.mark.parametrize("level", ["Patient", "Study", "Series", "Image"])
def test_long_text_at_every_level(workplace: Workplace, instance: Instance, level: str) -> None:
    long = {"Patient": "PatientName", "Study": "StudyID", "Series": "StationName", "Image": "SpecimenUID"}
    text = "n" * 300
    instance("data/1.dcm", **{long[level]: text})
    more = f'[[schema.{level.lower()}]]\ncolumn = "Mine"\ntag = "{long[level]}"\n'
    indexed(workplace, more)
    view = VIEWS[Level(level.lower())]
    assert stored(workplace, f"SELECT Mine FROM {view}") == [(text,)]
    assert stored(workplace, "SELECT Mine FROM images") == [(text,)]


def test_spaces_around_text(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientID=" P1 ", PatientName="  Doe^Jane  ", StudyDescription="   ", SeriesDescription="")
    indexed(workplace)
    tables = "DICOMImages, DICOMSeries, DICOMStudies, DICOMPatients"
    asked = "DICOMPatients.PatientNam, DICOMStudies.StudyDescr, DICOMSeries.SeriesDesc, ImagePat"
    # By PatientID rows are joined, so it is kept without padding (PS3.5 6.2); all else as a server would store it.
    assert stored(workplace, f"SELECT {asked} FROM {tables}") == [("  Doe^Jane", "", None, "P1")]
    shown = "PatientName, StudyDescription, SeriesDescription, PatientID"
    assert stored(workplace, f"SELECT {shown} FROM images") == [("Doe^Jane", "", None, "P1")]


def test_dates_stay_as_dicom_writes_them(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", StudyDate="1997.04.30", SeriesDate="20240203")
    indexed(workplace)
    assert stored(workplace, "SELECT StudyDate, SeriesDate FROM series") == [("1997.04.30", "20240203")]
    assert stored(workplace, "SELECT StudyDate FROM DICOMStudies") == [("199704",)]


def test_the_modalities_of_a_study_the_newest_first(workplace: Workplace, instance: Instance) -> None:
    for number, modality in enumerate(["CT", "RTSTRUCT", "CT", "RTPLAN", None, "RTSTRUCT"]):
        instance(f"data/{number}.dcm", SeriesInstanceUID=f"1.3.{number}", Modality=modality)
    indexed(workplace)
    assert query(workplace, "SELECT ModalitiesInStudy FROM studies") == [("RTPLAN\\RTSTRUCT\\CT",)]


# Columns that the rules add

ADDED = """
[[schema.patient]]
column = "Comments"
tag = "PatientComments"
[[schema.patient]]
column = "PatientWeightKg"
tag = "PatientWeight"
[[schema.study]]
column = "Physician"
tag = "0008,0090"
[[schema.series]]
column = "Angle"
tag = "BeamSequence[0].ControlPointSequence[1].GantryAngle"
[[schema.series]]
column = "BeamNames"
tag = "300a,00b0[*].300a,00c2"
[[schema.image]]
column = "SoftwareVersions"
tag = "SoftwareVersions"
[[schema.image]]
column = "SiteScanId"
tag = '0011,"ACME SITE 1",20'
"""


def beam(name: str, *angles: float) -> Dataset:
    found = Dataset()
    found.BeamName = name
    found.ControlPointSequence = Sequence()
    for angle in angles:
        point = Dataset()
        point.GantryAngle = angle
        found.ControlPointSequence.append(point)
    return found


def test_columns_that_the_rules_add(workplace: Workplace, instance: Instance) -> None:
    instance(
        "data/1.dcm",
        PatientComments="  frail ",
        PatientWeight="70.50",
        ReferringPhysicianName="Who^Doctor",
        BeamSequence=Sequence([beam("one", 90, 180.5), beam("two")]),
        SoftwareVersions=["1.0", "2.0"],
    )
    indexed(workplace, ADDED)
    assert query(workplace, "SELECT Comments, PatientWeightKg FROM patients") == [("frail", 70.5)]
    assert query(workplace, "SELECT Physician, Comments FROM studies") == [("Who^Doctor", "frail")]
    assert query(workplace, "SELECT Angle, BeamNames FROM series") == [(180.5, "one\\two")]
    everything = "SELECT SoftwareVersions, SiteScanId, Angle, Physician, PatientWeightKg FROM images"
    assert query(workplace, everything) == [("1.0\\2.0", None, 180.5, "Who^Doctor", 70.5)]


def test_an_added_column_has_ten_letters_in_its_table(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", PatientComments="frail", PatientWeight="70")
    indexed(workplace, ADDED)
    assert query(workplace, "SELECT Comments, PatientWei FROM DICOMPatients") == [("frail", "70")]


@pytest.mark.parametrize("column", ["ObjectFile", "AccessTime", "KVP", "SliceThickening", "Source", "patientid", "hash"])
def test_an_added_column_that_exists_is_an_error_of_the_rules(workplace: Workplace, column: str) -> None:
    done = workplace.rules(f'{RULES}[[schema.image]]\ncolumn = "{column}"\ntag = "SoftwareVersions"\n').run("check")
    assert (done.code, "rules.toml:" in done.err) == (2, True)


@pytest.mark.parametrize("column", ['x" text); DROP TABLE DICOMImages; --', "x'y", "a b", "", "1a", "ä", "a\n"])
def test_the_name_of_an_added_column_cannot_be_sql(workplace: Workplace, column: str) -> None:
    added = f"[[schema.image]]\ncolumn = {json.dumps(column)}\ntag = 'SoftwareVersions'\n"
    done = workplace.rules(RULES + added).run("check")
    assert (done.code, "rules.toml:" in done.err) == (2, True)


@pytest.mark.parametrize("name", ['"x\'y"', '"a;b"', '"a-b"', '"1a"', '"a\\"b"'])
def test_the_name_of_a_column_in_dicom_sql_cannot_be_sql(workplace: Workplace, name: str) -> None:
    (workplace.folder / "dicom.sql").write_text(standard_text().replace('"KVP"', name))
    assert workplace.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}').run("check").code == 2


@pytest.mark.parametrize("word", ["select", "Order", "group", "rowid", "_rowid_", "oid", "value", "key", "i", "p"])
def test_words_of_sql_are_fine_as_names(workplace: Workplace, instance: Instance, word: str) -> None:
    instance("data/1.dcm", SoftwareVersions="9", Modality="CT")
    instance("data/2.dcm", SoftwareVersions="8", Modality="MR", SeriesInstanceUID="1.2.9")
    text = standard_text()
    for row in ('    { 0x0018, 0x0060, "KVP",', '    { 0x0020, 0x0011, "SeriesNumber",'):
        text = text.replace(row, f'    {{ 0x0018, 0x1020, "{word}", 16, SQL_C_CHAR, DT_STR }},\n{row}')
    (workplace.folder / "dicom.sql").write_text(text)
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT SoftwareVersions FROM images ORDER BY 1") == [("8",), ("9",)]
    assert stored(workplace, "SELECT ModalitiesInStudy FROM studies") == [("MR\\CT",)]
    (workplace.folder / "data/1.dcm").unlink()
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT SoftwareVersions FROM series") == [("8",)]


def test_a_tag_that_a_section_of_dicom_sql_has_twice(workplace: Workplace, instance: Instance) -> None:
    text = standard_text().replace(
        '"SeriesPat", ', '"SeriesPat", 64, SQL_C_CHAR, DT_STR },\n    { 0x0010, 0x0020, "SecondPatient", '
    )
    (workplace.folder / "dicom.sql").write_text(text)
    instance("data/1.dcm")
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT SeriesPat, SecondPati FROM DICOMSeries") == [("P1", "P1")]
    assert "SecondPatient" not in workplace.run("query", "select * from series", "--json").lines[0]["values"]


def test_the_smallest_layout(workplace: Workplace, instance: Instance) -> None:
    links = [
        ("PatientID", "0x0010, 0x0020"),
        ("StudyUID", "0x0020, 0x000d"),
        ("SeriesUID", "0x0020, 0x000e"),
        ("SOPUID", "0x0008, 0x0018"),
    ]
    text = ""
    for number, title in enumerate(("Patient", "Study", "Series", "Image")):
        rows = [links[number], *links[max(0, number - 1) : number]]
        text += f"*{title}*\n{{\n" + ",\n".join(f' {{ {tag}, "{name}", 64, SQL_C_CHAR, DT_STR }}' for name, tag in rows) + "\n}\n"
    (workplace.folder / "dicom.sql").write_text(text)
    instance("data/1.dcm")
    instance("data/2.dcm", PatientID="P2", SeriesInstanceUID="1.2.9")
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT PatientID, SeriesCount FROM studies") == [("P1", 2)]
    (workplace.folder / "data/1.dcm").unlink()
    indexed(workplace, '[index]\ndicom_sql = "dicom.sql"\n')
    assert stored(workplace, "SELECT count(*) FROM images") == [(1,)]
