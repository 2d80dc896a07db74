"""`[retrieve.NAME]` with real archives: what the index lacks comes, once, whole, and is there for the actions after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.events import EVT_C_FIND, EVT_C_GET, EVT_C_MOVE

from pyconquest_rules.execute import retrievals
from pyconquest_rules.network import query_retrieve
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.part10 import data_set_offset
from tests.execute.test_listen import listening
from tests.conftest import Instance, Workplace
from tests.network.archives import dcmqrscp, free_port, orthanc, stored

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
    """What is asked for again need not be waited for."""
    monkeypatch.setattr(retrievals, "DELAYS", (0.0, 0.0))


@pytest.fixture
def scans(workplace: Workplace, instance: Instance) -> list[Path]:
    """What an archive has: two series of CT of 5 images each, and one of MR; and a place for what comes from there."""
    (workplace.folder / "archive").mkdir()
    files = [
        instance(f"sent/{n}.dcm", SeriesInstanceUID=f"1.2.3.{n % 2}", StudyInstanceUID="1.2.4", pixels=bytes(range(100)))
        for n in range(10)
    ]
    return [*files, instance("sent/mr.dcm", Modality="MR", SeriesInstanceUID="1.2.3.9", StudyInstanceUID="1.2.4")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What nodes were asked to bring: the level, and of how many instances the UIDs were given."""
    found: list[tuple[str, int]] = []
    retrieval = query_retrieve._retrieval

    def noted(level: Any, keys: Any) -> Any:
        found.append((str(level), len(keys.get("SOPInstanceUID", "").split("\\")) if "SOPInstanceUID" in keys else 0))
        return retrieval(level, keys)

    monkeypatch.setattr(query_retrieve, "_retrieval", noted)
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
    """The bytes of the data sets of files, by SOPInstanceUID."""
    found = {}
    for path in folder.rglob("*.dcm"):
        with path.open("rb") as file:
            found[str(pydicom.dcmread(path).SOPInstanceUID)] = path.read_bytes()[data_set_offset(file.fileno()) :]
    return found


def test_what_the_index_lacks_comes_once_and_is_exported(archive: Workplace, asked: list[tuple[str, int]]) -> None:
    first = archive.run("apply", "--json")
    assert (first.code, first.summary["done"], first.summary["failed"]) == (0, 20, 0), first.out
    assert asked == [("series", 0), ("series", 0)]
    sent = {uid: data for uid, data in data_sets(archive.folder / "sent").items() if not uid.endswith(".11")}
    assert data_sets(archive.folder / "archive") == sent
    assert data_sets(archive.folder / "export") == sent
    asked.clear()
    again = archive.run("apply", "--json").summary
    assert (again["done"], again["unchanged"], asked) == (0, 20, [])


def test_an_instance_that_was_forgotten_comes_back_alone(archive: Workplace, asked: list[tuple[str, int]]) -> None:
    archive.run("apply")
    before, asked[:] = data_sets(archive.folder / "archive"), []
    uid = sorted(before)[0]
    assert archive.run("forget", uid, "--files", "--yes").code == 0
    assert uid not in data_sets(archive.folder / "archive")
    done = archive.run("apply", "retrieve", "--json").summary
    assert (done["done"], done["unchanged"], asked) == (1, 9, [("image", 1)])
    assert data_sets(archive.folder / "archive") == before


def test_several_of_a_series_are_asked_for_by_their_uids(archive: Workplace, asked: list[tuple[str, int]]) -> None:
    archive.run("apply")
    asked.clear()
    forgotten = sorted(data_sets(archive.folder / "archive"))[:6]
    for uid in forgotten:
        archive.run("forget", uid, "--yes")  # their files stay: what comes is the same bytes
    done = archive.run("apply", "retrieve", "--json").summary
    assert (done["done"], done["unchanged"], done["failed"]) == (6, 4, 0)
    assert sum(number for _, number in asked) == 6
    assert {level for level, _ in asked} == {"image"}


def test_what_is_listened_for_in_another_process_comes_there(workplace: Workplace, scans: list[Path]) -> None:
    port = free_port()
    with orthanc({"RULES": port}) as node:
        stored(node, scans)
        workplace.rules(RULES.format(ae_title=node.ae_title, port=node.port) + MOVED.format(port=port))
        with listening(workplace):
            done = workplace.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, 10, 0), done.out


def test_compressed_instances_come_as_they_are(workplace: Workplace, shared: Path) -> None:
    (workplace.folder / "sent").mkdir()
    (workplace.folder / "archive").mkdir()
    for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "rtplan.dcm"):
        dataset = pydicom.dcmread(shared / "corpus" / "pydicom" / name)
        for element in dataset.iterall():  # which Orthanc does too
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
