"""Mount folders under a second path, and disks that ignore case. The tests must run as root, as in CI."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, needs


class Mounts:
    """The mounts of a test. All are unmounted at its end."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def mount(self, at: Path, *arguments: str | Path) -> Path:
        """Run `mount ARGUMENTS AT`."""
        at.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", *arguments, at], capture_output=True, text=True, check=False)
        needs(f"the right to mount ({done.stderr.strip()})", done.returncode == 0)
        self.stack.callback(unmount, at)
        return at

    def bind(self, folder: Path, at: Path) -> Path:
        """Mount a folder at another path."""
        return self.mount(at, "--bind", folder)

    def overlay(self, lower: Path, upper: Path, at: Path) -> Path:
        """Mount two folders as one. New files go to `upper`."""
        work = upper.with_name(f"{upper.name}-work")
        for each in (lower, upper, work):
            each.mkdir(parents=True, exist_ok=True)
        return self.mount(at, "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}")

    def bindfs(self, folder: Path, at: Path) -> Path:
        """The same as `bind`, but with another file system."""
        needs("bindfs", shutil.which("bindfs") is not None)
        at.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["bindfs", folder, at], capture_output=True, text=True, check=False)
        needs(f"the right to mount ({done.stderr.strip()})", done.returncode == 0)
        self.stack.callback(unmount, at)
        return at

    def caseless(self, folder: Path, at: Path) -> Path:
        """Mount a folder as a disk that ignores case."""
        return self._fuse("caseless", folder, at)

    def failing(self, folder: Path, at: Path) -> Path:
        """Mount a folder as a failing disk. Its faults are in the file that is named as the folder, with the suffix ".faults"."""
        folder.with_name(f"{folder.name}.faults").touch()
        return self._fuse("failing", folder, at)

    def _fuse(self, kind: str, folder: Path, at: Path) -> Path:
        for each in (folder, at):
            each.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "tests.disks", kind, folder, at]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.stack.callback(end, process, at)
        while not at.is_mount():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                needs(f"FUSE ({(process.communicate()[1] or '').strip()[-200:]})", False)
        return at


def unmount(at: Path) -> None:
    subprocess.run(["umount", "-l", at], check=False, capture_output=True)


def end(process: "subprocess.Popen[str]", at: Path) -> None:
    unmount(at)
    process.communicate()


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with ExitStack() as stack:
        yield Mounts(stack)
