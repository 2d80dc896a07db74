"""An overview of a plan for a person: similar steps in groups, folder by folder, with a sample of each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.plan_tables import RANK
from pyconquest_rules.steps import Reason, Status


@dataclass(frozen=True, slots=True)
class Place:
    """The steps of a group with one folder, node or series: their number, their bytes, and the first of them.

    The name is that of the folder, with a "/" at its end, or what `Node.identity` is, or the StudyInstanceUID and the
    SeriesInstanceUID; "" for steps that have no place. Each step is a file name, or a SOPInstanceUID.
    """

    name: str
    steps: int
    bytes: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Steps of one action with the same status, reason and message. `places` are the first ones of `folders` places.

    `node` is the node that is sent to, or retrieved from.
    """

    action: str
    status: Status
    reason: Reason
    message: str | None
    kind: str
    """Of the rows of its action in the ledger: "file", "instance" or "arrival"."""
    node: str | None
    steps: int
    bytes: int
    folders: int
    places: tuple[Place, ...]


MOST_GROUPS = 40
# Places of a group, and steps of a place.
MOST_OF_TROUBLE, MOST_OF_REST = (10, 10), (6, 1)

# The folder of a file to be removed is in its name.
JOINED = """
FROM step CROSS JOIN request USING (number) CROSS JOIN folder ON folder.number = request.folder
    CROSS JOIN series ON series.number = request.series CROSS JOIN action ON action.number = step.action
"""
PLACE = """
CASE WHEN request.series THEN StudyInstanceUID || ' ' || SeriesInstanceUID
    WHEN request.folder = 0 AND request.name != '' THEN rtrim(request.name, replace(request.name, '/', '')) ELSE path END
"""
# Steps that collide may have the same name, so their SOPInstanceUIDs are shown too.
NAME = """
iif(request.name = '', SOPInstanceUID, substr(request.name, length(rtrim(request.name, replace(request.name, '/', ''))) + 1)
    || iif(step.reason = 'collision' AND instr(request.name, SOPInstanceUID) = 0, '  ' || SOPInstanceUID, ''))
"""

GROUPS = f"""
SELECT action.number, action.name, status, step.reason, step.message, action.kind, action.node, count(*), sum(step.size),
    count(DISTINCT {PLACE}) {JOINED} WHERE status != 'unchanged' AND {{only}}
GROUP BY {RANK}, action.number, status, step.reason, step.message
ORDER BY {RANK}, action.number, step.reason, step.message LIMIT {MOST_GROUPS}
"""

PLACES = f"""
SELECT {PLACE} AS held_in, count(*), sum(step.size) {JOINED}
WHERE step.action = ? AND status = ? AND step.reason = ? AND step.message IS ? GROUP BY held_in ORDER BY held_in LIMIT ?
"""

MEMBERS = f"""
SELECT {PLACE} AS held_in, {NAME} {JOINED}
WHERE step.action = ? AND status = ? AND step.reason = ? AND step.message IS ?
    AND held_in IN (SELECT value FROM json_each(?)) ORDER BY 1, 2
"""


def overview(plan: Plan, *, blocked: bool = False) -> Iterator[Group]:
    """Yield the groups of steps that are not unchanged; with `blocked`, only those that are blocked.

    Blocked and changed ones come first, with more of their places and steps than the rest. All are sorted by name.
    """
    only = "status = 'blocked'" if blocked else "1"
    for row in plan.connection.execute(GROUPS.format(only=only)).fetchall():
        number, action, status, reason, message, kind, node, steps, size, folders = row
        places, first = MOST_OF_TROUBLE if status == "blocked" or reason == "destination-changed" else MOST_OF_REST
        found = tuple(_places(plan, (number, status, reason, message), places, first))
        yield Group(action, Status(status), Reason(reason), message, kind, node, steps, size or 0, folders, found)


def _places(plan: Plan, which: tuple[Any, ...], places: int, first: int) -> Iterator[Place]:
    found = {name: (number, size) for name, number, size in plan.connection.execute(PLACES, (*which, places))}
    members = plan.connection.execute(MEMBERS, (*which, json.dumps([*found])))
    for place, steps in groupby(members, key=itemgetter(0)):
        names = tuple(name for _, name in islice(steps, first))
        yield Place(place, *found[place], names)
