"""Find the real transfer syntax of a data set (PS3.5 A), which may differ from the negotiated one."""

from pyconquest_rules.headers.written import Written

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN})
GE_PRIVATE = "1.2.840.113619.5.2"
"""Implicit VR with big-endian pixel data: the only common private transfer syntax without explicit VR."""

STANDARD = "1.2.840.10008."
"""The root of all UIDs of the Standard (PS3.5 9)."""


class NotAsAgreed(ValueError):
    """A data set that fits no transfer syntax. The text is the reason, without values of the data set."""


def real_syntax(agreed: str, written: Written) -> str:
    """Return the real transfer syntax of a data set; `agreed` was negotiated. Raises NotAsAgreed."""
    base = BIG_ENDIAN if written.order == "big" else IMPLICIT if written.implicit else EXPLICIT
    if agreed in NATIVE:
        if written.encapsulated:
            raise NotAsAgreed("the pixel data are compressed, but an uncompressed transfer syntax was negotiated")
        return base
    if base == (IMPLICIT if agreed == GE_PRIVATE else EXPLICIT):
        if agreed == DEFLATED and written.encapsulated:
            raise NotAsAgreed("the pixel data are compressed twice")
        # A private transfer syntax may encode its pixel data in any way.
        compresses = agreed.startswith(STANDARD) and agreed != DEFLATED
        return EXPLICIT if compresses and written.encapsulated is False else agreed
    if agreed == DEFLATED or written.encapsulated or not agreed.startswith(STANDARD):
        raise NotAsAgreed("the data set is not in explicit VR little endian, as its transfer syntax requires")
    return base
