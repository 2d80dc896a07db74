"""The use cases, joined here and only here: what a command does, without how it is asked or shown."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from threading import Event as ThreadEvent
from threading import current_thread, main_thread
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from pyconquest_rules.actions.copy import Copy, wishes
from pyconquest_rules.actions.retrieve import By, Retrieve, retrieve_wishes
from pyconquest_rules.actions.send import Confirm, Send, send_wishes
from pyconquest_rules.answers import ActionStatus, Explained, Forgotten, Going, Indexed
from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import DatabaseError, Locked, StalePlan, UsageError, did_you_mean
from pyconquest_rules.events import Emit, Healthy, Listens, Planning, Ran, StepFailed, silent
from pyconquest_rules.execute import folders
from pyconquest_rules.execute.confirming import Asking, Known, committing, finding
from pyconquest_rules.execute.copying import Copying
from pyconquest_rules.execute.export import Format
from pyconquest_rules.execute.export import export as write_rows
from pyconquest_rules.execute.files import is_made
from pyconquest_rules.execute.folders import INCOMING
from pyconquest_rules.execute.ledger import FOLDER, Ledger, locked
from pyconquest_rules.execute.mending import Mending
from pyconquest_rules.execute.retrievals import Ask, Retrieving
from pyconquest_rules.execute.runner import Doer, Result, Runner
from pyconquest_rules.execute.transfers import Sending
from pyconquest_rules.execute.verify import LookedAt, Verified, every
from pyconquest_rules.execute.verify import verify as verified
from pyconquest_rules.facts import Entry
from pyconquest_rules.index import sql
from pyconquest_rules.index.conquest_config import files as conquest_files
from pyconquest_rules.index.contradictions import count as count_contradictions
from pyconquest_rules.index.csv_tables import bring_up_to_date as bring_tables_up_to_date
from pyconquest_rules.index.selection import Sets
from pyconquest_rules.index.workers import Workers, here
from pyconquest_rules.network.node import NodeError
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.plan.planner import decide, hold_back
from pyconquest_rules.plan.store import Plan, load
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode, Reason, Step, Wish
from pyconquest_rules.templates import Template

if TYPE_CHECKING:
    from pyconquest_rules.index.forgetting import Forgetting
    from pyconquest_rules.index.store import Store
    from pyconquest_rules.index.tables import Schema

T = TypeVar("T")

__all__ = ["Rules", "apply", "explain", "index", "load_plan", "plan", "query", "running", "status", "summary", "verify"]


def index(
    rules: Rules,
    sources: Iterable[str] = (),
    *,
    allow_vanish: bool = False,
    workers: Workers = here,
    emit: Emit = silent,
    every_file: bool = False,
) -> Indexed:
    """Brings the index up to date with the sources named, or with all.

    `emit` is told of files that are unchanged only where `every_file` is asked for.

    Raises SourceError, and changes nothing, where a source is missing or most of it vanished; UsageError for a name that
    is no source.
    """
    from pyconquest_rules.index.scan import Scan

    names = tuple(sources)
    known = {tree.name: tree for tree in rules.trees}
    for name in names:
        if name not in known:
            raise UsageError(
                f'no source is called "{name}"; {did_you_mean(name, known) or "sources are: " + (", ".join(known) or "none")}'
            )
    with _writing(rules) as store:
        _forget_moved(rules, store)  # by runs that were killed before they could
        scan = Scan(store, emit, every_file=every_file)
        for name in store.sources().keys() - known.keys() if not names else ():
            scan.drop(name)
        scan.run([known[name] for name in names or known], workers, own=_own(rules), allow_vanish=allow_vanish)
        bring_tables_up_to_date(store.connection, rules.tables, store.transaction)
        # Looking through the whole index would make a run that reads nothing a slow one.
        contradictions = count_contradictions(store.connection) if scan.counts["read"] else {}
    return Indexed(dict(scan.counts), dict(scan.reasons), contradictions)


def _writing(rules: Rules) -> "Store":
    """The writing side of the index. Imported late, like all that reads files: what only asks the index needs neither."""
    from pyconquest_rules.index.store import Store

    return Store(rules.database, rules.schema)


def _own(rules: Rules) -> frozenset[bytes]:
    """The real paths of what this program itself keeps, which may lie inside a source."""
    database = os.path.realpath(rules.database)
    files = [database + end for end in ("", "-wal", "-shm", "-journal")]
    incoming = [os.path.join(tree.root, INCOMING) for tree in rules.trees]
    return frozenset(map(os.fsencode, [*files, *incoming, os.path.realpath(rules.base / FOLDER)]))


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

    def entry(self, destination: str) -> Entry | None:
        return folders.entry(self.outputs, destination)

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        return is_made(mode, source, destination, self.outputs)


def plan(rules: Rules, targets: tuple[str, ...] = (), *, allow_prune: bool = False, emit: Emit = silent) -> Plan:
    """What would be done for the targets, and why; the index is taken as it is. Close the plan when done with it.

    Where it is to be retrieved, the node is asked. An action that would prune more than half of what it made is blocked, unless
    `allow_prune`. Raises UsageError for a target that names nothing, Mistake for a query that fails on the data, or that a node
    cannot be asked.
    """
    return _planned(rules, rules.chosen(targets), allow_prune=allow_prune, emit=emit)


def stages(rules: Rules, targets: tuple[str, ...] = (), *, allow_prune: bool = False, emit: Emit = silent) -> Iterator[Plan]:
    """The plans of `apply`, each to be done before the next is asked for: what is retrieved, then the rest on the new index."""
    chosen = rules.chosen(targets)
    local = _local(rules, chosen)
    retrieves = tuple(name for name in chosen if name not in local)
    for names in [some for some in (retrieves, local) if some] or [()]:
        with _planned(rules, names, allow_prune=allow_prune, emit=emit) as made:
            yield made


def _local(rules: Rules, names: tuple[str, ...]) -> tuple[str, ...]:
    """The actions that can be planned without asking a node."""
    return tuple(name for name in names if not isinstance(rules.actions[name], Retrieve))


def _planned(rules: Rules, names: tuple[str, ...], *, allow_prune: bool = False, emit: Emit = silent) -> Plan:
    """The plan of just these actions."""
    made = Plan()
    with opened(rules) as sets, Ledger(rules.base) as ledger:
        for name in names:
            emit(Planning(name, made.add(name, _wishes(rules, name, sets, made, allow_prune, emit))))
        decide(made, _Facts(ledger, rules.outputs), rules.outputs)
        hold_back(made, rules.needs)
    return made


def _wishes(rules: Rules, name: str, sets: Sets, made: Plan, allow_prune: bool, emit: Emit) -> Iterator[Wish]:
    """Adds an action to a plan, and gives its wishes."""
    match rules.actions[name]:
        case Copy() as copy:
            made.add_action(name, copy.mode, copy.on_conflict, copy.fingerprint, allow_prune if copy.prune else None)
            template = rules.templates[name]
            return wishes(template, rules.outputs, sets.instances(copy.select, template.columns))
        case Send() as send:
            made.add_send(name, rules.nodes[send.node].identity, send.fingerprint, confirm=send.confirm is not Confirm.STATUS)
            return send_wishes(sets.instances(send.select, ()))
        case Retrieve() as retrieve:
            made.add_retrieve(name, rules.nodes[retrieve.node].identity, retrieve.into, retrieve.fingerprint)
            return _asked(rules, name, retrieve, sets, emit)


def _asked(rules: Rules, name: str, retrieve: Retrieve, sets: Sets, emit: Emit) -> Iterator[Wish]:
    """What a node says that it has. Where it fails, a wish says so, which can only be blocked: other actions go on."""
    from pyconquest_rules.network.query_retrieve import find

    def known(uids: list[str]) -> Iterator[str]:
        found = sets.connection.execute(
            "SELECT SOPInstanceUID FROM images WHERE SOPInstanceUID IN (SELECT value FROM json_each(?))", (json.dumps(uids),)
        )
        return (uid for (uid,) in found)

    try:
        with closing(find(rules.nodes[retrieve.node], Level.IMAGE, retrieve.match, ["SOPClassUID"])) as matches:
            yield from retrieve_wishes(matches, known)
    except NodeError as error:
        emit(StepFailed(name, "", str(error)))
        yield Wish("", b"", 0, 0, "", "", "", Reason.NODE_FAILED, str(error))


def load_plan(rules: Rules, file: Path, *, emit: Emit = silent) -> Plan:
    """A plan that was saved. Raises StalePlan where another one would be made now, UsageError where the file is no plan."""
    saved = load(file)
    try:
        names = tuple(saved.actions())
        if names != rules.chosen(names):
            raise StalePlan(f"the rules changed since {file} was made; plan again")
        with plan(rules, names, allow_prune=saved.allows_prune, emit=emit) as now:
            if now.digest() != saved.digest():
                raise StalePlan(f"the data, the rules or the destinations changed since {file} was made; plan again")
    except UsageError:
        raise StalePlan(f"the rules changed since {file} was made; plan again") from None
    return saved


def apply(
    rules: Rules,
    made: Plan | Iterable[Plan],
    *,
    targets: tuple[str, ...] = (),
    emit: Emit = silent,
    clock: Callable[[], datetime] = datetime.now,
) -> Result:
    """Does what a plan says, or plans one after another (`stages`), under the run lock that the caller holds (`running`).

    Ctrl-C ends it after the files in flight. `clock` is the local time, which windows are of.
    """
    result, doers = Result(0), {name: _doer(rules, name, clock) for name in rules.actions}
    with Ledger(rules.base, write=True) as ledger:
        for each in [made] if isinstance(made, Plan) else made:
            result.run = result.run or ledger.begin(" ".join(targets))
            with _stop_asked() as stop:
                Runner(ledger, emit, stop, result).run(each, rules.needs, doers)
            if result.interrupted:
                break
        with _writing(rules) as store:
            _forget_moved(rules, store, result.run)
        # The end comes last: of a run that is killed before, the next one forgets what was moved.
        ledger.finish(result.run, result.counts, "interrupted" if result.interrupted else "done")
    return result


def _doer(rules: Rules, name: str, clock: Callable[[], datetime]) -> Doer:
    """What does the steps of an action."""
    match rules.actions[name]:
        case Copy():
            return Copying(rules.outputs)
        case Send() as send:
            return _sending(rules, send, clock)
        case Retrieve() as retrieve:
            return _retrieving(rules, retrieve)


def _sending(rules: Rules, send: Send, clock: Callable[[], datetime]) -> Sending:
    return Sending(
        rules.nodes[send.node],
        send.associations,
        send.max_rate,
        _asking(rules, send),
        send.window,
        lambda: send.is_open(clock().time()),
    )


def _asking(rules: Rules, send: Send) -> Asking | None:
    """How the node of an action is asked for what it took; None where the action does not want to know."""
    node = rules.nodes[send.node]

    def look(uids: list[str]) -> list[Known]:
        with opened(rules) as sets:
            rows = sets.connection.execute(
                "SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID FROM images"
                " WHERE SOPInstanceUID IN (SELECT value FROM json_each(?)) ORDER BY 1, 2",
                (json.dumps(uids),),
            )
            return [*map(Known._make, rows)]

    match send.confirm:
        case Confirm.STATUS:
            return None
        case Confirm.C_FIND:
            return partial(finding, node, look)
        case Confirm.STORAGE_COMMITMENT:
            return partial(committing, node, look)


@dataclass(frozen=True, slots=True)
class _Index:
    """The index, as a retrieval asks of it. What comes meanwhile is seen: each question opens it anew."""

    rules: Rules

    def sizes(self, uids: Collection[str]) -> dict[str, int]:
        """Of SOPInstanceUIDs those that it has, with the sizes of their files."""
        query = "SELECT SOPInstanceUID, FileSize FROM images WHERE SOPInstanceUID IN (SELECT value FROM json_each(?))"
        with opened(self.rules) as sets:
            return dict(sets.connection.execute(query, (json.dumps([*uids]),)).fetchall())

    def has_series(self, uid: str) -> bool:
        """Whether it has anything of a series."""
        with opened(self.rules) as sets:
            return sets.connection.execute("SELECT 1 FROM images WHERE SeriesInstanceUID = ?", (uid,)).fetchone() is not None


def _retrieving(rules: Rules, retrieve: Retrieve) -> Retrieving:
    whole = retrieve.level is not Level.IMAGE
    return Retrieving(rules.nodes[retrieve.node], _Index(rules), _receiver(rules, retrieve), whole)


def _receiver(rules: Rules, retrieve: Retrieve) -> Callable[[Callable[[], bool]], AbstractContextManager[Ask]]:
    """How what an action retrieves is received, once it begins."""

    def opened(stop: Callable[[], bool]) -> AbstractContextManager[Ask]:
        from pyconquest_rules.execute.inbox import Inbox
        from pyconquest_rules.execute.listening import Listening
        from pyconquest_rules.execute.receivers import by_get, by_move

        node, place = rules.nodes[retrieve.node], _place(rules, retrieve.into)
        if retrieve.by is By.MOVE and retrieve.listener is not None:
            settings = rules.listeners[retrieve.listener]
            return by_move(node, Listening(settings, *place, lambda: None), settings.ae_title, stop)
        return by_get(node, Inbox(retrieve.into, *place, lambda _: None), stop)

    return opened


def _place(rules: Rules, source: str) -> tuple[Path, Template, Path, "Schema"]:
    """Where and how instances are put into a source: its folder and layout, the index and its columns."""
    root = next(tree.root for tree in rules.trees if tree.name == source)
    return root, rules.layouts[source], rules.database, rules.schema


@contextmanager
def running(rules: Rules) -> Iterator[None]:
    """Holds the run lock: from planning to the last step nobody else changes what is planned. Raises Locked."""
    with locked(rules.base):
        yield


def _forget_moved(rules: Rules, store: "Store", run: int | None = None) -> None:
    """Takes the files that a run, or those that were killed, moved away out of the index: they did not vanish."""
    movers = [name for name, action in rules.actions.items() if isinstance(action, Copy) and action.mode is Mode.MOVE]
    if not movers:
        return
    roots = [(os.fsencode(source.root) + b"/", source.device) for source in store.sources().values()]
    with Ledger(rules.base) as ledger:
        moved = (source for source in ledger.sources(movers, run) if not os.path.lexists(source))
        places = ((device, source[len(root) :]) for source in moved for root, device in roots if source.startswith(root))
        if first := next(places, None):
            with store.transaction():
                for device, path in chain([first], places):
                    store.forget(device, path)


def to_forget(rules: Rules, what: tuple[str, ...], *, files: bool) -> Going:
    """What `forget` would do.

    Raises UsageError where `what` names nothing, or where files of a source without a layout would go.
    """
    with _writing(rules) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        if files and (others := {place.device for place in forgetting.places()} - _devices_with_layout(rules, store)):
            names = [name for name, source in store.sources().items() if source.device in others]
            raise UsageError(f"files of a source without a layout are never deleted: {', '.join(names)}")
        return forgetting.going()


def forget(rules: Rules, what: tuple[str, ...], *, files: bool = False) -> Forgotten:
    """Takes instances out of the index, and with `files` their files off the disk. Raises as `to_forget` does."""
    from pyconquest_rules.index.forgetting import delete

    going = to_forget(rules, what, files=files)
    with _writing(rules) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        roots = [source.root for source in store.sources().values()]
        gone, failed = delete(forgetting.places(), roots) if files else ([], 0)
        forgetting.forget(gone)
    return Forgotten(going.images, going.files, len(gone), failed)


def _chosen(rules: Rules, store: "Store", what: tuple[str, ...]) -> "Forgetting":
    from pyconquest_rules.index.forgetting import Forgetting

    forgetting = Forgetting(store)
    for name in what:
        if name in rules.selections:
            with opened(rules) as sets:
                forgetting.choose_instances(uid for uid, *_ in sets.instances(name, ()))
        else:
            forgetting.choose(name)
    return forgetting


def _devices_with_layout(rules: Rules, store: "Store") -> set[str]:
    return {source.device for name, source in store.sources().items() if name in rules.layouts}


@contextmanager
def _stop_asked(woken: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM are a question that the run asks between steps; a second Ctrl-C ends at once.

    `woken` is called when they come.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        woken()
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


def echo(rules: Rules, name: str) -> float:
    """Asks a node whether it is there (C-ECHO); gives the seconds until its answer.

    Raises UsageError for a name that no node has, NodeError where it does not answer with success.
    """
    from pyconquest_rules.network.association import echo as ask

    node, start = _named("node", name, rules.nodes), monotonic()
    ask(node)
    return monotonic() - start


def find(rules: Rules, name: str, level: Level, match: Mapping[str, str]) -> tuple[tuple[str, ...], Iterator[sql.Row]]:
    """What a node has at a level, by C-FIND: the keys that were asked for, and for each match their values.

    Raises UsageError for a name that no node has, Mistake for a key that cannot be asked for, NodeError where the node fails.
    """
    from pyconquest_rules.network.keys import UNIQUE
    from pyconquest_rules.network.query_retrieve import find as found

    keys = tuple(dict.fromkeys([*UNIQUE[level], *match]))
    matches = found(_named("node", name, rules.nodes), level, match)
    return keys, (tuple(row[key] for key in keys) for row in matches)


HEALTH_SECONDS = 60.0


def listen(rules: Rules, name: str, *, emit: Emit = silent) -> Healthy:
    """Receives until Ctrl-C or SIGTERM; runs `then` when a study has been quiet. Gives what it did.

    Raises UsageError for a name that no listener has, ListenError and DatabaseError where it cannot listen.
    """
    from pyconquest_rules.execute.listening import Listening

    settings = _named("listener", name, rules.listeners)
    woken = ThreadEvent()
    with _stop_asked(woken.set) as stop, Listening(settings, *_place(rules, settings.into), woken.set) as listening:
        emit(Listens(name, settings.ae_title, settings.host, listening.port))
        told = monotonic()
        while not stop():
            waits = [HEALTH_SECONDS, listening.wait()] if settings.then else [HEALTH_SECONDS]
            woken.wait(min(wait for wait in waits if wait is not None))
            woken.clear()
            if settings.then and (studies := listening.settle()) and not _then(rules, settings.then, emit):
                listening.again(studies)
            if monotonic() >= told + HEALTH_SECONDS:
                emit(Healthy(name, asdict(listening.health())))
                told = monotonic()
    return Healthy(name, asdict(listening.health()))


def _then(rules: Rules, targets: tuple[str, ...], emit: Emit) -> bool:
    """Runs actions on the index as it is; False where another run holds the lock."""
    try:
        with running(rules):
            emit(Ran(apply(rules, stages(rules, targets, emit=emit), targets=targets, emit=emit).counts))
    except Locked:
        return False
    return True


def _named(what: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        hint = did_you_mean(name, known) or f"{what}s are: {', '.join(known) or 'none'}"
        raise UsageError(f'no {what} is called "{name}"; {hint}')
    return known[name]


def verify(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    deep: bool = False,
    looked_at: LookedAt = every,
    mending: Mending | None = None,
) -> Iterator[Verified]:
    """Every destination in the ledger of the targets, or of all actions there ever were, against what is on the disk.

    With `mending`, under the run lock that the caller holds, what can be mended is noted for the next plan to do so.
    """
    with Ledger(rules.base, write=mending is not None) as ledger:
        actions = rules.chosen(targets) if targets else tuple({*rules.actions, *ledger.totals()})
        prefixes = tuple(filter(None, (rules.templates[name].prefix for name in actions if name in rules.templates)))
        found = verified(ledger, rules.outputs, frozenset(actions), prefixes, deep=deep, looked_at=looked_at)
        yield from found if mending is None else mending.noted(found, ledger)


def unmended(mending: Mending, made: Plan) -> Iterator[tuple[str, str]]:
    """The destinations that were found missing or changed and that a plan does not mend, and why."""
    yield from mending.troubles()
    yield from made.without(mending.mendable())


def status(rules: Rules, targets: tuple[str, ...] = ()) -> list[ActionStatus]:
    """Where every action stands, by the ledger and a plan on the index as it is.

    No node is asked: of what is to be retrieved is only known what was brought, and what failed, which is due again.
    """
    chosen = rules.chosen(targets)
    with _planned(rules, _local(rules, chosen)) as made, Ledger(rules.base) as ledger:
        totals, counts = ledger.totals(), made.counts()
    nothing = {"done": 0, "failed": 0, "last": None}
    found = []
    for name in chosen:
        total = totals.get(name, nothing)
        of = counts.get(name, {"unchanged": total["done"], "todo": total["failed"], "blocked": 0})
        found.append(ActionStatus(name, of["unchanged"], of["todo"], of["blocked"], total["failed"], total["last"]))
    return found


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
    with opened(rules) as sets, _planned(rules, _local(rules, (*rules.actions,))) as made:
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
