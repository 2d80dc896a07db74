"""Limits on the resources that rules may use. They are in proportion to the index, because rules may be hostile."""

import sqlite3
from dataclasses import dataclass
from typing import Self

from pyconquest_rules.index.store.schema import column_names

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits for all sets of a plan together, for the plan, and for all CSV tables that are loaded at once.

    `seconds` is the processor time of the sets and of the destinations of a plan, `rows` the number of rows of the sets. The
    others are bytes on the disk: `temporary` for the tables of sets, and as much again while a query runs; `plan` for the
    steps; `tables` for what CSV files add to the index, in at most `table_rows` rows.
    """

    seconds: float
    rows: int
    temporary: int
    plan: int
    tables: int
    table_rows: int

    @classmethod
    def of(cls, index: sqlite3.Connection) -> Self:
        """Return the budget for an index by its number of images, since most of its bytes may be CSV tables.

        A thousand images take about a MiB. The budget never counts more than the bytes of the index, because a hostile index
        may have any row numbers.
        """
        taken = {name.lower() for name in column_names(index, "DICOMImages")}
        # A table layout may have columns with these names. If it has all three, the rows are counted.
        number = next((f"max({name})" for name in ("rowid", "oid", "_rowid_") if name not in taken), "count(*)")
        (images,) = index.execute(f"SELECT coalesce({number}, 0) FROM main.DICOMImages").fetchone()
        page, pages = (int(index.execute(f"PRAGMA main.{name}").fetchone()[0]) for name in ("page_size", "page_count"))
        size = max(0, min(images * KIB, page * pages))
        mib = size / MIB
        return cls(
            seconds=4 + mib,
            rows=int(100_000 + 20_000 * mib),
            temporary=12 * MIB + 4 * size,
            plan=12 * MIB + 16 * size,
            tables=12 * MIB + size,
            table_rows=int(300_000 + 20_000 * mib),
        )
