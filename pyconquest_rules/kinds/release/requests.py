"""What a release requests: the files of its evidence."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from pyconquest_rules.content import Applied
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.parts import covering
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.requested import Files
from pyconquest_rules.events import Emit, Noted
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.release.evidence import About, Evidence, names
from pyconquest_rules.kinds.release.lock import DATE, head, today
from pyconquest_rules.kinds.release.rule import Release
from pyconquest_rules.paths import UnsafePath, destination
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Reason, Request

# About the number of bytes that the evidence has for each file of a release.
EACH = 400


def requested() -> Files:
    """Return how the evidence is put: what somebody else put there, or changed, stays."""
    return Files(Mode.COPY, OnConflict.ERROR, OnChanged.ERROR)


def about(name: str, release: Release, rules: Rules, opened: Callable[[], AbstractContextManager[tuple[Sets, Ledger]]]) -> About:
    """Return what the evidence of a release is made with."""
    selects = {each: getattr(rules.actions.get(each), "select", "") for each in release.actions}
    return About(name.partition(".")[2], release, rules, selects, opened)


def requests(action: str, about: About, plan: Plan, emit: Emit) -> Iterator[Request]:
    """Yield the files of the evidence, in the order in which they are made. A release without a lock has none yet.

    Their date is that of the lock.
    """
    if not about.lock.exists():
        hint = f"lock it with: pyconquest-rules lock {about.name}"
        emit(Noted(action, f"it is not locked yet, so that no evidence is written; {hint}"))
        return
    group = covering(plan, about.release.actions)
    identity = about.identity(head(about.lock).get(DATE, today()))
    for name in names():
        stamp = (EACH * group.stamp.size, group.stamp.mtime_ns)
        applied = Applied(Evidence(name, about), identity)
        try:
            to = destination(f"{about.release.root}/{name}")
            folder = about.rules.outputs.within(to.folder.path, name)
        except UnsafePath as error:
            yield Request("", b"", *stamp, "", "", "", Reason.UNSAFE_PATH, str(error))
        else:
            yield Request("", b"", *stamp, folder, name, to.folder.written, applied=applied, parts=group.number)
