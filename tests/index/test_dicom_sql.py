"""`dicom.sql`: text that the server's parser accepts, errors of our parser with their positions, and the standard layout."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconquest_rules.dicom import Level, TagPath, keyword, tags
from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.index.conquest.dicom_sql import Column, DICOMType, Layout, SQLType, parse, standard_text

T = TypeVar("T")

BASE = """\
/* a small layout */
*Patient*
{
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0040, "PatientSex", 16, SQL_C_CHAR, DT_STR }
}

*Study*
{
    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0008, 0x0020, "StudyDate", 8, SQL_C_DATE, DT_DATE }
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR }
}

*Series*
{
    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI }
}

*Image*
{
    { 0x0008, 0x0018, "SOPInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }
}

*WorkList*
{
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR, "PID.4" }
}
"""
NAME_ROW = '    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },\n'
PATIENT = ["PatientID", "PatientName", "PatientSex"]


def edited(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new, 1)


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(RulesError) as caught:
        parse(text, file="my.sql")
    return caught.value.problems


def places(text: str) -> list[tuple[int, int]]:
    return [(problem.line, problem.column) for problem in problems(text)]


def names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


TAKEN = [
    pytest.param(BASE, PATIENT, id="baseline"),
    # The server refuses this one; pyconquest skips the line. It is our one leniency.
    pytest.param(edited("*Study*", "# the studies\n*Study*"), PATIENT, id="2 hash comment between sections"),
    pytest.param(BASE.replace("},", "}"), PATIENT, id="4 no commas between rows"),
    pytest.param(
        BASE.replace("0x0010, 0x0010", "16, 0X10").replace("0x0020", "0x20").replace("0x0040", "0064"),
        PATIENT,
        id="5 decimal, short hex, 0X",
    ),
    pytest.param(re.sub(r"\s", "", BASE), PATIENT, id="6 no white space"),
    pytest.param(edited('"PatientSex", 16', '"PatientSex", 0'), PATIENT, id="8 length 0"),
    pytest.param(BASE[: BASE.index("*WorkList*")], PATIENT, id="11 no WorkList"),
    pytest.param(
        BASE + '*Patient*\n{\n{ 0x0010, 0x4000, "Comments", 64, SQL_C_CHAR, DT_STR }\n}\n',
        [*PATIENT, "Comments"],
        id="14 second section appends",
    ),
    pytest.param(BASE.replace("\n", "\r\n"), PATIENT, id="20 CRLF"),
]


@pytest.mark.parametrize(("text", "patient"), TAKEN)
def test_text_that_the_server_accepts_is_accepted(text: str, patient: list[str]) -> None:
    layout = parse(text)
    assert names(layout.patient) == patient
    assert [str(column.tag) for column in layout.patient][:3] == ["0010,0020", "0010,0010", "0010,0040"]
    assert names(layout.series) == ["SeriesInstanceUID", "StudyInstanceUID"]


REFUSED = [
    pytest.param(edited(NAME_ROW, "    /* inner */\n" + NAME_ROW), (5, 5), 'found "/* inner */"', id="1 inner comment"),
    pytest.param(edited("*Study*", "// studies\n*Study*"), (9, 1), 'found "//"', id="3 // comment"),
    pytest.param(
        edited("16, SQL_C_CHAR, DT_STR", '16, SQL_C_CHAR, DT_STR, "PID.8"'), (6, 59), 'expected "}", found ","', id="7 seventh"
    ),
    pytest.param(edited('"PatientSex"', '"PatientNames"'), (6, 23), '"PatientName" of line 5', id="9 alike when cut"),
    pytest.param(edited("*Patient*", "*patient*"), (2, 1), 'expected a section, found "*patient*"', id="10 lower case"),
    pytest.param(edited("SQL_C_CHAR", "SQL_C_INT"), (4, 40), 'expected an SQL type, found "SQL_C_INT"', id="12 SQL_C_INT"),
    pytest.param(edited("DT_STR", "DT_FOO"), (4, 52), 'expected a DICOM type, found "DT_FOO"', id="13 DT_FOO"),
    pytest.param(
        edited("*Study*", "*Extra* { }\n*Study*"), (9, 1), 'expected a section, found "*Extra*"', id="15 unknown section"
    ),
    pytest.param(edited('"PatientName"', '"Patient Name"'), (5, 23), "without a space", id="16 space in a name"),
    pytest.param(edited("DT_STR }", "DT_STR, }"), (4, 58), 'expected "}", found ","', id="17 trailing comma"),
    pytest.param(edited(', "PID.4"', ""), (30, 59), 'expected ",", found "}"', id="18 no seventh field"),
    pytest.param(edited('"PatientName"', "PatientName"), (5, 23), "expected 1 to 31 letters in quotes", id="19 unquoted name"),
]


@pytest.mark.parametrize(("text", "place", "message"), REFUSED)
def test_text_that_the_server_rejects_or_fails_on_is_one_problem_with_its_position(
    text: str, place: tuple[int, int], message: str
) -> None:
    (problem,) = problems(text)
    assert (problem.line, problem.column) == place
    assert message in problem.message
    assert problem.hint
    assert problem.source_line == text.splitlines()[problem.line - 1]
    assert str(problem).startswith(f"my.sql:{place[0]}:{place[1]}: ")


def test_all_20_cases_of_the_log_are_tested() -> None:
    numbers = [str(case.id).split()[0] for case in (*TAKEN, *REFUSED)]
    assert sorted(numbers) == sorted(["baseline", *map(str, range(1, 21))])


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("SQL_C_DATE", "SQL_C_DATUM", "expected an SQL type", 'did you mean "SQL_C_DATE"?'),
        ("DT_DATE", "dt_date", "expected a DICOM type", 'did you mean "DT_DATE"?'),
        ("*Series*", "*Serie*", "expected a section", 'did you mean "*Series*"?'),
        ("*Series*", "Series", "expected a section", 'did you mean "*Series*"?'),
        ("*Study*", "  # indented\n*Study*", 'expected a section, found "#"', "between sections"),
        (NAME_ROW, "    # in a section\n" + NAME_ROW, 'found "#"', "between sections"),
        ("/* a small layout */", "/* a small layout", 'found "/*"', "end it with */"),
        ('"PatientName"', "PatientName", "expected 1 to 31 letters in quotes", 'write "PatientName"'),
        ('"PatientName"', '"PatientName', "expected 1 to 31 letters in quotes", "a row is {"),
        ('"PatientName"', '""', '1 to 31 letters in quotes, without a space, found ""', "a row is {"),
        ('"PatientName"', '"' + "P" * 32 + '"', "1 to 31", "a row is {"),
        ('"PatientName"', '"Näme"', "1 to 31", "a row is {"),
        ('"PatientName"', '"a);drop"', "cannot be the name of a column", "letters, digits and _"),
        ('"PatientName"', '"1st"', "cannot be the name of a column", "letters, digits and _"),
        ('"PID.4"', "PID.4", "expected 1 to 31 letters in quotes", 'write "PID.4"'),
        ('"PID.4"', '"PID.4", ', 'expected "}", found ","', "a row of *WorkList* is"),
        ("0x0010, 0x0010", "0x0010, 0x0000", "Conquest takes element 0 for the end of the section", "remove this row"),
        ("0x0010, 0x0010", "0x00100010, 0x0010", "expected a number from 0 to 0xFFFF", "a row is {"),
        ("0x0010, 0x0010", "65536, 0x0010", "expected a number from 0 to 0xFFFF", "a row is {"),
        ("0x0010, 0x0010", "1" * 5000 + ", 0x0010", "expected a number from 0 to 0xFFFF", "a row is {"),
        ("0x0010, 0x0010", "0010h, 0x0010", "expected a number from 0 to 0xFFFF", "a row is {"),
        ("0x0010, 0x0010", "0x, 0x0010", "expected a number from 0 to 0xFFFF", "a row is {"),
        ("0x0010, 0x0010,", "0x0010,", "expected a number", "a row is {"),
        ("64, SQL_C_CHAR", "SQL_C_CHAR", "expected a number", "a row is {"),
        ('"PatientSex"', '"AccessTimes"', "the column AccessTime that the server adds", "first 10 letters"),
        ('"PatientSex"', '"PATIENTID"', '"PatientID" of line 4', "first 10 letters"),
    ],
)
def test_every_error_has_a_hint(old: str, new: str, message: str, hint: str) -> None:
    (problem,) = problems(edited(old, new))
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_only_the_image_table_has_a_column_objectfile_of_the_server() -> None:
    row = '{{ 0x0008, 0x{:04x}, "ObjectFile", 64, SQL_C_CHAR, DT_STR }},\n    '
    series, image = '{ 0x0020, 0x000e, "SeriesInstanceUID"', '{ 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }\n}'
    assert names(
        parse(
            edited(f"{series}, 64, SQL_C_CHAR, DT_UI }},\n    ", f"{series}, 64, SQL_C_CHAR, DT_UI }},\n    {row.format(1)}")
        ).series
    )
    (problem,) = problems(edited(image, row.format(1) + image))
    assert "ObjectFile that the server adds" in problem.message


@pytest.mark.parametrize("end", ["*Study*\n{", '*Study*\n{\n{ 0x0010, 0x0020, "Pat', "*Study*", "*Study* { {"])
def test_a_truncated_file_is_a_problem_at_its_end(end: str) -> None:
    text = BASE[: BASE.index("*Study*")] + end
    (problem,) = problems(text + "\n\n")
    assert problem.line == text.count("\n") + 1


def test_errors_of_meaning_are_reported_together() -> None:
    text = """\
*Patient*
{
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR }
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR }
    { 0x0010, 0x1001, "PatientNames", 64, SQL_C_CHAR, DT_STR }
}
*Study* { }
*Series*
{
    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }
}
"""
    assert [(found.line, found.column, found.message) for found in problems(text)] == [
        (3, 23, "*Patient* must begin with PatientID"),
        (5, 23, '"PatientNames" has the same first 10 letters as "PatientName" of line 3'),
        (10, 23, "*Series* must end with StudyInstanceUID"),
        (11, 2, "section *Image* is missing or empty"),
        (11, 2, "section *Study* is missing or empty"),
    ]


def test_an_empty_file_lacks_four_sections() -> None:
    assert places("") == [(1, 1)] * 4


def test_the_error_is_shown_under_its_line() -> None:
    with pytest.raises(RulesError) as caught:
        parse(edited("SQL_C_DATE", "SQL_C_DATUM"))
    assert str(caught.value) == (
        'dicom.sql:12:39: expected an SQL type, found "SQL_C_DATUM"\n'
        '   12 |     { 0x0008, 0x0020, "StudyDate", 8, SQL_C_DATUM, DT_DATE }\n'
        "      |                                       ^^^^^^^^^^^\n"
        '      = did you mean "SQL_C_DATE"?'
    )


def test_rows_of_sequences_make_no_column_and_need_no_identifier() -> None:
    row = '    {{ 0x0040, 0x0100, "--------", 0, SQL_C_CHAR, DT_{}SEQUENCE, "---" }}\n'
    text = edited("*WorkList*\n{\n", "*WorkList*\n{\n" + row.format("START") + row.format("END"))
    assert names(parse(text).worklist) == ["PatientID"]


def test_a_column_has_everything_of_its_row() -> None:
    assert parse(BASE).study[1] == Column(TagPath((), 0x00080020), "StudyDate", 8, SQLType.DATE, DICOMType.DATE)
    assert parse(BASE).study[0].column == "StudyInsta"


def test_a_file_of_a_pyconquest_user_is_read() -> None:
    text = """\
# dicom.sql of our department; pyconquest looks at the first three fields only
/*
#   comments of the stock file: *Patient* { 0x0010, 0x0020, "PatientID" }
*/
*Patient*
{
\t{ 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
#\t{ 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },
#/*
        { 0x0010, 0x0030, "PatientBirthDate", 8, SQL_C_DATE, DT_DATE },
}
""" + BASE[BASE.index("*Study*") :]
    assert names(parse(text).patient) == ["PatientID", "PatientBirthDate"]


@pytest.fixture
def shared() -> Path:
    """The folder with measurements of a Conquest server. It is beside the checkout, not part of it."""
    folder = Path(__file__).parents[3] / "shared"
    if not folder.is_dir():
        message = f"{folder} is missing: nothing to compare with"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


def test_the_standard_layout_keeps_the_stock_columns_and_the_link_in_its_place(shared: Path) -> None:
    schema = (shared / "conquest/schema_dgate150e_sqlite.sql").read_text()
    layout = parse(standard_text())
    tables = {"Patients": layout.patient, "Studies": layout.study, "Series": layout.series, "Images": layout.image}
    for table, columns in {**tables, "WorkList": layout.worklist}.items():
        *stock, link = stock_columns(schema, table)
        ours = [(column.column, sql(column)) for column in columns]
        if table in ("Patients", "WorkList"):
            assert ours == [*stock, link]
        assert (ours[: len(stock)], ours[-1]) == (stock, link)


def stock_columns(schema: str, table: str) -> list[tuple[str, str]]:
    statement = next(line for line in schema.splitlines() if line.startswith(f"CREATE TABLE DICOM{table} "))
    columns = re.findall(r"(\w+)\s+((?:var)?char\(\d+\)|int)", statement)
    return columns[: columns.index(("AccessTime", "int"))]


def sql(column: Column) -> str:
    return f"char({column.length})" if column.sql_type is SQLType.DATE else f"varchar({column.length})"


def test_the_standard_layout_adds_the_columns_of_pyconquest() -> None:
    layout = parse(standard_text())
    added = {level: " ".join(c.column for c in layout.level(level)[count:-1]) for level, count in STOCK.items()}
    assert added == {
        Level.STUDY: "OperatorsN",
        Level.SERIES: "Referenced NumberOfFr DoseSummat StructureS OperatorsN ManModelNa",
        Level.IMAGE: "KVP SliceThick ImagePosit ImageOrien PixelSpaci Modality SeriesDesc ExposureTi TubeCurren Exposure "
        "CTDIvol RescaleInt RescaleSlo Rows Colums Pitch RotationTi DoseRight Collimatio",
    }


STOCK = {Level.STUDY: 13, Level.SERIES: 16, Level.IMAGE: 20}
# Conquest's and pyconquest's own names of elements, which old queries use.
OWN_NAMES = {
    "ManModelName": "ManufacturerModelName",
    "Colums": "Columns",
    "ReferPhysician": "ReferringPhysicianName",
    "PatientsAge": "PatientAge",
    "PatientsWeight": "PatientWeight",
    "StudyModality": "ModalitiesInStudy",
    "ModelName": "ManufacturerModelName",
    "SeriesPat": "PatientID",
    "ImageNumber": "InstanceNumber",
    "ImageDate": "ContentDate",
    "ImageTime": "ContentTime",
    "EchoNumber": "EchoNumbers",
    "AcqDate": "AcquisitionDate",
    "AcqTime": "AcquisitionTime",
    "ReceivingCoil": "ReceiveCoilName",
    "AcqNumber": "AcquisitionNumber",
    "PhotoMetricInterpretation": "PhotometricInterpretation",
    "QRows": "Rows",
    "QColumns": "Columns",
    "ImagePat": "PatientID",
    "TubeCurrent": "XRayTubeCurrent",
}


def test_the_standard_layout_reads_the_elements_of_its_column_names() -> None:
    layout = parse(standard_text())
    columns = [column for level in Level for column in layout.level(level)]
    # pyconquest reads private elements of one vendor, without asking for their creator.
    public = [column for column in columns if column.tag.tag >> 16 != 0x01F1]
    assert [keyword(c.tag.tag) for c in public] == [OWN_NAMES.get(c.name, c.name) for c in public]


SERVER_COLUMNS = {"accesstime", "qtimestamp", "qflags", "qspare", "objectfile", "devicename"}
TYPES = [kind for kind in DICOMType if kind not in (DICOMType.STARTSEQUENCE, DICOMType.ENDSEQUENCE)]
SHORT = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True)
COLUMNS = st.builds(
    Column,
    tag=st.builds(lambda group, element: TagPath((), group << 16 | element), st.integers(0, 0xFFFF), st.integers(1, 0xFFFF)),
    name=SHORT.filter(lambda name: name[:10].casefold() not in SERVER_COLUMNS),
    length=st.integers(0, 0xFFFF),
    sql_type=st.sampled_from(SQLType),
    dicom_type=st.sampled_from(TYPES),
)


def levels(level: Level, above: Level | None) -> st.SearchStrategy[tuple[Column, ...]]:
    def key(of: Level) -> Column:
        return Column(TagPath((), tags()[of.key]), of.key, 64, SQLType.CHAR, DICOMType.UI)

    first, last = [key(level)], [key(above)] if above else []
    taken = {column.column.casefold() for column in first + last}
    middle = COLUMNS.filter(lambda column: column.column.casefold() not in taken)
    unique = st.lists(middle, max_size=4, unique_by=lambda column: column.column.casefold())
    return unique.map(lambda columns: (*first, *columns, *last))


LAYOUTS = st.builds(
    Layout,
    patient=levels(Level.PATIENT, None),
    study=levels(Level.STUDY, Level.PATIENT),
    series=levels(Level.SERIES, Level.STUDY),
    image=levels(Level.IMAGE, Level.SERIES),
    worklist=st.lists(COLUMNS, max_size=4, unique_by=lambda column: column.column.casefold()).map(tuple),
)
NUMBER = st.sampled_from(["{}", "0x{:x}", "0X{:04X}", "{:06}", "0x{:012x}"])
SPACE = st.sampled_from(["", " ", "\n", "\r\n", "\t ", "\n# remark }\n", "\r\n#\r\n"])


@dataclass
class Writer:
    """Writes a table layout as text, with all variations that the grammar permits."""

    numbers: Iterator[str]
    spaces: Iterator[str]
    commas: Iterator[str]
    cuts: Iterator[int]

    def layout(self, layout: Layout) -> str:
        levels = [self.section(f"*{level.capitalize()}*", layout.level(level)) for level in Level]
        return "".join([*levels, self.section("*WorkList*", layout.worklist, '"---"')])

    def section(self, title: str, columns: tuple[Column, ...], *hl7: str) -> str:
        rows = [self.row(column, *hl7) for column in columns]
        cut = next(self.cuts)
        return "".join(self.spaced("/* } */", title, "{", *part, "}") for part in (rows[:cut], rows[cut:]))

    def row(self, column: Column, *hl7: str) -> str:
        group, element, length = map(self.number, (column.tag.tag >> 16, column.tag.tag & 0xFFFF, column.length))
        fields = [group, element, f'"{column.name}"', length, column.sql_type, column.dicom_type, *hl7]
        return self.spaced("{", *" , ".join(fields).split(" "), "}", next(self.commas))

    def number(self, value: int) -> str:
        return next(self.numbers).format(value)

    def spaced(self, *tokens: str) -> str:
        return "".join(token + next(self.spaces) for token in tokens)


def endless(values: st.SearchStrategy[T]) -> st.SearchStrategy[Iterator[T]]:
    return st.lists(values, min_size=1, max_size=7).map(cycle)


WRITERS = st.builds(Writer, endless(NUMBER), endless(SPACE), endless(st.sampled_from(["", ","])), endless(st.integers(0, 6)))


@given(LAYOUTS, WRITERS)
def test_a_layout_written_as_text_is_read_back(layout: Layout, writer: Writer) -> None:
    assert parse(writer.layout(layout)) == layout


@given(st.text() | st.lists(st.sampled_from(re.findall(r"\w+|\S|\s", BASE))).map("".join))
def test_invalid_text_raises_only_a_rules_error(text: str) -> None:
    with pytest.raises(RulesError):
        parse(text)
