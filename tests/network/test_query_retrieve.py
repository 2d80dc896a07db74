"""C-FIND, C-GET and C-MOVE against DCMTK's dcmqrscp and Orthanc."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.query_retrieve import find
from tests.conftest import REPOSITORY, save
from tests.network.archives import dcmqrscp, free_port, orthanc, stored

EXAMPLES = REPOSITORY / "examples" / "quickstart" / "data"
NAMES = {"U": "Łukasz^Ωmega", "J": "Yamada^Tarou=山田^太郎=やまだ^たろう", "L": "Müller^José"}
CHARACTER_SETS: dict[str, Any] = {"U": "ISO_IR 192", "J": ["", "ISO 2022 IR 87"], "L": "ISO_IR 100"}


def instances() -> list[Path]:
    """The files of the quick start that are instances."""
    return sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".txt")


def named(folder: Path) -> list[Path]:
    """Instances of patients whose names are in different character sets."""
    files = []
    for number, (patient, name) in enumerate(NAMES.items()):
        file = folder / f"{patient}.dcm"
        uids = {
            "SOPInstanceUID": f"1.2.3.{number}",
            "StudyInstanceUID": f"1.2.4.{number}",
            "SeriesInstanceUID": f"1.2.5.{number}",
        }
        who = {"PatientID": patient, "PatientName": name, "SpecificCharacterSet": CHARACTER_SETS[patient]}
        save(file, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT", "StudyDate": "20240203"} | uids | who)
        files.append(file)
    return files


@pytest.fixture(scope="module", params=[dcmqrscp, orthanc], ids=["dcmqrscp", "orthanc"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An archive with the instances of the quick start and of patients with all kinds of names."""
    with request.param() as node:
        stored(node, [*instances(), *named(tmp_path_factory.mktemp("named"))])
        yield node


def test_every_level_has_what_was_stored(archive: Node) -> None:
    datasets = [pydicom.dcmread(file, stop_before_pixels=True) for file in instances()]
    for level, keyword in (
        (Level.STUDY, "StudyInstanceUID"),
        (Level.SERIES, "SeriesInstanceUID"),
        (Level.IMAGE, "SOPInstanceUID"),
    ):
        found = [match[keyword] for match in find(archive, level, {"PatientID": ""}) if not match[keyword].startswith("1.2.")]
        stored_uids = {dataset[keyword].value for dataset in datasets}
        assert len(found) == len(set(found))
        assert set(found) == {uid for uid in stored_uids if not uid.startswith("1.2.")}
    assert {match["PatientID"] for match in find(archive, Level.PATIENT, {})} >= {d.PatientID for d in datasets}


def test_unique_keys_come_first_then_those_of_the_match_then_the_others(archive: Node) -> None:
    (series,) = find(archive, Level.SERIES, {"PatientID": "77654033", "Modality": "CT"}, ["SeriesNumber", "PatientName"])
    assert list(series) == ["StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "SeriesNumber", "PatientName"]
    assert series["PatientName"].startswith("Doe^")


def test_wild_cards_ranges_and_lists_are_the_nodes_to_match(archive: Node) -> None:
    def patients(**match: str) -> set[str]:
        return {study["PatientID"] for study in find(archive, Level.STUDY, match)}

    assert patients(PatientID="7765*") == patients(PatientID="7765403?") == {"77654033"}
    assert patients(StudyDate="20240201-20240209") == set(NAMES)
    assert patients(StudyDate="19950901-19951001", PatientID="*5*") == {"77654033"}
    assert patients(StudyInstanceUID="1.2.4.0\\1.2.4.2") == {"U", "L"}
    assert patients(PatientID="nobody") == set()


def test_names_come_right_out_of_every_character_set(archive: Node) -> None:
    found = {
        study["PatientID"]: study["PatientName"]
        for study in find(archive, Level.STUDY, {"StudyDate": "20240203"}, ["PatientName"])
    }
    assert found == NAMES


def test_a_name_beyond_ascii_can_be_asked_for(archive: Node) -> None:
    (study,) = find(archive, Level.STUDY, {"PatientName": "Łuk*"})
    assert study["PatientID"] == "U"


def test_closing_early_cancels(archive: Node) -> None:
    matches = find(archive, Level.IMAGE, {})
    assert next(matches)["SOPInstanceUID"]
    matches.close()  # type: ignore[attr-defined]
    assert next(find(archive, Level.PATIENT, {"PatientID": "U"})) == {"PatientID": "U"}


NOBODY = Node("archive", "ARCHIVE", "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("match", "return_keys", "message"),
    [
        ({"PatientNam": "x"}, [], 'unknown DICOM keyword "PatientNam"'),
        ({}, ["Modalitty"], 'unknown DICOM keyword "Modalitty"'),
        ({"QueryRetrieveLevel": "IMAGE"}, [], "QueryRetrieveLevel is no key: it is set by the query itself"),
        ({"Rows": "many"}, [], "Rows is a number"),
        ({}, ["RequestAttributesSequence"], "RequestAttributesSequence cannot be asked for: it is no text (SQ)"),
    ],
)
def test_a_mistake_is_said_before_anything_is_sent(match: dict[str, str], return_keys: list[str], message: str) -> None:
    with pytest.raises(Mistake) as mistake:
        find(NOBODY, Level.IMAGE, match, return_keys)
    assert mistake.value.message == message


def test_a_node_that_is_not_there_is_an_error_to_try_again() -> None:
    node = replace(NOBODY, port=free_port())
    with pytest.raises(NodeError, match="cannot be reached") as error:
        list(find(node, Level.PATIENT, {}))
    assert error.value.retry


def test_a_node_that_does_not_know_the_called_title_says_so() -> None:
    with dcmqrscp() as node, pytest.raises(NodeError, match="Called AE title not recognised") as error:
        list(find(replace(node, ae_title="OTHER"), Level.PATIENT, {}))
    assert not error.value.retry
