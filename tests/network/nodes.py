"""Nodes to query and to retrieve from, and the instances of the archives among them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.events import EVT_C_STORE

from pyconquest_rules.dicom import Level
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.query import find
from tests.conftest import save
from tests.quickstart import instances

NAMES = {"U": "Łukasz^Ωmega", "J": "Yamada^Tarou=山田^太郎=やまだ^たろう", "L": "Müller^José"}


CHARACTER_SETS: dict[str, Any] = {"U": "ISO_IR 192", "J": ["", "ISO 2022 IR 87"], "L": "ISO_IR 100"}


def named(folder: Path) -> list[Path]:
    """Write instances of patients whose names are in different character sets."""
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
    """A storage SCP of pynetdicom, the destination of C-MOVE. `came` lists the received instances."""

    def __init__(self) -> None:
        self.came: list[str] = []
        ae = AE(ae_title="RECEIVER")
        ae.supported_contexts = AllStoragePresentationContexts
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(EVT_C_STORE, self.take)])
        assert server is not None
        self.server, self.port = server, int(server.server_address[1])

    def take(self, event: Any) -> int:
        """Keep only the SOPInstanceUID."""
        self.came.append(str(event.request.AffectedSOPInstanceUID))
        return 0


NOBODY = Node("archive", "ARCHIVE", "127.0.0.1", 1)


def series_of(node: Node, **match: str) -> dict[str, str]:
    """Return the unique keys of the one series that matches."""
    (series,) = find(node, Level.SERIES, match)
    return {keyword: series[keyword] for keyword in ("StudyInstanceUID", "SeriesInstanceUID")}


STUDY_ROOT_FIND, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


@contextmanager
def peer(event: Any, answers: Callable[[Any], Iterator[Any]]) -> Iterator[Node]:
    """Start a peer of pynetdicom with a handler of C-FIND or C-GET."""
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
    """Return the identifier of a match."""
    identifier = pydicom.Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", f"1.2.{number}"
    return identifier


def files_of(keys: dict[str, str]) -> dict[str, pydicom.FileDataset]:
    """Return the data sets of the quick start with these keys, by SOPInstanceUID."""
    datasets = [pydicom.dcmread(file) for file in instances()]
    return {d.SOPInstanceUID: d for d in datasets if all(d[keyword].value == value for keyword, value in keys.items())}
