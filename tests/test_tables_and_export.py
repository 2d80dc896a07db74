"""CSV files as tables in SQL, and `export`."""

import csv
import gc
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[tables.cohort]
csv = "cohort.csv"
delimiter = ";"
columns = { mrn = "PatientID" }
types = { age = "integer", dose = "real" }
key = ["PatientID"]

[select.chosen]
level = "patient"
query = "select PatientID, subject from patients join cohort using (PatientID) where age >= 18"

[copy.export]
select = "chosen"
to = "export/{{ subject }}/{{ SOPInstanceUID }}.dcm"
"""
COHORT = "mrn;subject;age;dose\nP1;S-01;64;60.5\nP2;S-02;12;\n"


@pytest.fixture
def clinic(workplace: Workplace, instance: Instance) -> Workplace:
    """An index with two patients, and a CSV table of them."""
    instance("data/1.dcm", PatientID="P1", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1")
    instance("data/2.dcm", PatientID="P2", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")
    (workplace.folder / "cohort.csv").write_text(COHORT)
    return workplace.rules(RULES)


def test_queries_and_templates_can_use_a_table(clinic: Workplace) -> None:
    assert clinic.run("apply").code == 0
    assert [name.split("/")[0] for name in clinic.files("export")] == ["S-01"]
    (row, _) = clinic.run("query", "select * from cohort where age = 64", "--json").lines
    assert row["values"] == {"PatientID": "P1", "subject": "S-01", "age": 64, "dose": 60.5}


def test_a_table_is_replaced_when_its_file_changes(clinic: Workplace) -> None:
    clinic.run("apply")
    (clinic.folder / "cohort.csv").write_text(COHORT.replace("12", "18"))
    assert clinic.run("apply", "--json").summary["done"] == 1
    assert sorted(name.split("/")[0] for name in clinic.files("export")) == ["S-01", "S-02"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mrn;subject;age;dose\nP1;a;1;1\nP1;b;1;1\n", "cohort.csv:3: a key is repeated"),
        ("mrn;subject;age;dose\n;a;1;1\n", "cohort.csv:2: a key is empty"),
        ("mrn;subject;age;dose\nP1;a;old;1\n", "cohort.csv:2: a value is not of type integer"),
        ("mrn;subject;age;dose\nP1;a;1\n", "cohort.csv:2: 3 values for 4 columns"),
    ],
)
def test_an_invalid_row_is_an_error_and_the_table_stays(clinic: Workplace, text: str, message: str) -> None:
    clinic.run("index")
    (clinic.folder / "cohort.csv").write_text(text)
    done = clinic.run("index")
    assert done.code == 1
    assert message in done.err
    assert "P1" not in done.err
    assert clinic.run("query", "select count(*) as n from cohort", "--json").lines[0]["values"] == {"n": 2}


def test_check_knows_the_columns_of_the_table(clinic: Workplace) -> None:
    clinic.rules(RULES.replace("subject from patients", "subjct from patients"))
    done = clinic.run("check")
    assert done.code == 2
    assert 'unknown column "subjct"' in done.err
    assert 'did you mean "subject"' in done.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('key = ["PatientID"]', 'key = ["Patient"]', 'there is no column "Patient"'),
        ('csv = "cohort.csv"', 'csv = "cohrt.csv"', "cannot read"),
        ("[tables.cohort]", "[tables.series]", 'the index already has a table "series"'),
        ('age = "integer"', 'age = "number"', "must be"),
    ],
)
def test_check_finds_errors_of_a_table(clinic: Workplace, old: str, new: str, message: str) -> None:
    clinic.rules(RULES.replace(old, new))
    done = clinic.run("check")
    assert done.code == 2
    assert message in done.err


def test_a_table_that_the_rules_no_longer_have_is_removed(clinic: Workplace) -> None:
    clinic.run("index")
    clinic.rules('[sources.archive]\npath = "data"\n').run("index")
    assert 'unknown table "cohort"' in clinic.run("query", "select * from cohort").err


QUERY = "select PatientID, InstanceNumber, StudyDate from images order by PatientID"


def test_rows_as_csv(clinic: Workplace) -> None:
    clinic.run("index")
    assert clinic.run("export", QUERY, "-o", "rows.csv", "--json").summary["rows"] == 2
    with (clinic.folder / "rows.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["PatientID", "InstanceNumber", "StudyDate"],
            ["P1", "1", "20240203"],
            ["P2", "2", "20240203"],
        ]


def test_rows_as_json_lines(clinic: Workplace) -> None:
    clinic.run("index")
    clinic.run("export", QUERY, "-o", "rows.jsonl")
    lines = [json.loads(line) for line in (clinic.folder / "rows.jsonl").read_text().splitlines()]
    assert lines[0] == {"PatientID": "P1", "InstanceNumber": 1, "StudyDate": "20240203"}


def test_rows_as_parquet(clinic: Workplace) -> None:
    clinic.run("index")
    clinic.run("export", QUERY, "-o", "rows.parquet")
    table = pyarrow.parquet.read_table(clinic.folder / "rows.parquet")
    assert table.to_pydict() == {"PatientID": ["P1", "P2"], "InstanceNumber": [1, 2], "StudyDate": ["20240203", "20240203"]}
    assert str(table.schema.field("InstanceNumber").type) == "int64"


@pytest.mark.parametrize("what", ["chosen", "cohort", "series", "DICOMSeries"])
def test_sets_tables_and_views_by_name(clinic: Workplace, what: str) -> None:
    clinic.run("index")
    assert clinic.run("export", what, "-o", "rows.csv").code == 0
    assert (clinic.folder / "rows.csv").stat().st_size > 0


def test_a_failed_export_keeps_the_existing_file(clinic: Workplace) -> None:
    clinic.run("index")
    (clinic.folder / "rows.csv").write_text("before")
    assert clinic.run("export", "select nothing from series", "-o", "rows.csv").code == 2
    assert clinic.run("export", "series", "-o", "rows.xyz").code == 2
    assert (clinic.folder / "rows.csv").read_text() == "before"
    assert [name for name in os.listdir(clinic.folder) if name.endswith(".part")] == []


def test_the_files_for_a_conquest_server(clinic: Workplace) -> None:
    clinic.run("index")
    assert clinic.run("conquest-config", "-o", "server", "--port", "4242").code == 0
    ini = (clinic.folder / "server" / "dicom.ini").read_text()
    assert f"MAGDevice0               = {clinic.folder / 'data'}/\n" in ini
    assert f"SQLServer                = {clinic.folder / 'conquest.db'}\n" in ini
    assert "4242" in (clinic.folder / "server" / "acrnema.map").read_text()
    standard = (Path(__file__).parent.parent / "dicom.sql").read_text()
    assert (clinic.folder / "server" / "dicom.sql").read_text() == standard
    assert "MAGDevice0" in clinic.run("conquest-config").out


def ini(clinic: Workplace) -> dict[str, str]:
    """Return the keys of dicom.ini with their values, without comments."""
    assert clinic.run("conquest-config", "-o", "server").code == 0
    lines = (clinic.folder / "server" / "dicom.ini").read_text().splitlines()
    return dict(map(str.strip, line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#"))  # type: ignore[misc]


def test_a_conquest_server_refuses_stores_and_names_the_character_set(clinic: Workplace) -> None:
    clinic.run("index")
    keys = ini(clinic)
    assert (keys["ImportConverters"], keys["ImportConverter0"]) == ("1", "reject")
    assert keys["QueryResultConverter0"] == 'set 0008,0005 to "ISO_IR 192"'
    assert keys["Dictionary"] == "dgate.dic"
    assert "ReadOnly" not in keys, "the server has no such key"
    text = (clinic.folder / "server" / "dicom.ini").read_text()
    assert "read-only" not in text
    assert "Deletes are NOT" in text
    assert "cannot write" in text
    assert "-w" in clinic.run("conquest-config", "-o", "server").out


def test_only_sources_of_the_rules_are_devices_of_a_conquest_server(workplace: Workplace, instance: Instance) -> None:
    for name in ("first", "second", "third"):
        instance(f"{name}/1.dcm", PatientID=name, StudyInstanceUID=f"1.{name}")
    source = '[sources.{0}]\npath = "{0}"\n'.format
    workplace.rules(source("first") + source("second") + source("third")).run("index")
    assert {key for key in ini(workplace) if key.startswith("MAGDevice")} >= {"MAGDevice0", "MAGDevice1", "MAGDevice2"}
    workplace.rules(source("first") + source("third"))
    for index in (False, True):
        if index:
            workplace.run("index", "--allow-vanish")
        keys = ini(workplace)
        assert keys["MAGDevice2"] == f"{workplace.folder / 'third'}/"
        assert "MAGDevice1" not in keys
        assert keys["MAGDevices"] == "3"
    keys = ini(workplace.rules(source("first")))
    assert [key for key in keys if key.startswith("MAGDevice") and key[9:].isdigit()] == ["MAGDevice0"]


@pytest.mark.parametrize(("length", "warned"), [(200, 0), (255, 0), (256, 1), (300, 1), (700, 1)])
@pytest.mark.parametrize("letter", ["d", "é"])
def test_paths_that_are_too_long_for_a_conquest_server_are_counted(
    workplace: Workplace, instance: Instance, length: int, warned: int, letter: str
) -> None:
    size = len(letter.encode())
    folders, left = [], length - len("1.dcm")
    while left:  # parts with their slash, none longer than a file system allows
        part = min(left, 101)
        folders.append(letter * ((part - 1) // size) + "x" * ((part - 1) % size))
        left -= part
    path = "/".join([*folders, "1.dcm"])
    assert len(path.encode()) == length
    instance(f"data/{path}")
    instance("data/short.dcm")
    workplace.rules('[sources.archive]\npath = "data"\n').run("index")
    done = workplace.run("conquest-config", "-o", "server")
    assert (done.code, "1 image has a path longer than 255 bytes" in done.err) == (0, bool(warned))
    lines = workplace.run("conquest-config", "--json").lines
    assert [line["images"] for line in lines if line["event"] == "warning"] == [1] * warned


def test_a_path_that_dicom_ini_cannot_hold_is_refused(workplace: Workplace, instance: Instance) -> None:
    instance("da\nImportConverters = 0/1.dcm")
    rules = '[sources.archive]\npath = "da\\nImportConverters = 0"\n'
    assert workplace.rules(rules).run("index").code == 0
    done = workplace.run("conquest-config", "-o", "server")
    assert done.code == 2
    assert "control characters" in done.err
    assert not (workplace.folder / "server" / "dicom.ini").exists()


def many(number: int) -> str:
    """Return a query with so many rows of some hundred bytes."""
    series = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {number})"
    return f"{series} select i, i * 0.5 as half, printf('%099d', i) as text from n"


def peak_of(clinic: Workplace, *arguments: str) -> int:
    """Return the peak memory of a command, of Python and of Arrow, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        done = clinic.run(*arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.code == 0, done.err
    return peak - 2 * len(done.out)  # what the test itself keeps of it


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "ndjson", "parquet"])
def test_export_holds_few_rows_in_memory(clinic: Workplace, suffix: str) -> None:
    clinic.run("index")
    few, more = (peak_of(clinic, "export", many(number), "-o", f"rows.{suffix}") for number in (25_000, 75_000))
    assert more < few + 1_000_000


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_query_holds_few_rows_in_memory(clinic: Workplace, form: str) -> None:
    clinic.run("index")
    code = "import resource, sys; from pyconquest_rules.cli.main import main; import atexit, os; exit_ = os._exit\n"
    code += "os._exit = lambda code: (sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)), exit_(code))\n"
    code += "main()"

    def kilobytes(number: int) -> int:
        command = [sys.executable, "-c", code, "query", many(number), "--format", form]
        done = subprocess.run(
            command, cwd=clinic.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
        )
        return int(done.stderr)

    assert kilobytes(100_000) < kilobytes(2_000) + 8_000


@pytest.mark.parametrize("value", ["plain", "a\nb", "a\rb", "a\r\nb", 'with "quotes"', "a,b", "\r\n", "ends\r\n", ""])
@pytest.mark.parametrize("command", ["export", "query"])
def test_lines_of_csv_end_with_lf_for_any_values(clinic: Workplace, value: str, command: str) -> None:
    clinic.run("index")
    literal = value.replace("\r", "' || char(13) || '").replace("\n", "' || char(10) || '")
    query = f"select 1 as n, '{literal}' as value union all select 2, NULL"
    if command == "export":
        clinic.run("export", query, "-o", "rows.csv")
        text = (clinic.folder / "rows.csv").read_bytes().decode()
    else:
        text = clinic.run("query", query, "--format", "csv").out
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["n", "value"], ["1", value], ["2", ""]]
    assert text.startswith("n,value\n1,")
    assert text.endswith("\n2,\n")
    assert text.count("\r") == value.count("\r")


def test_a_table_is_as_wide_as_its_first_rows_need(clinic: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.run("index")
    monkeypatch.setattr("pyconquest_rules.render.terminal.MEASURED", 2)
    query = "select 'a' as x, 1 as y union all select 'abc', 2 union all select 'abcdef', 3"
    assert clinic.run("query", query).out.splitlines() == ["x    y", "a    1", "abc  2", "abcdef  3"]


MODALITIES = "CT MR PT US XA DX CR MG NM OT SC SEG REG PR KO SR RTSTRUCT RTPLAN RTDOSE RTIMAGE".split()  # noqa: SIM905


@pytest.mark.parametrize(
    ("modalities", "columns", "is_table"),
    [(2, 80, True), (8, 80, True), (20, 80, False), (20, 200, True), (20, 40, False), (3, 24, False), (20, 120, False)],
)
def test_a_summary_fits_the_terminal(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, modalities: int, columns: int, is_table: bool
) -> None:
    for patient in ("P1", "A-rather-long-patient-id-1234567890", ""):
        for number, modality in enumerate(MODALITIES[:modalities]):
            uid = f"1.{len(patient)}.{number}"
            instance(f"data/{uid}.dcm", PatientID=patient, Modality=modality, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1")
    workplace.rules('[sources.a]\npath = "data"\n').run("index")
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = workplace.run("summary").out.splitlines()
    assert lines[0].startswith("PatientID ") is is_table
    room = max(columns, len("A-rather-long-patient-id-1234567890"))
    assert max(map(len, lines)) <= room, lines
    text = "\n".join(lines)
    assert all(re.search(rf"\b{modality}\b", text) for modality in MODALITIES[:modalities])
    if not is_table:
        assert text.count("RTSTRUCT 1") == (3 if modalities > 16 else 0)
        assert "(none)" in text
