"""Shared by the commands that write a file of the user's choice: `--force`, and "-" for standard output."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from pyconquest_rules.errors import UsageError

if TYPE_CHECKING:
    from pyconquest_rules.rules.rules import Rules

Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace an existing file that this program did not write, except files of sources and of the rules."
    ),
]


def writing(rules: "Rules", file: Path, *, force: bool, json: bool) -> AbstractContextManager[BinaryIO]:
    """Return the stream of a file (`app.written`). Raises UsageError if both the file and the events go to standard output."""
    from pyconquest_rules import app

    if json and app.is_stdout(file):
        raise UsageError("with --json, standard output is for events; name a file")
    return app.written(rules, file, force=force)


@contextmanager
def saving(rules: "Rules", file: Path | None, *, force: bool) -> Iterator[Path | None]:
    """Yield an empty file for a plan, which then becomes `file`; None if no file is named."""
    from pyconquest_rules import app

    if file is None:
        yield None
        return
    with app.written(rules, file, force=force, regular=True) as part:
        yield Path(part.name)
