"""Make plans from the rules, the index, the ledger and the disk."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import thread_time
from typing import TypeVar

from pyconquest_rules.answers import Vanished
from pyconquest_rules.app.asserting import Stage, asserted, assertion_names
from pyconquest_rules.app.opening import check_sources, obeys, opened
from pyconquest_rules.content import Content
from pyconquest_rules.disk import folders
from pyconquest_rules.disk.existing import is_left, is_made
from pyconquest_rules.disk.facts import Entry, Gone
from pyconquest_rules.disk.outputs import Outputs, Root
from pyconquest_rules.disk.room import device, no_room, nothing_in
from pyconquest_rules.engine import assertions, makers
from pyconquest_rules.engine.guard import written
from pyconquest_rules.engine.kinds import Planning as Given
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.planner import decide, hold_back
from pyconquest_rules.engine.saved import load
from pyconquest_rules.errors import Mistake, OutputError, StalePlan, UsageError
from pyconquest_rules.events import BroughtAlong, Emit, Noted, Planning, silent
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.store.tables import CONTESTED
from pyconquest_rules.kinds.all import kind_of
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode

T = TypeVar("T")


def plan(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Plan:
    """Return the plan of the targets, on the index as it is. The caller closes the plan.

    The nodes of retrievals are queried. An action that would prune more than half of its files is blocked, unless
    `allow_prune`. If most files vanished from an output, unless `allow_vanish`, or if there is too little space, the plan has
    a finding.
    Raises UsageError for an unknown target, and Mistake for a query that fails on the data or that a node cannot answer.
    """
    return planned(rules, rules.chosen(targets), allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit)


def plan_offline(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Plan:
    """Return the plan of the targets without connecting to a node, reading a source, or writing anything.

    Events report what such a plan cannot know. Raises as `plan` does.
    """
    chosen = rules.chosen(targets)
    local = without_nodes(rules, chosen)
    for name in chosen:
        if name not in local:
            emit(Noted(name, "not planned: only the node knows which instances to retrieve"))
    return planned(rules, local, allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit, offline=True)


def stages(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Iterator[Plan]:
    """Yield the plans of `apply`: first the retrievals, then all other actions. The caller carries out each before the next.

    Raises OutputError, before anything is retrieved, if outputs of the other actions have lost most of their files.
    """
    chosen = rules.chosen(targets)
    local = without_nodes(rules, chosen)
    retrieves = tuple(name for name in chosen if name not in local)
    if retrieves and local:
        with planned(rules, local, allow_prune=allow_prune, allow_vanish=allow_vanish, stage=Stage.PREVIEW) as made:
            refuse(made)
    plans = [(retrieves, Stage.RETRIEVALS)] if retrieves else []
    if local or not retrieves or assertion_names(rules):  # without actions, it has the assertions that hold back nothing
        plans.append((local, Stage.LAST))
    for names, stage in plans:
        with planned(rules, names, allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit, stage=stage) as made:
            yield made


def refuse(made: Plan) -> None:
    """Raise OutputError if outputs have lost most of their files.

    Too little space does not stop a run: the steps that fit are done, and the next run continues.
    """
    if gone := [finding.message for finding in made.findings if isinstance(finding, Vanished)]:
        raise OutputError("\n".join(gone))


def load_plan(rules: Rules, file: Path, *, allow_vanish: bool = False, emit: Emit = silent) -> Plan:
    """Return a saved plan. It keeps its date, so it does not become stale at midnight.

    Raises StalePlan if the current plan differs, and UsageError if the file is not a plan.
    """
    saved = load(file)
    try:
        names = tuple(saved.actions())
        if saved.variables != rules.variables:
            raise _stale(file, "the variables")
        if names != rules.chosen(names):
            raise _stale(file, "the rules")
        allowed = {"allow_prune": saved.allows_prune, "allow_vanish": allow_vanish or saved.allows_vanish}
        with plan(rules.on(saved.day), names, **allowed, emit=emit) as now:
            if now.digest() != saved.digest():
                raise _stale(file, "the data, the rules or the destinations")
            saved.findings, saved.asserted, saved.recipes = now.findings, now.asserted, now.recipes
    except UsageError:
        raise _stale(file, "the rules") from None
    return saved


def _stale(file: Path, what: str) -> StalePlan:
    return StalePlan(f"{what} changed after {file} was saved; plan again")


def without_nodes(rules: Rules, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the actions that can be planned without querying a node."""
    return tuple(name for name in names if not kind_of(name).remote)


def prunes(rules: Rules, names: Iterable[str]) -> dict[str, bool]:
    """Return those of the actions that create files, and whether they prune."""
    found = {name: kind_of(name).prunes(rules.actions[name]) for name in names}
    return {name: prune for name, prune in found.items() if prune is not None}


def planned(
    rules: Rules,
    names: tuple[str, ...],
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
    offline: bool = False,
    stage: Stage = Stage.LAST,
) -> Plan:
    """Return the plan of the actions, without those that they need. `offline`: no source is read and nothing is written."""
    with opened(rules, as_it_is=offline) as sets, Ledger(rules.base) as ledger, _bounded(sets):
        check_sources(rules, sets.connection)
        makers.check(ledger.connection, rules.file, prunes(rules, names))
        ledger.show_placed(rules.outputs)
        made, limited = Plan(), False
        made.note_made(rules.today, rules.variables)
        in_time = _InTime(sets)
        given = Given(rules, made, sets, ledger, emit, allow_prune, in_time)
        if allow_vanish:
            made.allow_vanish()
        for name in names:
            # Retrievals come first. Their size depends on the node, so the limit begins after them.
            kind, action = kind_of(name), rules.actions[name]
            if not limited and not kind.remote:
                made.limit(sets.budget.plan)
                limited = True
            requests = kind.requests(name, action, given)
            emit(Planning(name, made.add(name, in_time(requests) if limited else requests)))
            selected = kind.selects(action)
            if selected is not None and (instances := sets.brought_along(selected)):
                made.note_brought_along(name, instances)
                emit(BroughtAlong(name, instances))
        contested = (uid for (uid,) in sets.connection.execute(CONTESTED).fetchall())
        facts = _OfflineFacts(ledger, rules.outputs) if offline else _Facts(ledger, rules.outputs)
        gone = decide(made, facts, rules.outputs, contested)
        made.asserted = asserted(rules, names, sets, stage)
        assertions.hold_back(made)
        hold_back(made, rules.needs)
        if offline:
            _note_unknown(facts, sets, rules, emit)
    needed = written(made.connection, lambda folder: device(rules.outputs.real(folder)), (lambda _: None) if offline else device)
    made.findings = (*(() if allow_vanish else gone), *no_room(needed, rules.outputs))
    return made


@contextmanager
def _bounded(sets: Sets) -> Iterator[None]:
    """Raise Mistake if a plan becomes too large within the block."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        most = sets.budget.plan >> 20
        hint = "a set may give rows more than once, or destinations may be very long"
        raise Mistake(f"the plan takes more than {most} MiB, or the disk for temporary files is full", hint=hint) from None


class _InTime:
    """Passes items on. Raises Mistake when making them has used up the processor time of the plan."""

    def __init__(self, sets: Sets) -> None:
        self.sets, self.began = sets, 0.0

    def __call__(self, items: Iterable[T]) -> Iterator[T]:
        self.began = thread_time()
        for number, item in enumerate(items):
            if number % 64 == 0:
                now = thread_time()
                self.sets.left, self.began = self.sets.left - (now - self.began), now
                if self.sets.left <= 0:
                    hint = "a template may be very long, or a set may give rows more than once"
                    raise Mistake("the sets and templates together take too long", hint=hint)
            yield item


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of the ledger and the disk that decide a plan."""

    ledger: Ledger
    outputs: Outputs

    def attach(self, connection: sqlite3.Connection) -> None:
        self.ledger.attach(connection)

    def listing(self, folder: str) -> Iterator[Entry]:
        return folders.listing(self.outputs, folder)

    def nothing_in(self, root: Root) -> Gone | None:
        return nothing_in(root)

    def entry(self, destination: str) -> Entry | None:
        return folders.entry(self.outputs, destination)

    def is_left(self, destination: str, source: bytes, sha256: str) -> bool:
        return is_left(destination, source, sha256, self.outputs)

    def is_made(self, mode: Mode, content: Content, destination: str) -> bool:
        return is_made(mode, content, destination, self.outputs)


@dataclass(frozen=True, slots=True)
class _OfflineFacts(_Facts):
    """The same without reading the content of files. A file that only its content could confirm counts as changed."""

    unknown: list[str] = field(default_factory=list)

    def is_left(self, destination: str, source: bytes, sha256: str) -> bool:
        return False

    def is_made(self, mode: Mode, content: Content, destination: str) -> bool:
        self.unknown.append(destination)
        return False


def _note_unknown(facts: _Facts, sets: Sets, rules: Rules, emit: Emit) -> None:
    """Emit events about what an offline plan cannot know."""
    if isinstance(facts, _OfflineFacts) and (number := len(facts.unknown)):
        emit(Noted("", f"{number:,} existing files were not compared with their sources: they count as changed"))
    if not obeys(rules, sets.connection):
        emit(Noted("", "the index does not have the latest decisions of decisions.txt yet; the next command applies them"))
