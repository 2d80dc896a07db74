"""A share of the files: `verify --subset`."""

import re
from hashlib import sha256
from random import random

from pyconquest_rules.engine.verify import LookedAt
from pyconquest_rules.errors import UsageError

PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")


def subset(text: str) -> LookedAt:
    """Return what chooses files: `N/M` is the N-th of M fixed parts, so that M runs see all files; `P%` is a random share.

    Raises UsageError.
    """
    if (part := PART.fullmatch(text)) and 1 <= int(part[1]) <= int(part[2]):
        number, parts = int(part[1]) - 1, int(part[2])
        return lambda path: int.from_bytes(sha256(path.encode("utf-8", "surrogateescape")).digest()[:8]) % parts == number
    if (share := SHARE.fullmatch(text)) and 0 < float(share[1]) <= 100:
        percent = float(share[1])
        return lambda path: random() * 100 < percent  # noqa: S311 - no secret
    hint = 'write N/M for the N-th of M parts, as "1/7" to "7/7", or P% for a random share, as "2.5%"'
    raise UsageError(f'--subset "{text}" is no share of the files; {hint}')
