"""Peers of the tests: DCMTK's and Orthanc as processes, and one of our own that makes mistakes."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import needs
from tests.dcmtk import dcmtk

HOST = "127.0.0.1"
ATTEMPTS = 5


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def process(command: Callable[[int], Sequence[str | Path]], folder: Path) -> Iterator[int]:
    """Runs a server, whose command line is made from its port, and gives the port when it accepts connections."""
    for _ in range(ATTEMPTS):
        port = free_port()
        arguments = [str(argument) for argument in command(port)]
        needs(arguments[0], shutil.which(arguments[0]) is not None)
        with (folder / "log").open("ab") as log:
            running = subprocess.Popen(
                arguments, cwd=folder, stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}, start_new_session=True
            )
        try:
            if _accepts(port, running):
                yield port
                return
        finally:
            running.terminate()
            running.wait(30)
    raise RuntimeError(f"{arguments[0]} does not start: {(folder / 'log').read_text(errors='replace')}")


def _accepts(port: int, running: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end and running.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return running.poll() is None
        time.sleep(0.01)
    return False


@contextmanager
def storescp(folder: Path, *options: str | Path) -> Iterator[int]:
    """DCMTK's storescp, which writes into `folder/received`."""
    (folder / "received").mkdir(exist_ok=True)
    with process(lambda port: [dcmtk("storescp"), "-od", folder / "received", *options, str(port)], folder) as port:
        yield port


@contextmanager
def dcmqrscp(folder: Path, ae_title: str = "ARCHIVE", hosts: Mapping[str, tuple[str, int]] | None = None) -> Iterator[int]:
    """DCMTK's dcmqrscp. `hosts`: AE titles with address and port, to which it may move."""
    store, known = folder / "store", hosts or {}
    store.mkdir(exist_ok=True)
    table = "\n".join(f"h{number} = ({title}, {host}, {port})" for number, (title, (host, port)) in enumerate(known.items()))
    (folder / "dcmqrscp.cfg").write_text(
        "MaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{table}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {store} RW (1000, 8192mb) ANY\nAETable END\n"
    )
    with process(lambda port: [dcmtk("dcmqrscp"), "-c", folder / "dcmqrscp.cfg", str(port)], folder) as port:
        yield port


@dataclass(frozen=True)
class Orthanc:
    """Where an Orthanc listens, for DICOM and for HTTP."""

    port: int
    http: int


@contextmanager
def orthanc(
    folder: Path, ae_title: str = "ORTHANC", modalities: Mapping[str, tuple[str, str, int]] | None = None
) -> Iterator[Orthanc]:
    """An Orthanc without plugins that keeps all in `folder`. `modalities`: AE title, host and port by name."""
    http = free_port()

    def command(port: int) -> list[str | Path]:
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "orthanc"),
            "IndexDirectory": str(folder / "orthanc"),
            "Plugins": [],
            "DicomAet": ae_title,
            "DicomPort": port,
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "UnknownSopClassAccepted": True,
            "StorageCompression": False,
            "OverwriteInstances": False,
            "DicomModalities": {name: list(modality) for name, modality in (modalities or {}).items()},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        return ["Orthanc", folder / "orthanc.json"]

    with process(command, folder) as port:
        yield Orthanc(port, http)


@contextmanager
def storescp_at(folder: Path, port: int, *options: str) -> Iterator[None]:
    """DCMTK's storescp, which writes what it receives to `folder`."""
    folder.mkdir(exist_ok=True)
    command = [dcmtk("storescp"), "-q", *options, "--output-directory", str(folder), str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL)
    try:
        assert _accepts(port, process)
        yield
    finally:
        process.terminate()
        process.wait(20)
