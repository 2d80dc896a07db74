"""Inflate a stream, readable at any position, in a few megabytes of memory.

A stream can be inflated only from its beginning. So the state is kept at some positions on the way: whoever reads on pays
nothing for that, and whoever goes back, or to where somebody was before, begins at the last of them. Members of a tar.gz are
copied in any order this way, without a pass through the archive for each.
"""

import zlib
from collections import deque
from typing import Any, NamedTuple

from pyconquest_rules.archives.blocks import Bytes
from pyconquest_rules.archives.flaws import Budget, Flaw, Flawed

FED, MADE = 16 << 10, 64 << 10
RECENT, SPACE, FAR = 64, 1 << 20, 128
"""How many states are kept of the last positions, `SPACE` bytes apart, and of all positions, wider apart as they become more."""

GZIP, RAW = 31, -15
"""What zlib calls a gzip file (RFC 1952) and a bare deflated stream (RFC 1951)."""

GZIP_MAGIC = b"\x1f\x8b"


class _State(NamedTuple):
    """An engine, what it has been fed, and what it has made."""

    made: int
    fed: int
    engine: Any  # zlib has no public name for it


class Inflated:
    """The inflated bytes of a stream. One thread reads them at a time."""

    def __init__(self, packed: Bytes, form: int, budget: Budget) -> None:
        """`form` is GZIP or RAW; the gzip form may be several streams, one after the other."""
        self._packed, self._form, self._budget = packed, form, budget
        self._recent, self._far, self._apart = deque[_State](maxlen=RECENT), list[_State](), SPACE
        self._begin(_State(0, 0, zlib.decompressobj(form)))

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end. Raises Flawed, OSError."""
        if not 0 <= position - self._start <= len(self._data) + SPACE:
            self._jump(position)
        while position >= self._start + len(self._data):
            if not self._advance():
                return b""
        found = [self._data[position - self._start :][:length]]
        left = length - len(found[0])
        while left > 0 and (made := self._advance()):
            found.append(made[:left])
            left -= len(found[-1])
        return b"".join(found)

    def finish(self) -> None:
        """Read to the end of the stream, where its checksum is. Raises Flawed, OSError."""
        while self._advance():
            pass

    def _begin(self, state: _State) -> None:
        self._start, self._fed, self._engine = state.made, state.fed, state.engine.copy()
        self._data = b""  # the last two blocks, from `_start` on
        self._last = 0

    def _jump(self, position: int) -> None:
        """Begin at the last state before a position, unless the way from here is shorter."""
        earlier = [state for state in (*self._far, *self._recent) if state.made <= position]
        state = max(earlier, key=lambda state: state.made, default=_State(0, 0, zlib.decompressobj(self._form)))
        if position < self._start or state.made > self._start + len(self._data):
            self._begin(state)

    def _advance(self) -> bytes:
        """Inflate the next block, and keep it with the one before. Return it; nothing at the end."""
        try:
            made = self._inflate()
        except zlib.error:
            raise Flawed(Flaw.DAMAGED) from None
        self._budget.spend(len(made))
        if made:
            self._start += len(self._data) - self._last
            self._data, self._last = self._data[len(self._data) - self._last :] + made, len(made)
            self._keep()
        return made

    def _inflate(self) -> bytes:
        while True:
            if self._engine.eof and (self._form == RAW or not self._next_stream()):
                return b""
            packed = self._engine.unconsumed_tail
            if not packed:
                packed = self._packed.at(self._fed, FED)
                self._fed += len(packed)
            made: bytes = self._engine.decompress(packed, MADE)
            if made:
                return made
            if not packed and not self._engine.eof:
                raise Flawed(Flaw.DAMAGED)

    def _next_stream(self) -> bool:
        """Go on with the next gzip stream, if another one follows the last."""
        start = self._fed - len(self._engine.unused_data)
        if self._packed.at(start, 2) != GZIP_MAGIC:
            return False
        self._fed, self._engine = start, zlib.decompressobj(self._form)
        self._budget.spend(MADE)  # a stream takes time, even if it is empty
        return True

    def _keep(self) -> None:
        """Keep the state at this position, if it is one of those that are kept."""
        made = self._start + len(self._data)
        newest = self._recent[-1].made if self._recent else 0
        if made < newest + SPACE:
            return
        state = _State(made, self._fed, self._engine.copy())
        self._recent.append(state)
        if made >= (self._far[-1].made if self._far else 0) + self._apart:
            self._far.append(state)
        if len(self._far) > FAR:
            self._far, self._apart = self._far[1::2], self._apart * 2
