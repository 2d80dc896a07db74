"""Character sets: Python's codecs for the defined terms and escape sequences of PS3.3 C.12.1.1.2.

The tables are not imported from pydicom, because importing pydicom takes longer than reading a thousand headers.
"""

import re
from functools import lru_cache

DEFAULT = "iso8859"
"""ISO 8859-1, which can decode any bytes. It is used for ASCII too."""

# By the number of the ISO registration: `ISO_IR 100` and, with code extensions, `ISO 2022 IR 100`.
BY_REGISTRATION = {
    "6": DEFAULT,
    "13": "shift_jis",
    "58": "iso_ir_58",
    "87": "iso2022_jp",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso_ir_126",
    "127": "iso_ir_127",
    "138": "iso_ir_138",
    "144": "iso_ir_144",
    "148": "iso_ir_148",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso_ir_166",
    "192": "utf_8",
}
OTHERS = {"GB18030": "gb18030", "GBK": "gbk", "ISO2022GBK": "gbk", "ISO202258": "gb2312"}
CODECS = {f"ISO{form}IR{number}": codec for form in ("", "2022") for number, codec in BY_REGISTRATION.items()} | OTHERS

BY_ESCAPE = {
    b"\x1b(B": DEFAULT,
    b"\x1b-A": "latin_1",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso_ir_126",
    b"\x1b-G": "iso_ir_127",
    b"\x1b-H": "iso_ir_138",
    b"\x1b-L": "iso_ir_144",
    b"\x1b-M": "iso_ir_148",
    b"\x1b-T": "iso_ir_166",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "iso_ir_58",
}
# Codecs that decode the escape sequence itself.
WITH_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2", "iso_ir_58"})

RUNS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
# The first character set is active again before these characters (PS3.5 6.1.2.5.3).
TEXT_RESETS = re.compile(rb"(?=[\t\n\f\r\\])")
NAME_RESETS = re.compile(rb"(?=[\t\n\f\r\\^=])")


@lru_cache(1024)
def charset(value: bytes) -> str:
    """Return the codec for text without escape sequences, from the bytes of a Specific Character Set (PS3.3 C.12.1.1.2).

    Only letters and digits of names are compared, because `ISO-IR 100` and `iso_ir_100` are in use. An unknown name means
    ISO 8859-1, which can decode any bytes.
    """
    name = value.partition(b"\\")[0].decode("latin-1")
    return CODECS.get(re.sub(r"[^A-Z0-9]", "", name.upper()), DEFAULT)


def decoded(raw: bytes, first: str, *, name: bool) -> str:
    """Return text with code extensions (PS3.5 6.1.2.5). `name` is whether it is a person name. Invalid bytes become U+FFFD.

    Escape sequences are decoded even if the character set does not declare them.
    """
    if b"\x1b" not in raw:
        return raw.decode(first, "replace")
    resets = NAME_RESETS if name else TEXT_RESETS
    return "".join(_decoded_run(run, first, resets) for run in RUNS.findall(raw))


def _decoded_run(run: bytes, first: str, resets: re.Pattern[bytes]) -> str:
    """Decode an escape sequence and the text up to the next one, or the text before the first one."""
    escape = run[: 4 if run[1:3] in (b"$(", b"$)") else 3]
    codec = BY_ESCAPE.get(escape, first)
    if codec in WITH_ESCAPES or escape not in BY_ESCAPE:
        return run.decode(codec, "replace")
    text, *rest = resets.split(run[len(escape) :], maxsplit=1)
    return text.decode(codec, "replace") + b"".join(rest).decode(first, "replace")
