"""Write an archive from its parts: each is read once, and only digests are kept in memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext

from pyconquest_rules.content import PACKED, Assembler, NotTransformed, Part
from pyconquest_rules.disk.archives import ARCHIVES, Archive
from pyconquest_rules.disk.contents import opened
from pyconquest_rules.disk.sources import Changed
from pyconquest_rules.kinds.archive.dicomdir import NAME, Directory


class Packing(Assembler):
    """The assembler of the archives of an action. The identity of an archive is the end of its name."""

    def __init__(self, name: str, dicomdir: bool) -> None:
        """With `dicomdir`, the last member is the DICOMDIR of the others."""
        self.name, self._dicomdir = name, dicomdir

    def assemble(self, identity: str, parts: Iterator[Part], target: int) -> bytes:
        """Write an archive to an empty file. Return PACKED of its parts.

        Raises NotTransformed, which names the instance, and OSError.
        """
        added, archive = bytearray(), {each.ending: each for each in ARCHIVES}[identity]
        with archive(target) as made, Directory() if self._dicomdir else nullcontext() as directory:
            for part in parts:
                try:
                    added += _added(part, made, directory)
                except (NotTransformed, Changed) as error:
                    raise NotTransformed(f"{part.SOPInstanceUID}: {error}") from None
            if directory is not None:
                _add_directory(directory, made)
        return bytes(added)


def _added(part: Part, archive: Archive, directory: Directory | None) -> bytes:
    """Add a part. Return PACKED of it. Raises NotTransformed, Changed, OSError."""
    try:
        with opened(part.content) as (file, size, source):
            if directory is not None:
                directory.add(part.name, file)
            delivered = archive.add(part.name, size, file)
    except OSError as error:
        if error.filename != part.content.source:
            raise
        raise NotTransformed(f"its file cannot be read: {os.strerror(error.errno or 0)}") from None
    return PACKED.pack(bytes.fromhex(source or delivered), bytes.fromhex(delivered), size)


def _add_directory(directory: Directory, archive: Archive) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        size = directory.write(file.fileno())
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        archive.add(NAME, size, file.fileno())
