"""`lock`: freeze the selection of releases, and compare two locks."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyconquest_rules.cli.common import Json, NoIndex, Today, brought_up_to_date, renderer, rules
from pyconquest_rules.errors import UsageError

if TYPE_CHECKING:
    from pyconquest_rules.index.query.sql import Row


def lock(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="RELEASE|diff A B", help='A release, or "diff" and two lock files. Default: all releases.'),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="With diff, print one line per SOPInstanceUID instead of the numbers.")
    ] = False,
    no_index: NoIndex = False,
    today: Today = None,
    json: Json = False,
) -> None:
    """Freeze the selection of a release, or compare two locks.

    Updates the index, plans the actions of the release, and writes its lock: a line for each file, with its destination and the
    SHA-256 of its source. Later, `plan --locked` and `apply --locked` exit with 4 if anything differs.
    """
    words = what or []
    if words[:1] == ["diff"]:
        if len(words) != 3:
            raise UsageError("write: pyconquest-rules lock diff A B, with two lock files")
        _diff(context, Path(words[1]), Path(words[2]), listed=listed, json=json)
        return
    from pyconquest_rules import app

    if len(words) > 1:
        raise UsageError("name one release, or none for all of them")
    if listed:
        raise UsageError("--list is for lock diff")
    shown, loaded = renderer(context, json), rules(context, today)
    names = [*app.releases(loaded, words)]
    brought_up_to_date(shown, loaded, no_index=no_index, allow_vanish=False)
    for name in names:
        with shown.progress() as emit:
            file, _ = app.lock(loaded, name, emit)
        shown.written(file, "compare with it by: pyconquest-rules plan --locked")


def _diff(context: typer.Context, before: Path, after: Path, *, listed: bool, json: bool) -> None:
    from pyconquest_rules.kinds.release.lock import Count, Differences, read

    shown = renderer(context, json)
    with Differences(read(before), read(after)) as found:
        rows: Iterator[Row] = found.instances() if listed else iter(found.counts)
        shown.rows(("change", "SOPInstanceUID") if listed else ("change", *Count._fields[1:]), rows)
