"""Files that rules name, opened to be read: nothing that could wait or never end."""

import os
import stat
from errno import EINVAL
from io import BufferedReader
from pathlib import Path


def open_regular(file: Path) -> BufferedReader:
    """A file of bytes. Raises OSError where there is none, or a folder, a FIFO or a device in its place."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(EINVAL, "it is not a regular file")
    return os.fdopen(descriptor, "rb")
