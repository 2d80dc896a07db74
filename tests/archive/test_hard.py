"""Archives when something goes wrong: kills, sources that change, thousands of members."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import time

import pytest

from tests.archive.test_archive import RULES, members, reasons
from tests.conftest import REPOSITORY, Instance, Workplace, needs
from tests.kinds import running

program = partial(running.program, "")
PATIENTS, EACH = 3, 4


@pytest.fixture
def packed(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with the instances of three patients."""
    for patient in range(PATIENTS):
        for number in range(EACH):
            instance(f"data/{patient}/{number}.dcm", PatientID=f"P{patient}", InstanceNumber=number, pixels=bytes(1000))
    return workplace.rules(RULES + "prune = true\n")


def wanted(workplace: Workplace, folder: Path) -> dict[str, bytes]:
    """Return the archives that a run makes that nobody kills."""
    other = Workplace(folder / "other")
    (other.folder / "data").mkdir(parents=True)
    for name, data in workplace.files("data").items():
        (other.folder / "data" / name).parent.mkdir(exist_ok=True)
        (other.folder / "data" / name).write_bytes(data)
    assert other.rules(RULES).run("apply").code == 0
    return other.files("out")


def assert_sound(workplace: Workplace, archives: dict[str, bytes]) -> None:
    """Assert that the archives are these, that nothing else is there, and that the ledger has each member."""
    assert workplace.files("out") == archives
    assert not [*(workplace.folder / "out").glob(".pyconquest*")]
    assert workplace.run("verify", "--deep", "--json").summary["ok"] == len(archives)
    with closing(sqlite3.connect(workplace.folder / ".pyconquest-rules/state.db")) as state:
        recorded = state.execute("SELECT target, member FROM done WHERE kind = 'member' ORDER BY target, member").fetchall()
        left = state.execute("SELECT count(*) FROM intent_member").fetchone()
    assert recorded == [(f"out/{name}", member) for name in sorted(archives) for member in sorted(members(archives[name]))]
    assert left == (0,)
    assert workplace.run("plan", "--detailed-exitcode").code == 0


MOMENTS = [
    ("os", "readv", 3),  # a member is half read
    ("os", "pwrite", 2),  # the CRC of a member is not there yet
    ("os", "fsync", 1),
    ("os", "link", 1),  # the archives are durable, none has its name
    ("Ledger", "intend_to_place", 1),
    ("Ledger", "record", 1),  # they have their names, the ledger does not know them
    ("Runs", "finish", 1),
]


@pytest.mark.parametrize("kill", MOMENTS)
def test_a_killed_run_is_gone_on_with(packed: Workplace, tmp_path: Path, kill: tuple[str, str, int]) -> None:
    archives = wanted(packed, tmp_path)
    assert packed.run("index").code == 0
    assert program(packed.folder, "apply", "--no-index", kill=kill).returncode == -signal.SIGKILL
    assert {name: data for name, data in packed.files("out").items() if name.endswith(".zip")}.items() <= archives.items()
    assert packed.run("apply").code == 0
    assert_sound(packed, archives)


def test_a_lock_has_each_member(packed: Workplace) -> None:
    release = """
    [release.v1]
    actions = ["archive.packed"]
    root = "out"
    lock = "locks/v1.txt"
    """
    packed.rules(RULES + release)
    assert packed.run("lock").code == 0
    before = (packed.folder / "locks/v1.txt").read_text()
    lines = [line.split("\t") for line in before.splitlines() if not line.startswith("#")]
    assert [line[0] for line in lines] == [f"P{p}.zip/CT/{number}.dcm" for p in range(PATIENTS) for number in range(EACH)]
    sources = packed.files("data")
    assert [line[2] for line in lines] == [
        sha256(sources[f"{p}/{n}.dcm"]).hexdigest() for p in range(PATIENTS) for n in range(EACH)
    ]
    assert packed.run("apply", "--locked").code == 0
    assert packed.run("plan", "--locked").code == 0
    (packed.folder / "data/1/2.dcm").unlink()
    differs = packed.run("plan", "--locked", "--list")
    assert differs.code == 4
    assert "1.2.826.0.1.3680043.10.1.7" in differs.err


def test_the_evidence_of_a_release_names_each_member(packed: Workplace) -> None:
    """A file whose name sorts between an archive and its members is in its place too."""
    copy = '\n[copy.beside]\nselect = "scans"\nto = "out/P1.zip-of-{{ SOPInstanceUID }}"\n'
    release = '\n[release.v1]\nactions = ["archive.packed", "copy.beside"]\nroot = "out"\nlock = "v1.txt"\n'
    packed.rules(RULES + copy + release)
    assert packed.run("lock").code == 0
    done = packed.run("apply")
    assert done.code == 0, done.err
    made = packed.files("out")
    rows = [*csv.DictReader(made["manifest.csv"].decode().splitlines())]
    for row in rows:
        data = members(made[row["path"]])[row["member"]] if row["member"] else made[row["path"]]
        assert (row["sha256"], int(row["size"])) == (sha256(data).hexdigest(), len(data))
        assert bool(row["SOPInstanceUID"]) == bool(row["member"] or "-of-" in row["path"])
    assert sum(bool(row["member"]) for row in rows) == PATIENTS * EACH
    sums = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=packed.folder / "out", capture_output=True, check=False
    )
    assert (sums.returncode, sums.stdout) == (0, b"")
    assert b"CT/" not in made["SHA256SUMS"]
    assert json.loads(made["run.json"])["counts"]["files"] == PATIENTS + PATIENTS * EACH
    assert packed.run("verify", "out/").code == 0
    assert packed.run("plan", "--locked", "--detailed-exitcode").code == 0


def test_sources_as_young_as_the_archive_are_read_again(packed: Workplace) -> None:
    """Their times are whole seconds, as on some file systems: another change would not show."""
    now = int(time()) * 10**9
    for file in (packed.folder / "data/1").iterdir():
        os.utime(file, ns=(now, now))
    assert packed.run("apply").code == 0
    source = packed.folder / "data/1/2.dcm"
    source.write_bytes(source.read_bytes().replace(b"20240203", b"20240204"))
    os.utime(source, ns=(now, now))
    assert packed.run("apply", "--json").code == 0
    assert b"20240204" in members(packed.files("out")["P1.zip"])["CT/2.dcm"]


def test_a_missing_source_names_its_instance(packed: Workplace) -> None:
    packed.run("index")
    (packed.folder / "data/1/2.dcm").unlink()
    done = packed.run("apply", "--no-index", "--json")
    assert (done.code, done.summary["failed"]) == (1, 1)
    assert "1.2.826.0.1.3680043.10.1.7: its file cannot be read: No such file or directory" in done.out


def test_an_instance_that_no_file_set_can_have_is_named(packed: Workplace, instance: Instance) -> None:
    instance("data/1/p.dcm", PatientID="P1", SOPInstanceUID="1.2.3.4", SOPClassUID="1.2.840.10008.5.1.4.39.1")
    packed.rules(RULES.replace('member = "{{ Modality }}/{{ InstanceNumber }}.dcm"', "dicomdir = true"))
    done = packed.run("apply", "--json")
    assert (done.code, done.summary["failed"], done.summary["packed"]) == (1, 1, PATIENTS - 1)
    assert "1.2.3.4: no directory record is defined for its SOP class" in done.out


def test_a_move_comes_after_the_archive(packed: Workplace) -> None:
    move = '\n[copy.away]\nselect = "scans"\nto = "out/moved/{{ SOPInstanceUID }}.dcm"\nmode = "move"\n'
    packed.rules(RULES + move)
    assert reasons(packed) == {"todo:new": PATIENTS, "blocked:collision": PATIENTS * EACH}
    packed.rules(RULES + move + 'needs = ["archive.packed"]\n')
    assert packed.run("apply", "--json").summary["done"] == PATIENTS + PATIENTS * EACH
    assert packed.files("data") == {}
    made = packed.files("out")
    assert [len(members(made[f"P{patient}.zip"])) for patient in range(PATIENTS)] == [EACH] * PATIENTS


# Prints the peak of its memory. The one that `getrusage` has begins with that of the process that started it.
MEASURED = """
import sys
from pyconquest_rules.cli.common import Options
from pyconquest_rules.cli.main import run
code = run(sys.argv[1:], Options())
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def memory(folder: Path, *arguments: str) -> int:
    """Run a command. Return the peak of its memory in MiB."""
    needs("/proc", Path("/proc/self/status").exists())
    command = [sys.executable, "-c", MEASURED, *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return int(done.stderr.split()[-1]) >> 10


@pytest.mark.parametrize("name", ['member = "{{ SOPInstanceUID }}.dcm"', "dicomdir = true"])
def test_thousands_of_members_take_no_memory(workplace: Workplace, instance: Instance, name: str) -> None:
    number = 5000
    data = instance("one.dcm", SOPInstanceUID="1.2.3.000000", pixels=bytes(100)).read_bytes()
    (workplace.folder / "data").mkdir()
    for each in range(number):
        (workplace.folder / f"data/{each}.dcm").write_bytes(data.replace(b"1.2.3.000000", b"1.2.3.%06d" % (100_000 + each)))
    workplace.rules(RULES.replace('member = "{{ Modality }}/{{ InstanceNumber }}.dcm"', name))
    workplace.run("index")
    assert memory(workplace.folder, "apply", "--no-index") < 150
    made = members(workplace.files("out")["P1.zip"])
    assert len(made) == number + ("dicomdir" in name)
    assert workplace.run("plan", "--detailed-exitcode").code == 0
