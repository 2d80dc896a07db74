"""Sending the instances of an action to its node: each outcome goes at once to the ledger, and what failed is tried again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

from pyconquest_rules.content import Transformed
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.kinds.send.confirming import Asking, confirm
from pyconquest_rules.kinds.send.senders import Senders
from pyconquest_rules.network.node import Node
from pyconquest_rules.steps import SendInstance, Step

if TYPE_CHECKING:
    from pyconquest_rules.network.storage_scu import Sent

# So many instances are given to one association at once.
BATCH = 100
# A batch has less than this, in bytes, of files that recipes transform, plus one file.
MOST_MADE = 256 << 20
# What may succeed later is tried again so often, each time after twice as many seconds.
DELAYS = (1.0, 2.0, 4.0)
# An instance whose association was lost is tried so often again: once alone, when all others had their turn, and then last.
LOST_AGAIN = 2
# More instances than these are not kept for another try: the next run has them.
MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Sending:
    """What an action that sends needs: the node, how many associations, and how many bytes a second over all of them.

    `transcode`: an instance may be sent in the other VR encoding. `asking` is how the node is asked for what it took; None if the
    status of a C-STORE is enough. `window` is the time of day at which may be sent, in words, and `is_open` whether that is now.
    """

    node: Node
    associations: int = 1
    max_rate: int | None = None
    asking: Asking | None = None
    window: str | None = None
    is_open: Callable[[], bool] = lambda: True
    transcode: bool = True

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Sends what is to be sent, while the window is open, and has the node confirm that and what was sent before."""
        told, stored = self._send(action, steps, runner)
        if self.window is not None and not runner.result.interrupted:
            runner.wait(action, f"outside its window {self.window}", sum(1 for _ in _to_send(steps())) - told)
        if self.asking is not None and not runner.result.interrupted:
            node, before = self.node.identity, (_member(step) for step in steps() if _was_sent(step))
            confirm(action, node, self.asking, before, runner, steps=True)
            if stored and not runner.result.interrupted:
                now = runner.ledger.instances.unconfirmed(node, action, runner.result.run)
                confirm(action, node, self.asking, now, runner, steps=False)

    def _send(self, action: str, steps: Steps, runner: Runner) -> tuple[int, int]:
        """Sends; gives of how many instances was heard, and how many of them the node took."""
        told, stored = 0, 0
        if self.is_open() and not runner.stopped():
            for answers in transferred(_to_send(steps()), self, lambda: runner.stop() or not self.is_open()):
                outcomes = ((step, sent.status if sent.stored else None, sent.message, sent.tried) for step, sent in answers)
                runner.ledger.instances.record_sent(outcomes, runner.result.run)
                for step, sent in answers:
                    size = step.operation.stamp.size
                    if sent.stored:
                        runner.done("sent", action, step.SOPInstanceUID, size, size, sent.message)
                    else:
                        runner.failed(action, step.SOPInstanceUID, sent.message or "no answer")
                told, stored = told + len(answers), stored + sum(sent.stored for _, sent in answers)
        runner.stopped()
        return told, stored


def _to_send(steps: Iterator[Step]) -> Iterator[Step]:
    return (step for step in steps if not _was_sent(step))


def _member(step: Step) -> tuple[str, str]:
    return step.delivered_uid, step.SOPInstanceUID


def _was_sent(step: Step) -> bool:
    """Whether a step was sent by an earlier run, and is only to be confirmed."""
    return isinstance(step.operation, SendInstance) and step.operation.sent


def transferred(steps: Iterator[Step], sending: Sending, stop: Callable[[], bool]) -> Iterator[list[tuple[Step, "Sent"]]]:
    """Sends the instances of `steps`; yields their outcomes, some at a time, as the answers come.

    What may succeed later is tried again when all others had their turn, each on an association of its own. Once `stop` says
    so no batch is begun, and nothing is waited for; what is under way comes to its end.
    """
    kept: dict[str, tuple[Step, Sent]] = {}
    with Senders(sending.node, sending.associations, DELAYS, max_rate=sending.max_rate, transcode=sending.transcode) as senders:
        # The steps are read here alone: a connection of SQLite belongs to one thread.
        batches = _batches(steps)
        for tries, delay in enumerate((*DELAYS, 0.0)):
            for answers in senders.answers(batches, alone=tries > 0):
                final: list[tuple[Step, Sent]] = []
                for step, sent in answers:
                    kept.pop(step.SOPInstanceUID, None)
                    if _is_to_be_tried_again(sent, tries) and len(kept) < MOST_KEPT and not senders.dead:
                        kept[step.SOPInstanceUID] = step, sent
                    else:
                        final.append((step, sent))
                if final:
                    yield final
                if stop():
                    senders.ending.set()
            if not kept or senders.dead:
                break
            if _stopped_within(delay, senders.ending, stop):
                # What the node had no room for waits for the next run. A lost association is a failure already.
                kept = {uid: (step, sent) for uid, (step, sent) in kept.items() if sent.status is None}
                break
            batches = iter([[step] for step, _ in kept.values()])
    if kept:
        yield [*kept.values()]


def _batches(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Steps that follow each other. What recipes make lies on the disk while its batch is sent, so that there is less of it."""
    batch, made = list[Step](), 0
    for step in steps:
        batch.append(step)
        match step.operation:
            case SendInstance(content=Transformed(stamp=stamp)):
                made += stamp.size
        if len(batch) == BATCH or made >= MOST_MADE:
            yield batch
            batch, made = [], 0
    if batch:
        yield batch


def _is_to_be_tried_again(sent: "Sent", tries: int) -> bool:
    """Whether an instance may still succeed in this run, after so many other tries."""
    most = LOST_AGAIN if sent.status is None else len(DELAYS)
    return sent.retry and not sent.stored and tries < min(most, len(DELAYS))


def _stopped_within(seconds: float, ending: Event, stop: Callable[[], bool]) -> bool:
    """Waits; returns early if it is to be stopped, and whether it is."""
    end = monotonic() + seconds
    while not stop() and (left := end - monotonic()) > 0:
        ending.wait(min(left, 0.1))
    return stop()
