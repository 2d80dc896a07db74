"""Padding of the Standard is not part of a key: spaces and NULs around a PatientID or UID are ignored."""

import json
from pathlib import Path

import pytest

from tests import raw
from tests.conftest import Workplace
from tests.index.indexing import stored
from tests.index.queries import tuples
from tests.index.written import Elements, put
from tests.peers.processes import free_port, storescp_at
from tests.raw import LITTLE, ROOT, Tag

RULES = """
outputs = ["out"]
[sources.data]
path = "data"
[select.p]
level = "patient"
where = "PatientID = 'P1'"
[copy.c]
select = "p"
to = "out/{{ PatientID }}/{{ StudyInstanceUID }}/{{ SOPInstanceUID }}.dcm"
"""


PATIENTS: list[tuple[str, bytes]] = [
    ("LO", b" P1 "),
    ("LO", b"   P1"),
    ("LO", b"P1\0\0"),
    ("LO", b"P1 \0 \0 "),
    ("SH", b" P1\0"),
    ("CS", b"  P1"),
    ("UN", b" P1 "),
    ("LT", b" P1 "),
]


@pytest.mark.parametrize("written", [LITTLE, raw.IMPLICIT_LITTLE])
@pytest.mark.parametrize(("vr", "value"), PATIENTS)
def test_a_padded_patient_is_the_same_patient(workplace: Workplace, vr: str, value: bytes, written: raw.Written) -> None:
    put(workplace, "padded.dcm", 1, {"PatientID": (vr, value)}, written)
    put(workplace, "plain.dcm", 2)
    workplace.rules(RULES)
    index = workplace.run("index", "--json").summary
    assert (index["indexed"], index["contradictions"]) == (2, {})
    assert tuples(workplace, "select PatientID, StudyCount, ImageCount from patients") == [("P1", 1, 2)]
    keys = "SELECT DISTINCT ImagePat, SeriesPat, DICOMStudies.PatientID FROM DICOMImages, DICOMSeries, DICOMStudies"
    assert stored(workplace, keys) == [("P1", "P1", "P1")]
    assert workplace.run("apply", "--json").summary["done"] == 2
    assert {name.split("/")[0] for name in workplace.files("out")} == {"P1"}


UIDS: list[bytes] = [b"%s\0", b"%s\0\0\0", b" %s", b"  %s ", b"%s \0 ", b"\0%s\0", b" \0 %s"]


def padded(form: bytes, uid: str) -> tuple[str, bytes]:
    """Return a UID in one of the forms, with an even number of bytes."""
    value = form % uid.encode()
    return "UI", value + b"\0" * (len(value) % 2)


@pytest.mark.parametrize("form", UIDS)
def test_padded_uids_name_the_same_study_series_and_instance(workplace: Workplace, form: bytes) -> None:
    study, series = f"{ROOT}.0.1", f"{ROOT}.0.2"
    same: Elements = {"StudyInstanceUID": padded(form, study), "SeriesInstanceUID": padded(form, series)}
    put(workplace, "1.dcm", 1, same | {"SOPInstanceUID": padded(form, f"{ROOT}.1")})
    put(workplace, "2.dcm", 2)
    put(workplace, "again.dcm", 1)
    workplace.rules(RULES)
    index = workplace.run("index", "--json").summary
    # Both files of instance 1 are read as one instance, of other bytes where the padding differs.
    assert (index["indexed"], index["conflict"] + index["duplicate"], index["contradictions"]) == (2, 1, {})
    assert tuples(workplace, "select StudyInstanceUID, SeriesCount, ImageCount from studies") == [(study, 1, 2)]
    assert tuples(workplace, "select SeriesInstanceUID, ImageCount from series") == [(series, 2)]
    explained = workplace.run("explain", f" {ROOT}.1 ", "--json").lines
    assert explained[0]["SOPInstanceUID"] == f"{ROOT}.1"


@pytest.mark.parametrize("value", [b"", b"  ", b"\0\0", b"\0\0\0\0", b" \0 \0", b"      "])
def test_a_patient_of_padding_alone_is_missing(workplace: Workplace, value: bytes) -> None:
    put(workplace, "1.dcm", 1, {"PatientID": ("LO", value)})
    put(workplace, "2.dcm", 2, {"PatientID": b""})
    workplace.rules(RULES.replace("PatientID = 'P1'", "PatientID is null"))
    assert workplace.run("index", "--json").summary["indexed"] == 2
    assert tuples(workplace, "select PatientID, ImageCount from patients") == [(None, 2)]
    plan = workplace.run("plan", "--json").summary
    assert plan["reasons"] == {"blocked:missing-value": 2}


def rt(number: int, modality: str, frame: str | bytes, more: Elements) -> Elements:
    own: Elements = {"Modality": ("CS", modality), "SeriesInstanceUID": ("UI", f"{ROOT}.3.{number}")}
    return own | {"FrameOfReferenceUID": ("UI", frame)} | more


@pytest.mark.parametrize("form", [b"%s\0", b" %s", b"%s  ", b"\0\0%s", b" %s\0\0"])
@pytest.mark.parametrize("modality", ["RTPLAN", " RTPLAN"])
def test_references_are_found_whatever_their_padding(workplace: Workplace, form: bytes, modality: str) -> None:
    def sequence(tag: Tag, uid: str) -> bytes:
        return LITTLE.sequence(tag, LITTLE.item(LITTLE.element("ReferencedSOPInstanceUID", "UI", form % uid.encode())))

    def frames(uid: str) -> bytes:
        item = LITTLE.item(LITTLE.element("FrameOfReferenceUID", "UI", form % uid.encode()))
        return LITTLE.sequence("ReferencedFrameOfReferenceSequence", item)

    frame = f"{ROOT}.7"
    put(workplace, "ct.dcm", 1, {"FrameOfReferenceUID": ("UI", b" " + frame.encode())})
    put(workplace, "struct.dcm", 2, rt(2, "RTSTRUCT", "", {"ReferencedFrameOfReferenceSequence": frames(frame)}))
    plan: Elements = {"ReferencedStructureSetSequence": sequence("ReferencedStructureSetSequence", f"{ROOT}.2")}
    put(workplace, "plan.dcm", 3, rt(3, modality, b" " + frame.encode(), plan))
    assert workplace.rules(RULES).run("index", "--json").summary["indexed"] == 3
    found = tuples(workplace, "select Modality, Method, ReferencedSeriesInstanceUID from referenced order by 1, 2")
    ct, struct = f"{ROOT}.0.2", f"{ROOT}.3.2"
    assert found == [
        ("RTPLAN", "frame-of-reference", ct),
        ("RTPLAN", "uid", struct),
        ("RTSTRUCT", "frame-of-reference", ct),
    ]
    assert tuples(workplace, f"select ReferencedSOPUID from images where SOPInstanceUID = '{ROOT}.3'") == [(f"{ROOT}.2",)]


@pytest.mark.parametrize(
    ("level", "key"),
    [
        ("patient", "' P1 ' as PatientID"),
        ("patient", "'  P1' as ImagePat"),
        ("study", f"'{ROOT}.0.1 ' as StudyInstanceUID"),
        ("series", f"' {ROOT}.0.2' as SeriesInst"),
        ("image", f"'  {ROOT}.1  ' as SOPInstanceUID"),
    ],
)
def test_a_key_of_a_query_may_be_padded(workplace: Workplace, level: str, key: str) -> None:
    put(workplace, "1.dcm", 1)
    select = f'[select.p]\nlevel = "{level}"\nquery = "select {key}"\n'
    workplace.rules(RULES.replace('[select.p]\nlevel = "patient"\nwhere = "PatientID = \'P1\'"\n', select))
    assert workplace.run("plan", "--json").summary["todo"] == 1
    assert workplace.run("explain", f"{ROOT}.1", "--json").lines[0]["sets"] == ["p"]


@pytest.mark.parametrize("what", [" P1", "P1 ", f" {ROOT}.0.1", f"{ROOT}.0.2  ", f"  {ROOT}.1 "])
def test_forget_and_explain_take_padded_names(workplace: Workplace, what: str) -> None:
    put(workplace, "1.dcm", 1, {"PatientID": ("LO", " P1")})
    workplace.rules(RULES).run("index")
    assert workplace.run("explain", what).code == 0
    assert workplace.run("forget", what, "--yes", "--json").summary["images"] == 1


def test_a_csv_table_joins_padded_patients(workplace: Workplace) -> None:
    for number, patient in enumerate([b" P1 ", b"P2\0\0", b"   P3", b"P4  \0 ", b" P5\0 "], start=1):
        uid = f"{ROOT}.0.{number}0"
        own: Elements = {"StudyInstanceUID": ("UI", uid), "SeriesInstanceUID": ("UI", f"{uid}.1")}
        put(workplace, f"{number}.dcm", number, own | {"PatientID": ("LO", patient)})
    (workplace.folder / "cohort.csv").write_text("PatientID,arm\n P1,a\nP2 ,b\nP3,c\n  P4,d\nP5,e\n")
    workplace.rules(RULES + '[tables.cohort]\ncsv = "cohort.csv"\nkey = ["PatientID"]\n').run("index")
    joined = "select arm, count(*) from cohort join images using (PatientID) group by arm order by arm"
    assert tuples(workplace, joined) == [(arm, 1) for arm in "abcde"]


def test_other_values_are_stored_as_a_server_stores_them(workplace: Workplace) -> None:
    kept: Elements = {
        "StationName": ("SH", " ward"),
        "BodyPartExamined": ("CS", "  HEAD"),
        "ProtocolName": ("LO", " a "),
        "SeriesDescription": ("LO", "   b"),
        "SOPClassUID": ("UI", raw.CT),
    }
    put(workplace, "1.dcm", 1, kept)
    workplace.rules(RULES).run("index")
    columns = "StationNam, BodyPartEx, ProtocolNa, SeriesDesc"
    assert stored(workplace, f"SELECT {columns} FROM DICOMSeries") == [(" ward", "  HEAD", " a", "   b")]
    shown = "StationName, BodyPartExamined, ProtocolName, SeriesDescription"
    assert tuples(workplace, f"select {shown} from series") == [("ward", "HEAD", "a", "b")]


LONG_UIDS = ["1." + "2" * length for length in (63, 64, 80, 100, 126)]


@pytest.mark.parametrize("uid", LONG_UIDS)
def test_an_instance_with_a_long_uid_is_indexed_noted_copied_and_not_sent(workplace: Workplace, uid: str) -> None:
    file = put(workplace, "1.dcm", 1, {"SOPInstanceUID": ("UI", uid)})
    send = '[nodes.n]\nae_title = "N"\nhost = "127.0.0.1"\nport = 9\n[send.s]\nselect = "p"\nnode = "n"\n'
    workplace.rules(RULES + send)
    assert workplace.run("index", "--json", "--report", "report.jsonl").summary["notes"] == {"long-SOPInstanceUID": 1}
    (line,) = map(json.loads, (workplace.folder / "report.jsonl").read_text().splitlines())
    assert (line["outcome"], line["reason"]) == ("indexed", "long-SOPInstanceUID")
    assert workplace.run("apply", "copy", "--json").summary["done"] == 1
    assert workplace.files("out")[f"P1/{ROOT}.0.1/{uid}.dcm"] == file.read_bytes()
    assert workplace.run("apply", "copy", "--json").summary["unchanged"] == 1
    sent = workplace.run("apply", "send", "--json")
    (failed,) = (line for line in sent.lines if line["event"] == "failed")
    assert (sent.code, failed["SOPInstanceUID"]) == (1, uid)
    assert failed["message"] == f"its SOP Instance UID has {len(uid)} characters, more than the 64 that a UID may have"


@pytest.mark.parametrize("form", UIDS[:5])  # storescp takes what begins with a NUL for empty
def test_an_instance_with_a_padded_uid_can_be_sent(workplace: Workplace, tmp_path: Path, form: bytes) -> None:
    put(workplace, "1.dcm", 1, {"SOPInstanceUID": padded(form, f"{ROOT}.10")})
    port = free_port()
    send = f'[nodes.n]\nae_title = "N"\nhost = "127.0.0.1"\nport = {port}\n[send.s]\nselect = "p"\nnode = "n"\n'
    with storescp_at(tmp_path / "received", port):
        sent = workplace.rules(RULES + send).run("apply", "send", "--json")
    assert (sent.summary["done"], sent.summary["failed"]) == (1, 0), sent.out
    assert len(list((tmp_path / "received").iterdir())) == 1


@pytest.mark.parametrize("uid", ["1." + "2" * 127, "1." * 64 + "x", "1.2 3", "1.2/3", "x" * 65])
def test_other_uids_are_rejected(workplace: Workplace, uid: str) -> None:
    put(workplace, "1.dcm", 1, {"SOPInstanceUID": ("UI", uid)})
    assert workplace.rules(RULES).run("index", "--json").summary["reasons"] == {"invalid-SOPInstanceUID": 1}


LEVELS = ["patients", "studies", "series", "images"]


def without_id(workplace: Workplace) -> None:
    """Two images without a PatientID beside one of P1."""
    own: Elements = {"StudyInstanceUID": ("UI", f"{ROOT}.8"), "SeriesInstanceUID": ("UI", f"{ROOT}.8.1")}
    put(workplace, "1.dcm", 1, {**own, "PatientID": ("LO", b"  ")})
    put(workplace, "2.dcm", 2, {**own, "PatientID": b""})
    put(workplace, "3.dcm", 3)


@pytest.mark.parametrize("view", LEVELS)
def test_a_missing_patient_is_null_in_every_view(workplace: Workplace, view: str) -> None:
    without_id(workplace)
    workplace.rules(RULES).run("index")
    assert {*tuples(workplace, f"select distinct PatientID from {view}")} == {(None,), ("P1",)}
    assert tuples(workplace, f"select count(*) from {view} where PatientID = ''") == [(0,)]
    assert tuples(workplace, f"select count(*) from {view} where PatientID is null")[0][0] == (2 if view == "images" else 1)
    # What else is known of these patients is there.
    assert tuples(workplace, f"select distinct PatientName from {view} where PatientID is null") == [("Raw^Test",)]
    assert stored(workplace, "SELECT PatientID FROM DICOMPatients ORDER BY 1") == [("",), ("P1",)]


@pytest.mark.parametrize(
    "rules",
    [
        'where = "PatientID is null"',
        'query = "select PatientID from patients where PatientID is null"',
        "query = \"select PatientID from DICOMPatients where PatientID = ''\"",
        'query = "select distinct PatientID from images where PatientID is null"',
        "query = \"select ImagePat as PatientID from DICOMImages where ImagePat = ''\"",
        'where = "ImageCount = 2"',
    ],
)
def test_a_missing_patient_can_be_selected(workplace: Workplace, rules: str) -> None:
    without_id(workplace)
    to = "out/{{ PatientID | default('unknown') }}/{{ SOPInstanceUID }}.dcm"
    text = f'outputs = ["out"]\n[sources.data]\npath = "data"\n[select.p]\nlevel = "patient"\n{rules}\n'
    text += f'[copy.c]\nselect = "p"\nto = "{to}"'
    workplace.rules(text).run("index")
    assert workplace.run("apply", "--json").summary["done"] == 2
    assert [*workplace.files("out")] == [f"unknown/{ROOT}.1.dcm", f"unknown/{ROOT}.2.dcm"]
    assert workplace.run("explain", f"{ROOT}.1", "--json").lines[0]["sets"] == ["p"]
    assert workplace.run("explain", f"{ROOT}.3", "--json").lines[0]["sets"] == []
    forgotten = workplace.run("forget", "p", "--yes", "--json").summary
    assert forgotten["images"] == 2
    assert tuples(workplace, "select PatientID from patients") == [("P1",)]


def test_the_summary_names_a_missing_patient(workplace: Workplace) -> None:
    without_id(workplace)
    workplace.rules(RULES).run("index")
    assert "(none)" in workplace.run("summary").out
    assert [line.get("PatientID", "") for line in workplace.run("summary", "--json").lines] == [None, "P1", ""]


def test_a_new_column_is_filled_for_a_missing_patient(workplace: Workplace) -> None:
    put(workplace, "1.dcm", 1, {"PatientID": b"", "PatientComments": ("LT", "hello")})
    workplace.rules(RULES).run("index")
    workplace.rules(RULES + '[[schema.patient]]\ncolumn = "PatientComments"\ntag = "PatientComments"\n').run("index")
    assert tuples(workplace, "select PatientID, PatientComments from patients") == [(None, "hello")]


def test_a_patient_is_found_by_an_index(workplace: Workplace) -> None:
    put(workplace, "1.dcm", 1)
    workplace.rules(RULES).run("index")
    for view in ("images", "series", "studies", "patients"):
        steps = [row[3] for row in stored(workplace, f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE PatientID = 'P1'")]
        assert steps
        assert not any(step.startswith("SCAN") for step in steps), (view, steps)
