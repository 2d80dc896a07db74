"""Carry out the steps of a release: write its evidence, one file after the other, because each is made of those before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from pyconquest_rules.content import Assembled
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.putting import Putting
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.kind import Running
from pyconquest_rules.kinds.release.evidence import About, Evidence
from pyconquest_rules.steps import PutFile, Step


@dataclass(frozen=True, slots=True)
class Releasing:
    """The executor of a release. `about` opens the index and the ledger for each file."""

    about: About

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Write the files in their order."""
        putting = Putting(self.about.rules.outputs, "written")
        for step in steps():
            if runner.stopped():
                return
            putting.do(action, partial(iter, [self._bound(step)]), runner)

    def _bound(self, step: Step) -> Step:
        """Return a step whose assembler sees what the run has done by now."""
        match step.operation:
            case PutFile(content=Assembled(assembler=Evidence(file=file)) as content):
                bound = replace(content, assembler=Evidence(file, self.about))
                return replace(step, operation=replace(step.operation, content=bound))
        return step


@contextmanager
def opening(running: Running) -> Iterator[tuple[Sets, Ledger]]:
    """Open the index and the ledger as they are now."""
    with running.opened() as sets, Ledger(running.rules.base) as ledger:
        yield sets, ledger
