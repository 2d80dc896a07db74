"""`index`: brings the index up to date."""

import base64
import json as json_text
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import FAILED, AllowVanish, Json, end, renderer, rules
from pyconquest_rules.events import Emit, Event, FileTold


def index(
    context: typer.Context,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Sources of the rules; all if left out.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JSON line for every file seen.")] = None,
    allow_vanish: AllowVanish = False,
    json: Json = False,
) -> None:
    """Brings the index up to date.

    Reads what is new or changed by size and mtime, forgets what is gone. Exits with 1 as long as DICOM files could not be
    indexed, unless the rules accept that.
    """
    shown, loaded = renderer(context, json), rules(context)
    from pyconquest_rules import app
    from pyconquest_rules.index.workers import processes

    with shown.progress() as emit, reporting(report, emit) as told:
        result = app.index(
            loaded,
            sources or (),
            allow_vanish=allow_vanish,
            workers=processes,
            emit=told,
            every_file=report is not None,
        )
    shown.indexed(result)
    end(FAILED if result.refusals else 0)


@contextmanager
def reporting(report: Path | None, emit: Emit) -> Iterator[Emit]:
    """Also writes every file that is told to `report`, with its path as text, and as it is on the disk, in base64."""
    if report is None:
        yield emit
        return
    with report.open("w", encoding="utf-8") as file:

        def tell(event: Event) -> None:
            if isinstance(event, FileTold):
                path = {"path": os.fsdecode(event.path), "path_b64": base64.b64encode(event.path).decode()}
                line = {**path, "outcome": event.outcome, "reason": event.reason}
                file.write(json_text.dumps(line) + "\n")
            emit(event)

        yield tell
