"""RT objects: ROI names, beams, references, and slice positions, compared with pydicom on real files."""

import json
import sqlite3
from pathlib import Path
from shutil import copy

import pydicom
import pytest

from pyconquest_rules.index.derived import content
from pyconquest_rules.index.derived.content import digest
from pyconquest_rules.index.derived.roi import roi_match
from tests.conftest import Instance, Workplace, save
from tests.headers.nested import item
from tests.index.queries import RULES, rows


@pytest.fixture(scope="module")
def chain(shared: Path) -> Path:
    return shared / "corpus" / "dicompyler-core-rtchain" / "example_data"


@pytest.fixture
def indexed(workplace: Workplace, chain: Path) -> Workplace:
    """The chain of one patient: CT, RTSTRUCT, RTPLAN, RTDOSE."""
    workplace.rules(RULES.format(path=chain)).run("index")
    return workplace


def test_an_object_that_would_take_pydicom_minutes_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rois = [pydicom.Dataset() for _ in range(200)]
    save(tmp_path / "many.dcm", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "ROIContourSequence": rois})
    assert digest(bytes(tmp_path / "many.dcm"), "RTSTRUCT")
    monkeypatch.setattr(content, "MOST_ELEMENTS", 100)
    assert digest(bytes(tmp_path / "many.dcm"), "RTSTRUCT") is None


def test_roi_names_are_those_of_the_file(indexed: Workplace, chain: Path) -> None:
    names = [roi.ROIName for roi in pydicom.dcmread(chain / "rtss.dcm").StructureSetROISequence]
    (row,) = rows(indexed, "select ElementList, ElementCount from images where Modality = 'RTSTRUCT'")
    assert json.loads(str(row["ElementList"])) == names
    assert row["ElementCount"] == len(names)


def test_beams_are_those_of_the_file(indexed: Workplace, chain: Path) -> None:
    plan = pydicom.dcmread(chain / "rtplan.dcm")
    (group,) = plan.FractionGroupSequence
    delivered = {beam.ReferencedBeamNumber: (beam.BeamDose, beam.BeamMeterset) for beam in group.ReferencedBeamSequence}
    expected = []
    for beam in plan.BeamSequence:
        point = beam.ControlPointSequence[0]
        kind = [beam.BeamName, beam.BeamType, beam.RadiationType, beam.NumberOfWedges, beam.NumberOfControlPoints]
        at_point = [float(point.NominalBeamEnergy), float(point.GantryAngle), *map(float, delivered[beam.BeamNumber])]
        expected.append([*kind, *at_point, [float(value) for value in point.IsocenterPosition]])
    (row,) = rows(indexed, "select ElementList, ElementCount, Nfractions from images where Modality = 'RTPLAN'")
    assert json.loads(str(row["ElementList"])) == expected
    assert (row["ElementCount"], row["Nfractions"]) == (len(expected), str(group.NumberOfFractionsPlanned))


def test_the_chain_of_references_is_whole(indexed: Workplace, chain: Path) -> None:
    structures, plan, dose = (pydicom.dcmread(chain / f"{name}.dcm") for name in ("rtss", "rtplan", "rtdose"))
    study = structures.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = study.RTReferencedSeriesSequence[0].SeriesInstanceUID
    found = rows(
        indexed, "select Modality, Method, ReferencedSOPInstanceUID as i, ReferencedSeriesInstanceUID as s from referenced"
    )
    told = {(row["Modality"], row["Method"], row["i"], row["s"]) for row in found}
    assert ("RTSTRUCT", "uid", None, images) in told
    assert ("RTPLAN", "uid", structures.SOPInstanceUID, structures.SeriesInstanceUID) in told
    assert ("RTDOSE", "uid", plan.SOPInstanceUID, plan.SeriesInstanceUID) in told
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    # The plan names no series, but lies in the frame of reference of the CT.
    assert {row["s"] for row in found if row["Modality"] == "RTPLAN" and row["Method"] == "frame-of-reference"} == {images}


def test_the_series_of_a_structure_set_refers_to_its_images(indexed: Workplace) -> None:
    (row,) = rows(
        indexed,
        "select r.Referenced, r.FrameOfRef, c.SeriesInst, c.FrameOfRef as frame from DICOMSeries r, DICOMSeries c"
        " where r.Modality = 'RTSTRUCT' and c.Modality = 'CT'",
    )
    assert (row["Referenced"], row["FrameOfRef"]) == (row["SeriesInst"], row["frame"])


def test_the_series_of_plan_and_dose_refer_to_their_objects(indexed: Workplace) -> None:
    found = rows(indexed, "select Modality, SeriesInst, Referenced from DICOMSeries")
    by_modality = {row["Modality"]: row for row in found}
    assert by_modality["RTPLAN"]["Referenced"] == by_modality["RTSTRUCT"]["SeriesInst"]
    assert by_modality["RTDOSE"]["Referenced"] == by_modality["RTPLAN"]["SeriesInst"]


@pytest.mark.parametrize("gone", [("rtss",), ("rtplan",), ("rtss", "rtplan")], ids="-".join)
@pytest.mark.parametrize("back", [False, True])
def test_the_references_of_plan_and_dose_follow_the_files(
    gone: tuple[str, ...], back: bool, workplace: Workplace, chain: Path
) -> None:
    (workplace.folder / "data").mkdir()
    for name in ("rtss", "rtplan", "rtdose"):
        copy(chain / f"{name}.dcm", workplace.folder / "data")
    workplace.rules(RULES.format(path="data")).run("index")
    for name in gone:
        (workplace.folder / "data" / f"{name}.dcm").rename(workplace.folder / f"{name}.dcm")
    workplace.run("index", "--allow-vanish")
    if back:
        for name in gone:
            (workplace.folder / f"{name}.dcm").rename(workplace.folder / "data" / f"{name}.dcm")
        workplace.run("index")
    query = "select Modality, Referenced from DICOMSeries order by 1"
    found = rows(workplace, query)
    (workplace.folder / "conquest.db").unlink()
    workplace.run("index")
    assert found == rows(workplace, query)


def test_real_structure_sets_of_another_tool(workplace: Workplace, shared: Path) -> None:
    folder = shared / "corpus" / "rt-utils"
    workplace.rules(RULES.format(path=folder)).run("index")
    for file in (folder / "rt.dcm", folder / "invalid_reference_rt.dcm", folder / "non_existent_reference_rt.dcm"):
        dataset = pydicom.dcmread(file)
        (row,) = rows(workplace, f"select ElementList from images where SOPInstanceUID = '{dataset.SOPInstanceUID}'")
        assert json.loads(str(row["ElementList"])) == [roi.ROIName for roi in dataset.StructureSetROISequence]


def test_names_with_quotes_and_umlauts_stay_whole(workplace: Workplace, instance: Instance) -> None:
    names = ["PTV 'boost'", 'Lunge "re", links', "Körper"]
    rois = [item(ROIName=name, ROINumber=number) for number, name in enumerate(names, start=1)]
    instance("data/1.dcm", Modality="RTSTRUCT", StructureSetROISequence=rois)
    workplace.rules(RULES.format(path="data")).run("index")
    assert [row["value"] for row in rows(workplace, "select value from images, json_each(ElementList)")] == names


def test_references_go_with_their_instance(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm", Modality="SEG", ReferencedSeriesSequence=[item(SeriesInstanceUID="1.2.3")])
    instance("data/2.dcm", SeriesInstanceUID="1.2.3")
    workplace.rules(RULES.format(path="data")).run("index")
    assert [row["ReferencedSeriesInstanceUID"] for row in rows(workplace, "select * from referenced")] == ["1.2.3"]
    file.unlink()
    workplace.run("index")
    assert rows(workplace, "select * from referenced") == []


def slices(instance: Instance, positions: list[float], **elements: object) -> None:
    for number, position in enumerate(positions):
        place = {"ImagePositionPatient": [10, -20, position], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        instance(f"data/{number}.dcm", **{**place, **elements})


GEOMETRY = "select NumberOfSlices, FirstPosition, LastPosition, ScanRange, SliceSpacing, IsUniform from series"


def test_geometry_of_uniform_slices(workplace: Workplace, instance: Instance) -> None:
    slices(instance, [5.0, 0.0, 2.5, -2.5])
    workplace.rules(RULES.format(path="data")).run("index")
    (row,) = rows(workplace, GEOMETRY)
    assert list(row.values()) == [4, -2.5, 5.0, 7.5, 2.5, 1]


def test_geometry_of_a_series_with_a_gap(workplace: Workplace, instance: Instance) -> None:
    slices(instance, [0, 3, 9])
    workplace.rules(RULES.format(path="data")).run("index")
    assert list(rows(workplace, GEOMETRY)[0].values()) == [3, 0.0, 9.0, 9.0, None, 0]


def test_geometry_follows_files_that_come_and_go(workplace: Workplace, instance: Instance) -> None:
    slices(instance, [0, 3, 6])
    workplace.rules(RULES.format(path="data")).run("index")
    (workplace.folder / "data/1.dcm").unlink()
    workplace.run("index")
    assert list(rows(workplace, GEOMETRY)[0].values()) == [2, 0.0, 6.0, 6.0, 6.0, 1]


def test_geometry_by_slice_location_without_a_position(workplace: Workplace, instance: Instance) -> None:
    for number in range(3):
        instance(f"data/{number}.dcm", SliceLocation=str(number * 2))
    workplace.rules(RULES.format(path="data")).run("index")
    assert list(rows(workplace, GEOMETRY)[0].values()) == [3, 0.0, 4.0, 4.0, 2.0, 1]


def test_geometry_of_tilted_slices_is_along_their_normal(workplace: Workplace, instance: Instance) -> None:
    for number in range(3):
        place = [0, -number * 0.6 * 5, number * 0.8 * 5]
        instance(f"data/{number}.dcm", ImagePositionPatient=place, ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6])
    workplace.rules(RULES.format(path="data")).run("index")
    assert rows(workplace, GEOMETRY)[0]["SliceSpacing"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("include", "exclude", "kept"),
    [
        ("PTV", None, ["PTV 1", "ptv2"]),
        (None, "^z", ["PTV 1", "ptv2", "Heart"]),
        ('["PTV", "Heart"]', '["PTV 1"]', ["ptv2", "Heart"]),
        ("", "", ["PTV 1", "ptv2", "Heart", "Z1"]),
        ("Lung", None, None),
        ("[]", "[]", ["PTV 1", "ptv2", "Heart", "Z1"]),
        ("PTV", "[]", ["PTV 1", "ptv2"]),
        ("[ ]", '["Z1"]', ["PTV 1", "ptv2", "Heart"]),
        ('[ "PTV", "Z" ]', None, ["PTV 1", "ptv2", "Z1"]),
        ("[PH]", "", ["PTV 1", "ptv2", "Heart"]),
        ("[12]", None, None),
        (".*[12]$", None, ["PTV 1", "ptv2", "Z1"]),
        ('[""]', None, ["PTV 1", "ptv2", "Heart", "Z1"]),
    ],
)
def test_roi_names_are_filtered_as_in_pyconquest(include: str | None, exclude: str | None, kept: list[str] | None) -> None:
    found = roi_match(json.dumps(["PTV 1", "ptv2", "Heart", "Z1"]), include, exclude)
    assert (json.loads(found) if found else None) == kept


@pytest.mark.parametrize("pattern", ["(a+)+$", "(", "x" * 300, ".*.*.*.*x", r"(a)\1", "(?:a*)*"])
def test_patterns_that_could_run_for_ever_are_rejected(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        roi_match('["a"]', pattern, None)


def test_roi_match_in_a_query(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", Modality="RTSTRUCT", StructureSetROISequence=[item(ROIName="PTV"), item(ROIName="Z1")])
    workplace.rules(RULES.format(path="data")).run("index")
    assert rows(workplace, "select roi_match(ElementList, 'PTV', '') as names from images") == [{"names": '["PTV"]'}]
    for call in ("ElementList, 'PTV'", "ElementList, '[]', 'Z'", "ElementList, '[\"PTV\"]'", "ElementList, 'ptv', '[]'"):
        assert rows(workplace, f"select roi_match({call}) as names from images") == [{"names": '["PTV"]'}], call
    assert rows(workplace, "select roi_match(ElementList, NULL) as names from images") == [{"names": '["PTV", "Z1"]'}]
    wrong = workplace.run("query", "select roi_match(ElementList, '(a+)+', '') from images")
    assert (wrong.code, "Traceback" in wrong.err) == (2, False)


def test_the_digest_stays_when_the_identity_is_changed(chain: Path, tmp_path: Path) -> None:
    for name, modality in (("rtss", "RTSTRUCT"), ("rtplan", "RTPLAN"), ("rtdose", "RTDOSE")):
        file = chain / f"{name}.dcm"
        dataset = pydicom.dcmread(file)
        dataset.PatientID, dataset.SOPInstanceUID, dataset.StudyDate = "other", "1.2.3.4", "19000101"
        dataset.save_as(tmp_path / "other.dcm")
        before = digest(bytes(file), modality)
        assert before
        assert digest(bytes(tmp_path / "other.dcm"), modality) == before


def test_the_digest_changes_with_a_point_of_a_contour(chain: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(chain / "rtss.dcm")
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [float(contour.ContourData[0]) + 1, *contour.ContourData[1:]]
    dataset.save_as(tmp_path / "moved.dcm")
    assert digest(bytes(tmp_path / "moved.dcm"), "RTSTRUCT") != digest(bytes(chain / "rtss.dcm"), "RTSTRUCT")


def test_the_hash_column_is_filled_if_the_rules_enable_it(workplace: Workplace, chain: Path) -> None:
    workplace.rules(RULES.format(path=chain)).run("index")
    assert {row["hash"] for row in rows(workplace, "select hash from images")} == {None}
    workplace.rules("[index]\nhash = true\n" + RULES.format(path=chain)).run("index")
    hashes = {row["Modality"]: row["hash"] for row in rows(workplace, "select Modality, hash from images")}
    assert hashes == {
        "CT": None,
        **{
            m: digest(bytes(chain / f), m)
            for m, f in (("RTSTRUCT", "rtss.dcm"), ("RTPLAN", "rtplan.dcm"), ("RTDOSE", "rtdose.dcm"))
        },
    }


def test_the_extra_columns_of_pyconquest_are_in_the_conquest_table(indexed: Workplace) -> None:
    with sqlite3.connect(indexed.folder / "conquest.db") as database:
        names = {name for _, name, *_ in database.execute("PRAGMA table_info(DICOMImages)")}
    assert names >= {"ElementCount", "ElementList", "Nfractions", "UniqueFOR_UID", "ReferencedSeriesUID", "ReferencedSOPUID"}
    assert names >= {"DatabaseTimeStamp", "hash", "ObjectFile", "DeviceName"}
