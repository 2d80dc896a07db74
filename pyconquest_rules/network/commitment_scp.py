"""Answer requests for storage commitment that a listener receives (the SCP of Storage Commitment: PS3.4 J)."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.accepting import Accepted
from pyconquest_rules.network.commitment import RESOURCE_LIMITATION, Request, action_response, event_report, read_request
from pyconquest_rules.network.dimse import identifier
from pyconquest_rules.network.limits import LONGEST_ACTION
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.reporting import Archive, Reports, refused
from pyconquest_rules.network.statuses import GENERAL, Status, words
from pyconquest_rules.network.wire import Wire

Failed = Callable[[str, str, str], None]
"""Called with the AE title and the address of a peer, and the reason why it got no report."""


class Commitments:
    """Answers requests for storage commitment to the instances of `archive`.

    A peer whose AE title is one of `nodes` gets its report on a new association. Any other peer gets it on the association of its
    request, which it must keep open.
    """

    def __init__(self, ae_title: str, nodes: Iterable[Node], archive: Archive, failed: Failed) -> None:
        self.archive, self.failed = archive, failed
        ours = [replace(node, calling_ae_title=ae_title or node.calling_ae_title) for node in nodes]
        self._reports = Reports(ours, archive, failed)
        self.start, self.stop = self._reports.start, self._reports.stop

    def request(self, wire: Wire, messages: Messages, message: Message, accepted: Accepted, address: str) -> None:
        """Answer an N-ACTION-RQ, then send the report or queue it. Raises WireError."""
        data_set = identifier(messages.data_set(message.context_id), LONGEST_ACTION) if message.has_data_set else b""
        _, syntax = accepted.contexts[message.context_id]
        calling, length = accepted.calling_ae_title, accepted.maximum_length
        request, node = read_request(message, data_set, syntax), self._reports.node(calling, address)
        if node is not None and self._reports.full:
            request = RESOURCE_LIMITATION
        status = Status.SUCCESS if isinstance(request, Request) else request
        wire.write(dimse.message(message.context_id, action_response(message, status), length))
        if not isinstance(request, Request):
            self.failed(calling, address, f"its request was refused: {words(status, GENERAL)} ({status:04X})")
        elif node is not None:
            self._reports.add(node, request, address)
        else:
            command, data = event_report(request, refused(self.archive, request), syntax)
            complete = dimse.command_set({**command, dimse.MESSAGE_ID: 1, dimse.DATA_SET_TYPE: dimse.HAS_DATA_SET})
            wire.write(dimse.message(message.context_id, complete, length, data))

    def answered(self, message: Message, accepted: Accepted, address: str) -> None:
        """Handle an N-EVENT-REPORT-RSP: the answer to a report on the association of its request. Raises WireError."""
        if status := dimse.number(message.command, dimse.STATUS):
            why = f"it answered the report with {words(status, GENERAL)} ({status:04X})"
            self.failed(accepted.calling_ae_title, address, why)
