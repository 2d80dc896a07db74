"""Run one command within limits, and leave no process of it behind: a program of its own, which `running` starts.

It reads an order, one line of JSON, from standard input. The command ends at the latest when that input ends, because then the
caller ends it or is gone. The last thing that it prints is a line of JSON: how the command ended.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

LOOK = 0.2  # seconds between two looks at the processes and files of the command
MOST_ENTRIES = 200_000
AT_ONCE = 100  # ended processes: a fork bomb has new ones all the time
STUBBORN = 30.0  # seconds: a process that the kernel cannot end, as on a dead network disk, is left to it

# linux/prctl.h, linux/landlock.h
SET_PDEATHSIG, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 36, 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
WRITE, TRUNCATE, REFER = 1 << 1, 1 << 14, 1 << 13
CHANGES = WRITE | sum(1 << bit for bit in range(4, 13))  # also: remove, and make entries of all kinds

LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None, use_errno=True)


class Rights(ctypes.Structure):
    """What a ruleset allows below an open folder (landlock_path_beneath_attr)."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(folder: str) -> None:
    """Let this process and its children change files only below a folder, if the kernel has Landlock. Raises OSError."""
    version = LIBC.syscall(CREATE_RULESET, None, 0, 1) if LINUX else 0
    if version < 1:
        return
    changes = CHANGES | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    rules = checked(LIBC.syscall(CREATE_RULESET, ctypes.byref(ctypes.c_uint64(changes)), 8, 0))
    for path, allowed in ((folder, changes), ("/dev", changes & (WRITE | TRUNCATE))):
        below = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        checked(LIBC.syscall(ADD_RULE, rules, 1, ctypes.byref(Rights(allowed, below)), 0))
        os.close(below)
    checked(LIBC.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(LIBC.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)


def checked(result: int) -> int:
    """Return the result of a system call. Raises OSError if it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def prepare(order: dict[str, Any]) -> None:
    """Limit the process that becomes the command."""
    os.umask(0o077)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: order["output"], resource.RLIMIT_AS: order["memory"]}
    for what, most in limits.items():
        hard = resource.getrlimit(what)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS
            resource.setrlimit(what, (limit, limit))
    if LINUX:
        LIBC.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    confine(order["folder"])


def descendants() -> list[int]:
    """Return the processes that this one and its children started; none without a /proc."""
    children = dict[int, list[int]]()
    for name in os.listdir("/proc") if LINUX else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = list[int]()
    following = [os.getpid()]
    while following:
        more = children.get(following.pop(), [])
        found += more
        following += more
    return found


def written(folder: str, most: int) -> int:
    """Return the bytes that the files below a folder occupy, or more than `most` if there are too many files."""
    total, entries = 0, 0
    with contextlib.suppress(RecursionError):  # a thousand folders in each other are too many too
        for path, _, names in os.walk(folder):
            entries += 1 + len(names)
            if entries > MOST_ENTRIES:
                break
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(path, name)).st_blocks * 512
        else:
            return total
    return most + 1


def end_all(group: int) -> None:
    """End the command and all that it started, also what left its process group, and wait for their ends."""
    until, stopped = time.monotonic() + STUBBORN, set[int]()
    # A process that is stopped starts no others, so that even a fork bomb comes to rest.
    while (running := {*descendants()} - stopped) and time.monotonic() < until:
        send(signal.SIGSTOP, running)
        stopped |= running
    while time.monotonic() < until:
        send(signal.SIGKILL, descendants())
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # those that left the group became our children when their parents ended
            return
        time.sleep(0.005)


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    """Send a signal to processes. Some may have ended."""
    for pid in processes:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def ends(pid: int) -> Iterator[int]:
    """Reap processes that have ended, but not for long. Yield the exit code of `pid` if it is among them."""
    with contextlib.suppress(ChildProcessError):
        for _ in range(AT_ONCE):
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == pid:
                yield os.waitstatus_to_exitcode(status)
            if not ended:
                return


def watch(pid: int, order: dict[str, Any], wakeup: int) -> dict[str, Any]:
    """Wait until the command ends, breaks a limit, or is to end. Return how it was."""
    until, look = time.monotonic() + order["seconds"], time.monotonic() + LOOK
    while True:
        readable, _, _ = select.select([0, wakeup], [], [], max(0.0, min(look, until) - time.monotonic()))
        if wakeup in readable:
            os.read(wakeup, 4096)
        for code in ends(pid):
            return {"ended": "itself", "code": code}
        if 0 in readable and not os.read(0, 4096):
            return {"ended": "caller"}
        if (began := time.monotonic()) >= until:
            return {"ended": "seconds"}
        if began >= look:
            if len(descendants()) > order["processes"]:
                return {"ended": "processes"}
            if written(order["folder"], order["output"]) > order["output"]:
                return {"ended": "output"}
            looked = time.monotonic()
            look = looked + max(LOOK, 10 * (looked - began))


def supervised(order: dict[str, Any]) -> dict[str, Any]:
    """Run the command of an order to its end. Return how it ended."""
    wakeup, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    if LINUX:
        LIBC.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(order["log"], "xb", opener=lambda path, flags: os.open(path, flags | os.O_APPEND, 0o600)) as log:
        try:
            command = subprocess.Popen(  # noqa: S603 - the command is what the rules ask for, and there is no shell
                order["arguments"],
                executable=order["program"],
                cwd=order["folder"],
                env=order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: prepare(order),  # noqa: PLW1509 - this program has one thread
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return {"ended": "start", "why": getattr(error, "strerror", None) or "it cannot be executed"}
    try:
        found = watch(command.pid, order, wakeup)
        # A limit may be the reason for which the command ended itself.
        return {"ended": "output"} if written(order["folder"], order["output"]) > order["output"] else found
    finally:
        end_all(command.pid)
        command.returncode = 0  # it was waited for


if __name__ == "__main__":
    print(json.dumps(supervised(json.loads(sys.stdin.buffer.readline()))))  # noqa: T201 - its answer
