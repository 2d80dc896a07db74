"""What the tests share: `workplace`, a folder with a rules file in which commands are run, and `shared`, beside the project."""

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pyconquest_rules.cli.common import Options
from pyconquest_rules.cli.main import run

# In every instance that the tests make: nothing of them may come out where nobody asked for it.
PLANTED = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19370527",
    "OtherPatientIDs": "PLANTED-OTHER-ID",
    "PatientAddress": "PLANTED-ADDRESS",
    "PatientTelephoneNumbers": "PLANTED-TELEPHONE",
    "AccessionNumber": "PLANTED-ACCESS",
    "InstitutionName": "PLANTED-INSTITUTION",
    "ReferringPhysicianName": "PLANTED^PHYSICIAN",
}

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--torture`: what is done in part with all tests is done as a whole. `--refresh`: screens are written, not compared."""
    parser.addoption("--torture", action="store_true", help="do the whole of tests/torture, not a part of it")
    parser.addoption("--refresh", action="store_true", help="write what recipes print into docs/cookbook.md; needs -n 0")


def needs(what: str, there: bool) -> None:
    """Leaves a test out where something that it needs is not there; with CI=true that is a failure."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the corpus and the measured facts, beside the project."""
    needs(f"the folder {SHARED}", SHARED.is_dir())
    return SHARED


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What `--json` said, line by line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return self.lines[-1]


@dataclass
class Workplace:
    """A folder with a rules file; commands are run in it as a user would."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def rules(self, text: str) -> "Workplace":
        """Writes `rules.toml`; `rules_version` is put in front."""
        (self.folder / "rules.toml").write_text(f"rules_version = 1\n{text}", encoding="utf-8")
        return self

    def run(self, *arguments: str) -> Done:
        """Runs `pyconquest-rules ARGUMENTS` here, in this process."""
        before, out, err = Path.cwd(), io.StringIO(), io.StringIO()
        os.chdir(self.folder)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(list(arguments), Options())
        finally:
            os.chdir(before)
        done = Done(code, out.getvalue(), err.getvalue())
        said = done.err + (done.out.splitlines() or [""])[-1] if "--json" in arguments else done.err
        assert not [value for value in PLANTED.values() if value in said], "a value of a patient was told"
        return done

    def files(self, below: str = ".") -> dict[str, bytes]:
        """The files below a folder with their bytes, without those of the program itself."""
        root = self.folder / below
        found = (path for path in sorted(root.rglob("*")) if path.is_file())
        kept = (path for path in found if ".pyconquest-rules" not in path.parts and "conquest.db" not in path.name)
        return {str(path.relative_to(root)): path.read_bytes() for path in kept}


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """An empty folder for a rules file."""
    return Workplace(tmp_path)


Instance = Callable[..., Path]


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """Writes a small CT instance: `instance("data/1.dcm", PatientID="P1")`; keywords are elements, None leaves one out."""
    numbers = iter(range(1, 1_000_000))

    def write(path: str | Path, *, pixels: bytes = b"", **elements: Any) -> Path:
        number = next(numbers)
        standard: dict[str, Any] = {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": f"1.2.826.0.1.3680043.10.1.{number}",
            "StudyInstanceUID": "1.2.826.0.1.3680043.10.2.1",
            "SeriesInstanceUID": "1.2.826.0.1.3680043.10.3.1",
            "Modality": "CT",
            "PatientID": "P1",
            **PLANTED,
            "StudyDate": "20240203",
            "InstanceNumber": number,
        }
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        save(file, {**standard, **elements}, pixels)
        return file

    return write


def save(file: Path, elements: dict[str, Any], pixels: bytes = b"") -> None:
    """Writes a DICOM file in Explicit VR Little Endian; elements that are None are left out."""
    dataset = Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in elements.items():
            if value is not None:
                setattr(dataset, keyword, value)
        if pixels:
            dataset.add_new("PixelData", "OW", pixels)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = elements["SOPClassUID"]
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(str(elements.get("SOPInstanceUID") or "1.2.3"))
        dataset.save_as(file, enforce_file_format=True)


@pytest.fixture(autouse=True)
def _no_log_holds_a_value(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is logged at the default level, WARNING, of whatever library, must hold nothing of a patient either."""
    yield
    logged = "".join(record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING)
    assert not [value for value in PLANTED.values() if value in logged], "a value of a patient was logged"


@pytest.fixture(autouse=True)
def _same_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done and printed must not depend on who runs the tests."""
    for name in ("PYCONQUEST_RULES", "EXPORT_ROOT", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
