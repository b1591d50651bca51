"""The book against its dictionary twin, and the continuity rule of its feed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.book import (
    Book,
    Continuity,
    DepthSequence,
    microprice_ticks,
    mid_ticks,
    order_flow_lots,
)
from kernels.events import DepthDiff, DepthSnapshot, Side
from tests.naive.naive_book import NaiveBook, naive_order_flow_lots

Levels = list[tuple[int, int]]


def rows(levels: Levels) -> NDArray[np.int64]:
    """Turn pairs into the array shape of events."""
    return np.array(levels, dtype=np.int64).reshape(-1, 2)


def diff(bids: Levels, asks: Levels, last_update_id: int = 1) -> DepthDiff:
    """Build a depth event with the fields the book reads."""
    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=last_update_id,
        last_update_id=last_update_id,
        previous_update_id=last_update_id - 1,
        bid_levels_n2=rows(bids),
        ask_levels_n2=rows(asks),
    )


def snapshot(bids: Levels, asks: Levels, last_update_id: int = 1) -> DepthSnapshot:
    """Build a snapshot with the fields the book reads."""
    return DepthSnapshot(
        instrument=0,
        event_ns=0,
        received_ns=0,
        last_update_id=last_update_id,
        bid_levels_n2=rows(bids),
        ask_levels_n2=rows(asks),
    )


level = st.tuples(st.integers(1, 60), st.integers(0, 5))
changes = st.lists(st.tuples(st.lists(level, max_size=8), st.lists(level, max_size=8)), max_size=30)


@given(steps=changes)
@settings(max_examples=150, deadline=None)
def test_book_equals_dictionary_twin(steps: list[tuple[Levels, Levels]]) -> None:
    """Any sequence of changes leaves the same levels, best first, as a dictionary does."""
    book, twin = Book(capacity=64), NaiveBook()
    for at, (bids, asks) in enumerate(steps):
        book.apply(diff(bids, asks, at + 1))
        twin.apply(bids, asks)
        assert book.levels(Side.BUY, 64).tolist() == [list(x) for x in twin.bid_levels(64)]
        assert book.levels(Side.SELL, 7).tolist() == [list(x) for x in twin.ask_levels(7)]
        assert book.imbalance_frac(5) == pytest.approx(twin.imbalance_frac(5), rel=1e-12)
        assert book.last_update_id == at + 1
        bid, ask = twin.bid_levels(1), twin.ask_levels(1)
        assert book.best() == (*(bid[0] if bid else (0, 0)), *(ask[0] if ask else (0, 0)))
        assert book.is_crossed() == bool(bid and ask and bid[0][0] >= ask[0][0])
    assert book.dropped_count == 0
    for ticks in range(1, 61):
        assert book.level_lots(Side.BUY, ticks) == twin.bids.get(ticks, 0)
        assert book.level_lots(Side.SELL, ticks) == twin.asks.get(ticks, 0)


@given(prices=st.lists(st.integers(1, 200), unique=True, max_size=40), capacity=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_full_side_keeps_the_best_levels(prices: list[int], capacity: int) -> None:
    """Beyond its capacity a side holds exactly the best prices and counts every loss."""
    book = Book(capacity=capacity)
    for ticks in prices:
        book.apply(diff([(ticks, ticks)], [(ticks, ticks)]))
    kept = min(len(prices), capacity)
    assert book.levels(Side.BUY, 99).tolist() == [
        [p, p] for p in sorted(prices, reverse=True)[:kept]
    ]
    assert book.levels(Side.SELL, 99).tolist() == [[p, p] for p in sorted(prices)[:kept]]
    assert book.dropped_count == 2 * (len(prices) - kept)


def test_load_replaces_everything() -> None:
    """A snapshot leaves nothing of the book before it and starts the loss count again."""
    book = Book(capacity=2)
    book.apply(diff([(10, 1), (11, 1), (12, 1)], [(20, 2)]))
    assert book.dropped_count == 1
    book.load(snapshot([(5, 7)], [(6, 8), (7, 9)], last_update_id=42))
    assert book.best() == (5, 7, 6, 8)
    assert book.levels(Side.SELL, 9).tolist() == [[6, 8], [7, 9]]
    assert (book.dropped_count, book.last_update_id) == (0, 42)
    book.clear()
    assert book.best() == (0, 0, 0, 0)
    assert book.last_update_id == 0


@pytest.mark.parametrize("bad", [[(0, 1)], [(-3, 1)], [(10, -1)]])
def test_bad_level_changes_nothing(bad: Levels) -> None:
    """A price that is not positive or a negative quantity is refused before the first change."""
    book = Book(capacity=8)
    book.load(snapshot([(9, 1)], [(11, 1)], last_update_id=7))
    before = book.state.copy()
    with pytest.raises(ValueError, match="depth update 8"):
        book.apply(diff([(10, 5)], bad, last_update_id=8))
    with pytest.raises(ValueError, match="depth update 9"):
        book.load(snapshot(bad, [], last_update_id=9))
    assert np.array_equal(book.state, before)


def test_unusual_arrays_are_accepted() -> None:
    """Read-only, sliced and narrow integer rows give the same book as plain ones."""
    wide = np.array([[10, 1, 0], [9, 2, 0]], dtype=np.int64)
    frozen = np.array([[12, 3]], dtype=np.int64)
    frozen.flags.writeable = False
    book = Book(capacity=8)
    event = diff([], [])
    book.apply(
        DepthDiff(
            **{
                name: getattr(event, name)
                for name in event.__slots__
                if not name.endswith("levels_n2")
            },
            bid_levels_n2=wide[:, :2],
            ask_levels_n2=frozen,
        )
    )
    assert book.best() == (10, 1, 12, 3)


def test_capacity_must_be_positive() -> None:
    """A book without room is a mistake of the caller."""
    with pytest.raises(ValueError, match="capacity"):
        Book(capacity=0)


touch = st.tuples(
    st.integers(95, 105), st.integers(0, 50), st.integers(95, 105), st.integers(0, 50)
)


@given(before=touch, after=touch)
@settings(max_examples=100, deadline=None)
def test_order_flow_equals_paper(
    before: tuple[int, int, int, int], after: tuple[int, int, int, int]
) -> None:
    """Order flow follows the published indicator form, and mirrors when the sides change places."""
    flow_lots = order_flow_lots(*before, *after)
    assert flow_lots == naive_order_flow_lots(before, after)
    mirrored = order_flow_lots(
        -before[2], before[3], -before[0], before[1], -after[2], after[3], -after[0], after[1]
    )
    assert mirrored == -flow_lots


@given(
    bid_ticks=st.integers(1, 10**9),
    width=st.integers(1, 1000),
    bid_lots=st.integers(0, 10**12),
    ask_lots=st.integers(0, 10**12),
)
@settings(max_examples=100, deadline=None)
def test_microprice_lies_inside_the_touch(
    bid_ticks: int, width: int, bid_lots: int, ask_lots: int
) -> None:
    """The microprice never leaves the touch and leans towards the thinner side."""
    ask_ticks = bid_ticks + width
    micro = microprice_ticks(bid_ticks, bid_lots, ask_ticks, ask_lots)
    middle = mid_ticks(bid_ticks, ask_ticks)
    slack = 1e-12 * ask_ticks
    assert bid_ticks - slack <= micro <= ask_ticks + slack
    assert (micro - middle) * (bid_lots - ask_lots) >= -slack * abs(bid_lots - ask_lots)


def test_sequence_follows_the_venue_rule() -> None:
    """Buffer, drop old, bridge, follow, and name a gap, with numbers as a stream has them."""
    sequence = DepthSequence()
    assert sequence.check(90, 95, 89) is Continuity.BUFFER
    sequence.snapshot(100)
    assert not sequence.is_synchronised
    assert sequence.check(90, 95, 89) is Continuity.OLD
    assert sequence.check(96, 99, 95) is Continuity.OLD
    assert sequence.check(99, 104, 98) is Continuity.BRIDGE
    assert sequence.is_synchronised
    assert sequence.check(107, 110, 104) is Continuity.NEXT
    assert sequence.check(107, 110, 104) is Continuity.OLD
    assert sequence.check(120, 125, 118) is Continuity.GAP
    assert sequence.check(126, 130, 125) is Continuity.GAP
    sequence.reset()
    assert sequence.check(131, 133, 130) is Continuity.BUFFER


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [
        (100, 100, Continuity.BRIDGE),
        (90, 100, Continuity.BRIDGE),
        (100, 110, Continuity.BRIDGE),
        (101, 110, Continuity.GAP),
        (90, 99, Continuity.OLD),
    ],
)
def test_bridge_bounds_are_inclusive(first: int, last: int, verdict: Continuity) -> None:
    """The event that holds the snapshot's id at either end bridges; one beyond is a gap."""
    sequence = DepthSequence()
    sequence.snapshot(100)
    assert sequence.check(first, last, 0) is verdict


def test_event_right_behind_the_snapshot_bridges() -> None:
    """Where a snapshot fell between two events, the next one names it as its predecessor."""
    sequence = DepthSequence()
    sequence.snapshot(100)
    assert sequence.check(103, 105, 100) is Continuity.BRIDGE
    assert sequence.check(108, 109, 105) is Continuity.NEXT


@given(
    sizes=st.lists(st.integers(1, 5), min_size=4, max_size=25),
    lost=st.integers(1, 24),
    at=st.integers(0, 24),
)
@settings(max_examples=100, deadline=None)
def test_every_lost_event_is_noticed(sizes: list[int], lost: int, at: int) -> None:
    """Of a valid chain, dropping any event after the bridge gives a GAP at the next one."""
    chain, previous = [], 1000
    for size in sizes:
        chain.append((previous + 2, previous + 1 + size, previous))
        previous += 1 + size
    start = at % (len(chain) - 2)
    missing = start + 1 + lost % (len(chain) - start - 2)
    sequence = DepthSequence()
    sequence.snapshot(chain[start][1])
    verdicts = [sequence.check(*event) for i, event in enumerate(chain) if i != missing]
    assert verdicts[:start] == [Continuity.OLD] * start
    assert verdicts[start] is Continuity.BRIDGE
    assert verdicts[start + 1 : missing] == [Continuity.NEXT] * (missing - start - 1)
    assert set(verdicts[missing:]) == {Continuity.GAP}
