"""A plan is rows in SQLite: it may be larger than memory, it can be saved, and conflicts are found by SQL."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

from pyconquest_rules.answers import Asserted, Finding
from pyconquest_rules.content import Assembled, Assembler, Content, OfInstance, Part, Recipe, Stamp, Transformed, Verbatim
from pyconquest_rules.engine.plan_tables import ANSWERED, PARTS, RANK, STEPS, TABLES
from pyconquest_rules.engine.requested import AtNode, Files, FromNode, Requested
from pyconquest_rules.paths import collision_key, remembered
from pyconquest_rules.steps import (
    Mode,
    Operation,
    PutFile,
    Reason,
    RemoveFile,
    Request,
    RetrieveInstance,
    SendInstance,
    Series,
    Status,
    Step,
)


class Plan:
    """The steps of the actions that were asked for, in the order in which they will be done.

    `findings` are problems of the plan as a whole, `asserted` the results of assertions, `differs` whether it is not what was
    locked, if that is known. Neither they nor the `recipes`, which are known by their names, are saved: a plan that was loaded
    gets those of one that was just made. `held` are actions whose steps are to be blocked, and why.
    """

    def __init__(self) -> None:
        """Make an empty plan, in a temporary file that disappears with it."""
        # Executors read the parts of files in their own threads. SQLite takes one call after the other.
        self.connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.findings: tuple[Finding, ...] = ()
        self.asserted: tuple[Asserted, ...] = ()
        self.differs: bool | None = None
        self.recipes: dict[str, Recipe | Assembler] = {}
        self.held: dict[str, str] = {}
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executescript(TABLES)
        self.connection.execute("PRAGMA cache_size = -32768")
        self._folder = remembered(self._noted)
        self._series = remembered(self._noted_series)
        self.recipe = remembered(self._noted_recipe)

    def __enter__(self) -> "Plan":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def limit(self, most: int) -> None:
        """Let the plan grow by `most` bytes, and its temporary tables by half of that. What it has may double when decided."""
        size, pages = (self.connection.execute(f"PRAGMA main.{name}").fetchone()[0] for name in ("page_size", "page_count"))
        number = 2 * pages + most // size
        self.connection.execute(f"PRAGMA main.max_page_count = {number}")
        self.connection.execute(f"PRAGMA temp.max_page_count = {number // 2}")

    def add_action(self, name: str, requested: Requested, fingerprint: str) -> None:
        """Add an action. Actions are done in the order in which they are added.

        `fingerprint` changes whenever what the action delivers of an instance may, apart from what recipes make of it.
        """
        match requested:
            case Files(mode, on_conflict, on_changed, prune):
                row: tuple[object, ...] = ("file", fingerprint, mode, on_conflict, on_changed, prune, None, None, None)
            case AtNode(node, confirm):
                row = ("instance", fingerprint, None, None, None, None, node, confirm, None)
            case FromNode(node, into):
                row = ("arrival", fingerprint, None, None, None, None, node, None, into)
        self.connection.execute("INSERT INTO action VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (name, *row))

    def add(self, action: str, requests: Iterable[Request]) -> int:
        """Add the requests of an action. Return how many requests there are now."""
        (number,) = self.connection.execute("SELECT number FROM action WHERE name = ?", (action,)).fetchone()
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO request VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._row(number, request) for request in requests),
        )
        self.connection.execute("COMMIT")
        return int(self.connection.execute("SELECT max(number) FROM request").fetchone()[0] or 0)

    def _row(self, action: int, request: Request) -> tuple[object, ...]:
        uid, source, size, mtime_ns, folder, name, written, reason, message, series, applied, parts = request
        number, of = self._folder(folder, written) if name else 0, self._series(series) if series else 0
        recipe, delivered = (0, None) if applied is None else (self.recipe(*applied), applied.recipe.uid(uid))
        key = collision_key(name)
        return (action, uid, source, size, mtime_ns, number, name, key, reason, message, of, recipe, delivered, parts)

    def _noted(self, path: str, written: str) -> int:
        """Add a folder, mostly once: the requests for it follow each other. Return its number."""
        insert = "INSERT INTO folder (path, written, key) VALUES (?, ?, ?)"
        return self.connection.execute(insert, (path, written, collision_key(path))).lastrowid or 0

    def _noted_series(self, series: Series) -> int:
        """Add a series, once as long as its requests follow each other. Return its number."""
        return self.connection.execute("INSERT INTO series VALUES (NULL, ?, ?, ?, ?)", series).lastrowid or 0

    def _noted_recipe(self, recipe: Recipe | Assembler, identity: str) -> int:
        """Add a recipe as it is applied, once as long as such requests follow each other. Return its number."""
        self.recipes[recipe.name] = recipe
        insert = "INSERT INTO recipe (name, identity) VALUES (?, ?)"
        return self.connection.execute(insert, (recipe.name, identity)).lastrowid or 0

    def content(self, source: bytes, stamp: Stamp, recipe: str, identity: str = "", parts: int = 0) -> Content:
        """Return what is delivered. `recipe` is the name of a recipe of this plan, or "", `parts` the number of a group, or 0."""
        if not recipe:
            return Verbatim(source, stamp)
        match self.recipes[recipe]:
            case Assembler() as assembler:
                return Assembled(stamp, assembler, identity, partial(self.parts, parts))
            case one:
                return Transformed(source, stamp, one)

    def of_instance(self, source: bytes, stamp: Stamp, recipe: str) -> OfInstance:
        """Return what is delivered of one instance. Raises TypeError if it is made of many."""
        content = self.content(source, stamp, recipe)
        if isinstance(content, Assembled):
            raise TypeError(f"{recipe} makes nothing of a single instance")
        return content

    def parts(self, parts: int) -> Iterator[Part]:
        """Yield the parts of a group, by name."""
        for name, uid, source, size, mtime_ns, *how, action in self.connection.execute(PARTS, (parts,)):
            yield Part(name, uid, self.content(source, Stamp(size, mtime_ns), *how), action)

    def steps(
        self, *, action: str | None = None, status: Status | None = None, instances: Sequence[str] | None = None
    ) -> Iterator[Step]:
        """Return the steps, in the order of actions and, within an action, of requests."""
        asked = {
            "action.name = ?": action,
            "step.status = ?": status,
            "request.SOPInstanceUID IN (SELECT value FROM json_each(?))": None if instances is None else json.dumps(instances),
        }
        where = " AND ".join(condition for condition, value in asked.items() if value is not None)
        rows = self.connection.execute(
            f"{STEPS} {'WHERE ' + where if where else ''} ORDER BY step.number",
            [value for value in asked.values() if value is not None],
        )
        return (self._step(row) for row in rows)

    def steps_with(self, instances: Sequence[str]) -> Iterator[tuple[str, str, Step]]:
        """Yield the steps of files that have instances as parts: after the SOPInstanceUID and the name of the part."""
        rows = self.connection.execute(
            f"SELECT part.SOPInstanceUID, part.name, whole.* FROM ({STEPS}) AS whole JOIN request AS of USING (number)"
            " JOIN part ON part.parts = of.parts WHERE part.SOPInstanceUID IN (SELECT value FROM json_each(?))"
            " ORDER BY whole.number, part.number",
            (json.dumps(instances),),
        )
        return ((uid, name, self._step(tuple(row))) for uid, name, *row in rows)

    def _step(self, row: tuple[Any, ...]) -> Step:
        number, action, uid, status, reason, message, fingerprint, *rest = row
        return Step(number, action, uid, Status(status), Reason(reason), message, fingerprint, self._operation(reason, *rest))

    def _operation(
        self, reason: str, kind: str, source: bytes, size: int, mtime_ns: int, recipe: str, identity: str, parts: int, *rest: Any
    ) -> Operation:
        mode, node, destination, there_size, there_mtime_ns, into, *series, sha256, forget = rest
        stamp = Stamp(size, mtime_ns)
        if sha256 is not None:
            return RemoveFile(source, stamp, destination, sha256, bool(forget))
        match kind:
            case "arrival":
                return RetrieveInstance(node, Series(*series), into)
            case "instance":
                return SendInstance(self.of_instance(source, stamp, recipe), node, reason == Reason.UNCONFIRMED)
        there = None if there_size is None else Stamp(there_size, there_mtime_ns)
        content = self.content(source, stamp, recipe, identity, parts)
        return PutFile(Mode(mode), content, destination, there, reason == Reason.ADOPT)

    def by_weight(self) -> Iterator[Step]:
        """Yield the steps that are not unchanged: blocked ones first, then changed destinations; sorted by destination."""
        order = f"{RANK}, action.number, destination, request.SOPInstanceUID"
        rows = self.connection.execute(f"{STEPS} WHERE step.status != 'unchanged' ORDER BY {order}")
        return (self._step(row) for row in rows)

    def instances_at(self, destination: str, most: int) -> list[str]:
        """Return the SOPInstanceUIDs of the instances that are requested at a destination, or as parts of the file there."""
        at = "FROM request JOIN folder ON folder.number = request.folder"
        rows = self.connection.execute(
            f"SELECT request.SOPInstanceUID {at} WHERE path || request.name = ?1 AND parts = 0"
            f" UNION SELECT part.SOPInstanceUID {at} JOIN part USING (parts) WHERE path || request.name = ?1 LIMIT ?2",
            (destination, most),
        )
        return [uid for (uid,) in rows]

    def without(self, destinations: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield those of some destinations at which nothing would be put, and why. May be called once."""
        self.connection.execute("CREATE TEMP TABLE asked (destination TEXT PRIMARY KEY, status TEXT, why TEXT) WITHOUT ROWID")
        self.connection.execute("BEGIN")
        asked = ((destination,) for destination in destinations)
        self.connection.executemany("INSERT INTO temp.asked VALUES (?, NULL, 'no action requests it any more')", asked)
        self.connection.execute(ANSWERED)
        self.connection.execute("COMMIT")
        yield from self.connection.execute("SELECT destination, why FROM temp.asked WHERE status IS NOT 'todo'")

    def actions(self) -> list[str]:
        """Return the names of the actions in their order."""
        return [name for (name,) in self.connection.execute("SELECT name FROM action ORDER BY number")]

    @property
    def allows_prune(self) -> bool:
        """Whether more than half of what an action made may be removed."""
        return self.connection.execute("SELECT 1 FROM action WHERE prune").fetchone() is not None

    def allow_vanish(self) -> None:
        """Allow outputs that lost most of their files."""
        self.connection.execute("INSERT INTO allowed VALUES ('vanish')")

    @property
    def allows_vanish(self) -> bool:
        """Whether outputs may have lost most of their files."""
        return self.connection.execute("SELECT 1 FROM allowed WHERE what = 'vanish'").fetchone() is not None

    def allow_commands(self) -> None:
        """Allow the commands of actions."""
        self.connection.execute("INSERT INTO allowed VALUES ('commands')")

    @property
    def allows_commands(self) -> bool:
        """Whether the commands of actions may run."""
        return self.connection.execute("SELECT 1 FROM allowed WHERE what = 'commands'").fetchone() is not None

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each action the number of steps by status, and the bytes of those that are todo."""
        counts = {name: {**dict.fromkeys(map(str, Status), 0), "bytes": 0} for name in self.actions()}
        for (action, status, _), (number, size) in self._totals.items():
            counts[action][status] += number
            counts[action]["bytes"] += size if status is Status.TODO else 0
        return counts

    def statuses(self) -> dict[str, int]:
        """Return how many steps have each status."""
        counts = self.counts().values()
        return {status: sum(of[status] for of in counts) for status in map(str, Status)}

    def note_made(self, day: date, variables: str) -> None:
        """Record the day that relative dates refer to, and a digest of the values of variables; once."""
        self.connection.execute("INSERT INTO made VALUES (?, ?)", (day.isoformat(), variables))

    @property
    def day(self) -> date:
        """The day that relative dates refer to."""
        return date.fromisoformat(self.connection.execute("SELECT day FROM made").fetchone()[0])

    @property
    def variables(self) -> str:
        """A digest of the values of the variables that the plan was made with."""
        return str(self.connection.execute("SELECT variables FROM made").fetchone()[0])

    def note_brought_along(self, action: str, instances: int) -> None:
        """Record that the set of an action has instances of another PatientID."""
        self.connection.execute("INSERT INTO brought_along VALUES (?, ?)", (action, instances))

    def brought_along(self) -> dict[str, int]:
        """Return for each action the number of instances of another PatientID in its set, if there are any."""
        return dict(self.connection.execute("SELECT action, instances FROM brought_along ORDER BY rowid"))

    def reasons(self) -> Counter[tuple[str, Status, Reason]]:
        """Return the number of steps by action, status and reason."""
        return Counter({which: number for which, (number, _) in self._totals.items()})

    @cached_property
    def _totals(self) -> dict[tuple[str, Status, Reason], tuple[int, int]]:
        """Steps and bytes by action, status and reason; a decided plan does not change."""
        rows = self.connection.execute(
            "SELECT action.name, status, reason, count(*), sum(size) FROM step JOIN action ON action.number = step.action"
            " GROUP BY step.action, status, reason"
        )
        return {(action, Status(status), Reason(reason)): (number, size) for action, status, reason, number, size in rows}

    def digest(self) -> str:
        """Return a digest that is equal for two plans with the same variables, and the same steps for the same reasons."""
        digest = sha256(self.variables.encode())
        for row in self.connection.execute(f"{STEPS} ORDER BY action.number, destination, request.SOPInstanceUID"):
            digest.update(repr(row[1:]).encode())
        return digest.hexdigest()
