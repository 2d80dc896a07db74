"""Decisions of users about an index, as text: `decisions.txt` in the state folder, with one decision on each line.

    device archive MAG0              the source `archive` is the device MAG0
    forget patient "P 1"             nothing of this patient is indexed; also `study`, `series`, `image`
    choose 1.2.3 archive ct/1.dcm    of the files with this SOPInstanceUID, this one is indexed

Words with special characters are written as JSON strings. Text after ` #` is a comment. The index can be rebuilt; this file
cannot.
"""

import fcntl
import json
import os
import re
from collections import deque
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from time import time_ns

from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.disk.named_files import open_named
from pyconquest_rules.disk.state_folder import DECISIONS, FOLDER, checked, made
from pyconquest_rules.disk.young import is_young
from pyconquest_rules.errors import DatabaseError, UsageError, did_you_mean

FILE = DECISIONS
HEAD = ("# Decisions about the index of these rules. Keep this file: a rebuilt index needs it.",)

LARGEST, LONGEST = 64 << 20, 8192
PLAIN = re.compile(r"[A-Za-z0-9._/~+=:@%,-]+")
WORD = re.compile(rf'{PLAIN.pattern}|"(?:[^"\\]|\\.)*"')
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
DEVICE = re.compile(r"MAG(0|[1-9][0-9]{0,5})")

Decision = tuple[str, ...]
"""The words of a line: `("forget", "patient", "P1")`."""

FORMS = {
    "device": "device SOURCE MAG0",
    "forget": "forget patient|study|series|image VALUE",
    "choose": "choose SOPInstanceUID SOURCE PATH",
}


@dataclass(frozen=True)
class Decisions:
    """The decisions of a file. `lines` has all its lines, including comments and lines of later versions."""

    lines: tuple[str, ...] = ()

    @staticmethod
    def of_text(text: str) -> "Decisions":
        """Return the decisions of a text without checking it."""
        return Decisions(tuple(text.replace("\r\n", "\n").removesuffix("\n").split("\n")) if text else ())

    @property
    def text(self) -> str:
        """The decisions as the text of a file."""
        return "".join(f"{line}\n" for line in self.lines)

    @cached_property
    def all(self) -> frozenset[Decision]:
        """Every decision. Raises ValueError if a line is invalid."""
        return frozenset(decision for line in self.lines if (decision := _decision(line)))

    @cached_property
    def devices(self) -> dict[str, str]:
        """The device of each source."""
        return {words[1]: words[2] for words in self.all if words[0] == "device"}

    @cached_property
    def forgotten(self) -> frozenset[Decision]:
        """The decisions to forget something, without the padding of values."""
        return frozenset((*words[:2], unpadded(words[2])) for words in self.all if words[0] == "forget")

    @cached_property
    def chosen(self) -> dict[str, tuple[str, bytes]]:
        """The chosen file for each SOPInstanceUID: its source, and its path below the root of the source."""
        return {words[1]: (words[2], os.fsencode(words[3])) for words in self.all if words[0] == "choose"}

    def forget(self, keys: Iterable[str | None]) -> bool:
        """Return whether an instance is forgotten. `keys` are the keys of its patient, study, series and image."""
        return bool(self.forgotten) and any(
            ("forget", level.value, key) in self.forgotten for level, key in zip(Level, keys, strict=True)
        )

    def changed(self, added: Iterable[Decision] = (), removed: Iterable[Decision] = ()) -> "Decisions":
        """Return the decisions with some added at their sorted position and some removed. All other lines stay as they are."""
        gone, waiting, lines = {*removed}, deque(sorted({*added} - self.all)), list[str]()
        for line in self.lines or HEAD:
            words = _decision(line)
            while words and waiting and waiting[0] < words:
                lines.append(_line(waiting.popleft()))
            if words not in gone:
                lines.append(line)
        return Decisions((*lines, *map(_line, waiting)))


def _line(decision: Decision) -> str:
    return " ".join(map(_written, decision))


def _written(word: str) -> str:
    return word if PLAIN.fullmatch(word) else json.dumps(word)


def _decision(line: str) -> Decision | None:
    """Return the decision of a line; None for a blank line, a comment, or a line of a later version.

    Raises ValueError with a message for users.
    """
    words, rest = list[str](), line.strip()
    while rest and not rest.startswith("#"):
        found = WORD.match(rest)
        if not found or (after := rest[found.end() :])[:1].strip():
            raise ValueError("put a word with spaces or special characters in double quotes")
        words.append(_read(found[0]))
        rest = after.strip()
    if not words:
        return None
    if words[0] not in FORMS:
        if near := did_you_mean(words[0], FORMS):
            raise ValueError(f'"{words[0]}" is not a decision; {near}')
        return None
    if not _is_right(words):
        raise ValueError(f"write: {FORMS[words[0]]}")
    return tuple(words)


def _read(word: str) -> str:
    try:
        return str(json.loads(word)) if word.startswith('"') else word
    except ValueError:
        raise ValueError("the text in double quotes is not a JSON string") from None


def _is_right(words: list[str]) -> bool:
    match words:
        case ["device", _, device]:
            return bool(DEVICE.fullmatch(device))
        case ["forget", level, _]:
            return level in [each.value for each in Level]
        case ["choose", _, _, path]:
            return not path.startswith("/") and "\0" not in path
    return False


class DecisionsFile:
    """The file with the decisions of one rules file, in the state folder below `base`."""

    def __init__(self, base: Path) -> None:
        self.base, self.path = base, base / FOLDER / FILE
        self._seen: tuple[int, ...] | None = None
        self._read = Decisions()

    def exists(self) -> bool:
        """Return whether the file exists."""
        return os.path.lexists(self.path)

    def read(self) -> Decisions:
        """Return the current decisions; none if there is no file. Raises UsageError, with the line, if the file is invalid."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self._read = None, Decisions()
            return self._read
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from None
        seen = status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
        if seen != self._seen:
            began = time_ns()
            self._read = self._parsed()
            self._seen = None if is_young(status.st_mtime_ns, began, time_ns()) else seen
        return self._read

    def change(self, added: Iterable[Decision] = (), removed: Iterable[Decision] = ()) -> Decisions:
        """Add and remove decisions, and return all. The file is locked meanwhile and synced. Raises UsageError, DatabaseError."""
        with self._locked():
            before = self.read()
            after = before.changed(added, removed)
            if after.all != before.all:
                self._check(after)
                self._write(after)
        return self.read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file against other processes. Raises DatabaseError if the state folder cannot be created."""
        descriptor = os.open(made(self.base), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def device(self, source: str, taken: Iterable[str]) -> str:
        """Return the device of a source. A new source gets the first device that neither the file nor `taken` has."""
        with self._locked():
            decisions = self.read()
            if source in decisions.devices:
                return decisions.devices[source]
            device = free_device({*taken, *decisions.devices.values()})
            self._write(decisions.changed([("device", source, device)]))
        return device

    def _parsed(self) -> Decisions:
        checked(self.base)
        try:
            with open_named(self.path, None, LARGEST) as file:
                data = file.read(min(os.fstat(file.fileno()).st_size, LARGEST) + 1)  # `read` allocates this many bytes
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from None
        if len(data) > LARGEST:
            raise UsageError(f"{self.path} is larger than {LARGEST} bytes; it cannot be a file of decisions")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._wrong(data[: error.start].count(b"\n") + 1, "the line is not valid UTF-8") from None
        decisions = Decisions.of_text(text)
        self._check(decisions)
        return decisions

    def _check(self, decisions: Decisions) -> None:
        taken: dict[tuple[str, str], Decision] = {}
        for number, line in enumerate(decisions.lines, 1):
            if len(line) > LONGEST:
                raise self._wrong(number, f"the line is longer than {LONGEST} characters")
            if CONTROL.search(line):
                raise self._wrong(number, "the line has a control character")
            try:
                words = _decision(line)
            except ValueError as error:
                raise self._wrong(number, str(error)) from None
            if words is None or words[0] == "forget":
                continue
            unique = [("of", words[1]), ("is", words[2])] if words[0] == "device" else [("file", words[1])]
            for name in unique:
                if taken.setdefault(name, words) != words:
                    raise self._wrong(number, f"another line has a different decision about {name[1]}; keep one of them")

    def _wrong(self, line: int, what: str) -> UsageError:
        return UsageError(f"{self.path}:{line}:1: {what}; nothing was changed")

    def _write(self, decisions: Decisions) -> None:
        """Replace the file atomically, and sync it."""
        part = self.path.with_name(f"{FILE}.part")
        try:
            part.unlink(missing_ok=True)  # left by a killed run
            with part.open("x", encoding="utf-8") as file:
                file.write(decisions.text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise DatabaseError(f"cannot write {self.path}: {os.strerror(error.errno or 0)}") from None
        self._seen = None


def free_device(taken: Container[str]) -> str:
    """Return the first device that is not taken."""
    return next(device for number in count() if (device := f"MAG{number}") not in taken)
