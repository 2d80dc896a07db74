"""`[select.NAME]`: check the queries of sets by running them on an empty index."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from time import thread_time

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.index.query.selection import Selection, SetMistake, Sets
from pyconquest_rules.index.query.sql import Values
from pyconquest_rules.index.query.sql_mistakes import TABLE_NAMES
from pyconquest_rules.index.store.budget import Budget
from pyconquest_rules.index.store.csv_tables import CsvTable
from pyconquest_rules.index.store.read_only import set_up
from pyconquest_rules.index.store.schema import VIEWS, Schema, column_names
from pyconquest_rules.rules.fields import Marked, Statement
from pyconquest_rules.rules.misplaced import in_sql
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.problems import Problems
from pyconquest_rules.rules.select import form_problems, level_of

# Limits for one query and for all queries of the file, although the index is empty.
SECONDS, MOST_SECONDS = 1.0, 5.0


def empty_index(statements: Iterator[str]) -> sqlite3.Connection:
    """Return an empty index in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    set_up(connection)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


class CheckedSets:
    """The sets of a rules file. `broken` are the sets and tables with errors; whatever uses them is not checked."""

    def __init__(
        self,
        rules_file: RulesFile,
        places: Places,
        connection: sqlite3.Connection,
        schema: Schema,
        tables: Sequence[CsvTable],
    ) -> None:
        self._selects, self._places, self._connection, self._tables = rules_file.select, places, connection, tables
        self.selections = {
            name: Selection(
                *(name, level_of(name, rules_file.select), select.query, select.where),
                {TODAY: "", **rules_file.vars, **select.params},
                *(select.from_, select.expand, select.incomplete or "error"),
            )
            for name, select in rules_file.select.items()
        }
        self.sets = Sets(connection, schema, self.selections, Budget.of(connection), SECONDS)
        self.broken = {*places.names("select"), *places.names("tables")} - {*self.selections, *self._made()}
        self._params: Values = {TODAY: "", **rules_file.vars}
        self._left = MOST_SECONDS

    def check(self, problems: Problems, *, all_broken: bool) -> None:
        """Append the problems of the queries. `all_broken`: the columns of the index are unknown, so no query is tried."""
        if all_broken:
            self.broken |= {*self.selections}
        if not problems.enough:
            for name in self.selections:
                self._check(name, problems)

    def check_statements(self, found: Iterable[Marked], problems: Problems) -> None:
        """Append the problems of the SQL in the tables of kinds. The sets have been checked."""
        for place, marker, text in found:
            if not isinstance(marker, Statement) or in_sql(text) or problems.enough or self._left <= 0:
                continue
            began = thread_time()
            try:
                self.sets.counted(".".join(map(str, place)), text, self._params, 0)
            except SetMistake:
                pass  # the set has the error, and it is reported there
            except Mistake as mistake:
                if mistake.fragment not in self.broken:
                    problems.append(self._places.within(place, self.discreet(mistake)))
            self._left -= thread_time() - began

    def columns(self, name: str) -> tuple[str, ...] | None:
        """Return the columns that the query of a set returns; None if the set is unknown or broken."""
        return tuple(self.sets.make(name)) if name in {*self.selections} - self.broken else None

    def knows(self, *names: str | None) -> bool:
        """Whether the sets and CSV tables of these names are valid, as far as they are named."""
        return self._left > 0 and {*names} - {None} <= {*self.selections, *self._made()} - self.broken

    def is_query(self, name: str) -> bool:
        """Whether a set has columns of its own: it has a `query` or a `from`, rather than a `where`."""
        return self.selections[name].where is None

    def level_of(self, name: str, column: str) -> Level | None:
        """Return the level of a name in a template for a set; None for a column of its query, and for an unknown name."""
        if self.is_query(name) and column.lower() in map(str.lower, self.columns(name) or ()):
            return None
        return self._levels.get(column)

    @cached_property
    def _levels(self) -> dict[str, Level]:
        """The level of each column of a view: a view has the columns of those above it too."""
        return {column: level for level in reversed(VIEWS) for column in column_names(self._connection, VIEWS[level])}

    @cached_property
    def columns_of_images(self) -> list[str]:
        """The columns of the view of images. Compiling a query of the view would take as long as all other checks together."""
        return column_names(self._connection, VIEWS[Level.IMAGE])

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The columns of CSV files that may not be tables but secrets. Messages never show them."""
        unshown = [table.name for table in self._tables if not table.shows_columns]
        return frozenset(name for table in unshown for name in column_names(self._connection, table))

    def _check(self, name: str, problems: Problems) -> None:
        select, place = self._selects[name], ("select", name)
        if wrong := [*form_problems(name, self._selects, self._places)]:
            problems += wrong
            self.broken.add(name)
        elif self._is_table(name):
            problems.append(self._places.at_key(place, f'the index already has a table "{name}"', "rename the set"))
            self.broken.add(name)
        elif in_sql(select.query or select.where or ""):
            self.broken.add(name)
        elif name not in self.broken:
            self._make(name, problems)

    def _made(self) -> set[str]:
        return {name for (name,) in self._connection.execute(TABLE_NAMES)}

    def _is_table(self, name: str) -> bool:
        if name in self.sets.columns:
            return False
        taken = self._connection.execute(f"SELECT 1 FROM ({TABLE_NAMES}) WHERE lower(name) = ?", (name,))
        return name.startswith("sqlite_") or taken.fetchone() is not None

    def _make(self, name: str, problems: Problems) -> None:
        """Create the view of a set, and of the sets that it needs. An error is reported once, in the set that has it."""
        if self._left <= 0 or problems.enough:
            self.broken.add(name)
            return
        began = thread_time()
        try:
            self.sets.make(name)
        except SetMistake as mistake:
            is_known = mistake.name in self.broken or mistake.fragment in self.broken
            self.broken |= {*mistake.stopped}
            if not is_known:
                wrong = self._selects[mistake.name]
                key = "from" if wrong.from_ is not None else "query" if wrong.query is not None else "where"
                problems.append(self._places.within(("select", mistake.name, key), self.discreet(mistake.mistake)))
        self._left -= thread_time() - began
        if self._left <= 0:
            message = f"checking the sets up to this one takes more than {MOST_SECONDS:g} seconds; the others are not checked"
            problems.append(self._places.at_key(("select", name), message))

    def discreet(self, mistake: Mistake) -> Mistake:
        """Return the mistake without its hint if the hint shows a hidden column."""
        if any(f'"{column}"' in (mistake.hint or "") for column in self.hidden):
            mistake.hint = None
        return mistake
