"""Encode and decode A-ASSOCIATE-RQ, -AC and -RJ (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3).

Decoding ignores padding, reserved fields, and items that are unknown or not used here (asynchronous operations, extended
negotiation, user identity, versions and names of implementations). An item that is longer than its container is an error.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pyconquest_rules.network.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pyconquest_rules.network.wire import ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_RQ, HEAD, WireError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
LONGEST = 1 << 20
"""Bytes of the longest PDU that is read: more than 128 presentation contexts with every transfer syntax need."""

# Items and sub-items (PS3.8 9.3.2, PS3.7 D.3.3).
CONTEXT_NAME, PROPOSED, ANSWERED, ABSTRACT_SYNTAX, TRANSFER_SYNTAX, USER_INFORMATION = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
MAXIMUM_LENGTH, IMPLEMENTATION_CLASS, ROLE, IMPLEMENTATION_VERSION = 0x51, 0x52, 0x54, 0x55

# Protocol version, two reserved bytes, called and calling AE title, 32 reserved bytes.
FIXED, TITLES = struct.Struct(">HH16s16s32s"), slice(4, 68)
ITEM, SHORT, LONG = struct.Struct(">BxH"), struct.Struct(">H"), struct.Struct(">I")

DEFAULT_MAXIMUM_LENGTH = 16384
"""For a peer that does not state its maximum length, although it must (PS3.7 D.3.3.1). Every peer receives such a PDU."""

# Results for a presentation context (PS3.8 9.3.3.2).
ACCEPTANCE, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4

PERMANENT, TRANSIENT = 1, 2

REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
SOURCES = {1: "service user", 2: "service provider, ACSE", 3: "service provider, presentation"}
"""Reasons and sources of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class Roles(NamedTuple):
    """The roles of the requestor for a SOP class (PS3.7 D.3.3.4), proposed or accepted."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context of a request."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A presentation context of an acceptance. `transfer_syntax` has a meaning only if `result` is ACCEPTANCE."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. `maximum_length` is the longest PDU that the requestor receives, 0 for any.

    `echoed` are the AE titles and reserved bytes of a received request, which its acceptance repeats.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[Proposed, ...]
    maximum_length: int
    roles: Mapping[str, Roles] = field(default_factory=dict)
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT
    echoed: bytes = field(default=bytes(64), repr=False)

    def encode(self) -> bytes:
        """Return the PDU."""
        titles = (_title(title) for title in (self.called_ae_title, self.calling_ae_title))
        contexts = (
            _item(
                PROPOSED,
                bytes((context.context_id, 0, 0, 0)),
                _item(ABSTRACT_SYNTAX, context.abstract_syntax.encode()),
                *(_item(TRANSFER_SYNTAX, syntax.encode()) for syntax in context.transfer_syntaxes),
            )
            for context in self.contexts
        )
        fixed = FIXED.pack(self.protocol_version, 0, *titles, bytes(32))
        user = _user_information(self.maximum_length, self.roles)
        return _pdu(ASSOCIATE_RQ, fixed, _item(CONTEXT_NAME, self.application_context.encode()), *contexts, user)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An A-ASSOCIATE-AC. `maximum_length` is the longest PDU that the acceptor receives, 0 for any."""

    contexts: tuple[Answered, ...]
    maximum_length: int
    roles: Mapping[str, Roles] = field(default_factory=dict)
    echoed: bytes = field(default=bytes(64), repr=False)

    def encode(self) -> bytes:
        """Return the PDU. A refused context has a transfer syntax too, without meaning."""
        contexts = (
            _item(
                ANSWERED,
                bytes((context.context_id, 0, context.result, 0)),
                _item(TRANSFER_SYNTAX, context.transfer_syntax.encode()),
            )
            for context in self.contexts
        )
        user = _user_information(self.maximum_length, self.roles)
        return _pdu(
            ASSOCIATE_AC, bytes((0, 1, 0, 0)), self.echoed, _item(CONTEXT_NAME, APPLICATION_CONTEXT.encode()), *contexts, user
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: the numbers of PS3.8 9.3.4."""

    result: int
    source: int
    reason: int

    @property
    def words(self) -> str:
        """Return the reason in the words of the Standard."""
        return REASONS.get((self.source, self.reason), f"reason {self.reason}")

    def encode(self) -> bytes:
        """Return the PDU."""
        return _pdu(ASSOCIATE_RJ, bytes((0, self.result, self.source, self.reason)))


def read_request(data: memoryview) -> Request:
    """Decode a request from the content of its PDU. Raises WireError."""
    version, _, called, calling, _ = _fixed(data)
    contexts, context_name, user = dict[int, Proposed](), "", memoryview(b"")
    for kind, content in _items(data[FIXED.size :]):
        if kind == PROPOSED:
            context_id, values = _context_id(content), list(_items(content[4:]))
            abstract = next((_uid(value) for item, value in values if item == ABSTRACT_SYNTAX), "")
            syntaxes = tuple(_uid(value) for item, value in values if item == TRANSFER_SYNTAX)
            # If an ID comes twice, the first context counts: the answer can name an ID only once.
            contexts.setdefault(context_id, Proposed(context_id, abstract, syntaxes))
        elif kind == CONTEXT_NAME:
            context_name = _uid(content)
        elif kind == USER_INFORMATION:
            user = content
    length, roles = _read_user_information(user)
    titles = _read_title(called), _read_title(calling)
    return Request(*titles, tuple(contexts.values()), length, roles, version, context_name, bytes(data[TITLES]))


def read_acceptance(data: memoryview) -> Acceptance:
    """Decode an acceptance from the content of its PDU. Raises WireError."""
    _fixed(data)
    contexts, user = dict[int, Answered](), memoryview(b"")
    for kind, content in _items(data[FIXED.size :]):
        if kind == ANSWERED:
            context_id, result = _context_id(content), content[2]
            # The transfer syntax of a refused context has no meaning and is not read.
            values = _items(content[4:]) if result == ACCEPTANCE else iter(())
            syntax = next((_uid(value) for item, value in values if item == TRANSFER_SYNTAX), "")
            contexts.setdefault(context_id, Answered(context_id, result, syntax))
        elif kind == USER_INFORMATION:
            user = content
    length, roles = _read_user_information(user)
    return Acceptance(tuple(contexts.values()), length, roles, bytes(data[TITLES]))


def read_rejection(data: memoryview) -> Rejection:
    """Decode a rejection from the content of its PDU. Raises WireError."""
    if len(data) < 4:
        raise WireError("the peer rejected the association with a PDU that is too short")
    return Rejection(*data[1:4])


def _fixed(data: memoryview) -> tuple[int, int, bytes, bytes, bytes]:
    if len(data) < FIXED.size:
        raise WireError("the peer sent an association PDU that is too short")
    version, reserved, called, calling, more = FIXED.unpack_from(data)
    return version, reserved, called, calling, more


def _context_id(content: memoryview) -> int:
    """Return the ID of a presentation context. Raises WireError if it has fewer than four bytes."""
    if len(content) < 4:
        raise WireError("the peer sent a presentation context that is too short")
    return content[0]


def _read_user_information(data: memoryview) -> tuple[int, dict[str, Roles]]:
    """Return the maximum length of a peer, and the roles that it proposes or accepts."""
    length, roles = DEFAULT_MAXIMUM_LENGTH, dict[str, Roles]()
    for kind, content in _items(data):
        if kind == MAXIMUM_LENGTH and len(content) >= LONG.size:
            (length,) = LONG.unpack_from(content)
        elif kind == ROLE and len(content) > SHORT.size:
            end = SHORT.size + SHORT.unpack_from(content)[0]
            if end + 2 <= len(content):
                roles[_uid(content[SHORT.size : end])] = Roles(content[end] == 1, content[end + 1] == 1)
    return length, roles


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the types and contents of items. Raises WireError."""
    position = 0
    while position < len(data):
        start = position + ITEM.size
        if start > len(data):
            raise WireError("the peer sent an association PDU that ends within an item")
        kind, length = ITEM.unpack_from(data, position)
        position = start + length
        if position > len(data):
            raise WireError("the peer sent an association PDU with an item that is longer than the PDU")
        yield kind, data[start:position]


def _uid(value: memoryview) -> str:
    """Return a UID without its padding. An invalid UID gives a text that equals no known UID."""
    return bytes(value).strip(b" \0").decode("ascii", "replace")


def _read_title(value: bytes) -> str:
    """Return an AE title as text that is safe to print, without padding. A NUL ends it."""
    text = value.strip(b" \0").partition(b"\0")[0].decode("ascii", "replace").replace("\ufffd", "?")
    return "".join(letter if letter.isprintable() else "?" for letter in text).strip(" ")


def _title(text: str) -> bytes:
    return text.encode("ascii", "replace")[:16].ljust(16)


def _user_information(maximum_length: int, roles: Mapping[str, Roles]) -> bytes:
    """Return the user information item, with its sub-items in the order of their types."""
    return _item(
        USER_INFORMATION,
        _item(MAXIMUM_LENGTH, LONG.pack(maximum_length)),
        _item(IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode()),
        *(_item(ROLE, SHORT.pack(len(uid)), uid.encode(), bytes(each)) for uid, each in roles.items()),
        _item(IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode()),
    )


def _item(kind: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return ITEM.pack(kind, len(content)) + content


def _pdu(kind: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return HEAD.pack(kind, len(content)) + content
