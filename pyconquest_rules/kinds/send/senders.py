"""Several associations with a node that send batches of instances at the same time."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from pyconquest_rules.content import NotTransformed
from pyconquest_rules.disk.contents import as_file
from pyconquest_rules.disk.sources import Changed
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import SendInstance, Step

if TYPE_CHECKING:
    from pyconquest_rules.network.outgoing import Instance
    from pyconquest_rules.network.storage_scu import Sender, Sent

T = TypeVar("T")

# The number of answers that are recorded together, or the seconds to wait for more: recording one takes as long as sending one.
# If a run is killed, instances whose answers were not recorded are sent again.
TOGETHER, SECONDS = 16, 0.02


class Unsent(Exception):
    """Why an instance is not sent, without a value of a patient."""


class Senders:
    """A number of associations with a node. A context manager that releases all of them at its end.

    `delays` are the seconds before an unreachable node is tried again. If it does not answer at all meanwhile, it is dead:
    whatever is sent from then on fails at once.
    """

    def __init__(self, node: Node, number: int, delays: tuple[float, ...], *, max_rate: float | None, transcode: bool) -> None:
        from pyconquest_rules.network.storage_scu import Sender  # takes long to import

        rate = max_rate / number if max_rate else None
        self._delays, self._all = delays, [Sender(node, max_rate=rate, transcode=transcode) for _ in range(number)]
        self._free: SimpleQueue[Sender] = SimpleQueue()
        self._busy: set[Sender] = set()
        for sender in self._all:
            self._free.put(sender)
        self._answers: SimpleQueue[tuple[Step, Sent] | None] = SimpleQueue()
        self._answered_at, self._stack = 0.0, ExitStack()
        self._dead: NodeError | None = None
        self.ending = Event()
        """When set, no further batch begins, and nothing waits."""

    def __enter__(self) -> "Senders":
        for sender in self._all:
            self._stack.enter_context(sender)
        self._pool = self._stack.enter_context(ThreadPoolExecutor(len(self._all)))
        self._stack.callback(self.ending.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def dead(self) -> bool:
        """Whether the node was given up."""
        return self._dead is not None

    def answers(self, batches: Iterator[list[Step]], *, alone: bool = False) -> Iterator[list[tuple[Step, "Sent"]]]:
        """Send batches. Yield the outcomes of their steps, several at a time, as they come.

        `alone`: each batch gets an association of its own. The batches are read in the thread of the caller.
        """
        running, workers = 0, list[Future[None]]()
        while True:
            while running < len(self._all) and not self.ending.is_set() and (batch := next(batches, None)):
                workers.append(self._pool.submit(self._work, batch, alone))
                running += 1
            if not running:
                break
            came = _together(self._answers)
            running -= came.count(None)
            if some := [answer for answer in came if answer is not None]:
                yield some
        for worker in workers:
            worker.result()  # raises what it raised

    def _work(self, batch: list[Step], alone: bool) -> None:
        sender = self._free.get()
        self._busy.add(sender)
        try:
            if alone:
                sender.release()
            with ExitStack() as made:
                for answer in self._batch(batch, sender, made):
                    self._answers.put(answer)
        finally:
            # Some nodes accept few associations at a time: let others have theirs.
            if alone or not all(each.is_associated for each in self._all):
                sender.release()
            self._busy.discard(sender)
            self._free.put(sender)
            self._answers.put(None)

    def _batch(self, batch: list[Step], sender: "Sender", made: ExitStack) -> Iterator[tuple[Step, "Sent"]]:
        """Send a batch once, but wait for a node that cannot be reached. If that does not change, the rest fails with it."""
        from pyconquest_rules.network.storage_scu import Sent

        waiting, began, error = dict[str, "tuple[Step, Instance]"](), monotonic(), self._dead
        for step in batch:
            try:
                waiting[step.delivered_uid] = step, _instance(step, made)
            except Unsent as unsent:
                yield step, Sent(step.delivered_uid, None, message=str(unsent))
        delays = iter(self._delays)
        while self._dead is None:
            tried = monotonic()
            try:
                for instance, sent in sender.send([instance for _, instance in waiting.values()]):
                    if sent.status is not None:
                        self._answered_at = monotonic()
                    yield waiting.pop(instance.SOPInstanceUID)[0], sent
                return
            except NodeError as caught:
                error = caught
            if self._answered_at > tried:
                delays = iter(self._delays)
            delay = next(delays, None) if error.retry else None
            if delay is None:
                if self._answered_at < began and not any(each.is_associated for each in [*self._busy]):
                    self._dead = error
                break
            if self.ending.wait(delay):
                return
            # Instances that a node cannot accept are often next to each other: go on with others.
            some = [*waiting.items()]
            waiting = dict(some[len(some) // 2 :] + some[: len(some) // 2])
        unreachable = error or self._dead
        for uid, (step, _) in waiting.items():
            yield step, Sent(uid, None, unreachable is not None and unreachable.retry, str(unreachable), tried=False)


def _together(answers: "SimpleQueue[T | None]") -> list[T | None]:
    """Return the answers that come within a short time. None is the last of them, and the end of a batch."""
    found, end = [answers.get()], monotonic() + SECONDS
    while found[-1] is not None and len(found) < TOGETHER:
        try:
            found.append(answers.get(timeout=max(end - monotonic(), 0)))
        except Empty:
            break
    return found


def _instance(step: Step, made: ExitStack) -> "Instance":
    """Return what is sent: the source, or a temporary file with what is made of it. Raises Unsent."""
    from pyconquest_rules.network.outgoing import Instance

    match step.operation:
        case SendInstance(content=content):
            try:
                return Instance(content.source, step.delivered_uid, descriptor=made.enter_context(as_file(content)))
            except (Changed, NotTransformed) as error:
                raise Unsent(str(error)) from None
            except OSError as error:
                raise Unsent(f"it cannot be made: {os.strerror(error.errno or 0)}") from None
    raise TypeError(step.operation)
