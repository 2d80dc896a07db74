"""Carry out plans."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from pyconquest_rules.app.forgetting import forget_moved
from pyconquest_rules.app.opening import opened, writing
from pyconquest_rules.app.planning import prunes, refuse
from pyconquest_rules.app.stopping import stop_requested
from pyconquest_rules.disk.state_folder import FOLDER
from pyconquest_rules.engine import makers
from pyconquest_rules.engine.assertions import latest
from pyconquest_rules.engine.kinds import Running
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.lock import locked
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.runner import Result, Runner
from pyconquest_rules.events import Emit, LittleRoom, silent
from pyconquest_rules.kinds.all import kind_of, outcomes
from pyconquest_rules.rules.rules import Rules


def apply(
    rules: Rules,
    made: Plan | Iterable[Plan],
    *,
    targets: tuple[str, ...] = (),
    emit: Emit = silent,
    clock: Callable[[], datetime] = datetime.now,
    result: Result | None = None,
) -> Result:
    """Carry out a plan, or several plans one after another (`stages`), and return the counts of their steps.

    The caller holds the run lock (`running`). Ctrl-C ends the run after the steps in progress. `clock` returns the local
    time, for the windows of actions. The counts are added to `result`, if one is given (`remembered`).
    Raises OutputError before the first step of a plan if outputs have lost most of their files.
    """
    result, running = result or Result.of(outcomes()), Running(rules, partial(opened, rules), clock)
    with Ledger(rules.base, write=True) as ledger:
        for each in [made] if isinstance(made, Plan) else made:
            refuse(each)
            executors = {name: kind_of(name).executor(name, rules.actions[name], running) for name in each.actions()}
            result.asserted = latest([*result.asserted, *each.asserted])
            makers.claim(ledger.connection, rules.file, prunes(rules, each.actions()))
            for finding in each.findings:
                emit(LittleRoom(finding.message))
            result.run = result.run or ledger.runs.begin(" ".join(targets))
            with stop_requested() as stop:
                Runner(ledger, emit, stop, result).run(each, rules.needs, executors)
            if result.interrupted:
                break
        with writing(rules) as store:
            forget_moved(rules, store, result.run)
        # The end is recorded last: if the run is killed before, the next run removes the moved files from the index.
        ledger.runs.finish(result.run, result.counts, "interrupted" if result.interrupted else "done")
    return result


@contextmanager
def running(rules: Rules) -> Iterator[None]:
    """Hold the run lock, so that no other run changes files between planning and the last step.

    Files that a killed run placed but did not record are recorded first.
    Raises Locked if another run holds the lock.
    """
    with locked(rules.base):
        if (rules.base / FOLDER / "state.db").exists():
            with Ledger(rules.base, write=True) as ledger:
                ledger.record_placed(rules.outputs)
        yield
