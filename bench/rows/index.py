"""Index a tree, and index files that did not change: complete commands, start-up included."""

from collections.abc import Iterator
from pathlib import Path

from bench import ours
from bench.contest import AtLeast, AtMost, By, Contest, Line, Side
from bench.measure import Failed, Sample, has_affinity, measured
from bench.rows.header import Reading
from bench.workplace import REPOSITORY, Workplace, missing_program

ONE, CALLED, PYCONQUEST, READER = "one process", "as called", "pyconquest 0.1.12", "our header reader alone"


def whole(place: Workplace) -> Iterator[Contest]:
    """Yield the contest of the first index of a tree: in one process, and as called, with one more process per processor."""
    sizes = place.sizes
    tree, files = place.tree(ct=sizes.ct, mr=sizes.mr), sizes.ct + sizes.mr
    job = place.job("index", tree)

    def index(*, one_cpu: bool = False) -> Sample:
        for database in job.glob("conquest.db*"):
            database.unlink()
        return ours.run("index", cwd=job, one_cpu=one_cpu, indexed=files)

    sides = {
        ONE: Side(lambda: index(one_cpu=True), files, "" if has_affinity() else "only Linux keeps a run on one processor"),
        CALLED: Side(index, files),
        PYCONQUEST: Side(lambda: rebuilt(place, tree, files), files, place.missing_module("pyconquest", "pyconquest")),
        READER: Side(lambda: Reading(place, tree).time("ours"), files),
    }
    lines = [
        Line("index, one process", ONE, PYCONQUEST, By.CPU, (AtLeast(20),)),
        Line("index, as called", CALLED, PYCONQUEST, By.WALL, (AtLeast(20),)),
        Line("index, one process", ONE, READER, By.CPU, (AtLeast(0.6),)),
        Line("index, as called", CALLED, READER, By.WALL, (AtLeast(0.6),)),
    ]
    yield Contest(sides, lines)


def rebuilt(place: Workplace, tree: Path, files: int) -> Sample:
    """Measure the same with pyconquest."""
    job = place.folder / "pyconquest"
    job.mkdir(exist_ok=True)
    (job / "conquest.db").unlink(missing_ok=True)
    command = [str(part) for part in (place.peers, "-m", "bench.rebuild", tree, REPOSITORY / "dicom.sql")]
    sample = measured(command, cwd=job, environment={"PYTHONPATH": str(REPOSITORY)})
    if int(sample.output) != files:
        raise Failed(f"pyconquest indexed {int(sample.output)} of {files} files")
    return sample


def unchanged(place: Workplace) -> Iterator[Contest]:
    """Yield the contest of the second index of many files, which opens none of them."""
    files = place.sizes.unchanged
    tree = place.tree(ct=files, pixels=False)
    job = place.job("unchanged", tree)
    ours.run("index", cwd=job, seen=files)
    find = ["find", str(tree), "-printf", "%s %T@\n"]
    sides = {
        "ours": Side(lambda: ours.run("index", cwd=job, read=0, unchanged=files), files),
        "find -printf": Side(lambda: measured(find, cwd=job), files, missing_program("find")),
    }
    yield Contest(sides, [Line("index, unchanged", "ours", "find -printf", By.WALL, (AtMost(4),), longer=True)])
