"""Contests: sides that take turns at one task, and the lines that compare two of them.

Every side runs once before any side runs again, so that other load on the machine affects all of them. The median run of
each side counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.measure import Failed, Sample, middle

RUNS = 5


class By(StrEnum):
    """The time of a run that a line compares."""

    CPU = "CPU"
    WALL = "wall"

    def of(self, sample: Sample) -> float:
        """Return the seconds of a run that count."""
        return sample.cpu if self is By.CPU else sample.wall


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Target: ours is at least `times` times as fast as the peer."""

    times: float


@dataclass(frozen=True, slots=True)
class AtMost:
    """Target: ours takes at most `times` times as long as the peer."""

    times: float


@dataclass(frozen=True, slots=True)
class Within:
    """Target: ours takes at most `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Target: the peak memory of ours is at most `megabytes` (10^6 bytes)."""

    megabytes: int


Target = AtLeast | AtMost | Within | Memory


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a contest. `run` does one complete run; its preparation and its check are not timed.

    `files` is the number of files or instances of a run, or 0 if it handles none. `bytes` is their size, if it counts. `absent`
    is the reason why the side cannot take part, or "".
    """

    run: Callable[[], Sample]
    files: int = 0
    absent: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a side of ours, compared with a peer or alone. `longer`: the ratio compares times, not speeds."""

    name: str
    ours: str
    peer: str | None = None
    by: By = By.CPU
    targets: tuple[Target, ...] = ()
    longer: bool = False


@dataclass(frozen=True, slots=True)
class Contest:
    """Sides by name, and the lines that compare them."""

    sides: Mapping[str, Side]
    lines: Sequence[Line]
    runs: int = RUNS


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a side: its median run, or the reason why there is none."""

    sample: Sample | None
    files: int = 0
    why: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """A line with its figures. `ratio` and `met` are None if a side has no figures."""

    line: Line
    ours: Measured
    peer: Measured | None

    @property
    def ratio(self) -> float | None:
        """How many times as fast ours is, or how many times as long it takes."""
        if self.ours.sample is None or self.peer is None or self.peer.sample is None:
            return None
        ours, peer = (self.line.by.of(sample) for sample in (self.ours.sample, self.peer.sample))
        if self.line.longer:
            return ours / peer
        return peer / ours * (self.ours.files or 1) / (self.peer.files or 1)

    def met(self, target: Target) -> bool | None:
        """Return whether a target is met."""
        sample, ratio = self.ours.sample, self.ratio
        match target:
            case AtLeast(times):
                return None if ratio is None else ratio >= times
            case AtMost(times):
                return None if ratio is None else ratio <= times
            case Within(seconds):
                return None if sample is None else self.line.by.of(sample) <= seconds
            case Memory(megabytes):
                return None if sample is None else sample.peak <= megabytes * 1_000_000


def run(contest: Contest, *, once: bool = False) -> Iterator[Compared]:
    """Run a contest and yield its lines. A side that is absent or fails has no figures; the others continue."""
    samples: dict[str, list[Sample]] = {name: [] for name in contest.sides}
    why = {name: side.absent for name, side in contest.sides.items()}
    for _ in range(1 if once else contest.runs):
        for name, side in contest.sides.items():
            if not why[name]:
                try:
                    samples[name].append(side.run())
                except Failed as failed:
                    why[name] = f"failed: {failed}"
    for line in contest.lines:
        of = {
            name: Measured(None if why[name] else middle(samples[name], line.by.of), side.files, why[name], side.bytes)
            for name, side in contest.sides.items()
            if name in (line.ours, line.peer)
        }
        yield Compared(line, of[line.ours], of[line.peer] if line.peer else None)
