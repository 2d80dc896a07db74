"""Sending the instances of an action to its node: several associations, each answer at once to whoever remembers it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from threading import Event, Lock

from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import Step

# So many instances go over one association before the next ones are asked for.
BATCH = 100
# What may go well later is tried again so often, each time after twice as many seconds.
DELAYS = (1.0, 2.0, 4.0)
# Answers are remembered together, as one of them after the other would wait for the disk each time.
TOGETHER = 16

Outcome = int | str
"""The status of the node (PS3.7 C), or why there is none."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What an action that sends needs: the node, how many associations, and how many bytes a second over all of them."""

    node: Node
    associations: int = 1
    max_rate: int | None = None


def transferred(steps: Iterator[Step], sending: Sending, stop: Callable[[], bool]) -> Iterator[list[tuple[Step, Outcome]]]:
    """Sends the instances of `steps`; gives what became of them, some at a time, as the answers come.

    What `stop` breaks off has no outcome: no batch is begun after it.
    """
    answers: SimpleQueue[tuple[Step, Outcome] | None] = SimpleQueue()
    batches, ending = _Batches(steps), Event()

    def work() -> None:
        try:
            while (batch := batches.next()) and not ending.is_set():
                for answer in _batch(batch, sending, ending):
                    answers.put(answer)
        finally:
            answers.put(None)

    with ThreadPoolExecutor(sending.associations) as pool:
        workers = [pool.submit(work) for _ in range(sending.associations)]
        try:
            yield from _together(answers, sending.associations, lambda: ending.set() if stop() else None)
        finally:
            ending.set()
        for worker in workers:
            worker.result()


class _Batches:
    """Steps in batches, for several threads."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps, self._lock = steps, Lock()

    def next(self) -> list[Step]:
        """The next batch; empty when there is no more."""
        with self._lock:
            return list(islice(self._steps, BATCH))


def _together(
    answers: "SimpleQueue[tuple[Step, Outcome] | None]", workers: int, look: Callable[[], None]
) -> Iterator[list[tuple[Step, Outcome]]]:
    """The answers of so many workers, those that came meanwhile together; `look` is called in between."""
    some: list[tuple[Step, Outcome]] = []
    while workers:
        answer = answers.get()
        if answer is None:
            workers -= 1
        else:
            some.append(answer)
        if some and (answers.empty() or len(some) == TOGETHER):
            yield some
            some = []
            look()


def _batch(batch: list[Step], sending: Sending, ending: Event) -> Iterator[tuple[Step, Outcome]]:
    """Sends a batch, and what may go well later again after a while."""
    for delay in (*DELAYS, None):
        again: list[Step] = []
        for step, outcome, retry in _once(batch, sending):
            if retry and delay is not None:
                again.append(step)
            else:
                yield step, outcome
        if not again or ending.wait(delay):
            return
        batch = again


def _once(batch: Iterable[Step], sending: Sending) -> Iterator[tuple[Step, Outcome, bool]]:
    """Sends a batch once; gives each outcome, and whether it may be another one later.

    Where the node cannot be reached, that is the outcome of every step that has none.
    """
    from pyconquest_rules.network.storage_scu import Instance, send  # pynetdicom takes long to import

    waiting: dict[str, Step] = {}
    for step in batch:
        if _changed(step):
            yield step, "the source changed since it was indexed; run again", False
        else:
            waiting[step.SOPInstanceUID] = step
    instances = [Instance(step.operation.source, uid) for uid, step in waiting.items()]
    rate = sending.max_rate / sending.associations if sending.max_rate else None
    try:
        for instance, sent in send(sending.node, instances, max_rate=rate):
            step = waiting.pop(instance.SOPInstanceUID)
            why = sent.message or f"the node answered with the status {sent.status:04X}"
            yield step, sent.status if sent.stored else why, sent.retry and not sent.stored
    except NodeError as error:
        for step in waiting.values():
            yield step, str(error), error.retry


def _changed(step: Step) -> bool:
    try:
        status = os.stat(step.operation.source)
    except OSError:
        return False  # whoever opens it says what is wrong
    return (status.st_size, status.st_mtime_ns) != (step.operation.stamp.size, step.operation.stamp.mtime_ns)
