"""Doing what a plan says."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from pyconquest_rules.app.forgetting import forget_moved
from pyconquest_rules.app.opening import opened, writing
from pyconquest_rules.app.planning import prunes, refuse
from pyconquest_rules.app.stopping import stop_asked
from pyconquest_rules.disk.state_folder import FOLDER
from pyconquest_rules.engine import makers
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
    """Does what a plan says, or plans one after another (`stages`), under the run lock that the caller holds (`running`).

    Raises OutputError, before anything is done, for a plan with outputs that lost most of their files.
    Ctrl-C ends it after the files in flight. `clock` is the local time, which windows are of. What is done is added to `result`,
    if there is one (`remembered`).
    """
    result, running = result or Result.of(outcomes()), Running(rules, partial(opened, rules), clock)
    executors = {name: kind_of(name).executor(name, action, running) for name, action in rules.actions.items()}
    with Ledger(rules.base, write=True) as ledger:
        for each in [made] if isinstance(made, Plan) else made:
            refuse(each)
            makers.claim(ledger.connection, rules.file, prunes(rules, each.actions()))
            for finding in each.findings:
                emit(LittleRoom(finding.message))
            result.run = result.run or ledger.runs.begin(" ".join(targets))
            with stop_asked() as stop:
                Runner(ledger, emit, stop, result).run(each, rules.needs, executors)
            if result.interrupted:
                break
        with writing(rules) as store:
            forget_moved(rules, store, result.run)
        # The end comes last: of a run that is killed before, the next one forgets what was moved.
        ledger.runs.finish(result.run, result.counts, "interrupted" if result.interrupted else "done")
    return result


@contextmanager
def running(rules: Rules) -> Iterator[None]:
    """Holds the run lock: from planning to the last step nobody else changes what is planned. Raises Locked.

    What a killed run placed but had not recorded is recorded first.
    """
    with locked(rules.base):
        if (rules.base / FOLDER / "state.db").exists():
            with Ledger(rules.base, write=True) as ledger:
                ledger.record_placed(rules.outputs)
        yield
