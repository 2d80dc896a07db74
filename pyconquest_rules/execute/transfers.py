"""Sending the instances of an action to its node: several associations, each answer at once to whoever remembers it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from pyconquest_rules.execute.confirming import Asking, confirm
from pyconquest_rules.execute.runner import Runner, Steps
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import SendInstance, Step

if TYPE_CHECKING:
    from pyconquest_rules.network.storage_scu import Sender, Sent

T = TypeVar("T")

# So many instances are given to one association at once.
BATCH = 100
# What may go well later is tried again so often, each time after twice as many seconds.
DELAYS = (1.0, 2.0, 4.0)
# So many answers are remembered together, or those of so many seconds: to remember one takes as long as to send one. What was
# answered and not remembered yet when a run is killed is sent again.
TOGETHER, SECONDS = 16, 0.02


@dataclass(frozen=True, slots=True)
class Sending:
    """What an action that sends needs: the node, how many associations, and how many bytes a second over all of them.

    `asking` is how the node is asked for what it took; None where the status of a C-STORE is enough. `window` is the time of day
    at which may be sent, in words, and `is_open` whether that is now.
    """

    node: Node
    associations: int = 1
    max_rate: int | None = None
    asking: Asking | None = None
    window: str | None = None
    is_open: Callable[[], bool] = lambda: True

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Sends what is to be sent, while the window is open, and has the node confirm that and what was sent before."""
        told, stored = self._send(action, steps, runner)
        if self.window is not None and not runner.result.interrupted:
            runner.wait(action, f"outside its window {self.window}", sum(1 for _ in _to_send(steps())) - told)
        if self.asking is not None and not runner.result.interrupted:
            node, before = self.node.identity, (step.SOPInstanceUID for step in steps() if _was_sent(step))
            confirm(action, node, self.asking, before, runner, steps=True)
            if stored and not runner.result.interrupted:
                now = runner.ledger.unconfirmed(node, action, runner.result.run)
                confirm(action, node, self.asking, now, runner, steps=False)

    def _send(self, action: str, steps: Steps, runner: Runner) -> tuple[int, int]:
        """Sends; gives of how many instances was heard, and how many of them the node took."""
        told, stored = 0, 0
        if self.is_open() and not runner.stopped():
            for answers in transferred(_to_send(steps()), self, lambda: runner.stop() or not self.is_open()):
                runner.ledger.record_sent(
                    ((step, sent.status if sent.stored else None, sent.message) for step, sent in answers), runner.result.run
                )
                for step, sent in answers:
                    size = step.operation.stamp.size
                    if sent.stored:
                        runner.done(action, step.SOPInstanceUID, size, size, sent.message)
                    else:
                        runner.failed(action, step.SOPInstanceUID, sent.message or "no answer")
                told, stored = told + len(answers), stored + sum(sent.stored for _, sent in answers)
        runner.stopped()
        return told, stored


def _to_send(steps: Iterator[Step]) -> Iterator[Step]:
    return (step for step in steps if not _was_sent(step))


def _was_sent(step: Step) -> bool:
    """Whether a step was sent by an earlier run, and is only to be confirmed."""
    return isinstance(step.operation, SendInstance) and step.operation.sent


def transferred(steps: Iterator[Step], sending: Sending, stop: Callable[[], bool]) -> Iterator[list[tuple[Step, "Sent"]]]:
    """Sends the instances of `steps`; gives what became of them, some at a time, as the answers come.

    Once `stop` says so no batch is begun, and nothing is waited for; what is under way comes to its end.
    """
    from pyconquest_rules.network.storage_scu import Sender  # pynetdicom takes long to import

    answers: SimpleQueue[tuple[Step, Sent] | None] = SimpleQueue()
    senders: SimpleQueue[Sender] = SimpleQueue()
    ending, running, workers = Event(), 0, list[Future[None]]()

    def work(batch: list[Step]) -> None:
        sender = senders.get()
        try:
            for answer in _batch(batch, sender, ending):
                answers.put(answer)
        finally:
            if not all(each.is_associated for each in everybody):  # some nodes serve few at a time: others have their turn
                sender.release()
            senders.put(sender)
            answers.put(None)

    rate = sending.max_rate / sending.associations if sending.max_rate else None
    with ExitStack() as stack, ThreadPoolExecutor(sending.associations) as pool:
        everybody = [stack.enter_context(Sender(sending.node, max_rate=rate)) for _ in range(sending.associations)]
        for sender in everybody:
            senders.put(sender)
        try:
            # The steps are read here alone: a connection of SQLite belongs to one thread.
            while True:
                while running < sending.associations and not ending.is_set() and (batch := list(islice(steps, BATCH))):
                    workers.append(pool.submit(work, batch))
                    running += 1
                if not running:
                    break
                came = _together(answers)
                running -= came.count(None)
                if some := [answer for answer in came if answer is not None]:
                    yield some
                if stop():
                    ending.set()
        finally:
            ending.set()
    for worker in workers:
        worker.result()  # what nobody expected must not be lost


def _together(answers: "SimpleQueue[T | None]") -> list[T | None]:
    """The answers that come in a short while; None, which is the last of them, is the end of a batch."""
    found, end = [answers.get()], monotonic() + SECONDS
    while found[-1] is not None and len(found) < TOGETHER:
        try:
            found.append(answers.get(timeout=max(end - monotonic(), 0)))
        except Empty:
            break
    return found


def _batch(batch: list[Step], sender: "Sender", ending: Event) -> Iterator[tuple[Step, "Sent"]]:
    """Sends a batch, and what may go well later again after a while."""
    for delay in (*DELAYS, None):
        again: list[Step] = []
        for step, sent in _once(batch, sender):
            if sent.retry and not sent.stored and delay is not None:
                again.append(step)
            else:
                yield step, sent
        if not again or ending.wait(delay):
            return
        batch = again


def _once(batch: Iterable[Step], sender: "Sender") -> Iterator[tuple[Step, "Sent"]]:
    """Sends a batch once. Where the node cannot be reached, that is the outcome of every step that has none."""
    from pyconquest_rules.network.storage_scu import Instance, Sent

    waiting: dict[str, Step] = {}
    for step in batch:
        if _changed(step):
            yield step, Sent(step.SOPInstanceUID, None, message="the source changed since it was indexed; run again")
        else:
            waiting[step.SOPInstanceUID] = step
    instances = [Instance(step.operation.source, uid) for uid, step in waiting.items()]
    try:
        for instance, sent in sender.send(instances):
            yield waiting.pop(instance.SOPInstanceUID), sent
    except NodeError as error:
        for uid, step in waiting.items():
            yield step, Sent(uid, None, error.retry, str(error))


def _changed(step: Step) -> bool:
    try:
        status = os.stat(step.operation.source)
    except OSError:
        return False  # whoever opens it says what is wrong
    return (status.st_size, status.st_mtime_ns) != (step.operation.stamp.size, step.operation.stamp.mtime_ns)
