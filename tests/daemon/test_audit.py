"""The second copy of the book: equal books pass, one wrong level is found and named."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.venues.audit import EQUAL, BookProof
from kernels.events import DepthDiff, DepthSnapshot

LEVELS = 20

Rows = list[tuple[int, int]]
bids = st.dictionaries(st.integers(900, 999), st.integers(1, 50), max_size=40)
asks = st.dictionaries(st.integers(1_001, 1_100), st.integers(1, 50), max_size=40)
changes = st.lists(
    st.tuples(
        st.dictionaries(st.integers(900, 999), st.integers(0, 50), max_size=5),
        st.dictionaries(st.integers(1_001, 1_100), st.integers(0, 50), max_size=5),
    ),
    min_size=1,
    max_size=12,
)
Side = dict[int, int]


def _rows(side: Side, best_first: int) -> NDArray[np.int64]:
    """Give a side's best levels as the venue would, best first."""
    rows = sorted(side.items(), key=lambda row: -best_first * row[0])[:LEVELS]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _snapshot(last_id: int, bid: Side, ask: Side) -> DepthSnapshot:
    return DepthSnapshot(
        instrument=0,
        event_ns=0,
        received_ns=0,
        last_update_id=last_id,
        bid_levels_n2=_rows(bid, 1),
        ask_levels_n2=_rows(ask, -1),
    )


def _diff(number: int, bid: Side, ask: Side) -> DepthDiff:
    """Make the n-th change: ids 10n+1 to 10n+10 after those of the one before."""
    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=10 * number + 1,
        last_update_id=10 * number + 10,
        previous_update_id=10 * number,
        bid_levels_n2=np.array(list(bid.items()), dtype=np.int64).reshape(-1, 2),
        ask_levels_n2=np.array(list(ask.items()), dtype=np.int64).reshape(-1, 2),
    )


def _fold(side: Side, change: Side) -> Side:
    merged = side | change
    return {ticks: lots for ticks, lots in merged.items() if lots}


@settings(max_examples=150)
@given(
    bid=bids,
    ask=asks,
    stream=changes,
    begun=st.integers(0, 11),
    taken=st.integers(0, 11),
)
def test_a_right_book_passes_every_audit(
    bid: Side, ask: Side, stream: list[tuple[Side, Side]], begun: int, taken: int
) -> None:
    """Wherever the audit began and the snapshot was taken: never a false alarm, equal when said."""
    proof = BookProof(LEVELS)
    proof.load(_snapshot(0, bid, ask))
    answer = None
    for number, (bid_change, ask_change) in enumerate(stream):
        if number == begun:
            proof.begin_audit()
        proof.apply(_diff(number, bid_change, ask_change))
        bid, ask = _fold(bid, bid_change), _fold(ask, ask_change)
        if number == taken:
            answer = proof.audit(_snapshot(10 * number + 10, bid, ask))
    assert answer in (None, EQUAL)
    if begun <= taken < len(stream):
        assert answer == EQUAL


@settings(max_examples=150)
@given(bid=bids, ask=asks, stream=changes, ticks=st.integers(990, 999), lots=st.integers(1, 50))
def test_one_wrong_level_is_named(
    bid: Side, ask: Side, stream: list[tuple[Side, Side]], ticks: int, lots: int
) -> None:
    """A level near the touch that differs is found, whatever came before and after it."""
    bid = {each: held for each, held in bid.items() if each != ticks}
    stream = [
        ({each: held for each, held in change.items() if each != ticks}, more)
        for change, more in stream
    ]
    proof = BookProof(2 * LEVELS)
    proof.load(_snapshot(0, _nearest(bid), ask))
    bid = _nearest(bid)
    proof.begin_audit()
    for number, (bid_change, ask_change) in enumerate(stream):
        proof.apply(_diff(number, bid_change, ask_change))
        bid, ask = _fold(bid, bid_change), _fold(ask, ask_change)
    wrong = _nearest(bid | {ticks: lots})
    answer = proof.audit(_snapshot(10 * len(stream), wrong, ask))
    if ticks in wrong and len(bid) < LEVELS and len(ask) <= LEVELS:
        assert answer == f"BUY {ticks} ticks: 0 lots here, {lots} at the venue"


def _nearest(bid: Side) -> Side:
    """Keep the best levels that a snapshot tells."""
    return dict(sorted(bid.items(), reverse=True)[:LEVELS])


def test_a_snapshot_that_is_ahead_has_to_wait() -> None:
    """Nothing is said before the stream has reached the snapshot; without an audit never."""
    proof = BookProof(LEVELS)
    proof.load(_snapshot(0, {999: 1}, {1_001: 1}))
    ahead = _snapshot(15, {999: 2}, {1_001: 1})
    assert proof.audit(ahead) is None
    proof.begin_audit()
    proof.apply(_diff(0, {999: 2}, {}))
    assert proof.audit(ahead) is None
    proof.apply(_diff(1, {998: 4}, {}))
    assert proof.audit(ahead) == EQUAL
    proof.end_audit()
    assert proof.audit(ahead) is None


def test_far_levels_that_were_never_told_are_left_out() -> None:
    """A deep level the venue tells now, and did not reach in the first snapshot, is no fault."""
    told = {1_000 - depth: 1 for depth in range(LEVELS)}
    proof = BookProof(LEVELS)
    proof.load(_snapshot(0, told, {1_001: 1}))
    proof.begin_audit()
    proof.apply(_diff(0, {1_000: 0}, {}))
    now = {ticks: 1 for ticks in told if ticks != 1_000} | {1_000 - LEVELS: 7}
    assert proof.audit(_snapshot(10, now, {1_001: 1})) == EQUAL


def test_a_crossed_book_is_seen_at_once() -> None:
    """The change that crosses the sides sets the flag, the one that parts them clears it."""
    proof = BookProof(LEVELS)
    proof.load(_snapshot(0, {999: 1}, {1_001: 1}))
    assert not proof.is_crossed
    proof.apply(_diff(0, {1_001: 1}, {}))
    assert proof.is_crossed
    proof.apply(_diff(1, {1_001: 0}, {}))
    assert not proof.is_crossed
