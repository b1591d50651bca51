"""The collector: young between turns, old only at rest, Python's own schedule when it ends."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator

import pytest

from daemon.clock import ManualClock
from daemon.collector import FULL_AFTER_LOSS_NS, FULL_NS, PATIENCE_NS, YOUNG_NS, Collector
from tests.fakes.memory_series import resident_mb


class Ring:
    """An object that only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def took_ns() -> list[int]:
    return []


@pytest.fixture
def losses() -> list[str]:
    """Connections lost so far."""
    return []


@pytest.fixture
def collector(clock: ManualClock, took_ns: list[int], losses: list[str]) -> Iterator[Collector]:
    """A collector that has taken over; Python's own is back afterwards."""
    made = Collector(clock, took_ns.append)
    made.begin(losses.__len__)
    yield made
    made.close()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_garbage_goes_once_a_second_at_rest(
    collector: Collector, clock: ManualClock, took_ns: list[int]
) -> None:
    """A ring lives until the second has passed, then goes without a full collection."""
    assert not gc.isenabled()
    ring = Ring()
    alive = weakref.ref(ring)
    del ring
    clock.advance(YOUNG_NS - 1)
    collector.tend(is_idle=True)
    assert alive() is not None
    clock.advance(1)
    full_before = gc.get_stats()[2]["collections"]
    collector.tend(is_idle=True)
    assert alive() is None
    assert gc.get_stats()[2]["collections"] == full_before
    assert took_ns == [0]


def test_full_collection_gives_free_pages_back(collector: Collector, clock: ManualClock) -> None:
    """Memory set free between blocks that live on leaves the process, not only the heap's end."""
    blocks = [bytes([number % 251]) * 20_000 for number in range(4_000)]
    full_mb = resident_mb(os.getpid())
    kept = blocks[::50]
    del blocks
    clock.advance(FULL_NS)
    collector.tend(is_idle=True)
    assert collector.full_count == 1
    assert full_mb - resident_mb(os.getpid()) > 60.0, "eighty were held, two live on"
    assert len(kept) == 80


def test_news_goes_first_but_not_for_ever(collector: Collector, clock: ManualClock) -> None:
    """While news waits nothing is collected, until patience ends; then only the young."""
    ring = Ring()
    alive = weakref.ref(ring)
    del ring
    clock.advance(PATIENCE_NS - 1)
    collector.tend(is_idle=False)
    assert alive() is not None
    clock.advance(1)
    collector.tend(is_idle=False)
    assert alive() is None


def test_everything_is_walked_seldom_and_only_at_rest(
    collector: Collector, clock: ManualClock, took_ns: list[int]
) -> None:
    """The old generation waits for its time and for a turn without news."""
    clock.advance(FULL_NS)
    collector.tend(is_idle=False)
    assert collector.full_count == 0
    clock.advance(YOUNG_NS)
    collector.tend(is_idle=True)
    assert collector.full_count == 1
    clock.advance(YOUNG_NS)
    collector.tend(is_idle=True)
    assert collector.full_count == 1
    assert len(took_ns) == 3


def test_what_a_lost_connection_left_goes_soon(
    collector: Collector, clock: ManualClock, losses: list[str]
) -> None:
    """An old ring goes at the first rest after a loss, once for each loss, and not too often."""
    ring = Ring()
    gc.collect()  # now it is old
    alive = weakref.ref(ring)
    del ring
    clock.advance(FULL_AFTER_LOSS_NS)
    collector.tend(is_idle=True)
    assert alive() is not None
    losses.append("public")
    clock.advance(YOUNG_NS)
    collector.tend(is_idle=True)
    assert alive() is None
    clock.advance(YOUNG_NS)
    collector.tend(is_idle=True)
    losses.append("user")
    clock.advance(YOUNG_NS)
    collector.tend(is_idle=True)
    assert collector.full_count == 1
    clock.advance(FULL_AFTER_LOSS_NS)
    collector.tend(is_idle=True)
    assert collector.full_count == 2
