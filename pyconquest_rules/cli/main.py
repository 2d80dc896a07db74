"""The program: its options, its commands, and the only place that turns errors into text and exit codes."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli import (
    apply,
    check,
    conquest_config,
    echo,
    explain,
    export,
    find,
    forget,
    history,
    index,
    init,
    listen,
    lock,
    plan,
    query,
    schema,
    status,
    summary,
    verify,
)
from pyconquest_rules.cli.common import FAILED, USAGE, File, Json, Options, Profile, Quiet, Variables, chosen
from pyconquest_rules.cli.discreet import be_discreet, tell
from pyconquest_rules.errors import Error, Interrupted, Mistake

app = typer.Typer(
    name="pyconquest-rules",
    help="Make for DICOM collections: rules in TOML, an index in Conquest's table layout, a plan, and a ledger of all work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _made(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the rules file, `--json` and `--quiet` before or after it, and reports Ctrl-C."""

    @wraps(command)
    def made(
        context: typer.Context,
        *,
        file: Path | None = None,
        profile: str | None = None,
        variables: list[str] | None = None,
        json: bool,
        quiet: bool,
        **keywords: object,
    ) -> None:
        options: Options = context.obj
        options.profile, options.variables = profile or options.profile, [*options.variables, *(variables or ())]
        options.file, options.json, options.quiet = file or options.file, json or options.json, quiet or options.quiet
        try:
            command(context, json=options.json, **keywords)
        except KeyboardInterrupt:  # typer would be silent
            raise Interrupted("interrupted; run it again to continue") from None

    taken = signature(command)
    silent = Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    taken = taken.replace(parameters=[*taken.parameters.values(), silent])
    if command not in WITHOUT_RULES:
        of_rules = {"file": File, "profile": Profile, "variables": Variables}
        options = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=of) for name, of in of_rules.items()]
        taken = taken.replace(parameters=[*taken.parameters.values(), *options])
    made.__signature__ = taken  # type: ignore[attr-defined]
    return made


WITHOUT_RULES = (init.init, schema.schema)


for command in (
    init,
    check,
    schema,
    index,
    forget,
    conquest_config,
    summary,
    query,
    export,
    plan,
    apply,
    lock,
    status,
    history,
    verify,
    echo,
    find,
    listen,
    explain,
):
    name = command.__name__.rpartition(".")[2]
    app.command(name.replace("_", "-"))(_made(getattr(command, name)))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pyconquest-rules {version('pyconquest-rules')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", envvar="PYCONQUEST_RULES", help="The rules file. Default: rules.toml here or in a parent."),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            "--database",
            envvar="PYCONQUEST_DATABASE",
            help="The index, instead of [index] database. It may be outside the folder of the rules.",
        ),
    ] = None,
    profile: Profile = None,
    variables: Variables = None,
    json: Json = False,
    quiet: Quiet = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Keep the options before the command."""
    context.obj.file, context.obj.database, context.obj.json, context.obj.quiet = file, database, json, quiet
    context.obj.profile, context.obj.variables = profile, variables or []


def main() -> None:
    """Run the program."""
    be_discreet()
    asked = Options()
    try:
        code = run(sys.argv[1:], asked)
    except Exception as error:  # noqa: BLE001 - a traceback ends with a text that may hold a value
        tell(error)
        code = FAILED
    # All files are closed. To free the memory object by object would take as long as `check`.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or FAILED
    os._exit(code)


def run(arguments: list[str], asked: Options) -> int:
    """Run one command line and return its exit code (DESIGN section 2)."""
    try:
        # Outside standalone mode, typer returns the exit code of a command.
        code: int = app(arguments, standalone_mode=False, obj=asked) or 0
        sys.stdout.flush()  # the reader may have closed the pipe; find that out here
        return code
    except Error as error:
        hint = f"\n  = {error.hint}" if isinstance(error, Mistake) and error.hint else ""
        text, code = f"{error}{hint}", error.exit_code
    except typer.TyperException as error:
        if not arguments:
            typer.echo(error.format_message(), err=True)  # the help
            return USAGE
        text, code = f"{error.format_message()}\n  = {_way_out(arguments)}", USAGE
    except BrokenPipeError:
        # The reader closed the pipe. The rest of the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (typer.Abort, KeyboardInterrupt):
        text, code = "interrupted", Interrupted.exit_code
    except Exception as error:  # noqa: BLE001 - other errors than those of the system are raised again
        text, code = f"run stopped: {_of_the_system(error)}; fix this and run again", FAILED
    chosen(asked.json or "--json" in arguments).error(text, code)
    return code


def _way_out(arguments: list[str]) -> str:
    """Return a hint for an invalid command line."""
    files = [argument for argument in arguments if argument.endswith(".toml")]
    if files and not {"-f", "--file"}.intersection(arguments):
        return f"name the rules file with -f: pyconquest-rules -f {files[0]} COMMAND"
    return "pyconquest-rules --help shows the commands"


def _of_the_system(error: Exception) -> str:
    """Return the message of the system or of SQLite. Raises any other error again: it is a bug."""
    from sqlite3 import Error as SQLiteError

    match error:
        case OSError(errno=int(number)) if number:  # its text has a path in it, which may name a patient
            return os.strerror(number)
        case MemoryError():
            return "out of memory"
        case OSError() | SQLiteError():
            return str(error)
    raise error
