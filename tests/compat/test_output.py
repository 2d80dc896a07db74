"""What a script prints and logs, and the Python of docs/migrate.md."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from pyconquest_rules.compat.pyconquest import pyconquest
from tests.compat.workdir import DATA, contents
from tests.conftest import REPOSITORY, Instance, Workplace
from tests.docs.blocks import blocks

pytestmark = pytest.mark.usefixtures("here")


MIGRATE = (REPOSITORY / "docs" / "migrate.md").read_text(encoding="utf-8")


def test_the_log_has_no_patient_data(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    secret = "Doe"
    instance("data/Doe/1.dcm", PatientID="Doe", PatientName="Doe^Jane")
    instance("new/1.dcm", PatientID="Doe", PatientComments="other")
    c = pyconquest(loglevel="DEBUG")
    with caplog.at_level(logging.DEBUG, logger="pyconquest"):
        c.rebuild_database_from_dicom()
        for query in (
            "select * from dicompatients where patientid='Doe'",
            "select Doe from dicompatients",
            "select * from Doe",
            "select 'Doe' from dicompatients 'Doe' 'Doe'",
            "insert into dicompatients (patientid) values ('Doe')",
        ):
            c.execute_db_query(query)
        c.insert_dict("Doe", {"Doe": "Doe"})
        c.insert_dict("dicompatients", {"PatientID": "Doe"})
        c.store_dicom_files_from_directory("new")
        c.copy_dicom_files_to_dest(query="select seriesinst from dicomseries", destination="out", UseSubDirectories=True)
        c.rebuild_database_from_dicom(mrn="Doe")
        c.rebuild_database_from_dicom(mrn="Doe2")
        c.delete_series(mrn="Doe")
        c.dump_data_to_csv()
        c.close_db()
    assert len(caplog.records) > 5
    assert secret not in caplog.text


def test_printing_the_summary_is_optional(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DATA, "data")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    c.dicom_series_summary(print_summary=False)
    assert capsys.readouterr().out == ""
    rows = c.dicom_series_summary(orderby="patientid")
    assert capsys.readouterr().out.splitlines()[1] == "1    1CT1          1    0    0       0         0         0       "
    assert rows
    assert rows[0] == {"PatientID": "1CT1", "nrCT": 1, "nrMR": 0, "nrPT": 0, "nrRTSTRUCT": 0, "nrRTDOSE": 0, "nrRTPLAN": 0}
    assert c.dicom_series_summary(orderby="nothing") is None


def test_the_python_of_the_page_runs(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DATA, workplace.folder / "data")
    rules, _ = blocks(MIGRATE, "toml")  # test_network.py runs the parts that need the network
    (workplace.folder / "rules.toml").write_text(rules, encoding="utf-8")
    old, new, _, listed = blocks(MIGRATE, "python")
    exec(old, {})
    assert len(contents("CTdata")) == 10
    exec(new, {})
    said = capsys.readouterr().out
    assert "('PatientID', 'ImageCount') [('1CT1', 1)" in said
    assert "'done': 10" in said
    exec(listed, {})
    assert "['ROI-1']" in capsys.readouterr().out
    names, matches = (workplace.run("query", query, "--json") for query in blocks(MIGRATE, "sql"))
    assert (names.code, names.summary["rows"], matches.code) == (0, 1, 0)


def test_the_page_names_every_method() -> None:
    methods: dict[str, str] = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))
    table = MIGRATE.partition("## Method by method")[2].partition("## What differs")[0]
    for method in methods.keys() - {"__init__"}:
        assert f"`{method}`" in table, method
