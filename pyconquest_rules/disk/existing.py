"""Compare an existing file at a destination with what a step creates, or with what the ledger recorded."""

import os
import stat

from pyconquest_rules.content import Content, NotTransformed
from pyconquest_rules.disk.contents import digests
from pyconquest_rules.disk.folders import opened
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.sources import Changed
from pyconquest_rules.steps import Mode


def is_made(mode: Mode, content: Content, destination: str, outputs: Outputs) -> bool:
    """Return whether the existing file is what a step of this mode creates of a content. False if it cannot be read."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            match mode:
                case Mode.SYMLINK:
                    return os.fsencode(os.readlink(name, dir_fd=descriptor)) == content.source
                case Mode.HARDLINK:
                    return os.path.samestat(status, os.stat(content.source))
                case _:
                    return stat.S_ISREG(status.st_mode) and hash_of(name, descriptor) == digests(content).delivered
    except (Changed, NotTransformed, OSError):
        return False


def is_left(destination: str, source: bytes, sha256: str, outputs: Outputs) -> bool:
    """Return whether the existing file has a SHA-256, or is a link to `source`. False if it cannot be read."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return os.fsencode(os.readlink(name, dir_fd=descriptor)) == source
            return stat.S_ISREG(mode) and hash_of(name, descriptor) == sha256
    except OSError:
        return False
