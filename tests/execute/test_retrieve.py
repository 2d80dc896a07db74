"""`[retrieve.NAME]` with real archives: missing instances are retrieved once, complete, and for later actions of the run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.events import EVT_C_FIND, EVT_C_GET

from pyconquest_rules.kinds.retrieve import do as retrievals
from pyconquest_rules.network import retrieval as retrieving
from pyconquest_rules.network.part10 import data_set_offset
from tests.conftest import Instance, Workplace
from tests.execute.listeners import listening
from tests.peers.archives import dcmqrscp, orthanc, stored
from tests.peers.processes import free_port

RULES = """
[sources.archive]
path = "archive"
layout = "{{{{ PatientID }}}}/{{{{ SOPInstanceUID }}}}.dcm"

[nodes.clinic]
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}

[retrieve.scans]
node = "clinic"
level = "series"
match = {{ Modality = "CT", PatientID = "P*" }}
into = "archive"
"""
MOVED = """
by = "move"
listener = "inbox"

[listen.inbox]
ae_title = "RULES"
port = {port}
into = "archive"
"""
EXPORTED = """
[select.scans]
level = "image"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"
needs = ["retrieve.scans"]
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr(retrievals, "DELAYS", (0.0, 0.0))


@pytest.fixture
def scans(workplace: Workplace, instance: Instance) -> list[Path]:
    """Write the instances of an archive: two CT series of 5 images each and one MR image; create the source."""
    (workplace.folder / "archive").mkdir()
    files = [
        instance(f"sent/{n}.dcm", SeriesInstanceUID=f"1.2.3.{n % 2}", StudyInstanceUID="1.2.4", pixels=bytes(range(100)))
        for n in range(10)
    ]
    return [*files, instance("sent/mr.dcm", Modality="MR", SeriesInstanceUID="1.2.3.9", StudyInstanceUID="1.2.4")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The requests to nodes: the level, and the number of SOPInstanceUIDs."""
    found: list[tuple[str, int]] = []
    identifier = retrieving._identifier

    def noted(level: Any, keys: Any) -> Any:
        found.append((str(level), len(keys.get("SOPInstanceUID", "").split("\\")) if "SOPInstanceUID" in keys else 0))
        return identifier(level, keys)

    monkeypatch.setattr(retrieving, "_identifier", noted)
    return found


Archive = Callable[..., Any]


PEERS = {f"{program.__name__}-{by}": (program, by) for program in (dcmqrscp, orthanc) for by in ("get", "move")}


@pytest.fixture(params=PEERS.values(), ids=[*PEERS])
def archive(request: pytest.FixtureRequest, workplace: Workplace, scans: list[Path]) -> Iterator[Workplace]:
    """A workplace with rules that retrieve from an archive that has `scans`."""
    program, by = request.param
    port = free_port()
    with program({"RULES": port}) as node:
        stored(node, scans)
        rules = RULES.format(ae_title=node.ae_title, port=node.port)
        yield workplace.rules(rules + (MOVED.format(port=port) if by == "move" else "") + EXPORTED)


def data_sets(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the data sets of files, by SOPInstanceUID."""
    found = {}
    for path in folder.rglob("*.dcm"):
        with path.open("rb") as file:
            found[str(pydicom.dcmread(path).SOPInstanceUID)] = path.read_bytes()[data_set_offset(file.fileno()) :]
    return found


def test_missing_instances_are_retrieved_once_and_exported(archive: Workplace, asked: list[tuple[str, int]]) -> None:
    first = archive.run("apply", "--json")
    assert (first.code, first.summary["done"], first.summary["failed"]) == (0, 20, 0), first.out
    assert asked == [("series", 0), ("series", 0)]
    sent = {uid: data for uid, data in data_sets(archive.folder / "sent").items() if not uid.endswith(".11")}
    assert data_sets(archive.folder / "archive") == sent
    assert data_sets(archive.folder / "export") == sent
    asked.clear()
    again = archive.run("apply", "--json").summary
    assert (again["done"], again["unchanged"], asked) == (0, 20, [])


def test_a_forgotten_instance_is_retrieved_only_after_the_decision_is_removed(
    archive: Workplace, asked: list[tuple[str, int]]
) -> None:
    archive.run("apply")
    before, asked[:] = data_sets(archive.folder / "archive"), []
    uid = sorted(before)[0]
    assert archive.run("forget", uid, "--files", "--yes").code == 0
    assert uid not in data_sets(archive.folder / "archive")
    done = archive.run("apply", "retrieve", "--json")
    assert (done.code, done.summary["done"], done.summary["unchanged"], asked) == (0, 0, 9, [])
    assert "are forgotten (decisions.txt), and not retrieved" in done.out
    assert archive.run("forget", uid, "--undo").code == 0
    done = archive.run("apply", "retrieve", "--json")
    assert (done.summary["done"], done.summary["unchanged"], asked) == (1, 9, [("image", 1)])
    assert data_sets(archive.folder / "archive") == before


def test_some_instances_of_a_series_are_requested_by_uid(archive: Workplace, asked: list[tuple[str, int]]) -> None:
    archive.run("apply")
    asked.clear()
    forgotten = sorted(data_sets(archive.folder / "archive"))[:6]
    for uid in forgotten:
        archive.run("forget", uid, "--yes")  # their files stay, so the retrieved instances are duplicates
    archive.run("forget", *forgotten, "--undo")
    done = archive.run("apply", "retrieve", "--no-index", "--json").summary
    assert (done["done"], done["unchanged"], done["failed"]) == (6, 4, 0)
    assert sum(number for _, number in asked) == 6
    assert {level for level, _ in asked} == {"image"}


def test_a_listener_in_another_process_receives(workplace: Workplace, scans: list[Path]) -> None:
    port = free_port()
    with orthanc({"RULES": port}) as node:
        stored(node, scans)
        workplace.rules(RULES.format(ae_title=node.ae_title, port=node.port) + MOVED.format(port=port))
        with listening(workplace):
            done = workplace.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, 10, 0), done.out


def test_compressed_instances_arrive_unchanged(workplace: Workplace, shared: Path) -> None:
    (workplace.folder / "sent").mkdir()
    (workplace.folder / "archive").mkdir()
    for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "rtplan.dcm"):
        dataset = pydicom.dcmread(shared / "corpus" / "pydicom" / name)
        for element in dataset.iterall():  # as Orthanc does
            if element.VR == "SQ":
                element.is_undefined_length = False
                for item in element.value:
                    item.is_undefined_length_sequence_item = False
        dataset.pop("DataSetTrailingPadding", None)
        dataset.save_as(workplace.folder / "sent" / name)
    with orthanc() as node:
        stored(node, [*(workplace.folder / "sent").iterdir()])
        everything = RULES.replace('PatientID = "P*"', 'PatientID = "*"').replace('"CT"', '"*"')
        workplace.rules(everything.format(ae_title=node.ae_title, port=node.port))
        assert workplace.run("apply", "--json").summary["done"] == 4
    assert data_sets(workplace.folder / "archive") == data_sets(workplace.folder / "sent")


class Peer:
    """A node of pynetdicom that returns `files` by C-FIND, but sends other instances by C-GET."""

    def __init__(self, files: list[Path]) -> None:
        self.datasets = [pydicom.dcmread(file) for file in files]
        self.withheld: set[str] = set()
        self.more: list[pydicom.Dataset] = []
        self.fails_to_find = False
        self.asked: list[tuple[str, list[str]]] = []
        self.during: Callable[[int], object] = lambda _: None

    def find(self, event: Any) -> Iterator[Any]:
        """Yield the entity of every instance at the level, once."""
        if self.fails_to_find:
            yield 0xC001, None
            return
        level, keys = event.identifier.QueryRetrieveLevel, {}
        key = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
        for dataset in self.datasets:
            if all(dataset.get(k) == v for k, v in _uids(event.identifier).items()):
                keys[dataset[key].value] = dataset
        for dataset in keys.values():
            answer = pydicom.Dataset()
            answer.QueryRetrieveLevel = level
            for element in event.identifier:
                if element.keyword != "QueryRetrieveLevel":
                    answer.add(dataset.get(element.tag, element) if element.tag in dataset else element)
            yield 0xFF00, answer

    def get(self, event: Any) -> Iterator[Any]:
        """Send the requested instances, except withheld ones, and additional ones."""
        asked = _uids(event.identifier)
        uids = asked.pop("SOPInstanceUID", None)
        self.asked.append((event.identifier.QueryRetrieveLevel, [uids] if isinstance(uids, str) else [*(uids or ())]))
        matching = [d for d in self.datasets if all(d.get(k) == v for k, v in asked.items())]
        found = [d for d in matching if uids is None or d.SOPInstanceUID in uids]
        yield len(found) + len(self.more)
        for number, dataset in enumerate([*self.more, *found]):
            self.during(number)
            if dataset.SOPInstanceUID not in self.withheld:
                yield 0xFF00, dataset
        yield 0x0000, None


def _uids(identifier: pydicom.Dataset) -> dict[str, Any]:
    uids = {k: identifier.get(k) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    return {keyword: value for keyword, value in uids.items() if value}


@pytest.fixture
def peer(workplace: Workplace, instance: Instance) -> Iterator[Peer]:
    """A peer with one series of 5 images, and rules that retrieve from it."""
    (workplace.folder / "archive").mkdir()
    peer = Peer([instance(f"sent/{n}.dcm", SeriesInstanceUID="1.2.3.1", StudyInstanceUID="1.2.4") for n in range(5)])
    ae = AE(ae_title="PEER")
    for service in ("1", "3"):
        ae.add_supported_context(f"1.2.840.10008.5.1.4.1.2.2.{service}")
    ae.add_supported_context(pydicom.uid.CTImageStorage, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(EVT_C_FIND, peer.find), (EVT_C_GET, peer.get)])
    assert server is not None
    workplace.rules(RULES.format(ae_title="PEER", port=server.server_address[1]) + EXPORTED)
    yield peer
    server.shutdown()


def uid_of(peer: Peer, number: int) -> str:
    return str(peer.datasets[number].SOPInstanceUID)


def test_an_instance_that_is_not_sent_has_failed_and_is_requested_next_time(workplace: Workplace, peer: Peer) -> None:
    peer.withheld = {uid_of(peer, 1), uid_of(peer, 3)}
    first = workplace.run("apply", "--json")
    assert (first.code, first.summary["done"], first.summary["failed"], first.summary["blocked"]) == (1, 3, 2, 3)
    failed = [line for line in first.lines if line["event"] == "failed"]
    assert [line["SOPInstanceUID"] for line in failed] == sorted(peer.withheld)
    assert all("node clinic (PEER@127.0.0.1:" in line["message"] and "did not send it" in line["message"] for line in failed)
    # The series, then the missing instances twice.
    assert [(level, len(uids)) for level, uids in peer.asked] == [("SERIES", 0), ("IMAGE", 2), ("IMAGE", 2)]
    assert workplace.files("export") == {}  # it needs the failed retrieval
    assert workplace.run("plan", "retrieve", "--json").summary["reasons"] == {"todo:retry": 2, "unchanged:done": 3}
    (status,) = (line for line in workplace.run("status", "retrieve", "--json").lines if line["event"] == "action")
    assert (status["done"], status["due"], status["failed"]) == (3, 2, 2)
    peer.asked.clear()
    peer.withheld.clear()
    rest = workplace.run("apply", "--json")
    assert (rest.code, rest.summary["done"], rest.summary["unchanged"]) == (0, 2 + 5, 3)
    assert peer.asked == [("IMAGE", [uid_of(peer, 1), uid_of(peer, 3)])]
    assert len(workplace.files("export")) == 5


def test_an_instance_that_arrives_after_a_retry_is_done(workplace: Workplace, peer: Peer) -> None:
    peer.withheld = {uid_of(peer, 2)}
    peer.during = lambda _: peer.withheld.clear() if len(peer.asked) == 2 else None
    done = workplace.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, 10, 0)
    assert peer.asked == [("SERIES", []), ("IMAGE", [uid_of(peer, 2)])]


def test_an_unrequested_instance_is_refused(workplace: Workplace, peer: Peer, instance: Instance) -> None:
    unasked = pydicom.dcmread(instance("unasked.dcm", PatientID="P2"))
    peer.more = [unasked]
    done = workplace.run("apply", "retrieve", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, 5, 0)
    assert len(workplace.files("archive")) == 5
    assert unasked.SOPInstanceUID not in workplace.run("query", "select * from images").out


def test_an_instance_without_a_valid_path_has_failed_without_retry(workplace: Workplace, peer: Peer) -> None:
    peer.datasets[1].PatientID = ""
    done = workplace.run("apply", "retrieve", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 4, 1)
    (failed,) = (line for line in done.lines if line["event"] == "failed")
    assert "give no valid path" in failed["message"]
    assert len(peer.asked) == 1


def test_another_data_set_of_an_instance_has_failed(workplace: Workplace, peer: Peer) -> None:
    peer.datasets[0].PatientID = "../../../P1"
    workplace.run("apply", "retrieve")
    (strange,) = (path for path in workplace.files("archive") if ".." in path)
    assert strange.startswith(".._.._.._P1/")
    (workplace.folder / "archive" / strange).write_bytes(b"other")
    workplace.run("forget", uid_of(peer, 0), "--yes")
    workplace.run("forget", uid_of(peer, 0), "--undo")
    done = workplace.run("apply", "retrieve", "--no-index", "--json")
    assert (done.code, done.summary["failed"]) == (1, 1)
    assert (workplace.folder / "archive" / strange).read_bytes() == b"other"


def test_a_failed_query_blocks_only_its_action_and_those_that_need_it(workplace: Workplace, peer: Peer) -> None:
    workplace.run("apply")
    more = '\n[copy.other]\nselect = "scans"\nto = "other/{{ SOPInstanceUID }}.dcm"\n'
    workplace.rules((workplace.folder / "rules.toml").read_text().replace("rules_version = 1\n", "") + more)
    peer.fails_to_find = True
    (workplace.folder / "export" / f"{uid_of(peer, 0)}.dcm").unlink()
    plan = workplace.run("plan", "--json")
    assert plan.code == 1
    assert plan.summary["reasons"] == {"blocked:node-failed": 1, "blocked:needs": 1, "unchanged:done": 4, "todo:new": 5}
    done = workplace.run("apply")
    assert done.code == 1
    assert "failed: retrieve.scans: node clinic (PEER@127.0.0.1:" in done.err
    assert "0xC001" in done.err
    assert (len(workplace.files("other")), len(workplace.files("export"))) == (5, 4)


def test_no_node_is_queried_without_a_retrieval(workplace: Workplace, peer: Peer) -> None:
    workplace.run("apply")
    more = '\n[copy.other]\nselect = "scans"\nto = "other/{{ SOPInstanceUID }}.dcm"\n'
    workplace.rules((workplace.folder / "rules.toml").read_text().replace("rules_version = 1\n", "") + more)
    peer.fails_to_find = True
    for command in ("check", "status", f"explain {uid_of(peer, 0)}", "verify", "plan copy.other", "apply copy.other"):
        assert workplace.run(*command.split()).code == 0, command


def test_ctrl_c_stops_and_the_next_run_retrieves_the_rest(workplace: Workplace, peer: Peer) -> None:
    peer.during = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 2 else None
    broken = workplace.run("apply", "--json")
    assert broken.code == 130
    came = len(workplace.files("archive"))
    assert (came, broken.summary["failed"]) == (broken.summary["done"], 0)
    assert 1 < came < 5
    peer.during = lambda _: None
    rest = workplace.run("apply", "retrieve", "--json").summary
    assert (rest["done"], rest["unchanged"]) == (5 - came, came)


def test_apply_of_a_saved_plan_carries_out_that_plan(workplace: Workplace, peer: Peer) -> None:
    workplace.run("index")
    assert workplace.run("plan", "-o", "saved", "--json").summary["actions"]["retrieve.scans"]["todo"] == 5
    done = workplace.run("apply", "--plan", "saved", "--json").summary
    assert (done["done"], len(workplace.files("archive")), workplace.files("export")) == (5, 5, {})
    assert workplace.run("apply", "--plan", "saved").code == 5  # the plan is stale


def test_retrieves_single_images(workplace: Workplace, peer: Peer) -> None:
    rules = (workplace.folder / "rules.toml").read_text().replace("rules_version = 1\n", "")
    match = f'match = {{ SOPInstanceUID = "{uid_of(peer, 3)}" }}'
    rules = rules.replace('"series"', '"image"').replace('match = { Modality = "CT", PatientID = "P*" }', match)
    assert workplace.rules(rules).run("apply", "retrieve", "--json").summary["done"] == 1
    assert peer.asked == [("IMAGE", [uid_of(peer, 3)])]


def test_two_actions_retrieve_the_same_instance_once(workplace: Workplace, peer: Peer) -> None:
    rules = (workplace.folder / "rules.toml").read_text().replace("rules_version = 1\n", "")
    again = '\n[retrieve.again]\nnode = "clinic"\nlevel = "patient"\nmatch = { PatientID = "P1" }\ninto = "archive"\n'
    workplace.rules(rules + again + 'needs = ["retrieve.scans"]\n')
    done = workplace.run("apply", "retrieve", "--json").summary
    assert (done["failed"], len(peer.asked), len(workplace.files("archive"))) == (0, 1, 5)


def test_a_run_after_a_kill_does_the_rest(workplace: Workplace, peer: Peer) -> None:
    command = [sys.executable, "-m", "pyconquest_rules", "apply", "retrieve", "--json"]
    with subprocess.Popen(command, cwd=workplace.folder, stdout=subprocess.DEVNULL) as process:
        peer.during = lambda number: process.kill() if number == 3 else None
    assert process.returncode == -signal.SIGKILL
    known = workplace.run("query", "select SOPInstanceUID from images", "--json").summary["rows"]
    assert known == 3  # the acknowledged ones
    peer.during = lambda _: None
    rest = workplace.run("apply", "--json")
    assert (rest.code, rest.summary["done"], rest.summary["unchanged"]) == (0, 2 + 5, 3)
    assert len(workplace.files("archive")) == 5
