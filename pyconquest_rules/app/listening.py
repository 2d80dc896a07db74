"""Run a listener: receive instances, and run its actions after a study is complete."""

import sqlite3
from dataclasses import asdict
from datetime import date
from threading import Event as ThreadEvent
from threading import Lock
from time import monotonic

from pyconquest_rules.app.applying import apply, running
from pyconquest_rules.app.naming import named
from pyconquest_rules.app.planning import stages
from pyconquest_rules.app.remembering import reason, remembered
from pyconquest_rules.app.stopping import stop_requested
from pyconquest_rules.engine.runner import Result
from pyconquest_rules.errors import Error
from pyconquest_rules.events import Emit, Event, Healthy, Listens, Ran, ThenWaits, silent
from pyconquest_rules.rules.rules import Rules

HEALTH_SECONDS = 60.0


def listen(rules: Rules, name: str, *, emit: Emit = silent) -> Healthy:
    """Receive instances until Ctrl-C or SIGTERM, and return the counts.

    The actions of `then` run when a study has been quiet, and again if they fail.
    Raises UsageError for an unknown listener, and ListenError or DatabaseError if it cannot listen.
    """
    from pyconquest_rules.intake.listening import Listening
    from pyconquest_rules.kinds.listen.waiting import Waiting

    settings = named("listener", name, rules.of_kind["listen"])
    woken, emit = ThreadEvent(), one_at_a_time(emit)
    where, nodes = rules.where(settings.into), rules.nodes.values()
    waiting = Waiting(rules.base, name, settings.quiet) if settings.then else None

    def came(study: str) -> None:
        if waiting is not None and waiting.came(study):
            woken.set()  # this study is due first; the waiting time of the others does not change

    with stop_requested(woken.set) as stop, Listening(settings, *where, came, emit, nodes, rules.order) as listening:
        emit(Listens(name, settings.ae_title, settings.host, listening.port))
        reported, interrupted = monotonic(), False
        while not (stop() or interrupted):
            waits = [HEALTH_SECONDS, waiting.seconds() if waiting is not None else None]
            woken.wait(min(wait for wait in waits if wait is not None))
            woken.clear()
            if waiting is not None and not stop() and (studies := waiting.due()):
                ran = _then(rules, settings.then, emit)
                interrupted = isinstance(ran, Result) and ran.interrupted  # Ctrl-C during `then` ends the listener too
                if not (unfinished := _unfinished(ran)):
                    waiting.done(studies)
                elif not interrupted:
                    emit(ThenWaits(name, unfinished, waiting.again(studies)))
            if monotonic() >= reported + HEALTH_SECONDS:
                emit(Healthy(name, asdict(listening.health())))
                reported = monotonic()
    return Healthy(name, asdict(listening.health()))


def one_at_a_time(emit: Emit) -> Emit:
    """Return a thread-safe version of `emit`."""
    lock = Lock()

    def take(event: Event) -> None:
        with lock:
            emit(event)

    return take


def _then(rules: Rules, targets: tuple[str, ...], emit: Emit) -> Result | str:
    """Run actions on the index as it is, with today's date. Return the result, or why they could not run."""
    today = rules.on(date.today())
    try:
        with remembered(rules.base, targets) as result, running(rules):
            apply(today, stages(today, targets, emit=emit), targets=targets, emit=emit, result=result)
    except (Error, OSError, sqlite3.Error) as error:
        return reason(error)
    emit(Ran(result.counts))
    return result


def _unfinished(ran: Result | str) -> str:
    """Return why the actions must run again, or "" if all steps were done."""
    if isinstance(ran, str):
        return ran
    left = {what: ran.counts[what] for what in ("failed", "blocked", "waiting")}
    return "interrupted" if ran.interrupted else ", ".join(f"{number:,} {what}" for what, number in left.items() if number)
