"""What a value of a DICOM element becomes: its bytes a text, and the text what a column of Conquest's layout holds.

Nothing here opens a file. What the texts look like was measured on a Conquest 1.5.0e server.
"""

from struct import calcsize, iter_unpack

from pyconquest_rules.index.charsets import decoded

LIMIT = 64 * 1024
"""No more bytes than these of a value become text, so that one value can fill neither the memory nor a column."""

NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH"}
SPELLINGS = {"FL": "%.16g", "FD": "%.16g", "AT": "(%04X,%04X)"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})

# Those to which the Specific Character Set applies (PS3.5 6.1.2.3).
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def text(raw: bytes, vr: str, little: bool, codec: str) -> str | None:
    """The bytes of a value as text, whatever they hold; None for no bytes and for a binary value.

    Several values stay joined by a backslash. Spaces and NULs at the end are dropped (so that spaces alone give ""),
    and all else is kept as it stands in the file, IS and DS too. FL and FD are written with `%.16g`, AT as
    `(gggg,eeee)`. UN is text if all of it is printable ASCII. A NUL within a text becomes U+FFFD, as most tools for
    databases stop at a NUL and would lose what follows. The text can always be encoded as UTF-8.

    `codec` is that of `charsets.charset`; bytes that are wrong in it become U+FFFD.
    """
    if not raw or vr in BINARY:
        return None
    if vr in NUMBERS:
        return _numbers(raw, vr, little)
    raw = raw[:LIMIT].rstrip(b" \0")
    if vr == "UN":
        found = raw.decode("latin-1")
        return found if found.isascii() and found.isprintable() else None
    found = decoded(raw, codec, name=vr == "PN") if vr in CHARSET_VRS else raw.decode("latin-1")
    return found.replace("\0", "\ufffd")


def _numbers(raw: bytes, vr: str, little: bool) -> str:
    layout = ("<" if little else ">") + NUMBERS[vr]
    # An eighth of the limit in binary stays below the limit as text. Bytes that make no whole number are left out.
    size = min(len(raw), LIMIT // 8) // calcsize(layout) * calcsize(layout)
    return "\\".join(SPELLINGS.get(vr, "%d") % number for number in iter_unpack(layout, raw[:size]))


def stored(text: str | None, dicom_type: str, sql_type: str, length: int) -> str | None:
    """What a column of Conquest's layout holds of a full value, as `text` gives it; None stays None.

    `dicom_type`, `sql_type` and `length` are those of the column's row in dicom.sql. Of several numbers the first is
    stored. The text is cut to `length` bytes of UTF-8, never within a character; a date loses the `.` and `/` of
    ACR-NEMA after that, as in the server: `1997.04.30` in eight bytes becomes `199704`.
    """
    if text is None:
        return None
    if dicom_type in {"DT_UINT16", "DT_UINT32", "DT_FL", "DT_FD"}:
        text = text.partition("\\")[0]
    text = text.encode()[:length].decode(errors="ignore").rstrip(" ")
    return text.translate({ord("."): None, ord("/"): None}) if sql_type == "SQL_C_DATE" else text
