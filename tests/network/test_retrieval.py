"""C-GET and C-MOVE against DCMTK's dcmqrscp, Orthanc and peers of pynetdicom."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.filereader import read_dataset
from pynetdicom.dimse_primitives import C_GET
from pynetdicom.events import EVT_C_GET

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.dimse import Blocks
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.proposals import CLASSES_AT_ONCE, COMMON
from pyconquest_rules.network.query import find
from pyconquest_rules.network.retrieval import Counts, get, move
from pyconquest_rules.network.storing import About
from tests.conftest import save
from tests.network.nodes import NOBODY, STUDY_ROOT_GET, Receiver, files_of, peer, series_of
from tests.peers.archives import dcmqrscp, orthanc, stored
from tests.quickstart import EXAMPLES, instances


def read(syntax: str, data: bytes) -> pydicom.Dataset:
    """A data set from the bytes of C-STORE."""
    uid = pydicom.uid.UID(syntax)
    return read_dataset(BytesIO(data), uid.is_implicit_VR, uid.is_little_endian)


@pytest.mark.parametrize("sop_classes", [[], [pydicom.uid.CTImageStorage]], ids=["found", "given"])
def test_get_passes_every_instance_to_store(archive: Node, sop_classes: list[str]) -> None:
    keys, got = series_of(archive, PatientID="77654033", Modality="CT"), {}

    def store(about: About, blocks: Blocks) -> int:
        assert about.sop_class == pydicom.uid.CTImageStorage
        got[about.sop_instance] = read(about.transfer_syntax, b"".join(blocks))
        return 0

    assert get(archive, Level.SERIES, keys, store, sop_classes) == Counts(completed=4)
    assert got == {uid: pydicom.Dataset(dataset) for uid, dataset in files_of(keys).items()}


def test_get_of_one_instance_and_of_a_study(archive: Node) -> None:
    study = {"StudyInstanceUID": series_of(archive, PatientID="98890234", Modality="MR")["StudyInstanceUID"]}
    expected, got = files_of(study), []

    def store(about: About, _: Blocks) -> int:
        got.append(about.sop_instance)
        return 0

    assert get(archive, Level.STUDY, study, store) == Counts(completed=len(expected))
    assert sorted(got) == sorted(expected)
    (first, *_) = find(archive, Level.IMAGE, study)
    got.clear()
    assert get(archive, Level.IMAGE, first, store) == Counts(completed=1)
    assert got == [first["SOPInstanceUID"]]


def test_refused_instances_count_as_failed(archive: Node) -> None:
    keys, statuses = series_of(archive, PatientID="77654033", Modality="CT"), iter([0x0000, 0xA700, 0xB000, 0xC000])
    counts = get(archive, Level.SERIES, keys, lambda *_: next(statuses), [pydicom.uid.CTImageStorage])
    assert counts == Counts(completed=1, warning=1, failed=2)


def test_an_error_while_storing_ends_the_retrieval(archive: Node) -> None:
    def store(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(archive, Level.SERIES, series_of(archive, PatientID="77654033", Modality="CT"), store)


def test_a_retrieval_without_matches_is_not_an_error(archive: Node) -> None:
    assert get(archive, Level.STUDY, {"StudyInstanceUID": "1.2.3.4.5.6"}, lambda *_: 0) == Counts()


def test_move_sends_instances_to_the_destination(archive: Node, receiver: Receiver) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    receiver.came.clear()
    *progress, last = move(archive, Level.SERIES, keys, "RECEIVER")
    assert last == Counts(completed=4)
    assert all(counts.remaining + counts.completed == 4 for counts in progress)
    assert sorted(receiver.came) == sorted(files_of(keys))


def test_an_unknown_destination_is_an_error(archive: Node) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    with pytest.raises(NodeError, match="answers C-MOVE with 0x") as error:
        list(move(archive, Level.SERIES, keys, "ELSEWHERE"))
    assert not error.value.retry


@pytest.mark.parametrize("start", [dcmqrscp, orthanc])
def test_retrieves_many_sop_classes(start: Callable[[], Any], tmp_path: Path) -> None:
    kinds = COMMON[: 2 * CLASSES_AT_ONCE + 1]
    uids = {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientID": "P",
        "PatientName": "P",
        "StudyDate": "20240203",
    }
    files = [tmp_path / f"{number}.dcm" for number in range(len(kinds))]
    for number, kind in enumerate(kinds):
        save(files[number], {"SOPClassUID": kind, "SOPInstanceUID": f"1.2.3.4.{number}", "Modality": "OT"} | uids)
    got = []

    def store(about: About, _: Blocks) -> int:
        got.append(about.sop_class)
        return 0

    with start() as node:
        stored(node, files)
        counts = get(node, Level.STUDY, {"StudyInstanceUID": "1.2.3"}, store)
    assert sorted(got) == sorted(kinds)
    assert counts == Counts(completed=len(kinds))


@pytest.mark.parametrize(
    ("level", "keys", "message"),
    [
        (
            Level.SERIES,
            {"SeriesInstanceUID": "1.2"},
            "a retrieval at the level series needs StudyInstanceUID, without wild cards",
        ),
        (
            Level.STUDY,
            {"StudyInstanceUID": "1.*"},
            "a retrieval at the level study needs StudyInstanceUID, without wild cards",
        ),
        (Level.STUDY, {"StudyInstanceUID": "1.2", "StudyDate": "2024"}, "cannot retrieve by StudyDate"),
    ],
)
def test_only_unique_keys_retrieve(level: Level, keys: dict[str, str], message: str) -> None:
    with pytest.raises(Mistake) as mistake:
        get(NOBODY, level, keys, lambda *_: 0)
    assert mistake.value.message == message


def test_orthanc_sends_without_transcoding(shared: Path) -> None:
    files = [
        shared / "corpus" / "pydicom" / name for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "rtplan.dcm")
    ]
    expected = {}
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.pop("DataSetTrailingPadding", None)
        expected[dataset.SOPInstanceUID] = (dataset.file_meta.TransferSyntaxUID, dataset)
    got = {}

    def store(about: About, blocks: Blocks) -> int:
        got[about.sop_instance] = (about.transfer_syntax, read(about.transfer_syntax, b"".join(blocks)))
        return 0

    with orthanc() as node:
        stored(node, files)
        for study in list(find(node, Level.STUDY, {})):
            assert get(node, Level.STUDY, {"StudyInstanceUID": study["StudyInstanceUID"]}, store).failed == 0
    assert got == {uid: (syntax, pydicom.Dataset(dataset)) for uid, (syntax, dataset) in expected.items()}


def test_a_count_above_the_received_instances_is_an_error() -> None:
    def answers(event: Any) -> Iterator[Any]:
        response = C_GET()
        response.MessageIDBeingRespondedTo = event.request.MessageID
        response.AffectedSOPClassUID = pydicom.uid.UID(STUDY_ROOT_GET)
        response.Status, response.NumberOfCompletedSuboperations = 0x0000, 3
        event.assoc.dimse.send_msg(response, event.context.context_id)
        yield 0

    keys = {"StudyInstanceUID": "1.2"}
    with peer(EVT_C_GET, answers) as node, pytest.raises(NodeError, match="instances as sent"):
        get(node, Level.STUDY, keys, lambda *_: 0, [pydicom.uid.CTImageStorage])


def test_instances_that_the_node_did_not_send_count_as_failed() -> None:
    def answers(_: Any) -> Iterator[Any]:
        yield 3
        yield 0xFF00, pydicom.dcmread(EXAMPLES / "clinic" / "CT_small.dcm")
        yield 0x0000, None

    with peer(EVT_C_GET, answers) as node:
        counts = get(node, Level.STUDY, {"StudyInstanceUID": "1.2"}, lambda *_: 0, [pydicom.uid.CTImageStorage])
    assert counts == Counts(completed=1, failed=2)


def test_closing_early_cancels_a_move(receiver: Receiver) -> None:
    with orthanc({"RECEIVER": receiver.port}) as node:
        stored(node, instances())
        keys = series_of(node, PatientID="98890234", Modality="MR")
        progress = move(node, Level.SERIES, keys, "RECEIVER")
        assert next(progress).failed == 0
        progress.close()
        assert next(find(node, Level.PATIENT, {"PatientID": "98890234"}))
