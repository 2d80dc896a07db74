"""Counting and reporting the outcomes of files."""

from collections import Counter

from pyconquest_rules.events import Emit, FileTold
from pyconquest_rules.headers import notes
from pyconquest_rules.index.scan.walk import OTHER
from pyconquest_rules.index.store.contest import Outcome

COUNTS = ("seen", "read", "indexed", "unchanged", "rejected", "skipped", "duplicate", "conflict", "vanished", "kept")

SILENT = ("same-bytes", "archive")
"""The reasons of files that are not missing in the index: another file has their bytes, or their members are files."""


class Tally:
    """The outcomes of the files of one scan: `counts` by outcome, `reasons` of files that were not indexed, `notes` of others."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def report(self, path: bytes, outcome: Outcome) -> None:
        """Count a file and emit its outcome. Special files, such as sockets, are neither counted nor emitted."""
        what, reason = outcome.outcome, outcome.reason
        if reason == OTHER:
            return
        self.counts["seen"] += 1
        self.counts[what] += 1
        if reason is not None:
            self.counts["conflict"] += reason == "conflict" and what == "rejected"
            if what == "indexed":
                self.notes.update(notes.notes(reason))
            elif reason not in SILENT:
                self.reasons[reason] += 1
        self.emit(FileTold(path, what, reason))
