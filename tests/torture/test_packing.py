"""Archives: killed at random moments, and larger than the fields of a plain zip file."""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.archive.test_archive import RULES
from tests.archive.test_hard import EACH, PATIENTS, assert_sound, memory, wanted
from tests.conftest import Instance, Workplace
from tests.torture.conftest import Some
from tests.torture.killing import Kills


def test_random_kills_while_archives_change(workplace: Workplace, tmp_path: Path, instance: Instance, some: Some[int]) -> None:
    """After each kill, there are other instances. A run that nobody kills then makes the same as if there had been no kill."""
    for number in range(PATIENTS * EACH):
        patient = number % PATIENTS
        instance(f"data/{patient}/{number}.dcm", PatientID=f"P{patient}", InstanceNumber=number, pixels=bytes(1000))
    kills = Kills(workplace.rules(RULES).folder, seed=8)
    assert workplace.run("index").code == 0
    calls = kills.calls("apply", "--no-index")
    for each in kills.until(len(some(range(50), 4))):
        patient = each % PATIENTS
        instance(f"data/{patient}/n{each}.dcm", PatientID=f"P{patient}", InstanceNumber=100 + each)
        assert workplace.run("index").code == 0
        kills.kill("apply", "--no-index", calls=calls)
    assert workplace.run("apply").code == 0
    assert_sound(workplace, wanted(workplace, tmp_path))


def large(instance: Instance, megabytes: int) -> Path:
    """Write a sparse instance of so many MiB, half of them in each of two elements, whose length has 32 bits."""
    file, half = instance("data/large.dcm", InstanceNumber=1), (megabytes << 20) // 2
    with file.open("r+b") as target:
        target.seek(0, os.SEEK_END)
        for head in (b"\x09\x70\x10\x00LO\x04\x00mine\x09\x70\x01\x10OB\0\0", b"\xe0\x7f\x10\x00OB\0\0"):
            target.write(head + half.to_bytes(4, "little"))
            target.seek(half, os.SEEK_CUR)
        target.truncate()
    return file


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_a_member_of_gigabytes(workplace: Workplace, instance: Instance, request: pytest.FixtureRequest, ending: str) -> None:
    """With `--torture`, the member needs the fields of zip64, and so does the position of the next one."""
    file = large(instance, 5 << 10 if request.config.getoption("torture") else 64)
    instance("data/small.dcm", InstanceNumber=2)
    workplace.rules(RULES.replace(".zip", ending))
    assert workplace.run("index").code == 0
    assert memory(workplace.folder, "apply", "--no-index") < 150
    archive = workplace.folder / f"out/P1{ending}"
    if ending == ".zip":
        assert subprocess.run(["unzip", "-tq", archive], capture_output=True, check=False).returncode == 0
        with zipfile.ZipFile(archive) as read:
            sizes = {info.filename: info.file_size for info in read.infolist()}
    else:
        assert subprocess.run(["tar", "tf", archive], capture_output=True, check=True).stdout == b"CT/1.dcm\nCT/2.dcm\n"
        with tarfile.open(archive) as tar:
            sizes = {member.name: member.size for member in tar}
    assert sizes == {"CT/1.dcm": file.stat().st_size, "CT/2.dcm": (workplace.folder / "data/small.dcm").stat().st_size}
    archive.unlink()
