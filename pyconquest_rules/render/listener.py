"""The log of a listener as text: one line per event, each with its local time."""

from collections.abc import Callable
from datetime import UTC, datetime

from pyconquest_rules.events import Event, FromListener, InstanceNoted, InstanceRefused, Listens, PeerRefused, Ran, ThenWaits
from pyconquest_rules.render.counts import run_counts
from pyconquest_rules.render.failures import Failures
from pyconquest_rules.render.terminal import Part, Terminal, printable

REFUSED = {"connection": "a connection", "association": "an association", "context": "a SOP class", "commitment": "a commitment"}


def log_to(terminal: Terminal, failures: Failures) -> Callable[[Event], None]:
    """Return a function that prints the events of a listener. `failures` takes those that are steps of `then`."""

    def now(*parts: Part) -> None:
        terminal.print(f"{local_time()} ", *parts)

    def take(event: Event) -> None:
        match event:
            case Listens(name, ae_title, host, port):
                now((f"{name} listens as {ae_title} on {host}:{port}", "green"), "; Ctrl-C stops it")
            case InstanceRefused() | InstanceNoted() | PeerRefused():
                colour = "yellow" if isinstance(event, InstanceNoted) else "red"
                terminal.print((f"{local_time(event.time)} {printable(_line(event))}", colour))
            case Ran(counts):
                failures.flush()
                now(f"then: {run_counts(counts)}")
            case ThenWaits(_, reason, seconds):
                failures.flush()
                now((f"then did not complete: {printable(reason)}; retry in {_duration(seconds)}", "red"))
            case _:
                failures.take(event)
        terminal.stream.flush()

    return take


def local_time(time: str | None = None) -> str:
    """Return a time, or the current one, for a log: local with its offset, in seconds (ISO 8601)."""
    moment = datetime.fromisoformat(time) if time else datetime.now(UTC)
    return moment.astimezone().isoformat(timespec="seconds")


def _line(event: FromListener) -> str:
    """Return the text of an event: the event, the peer, the reason."""
    peer = f"{event.calling_ae_title or '(unknown)'} at {event.address}"
    match event:
        case InstanceRefused(_, uid, status, reason):
            return f"refused {uid or '(no valid SOPInstanceUID)'} from {peer}: {reason} ({status:04X})"
        case InstanceNoted(_, uid, note):
            return f"kept {uid} from {peer}: {note}"
        case PeerRefused(_, what, reason):
            return f"{'aborted the association' if what == 'abort' else f'refused {REFUSED[what]}'} of {peer}: {reason}"


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
