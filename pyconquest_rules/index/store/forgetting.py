"""Forgetting instances: a user removes them from the index although their files exist."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyconquest_rules.answers import Going
from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.store.decisions import Decision
from pyconquest_rules.index.store.obeying import CHOSEN, COVERED, LEFT_OUT, choose
from pyconquest_rules.index.store.schema import LEVELS
from pyconquest_rules.index.store.store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """A file of an instance: its device, its path from the root of the source, and its absolute path."""

    device: str
    path: bytes
    whole: bytes


class Forgetting:
    """Instances chosen in one index, and the decisions to forget them. Use it within a transaction of the store."""

    def __init__(self, store: Store) -> None:
        self.store, self.decisions = store, set[Decision]()
        store.connection.execute(CHOSEN)
        store.connection.execute("DELETE FROM temp.chosen")

    def choose(self, what: str) -> None:
        """Choose by a PatientID or a UID of any level. Raises UsageError if the index does not have it."""
        key, chosen = unpadded(what), 0
        for level in LEVELS:
            rows = self.store.connection.execute(f"SELECT SOPInstanceUID FROM images WHERE {level.key} = ?", (key,)).fetchall()
            if rows:
                self.decisions.add(("forget", level.value, key))
                self.choose_instances(uid for (uid,) in rows)
            chosen += len(rows)
        if not chosen:
            raise UsageError("the index has no such UID or PatientID, and the rules no such set")

    def choose_rows(self, level: Level, keys: Iterable[str], uids: Iterable[str]) -> None:
        """Choose the rows of a set: the keys of its level, and the SOPInstanceUIDs of its instances."""
        self.decisions |= {("forget", level.value, unpadded(key)) for key in keys}
        self.choose_instances(uids)

    def choose_instances(self, uids: Iterable[str]) -> None:
        """Choose by SOPInstanceUIDs, without a decision."""
        self.store.connection.executemany("INSERT OR IGNORE INTO temp.chosen VALUES (?)", ((uid,) for uid in uids))

    def decided(self) -> frozenset[Decision]:
        """Return the decisions. Chosen instances that the decisions on levels above do not cover get one decision each."""
        connection = self.store.connection
        connection.execute("CREATE TEMP TABLE shown AS SELECT SOPInstanceUID FROM temp.chosen")
        connection.execute("DELETE FROM temp.chosen")
        choose(connection, frozenset(self.decisions))
        alone = connection.execute("SELECT SOPInstanceUID FROM temp.shown WHERE SOPInstanceUID NOT IN temp.chosen").fetchall()
        connection.execute("INSERT OR IGNORE INTO temp.chosen SELECT SOPInstanceUID FROM temp.shown")
        connection.execute("DROP TABLE temp.shown")
        return frozenset(self.decisions | {("forget", Level.IMAGE.value, uid) for (uid,) in alone})

    def going(self) -> Going:
        """Return how many patients, studies, series, instances and files are chosen."""
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
        """Return all files of the chosen instances, including duplicates and files in conflict."""
        rows = self.store.connection.execute(
            "SELECT f.device, CAST(f.path AS BLOB), CAST(s.path AS BLOB) FROM rules_files f JOIN rules_sources s USING (device)"
            " WHERE f.SOPInstanceUID IN temp.chosen AND f.outcome != 'skipped' ORDER BY f.device, f.path"
        )
        return (Place(device, path, os.path.join(root, path)) for device, path, root in rows.fetchall())

    def forget(self, gone: Iterable[Place]) -> None:
        """Remove the chosen instances without a decision. Files that are not `gone` are skipped until they change."""
        deleted = {(place.device, place.path) for place in gone}
        rows = self.store.connection.execute(COVERED).fetchall()
        for device, path, *_ in rows:
            self.store.forget(device, path)
        self.store.connection.executemany(LEFT_OUT, (row[:5] for row in rows if row[:2] not in deleted))


def delete(places: Iterable[Place], roots: Iterable[Path]) -> tuple[list[Place], int]:
    """Delete files below `roots`, real paths of sources. Return the files that are gone, and how many could not be deleted."""
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
    """Delete folders below `roots`, real paths of sources, that are empty without these files. Return their number."""
    kept = {*map(os.fsencode, roots)}
    inside, number = tuple(root + b"/" for root in kept), 0
    pending = list(dict.fromkeys(os.path.dirname(place.whole) for place in gone))
    while pending:
        folder = pending.pop()
        there = os.path.realpath(folder)
        with suppress(OSError):  # it is not empty, or it is a link
            if there.startswith(inside) and there not in kept:
                os.rmdir(folder)
                number += 1
                pending.append(os.path.dirname(folder))
    return number
