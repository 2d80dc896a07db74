"""A command whose system calls fail, or at one of which it is killed: strace does that (its `inject`)."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What changes something on a disk. Of opening a file only what may make it.
MUTATING = (
    *("openat", "write", "pwrite64", "writev", "pwritev", "copy_file_range", "sendfile", "fallocate", "ftruncate"),
    *("fsync", "fdatasync", "sync_file_range", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir"),
    *("rename", "renameat", "renameat2", "mkdir", "mkdirat", "utimensat", "chmod", "fchmod", "fchmodat", "fsetxattr"),
)
CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)")


class Point(NamedTuple):
    """The nth call of a system call in some thread."""

    call: str
    nth: int


def traced(folder: Path, arguments: tuple[str, ...], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `pyconquest-rules ARGUMENTS` in `folder` under strace."""
    log, command = folder / "strace.log", [sys.executable, "-m", "pyconquest_rules", *arguments]
    # With one processor no others are made ready to read: what Python puts into the temporary folder for them is not ours.
    processors = sorted(os.sched_getaffinity(0))
    one = ["taskset", "--cpu-list", str(processors[os.getpid() % len(processors)])]
    # Modules are compiled by a run before: writing them is not what is looked at.
    # With --seccomp-bpf strace is faster, but sends no signal (6.1).
    faster = [] if any("signal=" in option for option in options) else ["--seccomp-bpf"]
    strace = ["strace", "-f", *faster, "-qq", "-o", str(log), f"--trace={','.join(MUTATING)}", *options]
    return subprocess.run(
        [*one, *strace, *command], cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def calls(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The calls of the last run: thread, name and arguments."""
    for line in (folder / "strace.log").read_text(errors="replace").splitlines():
        if match := CALL.match(line):
            yield match["thread"], match["name"], match["arguments"]


def injected(folder: Path) -> bool:
    """Whether the last run was let fail where its option said: strace marks such a call in its log."""
    return "(INJECTED)" in (folder / "strace.log").read_text(errors="replace")


def points(folder: Path) -> list[Point]:
    """Every call of the last run that changed something, each once, whatever thread it was of.

    strace counts in each thread, so what opens files in other threads cannot be told from what the first one imports.
    """
    counts, found, first = Counter[tuple[str, str]](), dict[Point, None](), None
    for thread, name, arguments in calls(folder):
        first = first or thread
        counts[thread, name] += 1
        opens = name == "openat"
        if (not opens or ("O_CREAT" in arguments and thread == first)) and not arguments.startswith(("1,", "2,")):
            found[Point(name, counts[thread, name])] = None
    return [*found]


def fault(point: Point, what: str) -> str:
    """The option of strace for `what`, as `signal=KILL` or `error=EIO`, at a point."""
    return f"--inject={point.call}:{what}:when={point.nth}"
