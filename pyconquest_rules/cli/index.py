"""`index`: update the index."""

import base64
import json as json_text
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from pyconquest_rules.cli.common import AllowVanish, Json, end, renderer, rules
from pyconquest_rules.cli.output import Force, writing
from pyconquest_rules.events import Emit, Event, FileTold


def index(
    context: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help="Sources of the rules. Default: all.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Write a JSON line for every file seen; "-" is standard output.')
    ] = None,
    allow_vanish: AllowVanish = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Update the index.

    Reads files that are new or changed by size or mtime, and removes the rows of files that are gone. Exits with 1 if DICOM
    files could not be indexed, unless the rules accept that.
    """
    shown, loaded = renderer(context, json), rules(context)
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.index.scan.workers import processes

    with ExitStack() as stack:
        emit = stack.enter_context(shown.progress())
        file = stack.enter_context(writing(loaded, report, force=force, json=json)) if report else None
        result = app.index(
            loaded,
            sources or (),
            allow_vanish=allow_vanish,
            workers=processes,
            emit=reporting(file, emit) if file else emit,
            every_file=file is not None,
        )
    shown.indexed(result)
    end(exit_code({}, [result.refusals]))


def reporting(report: BinaryIO, emit: Emit) -> Emit:
    """Return an `emit` that also writes every file to `report`, with its path as text and as base64 of its bytes."""

    def tell(event: Event) -> None:
        if isinstance(event, FileTold):
            path = {"path": os.fsdecode(event.path), "path_b64": base64.b64encode(event.path).decode()}
            line = {**path, "outcome": event.outcome, "reason": event.reason}
            report.write(json_text.dumps(line).encode() + b"\n")
        emit(event)

    return tell
