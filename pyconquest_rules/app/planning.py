"""What would be done, and why: the rules, the index, the ledger and the disk make a plan."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pyconquest_rules.actions import matching
from pyconquest_rules.actions.copy import Copy, wishes
from pyconquest_rules.actions.retrieve import Retrieve, retrieve_wishes
from pyconquest_rules.actions.send import Confirm, Send, send_wishes
from pyconquest_rules.answers import Vanished
from pyconquest_rules.app.nodes import skipped_words
from pyconquest_rules.app.opening import check_sources, opened
from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.errors import OutputError, StalePlan, UsageError
from pyconquest_rules.events import BroughtAlong, Emit, NodeNoted, Planning, StepFailed, silent
from pyconquest_rules.execute import folders
from pyconquest_rules.execute.files import is_left, is_made
from pyconquest_rules.execute.ledger import Ledger
from pyconquest_rules.execute.room import device, no_room, nothing_in
from pyconquest_rules.facts import Entry, Gone
from pyconquest_rules.index.decisions import DecisionsFile
from pyconquest_rules.index.selection import Sets
from pyconquest_rules.index.tables import CONTESTED
from pyconquest_rules.network.node import NodeError
from pyconquest_rules.outputs import Outputs, Root
from pyconquest_rules.plan.guard import written
from pyconquest_rules.plan.planner import decide, hold_back
from pyconquest_rules.plan.store import Plan, load
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode, Reason, Wish


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
    return tuple(name for name in names if not isinstance(rules.actions[name], Retrieve))


def planned(
    rules: Rules,
    names: tuple[str, ...],
    *,
    allow_prune: bool = False,
    allow_vanish: bool = False,
    emit: Emit = silent,
) -> Plan:
    """The plan of just these actions."""
    made = Plan()
    made.note_day(rules.today)
    if allow_vanish:
        made.allow_vanish()
    with opened(rules) as sets, Ledger(rules.base) as ledger:
        check_sources(rules, sets.connection)
        for name in names:
            emit(Planning(name, made.add(name, _wishes(rules, name, sets, ledger, made, allow_prune, emit))))
            if instances := _brought_along(rules, name, sets):
                made.note_brought_along(name, instances)
                emit(BroughtAlong(name, instances))
        contested = (uid for (uid,) in sets.connection.execute(CONTESTED).fetchall())
        gone = decide(made, _Facts(ledger, rules.outputs), rules.outputs, contested)
        hold_back(made, rules.needs)
    needed = written(made.connection, lambda folder: device(rules.outputs.real(folder)), device)
    made.findings = (*(() if allow_vanish else gone), *no_room(needed, rules.outputs))
    return made


def _wishes(rules: Rules, name: str, sets: Sets, ledger: Ledger, made: Plan, allow_prune: bool, emit: Emit) -> Iterator[Wish]:
    """Adds an action to a plan, and gives its wishes."""
    match rules.actions[name]:
        case Copy() as copy:
            pruned = allow_prune if copy.prune else None
            made.add_action(name, copy.mode, copy.on_conflict, copy.on_changed, copy.fingerprint, pruned)
            template = rules.templates[name]
            return wishes(template, rules.outputs, sets.instances(copy.select, template.columns))
        case Send() as send:
            node = rules.nodes[send.node].identity
            made.add_send(name, node, send.fingerprint, confirm=send.confirm is not Confirm.STATUS)
            return send_wishes(sets.instances(send.select, ()), ledger.failed_at(node))
        case Retrieve() as retrieve:
            made.add_retrieve(name, rules.nodes[retrieve.node].identity, retrieve.into, retrieve.fingerprint)
            return _asked(rules, name, retrieve, sets, emit)


def _brought_along(rules: Rules, name: str, sets: Sets) -> int:
    match rules.actions[name]:
        case Copy(select=select) | Send(select=select):
            return sets.brought_along(select)
        case Retrieve():
            return 0


def _asked(rules: Rules, name: str, retrieve: Retrieve, sets: Sets, emit: Emit) -> Iterator[Wish]:
    """What a node says that it has. Where it fails, a wish says so, which can only be blocked: other actions go on."""
    from pyconquest_rules.network.query_retrieve import find

    def known(uids: list[str]) -> Iterator[str]:
        found = sets.connection.execute(
            "SELECT SOPInstanceUID FROM images WHERE SOPInstanceUID IN (SELECT value FROM json_each(?))", (json.dumps(uids),)
        )
        return (uid for (uid,) in found)

    def kept(match: Mapping[str, str]) -> bool:
        forgotten = decisions.forget(unpadded(match.get(level.key)) for level in Level)
        return not (forgotten and next(left_out))

    decisions, left_out, skipped = DecisionsFile(rules.base).read(), count(1), count(1)
    keys, node, match = ["SOPClassUID", "PatientID"], rules.nodes[retrieve.node], matching.on(retrieve.match, rules.today)
    try:
        with closing(find(node, Level.IMAGE, match, keys, skipped=lambda: next(skipped))) as matches:
            yield from retrieve_wishes(filter(kept, matches), known)
        if number := next(skipped) - 1:
            emit(NodeNoted(name, skipped_words(node, number)))
        if number := next(left_out) - 1:
            emit(NodeNoted(name, f"{number:,} matches of the node are forgotten (decisions.txt), and not retrieved"))
    except NodeError as error:
        emit(StepFailed(name, "", str(error)))
        yield Wish("", b"", 0, 0, "", "", "", Reason.NODE_FAILED, str(error))


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
