"""Send CT and MR files to DCMTK's storescp, by wall time: over one association, and over four at once.

The time of ours has no start-up and no plan, but contains the ledger row of every instance.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import ours
from bench.contest import AtLeast, By, Contest, Line, Side
from bench.measure import Failed, Sample, measured
from bench.nodes import Load, loads, missing, storescp, storescu
from bench.workplace import REPOSITORY, Workplace

RULES = """
[select.all]
level = "image"
where = "Modality = '{modality}'"
[nodes.peer]
ae_title = "RULES"
host = "127.0.0.1"
port = {port}
[send.all]
select = "all"
node = "peer"
associations = {associations}
"""
OURS, PEER = "ours", "storescu"


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contests. The receiver discards the instances, so that no side waits for a disk."""
    for load in loads(place):
        for number, times in ((1, 1), (4, 1.5)):
            sides = {
                OURS: Side(partial(sent, place, load, number), load.files, missing(), load.bytes),
                PEER: Side(partial(sent_by_storescu, place.folder, load, number), load.files, missing(), load.bytes),
            }
            name = f"send {load.kind}" + f", {number} associations" * (number > 1)
            yield Contest(sides, [Line(name, OURS, PEER, By.WALL, (AtLeast(times),))])


def sent(place: Workplace, load: Load, associations: int) -> Sample:
    """Measure one run of ours, with an empty ledger."""
    with storescp("--ignore", cwd=place.folder) as port:
        rules = RULES.format(modality=load.kind.upper(), port=port, associations=associations)
        job = place.job(f"send-{load.kind}", load.tree, rules)
        if not (job / "conquest.db").exists():
            ours.run("index", cwd=job)
        shutil.rmtree(job / ".pyconquest-rules", ignore_errors=True)
        sample = measured([sys.executable, "-m", "bench.sending"], cwd=job, environment={"PYTHONPATH": str(REPOSITORY)})
    took = json.loads(sample.output)
    if took["done"] != load.files:
        raise Failed(f"{took['done']} of {load.files} files were sent")
    return replace(sample, wall=took["wall"], cpu=took["cpu"])


def sent_by_storescu(folder: Path, load: Load, at_once: int) -> Sample:
    """Measure one run of the peer. It fails if an answer is not success."""
    with storescp("--ignore", cwd=folder) as port:
        return storescu(load, port, at_once)
