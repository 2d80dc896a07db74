"""`[convert.NAME]` with Debian's dcm2niix on real MR and CT: the main example of docs/rules.md."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import pytest

from tests.conftest import Workplace, needs
from tests.convert.test_convert import apply, nothing_is_left, reasons

RULES = """
[sources.archive]
path = "data"

[select.volumes]
level = "series"
where = "Modality in ('MR', 'CT') and ImageCount > 4"

[convert.nifti]
select = "volumes"
command = ["dcm2niix", "-z", "y", "-b", "y", "-o", "{{ outputs }}", "-f", "out", "{{ inputs }}"]
timeout = 120
jobs = 2
[convert.nifti.outputs]
"out.nii.gz" = "nifti/{{ Modality }}/{{ SeriesInstanceUID | short_uid }}.nii.gz"
"out.json" = "nifti/{{ Modality }}/{{ SeriesInstanceUID | short_uid }}.json"
"""
GALAN, CT = "dcm_qa_toshiba/In/Galan", "pydicom/dicomdirtests/98892001"
NUMBER = 5


@pytest.fixture
def nifti(workplace: Workplace, shared: Path) -> Workplace:
    """A workplace with five MR series."""
    needs("dcm2niix", shutil.which("dcm2niix") is not None)
    shutil.copytree(shared / "corpus" / GALAN, workplace.folder / "data")
    return workplace.rules(RULES)


def dimensions(content: bytes) -> tuple[int, ...]:
    """Return the dimensions of a NIfTI-1 file, whose header begins with its size and ends with its magic bytes."""
    header = gzip.decompress(content)
    assert struct.unpack_from("<i", header)[0] == 348
    assert header[344:348] == b"n+1\0"
    number, *sizes = struct.unpack_from("<8h", header, 40)
    bits, start = struct.unpack_from("<h", header, 72)[0], int(struct.unpack_from("<f", header, 108)[0])
    pixels = 1
    for size in sizes[:number]:
        pixels *= size
    assert len(header) == start + pixels * bits // 8
    return tuple(sizes[:number])


def test_mr_series_become_readable_nifti(nifti: Workplace) -> None:
    assert reasons(nifti) == {"todo:new": 2 * NUMBER}
    assert apply(nifti)["converted"] == 2 * NUMBER
    files = nifti.files("nifti")
    volumes = {name: dimensions(content) for name, content in files.items() if name.endswith(".nii.gz")}
    assert [size[2] for size in volumes.values()] == [12] * NUMBER
    about = [json.loads(content) for name, content in files.items() if name.endswith(".json")]
    assert {each["Modality"] for each in about} == {"MR"}
    assert len(about) == NUMBER
    assert apply(nifti)["unchanged"] == 2 * NUMBER
    assert nifti.files("nifti") == files
    assert nifti.run("verify", "--deep", "--json").summary["ok"] == 2 * NUMBER
    assert nothing_is_left(nifti)


def test_a_ct_series_too(workplace: Workplace, shared: Path) -> None:
    needs("dcm2niix", shutil.which("dcm2niix") is not None)
    shutil.copytree(shared / "corpus" / CT, workplace.folder / "data")
    workplace.rules(RULES)
    apply(workplace)
    found = {name: content for name, content in workplace.files("nifti/CT").items() if name.endswith(".gz")}
    assert {dimensions(content)[2] for content in found.values()} == {5}


def test_an_added_slice_converts_its_series_again(nifti: Workplace) -> None:
    away = next((nifti.folder / "data").rglob("*.dcm"))
    kept = away.rename(nifti.folder / "away.dcm")
    apply(nifti)
    before = nifti.files("nifti")
    shutil.copy(kept, away)
    nifti.run("index")
    assert reasons(nifti) == {"todo:source-changed": 2, "unchanged:done": 2 * NUMBER - 2}
    apply(nifti)
    after = nifti.files("nifti")
    changed = {name for name in before if before[name] != after[name]}
    assert 1 <= len(changed) <= 2
    (volume,) = (name for name in changed if name.endswith(".gz"))
    assert (dimensions(before[volume])[2], dimensions(after[volume])[2]) == (11, 12)


def test_the_same_files_in_another_place_and_time(nifti: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    apply(nifti)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "deeper"
    shutil.copytree(nifti.folder / "data", elsewhere / "data")
    other = Workplace(elsewhere).rules(RULES)
    apply(other)
    assert other.files("nifti") == nifti.files("nifti")


def test_a_failing_conversion_is_reported(nifti: Workplace) -> None:
    nifti.rules(RULES.replace('"{{ outputs }}"', '"no-such-folder"'))
    done = nifti.run("apply", "--allow-commands", "--json")
    assert (done.code, done.summary["failed"]) == (1, 2 * NUMBER)
    messages = {line["message"].partition(";")[0] for line in done.lines if line["event"] == "failed"}
    assert messages == {"the command exited with 6"}
    assert nifti.files("nifti") == {}
    assert nothing_is_left(nifti)
