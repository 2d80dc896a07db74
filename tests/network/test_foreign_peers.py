"""Clients and servers that nobody here wrote, in both directions: what arrives has the same bytes and the same transfer syntax.

A row of a table is a peer: how it is run, and what is known to differ. DCMTK's programs are those of the system, as those of
pynetdicom in our environment have the same names.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from pyconquest_rules.network.part10 import data_set_offset
from tests.conftest import Workplace, needs
from tests.dcmtk import dcmtk
from tests.execute.listeners import listening
from tests.peers.archives import dcmqrscp, orthanc
from tests.peers.processes import free_port, process

IMPLICIT, EXPLICIT, BIG, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
ECHO = "1.2.840.10008.1.1"
CT, PLAN = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.5"
DCMJS = Path(__file__).parent / "dcmjs"
SQLALCHEMY = ("sqlalchemy==2.0.44", "typing-extensions>=4.6")  # of pynetdicom's qrscp


def of_pynetdicom(name: str) -> list[str]:
    return [sys.executable, "-m", "pynetdicom", name]


def dcmjs(*arguments: object) -> list[str]:
    """Return the peer from npm: `npm ci --prefix tests/network/dcmjs` installs it."""
    there = shutil.which("node") is not None and (DCMJS / "node_modules" / "dcmjs-dimse").is_dir()
    needs("node, and `npm ci --prefix tests/network/dcmjs`", there)
    return ["node", str(DCMJS / "peer.js"), *map(str, arguments)]


# The instances


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """Two series of a patient by transfer syntax: CT with pixels, and a plan with sequences."""
    folder = tmp_path / "data"
    folder.mkdir()
    made: dict[str, list[Path]] = {}
    for number, (syntax, kind) in enumerate(
        [(IMPLICIT, CT), (IMPLICIT, PLAN), (EXPLICIT, CT), (EXPLICIT, CT), (BIG, CT), (RLE, CT)]
    ):
        made.setdefault(syntax, []).append(saved(folder / f"{number}.dcm", number, syntax, kind))
    return made


def saved(file: Path, number: int, syntax: str, kind: str) -> Path:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, f"1.2.826.0.1.3680043.10.77.{number}"
    dataset.StudyDate, dataset.Modality = "20240203", "CT" if kind == CT else "RTPLAN"
    dataset.PatientName, dataset.PatientID = "Müller^Jürgen", "FOREIGN"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        "1.2.826.0.1.3680043.10.78",
        f"1.2.826.0.1.3680043.10.79.{syntax[-1]}.{len(kind)}",
    )
    dataset.InstanceNumber = number
    if kind == PLAN:
        beam = Dataset()
        beam.BeamName, beam.BeamNumber = "AP 0", 1  # in sequences dcmjs reads UTF-8 as Latin-1
        dataset.BeamSequence = [beam]
    else:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        pixels = bytes([number]) * 256
        dataset.PixelData = encapsulate([rle(pixels)]) if syntax == RLE else pixels
        dataset["PixelData"].VR = "OB" if syntax == RLE else "OW"
        dataset["PixelData"].is_undefined_length = syntax == RLE
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.save_as(file, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return file


def rle(pixels: bytes) -> bytes:
    """One segment of runs of 128 (PS3.5 G)."""
    runs = b"".join(bytes([129, pixels[start]]) for start in range(0, len(pixels), 128))
    return (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + runs


Contents = dict[str, tuple[str, bytes]]


def contents(paths: Sequence[Path]) -> Contents:
    """Return the transfer syntax and the bytes of the data set, by SOPInstanceUID."""
    found: Contents = {}
    for path in paths:
        dataset = pydicom.dcmread(path)
        with path.open("rb") as file:
            data_set = path.read_bytes()[data_set_offset(file.fileno()) :]
        assert dataset.SOPInstanceUID not in found
        found[str(dataset.SOPInstanceUID)] = str(dataset.file_meta.TransferSyntaxUID), data_set
    return found


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def same(came: Sequence[Path], sent: Sequence[Path], *, exact: bool = True) -> None:
    """Check that exactly these instances arrived. If the peer rewrites data sets (not `exact`), compare their elements."""
    if exact:
        assert contents(came) == contents(sent)
        return
    assert contents(came).keys() == contents(sent).keys()
    elements = [{dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, paths)} for paths in (came, sent)]
    for uid, dataset in elements[0].items():
        assert dataset.to_json_dict() == elements[1][uid].to_json_dict()


def ended(command: Sequence[str | Path], *, folder: Path | None = None) -> None:
    """Run a client, which must succeed."""
    done = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, timeout=120, env={**os.environ, "TCP_NODELAY": "1"}, cwd=folder
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


# Peers that send to our `listen`

Files = Mapping[str, Sequence[Path]]


def storescu(port: int, files: Files) -> None:
    for syntax, option in {IMPLICIT: "-xi", EXPLICIT: "-xe", BIG: "-xb", RLE: "-xr"}.items():
        ended([dcmtk("storescu"), option, "-aec", "RULES", "127.0.0.1", str(port), *files.get(syntax, ())])


def dcmsend(port: int, files: Files) -> None:
    ended([dcmtk("dcmsend"), "-dn", "-aec", "RULES", "127.0.0.1", str(port), *all_of(files)])


def pynetdicom_storescu(port: int, files: Files) -> None:
    for file in all_of(files):
        ended([*of_pynetdicom("storescu"), "-cx", "-aec", "RULES", "127.0.0.1", str(port), file])


def dcmjs_store(port: int, files: Files) -> None:
    ended(dcmjs("store", port, *all_of(files)))


def all_of(files: Files) -> list[Path]:
    return [path for some in files.values() for path in some]


LITTLE = (IMPLICIT, EXPLICIT, RLE)
SENDERS: dict[str, tuple[Callable[[int, Files], None], tuple[str, ...], bool]] = {
    # how it sends, what it can send, and whether it leaves the bytes as they are. dcmsend proposes all uncompressed syntaxes at
    # once and writes what we chose, dcmjs-dimse writes every data set anew.
    "DCMTK storescu": (storescu, (*LITTLE, BIG), True),
    "DCMTK dcmsend": (dcmsend, (IMPLICIT, EXPLICIT, BIG), False),
    "pynetdicom storescu": (pynetdicom_storescu, (*LITTLE, BIG), True),
    "dcmjs-dimse": (dcmjs_store, (IMPLICIT, EXPLICIT), False),
}

LISTEN = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
"""


@pytest.mark.parametrize(("send", "can", "exact"), SENDERS.values(), ids=list(SENDERS))
def test_stores_the_instances_of_each_client(
    workplace: Workplace, files: Files, send: Callable[[int, Files], None], can: Sequence[str], exact: bool
) -> None:
    sent = {syntax: some for syntax, some in files.items() if syntax in can}
    (workplace.folder / "archive").mkdir()
    with listening(workplace.rules(LISTEN)) as (port, _):
        send(port, sent)
        send(port, sent)  # duplicates succeed too
    same(files_in(workplace.folder / "archive"), all_of(sent), exact=exact)
    assert workplace.run("query", "SELECT SOPInstanceUID FROM images", "--json").summary["rows"] == len(all_of(sent))


ECHOES: dict[str, Callable[[int], list[str]]] = {
    "DCMTK echoscu": lambda port: [dcmtk("echoscu"), "-aec", "RULES", "127.0.0.1", str(port)],
    "pynetdicom echoscu": lambda port: [*of_pynetdicom("echoscu"), "-aec", "RULES", "127.0.0.1", str(port)],
    "dcmjs-dimse": lambda port: dcmjs("echo", port),
}


@pytest.mark.parametrize("command", ECHOES.values(), ids=list(ECHOES))
def test_an_echo_is_answered(workplace: Workplace, command: Callable[[int], list[str]]) -> None:
    (workplace.folder / "archive").mkdir()
    with listening(workplace.rules(LISTEN)) as (port, _):
        ended(command(port))


# Peers that receive from our `send`


def server(
    command: Callable[[int, Path], Sequence[str | Path]],
) -> Callable[[Path], AbstractContextManager[tuple[str, int, Path]]]:
    """A server that stores into a folder: its AE title, its port and the folder."""

    @contextmanager
    def started(folder: Path) -> Iterator[tuple[str, int, Path]]:
        received = folder / "received"
        received.mkdir()
        with process(lambda port: command(port, received), folder) as port:
            yield "PEER", port, received

    return started


def profile(folder: Path) -> Path:
    """Return the configuration of dcmrecv; without it, it accepts only C-ECHO (asconfig.txt of DCMTK)."""
    file = folder.parent / "dcmrecv.cfg"
    syntaxes = "".join(f"TransferSyntax{n} = {syntax}\n" for n, syntax in enumerate((*LITTLE, BIG), 1))
    contexts = "".join(f"PresentationContext{n} = {sop_class}\\Any\n" for n, sop_class in enumerate((CT, PLAN, ECHO), 1))
    file.write_text(
        f"[[TransferSyntaxes]]\n[Any]\n{syntaxes}[[PresentationContexts]]\n[All]\n{contexts}"
        "[[Profiles]]\n[Default]\nPresentationContexts = All\n"
    )
    return file


SERVERS: dict[str, tuple[Callable[[Path], AbstractContextManager[tuple[str, int, Path]]], tuple[str, ...], bool]] = {
    "DCMTK storescp": (
        server(lambda port, folder: [dcmtk("storescp"), "+xa", "+B", "-aet", "PEER", "-od", folder, str(port)]),
        (*LITTLE, BIG),
        True,
    ),
    "DCMTK dcmrecv": (
        server(
            lambda port, folder: [
                dcmtk("dcmrecv"),
                "-xf",
                profile(folder),
                "Default",
                "+B",
                "-aet",
                "PEER",
                "-od",
                folder,
                str(port),
            ]
        ),
        (*LITTLE, BIG),
        True,
    ),
    "pynetdicom storescp": (
        server(lambda port, folder: [*of_pynetdicom("storescp"), "-aet", "PEER", "-ba", "127.0.0.1", "-od", folder, str(port)]),
        (*LITTLE, BIG),
        True,
    ),
    "dcmjs-dimse": (server(lambda port, folder: dcmjs("scp", port, folder)), LITTLE, False),
}

SEND = """
[sources.data]
path = "data"

[nodes.peer]
ae_title = "{}"
host = "127.0.0.1"
port = {}

[select.all]
level = "image"
where = "1"

[send.out]
select = "all"
node = "peer"
"""


@pytest.mark.parametrize(("start", "can", "exact"), SERVERS.values(), ids=list(SERVERS))
def test_each_server_stores_our_instances(
    workplace: Workplace,
    files: Files,
    start: Callable[[Path], AbstractContextManager[tuple[str, int, Path]]],
    can: Sequence[str],
    exact: bool,
) -> None:
    for syntax in files.keys() - set(can):
        for path in files[syntax]:
            path.unlink()
    kept = [path for path in all_of(files) if path.exists()]
    with start(workplace.folder) as (title, port, folder):
        workplace.rules(SEND.format(title, port))
        assert workplace.run("echo", "peer").code == 0
        done = workplace.run("apply", "--json")
        assert (done.code, done.summary["done"], done.summary["failed"]) == (0, len(kept), 0), done.out
        assert workplace.run("apply", "--json").summary["done"] == 0
    same(files_in(folder), kept, exact=exact)


def test_dcmjs_is_queried(workplace: Workplace) -> None:
    with server(lambda port, folder: dcmjs("scp", port, folder))(workplace.folder) as (title, port, _):
        (workplace.folder / "data").mkdir(exist_ok=True)
        done = workplace.rules(SEND.format(title, port)).run("find", "peer", "PatientID=P1", "--json")
    assert (done.code, done.summary["rows"]) == (0, 1), done.out
    assert done.lines[0]["values"]["StudyInstanceUID"] == "1.2.3"


# Archives: find and retrieve the sent instances by C-GET and C-MOVE, with our commands and with other clients


@contextmanager
def qrscp(destinations: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Start the archive of pynetdicom. It needs SQLAlchemy, which is installed in a separate folder."""

    with tempfile.TemporaryDirectory(prefix="qrscp-") as name:
        folder = Path(name)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder / "site"),
        ]
        done = subprocess.run([*pip, *SQLALCHEMY], check=False, capture_output=True)
        needs("SQLAlchemy from PyPI", done.returncode == 0)

        def command(port: int) -> list[str | Path]:
            moves = "".join(f"[{title}]\naddress: 127.0.0.1\nport: {to}\n" for title, to in destinations.items())
            times = "acse_timeout: 30\ndimse_timeout: 30\nnetwork_timeout: 30\n"
            (folder / "qrscp.ini").write_text(
                f"[DEFAULT]\nae_title: PEER\nport: {port}\nmax_pdu: 16382\n{times}bind_address: 127.0.0.1\n"
                f"instance_location: {folder / 'instances'}\ndatabase_location: {folder / 'instances.sqlite'}\n"
                f"log_identifier: False\n{moves}"
            )
            where = f"PYTHONPATH={folder / 'site'}"
            return ["env", where, *of_pynetdicom("qrscp"), "-c", folder / "qrscp.ini"]

        with process(command, folder) as port:
            yield "PEER", port


@contextmanager
def dcmtk_archive(destinations: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    with dcmqrscp(destinations) as node:
        yield node.ae_title, node.port


@contextmanager
def orthanc_archive(destinations: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    with orthanc(destinations) as node:
        yield node.ae_title, node.port


Archive = Callable[[Mapping[str, int]], AbstractContextManager[tuple[str, int]]]
ARCHIVES: dict[str, tuple[Archive, tuple[str, ...]]] = {
    # it, and what it keeps in the transfer syntax that it came in
    "DCMTK dcmqrscp": (dcmtk_archive, (EXPLICIT,)),
    "Orthanc": (orthanc_archive, LITTLE),
    "pynetdicom qrscp": (qrscp, (IMPLICIT, EXPLICIT)),
}

BACK = """
[sources.back]
path = "back"
layout = "{{{{ SOPInstanceUID }}}}.dcm"

[nodes.peer]
ae_title = "{title}"
host = "127.0.0.1"
port = {port}

[retrieve.all]
node = "peer"
level = "series"
match = {{ PatientID = "FOREIGN" }}
into = "back"
by = "{by}"
{more}
"""
MOVED = 'listener = "inbox"\n[listen.inbox]\nae_title = "RULES"\nport = {}\ninto = "back"\n'


@pytest.fixture(params=ARCHIVES.values(), ids=list(ARCHIVES))
def archive(request: pytest.FixtureRequest, workplace: Workplace, files: Files) -> Iterator[tuple[str, int, int, list[Path]]]:
    """An archive with instances from our `send`: its AE title and port, the port of RULES, and the files."""
    start, can = request.param
    for syntax in files.keys() - set(can):
        for path in files[syntax]:
            path.unlink()
    kept = [path for path in all_of(files) if path.exists()]
    to = free_port()
    with start({"RULES": to}) as (title, port):
        done = workplace.rules(SEND.format(title, port)).run("apply", "--json")
        assert (done.code, done.summary["done"]) == (0, len(kept)), done.out
        yield title, port, to, kept


def test_finds_the_instances_of_an_archive(workplace: Workplace, archive: tuple[str, int, int, list[Path]]) -> None:
    *_, kept = archive
    for level, key, number in (("study", "StudyInstanceUID", 1), ("image", "SOPInstanceUID", len(kept))):
        done = workplace.run("find", "peer", "--level", level, "PatientID=FOREIGN", "PatientName=", "--json")
        uids = {line["values"][key] for line in done.lines[:-1]}  # qrscp answers with a study once for each image
        assert (done.code, len(uids)) == (0, number), done.out
        assert {line["values"]["PatientName"] for line in done.lines[:-1]} == {"Müller^Jürgen"}


def forget(workplace: Workplace) -> None:
    """Delete the index, because indexed instances are not retrieved again."""
    for file in workplace.folder.glob("conquest.db*"):
        file.unlink()


@pytest.mark.parametrize("by", ["get", "move"])
def test_retrieves_the_instances_of_an_archive(workplace: Workplace, archive: tuple[str, int, int, list[Path]], by: str) -> None:
    title, port, to, kept = archive
    (workplace.folder / "back").mkdir()
    forget(workplace)
    done = workplace.rules(BACK.format(title=title, port=port, by=by, more=MOVED.format(to) if by == "move" else "")).run(
        "apply", "--json"
    )
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, len(kept), 0), done.out
    same(files_in(workplace.folder / "back"), kept)


def test_getscu_retrieves_our_instances(workplace: Workplace, archive: tuple[str, int, int, list[Path]]) -> None:
    title, port, _, kept = archive
    (workplace.folder / "got").mkdir()
    where = ["-aec", title, "-od", str(workplace.folder / "got"), "-k", "QueryRetrieveLevel=STUDY"]
    ended([dcmtk("getscu"), "-S", "+B", *where, "-k", "StudyInstanceUID=1.2.826.0.1.3680043.10.78", "127.0.0.1", str(port)])
    assert contents(files_in(workplace.folder / "got")).keys() == contents(kept).keys()


@pytest.mark.parametrize("client", ["DCMTK movescu", "pynetdicom movescu"])
def test_movescu_moves_to_our_listener(workplace: Workplace, archive: tuple[str, int, int, list[Path]], client: str) -> None:
    title, port, to, kept = archive
    (workplace.folder / "archive").mkdir()
    forget(workplace)
    program = [dcmtk("movescu")] if client.startswith("DCMTK") else of_pynetdicom("movescu")
    with listening(workplace.rules(LISTEN.replace("port = 0", f"port = {to}"))):
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.826.0.1.3680043.10.78"]
        ended([*program, "-S", "-aec", title, "-aem", "RULES", *keys, "127.0.0.1", str(port)])
    same(files_in(workplace.folder / "archive"), kept)
