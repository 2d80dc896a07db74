"""Reading headers in tests, and the same values with pydicom."""

import random
from pathlib import Path

from pydicom.dataelem import DataElement

from pyconquest_rules.headers.dialect import Odd
from pyconquest_rules.headers.header import Header, Reader, Wanted
from pyconquest_rules.headers.layouts import Found, Layouts
from pyconquest_rules.headers.opening import Reason, Rejected


def as_text(leaf: DataElement) -> str | None:
    several = leaf.value if leaf.VM > 1 else [] if leaf.value is None else [leaf.value]
    match leaf.VR:
        case "FL" | "FD":
            return "\\".join(f"{value:.16g}" for value in several)
        case "IS" | "DS":
            return "\\".join(getattr(value, "original_string", str(value)) for value in several)
        case _:
            return "\\".join(map(str, several))


def bare(value: object) -> str | None:
    """Return a value without the spaces that pydicom drops in lists. pydicom does not distinguish an empty value from spaces."""
    assert value is None or isinstance(value, str)
    return "\\".join(part.strip(" \0\ufffd").rstrip("=") for part in value.split("\\")) if value else None


class Careful(Layouts):
    """Leaves everything to the careful reader."""

    def read(self, *_: object) -> Found:
        raise Odd


def careful(wanted: Wanted) -> Reader:
    reader = Reader(wanted)
    reader._layouts = Careful(wanted.paths, wanted.tags, (0, 0))
    return reader


def outcome(reader: Reader, path: Path) -> Header | Reason:
    try:
        return reader.read(path)
    except Rejected as rejected:
        return rejected.reason


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Return data with some bytes changed, mostly in the header, and a piece removed, doubled or cut off at the end."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = min(int(chance.expovariate(1 / 1500)) + 120, len(changed) - 1)
        if at < 0:
            break
        match chance.randrange(5):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + chance.choice((1, 2, 4, 8, 30))]
            case 2:
                changed[at:at] = changed[at : at + chance.choice((2, 4, 8, 30))]
            case 3:
                changed[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\x08\0\x05\0"))
            case _:
                changed[at] = chance.randrange(256)
    return bytes(changed)
