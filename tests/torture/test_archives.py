"""Hostile archives: each has its reason, none leaves its folder, none takes long; and large ones in little memory."""

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.archives.archive import Archive
from pyconquest_rules.archives.blocks import blocks
from pyconquest_rules.archives.flaws import Budget, Flaw, Flawed, NotAnArchive
from tests.archives.packing import RULES, age, report
from tests.conftest import Instance, Workplace
from tests.torture.bad_archives import BAD, READ, Bad

SECONDS, MEGABYTES = 5, 150


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_hostile_archive_has_its_reasons(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, bad: Bad
) -> None:
    monkeypatch.setattr(Budget, "MOST", 64 << 20)
    good = instance("good.dcm", pixels=os.urandom(2000)).read_bytes()
    (workplace.folder / "data").mkdir()
    age(_written(workplace.folder / "data" / bad.name, bad.make(good)))
    workplace.rules(RULES)
    began = time.process_time()
    found = report(workplace)
    reasons = {path.removeprefix(bad.name).removeprefix("//"): reason for path, (_, reason) in found.items()}
    assert {path: reason for path, reason in bad.reasons.items() if path}.items() <= reasons.items()
    flaws = {*bad.reasons.values()} & {*Flaw} - {Flaw.NOT_REGULAR}
    # An archive is rejected for the flaws of its members.
    assert reasons[""] in flaws if flaws else reasons[""] == bad.reasons.get("", READ)
    assert workplace.run("index", "--json").summary["read"] == 0
    done = workplace.run("apply")
    assert time.process_time() - began < SECONDS
    assert (done.code == 0) == (set(reasons.values()) <= {None, READ, "same-bytes", "not-dicom", "not-regular"})
    assert "bug in the program" not in done.err
    assert set(workplace.files("export").values()) == ({good} if None in reasons.values() else set())
    there = {"data", "export", "good.dcm", "rules.toml", "report.jsonl", ".pyconquest-rules"}
    assert {path.name for path in workplace.folder.iterdir() if not path.name.startswith("conquest.db")} <= there


def _written(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def test_a_member_that_inflates_to_more_than_it_says_is_not_placed(workplace: Workplace, instance: Instance) -> None:
    good = instance("good.dcm", pixels=bytes(100_000)).read_bytes()
    (workplace.folder / "data").mkdir()
    packed = BAD["zip: prefixed"].make(good + bytes(64))[5002:]
    # Both entries say that they have 64 bytes less than they inflate to.
    wrong = packed.replace(len(good + bytes(64)).to_bytes(4, "little"), len(good).to_bytes(4, "little"))
    age(_written(workplace.folder / "data/x.zip", wrong))
    workplace.rules(RULES)
    done = workplace.run("apply", "--json")
    assert (done.summary["done"], done.summary["failed"], workplace.files("export")) == (0, 1, {})
    assert "damaged-member" in done.out


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether archives have their full size; without `--torture` they have a tenth of it."""
    return bool(request.config.getoption("torture"))


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, mostly of headers; and cut, repeat or remove others."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 5, 30])):
        last = len(changed) - 1
        place = chance.choice(
            [chance.randint(0, last), chance.randint(0, min(600, last)), last - chance.randint(0, min(400, last))]
        )
        with_bytes = chance.choice([bytes([chance.randrange(256)]), bytes(4), b"\xff" * 4, b"PK\1\2", b"PK\5\6", b"80", b""])
        changed[place : place + chance.choice([1, len(with_bytes), 20])] = (
            with_bytes or changed[max(place - 60, 0) : place] or b"x"
        )
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_archive_raises_nothing_but_its_flaw(
    tmp_path: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch, seed: int, torture: bool
) -> None:
    monkeypatch.setattr(Budget, "MOST", 16 << 20)
    good, chance = instance("good.dcm", pixels=bytes(1000)).read_bytes(), random.Random(seed)
    made = [(name, bad.make(good)) for name, bad in BAD.items() if bad.name != "x.tgz" and "bomb" not in name]
    for _ in range(5000 if torture else 300):
        name, data = chance.choice(made)
        file = _written(tmp_path / BAD[name].name, mutated(data or b"x", chance))
        with suppress(Flawed, NotAnArchive), Archive(os.fsencode(file)) as archive:
            for member in archive.members():
                with suppress(Flawed, NotAnArchive):
                    inner = member.bytes()
                    assert sum(map(len, blocks(inner, member.size, member.crc))) == member.size
                    assert all(each.size >= 0 for each in archive.members_of(member, inner))


RUN = """
import os
from pyconquest_rules.cli import main

end = os._exit

def ended(code):
    with open("/proc/self/status") as now, open("status", "w") as status:
        status.write(now.read())
    end(code)

os._exit = ended
main()
"""


def measured(workplace: Workplace, *arguments: str) -> tuple[dict[str, Any], float]:
    """Run a command in a process of its own, which cannot make a temporary file. Return its summary, and its megabytes."""
    environment = {**os.environ, "TMPDIR": "/nonexistent", "SQLITE_TMPDIR": str(workplace.folder)}
    command = [sys.executable, "-c", RUN, *arguments, "--json"]
    done = subprocess.run(command, cwd=workplace.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"VmHWM:\s+(\d+) kB", (workplace.folder / "status").read_text())
    assert found
    return json.loads(done.stdout.splitlines()[-1]), int(found[1]) / 1024


def test_a_zip_of_five_thousand_members_takes_little_memory(workplace: Workplace, instance: Instance, torture: bool) -> None:
    number = 5000 if torture else 500
    template = instance("one.dcm", SOPInstanceUID="1.2.3.400000", pixels=os.urandom(100_000)).read_bytes()
    (workplace.folder / "data").mkdir()
    with zipfile.ZipFile(workplace.folder / "data/x.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for each in range(number):
            packed.writestr(f"{each % 7}/{each}.dcm", template.replace(b"1.2.3.400000", b"1.2.3.4%05d" % each))
    age(workplace.folder / "data/x.zip")
    workplace.rules(RULES)
    indexed, peak = measured(workplace, "index")
    assert (indexed["indexed"], peak < MEGABYTES) == (number, True), peak
    again, _ = measured(workplace, "index")
    assert (again["read"], again["unchanged"]) == (0, number + 1)
    applied, peak = measured(workplace, "apply")
    assert (applied["done"], peak < MEGABYTES) == (number, True), peak


def test_a_tar_gz_of_two_gigabytes_takes_little_memory(workplace: Workplace, instance: Instance, torture: bool) -> None:
    template = instance("one.dcm", SOPInstanceUID="1.2.3.400000", pixels=os.urandom(20_000)).read_bytes()
    (workplace.folder / "data").mkdir()
    number = 100 if torture else 10
    with (
        gzip.open(workplace.folder / "data/x.tar.gz", "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as members,
    ):
        for each in range(number):
            _add(members, f"zeros/{each}.bin", bytes(20 << 20))
            _add(members, f"scans/{number - each}.dcm", template.replace(b"1.2.3.400000", b"1.2.3.4%05d" % each))
    age(workplace.folder / "data/x.tar.gz")
    workplace.rules(RULES)
    began = time.monotonic()
    indexed, peak = measured(workplace, "index")
    once = time.monotonic() - began
    assert (indexed["indexed"], indexed["rejected"], peak < MEGABYTES) == (number, number, True), peak
    again, _ = measured(workplace, "index")
    assert (again["read"], again["unchanged"]) == (0, 2 * number + 1)
    # The steps come in the order of the UIDs backwards: the worst for a stream.
    order = "query = 'SELECT SOPInstanceUID FROM images ORDER BY SOPInstanceUID DESC'"
    workplace.rules(RULES.replace('where = "1"', order))
    began = time.monotonic()
    applied, peak = measured(workplace, "apply", "--no-index")
    assert (applied["done"], peak < MEGABYTES) == (number, True), peak
    assert time.monotonic() - began < 10 * once + 10
    assert len(workplace.files("export")) == number


def _add(members: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    members.addfile(about, io.BytesIO(data))
