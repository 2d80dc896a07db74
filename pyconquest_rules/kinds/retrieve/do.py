"""Retrieving the instances of an action from its node, series by series. What counts as come is what is in the index then."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

from pyconquest_rules.dicom import Level
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.errors import Error
from pyconquest_rules.events import NodeNoted
from pyconquest_rules.network.limits import MOST_STALLED
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import RetrieveInstance, Series, Step

# What did not come is asked for again so often, each time after twice as many seconds.
DELAYS = (1.0, 2.0, 4.0)
# So many instances are asked for by one list of UIDs, which may have 64 KB (PS3.5 7.1.2).
LONGEST_LIST = 500


class Identity(NamedTuple):
    """Of which patient, study and series an instance is."""

    PatientID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str


class Index(Protocol):
    """The index, as a retrieval sees it."""

    def sizes(self, uids: Collection[str]) -> Mapping[str, int]:
        """Of SOPInstanceUIDs those that it has, with the sizes of their files."""

    def identities(self, uids: Collection[str]) -> Mapping[str, Identity]:
        """What the files of instances say of them, as far as they are indexed and can be read."""

    def has_series(self, uid: str) -> bool:
        """Whether it has anything of a series."""


class Asked(NamedTuple):
    """What is asked for at once: a level, the unique keys, the SOP classes as far as they are known, and what is wanted of it."""

    level: Level
    keys: Mapping[str, str]
    sop_classes: Collection[str]
    wanted: Collection[str]


Note = Callable[[str], None]

# Asks a node for instances. Puts into a dictionary why those that came were not kept, and notes what is odd about others.
# Raises NodeError, and Stopped.
Ask = Callable[[Asked, dict[str, str], Note], None]


@dataclass(frozen=True, slots=True)
class Retrieving:
    """What an action that retrieves needs. `whole`: a series of which nothing is there may be asked for as one.

    `opened` gives a way to ask; what it is given says when to stop. Entering it raises Error or OSError where nothing can be
    received.
    """

    node: Node
    index: Index
    opened: Callable[[Callable[[], bool]], AbstractContextManager[Ask]]
    whole: bool

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Retrieves what there is to retrieve."""
        for outcomes in retrieved(steps(), self, runner.stop, lambda message: runner.emit(NodeNoted(action, message))):
            runner.ledger.instances.record_retrieved(
                action, ((step, message) for step, _, message in outcomes), runner.result.run
            )
            for step, size, message in outcomes:
                if message is None:
                    runner.done("retrieved", action, step.SOPInstanceUID, step.operation.stamp.size, size)
                else:
                    runner.failed(action, step.SOPInstanceUID, message)
        runner.stopped()


class Outcome(NamedTuple):
    """What became of a step: the size of the file that came, or why none did."""

    step: Step
    size: int
    message: str | None


class Stopped(Exception):
    """It is time to stop: what is under way is broken off."""


def retrieved(
    steps: Iterator[Step], retrieving: Retrieving, stop: Callable[[], bool], note: Note = lambda _: None
) -> Iterator[list[Outcome]]:
    """Retrieves the instances of `steps`; gives what became of them, a series at a time. `note` gets what else is to be known.

    Once `stop` says so nothing more is asked for; of what did not come until then nothing is said.
    """
    with ExitStack() as stack:
        ask: Ask | None = None
        patient, stalled = True, 0
        for (study, series), members in groupby(steps, key=_series):
            if stop():
                return
            wanted = {step.SOPInstanceUID: step for step in members}
            if stalled >= MOST_STALLED:
                given_up = NodeError(retrieving.node, f"sent nothing in time of {MOST_STALLED} series in a row, and is given up")
                yield [Outcome(step, 0, str(given_up)) for step in wanted.values()]
                continue
            try:
                ask = ask or stack.enter_context(retrieving.opened(stop))
            except (OSError, Error) as error:
                message = f"cannot receive: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                yield [Outcome(step, 0, message) for step in wanted.values()]
                continue
            refused, node = dict[str, str](), retrieving.node

            def tell(what: str, node: Node = node) -> None:
                note(f"node {node.name} ({node.identity}): {what}")

            began = time.monotonic()
            outcomes = _retrieved(study, series, wanted, retrieving, ask, DELAYS if patient else (), stop, refused, tell)
            if number := len(refused.keys() - wanted.keys()):
                what = f"{number} instances that were" if number != 1 else "an instance that was"
                tell(f"sent {what} not asked for; refused here")
            # A node that gave nothing of a series, however often it was asked, is asked once for the next.
            patient = any(outcome.message is None for outcome in outcomes)
            slow = time.monotonic() - began >= min(node.dimse_timeout, node.acse_timeout, node.connect_timeout)
            stalled = 0 if patient else stalled + slow
            yield outcomes


def _retrieved(
    study: str,
    series: str,
    wanted: Mapping[str, Step],
    retrieving: Retrieving,
    ask: Ask,
    delays: tuple[float, ...],
    stop: Callable[[], bool],
    refused: dict[str, str],
    tell: Note,
) -> list[Outcome]:
    """Asks for a series, or what is wanted of it, until all is there or nothing more is to be hoped for.

    Adds to `refused` why instances that came were not kept.
    """
    failure: NodeError | None = None
    for delay in (0.0, *delays):
        sizes = retrieving.index.sizes(wanted)
        missing = {uid: _of(step).SOPClassUID for uid, step in wanted.items() if uid not in sizes and uid not in refused}
        if not missing or not _waited(delay, stop):
            break
        failure = None
        try:
            for asked in _requests(study, series, missing, retrieving):
                ask(asked, refused, tell)
        except NodeError as error:
            failure = error
            if not error.retry:
                break
        except Stopped:
            break
    sizes = retrieving.index.sizes(wanted)
    why = str(failure or NodeError(retrieving.node, "says by C-FIND that it has it, and did not send it"))
    came = retrieving.index.identities(sizes)
    return [
        Outcome(step, sizes.get(uid, 0), _elsewhere(step, came.get(uid)) if uid in sizes else refused.get(uid, why))
        for uid, step in wanted.items()
        if uid in sizes or not stop()
    ]


def _elsewhere(step: Step, came: Identity | None) -> str | None:
    """What is wrong with an instance that came: it may be of another patient, study or series than the node said."""
    asked = _of(step)
    if came is None:
        return "it came, and its file cannot be read"
    told = (
        ("patient", asked.PatientID, came.PatientID),
        ("study", asked.StudyInstanceUID, came.StudyInstanceUID),
        ("series", asked.SeriesInstanceUID, came.SeriesInstanceUID),
    )
    others = [level for level, wanted, there in told if wanted and not _same(wanted, there)]
    return f"it came under another {' and '.join(others)} than the node named in C-FIND; it was kept" if others else None


def _same(one: str, other: str) -> bool:
    """Whether two IDs are the same. Beyond ASCII they may only be decoded in different ways."""
    return one.strip(" ") == other.strip(" ") or not (one.isascii() or other.isascii())


def _requests(study: str, series: str, classes: Mapping[str, str], retrieving: Retrieving) -> Iterator[Asked]:
    """What to ask for so that these instances come: the series as a whole where nothing of it is there, else their UIDs."""
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    if retrieving.whole and not retrieving.index.has_series(series):
        yield Asked(Level.SERIES, keys, _known({*classes.values()}), classes)
        return
    uids = [*classes]
    for start in range(0, len(uids), LONGEST_LIST):
        some = uids[start : start + LONGEST_LIST]
        listed = {**keys, "SOPInstanceUID": "\\".join(some)}
        yield Asked(Level.IMAGE, listed, _known({classes[uid] for uid in some}), some)


def _known(classes: Collection[str]) -> Collection[str]:
    """SOP classes, or none where one of them is not known: then the node is asked."""
    return () if "" in classes else sorted(classes)


def _waited(seconds: float, stop: Callable[[], bool]) -> bool:
    """Waits; False where it was time to stop."""
    end = time.monotonic() + seconds
    while not stop():
        left = end - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, 0.1))
    return False


def _of(step: Step) -> Series:
    match step.operation:
        case RetrieveInstance(series=series):
            return series
    raise TypeError("only what is to be retrieved has a series")


def _series(step: Step) -> tuple[str, str]:
    at = _of(step)
    return at.StudyInstanceUID, at.SeriesInstanceUID
