"""The methods that report on the database: the summary, CSV files, and the geometry of image series."""

import csv
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.index.derived.geometry import ALL, measure_stale, stale
from pyconquest_rules.index.store.schema import quoted
from pyconquest_rules.index.store.store import Store

log = logging.getLogger("pyconquest")

MODALITIES = ("CT", "MR", "PT", "RTSTRUCT", "RTDOSE", "RTPLAN")
# As in pyconquest, a patient without an ID is ''.
SUMMARY = """
WITH counted AS (SELECT coalesce(PatientID, '') AS patient, {sums} FROM series GROUP BY 1)
SELECT coalesce(PatientID, '') AS PatientID, {counts} FROM patients LEFT JOIN counted ON patient = coalesce(PatientID, '')
ORDER BY {orderby}
"""
SUM, COUNT = "sum(Modality = '{0}') AS of{0}", "coalesce(of{0}, 0) AS nr{0}"
WIDTHS = dict(zip(("PatientID", *(f"nr{modality}" for modality in MODALITIES)), (14, 5, 5, 8, 10, 10, 8), strict=True))
HEADING = "    PatientID    nrCT nrMR  nrPT nrRTSTRUCT nrRTDOSE nrRTPLAN\n"

SLICES = ("N_slices", "min_sliceposition", "max_sliceposition", "ScanRange", "SliceThickness", "UniqueSliceDistance")


class ReportMethods(Connection):
    """The part of `pyconquest` that reports on the database."""

    def dicom_series_summary(self, orderby: str = "nrCT", print_summary: bool = True) -> list[dict[str, Any]] | None:
        """Return, and print, the number of series of six modalities for each patient. `orderby` is an ORDER BY of its columns."""
        sums, counts = (", ".join(each.format(modality) for modality in MODALITIES) for each in (SUM, COUNT))
        rows = self.execute_db_query(SUMMARY.format(sums=sums, counts=counts, orderby=orderby))
        if print_summary and rows is not None:
            lines = [
                f"{n!s:<5}" + "".join(str(row[name]).ljust(width) for name, width in WIDTHS.items())
                for n, row in enumerate(rows, 1)
            ]
            sys.stdout.write(HEADING + "".join(f"{line}\n" for line in lines))
        return rows

    def dump_data_to_csv(
        self,
        query: str | None = None,
        table: str | list[str] = "dicomseries",
        filename_dict: Mapping[str, str] | None = None,
        filename: str = "query_dump.csv",
        delimiter: str = ",",
    ) -> None:
        """Write the rows of a query, or of each table, to a CSV file. Without rows there is no file."""
        if isinstance(table, list):
            for name in table:
                self.dump_data_to_csv(table=name, filename_dict=filename_dict, delimiter=delimiter)
        elif query is None:
            name = (filename_dict or {}).get(table, table)
            self._dump(f"SELECT * FROM {table}", f"{name}.csv", delimiter)
        else:
            self._dump(query, filename, delimiter)

    def _dump(self, query: str, filename: str, delimiter: str) -> None:
        rows = self.execute_db_query(query)
        if not rows:
            return
        part = f"{filename}.part"
        with open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, filename)
        log.info("%d rows written to a CSV file", len(rows))

    def analyse_images(self, list_of_seriesuid: str | Sequence[str] | None = None) -> list[str]:
        """Write the geometry of image series, from the table `geometry`, to columns of DICOMSeries.

        Return the series whose slices are not evenly spaced or have no position.
        """
        with self._writing() as store, store.transaction():
            measure_stale(store.connection, stale(store.connection, ALL))
            there = {name.lower() for _, name, *_ in store.connection.execute("PRAGMA table_info(DICOMSeries)")}
            for name in SLICES:
                if name.lower() not in there:
                    store.connection.execute(f"ALTER TABLE DICOMSeries ADD {name} character varying(128)")
            if list_of_seriesuid is None:
                images = "SELECT SeriesInstanceUID FROM series WHERE Modality IN ('CT', 'MR', 'PT')"
                series = [uid for (uid,) in store.connection.execute(images).fetchall()]
            else:
                series = [list_of_seriesuid] if isinstance(list_of_seriesuid, str) else list(list_of_seriesuid)
            return [uid for uid in series if not _analysed(store, unpadded(uid))]


def _analysed(store: Store, series: str) -> bool:
    """Write the geometry of one series. Return whether its slices are evenly spaced."""
    thickness = "max(SliceThickness)" if any(f.name == "SliceThickness" for f in store.schema.level(Level.IMAGE)) else "NULL"
    number, thick = store.connection.execute(
        f"SELECT count(*), {thickness} FROM images WHERE SeriesInstanceUID = ?", (series,)
    ).fetchone()
    if not number:
        log.error("series %s has no images", series)
        return True
    first, last, extent, spacing, even = store.connection.execute(
        "SELECT FirstPosition, LastPosition, ScanRange, SliceSpacing, IsUniform FROM geometry WHERE SeriesInstanceUID = ?",
        (series,),
    ).fetchone() or (None, None, None, None, 0)
    distance = "" if spacing is None else round(spacing, 1)
    names = ", ".join(f"{name} = ?" for name in SLICES)
    store.connection.execute(
        f"UPDATE DICOMSeries SET {names} WHERE {quoted(store.schema.key(Level.SERIES))} = ?",
        (number, first, last, extent, thick, distance, series),
    )
    return bool(even)
