"""`[[schema.LEVEL]]`: the columns that the rules add to the index."""

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

# Stands in for a tag that is wrong: what uses the column is right all the same.
NO_TAG = TagPath((), 0)


def additions(table: SchemaTable, layout: Layout, places: Places) -> tuple[tuple[Addition, ...], list[Problem]]:
    """The columns that the rules add, without those that clash with another, and what is wrong with them."""
    made, problems = list[Addition](), list[Problem]()
    added_to = {level: columns for level in LEVELS if (columns := getattr(table, level))}
    taken = dict(_taken(layout)) if added_to else {}
    for level, columns in added_to.items():
        for number, added in enumerate(columns):
            place = ("schema", level.value, number)
            if number >= MOST or len(problems) > MOST_TOLD:
                problems.append(places.at_key(place, f"the level {level} gets more than {MOST} columns"))
                break
            in_view, in_table = (VIEWS[level], added.column.lower()), (TABLES[level], added.column[:10].lower())
            other = taken.get(in_view) or taken.get(in_table)
            if other and other.lower() == added.column.lower():
                message, hint = f'the level {level} has a column "{other}" already', "use that one, or call this one otherwise"
                problems.append(places.at_value((*place, "column"), message, hint))
            elif other:
                message = f'"{added.column}" and "{other}" are the same in their first 10 letters'
                hint = "that is all that the tables of Conquest keep of a name"
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
    """The columns that tables and views have without the rules: table and column in small letters, and the name in full."""
    connection, stock = sqlite3.connect(":memory:", isolation_level=None), schema(layout)
    for statement in statements(stock):
        connection.execute(statement)
    for level in LEVELS:
        full = {field.column: field.name for field in stock.level(level)}
        for table in (TABLES[level], VIEWS[level]):
            for name in column_names(connection, table):
                yield (table, name.lower()), full.get(name, name)
    connection.close()
