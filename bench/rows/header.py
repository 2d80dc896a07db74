"""Read the headers of all files of a folder in one process, by the CPU time of the reading alone."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.contest import AtLeast, Contest, Line, Side, Target
from bench.corpus import has_corpus, real_files
from bench.measure import Sample, measured, outside
from bench.workplace import REPOSITORY, Workplace, python

PYDICOM, UNTOUCHED, GDCM = "pydicom, every value", "pydicom, no value", "GDCM Scanner"


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contests: slices of the tree, slices that differ as in a real series, and the real files themselves."""
    ct, mr = place.sizes.ct, place.sizes.mr
    tree = place.tree(ct=ct, mr=mr)
    yield contest(place, "header ct", tree / "ct", {PYDICOM: 30, UNTOUCHED: None, GDCM: 10})
    yield contest(place, "header mr", tree / "mr", {PYDICOM: 12, UNTOUCHED: None, GDCM: None})
    varied = place.tree(ct=ct // 2, mr=mr // 2, varied=True)
    for kind in ("ct", "mr"):
        yield contest(place, f"header {kind}, varied", varied / kind, {PYDICOM: None, GDCM: None})
    name = "header corpus" if has_corpus() else "header pydicom's files"
    yield contest(place, name, real_files(), {PYDICOM: 8, GDCM: None})


def contest(place: Workplace, name: str, folder: Path, peers: Mapping[str, float | None]) -> Contest:
    """Return the contest of ours with each peer. The number of a peer is the target: how many times as fast ours is."""
    files = sum(path.is_file() for path in folder.rglob("*"))
    reading = Reading(place, folder)
    absent = place.missing_module("pydicom", "pydicom")
    sides = {
        "ours": Side(partial(reading.time, "ours"), files),
        PYDICOM: Side(partial(reading.time, "pydicom"), files, absent or reading.different_texts()),
        UNTOUCHED: Side(partial(reading.time, "pydicom-untouched"), files, absent),
        GDCM: Side(partial(reading.time, "gdcm"), files, place.missing_module("gdcm", "python-gdcm")),
    }
    lines = [Line(name, "ours", peer, targets=_targets(times)) for peer, times in peers.items()]
    return Contest({side: sides[side] for side in ("ours", *peers)}, lines)


def _targets(times: float | None) -> tuple[Target, ...]:
    return (AtLeast(times),) if times else ()


class Reading:
    """Reads one folder with any reader of `bench.readers`."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.wanted = place.folder / "wanted.json"
        self.wanted.write_text(python("-m", "bench.readers", "wanted"), encoding="utf-8")

    def time(self, reader: str) -> Sample:
        """Measure one run. Its seconds are those of the reading alone."""
        environment = {"PYTHONPATH": str(REPOSITORY)}
        sample = measured(self._command("time", reader), cwd=self.place.folder, environment=environment)
        took = json.loads(sample.output)
        return replace(sample, wall=took["wall"], cpu=took["cpu"])

    def different_texts(self) -> str:
        """Return a message if pydicom reads other texts than ours, because the tasks would then differ; otherwise "".

        Files that one of them refuses do not count. All files are read once and are in the page cache afterwards.
        """
        ours, theirs = (json.loads(outside(self._command("texts", reader), REPOSITORY)) for reader in ("ours", "pydicom"))
        different = sum(None not in pair and pair[0] != pair[1] for pair in zip(ours, theirs, strict=True))
        return f"other texts than ours in {different} of {len(ours)} files" if different else ""

    def _command(self, what: str, reader: str) -> list[str | Path]:
        interpreter = Path(sys.executable) if reader == "ours" else self.place.peers
        return [interpreter, "-m", "bench.readers", what, reader, self.wanted, self.folder]
