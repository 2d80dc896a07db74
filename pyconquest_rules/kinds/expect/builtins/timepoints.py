"""`timepoints`: a set has everything that the rows of a CSV table demand."""

from pyconquest_rules.errors import did_you_mean
from pyconquest_rules.index.query.membership import indexed
from pyconquest_rules.index.store.schema import column_names, quoted
from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, KeyMistake, Query

TEXT = "trim(CAST(coalesce({}, '') AS TEXT))"

QUERY = """
SELECT {shown}, 'the set has no such row' AS problem
FROM {table} AS d WHERE ({demanded}) NOT IN (SELECT {found} FROM {on} AS q WHERE {indexed})
"""


def _query(given: Given) -> Query:
    """Return the query. Raises KeyMistake if the table has no key, or the set lacks a column of it."""
    table, on = given.expect.table or "", given.on
    columns = given.keys.get(table, ())
    if not columns:
        raise KeyMistake(
            "table", f'the table "{table}" has no key', f'name what it demands in [tables.{table}]: key = ["subject", …]'
        )
    of_set = {column.lower(): column for column in given.sets.make(on)}
    if lacks := [column for column in columns if column.lower() not in of_set]:
        returned = f"the set must return the key of [tables.{table}]: {', '.join(columns)}"
        hint = did_you_mean(lacks[0], of_set.values()) or returned
        raise KeyMistake("on", f'the set "{on}" has no column "{lacks[0]}"', hint)
    shown = ", ".join(f"d.{quoted(column)}" for column in column_names(given.sets.connection, table))
    demanded, found = (
        ", ".join(TEXT.format(f"{alias}.{quoted(column)}") for column in of)
        for alias, of in (("d", columns), ("q", [of_set[column.lower()] for column in columns]))
    )
    parts = {"shown": shown, "demanded": demanded, "found": found, "indexed": indexed(given.sets, on, "q")}
    return Query(QUERY.format(table=quoted(table), on=quoted(on), **parts), {})


TIMEPOINTS = Builtin(_query, needs=("on", "table"))
