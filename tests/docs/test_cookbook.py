"""Each recipe of docs/cookbook.md, followed on real files: its rules are valid, and its screens are what is printed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pydicom
import pytest

from tests.compat.conftest import old_python as old_python  # noqa: PLC0414  a fixture
from tests.conftest import REPOSITORY, needs
from tests.docs.recipes import PAGE, Kitchen, blocks, recipes
from tests.network.archives import dcmqrscp, free_port, orthanc, stored

HOSPITAL = REPOSITORY / "examples" / "quickstart" / "data" / "hospital"
PROGRAMS = Path(sys.executable).parent
RECIPES = recipes()


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    """An empty folder for a recipe."""
    return Kitchen(tmp_path)


@pytest.fixture
def follow(pytestconfig: pytest.Config, kitchen: Kitchen) -> "Follow":
    return Follow(kitchen, refresh=pytestconfig.getoption("--refresh"))


class Follow:
    """Follows a recipe by its title, and compares."""

    def __init__(self, kitchen: Kitchen, *, refresh: bool) -> None:
        self._kitchen, self._refresh = kitchen, refresh

    def __call__(self, title: str, **before: Callable[[], None]) -> None:
        """`screen_2=…`: what happens before the third screen."""
        happens = {int(name.removeprefix("screen_")): what for name, what in before.items()}
        followed = self._kitchen.follow(RECIPES[title], happens)
        if self._refresh:
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(page.replace(RECIPES[title], followed), encoding="utf-8")
            return
        assert followed == RECIPES[title]


def copied(kitchen: Kitchen, to: str, *files: Path) -> None:
    """Copies files or folders into a folder of the kitchen."""
    folder = kitchen.folder / to
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.is_dir():
            shutil.copytree(file, folder, dirs_exist_ok=True)
        else:
            shutil.copy(file, folder)


def corrected(files: Iterable[Path], **elements: str) -> None:
    """Gives files other values, by keyword."""
    for file in files:
        dataset = pydicom.dcmread(file)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)


@pytest.fixture
def radiotherapy(kitchen: Kitchen, shared: Path) -> None:
    """A chain of a CT slice, structure set, plan and dose; and of three other patients some of these."""
    corpus = shared / "corpus"
    copied(kitchen, "data/clinic", corpus / "dicompyler-core-rtchain" / "example_data")
    trial = [corpus / "rt-utils" / name for name in ("ct_1.dcm", "ct_2.dcm", "rt.dcm")]
    copied(kitchen, "data/trial", *trial, corpus / "pydicom" / "rtplan.dcm", corpus / "pydicom" / "rtdose.dcm")


@pytest.mark.usefixtures("radiotherapy")
def test_planning_ct(follow: Follow, kitchen: Kitchen) -> None:
    follow("Planning CT with its structure set, plan and dose")
    names = {path.parent.name for path in (kitchen.folder / "export").rglob("*.dcm")}
    assert names == {"CT", "RTSTRUCT", "RTPLAN", "RTDOSE"}


@pytest.mark.usefixtures("radiotherapy")
def test_incomplete_chains(follow: Follow) -> None:
    follow("Incomplete chains")


def test_missing_slices(follow: Follow, kitchen: Kitchen, shared: Path) -> None:
    series = shared / "corpus" / "dcmqi" / "data" / "paramaps" / "pm-example-dcm.zip.d" / "701-ADCb500"
    copied(kitchen, "data/prostate", *(file for file in sorted(series.iterdir()) if file.name not in ("000004.dcm", "000011.dcm")))
    copied(kitchen, "data/head", HOSPITAL / "98890234" / "CT5N")
    follow("Missing slices")


def test_bids(follow: Follow, kitchen: Kitchen, shared: Path) -> None:
    copied(kitchen, "data/siemens", shared / "corpus" / "dcm_qa_nih" / "In" / "20180918Si")
    copied(kitchen, "data/toshiba", shared / "corpus" / "dcm_qa_toshiba" / "In" / "Galan")
    follow("A BIDS-like tree with a mapping")


def test_new_data_and_corrections(follow: Follow, kitchen: Kitchen) -> None:
    (kitchen.folder / "data").mkdir()
    for delivery in ("2026-03", "2026-04"):
        copied(kitchen, f"incoming/{delivery}/CT2", HOSPITAL / "77654033" / "CT2")
    copied(kitchen, "incoming/2026-04/MR700", HOSPITAL / "98890234" / "MR700")
    corrected((kitchen.folder / "incoming/2026-04/CT2").iterdir(), SeriesDescription="CHEST, corrected")
    follow("New data and corrections")


def test_a_withdrawn_consent(follow: Follow, kitchen: Kitchen) -> None:
    copied(kitchen, "data", HOSPITAL)
    follow("A withdrawn consent")


def test_a_night(follow: Follow, kitchen: Kitchen) -> None:
    """The PACS is DCMTK's, the research archive an Orthanc; `mail` writes a file."""
    copied(kitchen, "sent", HOSPITAL / "98890234" / "CT5N")
    copied(kitchen, "later", HOSPITAL / "77654033" / "CT2")
    (kitchen.folder / "cache").mkdir()
    kitchen.program("mail", 'printf "%s\\n" "To: $3" "Subject: $2" "" >mail.txt; cat >>mail.txt')
    with dcmqrscp() as pacs, ExitStack() as research:
        archive = research.enter_context(orthanc())
        kitchen.instead |= {"PACS": pacs.ae_title, "pacs.example.org": pacs.host, "104": str(pacs.port)}
        kitchen.instead |= {"RESEARCH": archive.ae_title, "research.example.org": "localhost", "11112": str(archive.port)}
        kitchen.instead |= {"/srv/study": str(kitchen.folder), "/opt/pyconquest-rules/bin": str(PROGRAMS)}
        stored(pacs, sorted((kitchen.folder / "sent").iterdir()))

        def next_night() -> None:
            stored(pacs, sorted((kitchen.folder / "later").iterdir()))
            research.close()

        follow("Nightly pull, forward and alert", screen_1=next_night)


def test_receiving(follow: Follow, kitchen: Kitchen) -> None:
    """The command of the unit runs; storescu is DCMTK's."""
    copied(kitchen, "scans", HOSPITAL / "77654033" / "CT2")
    (kitchen.folder / "archive").mkdir()
    kitchen.program("storescu", f'exec {dcmtk("storescu")} "$@"')
    kitchen.instead |= {"11112": str(free_port()), "/opt/pyconquest-rules/bin": str(PROGRAMS), "/srv/archive": str(kitchen.folder)}
    with ExitStack() as running:
        follow("Receiving as a service", screen_0=lambda: running.enter_context(unit(kitchen)))
    assert verified(kitchen.folder / UNIT) == ""


UNIT = "etc/systemd/system/dicom-inbox.service"


@contextmanager
def unit(kitchen: Kitchen) -> Iterator[None]:
    """The command of the unit as a process, while it listens."""
    settings = (kitchen.folder / UNIT).read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=(.*)$", settings, re.MULTILINE)
    (folder,) = re.findall(r"^WorkingDirectory=(.*)$", settings, re.MULTILINE)
    with subprocess.Popen(shlex.split(command), cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "listen" in process.stderr.readline()
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)
            assert process.returncode == 0


def verified(file: Path) -> str:
    """What systemd has to say of a unit."""
    needs("systemd-analyze", shutil.which("systemd-analyze") is not None)
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and file.name not in done.stderr else done.stderr


def dcmtk(name: str) -> str:
    """DCMTK's program; an environment of Python may have pynetdicom's of that name."""
    path = os.pathsep.join(folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "python").exists())
    found = shutil.which(name, path=f"/usr/bin{os.pathsep}{path}")
    needs(f"{name} of DCMTK", found is not None)
    return str(found)


def test_moving_over(follow: Follow, kitchen: Kitchen, old_python: Path) -> None:
    """The old script runs with pyconquest 0.1.12 itself, before the recipe begins."""
    copied(kitchen, "data", HOSPITAL)
    (old,) = (block.text for block in blocks(RECIPES["Moving over from pyconquest"]) if block.file == "old.py")
    subprocess.run([old_python, "-c", old], cwd=kitchen.folder, check=True, capture_output=True)
    follow("Moving over from pyconquest")
    assert len([*(kitchen.folder / "CTdata").rglob("*.dcm")]) == 9


def test_every_recipe_has_its_parts() -> None:
    """A recipe is rules, commands with what they print, and one reason; the contents of the page name it."""
    contents = re.findall(r"^\d\. \[(.*)\]\(#(.*)\)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [title for title, _ in contents] == [*RECIPES]
    for title, anchor in contents:
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        found = blocks(RECIPES[title])
        assert [block.file for block in found if block.language == "toml"] == ["rules.toml"], title
        assert any(not block.language for block in found), title
        assert len(re.findall(r"^\*\*Why ", RECIPES[title], re.MULTILINE)) == 1, title
