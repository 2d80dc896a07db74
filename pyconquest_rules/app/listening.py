"""Receiving what others send, and what is done then."""

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
from pyconquest_rules.app.stopping import stop_asked
from pyconquest_rules.engine.runner import Result
from pyconquest_rules.errors import Error
from pyconquest_rules.events import Emit, Event, Healthy, Listens, Ran, ThenWaits, silent
from pyconquest_rules.rules.rules import Rules

HEALTH_SECONDS = 60.0


def listen(rules: Rules, name: str, *, emit: Emit = silent) -> Healthy:
    """Receives until Ctrl-C or SIGTERM; runs `then` when a study has been quiet, and again if that fails. Gives what it did.

    Raises UsageError for a name that no listener has, ListenError and DatabaseError where it cannot listen.
    """
    from pyconquest_rules.intake.listening import Listening
    from pyconquest_rules.kinds.listen.waiting import Waiting

    settings = named("listener", name, rules.of_kind["listen"])
    woken, emit = ThreadEvent(), one_at_a_time(emit)
    where, nodes = rules.where(settings.into), rules.nodes.values()
    waiting = Waiting(rules.base, name, settings.quiet) if settings.then else None

    def came(study: str) -> None:
        if waiting is not None and waiting.came(study):
            woken.set()  # of the others it is known until when they must be waited for at least

    with stop_asked(woken.set) as stop, Listening(settings, *where, came, emit, nodes, rules.order) as listening:
        emit(Listens(name, settings.ae_title, settings.host, listening.port))
        told, interrupted = monotonic(), False
        while not (stop() or interrupted):
            waits = [HEALTH_SECONDS, waiting.seconds() if waiting is not None else None]
            woken.wait(min(wait for wait in waits if wait is not None))
            woken.clear()
            if waiting is not None and not stop() and (studies := waiting.due()):
                ran = _then(rules, settings.then, emit)
                interrupted = isinstance(ran, Result) and ran.interrupted  # Ctrl-C and SIGTERM were for it, and are for us too
                if not (unfinished := _unfinished(ran)):
                    waiting.done(studies)
                elif not interrupted:
                    emit(ThenWaits(name, unfinished, waiting.again(studies)))
            if monotonic() >= told + HEALTH_SECONDS:
                emit(Healthy(name, asdict(listening.health())))
                told = monotonic()
    return Healthy(name, asdict(listening.health()))


def one_at_a_time(emit: Emit) -> Emit:
    """The same for several threads at once."""
    lock = Lock()

    def take(event: Event) -> None:
        with lock:
            emit(event)

    return take


def _then(rules: Rules, targets: tuple[str, ...], emit: Emit) -> Result | str:
    """Runs actions on the index as it is, today; returns what they did, or why they could not."""
    today = rules.on(date.today())
    try:
        with remembered(rules.base, targets) as result, running(rules):
            apply(today, stages(today, targets, emit=emit), targets=targets, emit=emit, result=result)
    except (Error, OSError, sqlite3.Error) as error:
        return reason(error)
    emit(Ran(result.counts))
    return result


def _unfinished(ran: Result | str) -> str:
    """Return what is left for another try, or why there must be one; "" if all was done."""
    if isinstance(ran, str):
        return ran
    left = {what: ran.counts[what] for what in ("failed", "blocked", "waiting")}
    return "interrupted" if ran.interrupted else ", ".join(f"{number:,} {what}" for what, number in left.items() if number)
