"""Detect files so young that a change may not show in their mtime: two changes within one tick of the clock have the same mtime.

Such a file is read again later, as git does for its index. A time far in the future is no reason to read a file again: a change
would give it another time.
"""

from collections.abc import Iterable
from time import sleep, time_ns

# Linux updates file times at least 100 times a second; exFAT has steps of 10 ms.
TICK = 20_000_000
# FAT has times in steps of 2 seconds; HFS+ and ext3 in whole seconds.
COARSE, SECOND = 2_000_000_000, 1_000_000_000


def is_young(mtime_ns: int, began: int, now: int) -> bool:
    """Return whether a file that was read between `began` and `now` could have changed since without a change of its mtime.

    Only times in whole seconds count. If times are finer, `wait_for_tick` was called before the file was read.
    """
    return mtime_ns % SECOND == 0 and began - COARSE < mtime_ns <= now + COARSE


def wait_for_tick(times: Iterable[int]) -> None:
    """Wait until the tick in which the youngest file changed is over. Usually there is no wait."""
    now = time_ns()
    if youngest := max((mtime_ns for mtime_ns in times if now - TICK < mtime_ns < now + TICK), default=0):
        sleep(min(youngest + TICK - now, 2 * TICK) / SECOND)
