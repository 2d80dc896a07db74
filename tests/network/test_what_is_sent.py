"""The sent data set is the one that the index read, in its real transfer syntax, or nothing is sent."""

import os
import re
import zlib
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.headers.header import Reader, Wanted
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.outgoing import Instance
from pyconquest_rules.network.storage_scu import REFUSED, Sent
from tests.network.raw_files import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    element,
    instance,
    meta,
    sequence,
)
from tests.peers.faulty import Faulty
from tests.peers.processes import HOST, storescp
from tests.peers.storage_scu import send

UID = "1.2.3"
EXPLICITLY, IMPLICITLY, BACKWARDS = instance(UID), instance(UID, explicit=False), instance(UID, order=">")
PIXELS = element(0x7FE00010, "OW", bytes(16))
PIXELS_IMPLICIT = element(0x7FE00010, "OW", bytes(16), explicit=False)
PAPYRUS = "1.2.840.10008.1.20"
FRAGMENTS = sequence(0x7FE00010, [b"", b"\xff\xd8\xff\xd9"], vr="OB")
ENCAPSULATED = element(0x7FE00010, "OB", FRAGMENTS[12:] + b"\xfe\xff\xdd\xe0\0\0\0\0", length=UNDEFINED)
GROUP_2 = element(0x00020003, "UI", UID)
GROUP_2_IMPLICIT = element(0x00020003, "UI", UID, explicit=False)


def deflated(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = engine.compress(data) + engine.flush()
    return packed + b"\0" * (len(packed) % 2)


# The file, the data set that arrives, and the transfer syntax that it arrives in.
SENT = {
    "explicit under implicit": (meta(UID, IMPLICIT) + EXPLICITLY + PIXELS, EXPLICITLY + PIXELS, EXPLICIT),
    "implicit under explicit": (meta(UID, EXPLICIT) + IMPLICITLY, IMPLICITLY, IMPLICIT),
    "big endian under little": (meta(UID, EXPLICIT) + BACKWARDS, BACKWARDS, BIG_ENDIAN),
    "big endian under implicit": (meta(UID, IMPLICIT) + BACKWARDS, BACKWARDS, BIG_ENDIAN),
    "little endian under big": (meta(UID, BIG_ENDIAN) + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "implicit under big": (meta(UID, BIG_ENDIAN) + IMPLICITLY, IMPLICITLY, IMPLICIT),
    "no transfer syntax, implicit": (meta(UID, "") + IMPLICITLY, IMPLICITLY, IMPLICIT),
    "no transfer syntax, explicit": (meta(UID, "") + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "no meta information": (bytes(128) + b"DICM" + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "no preamble": (meta(UID, IMPLICIT)[132:] + IMPLICITLY, IMPLICITLY, IMPLICIT),
    "nothing but the data set, explicit": (EXPLICITLY, EXPLICITLY, EXPLICIT),
    "nothing but the data set, implicit": (IMPLICITLY, IMPLICITLY, IMPLICIT),
    "nothing but the data set, big endian": (BACKWARDS, BACKWARDS, BIG_ENDIAN),
    "no group length": (meta(UID, EXPLICIT, group_length=-1) + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "a group length that is too short": (meta(UID, EXPLICIT, group_length=20) + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "a group length that is too long": (meta(UID, IMPLICIT, group_length=9000) + IMPLICITLY, IMPLICITLY, IMPLICIT),
    "a group length of 0": (meta(UID, EXPLICIT, group_length=0) + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "group 0002 after the meta information, implicit": (
        meta(UID, IMPLICIT) + GROUP_2_IMPLICIT + IMPLICITLY,
        IMPLICITLY,
        IMPLICIT,
    ),
    "group 0002 after the meta information, explicit": (meta(UID, EXPLICIT) + GROUP_2 + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "group 0002 after it, in the other encoding": (meta(UID, EXPLICIT) + GROUP_2_IMPLICIT + EXPLICITLY, EXPLICITLY, EXPLICIT),
    "more of group 0002 than its length says": (
        meta(UID, EXPLICIT, group_length=80, more=GROUP_2 * 3) + EXPLICITLY,
        EXPLICITLY,
        EXPLICIT,
    ),
    "a private element of the meta information": (
        meta(UID, EXPLICIT, more=element(0x00020100, "UI", "1.2") + element(0x00020102, "OB", b"\1" * 300)) + EXPLICITLY,
        EXPLICITLY,
        EXPLICIT,
    ),
    "NULs behind the data set": (meta(UID, EXPLICIT) + EXPLICITLY + PIXELS + bytes(5000), EXPLICITLY + PIXELS, EXPLICIT),
    "a few NULs behind it": (meta(UID, IMPLICIT) + IMPLICITLY + bytes(3), IMPLICITLY, IMPLICIT),
    "deflated": (meta(UID, DEFLATED) + deflated(EXPLICITLY), deflated(EXPLICITLY), DEFLATED),
    "encapsulated": (meta(UID, JPEG) + EXPLICITLY + ENCAPSULATED, EXPLICITLY + ENCAPSULATED, JPEG),
    "a private transfer syntax": (meta(UID, "1.2.840.113619.5.2") + IMPLICITLY, IMPLICITLY, "1.2.840.113619.5.2"),
    "Papyrus, which is native": (meta(UID, PAPYRUS) + IMPLICITLY + PIXELS_IMPLICIT, IMPLICITLY + PIXELS_IMPLICIT, PAPYRUS),
    "a UID twice, padded otherwise": (
        meta(UID, EXPLICIT) + EXPLICITLY + element(0x00080018, "UI", UID + "   "),
        EXPLICITLY + element(0x00080018, "UI", UID + "   "),
        EXPLICIT,
    ),
    "a VR of a later Standard": (
        meta(UID, EXPLICIT) + EXPLICITLY + element(0x00321030, "LT", b"x"),
        EXPLICITLY + element(0x00321030, "LT", b"x"),
        EXPLICIT,
    ),
}

REFUSED_FILES = {
    "implicit under JPEG": (meta(UID, JPEG) + IMPLICITLY, "it has no explicit VRs"),
    "big endian under JPEG": (meta(UID, JPEG) + BACKWARDS, "it is big endian"),
    "not deflated": (meta(UID, DEFLATED) + EXPLICITLY, "it is not deflated"),
    "deflated implicit": (meta(UID, DEFLATED) + deflated(IMPLICITLY), "it has no explicit VRs"),
    "fragments under explicit": (meta(UID, EXPLICIT) + EXPLICITLY + ENCAPSULATED, "its pixel data is encapsulated"),
    "native pixel data under JPEG": (meta(UID, JPEG) + EXPLICITLY + PIXELS, "its pixel data is not encapsulated"),
    "fragments without an end": (meta(UID, JPEG) + EXPLICITLY + ENCAPSULATED[:-8], "end"),
    "group 0002 within the data set": (
        meta(UID, EXPLICIT) + EXPLICITLY + GROUP_2 + PIXELS,
        r"\(0002,0003\), which no data set may have",
    ),
    "group 0002 at its end": (meta(UID, IMPLICIT) + IMPLICITLY + GROUP_2_IMPLICIT, r"\(0002,0003\)"),
    "a command in the data set": (meta(UID, EXPLICIT) + EXPLICITLY + element(0x00000100, "US", b"\1\0"), r"\(0000,0100\)"),
    "an implicit element among explicit ones": (
        meta(UID, EXPLICIT) + EXPLICITLY + element(0x00321030, "LO", "x", explicit=False) + PIXELS,
        r"its element \(0032,1030\) has no VR, or one that the Standard does not have",
    ),
    **{
        f"an element with the VR {vr!r}": (
            meta(UID, EXPLICIT) + EXPLICITLY + element(0x00321030, "LO", "abcd").replace(b"LO", vr) + PIXELS,
            r"its element \(0032,1030\) has no VR, or one that the Standard does not have",
        )
        for vr in (b"ZZ", b"??", b"--", b"  ", b"l1")
    },
    **{
        f"{what} for the end of fragments": (
            meta(UID, JPEG) + EXPLICITLY + ENCAPSULATED[:-8] + instead,
            "its encapsulated pixel data has no end",
        )
        for what, instead in {"NULs": bytes(8), "two NULs": bytes(2), "half of one": b"\xfe\xff\xdd\xe0"}.items()
    },
    **{
        f"stray bytes {stray!r}": (meta(UID, EXPLICIT) + EXPLICITLY + PIXELS + stray, "followed by bytes")
        for stray in (b"\1\2", b"\r\n", b"\xff" * 8, b"\xff" * 512, b"<html></html>\r\n")
    },
    **{
        f"two UIDs, {where}": (meta(UID, EXPLICIT) + data, f"more than one SOP {which} UID")
        for where, data, which in (
            ("in front", element(0x00080018, "UI", "1.2.9") + EXPLICITLY, "Instance"),
            ("behind the pixel data", EXPLICITLY + PIXELS + element(0x00080018, "UI", "1.2.9"), "Instance"),
            ("an empty one", EXPLICITLY + element(0x00080018, "UI", ""), "Instance"),
            ("of classes", element(0x00080016, "UI", "1.2.9") + EXPLICITLY, "Class"),
            ("of classes, at the end", EXPLICITLY + PIXELS + element(0x00080016, "UI", CT + ".1"), "Class"),
        )
    },
    "bytes behind the data set": (meta(UID, EXPLICIT) + EXPLICITLY + PIXELS + b"\1\2\3\4", "followed by bytes"),
    "a data set that ends too early": (meta(UID, EXPLICIT) + EXPLICITLY + PIXELS[:-4], "is truncated"),
    "an odd length": (meta(UID, EXPLICIT) + EXPLICITLY + element(0x00321030, "LO", "abc", length=3), "odd number of bytes"),
    "no data set": (meta(UID, EXPLICIT), "not a DICOM file|no data set|is truncated"),
}


def node(port: int) -> Node:
    return Node("archive", "ARCHIVE", HOST, port)


def file(tmp_path: Path, data: bytes) -> Instance:
    path = tmp_path / "file.dcm"
    path.write_bytes(data)
    return Instance(os.fsencode(path), UID)


def indexed(path: bytes) -> bool:
    try:
        return Reader(Wanted(())).read(path).SOPInstanceUID == UID
    except Rejected:
        return False


@pytest.mark.parametrize("transcode", [True, False])
@pytest.mark.parametrize(("data", "arrives", "syntax"), SENT.values(), ids=SENT)
def test_a_data_set_arrives_complete_in_its_real_transfer_syntax(
    tmp_path: Path, data: bytes, arrives: bytes, syntax: str, transcode: bool
) -> None:
    one = file(tmp_path, data)
    assert indexed(one.path)
    with Faulty() as peer:
        ((_, sent),) = send(node(peer.port), [one], transcode=transcode)
    assert sent == Sent(UID, 0)
    assert (peer.stored, peer.stored_as) == ({UID: arrives}, {UID: syntax})


@pytest.mark.parametrize(("data", "why"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_a_data_set_without_valid_transfer_syntax_is_not_sent(tmp_path: Path, data: bytes, why: str) -> None:
    with Faulty() as peer:
        ((_, sent),) = send(node(peer.port), [file(tmp_path, data)])
    assert (sent.status, sent.retry, peer.proposed) == (None, False, [])

    assert re.search(why, sent.message or "")


@pytest.mark.parametrize("length", [65, 70, 100, 127, 128])
def test_a_uid_that_is_too_long_is_refused_with_its_length(tmp_path: Path, length: int) -> None:
    uid = "1." * (length // 2) + "1" * (length % 2) if length % 2 else "1." * (length // 2 - 1) + "11"
    path = tmp_path / "file"
    path.write_bytes(meta(UID, EXPLICIT) + instance(uid))
    with Faulty() as peer:
        ((_, sent),) = send(node(peer.port), [Instance(os.fsencode(path), uid)])
    assert (sent.status, peer.proposed) == (None, [])
    assert sent.message == f"its SOP Instance UID has {length} characters, more than the 64 that a UID may have"


@pytest.mark.parametrize(
    ("syntax", "data", "other"),
    [(IMPLICIT, IMPLICITLY, EXPLICITLY), (EXPLICIT, EXPLICITLY, IMPLICITLY)],
    ids=["implicit", "explicit"],
)
def test_converts_to_the_only_vr_encoding_that_the_node_accepts(tmp_path: Path, syntax: str, data: bytes, other: bytes) -> None:
    takes = EXPLICIT if syntax == IMPLICIT else IMPLICIT
    one = file(tmp_path, meta(UID, syntax) + data)
    with Faulty(syntaxes=frozenset({takes})) as peer:
        ((_, sent),) = send(node(peer.port), [one])
        assert (sent, peer.stored, peer.stored_as) == (Sent(UID, 0), {UID: other}, {UID: takes})
        ((_, sent),) = send(node(peer.port), [one], transcode=False)
        assert sent.message == REFUSED
    with Faulty() as peer:  # the peer accepts both and gets the file unchanged
        ((_, sent),) = send(node(peer.port), [one])
        assert (peer.stored, peer.stored_as) == ({UID: data}, {UID: syntax})


@pytest.mark.parametrize("size", [0, 100, 4096, 300_000, 5 << 20])
@pytest.mark.parametrize("maximum_length", [16384, 0])
def test_large_values_are_converted_too(tmp_path: Path, size: int, maximum_length: int) -> None:
    pixels = os.urandom(size)
    one = file(tmp_path, meta(UID, EXPLICIT) + EXPLICITLY + element(0x7FE00010, "OW", pixels))
    with Faulty(syntaxes=frozenset({IMPLICIT}), maximum_length=maximum_length) as peer:
        ((_, sent),) = send(node(peer.port), [one])
    assert sent.stored
    assert peer.stored == {UID: IMPLICITLY + element(0x7FE00010, "OW", pixels, explicit=False)}


def test_an_unconvertible_file_is_refused_and_others_are_sent(tmp_path: Path) -> None:
    bad = file(tmp_path, meta(UID, EXPLICIT) + EXPLICITLY + element(0x00280010, "FD", bytes(8)))
    path = tmp_path / "good"
    path.write_bytes(meta("1.2.4", EXPLICIT) + instance("1.2.4"))
    with Faulty(syntaxes=frozenset({IMPLICIT})) as peer:
        told = {sent.SOPInstanceUID: sent for _, sent in send(node(peer.port), [bad, Instance(os.fsencode(path), "1.2.4")])}
    assert told["1.2.4"].stored
    assert "has another VR than in PS3.6" in (told[UID].message or "")
    assert (told[UID].status, peer.messages) == (None, 1)


@pytest.mark.parametrize("option", ["+xi", "+xe"])
def test_storescp_that_accepts_one_vr_encoding(tmp_path: Path, option: str) -> None:
    """DCMTK: `+xi` accepts implicit VR only; `+xe` prefers explicit VR."""
    paths = [tmp_path / "explicit", tmp_path / "implicit"]
    paths[0].write_bytes(meta("1.2.4", EXPLICIT) + instance("1.2.4", more=PIXELS))
    paths[1].write_bytes(
        meta("1.2.5", IMPLICIT) + instance("1.2.5", explicit=False, more=element(0x7FE00010, "OW", bytes(16), explicit=False))
    )
    with storescp(tmp_path, option) as port:
        told = [
            sent
            for _, sent in send(node(port), [Instance(os.fsencode(paths[0]), "1.2.4"), Instance(os.fsencode(paths[1]), "1.2.5")])
        ]
    assert all(each.stored for each in told)
    for arrived in (tmp_path / "received").iterdir():
        found = pydicom.dcmread(arrived)
        assert (found.SOPClassUID, found.PatientID, found.PixelData) == (CT, "P1", bytes(16))
