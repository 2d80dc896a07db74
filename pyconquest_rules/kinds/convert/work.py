"""The folder in which one command runs: its inputs, and what it made."""

import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from pyconquest_rules.content import Content, Part
from pyconquest_rules.disk.contents import has_file, write
from pyconquest_rules.disk.folders import FOLDER
from pyconquest_rules.disk.hashing import open_file
from pyconquest_rules.disk.sources import Changed, is_unchanged
from pyconquest_rules.kinds.convert.rule import INPUTS, LIST, OUTPUTS

TEMPORARY = "tmp"
DEEPEST = 32  # folders in each other, in which outputs are searched


class NotMade(Exception):
    """Why a declared output is not what it should be, without a name that the command gave."""


class Kept(NamedTuple):
    """The declared outputs by their patterns, in a folder of their own, and the number of other files that are discarded."""

    folder: Path
    files: dict[str, Path]
    discarded: int


def made(folder: Path, parts: Sequence[Part]) -> None:
    """Make a folder for a command, with links to its inputs. Raises Changed, NotTransformed, OSError."""
    folder.mkdir(mode=0o700, parents=True)
    for name in (INPUTS, OUTPUTS, TEMPORARY):
        (folder / name).mkdir()
    with (folder / LIST).open("x", encoding="utf-8") as listed:
        for name, content in {part.name: part.content for part in parts}.items():  # a row may have been selected twice
            listed.write(f"{INPUTS}/{name}\n")
            if has_file(content):
                _check(content)
                os.symlink(content.source, os.fsencode(folder / INPUTS / name))
            else:
                with open_file(os.fsencode(folder / INPUTS / name), os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
                    write(content, target)


def check_inputs(parts: Sequence[Part]) -> None:
    """Raise Changed if a file was changed while the command read it, and OSError if it is gone."""
    for part in parts:
        _check(part.content)


def _check(content: Content) -> None:
    if has_file(content) and not is_unchanged(content.source, content.stamp):
        raise Changed


def kept(folder: Path, patterns: tuple[str, ...], place: Path) -> Kept:
    """Move the declared outputs out of the folder of a command, into the new folder `place`.

    Each pattern must match exactly one regular file, whose only name it is. Raises NotMade and OSError.
    """
    made, found = 0, dict[str, list[Path]]()
    for path, relative in _files(folder / OUTPUTS, ()):
        made += 1
        for pattern in patterns:
            if _matches(relative, pattern):
                found.setdefault(pattern, []).append(path)
    for pattern in patterns:
        _check_output(pattern, found.get(pattern, []))
    place.mkdir(mode=0o700)
    files = {pattern: place / str(number) for number, pattern in enumerate(patterns)}
    for pattern, file in files.items():
        os.link(found[pattern][0], file)  # two patterns may match the same file
    return Kept(place, files, made - len({paths[0] for paths in found.values()}))


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield everything below a folder that is not a folder, with the names on the way to it. Links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and len(above) < DEEPEST:
                yield from _files(folder / entry.name, (*above, entry.name))
            else:
                yield folder / entry.name, (*above, entry.name)


def _matches(names: tuple[str, ...], pattern: str) -> bool:
    parts = pattern.split("/")
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))


def _check_output(pattern: str, found: list[Path]) -> None:
    if len(found) != 1:
        made = f"{len(found):,} files that match" if found else "no file that matches"
        raise NotMade(f'the command made {made} "{pattern}"')
    status = found[0].lstat()
    if not stat.S_ISREG(status.st_mode):
        raise NotMade(f'what the command made as "{pattern}" is a link, a pipe or a device')
    if status.st_nlink != 1:
        raise NotMade(f'what the command made as "{pattern}" is a hard link to another file')


def keep_tail(log: Path, place: Path, most: int) -> None:
    """Keep the last `most` bytes of what a command printed, for this user alone: they may have patient data. Raises OSError."""
    if not log.exists():  # the command was not started
        log.touch(0o600)
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        text = file.read(most)
    place.unlink(missing_ok=True)
    with open(place, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as kept:
        kept.write(text)


def removed(folder: Path) -> None:
    """Delete a folder, whatever is in it: folders without permissions, or thousands in each other. Links are not followed."""
    try:
        root = os.open(folder, FOLDER)
    except FileNotFoundError:
        return
    try:
        mark, number = token_hex(8), count()
        while names := os.listdir(root):
            for name in names:
                if not _is_folder(name, root):
                    os.unlink(name, dir_fd=root)
                    continue
                with open_file(name, FOLDER, root) as inner:
                    for each in os.listdir(inner):
                        _is_folder(each, inner)
                        os.rename(each, f"{mark}-{next(number)}", src_dir_fd=inner, dst_dir_fd=root)
                os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)
    folder.rmdir()


def _is_folder(name: str, at: int) -> bool:
    """Return whether an entry is a folder. If it is, give it the permissions to be moved and emptied."""
    is_folder = stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
    if is_folder:
        os.chmod(name, 0o700, dir_fd=at)
    return is_folder
