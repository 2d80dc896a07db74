"""The methods that store files in the data directory, copy them out of it, or delete them."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.errors import Refused
from pyconquest_rules.compat.files import copy_into, instances, store_file, take_out, unpacked
from pyconquest_rules.compat.indexing import fill_hashes
from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Error, UsageError

log = logging.getLogger("pyconquest")

Uids = str | Sequence[str]


class FileMethods(Connection):
    """The part of `pyconquest` that handles files."""

    def store_dicom_file(
        self,
        filename: str,
        remove_after_store: bool = False,
        sopinstance_as_filename: bool = False,
        force_patientid: str | None = None,
    ) -> None:
        """Copy a file to `<data directory>/<PatientID>/` and index it. Errors are logged, as in pyconquest.

        If another file has the name, the copy gets a different name. Raises Refused for `force_patientid`.
        """
        if force_patientid is not None:
            raise Refused("force_patientid")
        try:
            with self._writing() as store:
                own = self._opened().own()
                self.last_seriesuid_loaded = store_file(
                    store, self._root(), Path(filename), own, by_uid=sopinstance_as_filename, move=remove_after_store
                )
                if self._compute_hash:
                    fill_hashes(store, self._root())
        except Error as error:
            log.error("a file was not stored: %s", error)

    def store_dicom_files_from_directory(
        self,
        directory_name: str,
        remove_after_store: bool = False,
        sopinstance_as_filename: bool = False,
        unzip: bool = True,
        unzipdir: str = "./unpack",
        force_patientid: str | None = None,
    ) -> int:
        """Store every file below a folder, also from zip files. Return 1, or -1 if there is no such folder.

        Zip files are unpacked in a new folder, inside `unzipdir` if that exists. Other files in it are not touched.
        """
        if force_patientid is not None:
            raise Refused("force_patientid")
        if not os.path.isdir(directory_name):
            log.error("the folder to store files from does not exist")
            return -1
        with self._writing():  # opened once for all files
            for folder, folders, names in os.walk(directory_name):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(folder, name)
                    if unzip and is_zipfile(file):
                        self._store_zip(Path(file), Path(unzipdir), sopinstance_as_filename)
                    else:
                        self.store_dicom_file(file, remove_after_store, sopinstance_as_filename)
        return 1

    def _store_zip(self, archive: Path, below: Path, by_uid: bool) -> None:
        try:
            with unpacked(archive, below) as members:
                for member in members:
                    self.store_dicom_file(str(member), sopinstance_as_filename=by_uid)
        except (OSError, BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, or an unknown method
            log.error("a zip file could not be read completely: %s", type(error).__name__)

    def delete_series(
        self,
        seriesuid: Uids = "",
        query: str | None = None,
        delete_files: bool = False,
        delete_only_files: bool = False,
        mrn: str | None = None,
    ) -> int | tuple[()] | None:
        """Delete series, or a patient `mrn`, from the index. Delete files only with `delete_files` or `delete_only_files`.

        Return, as pyconquest does, 1 for a patient, -1 for a patient with files (which is refused), () for several series.
        """
        delete_files = delete_files or delete_only_files
        if mrn is not None and delete_files:
            log.error("with mrn, files cannot be deleted")
            return -1
        if mrn is not None:
            self._delete(Level.PATIENT, mrn, files=False, rows=True)
            return 1
        if query is not None:
            seriesuid = self._series_of(query)
        with self._writing():  # opened once for all series
            for uid in [seriesuid] if isinstance(seriesuid, str) else seriesuid:
                self._delete(Level.SERIES, uid, files=delete_files, rows=not delete_only_files)
        return None if isinstance(seriesuid, str) else ()

    def _delete(self, level: Level, key: str, *, files: bool, rows: bool) -> None:
        with self._writing() as store:
            take_out(store, instances(store.connection, self._root(), level.key, key), self._root(), files=files, rows=rows)

    def _series_of(self, query: str) -> list[str]:
        rows = self.execute_db_query(query, return_list_from_col="SeriesInst")
        if rows is None:
            raise UsageError("the query for the series failed; see the log")
        return rows

    def copy_dicom_files_to_dest(
        self,
        seriesuid: Uids | None = None,
        query: str | None = None,
        destination: str = "",
        CreateDir: bool = True,
        UseSubDirectories: bool = False,
    ) -> list[str] | int | None:
        """Copy the files of series into a folder, or with `UseSubDirectories` into one subfolder for each patient.

        Return the copies of one series ([] with `UseSubDirectories`), None for several series, -1 if there is neither series nor
        query. If another file has the name, the copy gets a different name. Raises UsageError, NotCopied or Conflict.
        """
        if seriesuid is None and query is None:
            log.error("give a series or a query")
            return -1
        if not destination or not (CreateDir or os.path.isdir(destination)):
            raise UsageError("the destination does not exist; give one, or use CreateDir=True")
        one = isinstance(seriesuid, str)
        wanted = (
            [seriesuid] if isinstance(seriesuid, str) else self._series_of(query) if seriesuid is None and query else seriesuid
        )
        copies: list[str] = []
        for uid in wanted or ():
            found = instances(self.conn_pacs, self._root(), "SeriesInstanceUID", uid)
            copies += copy_into(found, destination, self._root(), self._opened().own(), by_patient=UseSubDirectories)
        return None if not one else [] if UseSubDirectories else [f"{destination}/{name}" for name in copies]

    def get_list_of_filenames(
        self, filename: str | list[str] | None = None, seriesuid: Uids | None = None, studyuid: Uids | None = None
    ) -> list[str] | None:
        """Return the given files, or the files of series or studies in the data directory. Return None without arguments."""
        if filename is not None:
            return filename if isinstance(filename, list) else [filename]
        keys, level = (seriesuid, Level.SERIES) if seriesuid is not None else (studyuid, Level.STUDY)
        if keys is None:
            return None
        uids = [keys] if isinstance(keys, str) else keys
        found = [image for uid in uids for image in instances(self.conn_pacs, self._root(), level.key, uid)]
        return [f"{self.data_directory}/{os.fsdecode(image.path)}" for image in found]
