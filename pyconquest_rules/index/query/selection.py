"""Named sets: the queries of a rules file over an index, and the instances that their rows select."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Any

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import DatabaseError, Mistake, did_you_mean
from pyconquest_rules.index.derived import contradictions
from pyconquest_rules.index.query import sql
from pyconquest_rules.index.query.clock import check_clock
from pyconquest_rules.index.query.deadline import Deadline
from pyconquest_rules.index.query.expansion import MISSING, VIA, Expansion, Severity, carried_columns
from pyconquest_rules.index.query.guard import FUNCTIONS
from pyconquest_rules.index.query.sql_mistakes import explained, table_names
from pyconquest_rules.index.store.budget import Budget
from pyconquest_rules.index.store.read_only import limit_temporary
from pyconquest_rules.index.store.schema import PATIENT_ID, VIEWS, Schema, column_names, quoted
from pyconquest_rules.index.store.views import patient_of_images
from pyconquest_rules.steps import Selected

DEEPEST = 50

SECONDS_OF_A_SET = 0.005
"""The time that compiling a set adds to the budget of all sets."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A set: a query whose rows have the key of a level, a condition on the view of the level, or an expanded set."""

    name: str
    level: Level
    query: str | None
    where: str | None
    params: sql.Values
    source: str | None = None
    expand: tuple[str, ...] = ()
    incomplete: Severity = "error"

    @property
    def text(self) -> str:
        """The SQL as the user wrote it; "" if there is none."""
        return self.query if self.query is not None else self.where or ""


class SetMistake(Mistake):
    """An error in the SQL of the set `name`. `stopped` are the sets that cannot be made because of it, including `name`."""

    def __init__(self, name: str, mistake: Mistake, stopped: Sequence[str]) -> None:
        super().__init__(mistake.message, fragment=mistake.fragment, hint=mistake.hint)
        self.name, self.mistake, self.stopped = name, mistake, tuple(stopped)

    def __str__(self) -> str:
        """Return the message with the name of the set, for callers without the position in the rules file."""
        return f'the set "{self.name}": {self.message}'


class Sets:
    """The sets of a rules file on one read-only connection. Each set is made once, as a temporary table or view of its name."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        schema: Schema,
        selections: Mapping[str, Selection],
        budget: Budget,
        seconds: float = sql.SECONDS,
    ) -> None:
        """`budget` limits all sets together, `seconds` limits each query."""
        self.connection, self.schema, self.selections, self.seconds = connection, schema, selections, seconds
        self.budget = budget
        self.left, self._rows_left, self._began = budget.seconds + SECONDS_OF_A_SET * len(selections), budget.rows, 0.0
        limit_temporary(connection, budget.temporary)
        self.columns: dict[str, tuple[str, ...]] = {}
        self._making: list[str] = []

    def make(self, name: str) -> tuple[str, ...]:
        """Make a set and the sets that its query names. Return its columns.

        Raises SetMistake if a query is invalid, does not select the key of its level, or refers to its own set.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self._making:
            ring = [*self._making[self._making.index(name) :], name]
            raise Mistake(f'the set "{name}" refers to itself', fragment=name, hint=" → ".join(ring))
        if len(self._making) >= DEEPEST:
            raise Mistake(f"more than {DEEPEST} sets refer to each other in a row", fragment=name)
        if not self._making:
            self._began = thread_time()
        self._making.append(name)
        try:
            selection = self.selections[name]
            check_clock(selection.text)
            if selection.source is not None:
                self.columns[name] = self._by_expansion(selection, selection.source)
            elif selection.query is not None:
                self.columns[name] = self._by_query(selection)
            else:
                self.columns[name] = self._by_condition(selection)
        except SetMistake:
            raise
        except Mistake as mistake:
            raise SetMistake(name, mistake, self._making) from None
        finally:
            self._making.pop()
            if not self._making:
                self.left -= thread_time() - self._began
        return self.columns[name]

    def counted(self, table: str, query: str, params: sql.Values, first: int) -> tuple[tuple[str, ...], int, tuple[sql.Row, ...]]:
        """Return the columns, the number of rows, and the `first` rows of a query, within the budget of all sets.

        The rows are kept as the temporary table `table`. Raises Mistake for every error of the query.
        """
        self._began = thread_time()
        check_clock(query)
        self.make_named(query, params)
        self._began, limits = thread_time(), self._limits()
        columns = sql.names(self.connection, query, params, limits.seconds, limits.space)
        names, rows = sql.fill(self.connection, table, columns, query, params, limits)
        self._rows_left -= rows
        self.left -= thread_time() - self._began
        found = self.connection.execute(f"SELECT * FROM temp.{quoted(table)} ORDER BY rowid LIMIT ?", (first,))
        return names, rows, tuple(found.fetchall())

    def _limits(self) -> sql.Limits:
        """Return the limits of the next query. Raises Mistake if the sets have used up their time."""
        left = self.left - (thread_time() - self._began)
        if left <= 0:
            hint = "a join without a condition takes longest; a larger index may take longer"
            raise Mistake("the sets take too long together", hint=hint)
        return sql.Limits(min(self.seconds, left), self._rows_left, self.budget.temporary)

    def _fill(self, table: str, columns: Sequence[str], query: str, params: sql.Values) -> tuple[str, ...]:
        names, rows = sql.fill(self.connection, table, columns, query, params, self._limits())
        self._rows_left -= rows
        return names

    def make_named(self, text: str, params: sql.Values, before: str = "") -> None:
        """Make every set that the query `before` + `text` names, and compile the query.

        Raises Mistake for a name that is neither a table nor a set, and for every other error of the query.
        """
        while (table := sql.unknown_table(self.connection, text, params, before)) is not None:
            name = table.lower().removesuffix(MISSING)
            if name not in self.selections or name in self.columns:
                known = [*table_names(self.connection), *self.selections]
                hint = did_you_mean(table, known) or f"tables are: {', '.join([*VIEWS.values(), *self.selections])}"
                raise Mistake(f'unknown table "{table}"', fragment=table, hint=hint)
            self.make(name)

    def _by_query(self, selection: Selection) -> tuple[str, ...]:
        self.make_named(selection.text, selection.params)
        limits = self._limits()
        columns = sql.names(self.connection, selection.text, selection.params, limits.seconds, limits.space)
        self.key(selection.level, columns)
        columns = self._fill(selection.name, columns, selection.text, selection.params)
        key, target = self.key(selection.level, columns)
        if target == selection.level.key:  # a query or a CSV file may have keys with padding, the index has none
            trim = f"UPDATE temp.{quoted(selection.name)} SET {quoted(key)} = trim({quoted(key)})"
            self.connection.execute(f"{trim} WHERE {quoted(key)} GLOB ' *' OR {quoted(key)} GLOB '* '")
        return columns

    def _by_condition(self, selection: Selection) -> tuple[str, ...]:
        """Store the keys once, since a view has no parameters; the view of the set's name has every column of its level."""
        view, key, keys = VIEWS[selection.level], selection.level.key, f"{selection.name} keys"
        self.make_named(selection.text, selection.params, f"SELECT {key} FROM main.{view} WHERE\n")
        query = f"SELECT {key} FROM main.{view} WHERE (\n{selection.text}\n)"
        self._fill(keys, [key], query, selection.params)
        shown = f"coalesce({key}, '')" if selection.level is Level.PATIENT else key
        chosen = f"SELECT {shown} FROM temp.{quoted(keys)}"
        self.connection.execute(
            f"CREATE TEMP VIEW {quoted(selection.name)} AS SELECT * FROM main.{view} WHERE {shown} IN ({chosen})"
        )
        return tuple(column_names(self.connection, view))

    def _by_expansion(self, selection: Selection, source: str) -> tuple[str, ...]:
        """Store the rows once; the view of the set's name has every column of its level too."""
        if source not in self.selections:
            hint = did_you_mean(source, self.selections) or f"sets are: {', '.join(self.selections)}"
            raise Mistake(f'unknown set "{source}"', fragment=source, hint=hint)
        columns, rows = self._rows(source)
        key, target = self.key(self.selections[source].level, columns)
        of_series = target in (Level.SERIES.key, Level.STUDY.key) and selection.level is Level.SERIES
        join = f" JOIN main.series AS i ON i.{target} = q.{quoted(key)}" if of_series else self._images(key, target)
        carried, limits = carried_columns(self.connection, columns, key), self._limits()
        image, series = (quoted(self.schema.key(level)) for level in (Level.IMAGE, Level.SERIES))
        expansion = Expansion(
            *(self.connection, selection.name, selection.level, f"FROM {rows} AS q{join}", carried),
            *(selection.expand, selection.incomplete, image, series),
        )
        with explained(self.connection, "", {}, FUNCTIONS), Deadline(self.connection, limits.seconds, limits.space):
            self._rows_left -= expansion.make()
        return (selection.level.key, VIA, *carried)

    def key(self, level: Level, columns: Sequence[str]) -> tuple[str, str]:
        """Return the column that has the key of the level, and the name of that column in the view `images`.

        Names of the Conquest tables are known too: `SeriesInst`, `ImagePat`, and for images `ObjectFile`. Raises Mistake if there
        is no such column.
        """
        known = {level.key: level.key, self.schema.key(level): level.key}
        if level is Level.PATIENT:
            known |= {f.column: level.key for at in Level for f in self.schema.level(at) if f.tag == PATIENT_ID}
        if level is Level.IMAGE:
            known |= {"ObjectFile": "ObjectFile"}
        by_fold = {column.lower(): column for column in reversed(columns)}
        for name, target in known.items():
            if name.lower() in by_fold:
                return by_fold[name.lower()], target
        others = [f', or set level = "{at}"' for at in Level if at.key.lower() in by_fold]
        hint = f"select {level.key}{''.join(others[-1:])}"
        raise Mistake(f"the query does not select {level.key}, the key of the level {level}", hint=hint)

    def _rows(self, name: str) -> tuple[tuple[str, ...], str]:
        """Return the columns of the table that stores a set, and the name of that table."""
        columns = self.make(name)
        if self.selections[name].query is not None:
            return columns, f"temp.{quoted(name)}"
        if self.selections[name].source is not None:
            return columns, f"temp.{quoted(f'{name} rows')}"
        return (self.selections[name].level.key,), f"temp.{quoted(f'{name} keys')}"

    def known(self, uids: Collection[str], *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of the view `images` for the instances of `uids` that the index has, series by series."""
        query = (
            f"SELECT {', '.join(columns)} FROM images WHERE SOPInstanceUID IN (SELECT value FROM json_each(?))"
            " ORDER BY StudyInstanceUID, SeriesInstanceUID"
        )
        return self.connection.execute(query, (json.dumps([*uids]),)).fetchall()

    def instances(self, name: str, names: Sequence[str]) -> Iterator[Selected]:
        """Yield the instances of every row of a set, with the values of `names`: columns of the set, else of the view `images`.

        Raises DatabaseError if the index has a path outside its source.
        """
        columns, rows = self._rows(name)
        key, target = self.key(self.selections[name].level, columns)
        own = {column.lower(): column for column in columns}
        values = [f"q.{quoted(own[n.lower()])}" if n.lower() in own else f"i.{quoted(n)}" for n in names]
        # Paths are bytes. The root "/" ends in a slash already.
        source = "CAST(CASE s.path WHEN '/' THEN '' ELSE s.path END || '/' || f.path AS BLOB)"
        found = self.connection.execute(
            f"SELECT i.SOPInstanceUID, {source}, f.size, f.mtime_ns{''.join(f', {value}' for value in values)}"
            f" FROM {rows} AS q{self._images(key, target)}"
            " JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile"
            " JOIN rules_sources AS s ON s.device = f.device"
        )
        for row in found:
            if row[1] is None or (b"/.." in row[1] and b".." in row[1].split(b"/")):
                raise DatabaseError(
                    "the index has a path outside its source: another program changed it; delete it and index again"
                )
            yield row

    def keys(self, name: str) -> tuple[Level, list[str]]:
        """Return the level of a set, and the keys of its rows that are in the index; for rows of files, SOPInstanceUIDs."""
        columns, rows = self._rows(name)
        level = self.selections[name].level
        key, target = self.key(level, columns)
        query = f"SELECT DISTINCT i.{level.key} FROM {rows} AS q JOIN images AS i ON i.{target} = q.{quoted(key)}"
        return level, [str(value) for (value,) in self.connection.execute(query) if value is not None]

    def holds(self, SOPInstanceUID: str, name: str) -> bool:
        """Return whether a set selects an instance."""
        columns, rows = self._rows(name)
        key, target = self.key(self.selections[name].level, columns)
        found = self.connection.execute(
            f"SELECT 1 FROM {rows} AS q{self._images(key, target)} WHERE i.SOPInstanceUID = ? LIMIT 1",
            (SOPInstanceUID,),
        )
        return found.fetchone() is not None

    def _images(self, key: str, target: str) -> str:
        """Return the join of the rows `q` of a set with their images `i`. Images without a PatientID belong to one patient."""
        if target != Level.PATIENT.key:
            return f" JOIN images AS i ON i.{target} = q.{quoted(key)}"
        of_patient = f" JOIN ({patient_of_images(self.schema)}) AS o ON o.PatientID = coalesce(q.{quoted(key)}, '')"
        return f"{of_patient} JOIN images AS i ON i.SOPInstanceUID = o.SOPInstanceUID"

    def brought_along(self, name: str) -> int:
        """Return how many instances a set of studies or series selects whose PatientID is not that of their study or series.

        A set of patients or images selects by the PatientID or UID that instances hold themselves.
        """
        level = self.selections[name].level
        if level not in (Level.STUDY, Level.SERIES):
            return 0
        columns, rows = self._rows(name)
        key, _ = self.key(level, columns)
        return contradictions.brought_along(self.connection, level, f"SELECT {quoted(key)} FROM {rows}")
