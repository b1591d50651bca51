"""The steps of the matching engine, compiled: state in flat int64 arrays, changed in place.

``kernels.matching`` states the model and owns the arrays: ``book`` is ``Book.state``; ``orders``,
``consumed`` and ``counts`` are laid out in ``kernels.match_queue``; executions go to ``out_n4`` as
rows of (order key, price ticks, lots, is maker), at most one per level taken and one per resting
order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import ASK, BID, CAPACITY, apply_levels, level_lots, side_count, side_start
from kernels.jit import njit
from kernels.match_queue import (
    AHEAD,
    CONSUMED_COUNT,
    LIQUIDITY,
    LOTS,
    ORDER_COUNT,
    ORDER_KEY,
    PRICE_KEY,
    SHOWN,
    TRADED,
    WHOLE,
    ahead_after_change,
    ahead_lots,
    consume,
    consumed_lots,
    forget_consumed,
    key_position,
    parts_of,
    side_index,
)

GTC = 0
IOC = 1
FOK = 2
GTX = 3

RESTING = 0
FILLED = 1
PARTIALLY_RESTING = 2
EXPIRED = 3
REJECTED_GTX = 4
REJECTED_FULL = 5

MARKET_PRICE_TICKS = 0
"""As the limit of an IOC or FOK order: any price."""

NO_ORDER = -1
EVERY_PRICE_KEY = -(1 << 62)


@njit
def _emit(
    out_n4: NDArray[np.int64], at: int, order_key: int, ticks: int, lots: int, maker: int
) -> int:
    out_n4[at, 0] = order_key
    out_n4[at, 1] = ticks
    out_n4[at, 2] = lots
    out_n4[at, 3] = maker
    return at + 1


@njit
def _sweep(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    limit_key: int,
    lots: int,
    order_key: int,
    commit: bool,
    out_n4: NDArray[np.int64],
) -> tuple[int, bool, int]:
    """Walk the opposite book; return lots filled, whether our own order stopped it, out rows.

    ``limit_key`` is the limit as a key of the opposite side. Changes nothing unless ``commit``.
    """
    opposite = -side
    o = side_index(opposite)
    own_count = counts[ORDER_COUNT + o]
    own_key = EVERY_PRICE_KEY
    own_ahead = 0
    if own_count > 0 and orders[o, own_count - 1, PRICE_KEY] >= limit_key:
        own_key = orders[o, own_count - 1, PRICE_KEY]
        own_ahead = ahead_lots(orders[o, own_count - 1, AHEAD])
    keys = side_start(book, opposite)
    left = lots
    written = 0
    level = side_count(book, opposite) - 1
    while level >= 0 and left > 0:
        key = book[keys + level]
        if key < limit_key or key < own_key:
            break
        available = book[keys + book[CAPACITY] + level]
        available -= consumed_lots(consumed, counts, opposite, key)
        if key == own_key:
            available = min(available, own_ahead)
        taken = min(available, left)
        if taken > 0:
            left -= taken
            if commit:
                if counts[LIQUIDITY] != WHOLE:
                    consume(consumed, counts, opposite, key, taken)
                written = _emit(out_n4, written, order_key, opposite * key, taken, 0)
                at = own_count - 1
                while key == own_key and at >= 0 and orders[o, at, PRICE_KEY] == key:
                    orders[o, at, AHEAD] = max(orders[o, at, AHEAD] - parts_of(taken), 0)
                    at -= 1
        level -= 1
    return lots - left, left > 0 and own_key != EVERY_PRICE_KEY, written


@njit
def _rest(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    price_ticks: int,
    lots: int,
    order_key: int,
) -> None:
    s = side_index(side)
    count = counts[ORDER_COUNT + s]
    key = side * price_ticks
    at = key_position(orders[s], count, PRICE_KEY, key)
    for i in range(count, at, -1):
        orders[s, i] = orders[s, i - 1]
    shown = level_lots(book, side, price_ticks)
    orders[s, at, ORDER_KEY] = order_key
    orders[s, at, PRICE_KEY] = key
    orders[s, at, LOTS] = lots
    left = shown - consumed_lots(consumed, counts, side, key)
    orders[s, at, AHEAD] = parts_of(max(left, 0))
    orders[s, at, TRADED] = 0
    orders[s, at, SHOWN] = shown
    counts[ORDER_COUNT + s] = count + 1


@njit
def place_order(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    order_key: int,
    side: int,
    time_in_force: int,
    price_ticks: int,
    lots: int,
    out_n4: NDArray[np.int64],
) -> tuple[int, int, bool, int]:
    """Match a new order and rest what may rest; return status, resting lots, self-trade, rows."""
    may_rest = time_in_force in (GTC, GTX)
    if may_rest and counts[ORDER_COUNT] + counts[ORDER_COUNT + 1] >= orders.shape[1]:
        return REJECTED_FULL, 0, False, 0
    limit_key = -side * price_ticks if price_ticks != MARKET_PRICE_TICKS else EVERY_PRICE_KEY
    if time_in_force >= FOK:  # FOK and GTX look before they touch anything
        wanted = lots if time_in_force == FOK else 1
        coverable, stopped, _ = _sweep(
            book, orders, consumed, counts, side, limit_key, wanted, order_key, False, out_n4
        )
        if time_in_force == GTX:
            if coverable > 0 or stopped:
                return REJECTED_GTX, 0, stopped, 0
        elif coverable < lots:
            return EXPIRED, 0, stopped, 0
    filled, stopped, written = _sweep(
        book, orders, consumed, counts, side, limit_key, lots, order_key, True, out_n4
    )
    if filled == lots:
        return FILLED, 0, False, written
    if stopped or not may_rest:
        return EXPIRED, 0, stopped, written
    _rest(book, orders, consumed, counts, side, price_ticks, lots - filled, order_key)
    return (PARTIALLY_RESTING if filled > 0 else RESTING), lots - filled, False, written


@njit
def trade_printed(
    orders: NDArray[np.int64],
    counts: NDArray[np.int64],
    price_ticks: int,
    lots: int,
    aggressor: int,
    out_n4: NDArray[np.int64],
) -> int:
    """Let a public trade meet our resting orders first to last; return rows written."""
    side = -aggressor
    s = side_index(side)
    count = counts[ORDER_COUNT + s]
    trade_key = side * price_ticks
    left = lots
    public_lots = 0  # of this trade, what volume displayed ahead of us took
    written = 0
    while count > 0 and left > 0 and orders[s, count - 1, PRICE_KEY] >= trade_key:
        at = count - 1
        if orders[s, at, PRICE_KEY] == trade_key:
            queued = min(max(ahead_lots(orders[s, at, AHEAD]) - public_lots, 0), left)
            public_lots += queued
            left -= queued
        filled = min(left, orders[s, at, LOTS])
        if counts[LIQUIDITY] == WHOLE and left > 0:
            filled = orders[s, at, LOTS]
        elif filled > 0:
            left -= filled
        if filled > 0:
            orders[s, at, LOTS] -= filled
            ticks = side * orders[s, at, PRICE_KEY]
            written = _emit(out_n4, written, orders[s, at, ORDER_KEY], ticks, filled, 1)
        if orders[s, at, LOTS] > 0:
            break
        count -= 1
    counts[ORDER_COUNT + s] = count
    at = count - 1
    while at >= 0 and orders[s, at, PRICE_KEY] >= trade_key:
        if orders[s, at, PRICE_KEY] > trade_key:
            orders[s, at, AHEAD] = 0  # the market traded through: nobody stands ahead any more
        else:
            orders[s, at, AHEAD] = max(orders[s, at, AHEAD] - parts_of(public_lots), 0)
            orders[s, at, TRADED] += lots
        at -= 1
    return written


@njit
def _fill_crossed(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    written: int,
    out_n4: NDArray[np.int64],
) -> int:
    """Match our resting orders of a side with opposite volume shown at or through their price."""
    s = side_index(side)
    keys = side_start(book, -side)
    level = side_count(book, -side) - 1
    count = counts[ORDER_COUNT + s]
    while count > 0:
        at = count - 1
        limit_key = -orders[s, at, PRICE_KEY]
        filled = 0
        if counts[LIQUIDITY] == WHOLE and level >= 0 and book[keys + level] >= limit_key:
            filled = orders[s, at, LOTS]
            orders[s, at, LOTS] = 0
        while level >= 0 and orders[s, at, LOTS] > 0 and book[keys + level] >= limit_key:
            key = book[keys + level]
            available = book[keys + book[CAPACITY] + level]
            available -= consumed_lots(consumed, counts, -side, key)
            taken = min(max(available, 0), orders[s, at, LOTS])
            if taken > 0:
                consume(consumed, counts, -side, key, taken)
                orders[s, at, LOTS] -= taken
                filled += taken
            if taken == available or available <= 0:
                level -= 1
        if filled > 0:
            ticks = side * orders[s, at, PRICE_KEY]
            written = _emit(out_n4, written, orders[s, at, ORDER_KEY], ticks, filled, 1)
        if orders[s, at, LOTS] > 0:
            break
        count -= 1
    counts[ORDER_COUNT + s] = count
    return written


@njit
def fill_crossed(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    out_n4: NDArray[np.int64],
) -> int:
    """Fill what the displayed book crosses on both sides; return rows written."""
    written = _fill_crossed(book, orders, consumed, counts, BID, 0, out_n4)
    return _fill_crossed(book, orders, consumed, counts, ASK, written, out_n4)


@njit
def note_shown(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    first: int,
    price_key: int,
) -> None:
    """Remember what is displayed, for our orders of a side from ``first`` on at one price."""
    s = side_index(side)
    at = first
    while at < counts[ORDER_COUNT + s] and orders[s, at, PRICE_KEY] == price_key:
        orders[s, at, SHOWN] = level_lots(book, side, side * price_key)
        at += 1


@njit
def requeue(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    first: int,
    price_key: int,
    queue_model: int,
) -> None:
    """Move the queue of our orders of a side from ``first`` on at one price that changed."""
    s = side_index(side)
    taken = consumed_lots(consumed, counts, side, price_key)
    after = level_lots(book, side, side * price_key)
    at = first
    while at < counts[ORDER_COUNT + s] and orders[s, at, PRICE_KEY] == price_key:
        orders[s, at, AHEAD] = ahead_after_change(
            orders[s, at, AHEAD],
            orders[s, at, SHOWN],
            after,
            orders[s, at, TRADED],
            taken,
            queue_model,
        )
        orders[s, at, TRADED] = 0
        orders[s, at, SHOWN] = after
        at += 1


@njit
def apply_diff(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    bid_levels_n2: NDArray[np.int64],
    ask_levels_n2: NDArray[np.int64],
    last_update_id: int,
    queue_model: int,
    out_n4: NDArray[np.int64],
) -> int:
    """Apply a depth update to book and queues; return rows written, -1 for a bad level."""
    for s in range(2):
        if counts[ORDER_COUNT + s] > 0:
            side = BID if s == 0 else ASK
            levels_n2 = bid_levels_n2 if s == 0 else ask_levels_n2
            for i in range(levels_n2.shape[0]):
                key = side * levels_n2[i, 0]
                first = key_position(orders[s], counts[ORDER_COUNT + s], PRICE_KEY, key)
                note_shown(book, orders, counts, side, first, key)
    if not apply_levels(book, bid_levels_n2, ask_levels_n2, last_update_id):
        return -1
    for s in range(2):
        if counts[ORDER_COUNT + s] > 0 or counts[CONSUMED_COUNT + s] > 0:
            side = BID if s == 0 else ASK
            levels_n2 = bid_levels_n2 if s == 0 else ask_levels_n2
            for i in range(levels_n2.shape[0]):
                key = side * levels_n2[i, 0]
                first = key_position(orders[s], counts[ORDER_COUNT + s], PRICE_KEY, key)
                requeue(book, orders, consumed, counts, side, first, key, queue_model)
                forget_consumed(consumed, counts, side, key)
    if counts[ORDER_COUNT] + counts[ORDER_COUNT + 1] == 0:
        return 0
    return fill_crossed(book, orders, consumed, counts, out_n4)


@njit
def find_order(
    orders: NDArray[np.int64], counts: NDArray[np.int64], order_key: int
) -> tuple[int, int]:
    """Return side index and row of a resting order, ``NO_ORDER`` as row where there is none."""
    for s in range(2):
        for at in range(counts[ORDER_COUNT + s]):
            if orders[s, at, ORDER_KEY] == order_key:
                return s, at
    return 0, NO_ORDER
