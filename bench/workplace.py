"""Where everything is: the folder that the bench works in, the trees and indexes in it, ours and the peers."""

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
    """How much of everything: files of a tree, files of an index, instances of plans."""

    ct: int = 2_000
    mr: int = 4_000
    unchanged: int = 100_000
    plans: tuple[int, int, int] = (100_000, 1_000_000, 2_000_000)


QUICK = Sizes(ct=4, mr=6, unchanged=12, plans=(200, 400, 800))


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folder of the bench. What is made in it once is used again by later runs; `make clean` removes it.

    `peers` is the Python that has pydicom, GDCM and pyconquest.
    """

    folder: Path
    peers: Path
    sizes: Sizes

    def missing_module(self, module: str, package: str) -> str:
        """What to say where the environment of the peers has no such module; nothing where it has."""
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        there = self.peers.exists() and not subprocess.run([self.peers, "-c", code], check=False).returncode
        return "" if there else f"{package} is missing: make bench installs it"

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder `name`, made once: a folder whose making was broken off is made anew."""
        folder, whole = self.folder / name, self.folder / f"{name}.whole"
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            make(folder)
            whole.touch()
        return folder

    def tree(self, *, ct: int = 0, mr: int = 0, varied: bool = False, pixels: bool = True) -> Path:
        """A tree of `bench.trees`."""
        options = ["--varied"] * varied + ["--no-pixels"] * (not pixels)
        name = "".join([f"tree-{ct}-{mr}", *options])
        return self.made(name, lambda folder: python("-m", "bench.trees", folder, "--ct", ct, "--mr", mr, *options))

    def job(self, name: str, source: Path, rules: str = "") -> Path:
        """A folder with a rules file about one source, which may write to `export`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        head = f'rules_version = 1\noutputs = ["export"]\n\n[sources.tree]\npath = {json.dumps(str(source))}\n'
        (folder / "rules.toml").write_text(head + rules, encoding="utf-8")
        return folder


def python(*arguments: object) -> str:
    """Runs our Python in the repository, outside what is timed; gives what it prints. Raises Failed."""
    return outside([sys.executable, *map(str, arguments)], REPOSITORY)


def missing_program(name: str) -> str:
    """What to say where a program of the system is missing; nothing where it is there."""
    return "" if shutil.which(name) else f"{name} is missing: install it with the system's packages"
