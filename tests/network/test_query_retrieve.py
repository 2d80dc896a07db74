"""C-FIND, C-GET and C-MOVE against DCMTK's dcmqrscp and Orthanc."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.filereader import read_dataset
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.dimse_primitives import C_GET
from pynetdicom.events import EVT_C_FIND, EVT_C_GET, EVT_C_STORE

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.dimse import Blocks
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.proposals import CLASSES_AT_ONCE, COMMON
from pyconquest_rules.network.query_retrieve import Counts, find, get, move, present
from pyconquest_rules.network.storing import About
from tests.conftest import save
from tests.peers.archives import dcmqrscp, orthanc, stored
from tests.peers.processes import free_port
from tests.quickstart import EXAMPLES, instances

NAMES = {"U": "Łukasz^Ωmega", "J": "Yamada^Tarou=山田^太郎=やまだ^たろう", "L": "Müller^José"}
CHARACTER_SETS: dict[str, Any] = {"U": "ISO_IR 192", "J": ["", "ISO 2022 IR 87"], "L": "ISO_IR 100"}


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


class Receiver:
    """A storage SCP of pynetdicom to which archives move: what came."""

    def __init__(self) -> None:
        self.came: list[str] = []
        ae = AE(ae_title="RECEIVER")
        ae.supported_contexts = AllStoragePresentationContexts
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(EVT_C_STORE, self.take)])
        assert server is not None
        self.server, self.port = server, int(server.server_address[1])

    def take(self, event: Any) -> int:
        """Keeps the SOPInstanceUID alone."""
        self.came.append(str(event.request.AffectedSOPInstanceUID))
        return 0


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Where the archives may move to, as RECEIVER."""
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture(scope="module", params=[dcmqrscp, orthanc], ids=["dcmqrscp", "orthanc"])
def archive(request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An archive with the instances of the quick start and of patients with all kinds of names."""
    with request.param({"RECEIVER": receiver.port}) as node:
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
    matches.close()
    assert next(find(archive, Level.PATIENT, {"PatientID": "U"})) == {"PatientID": "U"}


NOBODY = Node("archive", "ARCHIVE", "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("match", "return_keys", "message"),
    [
        ({"PatientNam": "x"}, [], 'unknown DICOM keyword "PatientNam"'),
        ({}, ["Modalitty"], 'unknown DICOM keyword "Modalitty"'),
        ({"QueryRetrieveLevel": "IMAGE"}, [], "QueryRetrieveLevel is no key: it is set by the query itself"),
        ({"Rows": "many"}, [], "Rows is a number"),
        ({"Rows": "70000"}, [], "the query has a value that its VR cannot have"),
        ({}, ["RequestAttributesSequence"], "RequestAttributesSequence cannot be asked for: it is no text (SQ)"),
    ],
)
def test_a_mistake_is_said_before_anything_is_sent(match: dict[str, str], return_keys: list[str], message: str) -> None:
    with pytest.raises(Mistake) as mistake:
        find(NOBODY, Level.IMAGE, match, return_keys)
    assert mistake.value.message == message


def test_a_node_that_is_not_there_is_an_error_to_try_again() -> None:
    node = replace(NOBODY, port=free_port())
    with pytest.raises(NodeError, match="refuses the connection") as error:
        list(find(node, Level.PATIENT, {}))
    assert error.value.retry


def test_a_node_that_does_not_know_the_called_title_says_so() -> None:
    with dcmqrscp() as node, pytest.raises(NodeError, match="called AE title not recognized") as error:
        list(find(replace(node, ae_title="OTHER"), Level.PATIENT, {}))
    assert not error.value.retry


def series_of(node: Node, **match: str) -> dict[str, str]:
    """The unique keys of the one series that matches."""
    (series,) = find(node, Level.SERIES, match)
    return {keyword: series[keyword] for keyword in ("StudyInstanceUID", "SeriesInstanceUID")}


def files_of(keys: dict[str, str]) -> dict[str, pydicom.FileDataset]:
    """The data sets of the quick start with these keys, by their SOPInstanceUIDs."""
    datasets = [pydicom.dcmread(file) for file in instances()]
    return {d.SOPInstanceUID: d for d in datasets if all(d[keyword].value == value for keyword, value in keys.items())}


def read(syntax: str, data: bytes) -> pydicom.Dataset:
    """A data set from the bytes of C-STORE."""
    uid = pydicom.uid.UID(syntax)
    return read_dataset(BytesIO(data), uid.is_implicit_VR, uid.is_little_endian)


@pytest.mark.parametrize("sop_classes", [[], [pydicom.uid.CTImageStorage]], ids=["found", "given"])
def test_get_hands_over_every_instance(archive: Node, sop_classes: list[str]) -> None:
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


def test_what_could_not_be_stored_has_failed(archive: Node) -> None:
    keys, statuses = series_of(archive, PatientID="77654033", Modality="CT"), iter([0x0000, 0xA700, 0xB000, 0xC000])
    counts = get(archive, Level.SERIES, keys, lambda *_: next(statuses), [pydicom.uid.CTImageStorage])
    assert counts == Counts(completed=1, warning=1, failed=2)


def test_an_error_while_storing_ends_the_retrieval(archive: Node) -> None:
    def store(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(archive, Level.SERIES, series_of(archive, PatientID="77654033", Modality="CT"), store)


def test_what_is_not_there_is_no_error_and_no_instance(archive: Node) -> None:
    assert get(archive, Level.STUDY, {"StudyInstanceUID": "1.2.3.4.5.6"}, lambda *_: 0) == Counts()


def test_move_has_instances_sent_to_another_title(archive: Node, receiver: Receiver) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    receiver.came.clear()
    *progress, last = move(archive, Level.SERIES, keys, "RECEIVER")
    assert last == Counts(completed=4)
    assert all(counts.remaining + counts.completed == 4 for counts in progress)
    assert sorted(receiver.came) == sorted(files_of(keys))


def test_a_destination_that_the_node_does_not_know_is_an_error(archive: Node) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    with pytest.raises(NodeError, match="answers C-MOVE with 0x") as error:
        list(move(archive, Level.SERIES, keys, "ELSEWHERE"))
    assert not error.value.retry


def test_what_is_present_is_said_by_instance(archive: Node) -> None:
    keys = series_of(archive, PatientID="77654033", Modality="CT")
    mine = [(keys["StudyInstanceUID"], keys["SeriesInstanceUID"], uid) for uid in files_of(keys)]
    other = (keys["StudyInstanceUID"], "1.2.3.9", "1.2.3.9.1")
    assert present(archive, [*mine[:3], (*mine[0][:2], "1.2.3.9.2"), other]) == {uid for _, _, uid in mine[:3]}


@pytest.mark.parametrize("start", [dcmqrscp, orthanc])
def test_many_sop_classes_are_brought(start: Callable[[], Any], tmp_path: Path) -> None:
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
            "at the level series, StudyInstanceUID must be given to retrieve, without wild cards",
        ),
        (
            Level.STUDY,
            {"StudyInstanceUID": "1.*"},
            "at the level study, StudyInstanceUID must be given to retrieve, without wild cards",
        ),
        (Level.STUDY, {"StudyInstanceUID": "1.2", "StudyDate": "2024"}, "StudyDate cannot be retrieved by"),
    ],
)
def test_only_unique_keys_retrieve(level: Level, keys: dict[str, str], message: str) -> None:
    with pytest.raises(Mistake) as mistake:
        get(NOBODY, level, keys, lambda *_: 0)
    assert mistake.value.message == message


def test_orthanc_need_not_transcode(shared: Path) -> None:
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


STUDY_ROOT_FIND, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


@contextmanager
def peer(event: Any, answers: Callable[[Any], Iterator[Any]]) -> Iterator[Node]:
    """A peer of pynetdicom that answers C-FIND or C-GET as a test wants it."""
    ae = AE(ae_title="PEER")
    ae.add_supported_context(STUDY_ROOT_FIND)
    ae.add_supported_context(STUDY_ROOT_GET)
    ae.add_supported_context(pydicom.uid.CTImageStorage, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, answers)])
    assert server is not None
    try:
        yield Node("peer", "PEER", "127.0.0.1", server.server_address[1], acse_timeout=10, dimse_timeout=10)
    finally:
        server.shutdown()


def study(number: int) -> pydicom.Dataset:
    """An answer to C-FIND."""
    identifier = pydicom.Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", f"1.2.{number}"
    return identifier


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
def test_any_status_but_success_is_an_error_after_the_matches(status: int, message: str, retry: bool) -> None:
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


def test_a_lost_association_is_an_error_to_try_again() -> None:
    def answers(event: Any) -> Iterator[Any]:
        yield 0xFF00, study(1)
        event.assoc.abort()

    with peer(EVT_C_FIND, answers) as node:
        matches = find(node, Level.STUDY, {})
        assert next(matches)["StudyInstanceUID"] == "1.2.1"
        with pytest.raises(NodeError, match="the association was lost") as error:
            next(matches)
    assert error.value.retry


def test_a_silent_node_is_an_error_to_try_again() -> None:
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


def test_values_that_their_vr_forbids_are_given_as_they_are() -> None:
    def answers(_: Any) -> Iterator[Any]:
        identifier = study(1)
        with pydicom.config.disable_value_validation():
            identifier.StudyDate, identifier.PatientAge = "not a date", "old"
        yield 0xFF00, identifier

    # A warning would have the value, so there is none.
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


def test_a_node_that_counts_more_than_came_is_not_believed() -> None:
    def answers(event: Any) -> Iterator[Any]:
        response = C_GET()
        response.MessageIDBeingRespondedTo = event.request.MessageID
        response.AffectedSOPClassUID = pydicom.uid.UID(STUDY_ROOT_GET)
        response.Status, response.NumberOfCompletedSuboperations = 0x0000, 3
        event.assoc.dimse.send_msg(response, event.context.context_id)
        yield 0

    keys = {"StudyInstanceUID": "1.2"}
    with peer(EVT_C_GET, answers) as node, pytest.raises(NodeError, match="says that it sent"):
        get(node, Level.STUDY, keys, lambda *_: 0, [pydicom.uid.CTImageStorage])


def test_what_a_node_did_not_send_has_failed() -> None:
    def answers(_: Any) -> Iterator[Any]:
        yield 3
        yield 0xFF00, pydicom.dcmread(EXAMPLES / "clinic" / "CT_small.dcm")
        yield 0x0000, None

    with peer(EVT_C_GET, answers) as node:
        counts = get(node, Level.STUDY, {"StudyInstanceUID": "1.2"}, lambda *_: 0, [pydicom.uid.CTImageStorage])
    assert counts == Counts(completed=1, failed=2)


def test_a_node_that_breaks_off_between_two_queries_is_an_error_to_try_again() -> None:
    def answers(event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            event.assoc.abort()
            return
        yield 0xFF00, study(1)
        yield 0xFF00, study(2)

    with peer(EVT_C_FIND, answers) as node, pytest.raises(NodeError, match="the association was lost") as error:
        list(find(node, Level.SERIES, {}))
    assert error.value.retry


def test_closing_early_cancels_a_move(receiver: Receiver) -> None:
    with orthanc({"RECEIVER": receiver.port}) as node:
        stored(node, instances())
        keys = series_of(node, PatientID="98890234", Modality="MR")
        progress = move(node, Level.SERIES, keys, "RECEIVER")
        assert next(progress).failed == 0
        progress.close()
        assert next(find(node, Level.PATIENT, {"PatientID": "98890234"}))


def test_nothing_of_a_patient_is_said(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    def answers(_: Any) -> Iterator[Any]:
        identifier = study(1)
        identifier.PatientName = "Secret^Name"
        yield 0xFF00, identifier
        yield 0xA900, None

    with peer(EVT_C_FIND, answers) as node, pytest.raises(NodeError) as error:
        list(find(node, Level.STUDY, {"PatientName": "Secret*"}))
    said = capfd.readouterr()
    assert "Secret" not in caplog.text + said.out + said.err + str(error.value)
