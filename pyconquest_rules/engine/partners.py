"""Why a step collides, by name: the other steps that want its path, a folder in its place, or its file."""

from collections.abc import Iterator
from itertools import islice, zip_longest

from pyconquest_rules.answers import Partner
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.paths import collision_key
from pyconquest_rules.steps import Reason, Step

FROM_REQUEST = """
SELECT action.name, request.SOPInstanceUID, request.source, folder.path || request.name FROM request AS own
    JOIN folder AS there ON there.number = own.folder
"""
BY_FOLDER = "JOIN request ON request.folder = folder.number JOIN action ON action.number = request.action"

SAME_PATH = f"""
{FROM_REQUEST} JOIN request ON request.key = own.key AND request.number != own.number
    JOIN folder ON folder.number = request.folder AND folder.key = there.key JOIN action ON action.number = request.action
WHERE own.number = :number ORDER BY request.number
"""

# Keys of folders end with a slash.
FOLDER_OF_THAT_NAME = f"""
{FROM_REQUEST} JOIN folder ON substr(folder.key, 1, length(there.key || own.key) + 1) = there.key || own.key || '/' {BY_FOLDER}
WHERE own.number = :number ORDER BY request.number
"""
ALIKE = f"""
{FROM_REQUEST} JOIN folder ON folder.number > 0 AND alike(there.path, there.written, folder.path, folder.written) {BY_FOLDER}
WHERE own.number = :number ORDER BY request.number
"""
SAME_FILE = f"""
{FROM_REQUEST} JOIN request ON request.SOPInstanceUID = own.SOPInstanceUID AND request.number != own.number
    JOIN folder ON folder.number = request.folder JOIN action ON action.number = request.action
WHERE own.number = :number ORDER BY request.number
"""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS request_key ON request (key)",
    "CREATE INDEX IF NOT EXISTS request_folder ON request (folder)",
)
MOST = 5


def partners(plan: Plan, step: Step) -> tuple[tuple[Partner, ...], int]:
    """Return the first of the steps that a step collides with, and how many more there are; none if it does not collide.

    The plan gets indexes for this; it cannot be saved any more.
    """
    if step.reason is not Reason.COLLISION:
        return (), 0
    for index in INDEXES:
        plan.connection.execute(index)
    plan.connection.create_function("alike", 4, _alike, deterministic=True)
    for query in (SAME_PATH, FOLDER_OF_THAT_NAME, ALIKE, SAME_FILE):
        rows = plan.connection.execute(query, {"number": step.number})
        if found := tuple(Partner(*row) for row in islice(rows, MOST)):
            return found, sum(1 for _ in rows)
    return (), 0


def _alike(path: str, written: str, other: str, other_written: str) -> bool:
    """Whether two folders begin with names that are alike but not the same, or were written in two ways."""
    for (name, text), (its_name, its_text) in zip(_names(path, written), _names(other, other_written), strict=False):
        if collision_key(name) != collision_key(its_name):
            return False
        if (name, text) != (its_name, its_text):
            return True
    return False


def _names(path: str, written: str) -> Iterator[tuple[str, str]]:
    """The names of a folder from above, each with what it was written as if that is another. They are counted from below."""
    names = zip_longest(reversed(path.rstrip("/").split("/")), reversed(written.removesuffix("\0").split("\0")), fillvalue="")
    return reversed([(name, "" if text == name else text) for name, text in names])
