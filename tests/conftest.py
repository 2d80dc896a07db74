"""Fixtures for all tests: `workplace`, a folder with a rules file to run commands in, and `shared`, the developers' corpus."""

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

# Patient data in every instance that the tests make. No message, log line or summary may show it.
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
    """Add `--torture`, which runs all of tests/torture, and `--refresh`, which writes screens instead of comparing them."""
    parser.addoption("--torture", action="store_true", help="run all of tests/torture instead of a part")
    parser.addoption("--refresh", action="store_true", help="write the output of recipes into docs/cookbook.md; needs -n 0")


def needs(what: str, there: bool) -> None:
    """Skip a test if something that it needs is missing. With CI=true, fail."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the developers' corpus, beside the project."""
    needs(f"the folder {SHARED}", SHARED.is_dir())
    return SHARED


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return self.lines[-1]


@dataclass
class Workplace:
    """A folder with a rules file. Commands run in it as a user would run them."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def rules(self, text: str) -> "Workplace":
        """Write `rules.toml`, with `rules_version` before the text."""
        (self.folder / "rules.toml").write_text(f"rules_version = 1\n{text}", encoding="utf-8")
        return self

    def run(self, *arguments: str) -> Done:
        """Run `pyconquest-rules ARGUMENTS` in this folder and in this process."""
        before, out, err = Path.cwd(), io.StringIO(), io.StringIO()
        os.chdir(self.folder)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(list(arguments), Options())
        finally:
            os.chdir(before)
        done = Done(code, out.getvalue(), err.getvalue())
        said = done.err + (done.out.splitlines() or [""])[-1] if "--json" in arguments else done.err
        assert not [value for value in PLANTED.values() if value in said], "patient data was printed"
        return done

    def files(self, below: str = ".") -> dict[str, bytes]:
        """Return the files below a folder with their bytes, without the index and the state."""
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
    """Write a small CT instance: `instance("data/1.dcm", PatientID="P1")`. Keywords are elements; None leaves one out."""
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
    """Write a DICOM file in Explicit VR Little Endian, without the elements that are None."""
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
    """Fail if a library logs patient data at the default level, WARNING."""
    yield
    logged = "".join(record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING)
    assert not [value for value in PLANTED.values() if value in logged], "a value of a patient was logged"


@pytest.fixture(autouse=True)
def _same_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables of the environment on which results would depend."""
    for name in ("PYCONQUEST_RULES", "EXPORT_ROOT", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
