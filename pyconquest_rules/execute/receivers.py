"""The two ways in which what is retrieved comes: by C-GET, or by C-MOVE to a listener of ours."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from pyconquest_rules.execute.inbox import Inbox
from pyconquest_rules.execute.retrievals import Ask, Asked, Stopped
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.part10 import file_meta_information
from pyconquest_rules.network.query_retrieve import get, move
from pyconquest_rules.network.server import ListenError
from pyconquest_rules.network.statuses import Status

# So many bytes of the disk stay free.
MIN_FREE = 1 << 28

WHY: dict[int, str] = {
    Status.OUT_OF_RESOURCES: "there is no room for it",
    Status.DUPLICATE_SOP_INSTANCE: "other content stands where the layout of the source puts it",
    Status.PROCESSING_FAILURE: "its values fit no path of the layout, or the disk or the index cannot be written",
}


@contextmanager
def by_get(node: Node, inbox: Inbox, stop: Callable[[], bool]) -> Iterator[Ask]:
    """Instances come by C-GET, on the association on which they are asked for, and are kept in `inbox`."""

    def ask(asked: Asked, refused: dict[str, str]) -> None:
        wanted = {*asked.wanted}

        def store(sop_class: str, sop_instance: str, syntax: str, data: bytes) -> int:
            if stop():
                raise Stopped
            if sop_instance not in wanted:  # nobody asked for it
                return Status.NOT_AUTHORIZED
            status = kept(inbox, node.ae_title, (sop_class, sop_instance, syntax), data)
            if status != Status.SUCCESS:
                refused[sop_instance] = WHY.get(status, f"what came is not what was asked for (0x{status:04X})")
            return status

        get(node, asked.level, asked.keys, store, asked.sop_classes)

    with inbox:
        yield ask


def kept(inbox: Inbox, source_ae_title: str, about: tuple[str, str, str], data: bytes) -> int:
    """Keeps an instance, durably and in the index; gives the status that says so, or why not (PS3.4 B.2.3).

    `about` is its SOP Class, SOP Instance and Transfer Syntax UID.
    """
    try:
        if inbox.free() - len(data) < MIN_FREE:
            return Status.OUT_OF_RESOURCES
        with inbox.part(*about, source_ae_title) as part:
            part.write(file_meta_information(*about, source_ae_title))
            part.write(data)
            return part.finish()
    except Exception as error:  # noqa: BLE001 - as with a listener: whatever becomes of one instance must not end the others
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Status.OUT_OF_RESOURCES if no_room else Status.PROCESSING_FAILURE


@contextmanager
def by_move(node: Node, listening: AbstractContextManager[object], ae_title: str, stop: Callable[[], bool]) -> Iterator[Ask]:
    """Instances come by C-MOVE to a listener of ours, here, or where its port is taken in the process that has it."""
    with ExitStack() as stack:
        cannot_listen = ""
        try:
            stack.enter_context(listening)
        except ListenError as error:
            cannot_listen = f" ({error})"

        def ask(asked: Asked, _: dict[str, str]) -> None:
            try:
                with closing(move(node, asked.level, asked.keys, ae_title)) as progress:
                    for _counts in progress:
                        if stop():
                            raise Stopped
            except NodeError as error:
                raise NodeError(node, f"{error.what}{cannot_listen}", retry=error.retry) from None

        yield ask
