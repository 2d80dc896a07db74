"""Inflated streams give the same bytes in whatever order they are read, and never more than a budget."""

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from pyconquest_rules.archives import inflating
from pyconquest_rules.archives.flaws import Budget, Flaw, Flawed
from pyconquest_rules.archives.inflating import GZIP, RAW, Inflated


class Counted:
    """Bytes that count how many of them are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.read = data, 0

    def at(self, position: int, length: int) -> bytes:
        found = self.data[position : position + length]
        self.read += len(found)
        return found


def raw(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=RAW)
    return engine.compress(data) + engine.flush()


def two_streams(data: bytes) -> bytes:
    half = len(data) // 3
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


FORMS = [(RAW, raw), (GZIP, gzip.compress), (GZIP, two_streams)]
DATA = b"".join(random.Random(number).randbytes(3000) * 30 for number in range(100))


@pytest.mark.parametrize(("form", "packed"), FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_any_part_can_be_read_at_any_time(
    form: int, packed: Callable[[bytes], bytes], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflating, "SPACE", 1 << 17)
    monkeypatch.setattr(inflating, "FAR", 8)
    chance = random.Random(seed)
    stream = Inflated(Counted(packed(DATA)), form, Budget(1))
    for _ in range(200):
        position, length = chance.randrange(len(DATA) + 10), chance.choice([1, 512, 16384, 200_000, 1_000_000])
        assert stream.at(position, length) == DATA[position : position + length]


def test_taking_turns_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "SPACE", 1 << 18)
    packed = Counted(gzip.compress(DATA, 1))
    stream, half = Inflated(packed, GZIP, Budget(1)), len(DATA) // 2
    for place in range(0, half, 500_000):
        for position in (half + place, place):
            assert stream.at(position, 1000) == DATA[position : position + 1000]
    assert packed.read < 3 * len(packed.data)


def test_going_back_a_little_costs_little() -> None:
    packed = Counted(gzip.compress(DATA, 1))
    stream = Inflated(packed, GZIP, Budget(1))
    places = [*range(0, len(DATA), 500_000)]
    once = len(packed.data)
    for pair in zip(places[1::2], places[::2], strict=False):  # as threads take turns
        for position in pair:
            assert stream.at(position, 500_000) == DATA[position : position + 500_000]
    assert packed.read < 4 * once


@pytest.mark.parametrize(("form", "packed"), FORMS)
def test_a_damaged_stream_says_so(form: int, packed: Callable[[bytes], bytes]) -> None:
    whole = bytes(packed(DATA))
    stream = Inflated(Counted(whole[: len(whole) // 2]), form, Budget(1))
    with pytest.raises(Flawed) as flawed:
        stream.finish()
    assert flawed.value.flaw is Flaw.DAMAGED


def test_a_wrong_checksum_of_gzip_is_found_at_its_end() -> None:
    broken = bytearray(gzip.compress(DATA))
    broken[-6] ^= 1
    stream = Inflated(Counted(bytes(broken)), GZIP, Budget(1))
    assert stream.at(100, 5) == DATA[100:105]
    with pytest.raises(Flawed):
        stream.finish()


def test_no_more_is_inflated_than_a_budget_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "MOST", 1 << 20)
    packed = gzip.compress(bytes(50 << 20))
    stream = Inflated(Counted(packed), GZIP, Budget(len(packed) // 100))
    with pytest.raises(Flawed) as flawed:
        stream.finish()
    assert flawed.value.flaw is Flaw.BOMB
