"""`[[schema.LEVEL]]`: check the columns that the rules add to the index."""

import sqlite3
from collections.abc import Iterator

from pyconquest_rules.dicom import TagPath, tag_path
from pyconquest_rules.errors import MOST_TOLD, Mistake, Problem
from pyconquest_rules.index.conquest.dicom_sql import Layout
from pyconquest_rules.index.store.schema import LEVELS, TABLES, VIEWS, Addition, column_names, schema
from pyconquest_rules.index.store.tables import statements
from pyconquest_rules.rules.model import SchemaTable
from pyconquest_rules.rules.places import Places

MOST = 200  # of a level

# Replaces an invalid tag, so that uses of the column are not errors too.
NO_TAG = TagPath((), 0)


def additions(table: SchemaTable, layout: Layout, places: Places) -> tuple[tuple[Addition, ...], list[Problem]]:
    """Return the columns that the rules add, without those that conflict with another one, and the problems."""
    made, problems = list[Addition](), list[Problem]()
    added_to = {level: columns for level in LEVELS if (columns := getattr(table, level))}
    taken = dict(_taken(layout)) if added_to else {}
    for level, columns in added_to.items():
        for number, added in enumerate(columns):
            place = ("schema", level.value, number)
            if number >= MOST or len(problems) > MOST_TOLD:
                problems.append(places.at_key(place, f"the level {level} has more than {MOST} additional columns"))
                break
            in_view, in_table = (VIEWS[level], added.column.lower()), (TABLES[level], added.column[:10].lower())
            other = taken.get(in_view) or taken.get(in_table)
            if other and other.lower() == added.column.lower():
                message, hint = f'the level {level} already has a column "{other}"', "use that one, or rename this one"
                problems.append(places.at_value((*place, "column"), message, hint))
            elif other:
                message = f'"{added.column}" and "{other}" have the same first 10 characters'
                hint = "rename it: the tables of Conquest keep only 10 characters of a name"
                problems.append(places.at_value((*place, "column"), message, hint))
            else:
                taken |= dict.fromkeys((in_view, in_table), added.column)
                try:
                    tag = tag_path(added.tag)
                except Mistake as mistake:
                    problems.append(places.within((*place, "tag"), mistake))
                    tag = NO_TAG
                made.append(Addition(level, added.column, tag))
    return tuple(made), problems


def _taken(layout: Layout) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the standard columns: the table or view and the column in lower case, and the full name."""
    connection, stock = sqlite3.connect(":memory:", isolation_level=None), schema(layout)
    for statement in statements(stock):
        connection.execute(statement)
    for level in LEVELS:
        full = {field.column: field.name for field in stock.level(level)}
        for table in (TABLES[level], VIEWS[level]):
            for name in column_names(connection, table):
                yield (table, name.lower()), full.get(name, name)
    connection.close()
