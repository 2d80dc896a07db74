"""What was done, held against what is there: destinations, actions, instances."""

import os
from collections.abc import Iterator

from pyconquest_rules.answers import ActionStatus, Explained, ExplainedStep, NotIn, Partner
from pyconquest_rules.app.opening import opened
from pyconquest_rules.app.planning import planned, without_nodes
from pyconquest_rules.dicom import unpadded
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.mending import Mending
from pyconquest_rules.engine.partners import partners
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.verify import LookedAt, Verified, every
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
    """Every destination in the ledger of the targets, or of all actions there ever were, against what is on the disk.

    With `mending`, under the run lock that the caller holds, what can be mended is noted for the next plan to do so.
    """
    with Ledger(rules.base, write=mending is not None) as ledger:
        if mending is None:  # else the run lock came with it
            ledger.show_placed(rules.outputs)
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
    with planned(rules, without_nodes(rules, chosen)) as made, Ledger(rules.base) as ledger:
        ledger.show_placed(rules.outputs)
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
WHERE i.SOPInstanceUID IN (
    SELECT SOPInstanceUID FROM images WHERE SOPInstanceUID = :what
    UNION SELECT SOPInstanceUID FROM images WHERE SeriesInstanceUID = :what
    UNION SELECT SOPInstanceUID FROM images WHERE StudyInstanceUID = :what
    UNION SELECT SOPInstanceUID FROM images WHERE PatientID = :what) LIMIT :most
"""

AT_PATH = """
SELECT f.SOPInstanceUID, f.outcome, f.reason FROM rules_files AS f JOIN rules_sources AS s USING (device)
WHERE s.path || '/' || f.path = CAST(? AS TEXT)
"""


def explain(rules: Rules, what: str) -> list[Explained]:
    """The instances that a path of a source or destination, or a UID or PatientID, stands for: at most MOST_EXPLAINED.

    Raises UsageError where it stands for none, and says why a file of a source is not in the index.
    """
    local = without_nodes(rules, (*rules.actions,))
    with opened(rules) as sets, planned(rules, local) as made, Ledger(rules.base) as ledger:
        ledger.show_placed(rules.outputs)
        what = _instance_at(rules, sets, made, what) or what
        rows = sets.connection.execute(INSTANCES, {"what": unpadded(what), "most": MOST_EXPLAINED}).fetchall()
        if not rows:
            raise UsageError("the index has no such file, UID or PatientID")
        steps: dict[str, list[ExplainedStep]] = {uid: [] for uid, *_ in rows}
        for step in [*made.steps(instances=[*steps])]:
            steps[step.SOPInstanceUID].append(_explained(step, made, ledger))
        return [
            Explained(uid, os.path.join(os.fsencode(root), os.fsencode(path)), *_sets(rules, sets, uid), tuple(steps[uid]))
            for uid, root, path in rows
        ]


def _sets(rules: Rules, sets: Sets, uid: str) -> tuple[tuple[str, ...], tuple[NotIn, ...]]:
    """The sets that hold an instance, and those that do not, with what its row has."""
    held = tuple(name for name in rules.selections if sets.holds(uid, name))
    return held, tuple(NotIn(name, values(sets, name, uid)) for name in rules.selections if name not in held)


def _explained(step: Step, made: Plan, ledger: Ledger) -> ExplainedStep:
    """A step with what stands in its way: the steps that it collides with, or the instance that was put there earlier."""
    found, others = partners(made, step)
    if step.reason is Reason.CONFLICT and (holder := ledger.holder(step.operation.destination)):
        action, uid, source = holder
        found = (Partner(action, uid, source, step.operation.destination),) if uid != step.SOPInstanceUID else ()
    return ExplainedStep(step, found, others)


def _instance_at(rules: Rules, sets: Sets, made: Plan, what: str) -> str | None:
    """The SOPInstanceUID of the file of a source, or of what a step would put, at a path."""
    path = os.path.abspath(what)
    row = sets.connection.execute(AT_PATH, (os.fsencode(os.path.realpath(path)),)).fetchone()
    if row and row[1] == "rejected":
        known = f"; explain {row[0]} shows the file that is" if row[0] and row[2] == "conflict" else ""
        raise UsageError(f"the file is not in the index: it was rejected ({row[2]}){known}")
    if row:
        return str(row[0])
    return made.instance_at(os.path.relpath(path, rules.base)) or made.instance_at(path)
