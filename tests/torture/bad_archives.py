"""Archives made to do harm, each with the reason that the index must give for it.

A maker gets a good DICOM file, and returns the bytes of an archive. The reasons are by the path of the member in the archive. The
path of the archive itself is "".
"""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

GOOD = "good.dcm"
READ = "archive"
"""The reason of an archive that was read to its end."""


@dataclass(frozen=True)
class Bad:
    """An archive: its name, its maker, and the reasons of its members and its own. None is the reason of what is indexed."""

    name: str
    make: Callable[[bytes], bytes]
    reasons: dict[str, str | None]


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in members:
            packed.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def renamed(names: dict[bytes, bytes], members: list[tuple[str, bytes]]) -> bytes:
    """A zip file in which some names are replaced by others of the same length, as no library would write them."""
    packed = zipped(members)
    for before, after in names.items():
        assert len(before) == len(after)
        packed = packed.replace(before, after)
    return packed


def central(packed: bytes, at: int, form: str, value: int, nth: int = -1) -> bytes:
    """A zip file with another number in an entry of its central directory."""
    places = [place for place in range(len(packed)) if packed.startswith(b"PK\1\2", place)]
    changed = bytearray(packed)
    struct.pack_into(form, changed, places[nth] + at, value)
    return bytes(changed)


def local(packed: bytes, at: int, form: str, value: int, nth: int = -1) -> bytes:
    places = [place for place in range(len(packed)) if packed.startswith(b"PK\3\4", place)]
    changed = bytearray(packed)
    struct.pack_into(form, changed, places[nth] + at, value)
    return bytes(changed)


def both(packed: bytes, at: int, value: int) -> bytes:
    """Another 16-bit number in both headers of the last member; `at` is its place in the local one."""
    return local(central(packed, at + 2, "<H", value), at, "<H", value)


def tarred(members: list[tarfile.TarInfo | tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as packed:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                packed.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                about = tarfile.TarInfo(member[0])
                about.size = len(member[1])
                packed.addfile(about, io.BytesIO(member[1]))
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, target
    return about


def pax(name: str, **records: str) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.pax_headers = records
    return about


def header(change: Callable[[bytearray], None], packed: bytes, at: int = 0) -> bytes:
    """A tar file with a changed header, whose checksum is correct."""
    changed = bytearray(packed)
    block = changed[at : at + 512]
    change(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    changed[at : at + 512] = block
    return bytes(changed)


def put(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(block: bytearray) -> None:
        block[at : at + len(value)] = value

    return change


def bomb(size: int) -> bytes:
    """A deflated zip of zeros."""
    return zipped([("zeros", bytes(size))])


def quine(good: bytes) -> bytes:
    """Many entries of one member, as in the zip bombs of Fifield (2019)."""
    packed = zipped([(GOOD, good), ("kernel", bytes(1 << 20))])
    directory = packed.index(b"PK\1\2")
    entries, end = packed[directory : packed.index(b"PK\5\6")], packed[packed.index(b"PK\5\6") :]
    kernel = entries[entries.rindex(b"PK\1\2") :]
    more = b"".join(kernel.replace(b"kernel", b"%06d" % number) for number in range(1000))
    size = len(entries) + len(more)
    return packed[:directory] + entries + more + end[:8] + struct.pack("<HHL", 1002, 1002, size) + end[16:]


def zip64(good: bytes, *, size: int | None = None, short: bool = False) -> bytes:
    """A zip file whose member claims its size in a zip64 field."""
    packed = central(zipped([(GOOD, good)], zipfile.ZIP_STORED), 24, "<L", 0xFFFFFFFF)
    at = packed.index(b"PK\1\2")
    field = b"\1\0" + (b"\4\0abcd" if short else struct.pack("<HQ", 8, size or 0))
    entry, end = packed[at : packed.index(b"PK\5\6")], packed[packed.index(b"PK\5\6") :]
    entry = entry[:30] + struct.pack("<H", len(field)) + entry[32:] + field
    return packed[:at] + entry + end[:12] + struct.pack("<L", len(entry)) + end[16:]


def nested(depth: int, good: bytes) -> bytes:
    data = zipped([(GOOD, good)])
    for _ in range(depth):
        data = zipped([("in.zip", data)])
    return data


def sparse(good: bytes) -> bytes:
    packed = tarred([(GOOD, good), ("hole.dcm", b"x" * 512)], tarfile.GNU_FORMAT)
    at = packed.index(b"hole.dcm")
    return header(put(156, b"S"), packed, at)


def zipped_mixed(good: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(zipfile.ZipInfo(GOOD), good, zipfile.ZIP_STORED)
        packed.writestr(zipfile.ZipInfo("x.dcm"), good, method)
    return file.getvalue()


def two(good: bytes) -> bytes:
    return zipped([(GOOD, good), ("x.dcm", good)])


def with_number(good: bytes, at: int, value: int) -> bytes:
    return both(two(good), at, value)


def with_special(good: bytes, kind: bytes) -> bytes:
    return tarred([(GOOD, good), special("x.dcm", kind, "/etc/passwd")])


def named(name: bytes) -> Callable[[bytes], bytes]:
    """A zip file whose second member has a name."""
    placeholder = b"N" * len(name)
    return lambda good: renamed({placeholder: name}, [(GOOD, good), (placeholder.decode(), good)])


def tar_named(name: str) -> Callable[[bytes], bytes]:
    return lambda good: tarred([(GOOD, good), (name, good)])


GOOD_ONE: dict[str, str | None] = {GOOD: None, "": READ}


def _zips() -> Iterator[tuple[str, Bad]]:
    unsafe = {"/2": "unsafe-name", **GOOD_ONE}
    names = {
        "absolute": b"/etc/passwd",
        "dots": b"../../escape.dcm",
        "dots inside": b"a/../../../b.dcm",
        "backslashes": b"..\\..\\escape.dcm",
        "drive": b"C:\\windows\\x.dcm",
        "share": b"\\\\server\\x.dcm",
        "NUL": b"x.dcm\0.txt",
        "two slashes": b"a//b.dcm",
        "a dot": b"./x.dcm",
        "a slash at its end": b"folder/",
    }
    for what, name in names.items():
        yield f"zip: {what}", Bad("x.zip", named(name), unsafe)
    yield "zip: long name", Bad("x.zip", lambda good: zipped([(GOOD, good), ("n" * 60_000, good)]), unsafe)
    yield (
        "zip: no encoding",
        Bad("x.zip", named(b"\xff\xfe\x80.dcm"), {"\udcff\udcfe\udc80.dcm": "same-bytes", **GOOD_ONE}),
    )
    yield (
        "zip: doubled name",
        Bad("x.zip", named(GOOD.encode()), {"/2": "doubled-name", **GOOD_ONE}),
    )
    flags = {
        "encrypted": (6, 1, "encrypted"),
        "strongly encrypted": (6, 0x41, "encrypted"),
        "masked": (6, 0x2001, "encrypted"),
        "Deflate64": (8, 9, "unsupported-compression"),
        "unknown method": (8, 99, "unsupported-compression"),
    }
    for what, (at, value, reason) in flags.items():
        yield (
            f"zip: {what}",
            Bad("x.zip", partial(with_number, at=at, value=value), {"x.dcm": reason, **GOOD_ONE}),
        )
    for what, method in {"LZMA": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}.items():
        reasons = {"x.dcm": "unsupported-compression", **GOOD_ONE}
        yield f"zip: {what}", Bad("x.zip", partial(zipped_mixed, method=method), reasons)
    damaged = {"x.dcm": "damaged-member", **GOOD_ONE}
    yield "zip: size of nothing", Bad("x.zip", lambda good: central(two(good), 24, "<L", 0xFFFFFFF0), damaged)
    yield "zip: packed size", Bad("x.zip", lambda good: central(two(good), 20, "<L", 0xFFFFFF), damaged)
    yield "zip: offset", Bad("x.zip", lambda good: central(two(good), 42, "<L", 0x7FFFFFFF), damaged)
    yield "zip: offset of nothing", Bad("x.zip", lambda good: central(two(good), 42, "<L", 7), damaged)
    yield "zip: other local name", Bad("x.zip", lambda good: two(good).replace(b"x.dcm", b"y.dcm", 1), damaged)
    yield "zip: other local method", Bad("x.zip", lambda good: local(two(good), 8, "<H", 0), damaged)
    yield (
        "zip: a link",
        Bad(
            "x.zip",
            lambda good: central(central(two(good), 5, "B", 3), 38, "<L", 0o120777 << 16),
            {
                "x.dcm": "not-regular",
                **GOOD_ONE,
            },
        ),
    )
    yield "zip: broken stream", Bad("x.zip", _broken, damaged)
    yield "zip: overlapping", Bad("x.zip", quine, {"kernel": "not-dicom", "000000": "damaged-member", **GOOD_ONE})
    yield "zip: two entries of one", Bad("x.zip", _shared, {"x.dcm": "overlapping", **GOOD_ONE})
    whole: dict[str, str | None] = {"": "damaged-archive"}
    yield "zip: truncated", Bad("x.zip", lambda good: two(good)[:-40], whole)
    yield "zip: only a beginning", Bad("x.zip", lambda good: two(good)[:100], whole)
    yield "zip: a wrong number of entries", Bad("x.zip", lambda good: _end(two(good), 10, "<H", 77), {**GOOD_ONE, **whole})
    yield "zip: a directory outside", Bad("x.zip", lambda good: _end(two(good), 16, "<L", 0x7FFFFFFF), whole)
    yield "zip: a directory too large", Bad("x.zip", lambda good: _end(two(good), 12, "<L", 0x7FFFFFFF), whole)
    yield "zip: of two disks", Bad("x.zip", lambda good: _end(two(good), 4, "<H", 1), whole)
    yield "zip: a broken directory", Bad("x.zip", _broken_directory, {**GOOD_ONE, **whole})
    yield "zip64: a size of 2^63", Bad("x.zip", lambda good: zip64(good, size=1 << 63), {GOOD: "damaged-member", "": READ})
    yield "zip64: a short field", Bad("x.zip", lambda good: zip64(good, short=True), whole)
    yield (
        "zip: prefixed",
        Bad("x.zip", lambda good: b"MZ" + bytes(5000) + two(good), {GOOD: None, "x.dcm": "same-bytes", "": READ}),
    )
    yield "zip: no zip", Bad("x.zip", lambda good: b"hello" * 100, {"": "not-dicom"})
    yield "zip: empty", Bad("x.zip", lambda good: b"", {"": "not-dicom"})
    yield "zip: a tar", Bad("x.zip", lambda good: tarred([(GOOD, good)]), {"": "not-dicom"})
    yield (
        "zip: too deep",
        Bad("x.zip", lambda good: nested(2, good), {"in.zip//in.zip": "nested-archive", "in.zip": READ, "": READ}),
    )
    yield (
        "zip: a bomb in it",
        Bad(
            "x.zip",
            lambda good: zipped([(GOOD, good), ("in.zip", bomb(200 << 20))]),
            {
                "in.zip//zeros": "not-dicom",
                "in.zip": READ,
                **GOOD_ONE,
            },
        ),
    )


def _broken(good: bytes) -> bytes:
    packed = bytearray(two(good))
    at = packed.rindex(b"x.dcm", 0, packed.index(b"PK\1\2")) + 5
    packed[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(packed)


def _shared(good: bytes) -> bytes:
    """The entry of the last member leads into the middle of another, where another local header stands."""
    inner = zipped([("x.dcm", b"no DICOM")], zipfile.ZIP_STORED)
    body = inner[: inner.index(b"PK\1\2")]
    packed = zipped([(GOOD, good), ("outer", bytes(200) + body), ("x.dcm", b"no DICOM")], zipfile.ZIP_STORED)
    return central(packed, 42, "<L", packed.index(body))


def _broken_directory(good: bytes) -> bytes:
    packed = bytearray(two(good))
    packed[packed.rindex(b"PK\1\2")] = 0
    return bytes(packed)


def _end(packed: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(packed)
    struct.pack_into(form, changed, packed.rindex(b"PK\5\6") + at, value)
    return bytes(changed)


def _tars() -> Iterator[tuple[str, Bad]]:
    unsafe = {"/2": "unsafe-name", **GOOD_ONE}
    for what, name in {"absolute": "/etc/passwd", "dots": "../../x.dcm", "long": "x/" * 3000 + "y"}.items():
        yield f"tar: {what}", Bad("x.tar", tar_named(name), unsafe)
    yield "tar: doubled name", Bad("x.tar", lambda good: tarred([(GOOD, good), (GOOD, good)]), {"/2": "doubled-name", **GOOD_ONE})
    kinds = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE}
    for what, kind in {**kinds, "pipe": tarfile.FIFOTYPE}.items():
        reasons = {"x.dcm": "not-regular", **GOOD_ONE}
        yield (
            f"tar: {what}",
            Bad("x.tar", partial(with_special, kind=kind), reasons),
        )
    yield "tar: sparse", Bad("x.tar", sparse, {"hole.dcm": "unsupported-compression", **GOOD_ONE})
    yield (
        "tar: sparse by pax",
        Bad(
            "x.tar",
            lambda good: tarred([(GOOD, good), pax("x.dcm", **{"GNU.sparse.major": "1"})]),
            {"x.dcm": "unsupported-compression", **GOOD_ONE},
        ),
    )
    yield (
        "tar: a huge pax value",
        Bad(
            "x.tar",
            lambda good: tarred([(GOOD, good), pax("x.dcm", comment="x" * (3 << 20))]),
            {"x.dcm": "damaged-member", **GOOD_ONE},
        ),
    )
    whole: dict[str, str | None] = {"": "damaged-archive"}
    yield (
        "tar: a pax size",
        Bad(
            "x.tar",
            lambda good: tarred([(GOOD, good), pax("x.dcm", size="9" * 18)]),
            {
                "x.dcm": "damaged-member",
                GOOD: None,
                **whole,
            },
        ),
    )
    yield (
        "tar: a pax size of no number",
        Bad(
            "x.tar",
            lambda good: tarred([(GOOD, good), pax("x.dcm", size="-1")]),
            {
                GOOD: None,
                **whole,
            },
        ),
    )
    yield "tar: a pax name with NUL", Bad("x.tar", lambda good: tarred([(GOOD, good), pax("x.dcm", path="a\0b")]), unsafe)
    yield "tar: a broken pax header", Bad("x.tar", _broken_pax, {"x.dcm": "damaged-member", **GOOD_ONE})
    yield "tar: a binary size", Bad("x.tar", lambda good: header(put(124, b"\x80" + b"\xff" * 11), tarred([(GOOD, good)])), whole)
    yield "tar: a negative size", Bad("x.tar", lambda good: header(put(124, b"\xff" * 12), tarred([(GOOD, good)])), whole)
    yield "tar: a size of no number", Bad("x.tar", lambda good: header(put(124, b"size"), tarred([(GOOD, good)])), whole)
    yield (
        "tar: a size too large",
        Bad(
            "x.tar",
            lambda good: header(put(124, b"77777777777\0"), tarred([(GOOD, good)])),
            {
                GOOD: "damaged-member",
                **whole,
            },
        ),
    )
    yield "tar: a wrong checksum", Bad("x.tar", lambda good: b"X" + tarred([(GOOD, good)])[1:], whole)
    yield "tar: truncated", Bad("x.tar", lambda good: tarred([(GOOD, good)])[:700], {GOOD: "damaged-member", **whole})
    yield (
        "tar: no end",
        Bad("x.tar", lambda good: tarred([(GOOD, good)])[: 512 + -(-len(good) // 512) * 512], {GOOD: None, **whole}),
    )
    yield "tar: extended for ever", Bad("x.tar", lambda good: _long_names() * 40 + tarred([(GOOD, good)]), whole)
    yield "tar: no tar", Bad("x.tar", lambda good: b"hello" * 1000, {"": "not-dicom"})
    yield "tar.gz: empty streams", Bad("x.tgz", lambda good: gzip.compress(b"") * 500_000, {"": "archive-bomb"})
    yield "tar.gz: no gzip", Bad("x.tar.gz", lambda good: lzma.compress(tarred([(GOOD, good)])), {"": "not-dicom"})
    yield "tar.gz: no tar", Bad("x.tar.gz", gzip.compress, {"": "not-dicom"})
    yield "tar.gz: truncated", Bad("x.tgz", lambda good: _gz(good)[:-200], {GOOD: None, **whole})
    yield (
        "tar.gz: a wrong checksum",
        Bad("x.tgz", lambda good: _gz(good)[:-8] + b"\0\1\2\3" + _gz(good)[-4:], {GOOD: None, **whole}),
    )
    yield (
        "tar.gz: a bomb",
        Bad(
            "x.tgz",
            lambda good: gzip.compress(tarred([(GOOD, good), ("zeros", bytes(300 << 20))]), 1),
            {
                GOOD: None,
                "": "archive-bomb",
            },
        ),
    )
    yield (
        "tar.gz: a bomb of NULs behind the end",
        Bad(
            "x.tgz",
            lambda good: gzip.compress(tarred([(GOOD, good)]) + bytes(300 << 20), 1),
            {
                GOOD: None,
                "": "archive-bomb",
            },
        ),
    )


def _gz(good: bytes) -> bytes:
    """A tar.gz whose end is far behind the good member."""
    noise = zlib.compress(b"".join(str(number).encode() for number in range(200_000)))
    return gzip.compress(tarred([(GOOD, good), ("noise.bin", noise)]))


def _broken_pax(good: bytes) -> bytes:
    packed = tarred([(GOOD, good), pax("x.dcm", comment="x")])
    return packed.replace(b" comment=x\n", b" comment x\n")


def _long_names() -> bytes:
    packed = tarred([("n" * 200, b"")], tarfile.GNU_FORMAT)
    return packed[:1024]


BAD = dict([*_zips(), *_tars()])
