"""Run a command and record its resources: `python launch.py FIGURES CPUS COMMAND…`. Exits with the code of the command.

This is a small process of its own, for two reasons: the memory of the parent counts as the peak of the command
(getrusage(2)), and only a process without other children can wait for all processes that the command leaves behind. FIGURES
is the file for {"wall": seconds, "cpu": seconds, "peak": bytes}. CPUS is `one` or `all`.
"""

import ctypes
import json
import os
import sys
import time
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36


def main(figures: str, cpus: str, *command: str) -> int:
    """Return the exit code of the command. The CPU time is that of all its processes, the peak that of the largest one."""
    if sys.platform == "linux":  # become the parent of orphaned processes, to wait for them
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if cpus == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(process, 0)
    wall, cpu, peak = time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss
    with suppress(ChildProcessError):
        while True:
            _, _, used = os.wait4(-1, 0)
            cpu, peak = cpu + used.ru_utime + used.ru_stime, max(peak, used.ru_maxrss)
    with open(figures, "w", encoding="utf-8") as file:
        json.dump({"wall": wall, "cpu": cpu, "peak": peak * (1 if sys.platform == "darwin" else 1024)}, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
