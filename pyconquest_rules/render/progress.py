"""A progress bar on a terminal: the only part of the program that needs rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from pyconquest_rules.events import Event, FileTold, Planning, RunStarted, StepDone, StepFailed, Walked
from pyconquest_rules.render.terminal import Part


@contextmanager
def progress() -> Iterator["Bar"]:
    """Show a progress bar on standard error, and remove it at the end."""
    # A wrapped line would stay after the bar is removed.
    what = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (SpinnerColumn(), what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        yield Bar(bar)


class Bar:
    """Turn events into a progress bar."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.reading: TaskID | None = None
        self.to_read = 0
        self.planning: TaskID | None = None
        self.doing: TaskID | None = None

    def write(self, *parts: Part) -> None:
        """Print a line that stays above the bar."""
        self.bar.console.print(Text.assemble(*parts), soft_wrap=True)

    def take(self, event: Event) -> None:
        """Take any event."""
        match event:
            case Walked(to_read=to_read) if to_read:
                self.to_read += to_read
                self.bar.update(self._reading(), total=self.to_read)
            case FileTold(outcome="indexed" | "rejected" | "duplicate"):
                self.bar.advance(self._reading())
            case Planning(action=action, steps=steps):
                what = f"planning {action}"
                self.planning = self.bar.add_task(what, total=None) if self.planning is None else self.planning
                self.bar.update(self.planning, description=what, completed=steps)
            case RunStarted(steps=steps):
                for task in (self.planning, self.doing):
                    if task is not None:
                        self.bar.remove_task(task)
                self.planning = None
                self.doing = self.bar.add_task("files", total=steps)
            case StepDone() | StepFailed() if self.doing is not None:
                self.bar.advance(self.doing)

    def _reading(self) -> TaskID:
        """Return the bar for reading; a new index is read before the number of files is known."""
        if self.reading is None:
            self.reading = self.bar.add_task("reading headers", total=None)
        return self.reading
