"""Run docs/cookbook.md: write its files, and run the commands of its screens in a shell."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "cookbook.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"`([^`\n]+)`[^`\n]*:\n\n?\Z")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
COMMAND = re.compile(r"^\$ (.*)$", re.MULTILINE)


def recipes() -> dict[str, str]:
    """Return the text of each recipe by its title."""
    return dict(re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


@dataclass(frozen=True)
class Block:
    """A block of a recipe: a screen of commands, or the text of a file whose name is in the line above it."""

    language: str
    text: str
    file: str | None


def blocks(recipe: str) -> list[Block]:
    """Return the blocks of a recipe, in order."""
    return [
        Block(found[1], found[2], name[1] if found[1] and (name := FILE_NAME.search(recipe[: found.start()])) else None)
        for found in BLOCK.finditer(recipe)
    ]


@dataclass
class Kitchen:
    """A folder to run a recipe in. `instead` replaces words of the page, for example a port by a free one."""

    folder: Path
    instead: dict[str, str] = field(default_factory=dict)

    def follow(self, recipe: str, before: Mapping[int, Callable[[], None]]) -> str:
        """Write the files and run the commands of a recipe, in order. Return the recipe with the new output of the commands.

        `before` has functions to call before a screen, by its number from 0.
        """
        numbers = count()
        for block in blocks(recipe):
            if block.file:
                self.write(block.file, block.text)
            elif not block.language:
                before.get(next(numbers), lambda: None)()
                recipe = recipe.replace(block.text, self.play(block.text))
        return recipe

    def write(self, name: str, text: str) -> None:
        """Write a file of the page, also a file of /etc, below this folder."""
        name = name.lstrip("/")
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(self._ours(text), encoding="utf-8")

    def program(self, name: str, script: str) -> None:
        """Add a program to the path of the commands. `script` is its line of shell."""
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)

    def play(self, screen: str) -> str:
        """Run the commands of a screen, and return the screen with the new output."""
        assert screen.startswith("$ "), screen
        return "\n".join(f"$ {command}\n{self.shell(command)}" for command in COMMAND.findall(screen))

    def shell(self, command: str) -> str:
        """Run a command, and return what it prints to both streams."""
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TCP_NODELAY": "1"}
        done = subprocess.run(
            ["bash", "-c", self._ours(command)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return self._theirs(done.stdout)

    def _ours(self, text: str) -> str:
        for theirs, ours in self.instead.items():
            text = replaced(text, theirs, ours)
        return text

    def _theirs(self, text: str) -> str:
        for theirs, ours in self.instead.items():
            text = replaced(text, ours, theirs)
        return TIME.sub("2026-03-02T02:30:04", text)


def replaced(text: str, word: str, by: str) -> str:
    """Return a text with a word replaced, except where it is part of a longer number such as a UID."""
    return re.sub(rf"(?<![\w.]){re.escape(word)}(?![\w]|\.\d)", lambda _: by, text)
