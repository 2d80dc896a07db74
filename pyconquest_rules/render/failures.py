"""Report failures of a run on few lines: a dead node is one line, however many instances it was to receive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyconquest_rules.events import (
    BroughtAlong,
    Event,
    LittleRoom,
    Noted,
    Planning,
    RunStarted,
    SourceNoted,
    StepDone,
    StepFailed,
    StepsWait,
)
from pyconquest_rules.render.terminal import Part, printable

MOST_SHOWN = 50
"""The most lines that are shown for an action."""

Line = tuple[str, str, str, str]
"""The severity, the action, the message, and the color."""


class Failures:
    """Count equal messages of an action, and show each once when the action ends: the first UID, and how many more."""

    def __init__(self, show: Callable[[Part], None], *, warnings: bool = True) -> None:
        """`warnings`: also show messages that failed no step."""
        self.show, self.warnings = show, warnings
        self._action = ""
        self._lines: dict[Line, tuple[str, int]] = {}
        self._more = 0

    def take(self, event: Event) -> None:
        """Take any event."""
        match event:
            case StepFailed(action, uid, message):
                self._note(("failed", action, message, "red"), uid)
            case Planning() | RunStarted():
                self.flush()
            case StepDone(action=action, warning=warning) if self.warnings:
                self._of(action)
                if warning is not None:
                    self._note(("warning", action, warning, "yellow"), event.SOPInstanceUID)
            case Noted(action, message) | BroughtAlong(action=action, message=message) if self.warnings:
                self._note(("warning", action, message, "yellow"), "")
            case LittleRoom(message) if self.warnings:
                self.show((printable(f"warning: {message}"), "yellow"))
            case SourceNoted(source, message) if self.warnings:
                self.show((printable(f'warning: source "{source}" {message}'), "yellow"))
            case StepsWait(action, steps, why) if self.warnings:
                self._of(action)
                self.flush()
                self.show((f"{action}: {why}: {steps:,} {'instances wait' if steps != 1 else 'instance waits'}", "yellow"))

    def _of(self, action: str) -> None:
        """Show the messages of the previous action once another one begins."""
        if action != self._action:
            self.flush()
            self._action = action

    def _note(self, line: Line, uid: str) -> None:
        self._of(line[1])
        if line in self._lines or len(self._lines) < MOST_SHOWN:
            first, number = self._lines.get(line, (uid, 0))
            self._lines[line] = first, number + 1
        else:
            self._more += 1

    def flush(self) -> None:
        """Show the counted messages."""
        for (what, action, message, colour), (uid, number) in self._lines.items():
            more = f" (and {number - 1:,} more)" if number > 1 else ""
            text = ": ".join(filter(None, (what, f"{action} {uid}".strip(), message)))
            self.show((printable(f"{text}{more}"), colour))
        if self._more:
            self.show((f"{self._action}: {self._more:,} more with other messages; use --json to see all", "red"))
        self._lines, self._more = {}, 0


@contextmanager
def failures_to(show: Callable[[Part], None], *, warnings: bool = True) -> Iterator[Failures]:
    """Yield an object that takes events; show the remaining messages at the end, also if an error ends the run."""
    failures = Failures(show, warnings=warnings)
    try:
        yield failures
    finally:
        failures.flush()
