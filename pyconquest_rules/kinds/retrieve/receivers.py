"""The two ways to receive retrieved instances: by C-GET, or by C-MOVE to a listener of ours."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from pyconquest_rules.intake.inbox import Inbox
from pyconquest_rules.kinds.retrieve.do import Ask, Asked, Note, Stopped
from pyconquest_rules.network.dimse import Blocks
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.retrieval import get, move
from pyconquest_rules.network.server import ListenError
from pyconquest_rules.network.statuses import STORE, Status, words
from pyconquest_rules.network.storing import About, kept

MIN_FREE = 1 << 28
"""Bytes of the disk that stay free."""


@contextmanager
def by_get(node: Node, inbox: Inbox, stop: Callable[[], bool]) -> Iterator[Ask]:
    """Retrieve instances by C-GET, and store them in `inbox`."""

    def ask(asked: Asked, refused: dict[str, str], note: Note) -> None:
        wanted, came = {*asked.wanted}, set[str]()

        def refuse(sop_instance: str, status: int, why: str = "") -> None:
            refused[sop_instance] = f"it was received and refused here: {why or words(status, STORE)} ({status:04X})"

        def store(about: About, data_set: Blocks) -> int:
            if stop():
                raise Stopped
            if about.sop_instance not in wanted:  # not requested
                refuse(about.sop_instance, Status.NOT_AUTHORIZED)
                return Status.NOT_AUTHORIZED
            if about.sop_instance in came:
                return Status.DUPLICATE_SOP_INSTANCE
            stored = kept(inbox, about, data_set, min_free=MIN_FREE)
            came.add(about.sop_instance)
            if stored.status != Status.SUCCESS:
                refuse(about.sop_instance, stored.status, stored.reason)
            elif stored.note:
                note(f"{about.sop_instance}: {stored.note}")
            return stored.status

        get(node, asked.level, asked.keys, store, asked.sop_classes, refused=refuse, wanted=len(wanted))

    with inbox:
        yield ask


@contextmanager
def by_move(node: Node, listening: AbstractContextManager[object], ae_title: str, stop: Callable[[], bool]) -> Iterator[Ask]:
    """Retrieve instances by C-MOVE to a listener of ours: in this process, or in the one that already uses its port."""
    with ExitStack() as stack:
        cannot_listen = ""
        try:
            stack.enter_context(listening)
        except ListenError as error:
            cannot_listen = f" ({error})"

        def ask(asked: Asked, _: dict[str, str], __: Note) -> None:
            try:
                with closing(move(node, asked.level, asked.keys, ae_title, wanted=len(asked.wanted))) as progress:
                    for _counts in progress:
                        if stop():
                            raise Stopped
            except NodeError as error:
                raise NodeError(node, f"{error.what}{cannot_listen}", retry=error.retry) from None

        yield ask
