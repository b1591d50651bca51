"""One instrument's order book in a flat int64 vector, and the continuity rule of its feed.

A side is kept as two parallel runs, sorted so that the best level is LAST: nearly all changes of a
real book happen near the touch and then move only a few entries. Sorting is by key = side * ticks
(asks negated), so one set of routines serves both sides.

Layout of the flat vector: ``HEADER`` integers (the slots below), then bid keys, bid lots, ask keys,
ask lots, ``capacity`` entries each.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.jit import INTEGER, INTEGERS, LEVELS, direct, njit

CAPACITY = 0
BID_COUNT = 1
ASK_COUNT = 2
DROPPED = 3
LAST_UPDATE_ID = 4
HEADER = 8

BID = 1
ASK = -1


@njit
def mid_ticks(bid_ticks: float, ask_ticks: float) -> float:
    """Return the middle of the touch in ticks."""
    return 0.5 * (bid_ticks + ask_ticks)


@njit
def microprice_ticks(bid_ticks: float, bid_lots: float, ask_ticks: float, ask_lots: float) -> float:
    """Return the touch weighted by the opposite size, in ticks: (b*Qa + a*Qb) / (Qa + Qb).

    It leans towards the thinner side. The middle where both sizes are 0. Source: Gatheral,
    Oomen (2010), "Zero-intelligence realized variance estimation", the weighted mid.
    """
    total_lots = float(bid_lots) + float(ask_lots)
    if total_lots <= 0.0:
        return 0.5 * (bid_ticks + ask_ticks)
    return (float(bid_ticks) * ask_lots + float(ask_ticks) * bid_lots) / total_lots


@njit
def order_flow_lots(
    bid_ticks_before: float,
    bid_lots_before: float,
    ask_ticks_before: float,
    ask_lots_before: float,
    bid_ticks: float,
    bid_lots: float,
    ask_ticks: float,
    ask_lots: float,
) -> float:
    """Return the order flow imbalance of one change of the touch, in lots; positive is buying.

    Cont, Kukanov, Stoikov (2014), "The price impact of order book events", equation 4: what joined
    or improved the bid, less what left it, less the same of the ask. Exact below 2**53 lots.
    """
    flow_lots = 0.0
    if bid_ticks >= bid_ticks_before:
        flow_lots += bid_lots
    if bid_ticks <= bid_ticks_before:
        flow_lots -= bid_lots_before
    if ask_ticks <= ask_ticks_before:
        flow_lots -= ask_lots
    if ask_ticks >= ask_ticks_before:
        flow_lots += ask_lots_before
    return flow_lots


@njit
def side_start(state: NDArray[np.int64], side: int) -> int:
    """Return the offset of a side's keys; its lots begin ``capacity`` entries later."""
    return HEADER if side == BID else HEADER + 2 * state[CAPACITY]


@njit
def side_count(state: NDArray[np.int64], side: int) -> int:
    """Return how many levels a side (BID or ASK) holds."""
    return int(state[BID_COUNT] if side == BID else state[ASK_COUNT])


@njit
def best_levels(state: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Return bid_ticks, bid_lots, ask_ticks, ask_lots of the touch; zeros for an empty side."""
    capacity = state[CAPACITY]
    bid_ticks = bid_lots = ask_ticks = ask_lots = 0
    if state[BID_COUNT] > 0:
        at = HEADER + state[BID_COUNT] - 1
        bid_ticks = state[at]
        bid_lots = state[at + capacity]
    if state[ASK_COUNT] > 0:
        at = HEADER + 2 * capacity + state[ASK_COUNT] - 1
        ask_ticks = -state[at]
        ask_lots = state[at + capacity]
    return bid_ticks, bid_lots, ask_ticks, ask_lots


@njit
def depth_lots(state: NDArray[np.int64], side: int, depth: int) -> int:
    """Return the lots of the best ``depth`` levels of one side together."""
    count = side_count(state, side)
    end = side_start(state, side) + state[CAPACITY] + count
    total_lots = 0
    for at in range(end - min(depth, count), end):
        total_lots += state[at]
    return total_lots


@njit
def imbalance_frac(state: NDArray[np.int64], depth: int) -> float:
    """Return (bids - asks) / (bids + asks) over the best ``depth`` levels, in [-1, 1].

    0 where both sides are empty.
    """
    bid_lots = float(depth_lots(state, BID, depth))
    ask_lots = float(depth_lots(state, ASK, depth))
    if bid_lots + ask_lots <= 0.0:
        return 0.0
    return (bid_lots - ask_lots) / (bid_lots + ask_lots)


@njit
def position_of(state: NDArray[np.int64], side: int, ticks: int) -> int:
    """Return where a price stands or would stand in its side: 0 is the farthest level."""
    start = side_start(state, side)
    key = side * ticks
    low = 0
    high = side_count(state, side)
    while low < high:
        middle = (low + high) // 2
        if state[start + middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def level_lots(state: NDArray[np.int64], side: int, ticks: int) -> int:
    """Return the displayed lots at one price of one side, 0 where there is no such level."""
    at = position_of(state, side, ticks)
    start = side_start(state, side)
    if at < side_count(state, side) and state[start + at] == side * ticks:
        return int(state[start + state[CAPACITY] + at])
    return 0


@njit
def set_level(state: NDArray[np.int64], side: int, ticks: int, lots: int) -> None:
    """Set the quantity at one price; 0 removes it. A full side loses its farthest level."""
    capacity = state[CAPACITY]
    slot = BID_COUNT if side == BID else ASK_COUNT
    count = state[slot]
    keys = side_start(state, side)
    sizes = keys + capacity
    at = position_of(state, side, ticks)
    found = at < count and state[keys + at] == side * ticks
    if lots == 0:
        if found:
            for i in range(at, count - 1):
                state[keys + i] = state[keys + i + 1]
                state[sizes + i] = state[sizes + i + 1]
            state[slot] = count - 1
        return
    if found:
        state[sizes + at] = lots
        return
    if count == capacity:
        state[DROPPED] += 1
        if at == 0:
            return
        at -= 1
        for i in range(at):
            state[keys + i] = state[keys + i + 1]
            state[sizes + i] = state[sizes + i + 1]
    else:
        for i in range(count, at, -1):
            state[keys + i] = state[keys + i - 1]
            state[sizes + i] = state[sizes + i - 1]
        state[slot] = count + 1
    state[keys + at] = side * ticks
    state[sizes + at] = lots


@njit
def apply_levels(
    state: NDArray[np.int64],
    bid_levels_n2: NDArray[np.int64],
    ask_levels_n2: NDArray[np.int64],
    last_update_id: int,
) -> bool:
    """Apply rows of (price_ticks, quantity_lots) to both sides; False and no change if one is bad.

    Bad is a price that is not positive or a negative quantity.
    """
    for i in range(bid_levels_n2.shape[0]):
        if bid_levels_n2[i, 0] <= 0 or bid_levels_n2[i, 1] < 0:
            return False
    for i in range(ask_levels_n2.shape[0]):
        if ask_levels_n2[i, 0] <= 0 or ask_levels_n2[i, 1] < 0:
            return False
    for i in range(bid_levels_n2.shape[0]):
        set_level(state, BID, bid_levels_n2[i, 0], bid_levels_n2[i, 1])
    for i in range(ask_levels_n2.shape[0]):
        set_level(state, ASK, ask_levels_n2[i, 0], ask_levels_n2[i, 1])
    state[LAST_UPDATE_ID] = last_update_id
    return True


def new_state(capacity: int) -> NDArray[np.int64]:
    """Allocate the flat vector of an empty book with room for ``capacity`` levels a side."""
    if capacity < 1:
        raise ValueError(f"capacity must be positive, not {capacity}")
    state = np.zeros(HEADER + 4 * capacity, dtype=np.int64)
    state[CAPACITY] = capacity
    return state


def as_levels(levels_n2: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows the kernels can take as they are: int64, two columns, C order, writable."""
    if levels_n2.dtype == np.int64 and levels_n2.ndim == 2 and levels_n2.flags.carray:
        return levels_n2
    return np.array(levels_n2, dtype=np.int64, order="C").reshape(-1, 2)


@cache
def _entries() -> tuple[Callable[..., bool], Callable[..., tuple[int, int, int, int]]]:
    """Compile, or load, what a book calls at every change: apply levels, read the touch."""
    return direct(apply_levels, INTEGERS, LEVELS, LEVELS, INTEGER), direct(best_levels, INTEGERS)


class Book:
    """The order book of one instrument, in ticks and lots.

    Not a judge of continuity: that is ``DepthSequence``. ``state`` is the flat vector itself, for
    kernels (layout in the module's docstring); it is never replaced.
    """

    __slots__ = ("_apply_levels", "_best_levels", "state")

    def __init__(self, capacity: int = 4096) -> None:
        """Hold at most ``capacity`` levels a side; the farthest are dropped beyond."""
        self.state = new_state(capacity)
        self._apply_levels, self._best_levels = _entries()

    def load(self, snapshot: DepthSnapshot) -> None:
        """Replace everything by a snapshot; ValueError, and nothing changed, for a bad level.

        ``dropped_count`` starts again at zero.
        """
        fresh = new_state(int(self.state[CAPACITY]))
        self._apply(fresh, snapshot.bid_levels_n2, snapshot.ask_levels_n2, snapshot.last_update_id)
        self.state[:] = fresh

    def apply(self, diff: DepthDiff) -> None:
        """Apply changes, levels in any order; ValueError, and nothing changed, for a bad one."""
        self._apply(self.state, diff.bid_levels_n2, diff.ask_levels_n2, diff.last_update_id)

    def clear(self) -> None:
        """Forget every level, for a feed that lost continuity."""
        self.state[:] = new_state(int(self.state[CAPACITY]))

    def best(self) -> tuple[int, int, int, int]:
        """Return bid_ticks, bid_lots, ask_ticks, ask_lots; zeros for an empty side."""
        return self._best_levels(self.state)

    def is_crossed(self) -> bool:
        """Say whether both sides exist and the best bid is at or above the best ask."""
        bid_ticks, bid_lots, ask_ticks, ask_lots = self._best_levels(self.state)
        return bid_lots > 0 and ask_lots > 0 and bid_ticks >= ask_ticks

    def levels(self, side: Side, count: int) -> NDArray[np.int64]:
        """Return up to ``count`` levels of a side, best first, as a fresh (n, 2) of ticks, lots.

        ``Side.BUY`` is the bids, ``Side.SELL`` the asks.
        """
        start = side_start(self.state, int(side))
        held = side_count(self.state, int(side))
        taken = min(max(count, 0), held)
        out_n2 = np.empty((taken, 2), dtype=np.int64)
        capacity = int(self.state[CAPACITY])
        end = start + held
        out_n2[:, 0] = int(side) * self.state[end - taken : end][::-1]
        out_n2[:, 1] = self.state[end + capacity - taken : end + capacity][::-1]
        return out_n2

    def imbalance_frac(self, depth: int) -> float:
        """Return (bids - asks) / (bids + asks) over the best ``depth`` levels, in [-1, 1]."""
        return imbalance_frac(self.state, depth)

    def level_lots(self, side: Side, ticks: int) -> int:
        """Return the displayed lots at one price of one side, 0 where there is none."""
        return level_lots(self.state, int(side), ticks)

    @property
    def dropped_count(self) -> int:
        """Levels lost to the capacity since the last snapshot."""
        return int(self.state[DROPPED])

    @property
    def last_update_id(self) -> int:
        """Venue id of the newest change applied, 0 before any."""
        return int(self.state[LAST_UPDATE_ID])

    def _apply(
        self,
        state: NDArray[np.int64],
        bid_levels_n2: NDArray[np.int64],
        ask_levels_n2: NDArray[np.int64],
        last_update_id: int,
    ) -> None:
        if not self._apply_levels(
            state, as_levels(bid_levels_n2), as_levels(ask_levels_n2), last_update_id
        ):
            raise ValueError(
                f"depth update {last_update_id}: price must be positive, quantity not negative"
            )


class Continuity(IntEnum):
    """What to do with one depth event."""

    BUFFER = 0
    """No snapshot yet: keep it."""
    OLD = 1
    """Already contained in what we hold: drop it."""
    BRIDGE = 2
    """The first event that joins the snapshot: apply it."""
    NEXT = 3
    """Follows the event before: apply it."""
    GAP = 4
    """Something is missing: reset, keep this event, ask for a new snapshot."""


class DepthSequence:
    """Judge the continuity of one instrument's depth stream by the Binance USD-M rule.

    After a snapshot with last id L, events with u < L are dropped, the first applied one must have
    U <= L <= u or pu = L, and each later one must carry the u before it as its pu. A GAP changes
    nothing here: until ``reset`` or ``snapshot``, whatever does not join remains a GAP. OLD events
    do not prove that the stream lives; judge staleness by applied ones.
    """

    __slots__ = ("_has_snapshot", "_is_bridged", "_last_update_id")

    def __init__(self) -> None:
        """Start without a snapshot."""
        self._has_snapshot = False
        self._is_bridged = False
        self._last_update_id = 0

    @property
    def is_synchronised(self) -> bool:
        """Whether a snapshot was bridged: the book follows the stream."""
        return self._is_bridged

    def reset(self) -> None:
        """Forget the snapshot; events are BUFFER until the next."""
        self._has_snapshot = False
        self._is_bridged = False
        self._last_update_id = 0

    def snapshot(self, last_update_id: int) -> None:
        """Take over a snapshot; the next event applied must bridge it."""
        self._has_snapshot = True
        self._is_bridged = False
        self._last_update_id = last_update_id

    def check(
        self, first_update_id: int, last_update_id: int, previous_update_id: int
    ) -> Continuity:
        """Judge one event by its U, u and pu; BRIDGE and NEXT advance the sequence."""
        if not self._has_snapshot:
            return Continuity.BUFFER
        if self._is_bridged:
            if previous_update_id == self._last_update_id and last_update_id >= first_update_id:
                self._last_update_id = last_update_id
                return Continuity.NEXT
            return Continuity.OLD if last_update_id <= self._last_update_id else Continuity.GAP
        if last_update_id < self._last_update_id:
            return Continuity.OLD
        # pu == L joins as well: a snapshot taken between two events has nothing that spans it
        if first_update_id <= self._last_update_id or previous_update_id == self._last_update_id:
            self._is_bridged = True
            self._last_update_id = last_update_id
            return Continuity.BRIDGE
        return Continuity.GAP
