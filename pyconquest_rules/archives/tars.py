"""The members of a tar file (POSIX.1 pax, ustar, and the long names of GNU), in its order."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from pyconquest_rules.archives.blocks import Bytes, Part
from pyconquest_rules.archives.flaws import Flaw, Flawed, NotAnArchive
from pyconquest_rules.archives.members import MOST, Member
from pyconquest_rules.archives.names import is_safe

BLOCK, MAGIC, CHECKSUM = 512, slice(257, 262), slice(148, 156)
NAME, SIZE, PREFIX, KIND = slice(0, 100), slice(124, 136), slice(345, 500), 156
REGULAR, FOLDER, LONG_NAME, LONG_LINK, SPARSE = b"\x0007", b"5", b"L", b"K", b"S"
FOR_ONE, FOR_ALL, WITHOUT_DATA = b"xX", b"g", b"123456"
BINARY, LARGEST = 0x80, 1 << 62
MOST_EXTENSION, MOST_EXTENSIONS = 1 << 20, 16
"""The limits on the size of an extended header, and on their number before one member."""


@dataclass(slots=True)
class _Extended:
    """What the headers before a member say of it."""

    name: bytes | None = None
    size: int | None = None
    flaw: Flaw | None = None


def members(data: Bytes, size: int | None, *, shared: bool = False) -> Iterator[Member]:
    """Yield the members of a tar file, of which the size may be unknown. Raises Flawed, NotAnArchive, OSError."""
    position = number = extensions = 0
    extended = _Extended()
    while True:
        header = data.at(position, BLOCK)
        if number == extensions == 0 and not _is_header(header):
            _check_empty(header)
            return
        if header == bytes(BLOCK):
            return
        if not _is_header(header):
            raise Flawed(Flaw.DAMAGED_ARCHIVE)
        kind, start = header[KIND : KIND + 1], position + BLOCK
        length = 0 if kind in WITHOUT_DATA else _number(header[SIZE])
        if kind in FOR_ONE + FOR_ALL + LONG_NAME + LONG_LINK:
            extensions += 1
            if extensions > MOST_EXTENSIONS:
                raise Flawed(Flaw.DAMAGED_ARCHIVE)
            _extend(extended, kind, data, start, length)
        else:
            if extended.size is not None and kind not in WITHOUT_DATA:
                length = extended.size
            number, extensions = number + 1, 0
            if number > MOST:
                raise Flawed(Flaw.TOO_MANY)
            is_cut = size is not None and start + length > size
            if (member := _member(header, kind, length, extended)) is not None:
                opening = partial(Part, data, start, member.size)
                yield member._replace(flaw=member.flaw or (Flaw.DAMAGED if is_cut else None), open=opening, shared=shared)
            extended = _Extended()
        position = start + -(-length // BLOCK) * BLOCK


def _check_empty(header: bytes) -> None:
    """Raise NotAnArchive, or Flawed if the first header is a damaged one. An archive without members is neither."""
    if header[MAGIC] == b"ustar":
        raise Flawed(Flaw.DAMAGED_ARCHIVE)
    if header != bytes(BLOCK):
        raise NotAnArchive


def _is_header(header: bytes) -> bool:
    """Return whether the checksum of a header is correct. Some writers add its bytes up as signed numbers."""
    if len(header) < BLOCK:
        return False
    try:
        written = int(header[CHECKSUM].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    counted = header[: CHECKSUM.start] + b" " * 8 + header[CHECKSUM.stop :]
    return written in (sum(counted), sum(byte - 256 if byte > 127 else byte for byte in counted))


def _number(field: bytes) -> int:
    """Return a size: octal digits, or binary if its first bit is set. Raises Flawed for what cannot be one."""
    try:
        found = int.from_bytes(field[1:], "big") if field[0] == BINARY else int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise Flawed(Flaw.DAMAGED_ARCHIVE) from None
    return _checked(found)


def _checked(size: int) -> int:
    if not 0 <= size < LARGEST:
        raise Flawed(Flaw.DAMAGED_ARCHIVE)
    return size


def _extend(extended: _Extended, kind: bytes, data: Bytes, start: int, length: int) -> None:
    """Read an extended header. Those for all members say nothing that is of interest here."""
    if kind in FOR_ALL + LONG_LINK:
        return
    if length > MOST_EXTENSION:
        extended.flaw = Flaw.DAMAGED
        return
    text = data.at(start, length)
    if len(text) < length:
        raise Flawed(Flaw.DAMAGED_ARCHIVE)
    if kind == LONG_NAME:
        extended.name = text.rstrip(b"\0")
    else:
        _read_records(extended, text)


def _read_records(extended: _Extended, text: bytes) -> None:
    """Read the records of a pax header: `length key=value`, each with a newline at its end."""
    while text:
        digits, _, _ = text[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = text[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
        if not equals or length > len(text) or text[length - 1 : length] != b"\n":
            extended.flaw = Flaw.DAMAGED
            return
        text = text[length:]
        if key == b"path":
            extended.name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise Flawed(Flaw.DAMAGED_ARCHIVE)
            extended.size = _checked(int(value))
        elif key.startswith(b"GNU.sparse."):
            extended.flaw = Flaw.UNSUPPORTED


def _member(header: bytes, kind: bytes, length: int, extended: _Extended) -> Member | None:
    """Return the member of a header without its bytes; None for a folder."""
    name = extended.name
    if name is None:
        name = header[NAME].partition(b"\0")[0]
        prefix = header[PREFIX].partition(b"\0")[0] if header[MAGIC.start : MAGIC.stop + 1] == b"ustar\0" else b""
        name = prefix + b"/" + name if prefix else name
    if kind == FOLDER or (kind in REGULAR and name.endswith(b"/") and not length):
        return None
    while name.startswith(b"./"):  # as `tar -C folder .` writes them
        name = name[2:]
    flaw = extended.flaw
    if not is_safe(name):
        flaw = Flaw.UNSAFE_NAME
    elif kind == SPARSE:
        flaw = Flaw.UNSUPPORTED
    elif kind not in REGULAR:
        flaw = Flaw.NOT_REGULAR
    return Member(name, length, flaw=flaw)
