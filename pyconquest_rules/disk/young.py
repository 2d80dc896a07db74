"""Files whose time cannot tell yet whether they change: one that changes twice within a tick keeps its mtime.

As git does for its index: what was read when its mtime was that young is read once more later. Times far in the future are
no reason to read a file again: a change would give it another time.
"""

from collections.abc import Iterable
from time import sleep, time_ns

# Linux notes times of files 100 times a second or more often; exFAT has them in steps of 10 ms.
TICK = 20_000_000
# FAT has times in steps of 2 seconds; HFS+ and ext3 in whole seconds.
COARSE, SECOND = 2_000_000_000, 1_000_000_000


def is_young(mtime_ns: int, began: int, now: int) -> bool:
    """Whether a file that was read between `began` and `now` could have changed since without a change of its mtime.

    Only a time in whole seconds counts: where times are finer, `wait_for_tick` came before the file was read.
    """
    return mtime_ns % SECOND == 0 and began - COARSE < mtime_ns <= now + COARSE


def wait_for_tick(times: Iterable[int]) -> None:
    """Wait until the tick is over in which the youngest of some files changed; mostly that is no wait at all."""
    now = time_ns()
    if youngest := max((mtime_ns for mtime_ns in times if now - TICK < mtime_ns < now + TICK), default=0):
        sleep(min(youngest + TICK - now, 2 * TICK) / SECOND)
