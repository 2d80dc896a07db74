"""Carry out the steps of a send: each outcome is recorded in the ledger at once, and failures are tried again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

from pyconquest_rules.disk.contents import has_file
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.kinds.send.confirming import Asking, confirm
from pyconquest_rules.kinds.send.senders import Senders
from pyconquest_rules.network.node import Node
from pyconquest_rules.steps import SendInstance, Step

if TYPE_CHECKING:
    from pyconquest_rules.network.storage_scu import Sent

# The number of instances that one association gets at a time.
BATCH = 100
# Temporary files of a batch take less than this many bytes, plus one file.
MOST_MADE = 256 << 20
# The pauses in seconds before an instance that may succeed later is tried again.
DELAYS = (1.0, 2.0, 4.0)
# An instance whose association was lost is tried again this many times: alone, after all others, and then last.
LOST_AGAIN = 2
# At most this many instances are kept for another try; the next run tries the rest.
MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Sending:
    """The executor of a send: the node, the number of associations, and their maximum rate in bytes per second.

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
        """Send instances while the window is open, and ask the node to confirm them and those that were sent before."""
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
        """Send. Return how many instances have an outcome, and how many of them the node accepted."""
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
    """Return whether an earlier run sent the instance, so that it only needs confirmation."""
    return isinstance(step.operation, SendInstance) and step.operation.sent


def transferred(steps: Iterator[Step], sending: Sending, stop: Callable[[], bool]) -> Iterator[list[tuple[Step, "Sent"]]]:
    """Send the instances of `steps`. Yield their outcomes in batches, as the answers come.

    What may succeed later is tried again when all others had their turn, each on an association of its own. Once `stop` says
    so no batch is begun, and nothing is waited for; what is under way comes to its end.
    """
    kept: dict[str, tuple[Step, Sent]] = {}
    with Senders(sending.node, sending.associations, DELAYS, max_rate=sending.max_rate, transcode=sending.transcode) as senders:
        # Only this thread reads the steps: a connection of SQLite belongs to one thread.
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
                # Instances that the node had no room for wait for the next run. A lost association is a failure.
                kept = {uid: (step, sent) for uid, (step, sent) in kept.items() if sent.status is None}
                break
            batches = iter([[step] for step, _ in kept.values()])
    if kept:
        yield [*kept.values()]


def _batches(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Yield batches of consecutive steps. Temporary files are on the disk while their batch is sent, so fewer go together."""
    batch, made = list[Step](), 0
    for step in steps:
        batch.append(step)
        match step.operation:
            case SendInstance(content=content) if not has_file(content):
                made += content.stamp.size
        if len(batch) == BATCH or made >= MOST_MADE:
            yield batch
            batch, made = [], 0
    if batch:
        yield batch


def _is_to_be_tried_again(sent: "Sent", tries: int) -> bool:
    """Return whether an instance may still succeed in this run, after a number of tries."""
    most = LOST_AGAIN if sent.status is None else len(DELAYS)
    return sent.retry and not sent.stored and tries < min(most, len(DELAYS))


def _stopped_within(seconds: float, ending: Event, stop: Callable[[], bool]) -> bool:
    """Wait, or return early if `stop` returns True. Return whether it did."""
    end = monotonic() + seconds
    while not stop() and (left := end - monotonic()) > 0:
        ending.wait(min(left, 0.1))
    return stop()
