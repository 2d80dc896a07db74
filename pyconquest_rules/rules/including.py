"""`include`: read other rules files, and join their tables with those of the first file.

The rules may come from a stranger and name a file that is secret. So only files below the folder of the first one are read, and
messages show the text of a file only if it is a rules file.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyconquest_rules.disk.named_files import is_inside, read_named
from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path as Keys
from pyconquest_rules.rules.syntax import parsed

MOST, LARGEST = 50, 1 << 20
"""The most files, and their size in bytes; of all files together, with the first one."""

BEGIN = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*rules_version[ \t]*=[ \t]*1[ \t]*(?:#[^\n]*)?\r?(?:\n|$)")


def joined(first: Places, file: Path, size: int) -> Places:
    """Return the document of a file of `size` bytes, with the tables of all files that it includes, directly or not.

    Raises RulesError if a file cannot be included, or if two files have the same table or key.
    """
    if "include" not in first.document:
        return first
    joining = _Joining(first, file.resolve(), size)
    joining.include(first, (file.resolve(),))
    if joining.problems:
        raise RulesError(joining.problems)
    return first.joined(joining.document, joining.owners, tuple(joining.files)[1:])


class _Joining:
    """The document so far, the file of each of its tables and keys, and the problems."""

    def __init__(self, first: Places, file: Path, size: int) -> None:
        self.base, self.files, self.size, self._first = file.parent, [file], size, first
        self.document: dict[str, Any] = {key: dict(of) if isinstance(of, dict) else of for key, of in first.document.items()}
        self.owners: dict[Keys, Places] = {}
        self.problems = list[Problem]()

    def include(self, places: Places, chain: tuple[Path, ...]) -> None:
        """Join the files that a file includes. `chain` has that file, and those through which it is included."""
        names = places.document.get("include", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.problems.append(places.at_value(("include",), "must be a list of texts", 'write include = ["common.toml"]'))
            return
        for number, name in enumerate(names):
            if len(self.files) >= MOST:
                self.problems.append(places.at_value(("include", number), f"the rules have more than {MOST} files"))
                return
            wrong, hint = self._refused(name, chain)
            if wrong:
                self.problems.append(places.at_value(("include", number), wrong, hint))
                continue
            try:
                text = self._text(name)
                if not BEGIN.match(text):
                    raise OSError(0, "it does not begin with rules_version = 1")
            except UnicodeDecodeError:
                self.problems.append(places.at_value(("include", number), f'cannot include "{name}": it is not UTF-8 text'))
            except OSError as error:
                self.problems.append(places.at_value(("include", number), f'cannot include "{name}": {error.strerror}'))
            else:
                self._join(name, text, chain)

    def _refused(self, name: str, chain: tuple[Path, ...]) -> tuple[str | None, str | None]:
        """Return why a file is not read, and what to do; None twice if it is."""
        below = "include only files below the folder of the first rules file, by their paths from there"
        if not name.isprintable() or not name.endswith(".toml"):
            return "an included file must have a name that ends in .toml", None
        if Path(name).is_absolute() or ".." in Path(name).parts or not is_inside(self.base / name, self.base):
            return f'"{name}" is not below the folder of the rules file', below
        real = Path(os.path.realpath(self.base / name))
        if real in chain:
            files = [*chain[chain.index(real) :], real]
            return f'"{name}" includes itself', " → ".join(each.name for each in files)
        if real in self.files:
            return f'"{name}" is already included', "remove one of the two"
        return None, None

    def _text(self, name: str) -> str:
        data = read_named(self.base / name, self.base, LARGEST - self.size)
        self.size += len(data)
        return data.decode("utf-8-sig").replace("\r\n", "\n")

    def _join(self, name: str, text: str, chain: tuple[Path, ...]) -> None:
        file, real = self.base / name, Path(os.path.realpath(self.base / name))
        shown = min(os.path.relpath(file), str(file), key=len)
        self.files.append(real)
        try:
            places = Places(shown, text, parsed(shown, text))
        except RulesError as error:
            self.problems += error.problems
            return
        for key, value in places.document.items():
            if key not in ("rules_version", "include"):
                self.problems += self._added(key, value, places)
        self.include(places, (*chain, real))

    def _added(self, key: str, value: Any, places: Places) -> Iterator[Problem]:
        """Add a key of a file to the document, and yield a problem for each table or key that it has already."""
        there = self.document.get(key)
        if there is None:
            self.document[key], self.owners[key,] = dict(value) if isinstance(value, dict) else value, places
        elif isinstance(there, dict) and isinstance(value, dict):
            for name, inside in value.items():
                if name in there:
                    yield self._doubled((key, name), places)
                else:
                    there[name], self.owners[key, name] = inside, places
        else:
            yield self._doubled((key,), places)

    def _doubled(self, path: Keys, places: Places) -> Problem:
        owner = self.owners.get(path) or self.owners.get(path[:1])
        first = (owner or self._first).at_key(path, "")
        where = f"{first.file}:{first.line}:{first.column}"
        return places.at_key(path, f'"{".".join(map(str, path))}" is already at {where}', "remove one of the two")
