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
