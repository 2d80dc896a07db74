"""What a value of a DICOM element becomes: its bytes a text, and the text what a column of Conquest's layout holds.

Nothing here opens a file. What the texts look like was measured on a Conquest 1.5.0e server.
"""

import re
from functools import lru_cache
from struct import calcsize, iter_unpack

from pydicom.charset import CODES_TO_ENCODINGS, default_encoding, handled_encodings, python_encoding
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

LIMIT = 64 * 1024
"""No more bytes than these of a value become text, so that one value can fill neither the memory nor a column."""

NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH"}
SPELLINGS = {"FL": "%.16g", "FD": "%.16g", "AT": "(%04X,%04X)"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})

RUNS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
# The first character set returns before these (PS3.5 6.1.2.5.3).
TEXT_RESETS = re.compile(rb"(?=[\t\n\f\r\\])")
NAME_RESETS = re.compile(rb"(?=[\t\n\f\r\\^=])")


def text(raw: bytes, vr: str, little: bool, codec: str) -> str | None:
    """The bytes of a value as text, whatever they hold; None for no bytes and for a binary value.

    Several values stay joined by a backslash. Spaces and NULs at the end are dropped (so that spaces alone give ""),
    and all else is kept as it stands in the file, IS and DS too. FL and FD are written with `%.16g`, AT as
    `(gggg,eeee)`. UN is text if all of it is printable ASCII. A NUL within a text becomes U+FFFD, as most tools for
    databases stop at a NUL and would lose what follows. The text can always be encoded as UTF-8.

    `codec` is that of `charset`; bytes that are wrong in it become U+FFFD.
    """
    if not raw or vr in BINARY:
        return None
    if vr in NUMBERS:
        return _numbers(raw, vr, little)
    raw = raw[:LIMIT].rstrip(b" \0")
    if vr == "UN":
        found = raw.decode("latin-1")
        return found if found.isascii() and found.isprintable() else None
    if vr in CUSTOMIZABLE_CHARSET_VR:
        found = _decoded(raw, codec, NAME_RESETS if vr == "PN" else TEXT_RESETS)
    else:
        found = raw.decode("latin-1")
    return found.replace("\0", "\ufffd")


def _numbers(raw: bytes, vr: str, little: bool) -> str:
    layout = ("<" if little else ">") + NUMBERS[vr]
    # An eighth of the limit in binary stays below the limit as text. Bytes that make no whole number are left out.
    size = min(len(raw), LIMIT // 8) // calcsize(layout) * calcsize(layout)
    return "\\".join(SPELLINGS.get(vr, "%d") % number for number in iter_unpack(layout, raw[:size]))


@lru_cache(1024)
def charset(value: bytes) -> str:
    """Python's codec for text without escape sequences, from the bytes of a Specific Character Set (PS3.3 C.12.1.1.2).

    Names are compared by letters and digits only, as `ISO-IR 100` and `iso_ir_100` are in use. For an unknown name it
    is that of ISO 8859-1, which can decode anything.
    """
    name = value.partition(b"\\")[0].decode("latin-1")
    return CODECS.get(_plain(name), default_encoding)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


CODECS = {_plain(name): codec for name, codec in python_encoding.items()}


def _decoded(raw: bytes, first: str, resets: re.Pattern[bytes]) -> str:
    """Text with code extensions (PS3.5 6.1.2.5). Escape sequences are obeyed also where the file does not announce them."""
    if b"\x1b" not in raw:
        return raw.decode(first, "replace")
    return "".join(_decoded_run(run, first, resets) for run in RUNS.findall(raw))


def _decoded_run(run: bytes, first: str, resets: re.Pattern[bytes]) -> str:
    """An escape sequence and the text up to the next one; or the text before all of them."""
    escape = run[: 4 if run[1:3] in (b"$(", b"$)") else 3]
    codec = CODES_TO_ENCODINGS.get(escape, first)
    if codec in handled_encodings or escape not in CODES_TO_ENCODINGS:  # such a codec wants to see the escape sequence
        return run.decode(codec, "replace")
    text, *rest = resets.split(run[len(escape) :], maxsplit=1)
    return text.decode(codec, "replace") + b"".join(rest).decode(first, "replace")


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
