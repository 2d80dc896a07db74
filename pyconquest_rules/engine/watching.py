"""Outputs that lack most of their files in a verification: more often a disk that is not mounted than lost files."""

from collections import Counter
from collections.abc import Iterable, Iterator

from pyconquest_rules.answers import Vanished
from pyconquest_rules.disk.facts import Gone
from pyconquest_rules.disk.outputs import Outputs, Root
from pyconquest_rules.disk.room import nothing_in
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.paths import remembered


class Watch:
    """Counts the findings, and for each output the recorded and the missing files."""

    def __init__(self, outputs: Outputs) -> None:
        self.disk, self.roots = remembered(outputs.disk), outputs.roots
        self.counts: Counter[str] = Counter(dict.fromkeys(Finding, 0))
        self.missing, self.known = dict[Root | None, int](), dict[Root | None, int]()

    def noted(self, findings: Iterable[Verified]) -> Iterator[Verified]:
        """Pass on the findings, and count them."""
        for found in findings:
            self.counts[found.finding] += 1
            if found.finding not in (Finding.EXTRA, Finding.OUTSIDE):
                folder, slash, _ = found.destination.rpartition("/")
                at = self.disk(folder + slash)
                self.known[at] = self.known.get(at, 0) + 1
                self.missing[at] = self.missing.get(at, 0) + (found.finding is Finding.MISSING)
            yield found

    def vanished(self) -> tuple[Vanished, ...]:
        """Return the outputs that lack more than half of the verified files, or are empty folders beside the rules file."""
        return tuple(
            Vanished(at.named, number, self.known[at], nothing_in(at))
            for at, number in self.missing.items()
            if at is not None and 2 * number > self.known[at] and (at in self.roots or nothing_in(at) is Gone.EMPTY)
        )
