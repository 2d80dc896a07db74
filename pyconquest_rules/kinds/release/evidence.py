"""The evidence of a release: the files in its root that list, prove and describe what it has."""

import json
import os
import platform
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import tomli

from pyconquest_rules.content import Assembler, NotTransformed, Part
from pyconquest_rules.disk.folders import opened
from pyconquest_rules.disk.hashing import hash_of, open_file
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.index.query.export import Format, export
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.release import manifest, sums
from pyconquest_rules.kinds.release.crate import Described, crate
from pyconquest_rules.kinds.release.rule import Release, root_of
from pyconquest_rules.kinds.release.sums import CRATE, MANIFEST, PARQUET, RUN, SUMS
from pyconquest_rules.rules.rules import Rules

MAY_DIFFER = {
    "versions": "the versions on the machine that made the release",
    PARQUET: "its bytes depend on the version of pyarrow, and so does its line in SHA256SUMS",
}
VERSIONS = ("pyarrow", "pydicom")


def names() -> tuple[str, ...]:
    """Return the names of the files, each after those that it is made of. There is no Parquet without pyarrow."""
    return tuple(name for name in (MANIFEST, PARQUET, CRATE, SUMS, RUN) if name != PARQUET or find_spec("pyarrow"))


@dataclass(frozen=True, slots=True)
class About:
    """What the evidence of one release is made with.

    `selects` has the set of each action. `opened` yields the index and the ledger.
    """

    name: str
    release: Release
    rules: Rules
    selects: dict[str, str]
    opened: Callable[[], AbstractContextManager[tuple[Sets, Ledger]]]

    @property
    def root(self) -> str:
        """The root of the release, as destinations begin. It ends with a slash."""
        return root_of(self.release, self.rules.outputs)

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.rules.base / self.release.lock

    def identity(self, date: str) -> str:
        """Return a text that changes whenever the evidence of the same files may. `date` is in the evidence."""
        texts = self.texts()
        rules = [[name, sha256(text.encode()).hexdigest()] for name, text in texts.items()]
        variables = sha256(json.dumps(self.variables(texts), sort_keys=True).encode()).hexdigest()
        lock, program = sha256(self.lock.read_bytes()).hexdigest(), version("pyconquest-rules")
        about = [self.release.model_dump(mode="json"), rules, variables, lock, program]
        return json.dumps({"date": date, "about": sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()})

    def texts(self) -> dict[str, str]:
        """Return the texts of the rules files by name: the first, then those that it includes."""
        files = (self.rules.file, *self.rules.included)
        return {os.path.relpath(file, self.rules.base): file.read_text("utf-8") for file in files}

    def variables(self, texts: Mapping[str, str]) -> dict[str, object]:
        """Return the values of variables. One that the environment gives may be a secret: it has the name there instead."""
        given = dict[str, object]()
        for text in texts.values():
            given |= tomli.loads(text).get("vars", {})
        values: Mapping[str, str] = self.rules.params
        return {name: {"env": of["env"]} if isinstance(of := given.get(name), dict) else values[name] for name in sorted(values)}

    @contextmanager
    def files(self) -> Iterator[Iterator[dict[str, str]]]:
        """Yield the rows of the manifest as `manifest` does, without those of members."""
        with self.manifest() as rows:
            yield manifest.of_files(rows)

    @contextmanager
    def manifest(self) -> Iterator[Iterator[dict[str, str]]]:
        """Yield the rows of the manifest, which was made before. Raises NotTransformed if somebody changed it since; OSError."""
        with self.opened() as (_, ledger):
            made = ledger.made(self.root + MANIFEST)
        if made is not None and made.sha256 != self.digest(MANIFEST):
            raise NotTransformed(f"somebody changed {MANIFEST} after it was written; replace it with: verify --repair")
        with (
            opened(self.rules.outputs, self.root.rstrip("/")) as folder,
            open_file(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW, folder) as file,
        ):
            text = TextIOWrapper(os.fdopen(os.dup(file), "rb"), encoding="utf-8", errors="surrogateescape", newline="")
            try:
                yield manifest.read_rows(text)
            except ValueError:
                raise NotTransformed(f"{MANIFEST} is not a manifest") from None

    def digest(self, name: str) -> str:
        """Return the SHA-256 of another file of the evidence, which was made before."""
        with opened(self.rules.outputs, self.root.rstrip("/")) as folder:
            return hash_of(name, folder)


class Evidence(Assembler):
    """Makes one file of the evidence."""

    def __init__(self, file: str, about: About) -> None:
        self.name, self.file, self.about = f"release.{about.name}/{file}", file, about

    def assemble(self, identity: str, parts: Iterator[Part], target: int) -> None:
        """Write the file. Raises NotTransformed if the files of the release are not those of the lock; OSError."""
        with os.fdopen(os.dup(target), "wb") as file:
            WRITERS[self.file](self.about, json.loads(identity)["date"], parts, file)


def _manifest(about: About, date: str, parts: Iterator[Part], file: BinaryIO) -> None:
    with about.opened() as (sets, ledger):
        rows = manifest.rows(parts, about.root, about.selects, sets, ledger)
        manifest.write(manifest.as_locked(rows, about.lock, about.name), file, sources=about.release.sources)


def _parquet(about: About, date: str, parts: Iterator[Part], file: BinaryIO) -> None:
    with about.manifest() as rows:
        typed = ((*(int(value) if key == "size" else value for key, value in row.items()),) for row in rows)
        export(manifest.columns(sources=about.release.sources), typed, file, Format.PARQUET)


def _crate(about: About, date: str, parts: Iterator[Part], file: BinaryIO) -> None:
    release, number, size = about.release, 0, 0
    with about.files() as rows:
        for row in rows:
            number, size = number + 1, size + int(row["size"])
    rules, lock = (sha256(each.read_bytes()).hexdigest() for each in (about.rules.file, about.lock))
    listed = tuple(name for name in names() if name != CRATE)
    described = Described(about.name, release.title, release.licence, date, number, size, rules, lock, listed)
    file.write(crate(described).encode())


def _sums(about: About, date: str, parts: Iterator[Part], file: BinaryIO) -> None:
    for name in names():
        if name in sums.OTHERS:
            file.write(sums.line(about.digest(name), name.encode()))
    with about.files() as rows:
        for row in rows:
            file.write(sums.line(row["sha256"], os.fsencode(row["path"])))


def _run(about: About, date: str, parts: Iterator[Part], file: BinaryIO) -> None:
    counts = Counter[str]()
    with about.files() as rows:
        for row in rows:
            counts.update({"files": 1, "bytes": int(row["size"]), row["action"]: 1})
    texts = about.texts()
    run = {
        "release": about.name,
        "title": about.release.title,
        "licence": about.release.licence,
        "date": date,
        "program": {"name": "pyconquest_rules", "version": version("pyconquest-rules")},
        "rules": [{"name": name, "sha256": sha256(text.encode()).hexdigest(), "text": text} for name, text in texts.items()],
        "variables": about.variables(texts),
        "lock": {"name": about.release.lock, "sha256": sha256(about.lock.read_bytes()).hexdigest()},
        "counts": dict(sorted(counts.items())),
        "sha256": {SUMS: about.digest(SUMS)},
        "versions": {
            **{name: version(name) for name in VERSIONS if find_spec(name)},
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "may_differ": MAY_DIFFER,
    }
    file.write((json.dumps(run, indent=2, ensure_ascii=False) + "\n").encode())


WRITERS = {MANIFEST: _manifest, PARQUET: _parquet, CRATE: _crate, SUMS: _sums, RUN: _run}
