"""The groups of a set: what the command of each one is, and where its outputs go."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyconquest_rules.content import Applied, Assembler
from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.parts import Group, Member
from pyconquest_rules.engine.requested import reason_of
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.convert.rule import OWN, Convert, Per
from pyconquest_rules.paths import UnsafePath, safe_part
from pyconquest_rules.steps import Reason, Request, Selected
from pyconquest_rules.templates import RenderError, Template
from pyconquest_rules.templates.template import Text

NOT_FIRST = "-+@"
"""A value that begins with one of these could be an option, or name a file of options: the programs of DCMTK have all three."""

LARGEST = 1 << 30
"""Bytes of a program. It is read for each plan, also for plans of rules that nobody has read."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: the path of its file, and the SHA-256 of that file."""

    path: str
    sha256: str


def program(word: str, base: Path) -> Program | None:
    """Return the program that a command begins with; None if there is none, or if it is not a file that can be read.

    A name with a slash is a path from the folder of the rules file. Any other name is searched in $PATH.
    """
    path = shutil.which(str(base / word) if "/" in word else word)
    try:
        if path is None or not os.path.isfile(path) or os.path.getsize(path) > LARGEST:
            return None
        return Program(os.path.abspath(path), hash_of(path))
    except OSError:
        return None


class ByDigest:
    """Values by their digests: on the disk, because an action may have millions of groups. Any thread may read them."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("CREATE TABLE texts (digest TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def __del__(self) -> None:
        self._connection.close()

    def add(self, value: object) -> str:
        """Add a value that JSON can have. Return its digest."""
        text = json.dumps(value)
        digest = sha256(text.encode()).hexdigest()
        self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (digest, text))
        return digest

    def __getitem__(self, digest: str) -> Any:
        [(text,)] = self._connection.execute("SELECT value FROM texts WHERE digest = ?", (digest,)).fetchall()
        return json.loads(text)


class Groups:
    """The groups of an action. The engine makes them of the members, then each group has its requests."""

    def __init__(self, convert: Convert, sets: Sets, params: Mapping[str, str], outputs: Outputs, texts: ByDigest) -> None:
        self._convert, self._sets, self._outputs, self._texts = convert, sets, outputs, texts
        self._arguments = [Text(text, params) for text in convert.command]
        self._templates = [Template(text, params) for text in convert.outputs.values()]

    @cached_property
    def constant(self) -> list[str]:
        """The arguments that are the same for all groups, as text."""
        return [each.render(self._given(each, {})) for each in self._arguments if not {*each.columns} - {*OWN}]

    def members(self) -> Iterator[Member]:
        """Yield the instances of the set, each with the digest of its group."""
        key = self._key_columns()
        used = {name for text in self._arguments for name in text.columns}.union(*(each.names for each in self._templates))
        columns = (*key, *sorted(used - {*OWN} - {*key}))
        before, group = None, ""
        for uid, source, size, mtime_ns, *values in self._instances(columns):
            if values != before:  # the instances of a group mostly follow each other
                group, before = self._texts.add(self._group(values[: len(key)], dict(zip(columns, values, strict=True)))), values
            yield Member(group, safe_part(f"{uid}.dcm"), uid, source, size, mtime_ns)

    def requests(self, group: Group, assembler: Assembler) -> Iterator[Request]:
        """Yield a request for each output of a group, or one that says why it has none."""
        found = self._texts[group.key]
        if "reason" in found:
            yield Request("", b"", *group.stamp, "", "", "", Reason(found["reason"]), found["message"], parts=group.number)
            return
        for pattern, to in zip(self._convert.outputs, found["to"], strict=True):
            (folder, name, written), how = to, Applied(assembler, self._texts.add([found["command"], pattern]))
            yield Request("", b"", *group.stamp, folder, name, written, applied=how, parts=group.number)

    def _instances(self, columns: tuple[str, ...]) -> Iterator[Selected]:
        return self._sets.instances(self._convert.select, columns)

    def _key_columns(self) -> tuple[str, ...]:
        """Return the columns that tell one group from another."""
        if self._convert.per is not Per.ROW:
            return (Level(self._convert.per).key,)
        selection = self._sets.selections[self._convert.select]
        return (selection.level.key,) if selection.query is None else self._sets.make(selection.name)

    def _group(self, key: list[object], values: Mapping[str, object]) -> dict[str, object]:
        """Return the command and the destinations of an instance, or why it has none, with what else makes its group."""
        try:
            command = [each.render(self._given(each, values), NOT_FIRST) for each in self._arguments]
            to = [self._destination(each, values) for each in self._templates]
        except (RenderError, UnsafePath) as error:
            return {"key": list(map(repr, key)), "reason": reason_of(error), "message": str(error)}
        return {"key": list(map(repr, key)), "command": command, "to": to}

    def _given(self, argument: Text, values: Mapping[str, object]) -> list[object]:
        return [OWN[name] if name in OWN else values[name] for name in argument.columns]

    def _destination(self, template: Template, values: Mapping[str, object]) -> tuple[str, str, str]:
        to = template.render([values[name] for name in template.columns])
        return self._outputs.within(to.folder.path, to.name), to.name, to.folder.written
