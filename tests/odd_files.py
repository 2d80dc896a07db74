"""Irregular files by number, each with a few irregularities of real and of invalid writers."""

import struct
import zlib
from collections.abc import Callable
from random import Random

from tests import raw
from tests.raw import BIG, IMPLICIT_LITTLE, LITTLE, UNDEFINED, Written

STRANGE_VRS = ("??", "--", "  ", "\0\0", "ZZ", "QX", "ox", "A ", "1A", "\xff\xff", "Un", "AB")
CODES, PRIVATE = 0x00081110, 0x00091010

Elements = dict[raw.Tag, tuple[raw.Raw, raw.Raw] | bytes]
Oddity = Callable[[Random, Written], Elements]


def strange_vr(random: Random, how: Written) -> Elements:
    """Return one to three elements of unknown VRs, with lengths of 16 or 32 bits."""
    tags = random.sample((0x00080090, 0x00081030, 0x00181030, 0x00201041, 0x00204000, 0x00400254), random.randint(1, 3))
    long = random.random() < 0.4
    return {tag: how.element(tag, random.choice(STRANGE_VRS), value(random), long=long) for tag in tags}


def value(random: Random) -> str:
    """Return a text of 0 to 12 letters, in pairs."""
    return "".join(random.choices("abcdefABCDEF 0123456789.", k=2 * random.randrange(7)))


def un_sequence(random: Random, how: Written) -> Elements:
    """Return a sequence as UN or of an unknown VR. Its items have VRs or not, and a known length or not."""
    inner = random.choice((how, IMPLICIT_LITTLE)) if how.sign == "<" else how
    undefined = random.random() < 0.5
    code = inner.element("CodeValue", "SH", value(random))
    deeper = inner.sequence("ConceptNameCodeSequence", inner.item(code), undefined=random.random() < 0.5)
    items = [how.item(code + deeper * random.randrange(2), undefined=random.random() < 0.5) for _ in range(random.randrange(4))]
    return {CODES: how.sequence(CODES, *items, vr=random.choice(("UN", "UN", "SQ")), undefined=undefined)}


def odd_lengths(random: Random, how: Written) -> Elements:
    """Return a sequence whose delimiters have lengths, or whose items have a wrong length.

    No item has a length that is two bytes too large, because DCMTK and pydicom would then lose the next element.
    """
    code, length = how.element("CodeValue", "SH", value(random)), random.choice((0, 4, 100, UNDEFINED))
    open_item = how.item(code + how.item_end(length), length=UNDEFINED)
    known_item = how.item(code, length=len(code) + random.choice((0, 0, -2, 100)))
    if random.random() < 0.6:
        body = open_item + how.sequence_end(length)
        return {CODES: how.element(CODES, "SQ", body, length=UNDEFINED)}
    return {CODES: how.sequence(CODES, known_item)}


def private(random: Random, how: Written) -> Elements:
    """Return private elements as UN and without a VR."""
    creator = how.element(0x00090010, "LO", "ACME")
    inner = random.choice((how, IMPLICIT_LITTLE)) if how.sign == "<" else how
    return {0x00090010: creator, PRIVATE: inner.element(PRIVATE, random.choice(("UN", "LO", "OB")), value(random))}


def long_text(random: Random, how: Written) -> Elements:
    """Return a very long text."""
    return {0x00204000: ("LT" if not how.implicit else "UT", "x" * 2 * random.choice((40, 5000, 30_000)))}


def twice_empty(random: Random, how: Written) -> Elements:
    """Return elements without values, and one of odd length."""
    return {0x00080050: ("SH", b""), 0x00081030: ("LO", b"odd"), 0x00180015: ("CS", b" \0")}


ODDITIES: tuple[Oddity, ...] = (strange_vr, un_sequence, odd_lengths, private, long_text, twice_empty)


def odd_file(number: int) -> bytes:
    """Return the irregular file of a number."""
    random = Random(number)
    syntax = random.choice((raw.EXPLICIT, raw.EXPLICIT, raw.EXPLICIT, raw.IMPLICIT, raw.BIG_ENDIAN, raw.JPEG, raw.DEFLATED))
    how = {raw.IMPLICIT: IMPLICIT_LITTLE, raw.BIG_ENDIAN: BIG}.get(syntax, LITTLE)
    more: Elements = {}
    for oddity in random.sample(ODDITIES, random.randint(0, 2)):
        more |= oddity(random, how)
    data = how.instance(number, more) + ending(random, how, syntax)
    if syntax == raw.DEFLATED:
        data = zlib.compress(data)[2:-4]
    return raw.file(data, syntax, uid=f"{raw.ROOT}.{number}")


def ending(random: Random, how: Written, syntax: str) -> bytes:
    """Return pixel data or none, and the bytes after it."""
    strays = (b"", b"", b"", bytes(4), b"abc", bytes(16), struct.pack("<HH", 0xFFFC, 0xFFFC) + b"OB\0\0\2\0\0\0ab")
    if syntax == raw.JPEG:
        ends = (None, None, b"", bytes(8), how.sequence_end(UNDEFINED), how.sequence_end(4))
        return how.fragments(b"\xff\xd8" + bytes(60) + b"\xff\xd9", end=random.choice(ends)) + random.choice(strays[:4])
    return (how.pixels() if random.random() < 0.7 else b"") + random.choice(strays)
