"""What both sides of the matching engine stand on: rows sorted by price, what we took, the queue.

Layouts are those of ``kernels.match_steps``'s arrays: ``orders`` (2, orders, ``ORDER_COLUMNS``),
``consumed`` (2, levels, 2), ``counts`` (5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import BID
from kernels.jit import njit

RISK_AVERSE = 0
PROPORTIONAL = 1

# Sides are index 0 (bids) and 1 (asks). A price is held as key = side * ticks, so that larger is
# better on both. Orders and consumed levels are sorted by key, best LAST; of our orders at one
# price the oldest is last. So the order with priority is always the last one.
ORDER_KEY = 0
PRICE_KEY = 1
LOTS = 2
AHEAD = 3
"""Displayed volume queued before the order, in parts of a lot (``AHEAD_PARTS`` each)."""
TRADED = 4
"""Lots traded at the price since the level last changed: they explain that much of a decrease."""
SHOWN = 5
"""Lots displayed at the price before the change being applied."""
ORDER_COLUMNS = 6

AHEAD_PARTS = 1024
"""Parts of a lot in which the queue is kept: many small cancels must move it as one large does."""

CONSUMED_KEY = 0
CONSUMED_LOTS = 1

ORDER_COUNT = 0
CONSUMED_COUNT = 2
"""Offsets into ``counts``: a side's orders, a side's consumed levels."""

LIQUIDITY = 4
"""Offset into ``counts``: ``PRINTED`` or ``WHOLE``."""

PRINTED = 0
WHOLE = 1

PRODUCT_SAFE_PARTS = 1 << 31
LOTS_COUNTED_MAX = 1 << 51
"""A queue longer than that is taken for one of that length: its parts must fit int64."""


@njit
def side_index(side: int) -> int:
    """Return 0 for the bids, 1 for the asks."""
    return 0 if side == BID else 1


@njit
def key_position(rows: NDArray[np.int64], count: int, column: int, key: int) -> int:
    """Return how many of the sorted rows have a smaller key."""
    low = 0
    high = count
    while low < high:
        middle = (low + high) // 2
        if rows[middle, column] < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def consumed_lots(
    consumed: NDArray[np.int64], counts: NDArray[np.int64], side: int, price_key: int
) -> int:
    """Return what we took from one level since it last changed."""
    s = side_index(side)
    count = counts[CONSUMED_COUNT + s]
    if count == 0:
        return 0
    at = key_position(consumed[s], count, CONSUMED_KEY, price_key)
    if at < count and consumed[s, at, CONSUMED_KEY] == price_key:
        return int(consumed[s, at, CONSUMED_LOTS])
    return 0


@njit
def consume(
    consumed: NDArray[np.int64], counts: NDArray[np.int64], side: int, price_key: int, lots: int
) -> None:
    """Remember that we took lots of one level."""
    s = side_index(side)
    count = counts[CONSUMED_COUNT + s]
    at = key_position(consumed[s], count, CONSUMED_KEY, price_key)
    if at < count and consumed[s, at, CONSUMED_KEY] == price_key:
        consumed[s, at, CONSUMED_LOTS] += lots
        return
    if count == consumed.shape[1]:
        # only entries of levels that the book itself dropped can fill it: forget the farthest
        if at == 0:
            return
        at -= 1
        for i in range(at):
            consumed[s, i] = consumed[s, i + 1]
    else:
        for i in range(count, at, -1):
            consumed[s, i] = consumed[s, i - 1]
        counts[CONSUMED_COUNT + s] = count + 1
    consumed[s, at, CONSUMED_KEY] = price_key
    consumed[s, at, CONSUMED_LOTS] = lots


@njit
def forget_consumed(
    consumed: NDArray[np.int64], counts: NDArray[np.int64], side: int, price_key: int
) -> None:
    """Forget what we took of a level, for it changed."""
    s = side_index(side)
    count = counts[CONSUMED_COUNT + s]
    at = key_position(consumed[s], count, CONSUMED_KEY, price_key)
    if at < count and consumed[s, at, CONSUMED_KEY] == price_key:
        for i in range(at, count - 1):
            consumed[s, i] = consumed[s, i + 1]
        counts[CONSUMED_COUNT + s] = count - 1


@njit
def ahead_lots(ahead_parts: int) -> int:
    """Return a queue in whole lots, to the nearest."""
    return int((ahead_parts + AHEAD_PARTS // 2) // AHEAD_PARTS)


@njit
def parts_of(lots: int) -> int:
    """Return lots in parts of a lot, at most those of ``LOTS_COUNTED_MAX``."""
    return int(min(lots, LOTS_COUNTED_MAX) * AHEAD_PARTS)


@njit
def ahead_after_change(
    ahead_parts: int,
    before_lots: int,
    after_lots: int,
    traded_lots: int,
    taken_lots: int,
    queue_model: int,
) -> int:
    """Return the queue ahead of an order, in parts, after its level went from before to after.

    ``traded_lots`` since the last change explain that much of a decrease, ``taken_lots`` is what
    we consumed of the level. Never more than ``after_lots``, never growing.
    """
    cancelled = before_lots - after_lots - traded_lots
    if queue_model == PROPORTIONAL and cancelled > 0:
        total = max(parts_of(before_lots - taken_lots), ahead_parts)
        cancelled_parts = min(parts_of(cancelled), total)
        if total >= PRODUCT_SAFE_PARTS:  # the product could leave int64
            ahead_parts -= int(np.float64(cancelled_parts) * (np.float64(ahead_parts) / total))
        elif total > 0:
            ahead_parts -= cancelled_parts * ahead_parts // total
    return int(max(min(ahead_parts, parts_of(after_lots)), 0))
