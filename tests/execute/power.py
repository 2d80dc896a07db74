"""What a disk holds if the power fails."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from pyconquest_rules.disk.files import Put, StepError
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.steps import Step


class Disk:
    """What would still be there if the power failed now: of a folder the names, of a file the bytes, when last synced."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.fsync, self.fails = root, os.fsync, ""
        self.folders: dict[int, list[str]] = {}
        self.files: dict[int, bytes] = {}
        self.rows: list[str] = []
        record = Ledger.record

        def checked(ledger: Ledger, outcomes: Iterable[tuple[Step, Put | StepError]], run: int) -> None:
            outcomes = [*outcomes]
            for step, outcome in outcomes:
                if isinstance(outcome, Put):
                    self.rows.append(step.operation.destination)
                    assert self.holds(step.operation.destination), f"{step.operation.destination} is recorded, but not durable"
            record(ledger, outcomes, run)

        monkeypatch.setattr(os, "fsync", self.synced)
        monkeypatch.setattr(Ledger, "record", checked)

    def synced(self, descriptor: int) -> None:
        if self.fails and os.readlink(f"/proc/self/fd/{descriptor}").endswith(self.fails):
            raise OSError(5, "Input/output error")
        self.fsync(descriptor)
        status = os.fstat(descriptor)
        if os.path.isdir(descriptor):
            self.folders[status.st_ino] = os.listdir(descriptor)
        else:
            self.files[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def holds(self, destination: str) -> bool:
        path = self.root
        for name in destination.split("/"):
            if name not in self.folders.get(path.stat().st_ino, []):
                return False
            path /= name
        return path.is_symlink() or path.stat().st_nlink > 1 or self.files.get(path.stat().st_ino) == path.read_bytes()
