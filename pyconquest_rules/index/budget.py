"""What rules may take of a machine: in proportion to the index that they are used on, as rules may be a stranger's."""

from dataclasses import dataclass
from typing import Self

MIB = 1 << 20


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
    def of(cls, size: int) -> Self:
        """The budget for an index of so many bytes. An index has about a thousand images in a MiB."""
        mib = size / MIB
        return cls(
            seconds=4 + mib,
            rows=int(100_000 + 20_000 * mib),
            temporary=12 * MIB + 4 * size,
            plan=12 * MIB + 16 * size,
            tables=12 * MIB + size,
            table_rows=int(300_000 + 20_000 * mib),
        )
