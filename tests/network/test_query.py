"""C-FIND against DCMTK's dcmqrscp, Orthanc and peers of pynetdicom."""

import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pydicom
import pytest
from pynetdicom.events import EVT_C_FIND

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.query import find, present
from tests.network.nodes import (
    NAMES,
    NOBODY,
    files_of,
    peer,
    series_of,
    study,
)
from tests.peers.archives import dcmqrscp
from tests.peers.processes import free_port
from tests.quickstart import instances


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


def test_the_order_of_keys_is_unique_then_match_then_return_keys(archive: Node) -> None:
    (series,) = find(archive, Level.SERIES, {"PatientID": "77654033", "Modality": "CT"}, ["SeriesNumber", "PatientName"])
    assert list(series) == ["StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "SeriesNumber", "PatientName"]
    assert series["PatientName"].startswith("Doe^")


def test_the_node_matches_wild_cards_ranges_and_lists(archive: Node) -> None:
    def patients(**match: str) -> set[str]:
        return {study["PatientID"] for study in find(archive, Level.STUDY, match)}

    assert patients(PatientID="7765*") == patients(PatientID="7765403?") == {"77654033"}
    assert patients(StudyDate="20240201-20240209") == set(NAMES)
    assert patients(StudyDate="19950901-19951001", PatientID="*5*") == {"77654033"}
    assert patients(StudyInstanceUID="1.2.4.0\\1.2.4.2") == {"U", "L"}
    assert patients(PatientID="nobody") == set()


def test_names_are_decoded_from_every_character_set(archive: Node) -> None:
    found = {
        study["PatientID"]: study["PatientName"]
        for study in find(archive, Level.STUDY, {"StudyDate": "20240203"}, ["PatientName"])
    }
    assert found == NAMES


def test_queries_a_name_beyond_ascii(archive: Node) -> None:
    (study,) = find(archive, Level.STUDY, {"PatientName": "Łuk*"})
    assert study["PatientID"] == "U"


def test_closing_early_cancels(archive: Node) -> None:
    matches = find(archive, Level.IMAGE, {})
    assert next(matches)["SOPInstanceUID"]
    matches.close()
    assert next(find(archive, Level.PATIENT, {"PatientID": "U"})) == {"PatientID": "U"}


@pytest.mark.parametrize(
    ("match", "return_keys", "message"),
    [
        ({"PatientNam": "x"}, [], 'unknown DICOM keyword "PatientNam"'),
        ({}, ["Modalitty"], 'unknown DICOM keyword "Modalitty"'),
        ({"QueryRetrieveLevel": "IMAGE"}, [], "QueryRetrieveLevel is not a key: the query sets it"),
        ({"Rows": "many"}, [], "Rows must be a number"),
        ({"Rows": "70000"}, [], "a value of the query is not valid for its VR"),
        ({}, ["RequestAttributesSequence"], "RequestAttributesSequence cannot be queried: it is not text (SQ)"),
    ],
)
def test_invalid_keys_are_an_error_before_anything_is_sent(match: dict[str, str], return_keys: list[str], message: str) -> None:
    with pytest.raises(Mistake) as mistake:
        find(NOBODY, Level.IMAGE, match, return_keys)
    assert mistake.value.message == message


def test_a_missing_node_is_an_error_with_retry() -> None:
    node = replace(NOBODY, port=free_port())
    with pytest.raises(NodeError, match="refuses the connection") as error:
        list(find(node, Level.PATIENT, {}))
    assert error.value.retry


def test_an_unknown_called_ae_title_is_an_error_without_retry() -> None:
    with dcmqrscp() as node, pytest.raises(NodeError, match="called AE title not recognized") as error:
        list(find(replace(node, ae_title="OTHER"), Level.PATIENT, {}))
    assert not error.value.retry


def test_present_returns_the_instances_that_the_node_has(archive: Node) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    mine = [(keys["StudyInstanceUID"], keys["SeriesInstanceUID"], uid) for uid in files_of(keys)]
    other = (keys["StudyInstanceUID"], "1.2.3.9", "1.2.3.9.1")
    assert present(archive, [*mine[:3], (*mine[0][:2], "1.2.3.9.2"), other]) == {uid for _, _, uid in mine[:3]}


@pytest.mark.parametrize(
    ("status", "message", "retry"),
    [
        (0xA700, "answers C-FIND with 0xA700: out of resources", True),
        (0xA900, "answers C-FIND with 0xA900: identifier does not match SOP class", False),
        (0xC001, "answers C-FIND with 0xC001: unable to process", False),
        (0xFE00, "answers C-FIND with 0xFE00: canceled", False),
        (0xB001, "answers C-FIND with 0xB001: matching reached the node's limit of responses", False),
        (0x0122, "answers C-FIND with 0x0122: SOP class not supported", False),
        (0x7777, "answers C-FIND with 0x7777: failure", False),
    ],
)
def test_a_failed_status_is_an_error_after_the_matches(status: int, message: str, retry: bool) -> None:
    def answers(_: Any) -> Iterator[Any]:
        yield 0xFF00, study(1)
        yield 0xFF01, study(2)
        yield status, None

    with peer(EVT_C_FIND, answers) as node:
        matches = find(node, Level.STUDY, {})
        assert [next(matches)["StudyInstanceUID"] for _ in range(2)] == ["1.2.1", "1.2.2"]
        with pytest.raises(NodeError) as error:
            next(matches)
    assert message in str(error.value)
    assert error.value.retry is retry


def test_a_lost_association_is_an_error_with_retry() -> None:
    def answers(event: Any) -> Iterator[Any]:
        yield 0xFF00, study(1)
        event.assoc.abort()

    with peer(EVT_C_FIND, answers) as node:
        matches = find(node, Level.STUDY, {})
        assert next(matches)["StudyInstanceUID"] == "1.2.1"
        with pytest.raises(NodeError, match="the association was lost") as error:
            next(matches)
    assert error.value.retry


def test_a_silent_node_is_an_error_with_retry() -> None:
    over = threading.Event()

    def answers(_: Any) -> Iterator[Any]:
        yield 0xFF00, study(1)
        over.wait(30)

    with peer(EVT_C_FIND, answers) as node:
        with pytest.raises(NodeError, match="or no answer came in time") as error:
            list(find(replace(node, dimse_timeout=0.2), Level.STUDY, {}))
        over.set()
    assert error.value.retry


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # of the peer
@pytest.mark.parametrize("uid", ["", "*", "1.2\\1.3", "1.?", " ", "1.2.3 4"])
def test_a_match_without_its_unique_key_is_skipped_and_counted(uid: str) -> None:
    def answers(_: Any) -> Iterator[Any]:
        for number in range(3):
            identifier = study(number)
            with pydicom.config.disable_value_validation():
                identifier.StudyInstanceUID = f"1.2.{number}" if number != 1 else uid
            yield 0xFF00, identifier

    skipped = []
    with peer(EVT_C_FIND, answers) as node:
        found = list(find(node, Level.STUDY, {}, skipped=lambda: skipped.append(1)))
    assert ([match["StudyInstanceUID"] for match in found], len(skipped)) == (["1.2.0", "1.2.2"], 1)


def test_values_that_are_invalid_for_their_vr_are_returned_unchanged() -> None:
    def answers(_: Any) -> Iterator[Any]:
        identifier = study(1)
        with pydicom.config.disable_value_validation():
            identifier.StudyDate, identifier.PatientAge = "not a date", "old"
        yield 0xFF00, identifier

    # There is no warning, because it would have the value.
    with peer(EVT_C_FIND, answers) as node, warnings.catch_warnings():
        warnings.simplefilter("error")
        (match,) = find(node, Level.STUDY, {}, ["StudyDate", "PatientAge"])
    assert (match["StudyDate"], match["PatientAge"]) == ("not a date", "old")


def test_closing_early_sends_a_cancel() -> None:
    cancelled = threading.Event()

    def answers(event: Any) -> Iterator[Any]:
        for number in range(1, 1_000_000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            yield 0xFF00, study(number)

    with peer(EVT_C_FIND, answers) as node:
        matches = find(node, Level.STUDY, {})
        next(matches)
        matches.close()
        assert cancelled.wait(30)


def test_an_abort_between_two_queries_is_an_error_with_retry() -> None:
    def answers(event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            event.assoc.abort()
            return
        yield 0xFF00, study(1)
        yield 0xFF00, study(2)

    with peer(EVT_C_FIND, answers) as node, pytest.raises(NodeError, match="the association was lost") as error:
        list(find(node, Level.SERIES, {}))
    assert error.value.retry


def test_errors_have_no_patient_data(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    def answers(_: Any) -> Iterator[Any]:
        identifier = study(1)
        identifier.PatientName = "Secret^Name"
        yield 0xFF00, identifier
        yield 0xA900, None

    with peer(EVT_C_FIND, answers) as node, pytest.raises(NodeError) as error:
        list(find(node, Level.STUDY, {"PatientName": "Secret*"}))
    said = capfd.readouterr()
    assert "Secret" not in caplog.text + said.out + said.err + str(error.value)
