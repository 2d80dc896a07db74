"""Confirmation by the node: a successful C-STORE does not yet mean that the instance is in an archive."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from pyconquest_rules.engine.runner import Runner
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.server import ListenError

# The number of instances in one question.
AT_ONCE = 500
# After this many questions in a row without an answer, the node is not asked any more.
MOST_UNANSWERED = 3

ASKS_AGAIN = "the next run asks again"
SENDS_AGAIN = "the next run sends it again"
NO_SUCH_INSTANCE = 0x0112


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a node says of instances, by the SOPInstanceUIDs that were delivered: those that it has, and why it lacks others.

    `gone` are those of `why` that the node does not have. `unsaid` is the message for instances that are in neither.
    """

    unsaid: str
    there: frozenset[str] = frozenset()
    why: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


Members = Mapping[str, str]
"""Instances at a node: by the SOPInstanceUID that was delivered, the one in the index."""

Ask = Callable[[Members], Confirmation]
"""Asks a node for instances. Raises NodeError if it cannot be asked."""

Stop = Callable[[], bool]

Asking = Callable[[Stop], AbstractContextManager[Ask]]
"""Prepares to ask a node. Waiting for an answer ends when the argument returns True.

Raises ListenError or NodeError if the node's reports cannot be received.
"""


class Known(NamedTuple):
    """An instance with the UIDs that were delivered."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPInstanceUID: str
    SOPClassUID: str


Look = Callable[[Members], list[Known]]
"""Looks instances up in the index; returns them series by series."""


def confirm(action: str, node: str, asking: Asking, members: Iterator[tuple[str, str]], runner: Runner, *, steps: bool) -> None:
    """Ask a node for what it accepted: the delivered and the indexed SOPInstanceUID of each.

    `steps`: an earlier run sent them and these are their steps; otherwise this run sent and counted them.
    """
    for some, confirmation in confirmations(members, asking, runner.stop):
        runner.ledger.instances.confirm(node, confirmation.there)
        runner.ledger.instances.lose(node, action, {uid: confirmation.why[uid] for uid in confirmation.gone}, runner.result.run)
        for uid in confirmation.there if steps else ():
            runner.done("confirmed", action, some[uid], size=0, brought=0)
        for uid, why in unconfirmed(some, confirmation):
            if not steps:  # sent is not yet done where more than that was asked for
                runner.result.counts["done"] -= 1
                runner.result.counts["sent"] -= 1
            runner.failed(action, some[uid], why)
        if runner.stopped():
            break


def confirmations(members: Iterator[tuple[str, str]], asking: Asking, stop: Stop) -> Iterator[tuple[Members, Confirmation]]:
    """Yield the answers of a node for batches of instances. An error is such an answer too."""
    with ExitStack() as stack:
        try:
            ask = stack.enter_context(asking(stop))
        except (ListenError, NodeError) as error:
            ask = _silence(str(error))
        unanswered, confirmation = 0, Confirmation(ASKS_AGAIN)
        while some := dict(islice(members, AT_ONCE)):
            if unanswered < MOST_UNANSWERED:
                try:
                    confirmation, unanswered = ask(some), 0
                except NodeError as error:
                    confirmation, unanswered = Confirmation(f"{error}; {ASKS_AGAIN}"), unanswered + 1
            yield some, confirmation


def _silence(message: str) -> Ask:
    return lambda _: Confirmation(f"{message}; {ASKS_AGAIN}")


@contextmanager
def finding(node: Node, look: Look, stop: Stop) -> Iterator[Ask]:
    """Confirm instances that the node finds by C-FIND. It may find others later, so nothing is sent again."""
    from pyconquest_rules.network.query import present  # pynetdicom takes long to import

    def ask(members: Members) -> Confirmation:
        there = present(node, (known[:3] for known in look(members)))
        return Confirmation(f"the node took it, but does not find it (C-FIND); {ASKS_AGAIN}", frozenset(there))

    yield ask


@contextmanager
def committing(node: Node, look: Look, stop: Stop) -> Iterator[Ask]:
    """Confirm instances that the node commits to keep (PS3.4 J). Instances that it reports as missing are sent again."""
    from pyconquest_rules.network.commitment import REASONS
    from pyconquest_rules.network.commitment_scu import Waiting
    from pyconquest_rules.network.tls import server_context

    def words(reason: int) -> str:
        what = REASONS.get(reason, "failure reason") if reason else "no reason given"
        then = SENDS_AGAIN if reason == NO_SUCH_INSTANCE else ASKS_AGAIN
        return f"the node does not commit to it: {what} ({reason:04X}); {then}"

    context = server_context(node, node.tls) if node.tls is not None and node.tls.certificate is not None else None
    with Waiting(node.calling_ae_title, node.commitment_host, node.commitment_port, context) as waiting:

        def ask(members: Members) -> Confirmation:
            transaction = waiting.request(node, [(known.SOPClassUID, known.SOPInstanceUID) for known in look(members)])
            report = waiting.report(transaction, node.commitment_timeout, stop)
            why = {uid: words(reason) for uid, reason in report.failed.items()}
            gone = frozenset(uid for uid, reason in report.failed.items() if reason == NO_SUCH_INSTANCE)
            return Confirmation(f"the node does not say whether it commits to it; {ASKS_AGAIN}", report.committed, why, gone)

        yield ask


def unconfirmed(uids: Iterable[str], confirmation: Confirmation) -> Iterator[tuple[str, str]]:
    """Yield the instances that are not confirmed, each with the reason."""
    for uid in uids:
        if uid not in confirmation.there:
            yield uid, confirmation.why.get(uid, confirmation.unsaid)
