"""What the commands share: the rules file, `--json`, and how a command ends.

A command imports in its function what it does its work with: `--help` needs nothing of that, and no command all of it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.all import ACTIONS

if TYPE_CHECKING:
    from pyconquest_rules.answers import Refusals
    from pyconquest_rules.render.renderer import Renderer
    from pyconquest_rules.rules.rules import Rules

File = Annotated[Path | None, typer.Option("-f", "--file", help="The rules file; also accepted before the command.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, the last one the summary.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing on success: only problems, on standard error.")]
_KINDS = ", ".join(f'"{kind.name}"' for kind in ACTIONS)
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET...",
        help=f'Actions: "copy.export", all of a kind ({_KINDS}), or "tag:nightly". All if left out.',
    ),
]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Take the index as it is.")]
AllowVanish = Annotated[
    bool,
    typer.Option("--allow-vanish", help="A source or an output may be missing, or have lost more than half of its files."),
]

AllowPrune = Annotated[
    bool, typer.Option("--allow-prune", help="An action may remove more than half of the files that it made (`prune`).")
]

Today = Annotated[
    datetime | None,
    typer.Option(
        "--today",
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        help="The day of relative dates: last_days, and :today in SQL. The local date if left out.",
    ),
]

FAILED, USAGE, PENDING = 1, 2, 3


@dataclass(slots=True)
class Options:
    """The options that may stand before the command or after it; errors come out the same way."""

    file: Path | None = None
    database: Path | None = None
    json: bool = False
    quiet: bool = False


def renderer(context: typer.Context, json: bool) -> "Renderer":
    """For people, or for programs."""
    context.obj.json = json
    return chosen(json, quiet=context.obj.quiet)


def chosen(json: bool, *, quiet: bool = False) -> "Renderer":
    """For programs with `json`, else for people, or for nobody unless there is a problem.

    Raises UsageError for both: `--json` prints a summary also on success.
    """
    if json and quiet:
        raise UsageError("--json prints a summary also on success: leave --json or --quiet out")
    if quiet:
        from pyconquest_rules.render.quiet import Quiet as QuietConsole

        return QuietConsole()
    if json:
        from pyconquest_rules.render.json_lines import JsonLines

        return JsonLines()
    from pyconquest_rules.render.console import Console

    return Console()


def rules(context: typer.Context, today: datetime | None = None) -> "Rules":
    """The rules: of `-f`, else `$PYCONQUEST_RULES`, else `rules.toml` here or in a parent up to the repository's root.

    They are of the day `today`; if left out, of the day on which they are loaded.
    """
    from pyconquest_rules.app import Rules

    loaded = Rules.load(rules_file(context), context.obj.database)
    return loaded if today is None else loaded.on(today.date())


def brought_up_to_date(shown: "Renderer", loaded: "Rules", *, no_index: bool, allow_vanish: bool) -> "Refusals":
    """Bring the index up to date, unless `no_index`; print and return the DICOM files that are not in it."""
    from pyconquest_rules import app
    from pyconquest_rules.index.scan.workers import processes

    with shown.progress() as emit:
        refused = (
            app.refusals(loaded)
            if no_index
            else app.index(loaded, allow_vanish=allow_vanish, workers=processes, emit=emit).refusals
        )
    shown.refused(refused)
    return refused


def rules_file(context: typer.Context) -> Path:
    """The rules file: of `-f`, else found."""
    return context.obj.file or found()


def found(start: Path | None = None) -> Path:
    """Return the `rules.toml` in a folder, here if left out, or in its parents up to the root of the repository.

    Raises UsageError if there is none.
    """
    for folder in (here := start or Path.cwd(), *here.parents):
        if (folder / "rules.toml").is_file():
            return folder / "rules.toml"
        if (folder / ".git").exists():
            break
    raise UsageError("there is no rules.toml here; name one with -f, or make one with: pyconquest-rules init")


def end(code: int) -> None:
    """Ends a command with an exit code other than 0."""
    if code:
        raise typer.Exit(code)
