"""Copy the CT files of the tree to a new folder on the same disk, by wall time.

Ours hashes, syncs and records every file before it counts as done. The peers leave their bytes in the page cache, so they
are measured alone, and with a sync of what they wrote.
"""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import ours
from bench.contest import AtLeast, By, Contest, Line, Side
from bench.measure import Failed, Sample, measured, together
from bench.workplace import Workplace, missing_program

RULES = """
[select.all]
level = "image"
where = "Modality = 'CT'"
[copy.all]
select = "all"
to = "export/{{ PatientID }}/{{ SeriesInstanceUID }}/{{ InstanceNumber | pad(4) }}_{{ SOPInstanceUID }}.dcm"
"""
PEERS = ("rsync -a", "cp -r")


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contest. Before each run, the files of the last run are deleted and the disk is idle."""
    tree, files = place.tree(ct=place.sizes.ct, mr=place.sizes.mr) / "ct", place.sizes.ct
    job = place.job("copy", tree, RULES)
    ours.run("index", cwd=job, seen=files)
    export = job / "export"

    def copied() -> Sample:
        made_ready(job)
        return checked(ours.run("apply", "--no-index", cwd=job, done=files, failed=0, blocked=0), export, files)

    def copied_by(*commands: list[str]) -> Sample:
        made_ready(job)
        return checked(together(*(measured(command, cwd=job) for command in commands)), export, files)

    sides = {"ours": Side(copied, files)}
    lines = []
    sync = ["find", str(export), "-exec", "sync", "{}", "+"]
    for peer in PEERS:
        command, synced = [*peer.split(), str(tree), str(export)], f"{peer}, then sync"
        absent = missing_program(command[0])
        sides[peer] = Side(partial(copied_by, command), files, absent)
        sides[synced] = Side(partial(copied_by, command, sync), files, absent or missing_program("sync"))
        lines.append(Line("copy", "ours", peer, By.WALL, (AtLeast(1.5),) if peer == "rsync -a" else ()))
        lines.append(Line("copy", "ours", synced, By.WALL))
    yield Contest(sides, lines)


def made_ready(job: Path) -> None:
    """Delete the copies and the ledger, and wait until the disk is idle."""
    for folder in (job / "export", job / ".pyconquest-rules"):
        shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def checked(sample: Sample, export: Path, files: int) -> Sample:
    """Return a run that made so many files. Raises Failed if the number differs."""
    if (found := sum(path.is_file() for path in export.rglob("*"))) != files:
        raise Failed(f"found {found} of {files} files")
    return sample
