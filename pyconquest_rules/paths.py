"""The only maker of paths: turns the output of a template into a path that every common file system accepts.

While a path is built, "/" is always a slash of the template. Text from an instance begins with MARK, and its special
characters are written as ESCAPE, their code in hexadecimal, ESCAPE.
"""

import posixpath
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, ParamSpec, TypeVar

MARK, ESCAPE = "\0", "\1"
SPECIAL = re.compile("[\0\1/\ud800-\udfff]")
ESCAPED = re.compile("\1([0-9a-f]+)\1")
LONGEST_PATH, LONGEST_NAME = 4096, 255
MANY = 16384  # cached folders: files of many folders may alternate
# Longer texts are not cached: hostile files could fill the memory.
LONGEST_REMEMBERED = 256
# Names that are safe as they are, which is quick to check; it excludes the names in RESERVED.
PLAIN = re.compile(r"(?!(?i:con|prn|aux|nul|(?:com|lpt)[1-9])(?:\.|\Z))[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,198}[A-Za-z0-9_-])?")
EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
FORBIDDEN = frozenset('/\\:*?"<>|')
# Windows treats superscript digits as digits here.
PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"}
RESERVED = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"} | PORTS)


P = ParamSpec("P")
T = TypeVar("T")


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Cache the results of a function for short texts."""
    known = lru_cache(MANY, typed=True)(function)

    def ask(*given: P.args, **named: P.kwargs) -> T:
        for each in given:
            if isinstance(each, str) and len(each) > LONGEST_REMEMBERED:
                return function(*given, **named)
        return known(*given, **named)  # type: ignore[arg-type]

    return ask


class UnsafePath(Exception):
    """The template does not render a valid path for an instance; the text never has a value."""


class Folder(NamedTuple):
    """The folder of a destination. `path` is safe names, each followed by "/".

    `written` is the same before it was made safe, each name followed by NUL. It is equal for two instances only if the
    template renders the same folder for both. It can always be encoded as UTF-8.
    """

    path: str
    written: str


class Destination(NamedTuple):
    """The destination of a copy: a folder, and a safe name in it. `printed` is the name before it was made safe."""

    folder: Folder
    name: str
    printed: str

    @property
    def path(self) -> str:
        """The safe parts joined with "/"."""
        return self.folder.path + self.name

    @property
    def written(self) -> str:
        """The path before it was made safe, its parts joined with NUL."""
        return self.folder.written + self.printed.replace(MARK, "")


def renamed(destination: str, uid: str) -> str:
    """Return a unique name beside `destination`, the same in every run: "x.dcm" becomes "x~1f3a5b7c9d0e.dcm"."""
    folder, slash, name = destination.rpartition("/")
    stem, extension = posixpath.splitext(name)
    return folder + slash + safe_part(f"{stem}~{sha256(uid.encode()).hexdigest()[:12]}{extension}")


def safe_part(text: str) -> str:
    """Return a file or folder name for any text: valid on every common file system, at most 255 bytes, never "." or ".."."""
    if PLAIN.fullmatch(text):
        return text
    name = "".join("_" if _forbidden(character) else character for character in unicodedata.normalize("NFC", text))
    name = name.lstrip(" ").rstrip(" .") or "_"
    if name.startswith("-"):
        name = "_" + name
    stem, dot, rest = name.partition(".")
    if stem.rstrip(" ").lower() in RESERVED:
        name = f"{stem}_{dot}{rest}"
    return _shortened(name)


def collision_key(path: str) -> str:
    """Return a key that is equal for two paths if some file system treats them as one: no case, no compatibility forms."""
    if path.isascii():
        return path.lower()
    # No file system treats a compatibility form of "/" as a slash.
    return "/".join(unicodedata.normalize("NFKC", part).casefold().replace("/", MARK) for part in path.split("/"))


def _forbidden(character: str) -> bool:
    category = unicodedata.category(character)
    return character in FORBIDDEN or category[0] == "C" or category in {"Zl", "Zp"}


def _shortened(name: str) -> str:
    """Shorten a name to at most LONGEST_NAME bytes; eight letters of a digest replace the rest."""
    data = name.encode()
    if len(data) <= LONGEST_NAME:
        return name
    extension = EXTENSION.search(name)
    tail = f"~{sha256(data).hexdigest()[:8]}{extension[0] if extension else ''}"
    return data[: LONGEST_NAME - len(tail)].decode(errors="ignore") + tail


def destination(raw: str) -> Destination:
    """Return the destination that a template rendered. Raises UnsafePath."""
    above, slash, last = raw.rpartition("/")
    if last in {"", ".", ".."}:
        raise UnsafePath("it ends with a folder, not with a file")
    folder, name = _folder(above + slash), _name(last)
    if 4 * (len(folder.path) + len(name)) > LONGEST_PATH and len((folder.path + name).encode()) > LONGEST_PATH:
        raise UnsafePath(f"it is longer than {LONGEST_PATH} bytes")
    return Destination(folder, name, last)


@remembered
def _folder(raw: str) -> Folder:
    """Return the folder of a text. Many destinations share it, so it is cached."""
    root = "/" if raw.startswith("/") else ""
    names, written = [root], [root and MARK]
    below_value = False
    for part in raw.split("/"):
        if part in {"", "."}:  # only the template itself writes "//" and "/./", which mean "/"
            continue
        if part == ".." and below_value:
            raise UnsafePath('".." stands after a value')
        below_value = below_value or MARK in part
        names.append(_name(part) + "/")
        written.append(part.replace(MARK, "") + MARK)
    return Folder("".join(names), "".join(written))


def _name(part: str) -> str:
    if MARK not in part:
        if len(part.encode()) > LONGEST_NAME:
            raise UnsafePath(f"a part of it is longer than {LONGEST_NAME} bytes")
        return part
    text = part.replace(MARK, "")
    if not text:
        raise UnsafePath("a part of it is empty")
    return safe_part(ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if ESCAPE in text else text)
