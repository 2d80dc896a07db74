"""What goes wrong in a run, on few lines: one dead node is one line, whatever it was to get."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyconquest_rules.events import BroughtAlong, Event, NodeNoted, Planning, RunStarted, StepDone, StepFailed, StepsWait
from pyconquest_rules.render.terminal import Part, printable

MOST_SHOWN = 50
"""So many lines of an action are shown."""

Line = tuple[str, str, str, str]
"""How bad it is, the action, the message, and the colour."""


class Failures:
    """Counts equal messages of an action, and shows each once when the action is over: the first UID, and how many more."""

    def __init__(self, show: Callable[[Part], None], *, warnings: bool = True) -> None:
        """`warnings`: also what failed no step."""
        self.show, self.warnings = show, warnings
        self._action = ""
        self._lines: dict[Line, tuple[str, int]] = {}
        self._more = 0

    def take(self, event: Event) -> None:
        """Takes any event."""
        match event:
            case StepFailed(action, uid, message):
                self._note(("failed", action, message, "red"), uid)
            case Planning() | RunStarted():
                self.flush()
            case StepDone(action=action, warning=warning) if self.warnings:
                self._of(action)
                if warning is not None:
                    self._note(("warning", action, warning, "yellow"), event.SOPInstanceUID)
            case NodeNoted(action, message) | BroughtAlong(action=action, message=message) if self.warnings:
                self._note(("warning", action, message, "yellow"), "")
            case StepsWait(action, steps, why) if self.warnings:
                self._of(action)
                self.flush()
                self.show((f"{action}: {why}: {steps:,} {'instances wait' if steps != 1 else 'instance waits'}", "yellow"))

    def _of(self, action: str) -> None:
        """What another action did is shown once this one begins."""
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
        """Shows what was counted."""
        for (what, action, message, colour), (uid, number) in self._lines.items():
            more = f"and {number - 1:,} more" if number > 1 else ""
            subject = " ".join(filter(None, (action, uid, more)))
            self.show((printable(f"{what}: {subject}: {message}" if subject else f"{what}: {message}"), colour))
        if self._more:
            self.show((f"{self._action}: {self._more:,} more with other messages: --json shows all", "red"))
        self._lines, self._more = {}, 0


@contextmanager
def failures_to(show: Callable[[Part], None], *, warnings: bool = True) -> Iterator[Failures]:
    """Yields what takes events, and shows the last of them at the end, also of a run that an error ends."""
    failures = Failures(show, warnings=warnings)
    try:
        yield failures
    finally:
        failures.flush()
