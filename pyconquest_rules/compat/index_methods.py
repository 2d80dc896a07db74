"""The methods that update the index, and that read single files."""

import logging
import os
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.tag import Tag

from pyconquest_rules.compat import indexing
from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.files import instances
from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.derived.content import digest
from pyconquest_rules.index.store.schema import quoted

log = logging.getLogger("pyconquest")


VARIAN: Any = ("0x3253", "1000")


class IndexMethods(Connection):
    """The part of `pyconquest` that fills the index."""

    def rebuild_database_from_dicom(
        self, mrn: str | None = None, compute_only_missing: bool = True, check_existing: bool = True
    ) -> int:
        """Index new and changed files of the data directory, or of one folder of it. Return the number of files.

        With `compute_only_missing`, files in folders with the name of an indexed patient are not counted, and instances there
        that were deleted from the index stay deleted. `check_existing` has no effect: no instance is indexed twice.
        """
        root = self._root()
        folder = Path(os.path.realpath(root / str(mrn or "")))
        if not folder.is_relative_to(root):
            raise UsageError("mrn must be a folder of the data directory")
        if not folder.is_dir():
            log.error("the folder or the data directory does not exist")
            return 0
        below = os.fsencode(folder.relative_to(root))
        count = 0
        with self._writing() as store:
            present = {patient for (patient,) in store.connection.execute("SELECT coalesce(PatientID, '') FROM patients")}

            def skipped(path: bytes) -> bool:
                return compute_only_missing and os.fsdecode(os.path.dirname(path)) in present

            def examined(path: bytes) -> None:
                nonlocal count
                count += not skipped(path)

            indexing.readmit(store, root, lambda path: skipped(path) or (folder != root and not path.startswith(below + b"/")))
            if folder == root:
                indexing.scan(store, root, self._opened().own(), examined)
            else:
                indexing.scan_folder(store, root, os.fsdecode(below), self._opened().own(), examined)
            if self._compute_hash:
                indexing.fill_hashes(store, root)
        self.database_postprocessing()
        return count

    def database_postprocessing(self) -> None:
        """Do nothing, as in pyconquest 0.1.12."""

    def write_tags(self, ds: Dataset, filename: str = "", check_existing: bool = True) -> None:
        """Index a data set as the file `filename` of the data directory. Raises UsageError if it is not an instance.

        With `check_existing`, an instance that is in the index only gets a new DatabaseTimeStamp.
        """
        with self._writing() as store:
            indexing.add_dataset(store, self._root(), ds, filename, check=check_existing)
            if self._compute_hash:
                indexing.fill_hashes(store, self._root())

    def calculate_robust_hash(self, seriesuid: str = "") -> str | None:
        """Store a digest of the RT object of a series in the column `hash`. Return it, "" if it is not RT, or None if missing."""
        connection, seriesuid = self.conn_pacs, unpadded(seriesuid)
        found = instances(connection, self._root(), "SeriesInstanceUID", seriesuid)
        if not found:
            log.error("series %s has no instance", seriesuid)
            return None
        (modality,) = connection.execute("SELECT Modality FROM series WHERE SeriesInstanceUID = ?", (seriesuid,)).fetchone()
        value = digest(found[0].absolute, modality)
        if value is None:
            log.error("series %s is not a readable RTSTRUCT, RTPLAN or RTDOSE", seriesuid)
            return ""
        with self._writing() as store, store.transaction():
            link = quoted(store.schema.level(Level.IMAGE)[-1].column)
            store.connection.execute(f"UPDATE DICOMImages SET hash = ? WHERE {link} = ?", (value, seriesuid))
        return value

    def read_single_tag(self, filename: str = "", tag: Any = None) -> Any:
        """Return the value of an element of a file, or "". The default `tag` is a private element of Varian plans."""
        dataset = dcmread(filename)
        try:
            return dataset[Tag(VARIAN if tag is None else tag)].value
        except (KeyError, ValueError):
            log.info("the file has no such element")
            return ""
