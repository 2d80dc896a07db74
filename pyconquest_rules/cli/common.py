"""Shared by the commands: the rules file, `--json`, and exit codes.

Commands import lazily, in their functions, so that `--help` stays fast.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.all import ACTIONS

if TYPE_CHECKING:
    from pyconquest_rules.answers import Refusals
    from pyconquest_rules.render.renderer import Renderer
    from pyconquest_rules.rules.profiles import Choice
    from pyconquest_rules.rules.rules import Rules

File = Annotated[Path | None, typer.Option("-f", "--file", help="The rules file; also accepted before the command.")]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="The profile of the rules; also accepted before the command. Default: none."),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Replace a variable of [vars]; may be repeated, also before the command."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line; the last one is the summary.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing on success, and only failures on standard error.")]
_KINDS = ", ".join(f'"{kind.name}"' for kind in ACTIONS)
Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET...", help=f'Actions: "copy.export", a kind ({_KINDS}), "tag:nightly". Default: all.'),
]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Do not update the index first.")]
AllowVanish = Annotated[
    bool,
    typer.Option("--allow-vanish", help="Continue if a source or an output is missing, or has lost more than half of its files."),
]

Locked = Annotated[
    bool,
    typer.Option("--locked", help="Exit with 4 if the plan differs from the lock of a release. Its actions must all be planned."),
]

AllowPrune = Annotated[
    bool, typer.Option("--allow-prune", help="Let an action with `prune` delete more than half of the files that it created.")
]

AllowCommands = Annotated[
    bool,
    typer.Option("--allow-commands", help="Let actions such as convert run the commands of the rules; `check` lists these."),
]

Today = Annotated[
    datetime | None,
    typer.Option(
        "--today",
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        help="The day for relative dates: last_days, and :today in SQL. Default: the local date.",
    ),
]

FAILED, USAGE, PENDING = 1, 2, 3


@dataclass(slots=True)
class Options:
    """The options that are accepted before or after the command; errors are printed in the same form."""

    file: Path | None = None
    database: Path | None = None
    profile: str | None = None
    variables: list[str] = field(default_factory=list)
    json: bool = False
    quiet: bool = False


def renderer(context: typer.Context, json: bool) -> "Renderer":
    """Return the renderer for text or JSON."""
    context.obj.json = json
    return chosen(json, quiet=context.obj.quiet)


def chosen(json: bool, *, quiet: bool = False) -> "Renderer":
    """Return the renderer for JSON, for quiet text or for text.

    Raises UsageError for `json` with `quiet`, because `--json` prints a summary also on success.
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
    """Load the rules of `-f`, else `$PYCONQUEST_RULES`, else `rules.toml` here or in a parent up to the repository root.

    `today` is their day; if left out, the day on which they are loaded.
    """
    from pyconquest_rules.app import Rules

    loaded = Rules.load(rules_file(context), context.obj.database, choice=choice(context))
    return loaded if today is None else loaded.on(today.date())


def choice(context: typer.Context) -> "Choice":
    """Return the choice of `--profile` and `--var`. Raises UsageError for a `--var` that is not NAME=VALUE, or is repeated."""
    from pyconquest_rules.rules.profiles import Choice

    variables = dict[str, str]()
    for text in context.obj.variables:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f'--var "{text}" has no value; write --var NAME=VALUE')
        if name in variables:
            raise UsageError(f'--var gives "{name}" twice; leave one out')
        if not value.isprintable():  # such as a byte that is not UTF-8
            raise UsageError(f'the value of --var "{name}" has a character that cannot be printed; leave it out')
        variables[name] = value
    return Choice(context.obj.profile, variables)


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
    """Return the rules file of `-f`, or else find it."""
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
    raise UsageError("there is no rules.toml here; name one with -f, or create one with: pyconquest-rules init")


def end(code: int) -> None:
    """End the command with this exit code, unless it is 0."""
    if code:
        raise typer.Exit(code)
