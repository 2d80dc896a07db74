"""The names of the evidence of a release, and the format of `SHA256SUMS`, which `sha256sum -c` reads."""

import re
from collections.abc import Iterator
from typing import BinaryIO

MANIFEST, PARQUET, CRATE, SUMS, RUN = "manifest.csv", "manifest.parquet", "ro-crate-metadata.json", "SHA256SUMS", "run.json"

OTHERS = frozenset((MANIFEST, PARQUET, CRATE))
"""The evidence that SHA256SUMS lists."""

ESCAPED = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
PLAIN = {escape: plain for plain, escape in ESCAPED.items()}
LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\n")
LONGEST = 1 << 16


def escaped(path: bytes) -> bytes:
    """Return a path as sha256sum writes it: without a line feed and a carriage return, and with each backslash doubled."""
    return re.sub(rb"[\\\n\r]", lambda found: ESCAPED[found[0]], path)


def plain(escaped: bytes) -> bytes:
    """Return the path that was escaped."""
    return re.sub(rb"\\[\\nr]", lambda found: PLAIN[found[0]], escaped)


def line(digest: str, path: bytes) -> bytes:
    """Return the line of a file. It begins with a backslash if its path is escaped."""
    shown = escaped(path)
    return (b"" if shown == path else b"\\") + digest.encode() + b"  " + shown + b"\n"


def read(stream: BinaryIO) -> Iterator[tuple[bytes, str]]:
    """Yield the path and the digest of each line. Raises ValueError with the number of a line that is not valid."""
    number = 0
    while text := stream.readline(LONGEST):
        number += 1
        if not (found := LINE.fullmatch(text)):
            raise ValueError(f"line {number} is not a line of sha256sum")
        is_escaped, digest, path = found.groups()
        yield (plain(path) if is_escaped else path), digest.decode()
