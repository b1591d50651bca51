"""The visible part of the synthetic markets, compiled: books and trades around efficient prices.

``kernels.market_chain`` moves the hidden part. Arrays, changed in place: those of the chain,
``ids_IC`` one row per instrument, ``books_IS`` one ``kernels.book`` vector per instrument.
``run_steps`` writes rows of events, their levels, and the hidden state of every step for those who
test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import (
    ASK,
    BID,
    CAPACITY,
    best_levels,
    level_lots,
    set_level,
    side_count,
    side_start,
)
from kernels.jit import njit
from kernels.market_chain import (
    ACTIVITY_FRAC,
    CENTRE_TICKS,
    DEPTH_FACTOR,
    HIDDEN,
    LEVEL_LOTS,
    SPREAD_BPS,
    SPREAD_TICKS,
    STEP,
    STEP_NS,
    STEP_S,
    STEPS_PER_BAR,
    TRADES_PER_S,
    conditions,
    move_centres,
    start_bar,
)

# ids_IC
UPDATE_ID = 0
TRADE_ID = 1
QUOTE_BID = 2
QUOTE_BID_LOTS = 3
QUOTE_ASK = 4
QUOTE_ASK_LOTS = 5

TRADE_ROW = 1
QUOTE_ROW = 2
DIFF_ROW = 3
ROW_COLUMNS = 9
"""kind, instrument, elapsed ns, then TRADE: id, price ticks, lots, aggressor; QUOTE: update id,
bid ticks, bid lots, ask ticks, ask lots; DIFF: first, last, previous id, bids, asks, and where
its levels begin (bids, then asks)."""

LEVELS_MIN = 26
LEVELS_MAX = 44
BOOK_CAPACITY = 64
SWEEP_TRADES_MAX = 6
NOISE_TRADES_MAX = 6
ROWS_PER_MOVE = NOISE_TRADES_MAX + 2 * SWEEP_TRADES_MAX + 2
LEVELS_PER_MOVE = 256
LEVEL_GAP_BPS = 0.25
SIZE_SPREAD = 0.8
"""Standard deviation of the logarithm of a level's size."""
SPREAD_MEMORY = 0.95


@njit
def draw_lots(rng: np.random.Generator, mean_lots: float) -> int:
    """Draw the size of a level: log-normal around ``mean_lots``, at least 1."""
    drawn = mean_lots * np.exp(SIZE_SPREAD * rng.standard_normal() - 0.5 * SIZE_SPREAD**2)
    return max(int(drawn), 1)


@njit
def change_level(
    book: NDArray[np.int64],
    side: int,
    ticks: int,
    lots: int,
    changed_s: NDArray[np.int64],
) -> None:
    """Set a level and remember its price; entry 0 of ``changed_s`` counts, each price once."""
    set_level(book, side, ticks, lots)
    for i in range(changed_s[0]):
        if changed_s[1 + i] == ticks:
            return
    changed_s[0] += 1
    changed_s[changed_s[0]] = ticks


@njit
def print_trade(
    rows: NDArray[np.int64],
    at: int,
    ids: NDArray[np.int64],
    ticks: int,
    lots: int,
    aggressor: int,
) -> int:
    """Append a trade; instrument and time are filled in by the caller."""
    ids[TRADE_ID] += 1
    rows[at, 0] = TRADE_ROW
    rows[at, 3] = ids[TRADE_ID]
    rows[at, 4] = ticks
    rows[at, 5] = lots
    rows[at, 6] = aggressor
    return at + 1


@njit
def trade_at_touch(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    changed_2n: NDArray[np.int64],
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
    at: int,
    mean_count: float,
    buy_frac: float,
) -> int:
    """Let takers hit the touch for a part of what it shows; return the next free row."""
    count = min(rng.poisson(mean_count), NOISE_TRADES_MAX)
    for _ in range(count):
        aggressor = 1 if rng.random() < buy_frac else -1
        share = rng.random()
        bid_ticks, bid_lots, ask_ticks, ask_lots = best_levels(book)
        ticks = ask_ticks if aggressor == 1 else bid_ticks
        shown = ask_lots if aggressor == 1 else bid_lots
        if shown < 2:
            continue
        lots = 1 + int(0.6 * share * share * (shown - 2))
        side = -aggressor
        change_level(book, side, ticks, shown - lots, changed_2n[0 if side == BID else 1])
        at = print_trade(rows, at, ids, ticks, lots, aggressor)
    return at


@njit
def clear_through(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    side: int,
    touch_ticks: int,
    trade_frac: float,
    changed_s: NDArray[np.int64],
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
    at: int,
) -> int:
    """Remove levels better than the new touch, traded with a chance, else cancelled."""
    trades = 0
    while side_count(book, side) > 0:
        best = side_start(book, side) + side_count(book, side) - 1
        key = book[best]
        if key <= side * touch_ticks:
            break
        lots = book[best + book[CAPACITY]]
        if trades < SWEEP_TRADES_MAX and rng.random() < trade_frac:
            at = print_trade(rows, at, ids, side * key, lots, -side)
            trades += 1
        change_level(book, side, side * key, 0, changed_s)
    return at


@njit
def refresh_side(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    side: int,
    touch_ticks: int,
    mean_lots: float,
    mean_gap_ticks: float,
    changed_s: NDArray[np.int64],
) -> None:
    """Show the touch, change some levels behind it, and keep the number of levels in bounds."""
    shown = level_lots(book, side, touch_ticks)
    if shown == 0 or rng.random() < 0.25:
        change_level(book, side, touch_ticks, draw_lots(rng, mean_lots), changed_s)
    start = side_start(book, side)
    for _ in range(min(rng.poisson(2.0), 8)):
        kind = rng.random()
        level = int(rng.random() * side_count(book, side))
        ticks = side * book[start + level]
        if kind < 0.5:
            change_level(book, side, ticks, draw_lots(rng, mean_lots), changed_s)
        elif kind < 0.75:
            if ticks != touch_ticks:
                change_level(book, side, ticks, 0, changed_s)
        else:
            away = 1 + int(rng.exponential(6.0 * mean_gap_ticks))
            ticks = max(touch_ticks - side * away, 1)
            change_level(book, side, ticks, draw_lots(rng, mean_lots), changed_s)
    while side_count(book, side) < LEVELS_MIN:
        gap = 1 + int(rng.exponential(mean_gap_ticks))
        ticks = side * book[start] - side * gap
        if ticks < 1:
            break
        change_level(book, side, ticks, draw_lots(rng, 1.5 * mean_lots), changed_s)
    while side_count(book, side) > LEVELS_MAX:
        change_level(book, side, side * book[start], 0, changed_s)


@njit
def new_touch(
    rng: np.random.Generator,
    asset: NDArray[np.float64],
    bid_ticks: int,
    spread_bps: float,
) -> tuple[int, int]:
    """Return the touch around the efficient price; it stays where that hardly moved.

    The spread is one tick and a slowly varying rest of ``spread_bps`` on average.
    """
    centre = asset[CENTRE_TICKS]
    mean_ticks = spread_bps * 1e-4 * centre
    shock = rng.exponential(1.0)
    asset[SPREAD_TICKS] += (1.0 - SPREAD_MEMORY) * (mean_ticks * shock - asset[SPREAD_TICKS])
    spread = 1 + int(asset[SPREAD_TICKS])
    edge = centre - 0.5 * (spread - 1)
    bid = bid_ticks if edge - 1.25 <= bid_ticks <= edge + 0.25 else int(np.floor(edge))
    return bid, bid + spread


@njit
def write_levels(
    book: NDArray[np.int64],
    side: int,
    changed_s: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
    at: int,
) -> int:
    """Append the levels that changed as they now are; return the next free level row."""
    for i in range(changed_s[0]):
        levels_m2[at, 0] = changed_s[1 + i]
        levels_m2[at, 1] = level_lots(book, side, changed_s[1 + i])
        at += 1
    return at


@njit
def publish_book(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    ids: NDArray[np.int64],
    changed_2n: NDArray[np.int64],
    rows: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
    at: int,
    level_at: int,
) -> tuple[int, int]:
    """Append the quote, where the touch changed, and the depth update of what changed."""
    previous_id = ids[UPDATE_ID]
    ids[UPDATE_ID] += 1 + int(rng.exponential(20.0))
    bid_ticks, bid_lots, ask_ticks, ask_lots = best_levels(book)
    if (
        bid_ticks != ids[QUOTE_BID]
        or bid_lots != ids[QUOTE_BID_LOTS]
        or ask_ticks != ids[QUOTE_ASK]
        or ask_lots != ids[QUOTE_ASK_LOTS]
    ):
        ids[QUOTE_BID] = rows[at, 4] = bid_ticks
        ids[QUOTE_BID_LOTS] = rows[at, 5] = bid_lots
        ids[QUOTE_ASK] = rows[at, 6] = ask_ticks
        ids[QUOTE_ASK_LOTS] = rows[at, 7] = ask_lots
        rows[at, 0] = QUOTE_ROW
        rows[at, 3] = ids[UPDATE_ID]
        at += 1
    rows[at, 0] = DIFF_ROW
    # U reaches back to the update before: then a snapshot taken just after that one is bridged by
    # the venue's rule U <= L <= u, whenever it was taken
    rows[at, 3] = previous_id
    rows[at, 4] = ids[UPDATE_ID]
    rows[at, 5] = previous_id
    rows[at, 6] = changed_2n[0, 0]
    rows[at, 7] = changed_2n[1, 0]
    rows[at, 8] = level_at
    level_at = write_levels(book, BID, changed_2n[0], levels_m2, level_at)
    level_at = write_levels(book, ASK, changed_2n[1], levels_m2, level_at)
    return at + 1, level_at


@njit
def move_book(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    asset: NDArray[np.float64],
    ids: NDArray[np.int64],
    hidden: NDArray[np.float64],
    step_bps: float,
    changed_2n: NDArray[np.int64],
    rows: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
    at: int,
    level_at: int,
) -> tuple[int, int]:
    """Bring one book to its efficient price by trades, cancels and new orders; append events."""
    changed_2n[:, 0] = 0
    bid_before, _, ask_before, _ = best_levels(book)
    bid, ask = new_touch(rng, asset, bid_before, hidden[SPREAD_BPS])
    moved_ticks = 0.5 * (bid + ask - bid_before - ask_before)
    step_ticks = max(step_bps * 1e-4 * asset[CENTRE_TICKS], 0.5)
    buy_frac = 0.5 + 0.4 * np.tanh(moved_ticks / step_ticks)
    mean_count = hidden[TRADES_PER_S] * STEP_S / hidden[ACTIVITY_FRAC]
    at = trade_at_touch(rng, book, changed_2n, ids, rows, at, mean_count, buy_frac)
    up_frac = 0.5 if moved_ticks > 0 else 0.05
    down_frac = 0.5 if moved_ticks < 0 else 0.05
    at = clear_through(rng, book, ASK, ask, up_frac, changed_2n[1], ids, rows, at)
    at = clear_through(rng, book, BID, bid, down_frac, changed_2n[0], ids, rows, at)
    mean_lots = asset[LEVEL_LOTS] * hidden[DEPTH_FACTOR]
    gap_ticks = LEVEL_GAP_BPS * 1e-4 * asset[CENTRE_TICKS]
    # the side the price runs away from is refilled more thickly: size leans with the flow
    lean = np.exp(0.3 * np.tanh(moved_ticks / step_ticks))
    refresh_side(rng, book, BID, bid, mean_lots * lean, gap_ticks, changed_2n[0])
    refresh_side(rng, book, ASK, ask, mean_lots / lean, gap_ticks, changed_2n[1])
    return publish_book(rng, book, ids, changed_2n, rows, levels_m2, at, level_at)


@njit
def run_steps(
    rng: np.random.Generator,
    steps: int,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    table_KP: NDArray[np.float64],
    next_KK: NDArray[np.float64],
    world_W: NDArray[np.float64],
    asset_IC: NDArray[np.float64],
    ids_IC: NDArray[np.int64],
    books_IS: NDArray[np.int64],
    changed_2n: NDArray[np.int64],
    rows: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
    hidden_T: NDArray[np.int64],
) -> int:
    """Advance the market by ``steps``; return event rows written, in order of time.

    ``hidden_T`` receives the hidden state of every step. Instruments move at moments of their
    own within a step, and only with the regime's activity.
    """
    at = 0
    level_at = 0
    hidden = np.empty(table_KP.shape[1])
    for step in range(steps):
        if chain_i[STEP] % STEPS_PER_BAR == 0:
            start_bar(rng, chain_i, chain_f, table_KP, next_KK, world_W)
        conditions(chain_i, chain_f, table_KP, world_W, hidden)
        step_bps = move_centres(rng, chain_i, chain_f, hidden, world_W, asset_IC)
        hidden_T[step] = chain_i[HIDDEN]
        moments = np.empty(asset_IC.shape[0])
        for i in range(moments.shape[0]):
            moments[i] = rng.random()
        for i in np.argsort(moments):
            if rng.random() >= hidden[ACTIVITY_FRAC]:
                continue
            first = at
            at, level_at = move_book(
                rng,
                books_IS[i],
                asset_IC[i],
                ids_IC[i],
                hidden,
                step_bps,
                changed_2n,
                rows,
                levels_m2,
                at,
                level_at,
            )
            elapsed_ns = chain_i[STEP] * STEP_NS + int(moments[i] * STEP_NS)
            for row in range(first, at):
                rows[row, 1] = i
                rows[row, 2] = elapsed_ns
        chain_i[STEP] += 1
    return at
