"""Receiving what others send, and what is done then."""

from dataclasses import asdict
from threading import Event as ThreadEvent
from threading import Lock
from time import monotonic

from pyconquest_rules.app.applying import apply, running
from pyconquest_rules.app.naming import named
from pyconquest_rules.app.planning import stages
from pyconquest_rules.app.retrieving import place
from pyconquest_rules.app.stopping import stop_asked
from pyconquest_rules.errors import Locked
from pyconquest_rules.events import Emit, Event, Healthy, Listens, Ran, silent
from pyconquest_rules.rules.rules import Rules

HEALTH_SECONDS = 60.0


def listen(rules: Rules, name: str, *, emit: Emit = silent) -> Healthy:
    """Receives until Ctrl-C or SIGTERM; runs `then` when a study has been quiet. Gives what it did.

    Raises UsageError for a name that no listener has, ListenError and DatabaseError where it cannot listen.
    """
    from pyconquest_rules.execute.listening import Listening

    settings = named("listener", name, rules.listeners)
    woken, emit = ThreadEvent(), one_at_a_time(emit)
    where, nodes = place(rules, settings.into), rules.nodes.values()
    with stop_asked(woken.set) as stop, Listening(settings, *where, woken.set, emit, nodes, rules.order) as listening:
        emit(Listens(name, settings.ae_title, settings.host, listening.port))
        told = monotonic()
        while not stop():
            waits = [HEALTH_SECONDS, listening.wait()] if settings.then else [HEALTH_SECONDS]
            woken.wait(min(wait for wait in waits if wait is not None))
            woken.clear()
            if settings.then and (studies := listening.settle()) and not _then(rules, settings.then, emit):
                listening.again(studies)
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


def _then(rules: Rules, targets: tuple[str, ...], emit: Emit) -> bool:
    """Runs actions on the index as it is; False where another run holds the lock."""
    try:
        with running(rules):
            emit(Ran(apply(rules, stages(rules, targets, emit=emit), targets=targets, emit=emit).counts))
    except Locked:
        return False
    return True
