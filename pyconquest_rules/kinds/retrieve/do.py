"""Retrieve the instances of an action from its node, series by series. An instance counts as retrieved once it is indexed."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

from pyconquest_rules.dicom import Level
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.errors import Error
from pyconquest_rules.events import Noted
from pyconquest_rules.network.limits import MOST_STALLED
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import RetrieveInstance, Series, Step

DELAYS = (1.0, 2.0, 4.0)
"""Seconds before each retry of the instances that did not arrive."""
LONGEST_LIST = 500
"""Instances in one list of UIDs, which may have 64 KB (PS3.5 7.1.2)."""


class Identity(NamedTuple):
    """The patient, study and series of an instance."""

    PatientID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str


class Index(Protocol):
    """The queries of a retrieval to the index."""

    def sizes(self, uids: Collection[str]) -> Mapping[str, int]:
        """Return the file sizes of the instances that are in the index, by SOPInstanceUID."""

    def identities(self, uids: Collection[str]) -> Mapping[str, Identity]:
        """Return the identities of instances, from those of their files that are indexed and readable."""

    def has_series(self, uid: str) -> bool:
        """Return whether the index has an instance of a series."""


class Asked(NamedTuple):
    """One request: its level, its unique keys, the SOP classes if known, and the instances that it must retrieve."""

    level: Level
    keys: Mapping[str, str]
    sop_classes: Collection[str]
    wanted: Collection[str]


Note = Callable[[str], None]

Ask = Callable[[Asked, dict[str, str], Note], None]
"""Requests instances from a node. Adds the reasons of refused instances to the dictionary, and calls `Note` with warnings.

Raises NodeError or Stopped.
"""


@dataclass(frozen=True, slots=True)
class Retrieving:
    """The executor of an action that retrieves. With `whole`, a series that is not indexed yet is requested as a whole.

    `opened` takes a function that returns whether to stop, and opens a way to request instances. It raises Error or OSError if
    nothing can be received.
    """

    node: Node
    index: Index
    opened: Callable[[Callable[[], bool]], AbstractContextManager[Ask]]
    whole: bool

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Retrieve the instances of the steps, and report each."""
        for outcomes in retrieved(steps(), self, runner.stop, lambda message: runner.emit(Noted(action, message))):
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
    """The outcome of a step: the size of the retrieved file, or the reason of the failure."""

    step: Step
    size: int
    message: str | None


class Stopped(Exception):
    """The run stops; the current retrieval is canceled."""


def retrieved(
    steps: Iterator[Step], retrieving: Retrieving, stop: Callable[[], bool], note: Note = lambda _: None
) -> Iterator[list[Outcome]]:
    """Retrieve the instances of `steps`. Yield their outcomes, series by series. `note` is called with warnings.

    After `stop` returns True, nothing more is requested, and instances that have not arrived get no outcome.
    """
    with ExitStack() as stack:
        ask: Ask | None = None
        patient, stalled = True, 0
        for (study, series), members in groupby(steps, key=_series):
            if stop():
                return
            wanted = {step.SOPInstanceUID: step for step in members}
            if stalled >= MOST_STALLED:
                given_up = NodeError(retrieving.node, f"sent nothing in time for {MOST_STALLED} series in a row; gave up")
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
                tell(f"sent {what} not requested; refused here")
            # If a node sent no instance of a series, there are no retries for the next series.
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
    """Request a series, or instances of it, until all are indexed, the retries are used up, or the node refuses.

    Adds the reasons of refused instances to `refused`.
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
    why = str(failure or NodeError(retrieving.node, "returned it by C-FIND, but did not send it"))
    came = retrieving.index.identities(sizes)
    return [
        Outcome(step, sizes.get(uid, 0), _elsewhere(step, came.get(uid)) if uid in sizes else refused.get(uid, why))
        for uid, step in wanted.items()
        if uid in sizes or not stop()
    ]


def _elsewhere(step: Step, came: Identity | None) -> str | None:
    """Return the error if a retrieved instance has another patient, study or series than in C-FIND, else None."""
    asked = _of(step)
    if came is None:
        return "it arrived, but its file cannot be read"
    told = (
        ("patient", asked.PatientID, came.PatientID),
        ("study", asked.StudyInstanceUID, came.StudyInstanceUID),
        ("series", asked.SeriesInstanceUID, came.SeriesInstanceUID),
    )
    others = [level for level, wanted, there in told if wanted and not _same(wanted, there)]
    return f"it has another {' and '.join(others)} than in C-FIND; it was stored" if others else None


def _same(one: str, other: str) -> bool:
    """Return whether two IDs are equal. If both are not ASCII, their decoding may differ, and they count as equal."""
    return one.strip(" ") == other.strip(" ") or not (one.isascii() or other.isascii())


def _requests(study: str, series: str, classes: Mapping[str, str], retrieving: Retrieving) -> Iterator[Asked]:
    """Yield the requests for some instances: the series as a whole if the index has none of it, else lists of UIDs."""
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
    """Return the SOP classes, or none if one is unknown: then a query finds them."""
    return () if "" in classes else sorted(classes)


def _waited(seconds: float, stop: Callable[[], bool]) -> bool:
    """Wait, and return True; return False if the run stops."""
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
    raise TypeError("only a step that retrieves has a series")


def _series(step: Step) -> tuple[str, str]:
    at = _of(step)
    return at.StudyInstanceUID, at.SeriesInstanceUID
