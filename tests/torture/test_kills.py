"""Killed at a hundred random moments: apply, prune, index and forget. The run after each kill does exactly the rest."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action, copies
from tests.torture.conftest import Some
from tests.torture.killing import Kills
from tests.torture.sound import Sound

RULES = copies("export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm")


@pytest.fixture
def many(request: pytest.FixtureRequest, tmp_path: Path, instance: Instance) -> Sound:
    """Two thousand files, or fewer."""
    number = 2000 if request.config.getoption("torture") else 300
    for each in range(number):
        series = {"SeriesDescription": f"S{each % 20}", "SeriesInstanceUID": f"1.2.{each % 20}"}
        instance(f"original/data/{each}.dcm", InstanceNumber=each, pixels=random.Random(each).randbytes(4000), **series)
    Workplace(tmp_path / "original").rules(RULES)
    return Sound(tmp_path, number)


def test_random_kills(many: Sound, some: Some[int]) -> None:
    moments, caught, midway = random.Random(4), 0, 0
    many.anew()
    for _ in some(range(100), 5):
        before = len(list(many.placed()))
        if before == many.number:
            many.assert_next_run_does_the_rest()
            many.anew()
            before = 0
        enough, polls = before + moments.randrange(1, many.number // 4), moments.randrange(20)
        command = [sys.executable, "-m", "pyconquest_rules", "apply"]
        with subprocess.Popen(command, cwd=many.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and sum(1 for _ in many.placed()) < enough:
                pass
            for _ in range(polls):
                sum(1 for _ in many.placed())
            run.kill()
        caught += run.returncode == -signal.SIGKILL
        midway += run.returncode == -signal.SIGKILL and before < sum(1 for _ in many.placed()) < many.number
        many.assert_sound()
    assert caught, "no run was killed: nothing was tested"
    assert midway, "no kill came while files were placed and others were not"
    many.assert_next_run_does_the_rest()


def patients(instance: Instance, number: int, files: int) -> None:
    """So many patients, `P0` and so on, of so many files each: `data/P0/0.dcm`."""
    for patient in range(number):
        for file in range(files):
            uids = {"StudyInstanceUID": f"1.2.{patient}", "SeriesInstanceUID": f"1.3.{patient}"}
            instance(f"data/P{patient}/{file}.dcm", PatientID=f"P{patient}", InstanceNumber=file, pixels=bytes(2000), **uids)


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_kills_before_patients_withdraw(workplace: Workplace, instance: Instance, some: Some[int], mode: str) -> None:
    """Other patients are wanted after each kill: what the killed run placed goes, recorded or not, and nothing else."""
    patients(instance, 12, 3)
    to = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"
    sources, kills = workplace.files("data"), Kills(workplace.folder, seed=5)
    others, midway = workplace.folder / "export/P0/of others.dcm", 0

    def want(number: int) -> set[str]:
        """Have the rules want the patients whose number leaves this rest; return their files."""
        where = f"CAST(substr(PatientID, 2) AS INT) % 3 = {number % 3}"
        workplace.rules(SOURCE.replace('"1"', f'"{where}"') + action("export", to, mode=mode).replace("'", '"') + "prune = true")
        return {name for name in sources if int(name.split("/")[0][1:]) % 3 == number % 3}

    want(0)
    assert workplace.run("index").code == 0
    calls = kills.calls("apply", "--no-index")
    others.write_bytes(sources["P0/0.dcm"])
    for each in kills.until(len(some(range(34), 4))):
        wanted = want(2 * each + 2)  # other patients than the last run had, so that the killed one has work
        killed = kills.kill("apply", "--no-index", "--allow-prune", calls=calls)
        midway += killed and {name for name in workplace.files("export") if name in sources} != wanted
        wanted = want(2 * each + 3)
        placed = {name for name in workplace.files("export") if name in sources}
        done = workplace.run("apply", "--no-index", "--allow-prune", "--json")
        assert done.code == 0, done.out + done.err
        counts = {name: done.summary[name] for name in ("copied", "removed", "adopted")}
        assert counts == {"copied": len(wanted - placed), "removed": len(placed - wanted), "adopted": 0}
        assert workplace.files("export") == {"P0/of others.dcm": others.read_bytes()} | {name: sources[name] for name in wanted}
        assert not [*(workplace.folder / "export").rglob(".pyconquest-rules*")]
        verified = workplace.run("verify", "--deep", "--json").summary
        assert (verified["ok"], verified["missing"], verified["changed"], verified["extra"]) == (len(wanted), 0, 0, 1)
    assert midway, "no kill came while work was undone"
    assert workplace.files("data") == sources


def test_kills_of_index(workplace: Workplace, instance: Instance, some: Some[int]) -> None:
    """Files come, change and go between the kills; the next run makes the index that a new one would be."""
    patients(instance, 10, 4)
    workplace.rules(copies())
    kills = Kills(workplace.folder, seed=6)
    calls, midway = kills.calls("index", "--allow-vanish"), 0
    for each in kills.until(len(some(range(100), 10))):
        if each % 5 == 0:  # a new index
            for database in workplace.folder.glob("conquest.db*"):
                database.unlink()
        else:
            shutil.rmtree(workplace.folder / f"data/P{each % 10}", ignore_errors=True)
            for file in range(4):
                instance(f"data/P{(each + 3) % 10}/{file}.dcm", PatientID=f"Q{each}", SOPInstanceUID=f"1.5.{each}.{file}")
        killed = kills.kill("index", "--allow-vanish", calls=calls)
        done = workplace.run("index", "--allow-vanish", "--json")
        midway += killed and done.summary["read"] > 0
        assert done.code == 0, done.out + done.err
        assert content(workplace.folder / "conquest.db") == {
            (path, row[0], row[1]) for path, row in headers(workplace.folder / "data").items()
        }
        assert workplace.run("index", "--json").summary["read"] == 0
    assert midway, "no kill came while work was undone"


def headers(folder: Path) -> dict[str, tuple[str, str]]:
    """PatientID and SOPInstanceUID of each file."""
    found = {}
    for path in folder.rglob("*.dcm"):
        dataset = dcmread(path, specific_tags=["PatientID", "SOPInstanceUID"])
        found[str(path)] = (dataset.PatientID, dataset.SOPInstanceUID)
    return found


def content(database: Path) -> set[tuple[str, str, str]]:
    """Path, PatientID and SOPInstanceUID of each instance of an index, which is whole."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {*connection.execute("SELECT Path, PatientID, SOPInstanceUID FROM files JOIN images USING (SOPInstanceUID)")}


def test_kills_of_forget(workplace: Workplace, instance: Instance, some: Some[int]) -> None:
    """The same command does the rest: the patient's files and folders are gone, the decision is kept, all else stays."""
    number = 3 * len(some(range(100), 10))
    patients(instance, number, 2)
    workplace.rules(copies().replace('path = "data"', 'path = "data"\nlayout = "{{ PatientID }}/{{ InstanceNumber }}.dcm"'))
    assert workplace.run("index").code == 0
    kills, sources = Kills(workplace.folder, seed=7), workplace.files("data")
    calls = kills.calls("forget", f"P{number - 1}", "--files", "--prune-empty", "--yes")
    midway = 0
    for each in kills.until(number // 3):
        killed = kills.kill("forget", f"P{each}", "--files", "--prune-empty", "--yes", calls=calls)
        again = workplace.run("forget", f"P{each}", "--files", "--prune-empty", "--yes")
        assert again.code == 0 or "the index has no such" in again.err, again.err
        midway += killed and again.code == 0
        left = {name for name in sources if each < int(name.split("/")[0][1:]) < number - 1}
        assert workplace.files("data").keys() == left
        assert not (workplace.folder / f"data/P{each}").exists()
        assert f"P{each}" in (workplace.folder / ".pyconquest-rules/decisions.txt").read_text().split()
        assert workplace.run("query", "SELECT count(*) FROM images", "--format", "csv").out.split()[-1] == str(len(left))
    assert midway, "no kill came while work was undone"
