"""Keep older data sets of instances, in a folder that the index skips."""

import os
from itertools import count
from pathlib import Path
from shutil import copyfile

from pyconquest_rules.disk.files import NO_LINKS
from pyconquest_rules.disk.folders import OLDER
from pyconquest_rules.disk.placing import same_data_set, sync_folder


def kept_older(root: Path, sop_instance: str, file: Path) -> str:
    """Keep a file, durably. Return its path from `root`; the oldest of an instance is `1.dcm`. Raises OSError."""
    folder = root / OLDER / sop_instance
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / f"{number}.dcm"
        try:
            _link_or_copy(file, path)
        except FileExistsError:
            if not same_data_set(file, path):
                continue
        break
    for each in (folder, folder.parent, root):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_folder(descriptor)
        finally:
            os.close(descriptor)
    return str(path.relative_to(root))


def _link_or_copy(file: Path, path: Path) -> None:
    """A hard link, or on file systems that have none a copy."""
    try:
        os.link(file, path, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    if path.exists():
        raise FileExistsError
    part = path.with_suffix(".part")
    copyfile(file, part)
    with part.open("rb") as copied:
        os.fsync(copied.fileno())
    os.rename(part, path)
