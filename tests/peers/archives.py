"""Real archives on loopback, for tests: DCMTK's dcmqrscp and Orthanc, each with a configuration of its own and a free port."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from pyconquest_rules.network.node import Node
from tests.conftest import needs
from tests.dcmtk import dcmtk
from tests.peers.processes import free_port

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def program(name: str) -> str:
    """The path of an installed program."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    needs(name, found is not None)
    return str(found)


@contextmanager
def dcmqrscp(destinations: Mapping[str, int] | None = None, *options: str) -> Iterator[Node]:
    """DCMTK's archive, empty. `destinations`: AE titles with ports of loopback to which it may move; `options`: more of its own.

    It takes uncompressed instances alone; with the option "+xr", for instance, RLE too.
    """
    with tempfile.TemporaryDirectory(prefix="dcmqrscp-") as name:
        folder = Path(name)
        (folder / "ARCHIVE").mkdir()
        hosts = "".join(f"{title} = ({title}, 127.0.0.1, {port})\n" for title, port in (destinations or {}).items())

        def command(port: int) -> list[str]:
            (folder / "dcmqrscp.cfg").write_text(
                f"NetworkTCPPort = {port}\nMaxPDUSize = 65536\nMaxAssociations = 32\n"
                f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
                f"AETable BEGIN\nARCHIVE {folder / 'ARCHIVE'} RW (1000, 64mb) ANY\nAETable END\n"
            )
            return [dcmtk("dcmqrscp"), "-c", str(folder / "dcmqrscp.cfg"), "--log-level", "error", *options]

        with _started("ARCHIVE", command) as node:
            yield node


@contextmanager
def orthanc(modalities: Mapping[str, int] | None = None, **settings: Any) -> Iterator[Node]:
    """Orthanc, empty. `modalities`: AE titles with ports of loopback that it knows; `settings`: more of its configuration."""
    with tempfile.TemporaryDirectory(prefix="orthanc-") as name:
        folder = Path(name)
        known = {
            title: {"AET": title, "Host": "127.0.0.1", "Port": port, "AllowStorageCommitment": True}
            for title, port in (modalities or {}).items()
        }

        def command(port: int) -> list[str]:
            configuration = {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "index"),
                "Plugins": [],
                "HttpServerEnabled": False,
                "DefaultEncoding": "Utf8",
                "DicomAet": "ORTHANC",
                "DicomPort": port,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
                "DicomModalities": known,
            }
            (folder / "orthanc.json").write_text(json.dumps(configuration | settings))
            return [program("Orthanc"), str(folder / "orthanc.json")]

        with _started("ORTHANC", command) as node:
            yield node


@contextmanager
def _started(ae_title: str, command: Callable[[int], list[str]]) -> Iterator[Node]:
    """A program that listens on a free port, once it answers C-ECHO. Somebody may take the port first: then another one."""
    for _ in range(5):
        port = free_port()
        node = Node(ae_title.lower(), ae_title, "127.0.0.1", port, acse_timeout=10, dimse_timeout=20)
        with subprocess.Popen(command(port), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                if _answers(node, process):
                    yield node
                    return
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
    raise RuntimeError(f"{ae_title} does not start")


def _answers(node: Node, process: subprocess.Popen[bytes]) -> bool:
    """Whether the program answers C-ECHO before it ends."""
    ae = AE(ae_title="PYCONQUEST")
    ae.add_requested_context("1.2.840.10008.1.1")
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        association = ae.associate(node.host, node.port, ae_title=node.ae_title)
        if association.is_established:
            status = association.send_c_echo()
            association.release()
            return bool(status) and status.Status == 0
        time.sleep(0.05)
    return False


@contextmanager
def undisturbed(association: Association) -> Iterator[None]:
    """Leaves the messages of an association of pynetdicom to who waits for them: its own thread may take one for itself."""
    dimse, get_msg = association.dimse, association.dimse.get_msg
    dimse.get_msg = lambda block=False: get_msg(block=True) if block else (None, None)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del dimse.get_msg  # so that the method of the class is there again


def stored(node: Node, files: Sequence[Path]) -> None:
    """Sends files to a node, each in a presentation context of its own transfer syntax alone."""
    ae = AE(ae_title=node.calling_ae_title)
    for start in range(0, len(files), 100):
        datasets = [dcmread(file) for file in files[start : start + 100]]
        kinds = dict.fromkeys((dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets)
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
        association = ae.associate(node.host, node.port, contexts, ae_title=node.ae_title)
        assert association.is_established
        for dataset in datasets:
            assert association.send_c_store(dataset).Status == 0, dataset.filename
        association.release()
