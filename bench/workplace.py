"""The folder of the bench, with its trees and indexes, and the Pythons of ours and of the peers."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import outside

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the tasks: files of a tree, files of an index, instances of plans."""

    ct: int = 2_000
    mr: int = 4_000
    unchanged: int = 100_000
    plans: tuple[int, int, int] = (100_000, 1_000_000, 2_000_000)


QUICK = Sizes(ct=4, mr=6, unchanged=12, plans=(200, 400, 800))


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folder of the bench. Later runs use its trees and indexes again; `make clean` deletes it.

    `peers` is the Python that has pydicom, GDCM and pyconquest.
    """

    folder: Path
    peers: Path
    sizes: Sizes

    def missing_module(self, module: str, package: str) -> str:
        """Return a message if the environment of the peers lacks a module, or ""."""
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        there = self.peers.exists() and not subprocess.run([self.peers, "-c", code], check=False).returncode
        return "" if there else f"{package} is missing: make bench installs it"

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder `name`, and make it if it does not exist. An interrupted `make` is repeated."""
        folder, whole = self.folder / name, self.folder / f"{name}.whole"
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            make(folder)
            whole.touch()
        return folder

    def tree(self, *, ct: int = 0, mr: int = 0, varied: bool = False, pixels: bool = True) -> Path:
        """Return a tree of `bench.trees`."""
        options = ["--varied"] * varied + ["--no-pixels"] * (not pixels)
        name = "".join([f"tree-{ct}-{mr}", *options])
        return self.made(name, lambda folder: python("-m", "bench.trees", folder, "--ct", ct, "--mr", mr, *options))

    def job(self, name: str, source: Path, rules: str = "") -> Path:
        """Return a folder with a rules file that has one source and the output `export`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        head = f'rules_version = 1\noutputs = ["export"]\n\n[sources.tree]\npath = {json.dumps(str(source))}\n'
        (folder / "rules.toml").write_text(head + rules, encoding="utf-8")
        return folder


def python(*arguments: object) -> str:
    """Run our Python in the repository, without timing it, and return its output. Raises Failed."""
    return outside([sys.executable, *map(str, arguments)], REPOSITORY)


def missing_program(name: str) -> str:
    """Return a message if a program of the system is missing, or ""."""
    return "" if shutil.which(name) else f"{name} is missing: install it with the system's packages"
