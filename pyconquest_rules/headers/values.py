"""The bytes of the value of a data element as text. Nothing here opens a file."""

from struct import calcsize, iter_unpack

from pyconquest_rules.headers.charsets import decoded

LIMIT = 16 * 1024 * 1024
"""The longest value that becomes text, in bytes, and all long ones of a file together: no file can fill the memory."""

LONG = 64 * 1024
"""Values above this many bytes are counted."""

MOST_NUMBERS = LIMIT // 8
"""As LIMIT, of binary numbers: their text is longer."""

MOST_ESCAPES = 50_000
"""Escape sequences of a long value: each costs more than any letter."""

NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH"}
SPELLINGS = {"FL": "%.16g", "FD": "%.16g", "AT": "(%04X,%04X)"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})

# Those to which the Specific Character Set applies (PS3.5 6.1.2.3).
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


class Unreadable(Exception):
    """A value cannot be read."""


class TooLong(Exception):
    """A value is longer than LIMIT."""


def text(raw: bytes, vr: str, little: bool, codec: str) -> str | None:
    """The bytes of a value as text, whatever they hold; None for no bytes and for a binary value.

    Several values stay joined by a backslash. Spaces and NULs at the end are dropped (so that spaces alone give ""),
    and those at the beginning of a UI too. All else is kept as it stands in the file, IS and DS too. FL and FD are
    written with `%.16g`, AT as `(gggg,eeee)`. UN is text if all of it is printable ASCII. A NUL within a text becomes
    U+FFFD, as most tools for databases stop at a NUL and would lose what follows. The text can always be encoded as UTF-8.

    `codec` is that of `charsets.charset`; bytes that are wrong in it become U+FFFD.

    Raises TooLong, and Unreadable for more escape sequences than anybody writes.
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
    size = len(raw) // calcsize(layout) * calcsize(layout)  # bytes that make no whole number are left out
    return "\\".join(SPELLINGS.get(vr, "%d") % number for number in iter_unpack(layout, raw[:size]))
