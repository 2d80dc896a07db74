"""Decoding the value of a data element as text. Nothing here opens a file."""

from struct import calcsize, iter_unpack

from pyconquest_rules.headers.charsets import decoded

LIMIT = 16 * 1024 * 1024
"""The limit on a value that becomes text, and on all long values of a file together, in bytes. It bounds the memory."""

LONG = 64 * 1024
"""Values with more bytes count towards the limit of a file."""

MOST_NUMBERS = LIMIT // 8
"""The limit on the bytes of binary numbers, whose text is longer."""

MOST_ESCAPES = 50_000
"""The limit on escape sequences in a long value, because they take much longer than letters."""

NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH"}
SPELLINGS = {"FL": "%.16g", "FD": "%.16g", "AT": "(%04X,%04X)"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})

# The VRs to which the Specific Character Set applies (PS3.5 6.1.2.3).
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


class Unreadable(Exception):
    """A value cannot be read."""


class TooLong(Exception):
    """A value is longer than LIMIT."""


def text(raw: bytes, vr: str, little: bool, codec: str) -> str | None:
    """Return the bytes of a value as text; None for no bytes and for a binary value.

    Several values stay joined by backslashes. Spaces and NULs at the end are dropped, so spaces alone become ""; those at
    the beginning of a UI are dropped too. All other text stays as it is in the file, even of IS and DS. FL and FD are formatted
    with `%.16g`, AT as `(gggg,eeee)`. UN is text if all of it is printable ASCII. A NUL inside a text becomes U+FFFD, because
    most database tools stop at a NUL. The text can always be encoded as UTF-8.

    `codec` comes from `charsets.charset`. Bytes that are invalid in it become U+FFFD.

    Raises TooLong, or Unreadable if there are too many escape sequences.
    """
    if not raw or vr in BINARY:
        return None
    if vr in NUMBERS:
        return _numbers(raw, vr, little)
    if len(raw) > LIMIT:
        raise TooLong
    if len(raw) > LONG and raw.count(b"\x1b") > MOST_ESCAPES:
        raise Unreadable
    raw = raw.strip(b" \0") if vr == "UI" else raw.rstrip(b" \0")
    if vr == "UN":
        found = raw.decode("latin-1")
        return found if found.isascii() and found.isprintable() else None
    found = decoded(raw, codec, name=vr == "PN") if vr in CHARSET_VRS else raw.decode("latin-1")
    return found.replace("\0", "\ufffd")


def _numbers(raw: bytes, vr: str, little: bool) -> str:
    layout = ("<" if little else ">") + NUMBERS[vr]
    if len(raw) > MOST_NUMBERS:
        raise TooLong
    size = len(raw) // calcsize(layout) * calcsize(layout)  # the bytes of an incomplete number are ignored
    return "\\".join(SPELLINGS.get(vr, "%d") % number for number in iter_unpack(layout, raw[:size]))
