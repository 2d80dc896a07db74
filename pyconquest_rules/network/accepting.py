"""An association is accepted (PS3.8 7.1): pynetdicom's ACSE decides, its threads are never started.

A request comes in and an answer goes out over a wire, whose deadlines and limits hold from the first byte on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pyconquest_rules.network.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pyconquest_rules.network.wire import ASSOCIATE_RQ, HEAD, Wire, WireError

# More than 128 presentation contexts take, of every transfer syntax there is.
LONGEST_REQUEST = 1 << 18

# PS3.8 9.3.4: result, source, reason.
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
VERSION_NOT_SUPPORTED = (1, 2, 2)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was agreed on: who called, how long a PDU it takes, and by context ID the SOP class and transfer syntax."""

    calling_ae_title: str
    maximum_length: int
    contexts: dict[int, tuple[str, str]]


def storage_ae(ae_title: str, allow: tuple[str, ...], max_pdu: int) -> AE:
    """An AE for verification and all standard storage SOP classes in every transfer syntax.

    It must be called by its title, unless that is ""; `allow` may call, empty: all.
    """
    ae = AE(ae_title or "ANY")
    ae.require_called_aet, ae.require_calling_aet, ae.maximum_pdu_size = bool(ae_title), list(allow), max_pdu
    ae.implementation_class_uid, ae.implementation_version_name = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    ae.supported_contexts = [
        build_context(uid, ALL_TRANSFER_SYNTAXES)
        for uid in [Verification, *(context.abstract_syntax for context in AllStoragePresentationContexts)]
    ]
    return ae


def requested(wire: Wire, wait: float) -> A_ASSOCIATE_RQ:
    """The request of a peer, which must begin within `wait` seconds. Raises WireError."""
    kind, data = wire.read_pdu(wait)
    if kind != ASSOCIATE_RQ:
        raise WireError("the peer sent a PDU that has no place here")
    request = A_ASSOCIATE_RQ()
    with _reading():
        request.decode(HEAD.pack(kind, len(data)) + data)
    return request


def accept(wire: Wire, ae: AE, request: A_ASSOCIATE_RQ, *, full: bool) -> Accepted | None:
    """Answers a request: None where it was rejected. Raises WireError.

    `full`: no more associations are taken. Of the transfer syntaxes of a context the first that we know is accepted.
    """
    association = Association(ae, "acceptor")
    association.acceptor.ae_title = ae.ae_title
    association.acceptor.maximum_length = ae.maximum_pdu_size
    association.acceptor.implementation_class_uid = ae.implementation_class_uid
    association.acceptor.implementation_version_name = ae.implementation_version_name
    association.acceptor.supported_contexts = ae.supported_contexts
    with _reading():
        asked = request.to_primitive()
        _first_that_we_know(asked)
        association.requestor.primitive = asked
        if not request.protocol_version & 1:
            association.acse.send_reject(*VERSION_NOT_SUPPORTED)
        elif full:
            association.acse.send_reject(*LOCAL_LIMIT_EXCEEDED)
        else:
            association.acse.negotiate_association()
        answer = association.dul.to_provider_queue.get_nowait()
        if not isinstance(answer, A_ASSOCIATE):
            raise TypeError
        accepted = answer.result == 0
        told = A_ASSOCIATE_AC(answer).encode() if accepted else A_ASSOCIATE_RJ(answer).encode()
    wire.write(told)
    if not accepted:
        return None
    return Accepted(
        asked.calling_ae_title.strip(),
        association.requestor.maximum_length or 0,
        {
            c.context_id: (str(c.abstract_syntax), str(c.transfer_syntax[0]))
            for c in association.accepted_contexts
            if c.context_id
        },
    )


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - pynetdicom raises whatever its parsing of hostile bytes comes to
        raise WireError("the peer sent an association request that cannot be read") from None


def _first_that_we_know(request: A_ASSOCIATE) -> None:
    for context in request.presentation_context_definition_list:
        known = next((syntax for syntax in context.transfer_syntax if syntax in ALL_TRANSFER_SYNTAXES), None)
        if known is not None:
            context.transfer_syntax = [known]
