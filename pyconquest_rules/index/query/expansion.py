"""Sets that `expand` another one: the walk from series to series along references, in both directions.

The walk follows references by UID first, to the end. Then it follows frames of reference of instances that name no UID; what it
finds from there on is a guess. Every step is one statement for all series that the step before found, so nothing is in memory.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.index.store.schema import VIEWS, column_names, quoted

Severity = Literal["error", "warn", "skip"]

VIA = "via"
"""The column of an expanded set that has how a row came into it: `from`, `reference` or `guess`."""

MISSING = " missing"
"""The end of the name of the table that has what the index lacks: each series of the set, and each UID that it names in vain.

The UID is empty if references could not be read.
"""

# A row for each direction; `forward` if `a` names `b`.
LINKS = (
    "CREATE TEMP TABLE {links} (a, b, forward INT, guess INT, PRIMARY KEY (a, b, forward, guess)) WITHOUT ROWID",
    "INSERT OR IGNORE INTO temp.{links} SELECT SeriesInstanceUID, ReferencedSeriesInstanceUID, 1, Method != 'uid'"
    " FROM main.referenced AS r WHERE ReferencedSeriesInstanceUID != SeriesInstanceUID AND (Method = 'uid' OR NOT EXISTS ("
    " SELECT 1 FROM main.rules_references AS n WHERE n.SOPInstanceUID = r.SOPInstanceUID AND n.kind != 'frame')"
    " AND NOT EXISTS (SELECT 1 FROM main.rules_pointers AS n WHERE n.SOPInstanceUID = r.SOPInstanceUID))",
    "INSERT OR IGNORE INTO temp.{links} SELECT SeriesInstanceUID, ReferencedSeriesInstanceUID, 1, 0"
    " FROM main.referenced_instances WHERE ReferencedSeriesInstanceUID != SeriesInstanceUID",
    "INSERT OR IGNORE INTO temp.{links} SELECT b, a, 0, guess FROM temp.{links}",
)

FIND_MISSING = """
INSERT OR IGNORE INTO temp.{missing}
SELECT SeriesInstanceUID, coalesce(ReferencedSOPInstanceUID, ReferencedSeriesInstanceUID) FROM main.referenced
WHERE Method = 'uid' AND SeriesInstanceUID IN (SELECT series FROM temp.{reached}) AND CASE
    WHEN ReferencedSOPInstanceUID IS NOT NULL
        THEN NOT EXISTS (SELECT 1 FROM main.DICOMImages AS i WHERE i.{image} = ReferencedSOPInstanceUID)
    ELSE NOT EXISTS (SELECT 1 FROM main.DICOMSeries AS s WHERE s.{series} = ReferencedSeriesInstanceUID) END
UNION ALL
SELECT SeriesInstanceUID, coalesce(ReferencedSOPInstanceUID, '') FROM main.referenced_instances
WHERE SeriesInstanceUID IN (SELECT series FROM temp.{reached})
    AND NOT EXISTS (SELECT 1 FROM main.DICOMImages AS i WHERE i.{image} = ReferencedSOPInstanceUID)
"""

# The series that name something missing, and all that name these, directly or through others.
# With `+`, SQLite looks up each `b`; without, it would try every reached series for each `a`.
BROKEN = """
INSERT INTO temp.{broken} WITH RECURSIVE found (series) AS (
    SELECT SeriesInstanceUID FROM temp.{missing}
    UNION SELECT l.b FROM found CROSS JOIN temp.{links} AS l ON l.a = found.series
    WHERE NOT l.forward AND +l.b IN (SELECT series FROM temp.{reached}))
SELECT series FROM found
"""

STEP = """
INSERT INTO temp.{reached} SELECT l.b, :distance, :guess{merged}
FROM temp.{reached} AS q CROSS JOIN temp.{links} AS l ON l.a = q.series CROSS JOIN main.series AS s ON s.SeriesInstanceUID = l.b
WHERE q.distance >= :since AND l.guess <= :guess AND l.b NOT IN (SELECT series FROM temp.{reached})
    AND trim(s.Modality) IN ({modalities}) AND l.b NOT IN (SELECT series FROM temp.{broken}) GROUP BY l.b
"""


def carried_columns(connection: sqlite3.Connection, columns: Sequence[str], key: str) -> tuple[str, ...]:
    """Return the columns of a set that its expansion carries over to the rows that it adds.

    A column that describes series or images is not carried: every row has its own value.
    Raises Mistake if the index has no references.
    """
    if not column_names(connection, "referenced"):
        raise Mistake("expand needs the columns Modality and FrameOfReferenceUID of series")
    of_rows = {name for level in (Level.SERIES, Level.IMAGE) for name in column_names(connection, VIEWS[level])}
    own = {name.lower() for name in of_rows - {*column_names(connection, VIEWS[Level.PATIENT])}}
    return tuple(name for name in columns if name != key and name.lower() not in {*own, VIA})


@dataclass(frozen=True, slots=True)
class Expansion:
    """An expanded set. `rows` joins the rows `q` of the set that it begins with to series or images `i`; `carried` are the
    columns that a row gets from there. `image` and `series` are the key columns of the Conquest tables.
    """

    connection: sqlite3.Connection
    name: str
    level: Level
    rows: str
    carried: tuple[str, ...]
    modalities: Sequence[str]
    incomplete: Severity
    image: str
    series: str

    def make(self) -> int:
        """Make the tables "NAME rows" and "NAME missing" and the view NAME. Return the number of rows."""
        temporary = {row[0] for row in self.connection.execute("SELECT name FROM sqlite_temp_master")}
        if "series links" not in temporary:
            for statement in LINKS:
                self._do(statement)
        self._do("CREATE TEMP TABLE {broken} (series)")
        self._walk()
        keys = "SeriesInstanceUID, MissingUID"
        self._do(f"CREATE TEMP TABLE {{missing}} ({keys}, PRIMARY KEY ({keys})) WITHOUT ROWID")
        self._do(FIND_MISSING)
        if self.incomplete == "skip":
            self._do(BROKEN)
            self._do("DROP TABLE temp.{reached}")
            self._walk()
        rows = self._keep()
        for table in ("reached", "broken"):
            self._do(f"DROP TABLE temp.{{{table}}}")
        return rows

    def _do(self, statement: str, **values: int | str) -> sqlite3.Cursor:
        tables = {table: quoted(f"{self.name} {table}") for table in ("reached", "missing", "broken", "rows")}
        named = {f"m{number}": modality for number, modality in enumerate(self.modalities)}
        merged = "".join(f", CASE WHEN count({c}) = count(*) AND min({c}) = max({c}) THEN min({c}) END" for c in self._of("q"))
        text = statement.format(
            **tables,
            links='"series links"',
            modalities=", ".join(f":{name}" for name in named),
            merged=merged,
            image=self.image,
            series=self.series,
        )
        return self.connection.execute(text, {**named, **values} if values else {})

    def _of(self, alias: str) -> list[str]:
        return [f"{alias}.{quoted(column)}" for column in self.carried]

    def _walk(self) -> None:
        """Make the table "NAME reached": the series of the set, each with the carried values of the nearest ones of `rows`.

        A value is NULL if those differ.
        """
        columns = "".join(f", {quoted(column)}" for column in self.carried)
        self._do(f"CREATE TEMP TABLE {{reached}} (series PRIMARY KEY, distance INT, guess INT{columns}) WITHOUT ROWID")
        self._do("CREATE INDEX temp." + quoted(f"{self.name} distance") + f" ON {quoted(f'{self.name} reached')} (distance)")
        self._do(
            f"INSERT INTO temp.{{reached}} SELECT i.SeriesInstanceUID, 0, 0{{merged}} {self.rows}"
            " WHERE i.SeriesInstanceUID NOT IN (SELECT series FROM temp.{broken}) GROUP BY i.SeriesInstanceUID"
        )
        distance = 1
        for guess in (0, 1):
            since = 0
            while self._do(STEP, distance=distance, guess=guess, since=since).rowcount:
                since, distance = distance, distance + 1

    def _keep(self) -> int:
        key, view = self.level.key, VIEWS[self.level]
        own, added = ("".join(f", {column}" for column in self._of(alias)) for alias in ("q", "r"))
        at = f"i.{key}" if self.level is Level.IMAGE else "i.SeriesInstanceUID"
        self._do(
            f"CREATE TEMP TABLE {{rows}} AS SELECT DISTINCT {at} AS {key}, 'from' AS {VIA}{own} {self.rows}"
            " WHERE i.SeriesInstanceUID IN (SELECT series FROM temp.{reached})"
        )
        source, join = "r.series", ""
        if self.level is Level.IMAGE:
            source, join = "i.SOPInstanceUID", " JOIN main.images AS i ON i.SeriesInstanceUID = r.series"
        self._do(
            f"INSERT INTO temp.{{rows}} SELECT {source}, iif(guess, 'guess', 'reference'){added}"
            f" FROM temp.{{reached}} AS r{join} WHERE distance > 0"
        )
        shown = {key.lower(), VIA, *(column.lower() for column in self.carried)}
        described = self.connection.execute(f"SELECT * FROM main.{view} LIMIT 0").description
        others = "".join(f", v.{quoted(column)}" for column, *_ in described if column.lower() not in shown)
        carried = "".join(f", {column}" for column in self._of("r"))
        self.connection.execute(
            f"CREATE TEMP VIEW {quoted(self.name)} AS SELECT r.{key}, r.{VIA}{carried}{others}"
            f" FROM temp.{quoted(f'{self.name} rows')} AS r JOIN main.{view} AS v ON v.{key} = r.{key}"
        )
        return int(self._do("SELECT count(*) FROM temp.{rows}").fetchone()[0])
