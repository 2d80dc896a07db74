"""`manifest.csv`: every file of a release, with its UIDs, digest, and how it came there. The other evidence is made of it."""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from pyconquest_rules.content import Assembled, NotTransformed, Part, Transformed
from pyconquest_rules.disk.contents import digests
from pyconquest_rules.engine.ledger import Delivered, Ledger
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.query.export import write_csv
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.release.lock import Locked, levels_of, read

TOGETHER = 256
SOURCES = ("source", "source_sha256")
"""The columns that `sources = true` adds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A file of a release, or a member of one: `path` is below its root, UIDs are those that were delivered.

    A file of many instances has no UIDs. What a recipe made has no PatientID here, because only the recipe knows the new one.
    """

    path: str
    member: str
    SOPInstanceUID: str
    PatientID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str
    sha256: str
    size: int
    select: str
    action: str
    transform: str
    source: str = ""
    source_sha256: str = ""


def rows(parts: Iterable[Part], root: str, selects: dict[str, str], sets: Sets, ledger: Ledger) -> Iterator[Row]:
    """Yield the files of a release in the order of `parts`. `selects` has the set of each action.

    Raises NotTransformed for a file that the ledger does not have.
    """
    files = _with_members(parts)
    while some := [*islice(files, TOGETHER)]:
        levels = levels_of(sets, {part.SOPInstanceUID for part, _ in some})
        for part, member in some:
            yield _row(part, member, root, selects, levels[part.SOPInstanceUID], ledger)


def _with_members(parts: Iterable[Part]) -> Iterator[tuple[Part, str]]:
    """Yield the files, each followed by its members, which have names."""
    for part in parts:
        yield part, ""
        if isinstance(part.content, Assembled):
            yield from ((inner._replace(name=part.name, action=part.action), inner.name) for inner in part.content.parts())


def _row(part: Part, member: str, root: str, selects: dict[str, str], keys: tuple[str, str, str], ledger: Ledger) -> Row:
    if not part.name.startswith(root):
        raise NotTransformed("a file of the release lies outside its root")
    made = _made(part, member, ledger)
    if made is None or made.SOPInstanceUID != part.SOPInstanceUID:
        raise NotTransformed("a file of the release is not recorded as made by its action; apply all of its actions first")
    (patient, study, series), transform = keys, ""
    match part.content:
        case Transformed(recipe=recipe):
            patient, study, series, transform = "", recipe.uid(study), recipe.uid(series), recipe.name
        case Assembled(assembler=assembler):
            transform = assembler.name
    return Row(
        part.name.removeprefix(root),
        member,
        made.delivered_uid,
        patient,
        study,
        series,
        made.sha256,
        made.size,
        selects[part.action],
        part.action,
        transform,
        os.fsdecode(part.content.source),
        made.source_sha256,
    )


def _made(part: Part, member: str, ledger: Ledger) -> Delivered | None:
    """Return what was delivered of a part. If its file was made of it, but does not have it as a member, its digest is empty."""
    made = ledger.made(part.name, member)
    if made is None and member and ledger.made(part.name) is not None:
        return Delivered(part.SOPInstanceUID, part.SOPInstanceUID, "", 0, digests(part.content).source)
    return made


def columns(*, sources: bool) -> tuple[str, ...]:
    """Return the columns of a manifest, with those of the sources or without them."""
    return tuple(field.name for field in fields(Row) if sources or field.name not in SOURCES)


def write(rows: Iterable[Row], file: BinaryIO, *, sources: bool) -> None:
    """Write a manifest."""
    shown = columns(sources=sources)
    text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    write_csv(shown, (astuple(row)[: len(shown)] for row in rows), text)
    text.detach()


def read_rows(text: TextIO) -> Iterator[dict[str, str]]:
    """Yield the rows of a manifest. Raises ValueError if it is none."""
    reader = csv.DictReader(text)
    if not {"path", "member", "sha256", "size"} <= {*(reader.fieldnames or ())}:
        raise ValueError("not a manifest")
    yield from reader


def of_files(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the rows of a manifest without those of members."""
    return (row for row in rows if not row["member"])


def as_locked(rows: Iterable[Row], lock: Path, name: str) -> Iterator[Row]:
    """Pass the rows on, which are sorted as a lock is. Raises NotTransformed if they are not those of the lock.

    A lock has the members of a file that is made of many instances instead of it.
    """
    try:
        lines = read(lock)
        for row in rows:
            if (row.member or row.SOPInstanceUID) and not _equal(row, next(lines, None)):
                raise _differs(name)
            if row.sha256:
                yield row
        if next(lines, None) is not None:
            raise _differs(name)
    except UsageError as error:
        raise NotTransformed(str(error)) from None


def _differs(name: str) -> NotTransformed:
    hint = f"`plan --locked` shows how; to accept it: pyconquest-rules lock {name}"
    return NotTransformed(f"the files differ from the lock of the release; {hint}")


def _equal(row: Row, locked: Locked | None) -> bool:
    path = f"{row.path}/{row.member}" if row.member else row.path
    return locked is not None and (os.fsencode(path), row.source_sha256) == (locked.destination, locked.sha256)
