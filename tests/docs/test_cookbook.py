"""Each recipe of docs/cookbook.md, run on real files: the program prints what its screens show."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import pydicom
import pytest

from tests.compat.conftest import old_python as old_python  # noqa: PLC0414  a fixture
from tests.conftest import REPOSITORY, needs
from tests.docs.recipes import PAGE, Kitchen, blocks, recipes
from tests.peers.archives import dcmqrscp, orthanc, stored
from tests.peers.processes import free_port

RECIPES = recipes()
HOSPITAL = REPOSITORY / "examples" / "quickstart" / "data" / "hospital"
INSTALLED = "/opt/pyconquest-rules/bin"
OURS = str(Path(sys.executable).parent)
UNIT = "etc/systemd/system/dicom-inbox.service"


class Follow:
    """Runs a recipe by its title and compares it with the page. With `--refresh`, it updates the page."""

    def __init__(self, kitchen: Kitchen, *, refresh: bool) -> None:
        self._kitchen, self._refresh = kitchen, refresh

    def __call__(self, title: str, **before: Callable[[], None]) -> None:
        """Run the recipe. `screen_2=…` is a function to call before the third screen."""
        happens = {int(name.removeprefix("screen_")): what for name, what in before.items()}
        followed = self._kitchen.follow(RECIPES[title], happens)
        if self._refresh:
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(page.replace(RECIPES[title], followed), encoding="utf-8")
            return
        assert followed == RECIPES[title]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    """An empty folder for a recipe."""
    return Kitchen(tmp_path)


@pytest.fixture
def follow(pytestconfig: pytest.Config, kitchen: Kitchen) -> Follow:
    return Follow(kitchen, refresh=pytestconfig.getoption("--refresh"))


def copied(kitchen: Kitchen, to: str, *files: Path) -> list[Path]:
    """Copy files, and the files of folders, into a folder of the kitchen, and return its files."""
    folder = kitchen.folder / to
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.is_dir():
            shutil.copytree(file, folder, dirs_exist_ok=True)
        else:
            shutil.copy(file, folder)
    return sorted(folder.iterdir())


def corrected(files: Iterable[Path], **elements: str) -> None:
    """Change values of files, by keyword."""
    for file in files:
        dataset = pydicom.dcmread(file)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)


@pytest.fixture
def radiotherapy(kitchen: Kitchen, shared: Path) -> None:
    """A complete chain of CT slice, structure set, plan and dose, and incomplete chains of three other patients."""
    corpus = shared / "corpus"
    copied(kitchen, "data/clinic", corpus / "dicompyler-core-rtchain" / "example_data")
    trial = [corpus / "rt-utils" / name for name in ("ct_1.dcm", "ct_2.dcm", "rt.dcm")]
    copied(kitchen, "data/trial", *trial, corpus / "pydicom" / "rtplan.dcm", corpus / "pydicom" / "rtdose.dcm")


@pytest.mark.usefixtures("radiotherapy")
def test_planning_ct(follow: Follow, kitchen: Kitchen) -> None:
    follow("Planning CT with its structure set, plan and dose")
    folders = {path.parent.name for path in (kitchen.folder / "export").rglob("*.dcm")}
    assert folders == {"CT", "RTSTRUCT", "RTPLAN", "RTDOSE"}


@pytest.mark.usefixtures("radiotherapy")
def test_incomplete_chains(follow: Follow) -> None:
    follow("Incomplete chains")


def test_missing_slices(follow: Follow, kitchen: Kitchen, shared: Path) -> None:
    """An MR series lacks two slices, and the CT of a structure set lacks all but one."""
    corpus = shared / "corpus"
    copied(kitchen, "data/prostate", corpus / "dcmqi" / "data" / "paramaps" / "pm-example-dcm.zip.d" / "701-ADCb500")
    for missing in ("000004.dcm", "000011.dcm"):
        (kitchen.folder / "data" / "prostate" / missing).unlink()
    chain = corpus / "dicompyler-core-rtchain" / "example_data"
    copied(kitchen, "data/planning", chain / "ct.0.dcm", chain / "rtss.dcm")
    copied(kitchen, "data/head", HOSPITAL / "98890234" / "CT5N")
    follow("Missing slices")


def test_bids(follow: Follow, kitchen: Kitchen, shared: Path) -> None:
    copied(kitchen, "data/siemens", shared / "corpus" / "dcm_qa_nih" / "In" / "20180918Si")
    copied(kitchen, "data/toshiba", shared / "corpus" / "dcm_qa_toshiba" / "In" / "Galan")
    follow("A BIDS-like tree with a mapping")


def test_new_data_and_corrections(follow: Follow, kitchen: Kitchen) -> None:
    copied(kitchen, "incoming/2026-03/CT2", HOSPITAL / "77654033" / "CT2")
    again = copied(kitchen, "incoming/2026-04/CT2", HOSPITAL / "77654033" / "CT2")
    corrected(again, SeriesDescription="CHEST, corrected")
    copied(kitchen, "incoming/2026-04/MR700", HOSPITAL / "98890234" / "MR700")
    follow("New data and corrections")
    assert b"CHEST, corrected" in b"".join(path.read_bytes() for path in (kitchen.folder / "export").rglob("*.dcm"))


def test_a_withdrawn_consent(follow: Follow, kitchen: Kitchen) -> None:
    copied(kitchen, "data", HOSPITAL)
    follow("A withdrawn consent")
    assert [path.name for path in (kitchen.folder / "export").iterdir()] == ["98890234"]


def test_a_night(follow: Follow, kitchen: Kitchen) -> None:
    """The PACS is DCMTK's, the research archive is an Orthanc, and `mail` writes a file. The scans have today's date."""
    sent = copied(kitchen, "sent", HOSPITAL / "98890234" / "CT5N")
    later = copied(kitchen, "later", HOSPITAL / "77654033" / "CT2")
    corrected([*sent, *later], StudyDate=f"{date.today():%Y%m%d}")
    (kitchen.folder / "cache").mkdir()
    kitchen.program("mail", 'printf "%s\\n" "To: $3" "Subject: $2" "" >mail.txt; cat >>mail.txt')
    with dcmqrscp() as pacs, ExitStack() as running:
        research = running.enter_context(orthanc())
        kitchen.instead |= {"PACS": pacs.ae_title, "pacs.example.org": pacs.host, "104": str(pacs.port)}
        kitchen.instead |= {"RESEARCH": research.ae_title, "research.example.org": "localhost", "11112": str(research.port)}
        kitchen.instead |= {"/srv/study": str(kitchen.folder), INSTALLED: OURS}
        stored(pacs, sent)

        def next_night() -> None:
            stored(pacs, later)
            running.close()

        follow("Nightly pull, forward and alert", screen_1=next_night)


def test_receiving(follow: Follow, kitchen: Kitchen) -> None:
    """The listener is the command of the systemd unit; the scanner is DCMTK's storescu."""
    copied(kitchen, "scans", HOSPITAL / "77654033" / "CT2")
    (kitchen.folder / "archive").mkdir()
    kitchen.program("storescu", f'exec {dcmtk("storescu")} "$@"')
    kitchen.instead |= {"11112": str(free_port()), INSTALLED: OURS, "/srv/archive": str(kitchen.folder)}
    with ExitStack() as running:
        follow("Receiving as a service", screen_0=lambda: running.enter_context(unit(kitchen)))
        assert kitchen.shell(scheduled("Receiving as a service").removeprefix("dicom ")) == ""


@contextmanager
def unit(kitchen: Kitchen) -> Iterator[None]:
    """Run the command of the systemd unit until the block ends. SIGTERM must end it with success, as with `systemctl stop`."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", (kitchen.folder / UNIT).read_text(encoding="utf-8"), re.MULTILINE))
    command = shlex.split(settings["ExecStart"])
    with subprocess.Popen(command, cwd=settings["WorkingDirectory"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "listens" in process.stderr.readline()
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0


def dcmtk(name: str) -> str:
    """Return DCMTK's program, because the Python environment may have a program of pynetdicom with the same name."""
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != OURS]
    found = shutil.which(name, path=os.pathsep.join(folders))
    needs(f"{name} of DCMTK", found is not None)
    return str(found)


def scheduled(title: str) -> str:
    """Return the command in the crontab of a recipe, with its user if it has one."""
    (crontab,) = (block.text for block in blocks(RECIPES[title]) if block.language == "crontab")
    lines = [line for line in crontab.splitlines() if not re.fullmatch(r"[A-Z]+=\S+", line)]
    (line,) = (re.fullmatch(r"[0-5]?\d [12]?\d(?: \*){3} +(.*)", line) for line in lines)
    assert line, crontab
    return " ".join(line[1].split())


def test_the_script_of_the_night_is_what_cron_runs() -> None:
    assert scheduled("Nightly pull, forward and alert") == "sh /srv/study/nightly.sh"


@pytest.mark.parametrize("line", ["", "ProtectSytem=strict", "RestartSec=soon", "SystemCallFilter=@no-such-group"])
def test_systemd_accepts_the_unit_and_rejects_an_error(kitchen: Kitchen, line: str) -> None:
    needs("systemd-analyze", shutil.which("systemd-analyze") is not None)
    kitchen.instead |= {INSTALLED: OURS}
    (text,) = (block.text for block in blocks(RECIPES["Receiving as a service"]) if block.file == f"/{UNIT}")
    kitchen.write(UNIT, text.replace("UMask=0027", line))
    command = ["systemd-analyze", "verify", "--man=no", str(kitchen.folder / UNIT)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert (Path(UNIT).name in told) == bool(line), told


def test_moving_over(follow: Follow, kitchen: Kitchen, old_python: Path) -> None:
    """The old script runs with pyconquest 0.1.12 before the recipe begins."""
    copied(kitchen, "data", HOSPITAL)
    title = "Moving over from pyconquest"
    (old,) = (block.text for block in blocks(RECIPES[title]) if block.file == "old.py")
    subprocess.run([old_python, "-c", old], cwd=kitchen.folder, check=True, capture_output=True)
    before = sorted((kitchen.folder / "CTdata").rglob("*"))
    follow(title)
    assert sorted((kitchen.folder / "CTdata").rglob("*")) == before


def test_every_recipe_has_its_parts() -> None:
    """A recipe has rules, commands with their output, and one reason. The table of contents names it."""
    contents = re.findall(r"^\d\. \[(.*)\]\(#(.*)\)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [title for title, _ in contents] == [*RECIPES]
    for title, anchor in contents:
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        found = blocks(RECIPES[title])
        assert [block.file for block in found if block.language == "toml"] == ["rules.toml"], title
        assert any(not block.language for block in found), title
        assert len(re.findall(r"^\*\*Why ", RECIPES[title], re.MULTILINE)) == 1, title
        links = re.findall(r"\]\((?!#|https?:)([^)#]+)", RECIPES[title])
        assert all((PAGE.parent / link).exists() for link in links), title
