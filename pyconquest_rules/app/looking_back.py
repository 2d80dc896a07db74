"""Compare the ledger with the disk, the index and the rules: `verify`, `status` and `explain`."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace

from pyconquest_rules.answers import ActionStatus, Asserted, Explained, ExplainedStep, NotIn, Partner
from pyconquest_rules.app.opening import opened
from pyconquest_rules.app.planning import planned, without_nodes
from pyconquest_rules.archives.names import SEPARATOR, divided
from pyconquest_rules.dicom import unpadded
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.mending import Mending
from pyconquest_rules.engine.partners import partners
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.verified import Verified
from pyconquest_rules.engine.verify import LookedAt, every
from pyconquest_rules.engine.verify import verify as verified
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.query.lacking import values
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Reason, Step


def verify(
    rules: Rules,
    targets: tuple[str, ...] = (),
    *,
    deep: bool = False,
    looked_at: LookedAt = every,
    mending: Mending | None = None,
) -> Iterator[Verified]:
    """Compare every destination in the ledger with the disk, and yield a finding for each.

    The destinations are those of the targets, or of all actions that ever ran. `deep`: read and hash each file. With
    `mending`, possible repairs are recorded for the next plan; the caller holds the run lock.
    """
    with Ledger(rules.base, write=mending is not None) as ledger:
        if mending is None:  # otherwise `running` has recorded them
            ledger.show_placed(rules.outputs)
        actions = rules.chosen(targets) if targets else tuple({*rules.actions, *ledger.totals()})
        prefixes = tuple(sorted({prefix for name in actions for prefix in rules.prefixes.get(name, ()) if prefix}))
        found = verified(ledger, rules.outputs, frozenset(actions), prefixes, deep=deep, looked_at=looked_at)
        yield from found if mending is None else mending.noted(found, ledger)


def unmended(mending: Mending, made: Plan) -> Iterator[tuple[str, str]]:
    """Yield the missing and changed destinations that a plan does not repair, each with the reason."""
    yield from mending.troubles()
    yield from made.without(mending.mendable())


def status(rules: Rules, targets: tuple[str, ...] = ()) -> tuple[list[ActionStatus], tuple[Asserted, ...]]:
    """Return the state of each action and the results of the assertions, from the ledger and from a plan on the index as it is.

    No node is queried. So a retrieval has only the instances that were retrieved, and those that failed and are due again.
    """
    chosen = rules.chosen(targets)
    with planned(rules, without_nodes(rules, chosen)) as made, Ledger(rules.base) as ledger:
        ledger.show_placed(rules.outputs)
        totals, counts, asserted = ledger.totals(), made.counts(), made.asserted
    nothing = {"done": 0, "failed": 0, "last": None}
    found = []
    for name in chosen:
        total = totals.get(name, nothing)
        of = counts.get(name, {"unchanged": total["done"], "todo": total["failed"], "blocked": 0})
        found.append(ActionStatus(name, of["unchanged"], of["todo"], of["blocked"], total["failed"], total["last"]))
    return found, asserted


MOST_EXPLAINED = 100

INSTANCES = """
SELECT i.SOPInstanceUID, s.path, f.path
FROM images AS i JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile
JOIN rules_sources AS s ON s.device = f.device
WHERE i.SOPInstanceUID IN (
    SELECT SOPInstanceUID FROM images WHERE SOPInstanceUID IN (SELECT value FROM json_each(:uids))
    UNION SELECT SOPInstanceUID FROM images WHERE SeriesInstanceUID = :what
    UNION SELECT SOPInstanceUID FROM images WHERE StudyInstanceUID = :what
    UNION SELECT SOPInstanceUID FROM images WHERE PatientID = :what) LIMIT :most
"""

AT_PATH = """
SELECT f.SOPInstanceUID, f.outcome, f.reason FROM rules_files AS f JOIN rules_sources AS s USING (device)
WHERE s.path || '/' || f.path = CAST(? AS TEXT)
"""


def explain(rules: Rules, what: str) -> list[Explained]:
    """Return the instances of a path, a UID or a PatientID, at most MOST_EXPLAINED. The path may be a source or a destination.

    Raises UsageError if there is none. For a file of a source, the message says why it is not in the index.
    """
    local = without_nodes(rules, (*rules.actions,))
    with opened(rules) as sets, planned(rules, local) as made, Ledger(rules.base) as ledger:
        ledger.show_placed(rules.outputs)
        uids = _instances_at(rules, sets, made, what) or [unpadded(what)]
        given = {"what": unpadded(what), "uids": json.dumps(uids), "most": MOST_EXPLAINED}
        rows = sets.connection.execute(INSTANCES, given).fetchall()
        if not rows:
            raise UsageError("the index has no such file, UID or PatientID")
        steps: dict[str, list[ExplainedStep]] = {uid: [] for uid, *_ in rows}
        for step in [*made.steps(instances=[*steps])]:
            steps[step.SOPInstanceUID].append(_explained(step, made, ledger))
        for uid, member, step in [*made.steps_with([*steps])]:
            steps[uid].append(replace(_explained(step, made, ledger), member=member or None))
        return [
            Explained(uid, os.path.join(os.fsencode(root), os.fsencode(path)), *_sets(rules, sets, uid), tuple(steps[uid]))
            for uid, root, path in rows
        ]


def _sets(rules: Rules, sets: Sets, uid: str) -> tuple[tuple[str, ...], tuple[NotIn, ...]]:
    """Return the sets that have an instance, and those that do not, with the values of the instance that decide this."""
    held = tuple(name for name in rules.selections if sets.holds(uid, name))
    return held, tuple(NotIn(name, values(sets, name, uid)) for name in rules.selections if name not in held)


def _explained(step: Step, made: Plan, ledger: Ledger) -> ExplainedStep:
    """Return a step with what blocks it: the steps that it collides with, or the instance that owns the destination."""
    found, others = partners(made, step)
    if step.reason is Reason.CONFLICT and (holder := ledger.holder(step.operation.destination)):
        action, uid, source = holder
        found = (Partner(action, uid, source, step.operation.destination),) if uid != step.SOPInstanceUID else ()
    return ExplainedStep(step, found, others)


def _instances_at(rules: Rules, sets: Sets, made: Plan, what: str) -> list[str]:
    """Return the SOPInstanceUID of the file at a path of a source, or those of the step whose destination the path is."""
    path = os.path.abspath(what)
    file, members = divided(os.fsencode(what))
    if not os.path.isfile(file):  # it may be gone, or be a path with two slashes
        file, members = os.fsencode(path), []
    source = SEPARATOR.join([os.path.realpath(file), *members])
    row = sets.connection.execute(AT_PATH, (source,)).fetchone()
    if row and row[1] == "rejected":
        known = f"; explain {row[0]} shows the file that is" if row[0] and row[2] == "conflict" else ""
        raise UsageError(f"the file is not in the index: it was rejected ({row[2]}){known}")
    if row:
        return [str(row[0])]
    return made.instances_at(os.path.relpath(path, rules.base), MOST_EXPLAINED) or made.instances_at(path, MOST_EXPLAINED)
