"""What would be done, and why: the rules, the index, the ledger and the disk make a plan."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import thread_time

from pyconquest_rules.answers import Vanished
from pyconquest_rules.app.opening import check_sources, obeys, opened
from pyconquest_rules.disk import folders
from pyconquest_rules.disk.existing import is_left, is_made
from pyconquest_rules.disk.facts import Entry, Gone
from pyconquest_rules.disk.outputs import Outputs, Root
from pyconquest_rules.disk.room import device, no_room, nothing_in
from pyconquest_rules.engine import makers
from pyconquest_rules.engine.guard import written
from pyconquest_rules.engine.kinds import Planning as Given
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.plan import Plan, load
from pyconquest_rules.engine.planner import decide, hold_back
from pyconquest_rules.errors import Mistake, OutputError, StalePlan, UsageError
from pyconquest_rules.events import BroughtAlong, Emit, NodeNoted, Planning, silent
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.store.tables import CONTESTED
from pyconquest_rules.kinds.all import kind_of
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode, Request


def plan(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Plan:
    """What would be done for the targets, and why; the index is taken as it is. Close the plan when done with it.

    Where it is to be retrieved, the node is asked. An action that would prune more than half of what it made is blocked, unless
    `allow_prune`. If most files vanished from an output and that is not allowed, or if there is too little room, the plan has a
    finding. Raises UsageError for a target that names nothing, Mistake for a query that fails on the data, or that a node
    cannot be asked.
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
    """What would be done by the index as it is: no node is connected to, no source read and nothing written.

    Events name what cannot be known so. Raises as `plan` does.
    """
    chosen = rules.chosen(targets)
    local = without_nodes(rules, chosen)
    for name in chosen:
        if name not in local:
            emit(NodeNoted(name, "not planned: only the node knows what is to be retrieved"))
    return planned(rules, local, allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit, offline=True)


def stages(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Iterator[Plan]:
    """The plans of `apply`, each to be done before the next is asked for: what is retrieved, then the rest on the new index.

    Raises OutputError, before anything is retrieved, where the rest could not be done as a whole.
    """
    chosen = rules.chosen(targets)
    local = without_nodes(rules, chosen)
    retrieves = tuple(name for name in chosen if name not in local)
    if retrieves and local:
        with planned(rules, local, allow_prune=allow_prune, allow_vanish=allow_vanish) as made:
            refuse(made)
    for names in [some for some in (retrieves, local) if some] or [()]:
        with planned(rules, names, allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit) as made:
            yield made


def refuse(made: Plan) -> None:
    """Raise OutputError if outputs lost most of their files. Too little room is no reason: what fits is done, and stays done."""
    if gone := [finding.message for finding in made.findings if isinstance(finding, Vanished)]:
        raise OutputError("\n".join(gone))


def load_plan(rules: Rules, file: Path, *, allow_vanish: bool = False, emit: Emit = silent) -> Plan:
    """A plan that was saved. It keeps its day: that midnight has passed makes no plan stale.

    Raises StalePlan where another one would be made now, UsageError where the file is no plan.
    """
    saved = load(file)
    try:
        names = tuple(saved.actions())
        if names != rules.chosen(names):
            raise StalePlan(f"the rules changed since {file} was made; plan again")
        allowed = {"allow_prune": saved.allows_prune, "allow_vanish": allow_vanish or saved.allows_vanish}
        with plan(rules.on(saved.day), names, **allowed, emit=emit) as now:
            if now.digest() != saved.digest():
                raise StalePlan(f"the data, the rules or the destinations changed since {file} was made; plan again")
            saved.findings = now.findings
    except UsageError:
        raise StalePlan(f"the rules changed since {file} was made; plan again") from None
    return saved


def without_nodes(rules: Rules, names: tuple[str, ...]) -> tuple[str, ...]:
    """The actions that can be planned without asking a node."""
    return tuple(name for name in names if not kind_of(name).remote)


def prunes(rules: Rules, names: Iterable[str]) -> dict[str, bool]:
    """Return the actions of these that make files, and whether they prune."""
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
) -> Plan:
    """The plan of just these actions. `offline`: of the index as it is, without a look into sources."""
    with opened(rules, as_it_is=offline) as sets, Ledger(rules.base) as ledger, _bounded(sets):
        check_sources(rules, sets.connection)
        makers.check(ledger.connection, rules.file, prunes(rules, names))
        ledger.show_placed(rules.outputs)
        made, limited = Plan(), False
        made.note_day(rules.today)
        given = Given(rules, made, sets, ledger, emit, allow_prune)
        if allow_vanish:
            made.allow_vanish()
        for name in names:
            # What is retrieved comes first, and is as much as the node has.
            kind, action = kind_of(name), rules.actions[name]
            if not limited and not kind.remote:
                made.limit(sets.budget.plan)
                limited = True
            requests = kind.requests(name, action, given)
            emit(Planning(name, made.add(name, _in_time(requests, sets) if limited else requests)))
            selected = kind.selects(action)
            if selected is not None and (instances := sets.brought_along(selected)):
                made.note_brought_along(name, instances)
                emit(BroughtAlong(name, instances))
        contested = (uid for (uid,) in sets.connection.execute(CONTESTED).fetchall())
        facts = _OfflineFacts(ledger, rules.outputs) if offline else _Facts(ledger, rules.outputs)
        gone = decide(made, facts, rules.outputs, contested)
        hold_back(made, rules.needs)
        if offline:
            _note_unknown(facts, sets, rules, emit)
    needed = written(made.connection, lambda folder: device(rules.outputs.real(folder)), (lambda _: None) if offline else device)
    made.findings = (*(() if allow_vanish else gone), *no_room(needed, rules.outputs))
    return made


@contextmanager
def _bounded(sets: Sets) -> Iterator[None]:
    """Within it, a plan that gets too large is a Mistake of the rules."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        most = sets.budget.plan >> 20
        hint = "a set may give rows more than once, or destinations may be very long"
        raise Mistake(f"the plan takes more than {most} MiB, or the disk for temporary files is full", hint=hint) from None


def _in_time(requests: Iterator[Request], sets: Sets) -> Iterator[Request]:
    """The requests, as long as the processor time that printing destinations takes is left for the plan."""
    began = thread_time()
    for number, request in enumerate(requests):
        if number % 64 == 0:
            sets.left, began = sets.left - (thread_time() - began), thread_time()
            if sets.left <= 0:
                hint = "a template may be very long, or a set may give rows more than once"
                raise Mistake("the sets and templates take too long together", hint=hint)
        yield request


@dataclass(frozen=True, slots=True)
class _Facts:
    """The ledger and the disk, as a plan asks of them."""

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

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        return is_made(mode, source, destination, self.outputs)


@dataclass(frozen=True, slots=True)
class _OfflineFacts(_Facts):
    """The same without the content of any file: what only the content can say counts as changed."""

    unknown: list[str] = field(default_factory=list)

    def is_left(self, destination: str, source: bytes, sha256: str) -> bool:
        return False

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        self.unknown.append(destination)
        return False


def _note_unknown(facts: _Facts, sets: Sets, rules: Rules, emit: Emit) -> None:
    """Reports what a plan that was made offline cannot know."""
    if isinstance(facts, _OfflineFacts) and (number := len(facts.unknown)):
        emit(NodeNoted("", f"{number:,} existing files were not compared with their sources: they count as other content"))
    if not obeys(rules, sets.connection):
        emit(NodeNoted("", "the index does not obey decisions.txt yet: what was forgotten or chosen since is not known to it"))
