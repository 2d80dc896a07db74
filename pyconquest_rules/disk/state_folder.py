"""The state folder beside the rules file. It may come with a stranger's rules, so it must have no links, pipes or devices."""

import os
import stat
from pathlib import Path

from pyconquest_rules.errors import DatabaseError

FOLDER = ".pyconquest-rules"
DECISIONS = "decisions.txt"


def checked(base: Path) -> Path:
    """Return the state folder below the folder of the rules file, which may be missing.

    Raises DatabaseError if it is a link, or contains a link or anything else that is neither a file nor a folder.
    """
    folder = base / FOLDER
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise DatabaseError(f"cannot use {folder}: it is not a folder, but a link or a file; remove it")
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                    raise DatabaseError(f"cannot use {folder}: {entry.name!r} in it is a link, a pipe or a device; remove it")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DatabaseError(f"cannot use {folder}: {error.strerror}") from None
    return folder


def made(base: Path) -> Path:
    """Return the state folder, created if missing. Its `.gitignore` leaves only the decisions to git. Raises DatabaseError."""
    folder = checked(base)
    try:
        folder.mkdir(exist_ok=True)
        ignore, text = folder / ".gitignore", f"*\n!.gitignore\n!{DECISIONS}\n"
        if not ignore.exists() or ignore.read_text() == "*\n":
            ignore.write_text(text)
    except (OSError, ValueError) as error:
        raise DatabaseError(f"cannot write to {folder}: {os.strerror(getattr(error, 'errno', 0) or 0)}") from None
    return folder
