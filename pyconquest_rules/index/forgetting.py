"""Taking instances out of an index because somebody says so, not because their files are gone."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyconquest_rules.answers import Going
from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.store import Store
from pyconquest_rules.index.tables import LEVELS


@dataclass(frozen=True, slots=True)
class Place:
    """A file of an instance: on its device, from the root of the source, and its whole path."""

    device: str
    path: bytes
    whole: bytes


class Forgetting:
    """Instances chosen in one index. Within a transaction of the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.connection.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (SOPInstanceUID TEXT PRIMARY KEY) WITHOUT ROWID")
        store.connection.execute("DELETE FROM temp.chosen")

    def choose(self, what: str) -> None:
        """Chooses by a PatientID or a UID of any level. Raises UsageError where the index has none such."""
        chosen = sum(self.store.connection.execute(self._by(level), (unpadded(what),)).rowcount for level in LEVELS)
        if not chosen:
            raise UsageError("the index has no such UID or PatientID, and the rules no such set")

    def choose_instances(self, uids: Iterable[str]) -> None:
        """Chooses by SOPInstanceUIDs."""
        self.store.connection.executemany("INSERT OR IGNORE INTO temp.chosen VALUES (?)", ((uid,) for uid in uids))

    def _by(self, level: Level) -> str:
        return f"INSERT OR IGNORE INTO temp.chosen SELECT SOPInstanceUID FROM images WHERE {level.key} = ?"

    def going(self) -> Going:
        """What the choice comes to."""
        patients, studies, series, images = self.store.connection.execute(
            "SELECT count(DISTINCT coalesce(PatientID, '')), count(DISTINCT StudyInstanceUID), count(DISTINCT SeriesInstanceUID),"
            " count(*)"
            " FROM images WHERE SOPInstanceUID IN temp.chosen"
        ).fetchone()
        (files,) = self.store.connection.execute(
            "SELECT count(*) FROM rules_files WHERE SOPInstanceUID IN temp.chosen AND outcome != 'skipped'"
        ).fetchone()
        return Going(patients, studies, series, images, files)

    def places(self) -> Iterator[Place]:
        """The files of the chosen instances, also those that are another place of one, or in conflict with it."""
        rows = self.store.connection.execute(
            "SELECT f.device, CAST(f.path AS BLOB), CAST(s.path AS BLOB) FROM rules_files f JOIN rules_sources s USING (device)"
            " WHERE f.SOPInstanceUID IN temp.chosen AND f.outcome != 'skipped' ORDER BY f.device, f.path"
        )
        return (Place(device, path, os.path.join(root, path)) for device, path, root in rows.fetchall())

    def forget(self, gone: Sequence[Place] | None) -> None:
        """Forgets the chosen instances. Files that are not `gone` from the disk are left out until they change."""
        deleted = {(place.device, place.path) for place in gone or ()}
        rows = self.store.connection.execute(
            "SELECT device, CAST(path AS BLOB), size, mtime_ns, SOPInstanceUID FROM rules_files"
            " WHERE SOPInstanceUID IN temp.chosen AND outcome != 'skipped'"
        ).fetchall()
        for device, path, *_ in rows:
            self.store.forget(device, path)
        self.store.connection.executemany(
            "INSERT OR REPLACE INTO rules_files VALUES (?, CAST(? AS TEXT), ?, ?, 'skipped', 'forgotten', ?, NULL, NULL)",
            (row for row in rows if (row[0], row[1]) not in deleted),
        )
        self.store.prune()
        self.store.measure()


def delete(places: Iterable[Place], roots: Iterable[Path]) -> tuple[list[Place], int]:
    """Deletes files below `roots`, real paths of sources. Gives those that are gone, and how many could not be deleted."""
    inside = tuple(os.fsencode(root) + b"/" for root in roots)
    gone, failed = [], 0
    for place in places:
        try:
            if not os.path.realpath(place.whole).startswith(inside):
                raise PermissionError
            os.unlink(place.whole)
            gone.append(place)
        except FileNotFoundError:
            gone.append(place)
        except OSError:
            failed += 1
    return gone, failed


def delete_empty(gone: Iterable[Place], roots: Iterable[Path]) -> int:
    """Deletes the folders below `roots`, real paths of sources, that are empty without these files; returns their number."""
    kept = {*map(os.fsencode, roots)}
    inside, number = tuple(root + b"/" for root in kept), 0
    pending = list(dict.fromkeys(os.path.dirname(place.whole) for place in gone))
    while pending:
        folder = pending.pop()
        there = os.path.realpath(folder)
        with suppress(OSError):  # something else is in it, or it is a link
            if there.startswith(inside) and there not in kept:
                os.rmdir(folder)
                number += 1
                pending.append(os.path.dirname(folder))
    return number
