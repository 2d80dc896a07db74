"""Accept or reject the association that a peer requests (PS3.8 7.1).

The deadlines and limits of the wire hold from the first byte.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyconquest_rules.network.associate import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTANCE,
    APPLICATION_CONTEXT,
    LONGEST,
    PERMANENT,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    TRANSIENT,
    Acceptance,
    Answered,
    Proposed,
    Rejection,
    Request,
    Roles,
    read_request,
)
from pyconquest_rules.network.wire import ASSOCIATE_RQ, Wire, WireError

LONGEST_REQUEST = LONGEST
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"

# PS3.8 9.3.4: result, source, reason.
CONTEXT_NAME_NOT_SUPPORTED = Rejection(PERMANENT, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED = Rejection(PERMANENT, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED = Rejection(PERMANENT, 1, 7)
VERSION_NOT_SUPPORTED = Rejection(PERMANENT, 2, 2)
LOCAL_LIMIT_EXCEEDED = Rejection(TRANSIENT, 3, 2)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptor accepts.

    `ae_title` is the called AE title, or "" for any. `allow` are the calling AE titles, or () for any. `takes` returns whether a
    SOP class is accepted, `knows` whether a SOP class is accepted in a transfer syntax. `takes_unknown` does so for an unknown
    transfer syntax, which is used only if a context has no known one. A requestor gets the roles that it proposes and that
    `roles` has for the SOP class; if `roles` lacks the class, the requestor is SCU only.
    """

    ae_title: str
    allow: tuple[str, ...]
    maximum_length: int
    takes: Callable[[str], bool]
    knows: Callable[[str, str], bool]
    takes_unknown: Callable[[str, str], bool] = lambda sop_class, transfer_syntax: False
    roles: Mapping[str, Roles] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted association: the SOP class and transfer syntax of each context, by context ID.

    `maximum_length` is the longest PDU that the peer receives. `roles` are the roles of the peer for each SOP class for which it
    proposed some; for others it is SCU. `refused` are the contexts that were not accepted.
    """

    calling_ae_title: str
    maximum_length: int
    contexts: dict[int, tuple[str, str]]
    roles: Mapping[str, Roles] = field(default_factory=dict)
    refused: tuple[Proposed, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected request: its AE titles and the reason."""

    calling_ae_title: str
    called_ae_title: str
    reason: str


def requested(wire: Wire, wait: float) -> Request:
    """Read the request of a peer, which must begin within `wait` seconds. Raises WireError."""
    kind, data = wire.read_pdu(wait)
    if kind != ASSOCIATE_RQ:
        raise WireError("the peer sent another PDU instead of an association request")
    return read_request(data)


def accept(wire: Wire, offer: Offer, request: Request, *, full: bool) -> Accepted | Rejected:
    """Answer a request. With `full`, reject it, because there are too many associations. Raises WireError.

    In each context, the first known transfer syntax is accepted, else the first unknown one that the offer takes.
    """
    rejection = _rejection(offer, request, full=full)
    if rejection is not None:
        wire.write(rejection.encode())
        return Rejected(request.calling_ae_title, request.called_ae_title, rejection.words)
    answers = [(context, _answer(offer, context)) for context in request.contexts]
    taken = {
        context.context_id: (context.abstract_syntax, answer.transfer_syntax)
        for context, answer in answers
        if answer.result == ACCEPTANCE
    }
    classes = {sop_class for sop_class, _ in taken.values()}
    roles = {uid: _roles(offer, uid, proposed) for uid, proposed in request.roles.items() if uid in classes}
    answered = tuple(answer for _, answer in answers)
    wire.write(Acceptance(answered, offer.maximum_length, roles, request.echoed).encode())
    refused = tuple(context for context, _ in answers if context.context_id not in taken)
    return Accepted(request.calling_ae_title, request.maximum_length, taken, roles, refused)


def _rejection(offer: Offer, request: Request, *, full: bool) -> Rejection | None:
    """Return why a request is rejected, or None."""
    if not request.protocol_version & 1:
        return VERSION_NOT_SUPPORTED
    if full:
        return LOCAL_LIMIT_EXCEEDED
    if request.application_context not in (APPLICATION_CONTEXT, ""):
        return CONTEXT_NAME_NOT_SUPPORTED
    if offer.ae_title and request.called_ae_title != offer.ae_title.strip():
        return CALLED_AE_TITLE_NOT_RECOGNIZED
    if offer.allow and request.calling_ae_title not in {title.strip() for title in offer.allow}:
        return CALLING_AE_TITLE_NOT_RECOGNIZED
    return None


def _answer(offer: Offer, context: Proposed) -> Answered:
    """Return the answer to a presentation context. If it is refused, its transfer syntax has no meaning (PS3.8 9.3.3.2)."""
    if not offer.takes(context.abstract_syntax):
        return Answered(context.context_id, ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)
    for takes in (offer.knows, offer.takes_unknown):
        for syntax in context.transfer_syntaxes:
            if takes(context.abstract_syntax, syntax):
                return Answered(context.context_id, ACCEPTANCE, syntax)
    return Answered(context.context_id, TRANSFER_SYNTAXES_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)


def _roles(offer: Offer, sop_class: str, proposed: Roles) -> Roles:
    """Return the roles that a requestor gets (PS3.7 D.3.3.4.2), which are among those that it proposed."""
    ours = offer.roles.get(sop_class, Roles(scu=True, scp=False))
    return Roles(proposed.scu and ours.scu, proposed.scp and ours.scp)
