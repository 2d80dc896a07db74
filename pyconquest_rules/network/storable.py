"""Decide which SOP classes a listener stores, and in which transfer syntaxes."""

import re
from functools import cache

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from pyconquest_rules.network.storing import NOT_STORED, STORAGE_COMMITMENT, VERIFICATION
from pyconquest_rules.network.syntaxes import EXPLICIT, IMPLICIT, STANDARD

UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)+")
IMAGE_STORAGE = f"{STANDARD}5.1.4.1.1."
"""The root of the Standard's storage SOP classes, including those that later editions add."""

TRANSFER_SYNTAXES = frozenset(map(str, ALL_TRANSFER_SYNTAXES))


@cache
def standard_classes() -> frozenset[str]:
    """Return the storage SOP classes of the Standard (PS3.4 B.5 and its annexes), including retired ones."""
    named = {uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and " Storage" in name}
    current = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    return frozenset((named | current) - NOT_STORED - {f"{STANDARD}1.3.10"})  # not a DICOMDIR


def is_storable(sop_class: str, *, private: bool) -> bool:
    """Return whether a SOP class is stored. With `private`, classes that are unknown to the Standard are stored too."""
    if sop_class in standard_classes():
        return True
    unknown = not sop_class.startswith(STANDARD) or sop_class.startswith(IMAGE_STORAGE)
    return private and unknown and UID.fullmatch(sop_class) is not None


def is_known(sop_class: str, transfer_syntax: str) -> bool:
    """Return whether a transfer syntax is known for a SOP class."""
    if sop_class == STORAGE_COMMITMENT:
        return transfer_syntax in (EXPLICIT, IMPLICIT)
    return transfer_syntax in TRANSFER_SYNTAXES


def is_private(sop_class: str, transfer_syntax: str) -> bool:
    """Return whether a transfer syntax is private. Instances are stored in it as received."""
    private = not transfer_syntax.startswith(STANDARD) and UID.fullmatch(transfer_syntax) is not None
    return private and sop_class not in (VERIFICATION, STORAGE_COMMITMENT)
