"""The use cases, joined here and only here: what a command does, without how it is asked or shown."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import current_thread, main_thread

from pyconquest_rules.actions.copy import wishes
from pyconquest_rules.answers import ActionStatus, Explained, Forgotten, Indexed
from pyconquest_rules.errors import DatabaseError, StalePlan, UsageError, did_you_mean
from pyconquest_rules.events import Emit, Planning, silent
from pyconquest_rules.execute import folders
from pyconquest_rules.execute.export import Format
from pyconquest_rules.execute.export import export as write_rows
from pyconquest_rules.execute.files import is_made
from pyconquest_rules.execute.ledger import FOLDER, Ledger, locked
from pyconquest_rules.execute.runner import Result, Runner
from pyconquest_rules.execute.verify import Verified
from pyconquest_rules.execute.verify import verify as verified
from pyconquest_rules.facts import Entry
from pyconquest_rules.index import sql
from pyconquest_rules.index.conquest_config import files as conquest_files
from pyconquest_rules.index.contradictions import count as count_contradictions
from pyconquest_rules.index.csv_tables import drop_others as drop_other_tables
from pyconquest_rules.index.csv_tables import load as load_table
from pyconquest_rules.index.forgetting import Forgetting, Going, delete
from pyconquest_rules.index.scan import Scan, Workers
from pyconquest_rules.index.selection import Sets
from pyconquest_rules.index.store import Store
from pyconquest_rules.index.workers import here
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.plan.planner import decide, hold_back
from pyconquest_rules.plan.store import Plan, load
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode, Step

__all__ = ["Rules", "apply", "explain", "index", "load_plan", "plan", "query", "running", "status", "summary", "verify"]


def index(
    rules: Rules, sources: Iterable[str] = (), *, allow_vanish: bool = False, workers: Workers = here, emit: Emit = silent
) -> Indexed:
    """Brings the index up to date with the sources named, or with all.

    Raises SourceError, and changes nothing, where a source is missing or most of it vanished; UsageError for a name that
    is no source.
    """
    names = tuple(sources)
    known = {tree.name: tree for tree in rules.trees}
    for name in names:
        if name not in known:
            raise UsageError(
                f'no source is called "{name}"; {did_you_mean(name, known) or "sources are: " + (", ".join(known) or "none")}'
            )
    with Store(rules.database, rules.schema) as store:
        _forget_moved(rules, store)  # by runs that were killed before they could
        scan = Scan(store, emit)
        for name in store.sources().keys() - known.keys() if not names else ():
            scan.drop(name)
        scan.run([known[name] for name in names or known], workers, own=_own(rules), allow_vanish=allow_vanish)
        for table in rules.tables:
            with store.transaction():
                load_table(store.connection, table)
        with store.transaction():
            drop_other_tables(store.connection, [table.name for table in rules.tables])
        # Looking through the whole index would make a run that reads nothing a slow one.
        contradictions = count_contradictions(store.connection) if scan.counts["read"] else {}
    return Indexed(dict(scan.counts), dict(scan.reasons), contradictions)


def _own(rules: Rules) -> frozenset[bytes]:
    """The real paths of what this program itself keeps, which may lie inside a source."""
    database = os.path.realpath(rules.database)
    files = [database + end for end in ("", "-wal", "-shm", "-journal")]
    return frozenset(map(os.fsencode, [*files, os.path.realpath(rules.base / FOLDER)]))


@contextmanager
def opened(rules: Rules) -> Iterator[Sets]:
    """The sets of the rules over the index, read-only. Raises DatabaseError where there is no index for these rules."""
    if not rules.database.exists():
        raise DatabaseError(f"there is no index {rules.database} yet; make it with: pyconquest-rules index")
    connection = sql.open_read_only(rules.database)
    try:
        try:
            row = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
        except sqlite3.Error:
            row = None
        if row != (rules.schema.fingerprint,):
            raise DatabaseError("the index was made for other columns; bring it up to date with: pyconquest-rules index")
        yield Sets(connection, rules.schema, rules.selections)
    finally:
        connection.close()


@contextmanager
def query(rules: Rules, text: str) -> Iterator[tuple[tuple[str, ...], Iterator[sql.Row]]]:
    """The columns and the rows of one SELECT, or of a set that is named. `vars` are parameters. Raises Mistake for wrong SQL."""
    with opened(rules) as sets:
        text = f'SELECT * FROM "{text}"' if text in rules.selections else text
        sets.make_named(text, rules.params)
        names, rows = sql.rows(sets.connection, text, rules.params)
        with closing(rows):
            yield names, rows


def export(rules: Rules, text: str, file: Path, form: Format) -> int:
    """Writes the rows of a table, set or SELECT to `file`; gives their number.

    Raises Mistake for wrong SQL, UsageError for Parquet without pyarrow.
    """
    text = text if " " in text.strip() else f'SELECT * FROM "{text.strip()}"'
    with query(rules, text) as (columns, rows):
        return write_rows(columns, rows, file, form)


def conquest_config(rules: Rules, *, ae_title: str, port: int) -> dict[str, str]:
    """The files by name with which a Conquest server serves the index."""
    with opened(rules) as sets:
        rows = sets.connection.execute("SELECT device, path FROM rules_sources").fetchall()
    devices = {device: Path(path) for device, path in rows}
    return conquest_files(rules.database.resolve(), devices, rules.dicom_sql, ae_title=ae_title, port=port)


SUMMARY = """
SELECT PatientID, coalesce(Modality, '') AS Modality, count(*) AS number
FROM series GROUP BY PatientID, Modality ORDER BY PatientID, Modality
"""


def summary(rules: Rules) -> Iterator[tuple[str, dict[str, int]]]:
    """Per patient, in the order of PatientID, the number of series of each modality."""
    with query(rules, SUMMARY) as (_, rows):
        for patient, series in groupby(rows, key=itemgetter(0)):
            yield str(patient), {str(modality): int(number or 0) for _, modality, number in series}


@dataclass(frozen=True, slots=True)
class _Facts:
    """The ledger and the disk, as a plan asks of them."""

    ledger: Ledger
    outputs: Outputs

    def attach(self, connection: sqlite3.Connection) -> None:
        self.ledger.attach(connection)

    def listing(self, folder: str) -> Iterator[Entry]:
        return folders.listing(self.outputs, folder)

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        return is_made(mode, source, destination, self.outputs)


def plan(rules: Rules, targets: tuple[str, ...] = (), *, emit: Emit = silent) -> Plan:
    """What would be done for the targets, and why; the index is taken as it is. Close the plan when done with it.

    Raises UsageError for a target that names nothing, Mistake for a query that fails on the data.
    """
    made = Plan()
    with opened(rules) as sets, Ledger(rules.base) as ledger:
        for name in rules.chosen(targets):
            action, template = rules.actions[name], rules.templates[name]
            made.add_action(name, action.mode, action.on_conflict, action.fingerprint)
            instances = sets.instances(action.select, template.columns)
            emit(Planning(name, made.add(name, wishes(template, rules.outputs, instances))))
        decide(made, _Facts(ledger, rules.outputs), rules.outputs)
        hold_back(made, rules.needs)
    return made


def load_plan(rules: Rules, file: Path, *, emit: Emit = silent) -> Plan:
    """A plan that was saved. Raises StalePlan where another one would be made now, UsageError where the file is no plan."""
    saved = load(file)
    try:
        names = tuple(saved.actions())
        if names != rules.chosen(names):
            raise StalePlan(f"the rules changed since {file} was made; plan again")
        with plan(rules, names, emit=emit) as now:
            if now.digest() != saved.digest():
                raise StalePlan(f"the data, the rules or the destinations changed since {file} was made; plan again")
    except UsageError:
        raise StalePlan(f"the rules changed since {file} was made; plan again") from None
    return saved


def apply(rules: Rules, made: Plan, *, targets: tuple[str, ...] = (), emit: Emit = silent) -> Result:
    """Does what a plan says, under the run lock that the caller holds (`running`). Ctrl-C ends it after the files in flight."""
    with Ledger(rules.base, write=True) as ledger, _stop_asked() as stop:
        result = Runner(rules.outputs, ledger, emit, stop).run(made, rules.needs, " ".join(targets))
    with Store(rules.database, rules.schema) as store:
        _forget_moved(rules, store, result.run)
    return result


@contextmanager
def running(rules: Rules) -> Iterator[None]:
    """Holds the run lock: from planning to the last step nobody else changes what is planned. Raises Locked."""
    with locked(rules.base):
        yield


def _forget_moved(rules: Rules, store: Store, run: int | None = None) -> None:
    """Takes the files that a run, or those that were killed, moved away out of the index: they did not vanish."""
    movers = [name for name, action in rules.actions.items() if action.mode is Mode.MOVE]
    if not movers:
        return
    roots = [(os.fsencode(source.root) + b"/", source.device) for source in store.sources().values()]
    with Ledger(rules.base) as ledger, store.transaction():
        for source in ledger.sources(movers, run):
            for root, device in roots:
                if source.startswith(root) and not os.path.lexists(source):
                    store.forget(device, source[len(root) :])
        store.prune()


def to_forget(rules: Rules, what: tuple[str, ...], *, files: bool) -> Going:
    """What `forget` would do.

    Raises UsageError where `what` names nothing, or where files of a source without a layout would go.
    """
    with Store(rules.database, rules.schema) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        if files and (others := {place.device for place in forgetting.places()} - _devices_with_layout(rules, store)):
            names = [name for name, source in store.sources().items() if source.device in others]
            raise UsageError(f"files of a source without a layout are never deleted: {', '.join(names)}")
        return forgetting.going()


def forget(rules: Rules, what: tuple[str, ...], *, files: bool = False) -> Forgotten:
    """Takes instances out of the index, and with `files` their files off the disk. Raises as `to_forget` does."""
    going = to_forget(rules, what, files=files)
    with Store(rules.database, rules.schema) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        roots = [source.root for source in store.sources().values()]
        gone, failed = delete(forgetting.places(), roots) if files else ([], 0)
        forgetting.forget(gone)
    return Forgotten(going.images, going.files, len(gone), failed)


def _chosen(rules: Rules, store: Store, what: tuple[str, ...]) -> Forgetting:
    forgetting = Forgetting(store)
    for name in what:
        if name in rules.selections:
            with opened(rules) as sets:
                forgetting.choose_instances(uid for uid, *_ in sets.instances(name, ()))
        else:
            forgetting.choose(name)
    return forgetting


def _devices_with_layout(rules: Rules, store: Store) -> set[str]:
    return {source.device for name, source in store.sources().items() if name in rules.layouts}


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM are a question that the run asks between steps; a second Ctrl-C ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def verify(rules: Rules, targets: tuple[str, ...] = (), *, deep: bool = False) -> Iterator[Verified]:
    """Every destination in the ledger of the targets, or of all actions there ever were, against what is on the disk."""
    with Ledger(rules.base) as ledger:
        actions = rules.chosen(targets) if targets else tuple({*rules.actions, *ledger.totals()})
        prefixes = tuple(rules.templates[name].prefix for name in actions if name in rules.templates)
        yield from verified(ledger, rules.outputs, frozenset(actions), tuple(filter(None, prefixes)), deep=deep)


def status(rules: Rules, targets: tuple[str, ...] = ()) -> list[ActionStatus]:
    """Where every action stands, by the ledger and a plan on the index as it is."""
    with plan(rules, targets) as made, Ledger(rules.base) as ledger:
        totals, counts = ledger.totals(), made.counts()
    nothing = {"done": 0, "failed": 0, "last": None}
    return [
        ActionStatus(
            name,
            of["unchanged"],
            of["todo"],
            of["blocked"],
            totals.get(name, nothing)["failed"],
            totals.get(name, nothing)["last"],
        )
        for name, of in counts.items()
    ]


MOST_EXPLAINED = 100

INSTANCES = """
SELECT i.SOPInstanceUID, s.path, f.path
FROM images AS i JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile
JOIN rules_sources AS s ON s.device = f.device
WHERE i.SOPInstanceUID = :what OR i.SeriesInstanceUID = :what OR i.StudyInstanceUID = :what OR i.PatientID = :what LIMIT :most
"""

AT_PATH = """
SELECT f.SOPInstanceUID, f.outcome, f.reason FROM rules_files AS f JOIN rules_sources AS s USING (device)
WHERE s.path || '/' || f.path = CAST(? AS TEXT)
"""


def explain(rules: Rules, what: str) -> list[Explained]:
    """The instances that a path of a source or destination, or a UID or PatientID, stands for: at most MOST_EXPLAINED.

    Raises UsageError where it stands for none, and says why a file of a source is not in the index.
    """
    with opened(rules) as sets, plan(rules) as made:
        what = _instance_at(rules, sets, made, what) or what
        rows = sets.connection.execute(INSTANCES, {"what": what, "most": MOST_EXPLAINED}).fetchall()
        if not rows:
            raise UsageError("the index has no such file, UID or PatientID")
        steps: dict[str, list[Step]] = {uid: [] for uid, *_ in rows}
        for step in made.steps(instances=[*steps]):
            steps[step.SOPInstanceUID].append(step)
        return [
            Explained(
                uid,
                os.path.join(os.fsencode(root), os.fsencode(path)),
                tuple(name for name in rules.selections if sets.holds(uid, name)),
                tuple(steps[uid]),
            )
            for uid, root, path in rows
        ]


def _instance_at(rules: Rules, sets: Sets, made: Plan, what: str) -> str | None:
    """The SOPInstanceUID of the file of a source, or of what a step would put, at a path."""
    path = os.path.abspath(what)
    row = sets.connection.execute(AT_PATH, (os.fsencode(os.path.realpath(path)),)).fetchone()
    if row and row[1] == "rejected":
        raise UsageError(f"the file is not in the index: it was rejected ({row[2]})")
    if row:
        return str(row[0])
    return made.instance_at(os.path.relpath(path, rules.base)) or made.instance_at(path)
