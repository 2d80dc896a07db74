"""What rules may take of a machine: in proportion to the index that they are used on, as rules may be a stranger's."""

import sqlite3
from dataclasses import dataclass
from typing import Self

from pyconquest_rules.index.store.schema import column_names

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """What all sets of a plan may take together, the plan itself, and all CSV tables that are loaded at once.

    `seconds` of processor time and `rows` are those of sets; `seconds` count for the destinations of a plan too. The others
    are bytes on the disk: `temporary` for tables of sets, and as much again while a query runs; `plan` for its steps;
    `tables` for what CSV files add to the index, in at most `table_rows` rows.
    """

    seconds: float
    rows: int
    temporary: int
    plan: int
    tables: int
    table_rows: int

    @classmethod
    def of(cls, index: sqlite3.Connection) -> Self:
        """The budget for an index, by its images: of its bytes CSV tables of earlier rules may be the most.

        A thousand images take about a MiB. Of an index that came with the rules the row numbers may be anything: it counts for no
        more than its bytes.
        """
        taken = {name.lower() for name in column_names(index, "DICOMImages")}
        # A layout may have columns of these names; of one that has all, all rows are counted.
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
