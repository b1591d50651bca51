"""The steps that turn one bar into trades and a book, compiled.

``plan_bar`` writes a path through a bar, ``play_bar`` walks a book along it. Arrays are those of
``kernels.market_steps``; a plan has one row a move: price ticks, lots traded there (0: none), and
the aggressor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import ASK, BID, level_lots, side_count, side_start
from kernels.jit import njit
from kernels.market_chain import LEVEL_LOTS, SPREAD_TICKS
from kernels.market_steps import (
    LEVEL_GAP_BPS,
    SPREAD_MEMORY,
    change_level,
    clear_through,
    draw_lots,
    print_trade,
    publish_book,
    refresh_side,
)

# bar_5
OPEN = 0
HIGH = 1
LOW = 2
CLOSE = 3
VOLUME_LOTS = 4

TICKS = 0
TRADED_LOTS = 1
AGGRESSOR = 2

ACTIVE_FRAC = 0.6
"""Share of the moves of a busy bar that trade."""
NEAR_FIRST_FRAC = 0.7
"""Chance that a bar visits first the extreme it does not close towards."""
RANGE_PER_SIGMA = 1.6
"""Range of a random walk in standard deviations of its end."""
CONTRARY_FRAC = 0.15
"""Share of trades against the last move."""
SPREAD_SHARE = 0.02
"""Mean spread beyond a tick, as a share of the bar's range."""
SPREAD_TICKS_MAX = 500
BOOK_SPAN_BPS = 40.0
MOVES_MIN = 4


@njit
def trades_needed(bar_5: NDArray[np.int64]) -> int:
    """Return how many trades it takes to show open, high, low and close in a bar."""
    opened, high, low, close = bar_5[OPEN], bar_5[HIGH], bar_5[LOW], bar_5[CLOSE]
    if high == low:
        return 1
    needed = 2
    for extreme in (high, low):
        if extreme not in (opened, close):
            needed += 1
    return needed


@njit
def _bridge(
    rng: np.random.Generator,
    plan_M3: NDArray[np.int64],
    first: int,
    last: int,
    sigma_ticks: float,
    low: int,
    high: int,
) -> None:
    """Fill the prices between two moves whose prices are set: a Brownian bridge kept in range."""
    span = last - first
    start, end = plan_M3[first, TICKS], plan_M3[last, TICKS]
    walk = np.zeros(span + 1)
    for k in range(1, span + 1):
        walk[k] = walk[k - 1] + sigma_ticks * rng.standard_normal()
    for k in range(1, span):
        share = k / span
        price = start + (end - start) * share + walk[k] - walk[span] * share
        plan_M3[first + k, TICKS] = min(max(int(np.rint(price)), low), high)


@njit
def _choose_trades(
    rng: np.random.Generator,
    bar_5: NDArray[np.int64],
    first_extreme: int,
    second_extreme: int,
    plan_M3: NDArray[np.int64],
) -> int:
    """Mark the moves that trade with one lot; return their number."""
    moves = plan_M3.shape[0]
    volume = bar_5[VOLUME_LOTS]
    opened, close = bar_5[OPEN], bar_5[CLOSE]
    farther, nearer = first_extreme, second_extreme
    reach = abs(plan_M3[first_extreme, TICKS] - opened)
    if abs(plan_M3[second_extreme, TICKS] - opened) > reach:
        farther, nearer = second_extreme, first_extreme
    chosen = 0
    for rank, move in enumerate((moves - 1, 0, farther, nearer)):
        ticks = plan_M3[move, TICKS]
        is_told = rank >= 2 and (ticks in (opened, close))
        if chosen < volume and not is_told and not (rank == 1 and bar_5[HIGH] == bar_5[LOW]):
            plan_M3[move, TRADED_LOTS] = 1
            chosen += 1
    wanted = min(volume - chosen, int(ACTIVE_FRAC * (moves - chosen)))
    left = moves - chosen
    for move in range(moves):
        if plan_M3[move, TRADED_LOTS] == 0:
            if wanted > 0 and rng.random() * left < wanted:
                plan_M3[move, TRADED_LOTS] = 1
                wanted -= 1
                chosen += 1
            left -= 1
    return chosen


@njit
def _share_volume(
    rng: np.random.Generator, volume_lots: int, trades: int, plan_M3: NDArray[np.int64]
) -> None:
    """Share a bar's volume over its trades: exponential sizes, each at least a lot."""
    moves = plan_M3.shape[0]
    weights = np.zeros(moves)
    for move in range(moves):
        if plan_M3[move, TRADED_LOTS] > 0:
            weights[move] = rng.exponential(1.0)
    total = weights.sum()
    spare = volume_lots - trades
    left = spare
    largest = int(np.argmax(weights))
    for move in range(moves):
        if plan_M3[move, TRADED_LOTS] > 0:
            extra = min(int(spare * (weights[move] / total)), left)
            plan_M3[move, TRADED_LOTS] += extra
            left -= extra
    plan_M3[largest, TRADED_LOTS] += left


@njit
def plan_bar(
    rng: np.random.Generator, bar_5: NDArray[np.int64], plan_M3: NDArray[np.int64]
) -> None:
    """Draw a path through open, both extremes and close, and trades that sum to the volume.

    Rebuilt from the trades the bar is the bar, wherever it holds ``trades_needed`` lots. A thinner
    one keeps its volume and, in this order as far as its lots reach, close, open, and the extremes.
    """
    moves = plan_M3.shape[0]
    opened, high, low, close = bar_5[OPEN], bar_5[HIGH], bar_5[LOW], bar_5[CLOSE]
    plan_M3[:] = 0
    one = 1 + int(rng.random() * (moves - 3))
    two = 1 + int(rng.random() * (moves - 3))
    first, second = min(one, two), max(one, two) + 1
    is_low_first = rng.random() < (NEAR_FIRST_FRAC if close >= opened else 1.0 - NEAR_FIRST_FRAC)
    plan_M3[0, TICKS] = opened
    plan_M3[first, TICKS] = low if is_low_first else high
    plan_M3[second, TICKS] = high if is_low_first else low
    plan_M3[moves - 1, TICKS] = close
    sigma_ticks = (high - low) / (RANGE_PER_SIGMA * np.sqrt(moves))
    _bridge(rng, plan_M3, 0, first, sigma_ticks, low, high)
    _bridge(rng, plan_M3, first, second, sigma_ticks, low, high)
    _bridge(rng, plan_M3, second, moves - 1, sigma_ticks, low, high)
    if bar_5[VOLUME_LOTS] > 0:
        trades = _choose_trades(rng, bar_5, first, second, plan_M3)
        _share_volume(rng, bar_5[VOLUME_LOTS], trades, plan_M3)
    for move in range(moves):
        moved = plan_M3[move, TICKS] - plan_M3[max(move - 1, 0), TICKS]
        is_buy = moved > 0 if moved != 0 else rng.random() < 0.5
        if rng.random() < CONTRARY_FRAC:
            is_buy = not is_buy
        plan_M3[move, AGGRESSOR] = 1 if is_buy else -1


@njit
def _forget_far(
    book: NDArray[np.int64], side: int, touch_ticks: int, changed_s: NDArray[np.int64]
) -> None:
    """Drop the levels that the market left far behind."""
    limit_key = side * touch_ticks - int(BOOK_SPAN_BPS * 1e-4 * touch_ticks) - 1
    while side_count(book, side) > 1:
        key = book[side_start(book, side)]
        if key >= limit_key:
            break
        change_level(book, side, side * key, 0, changed_s)


@njit
def prepare_book(
    rng: np.random.Generator,
    book: NDArray[np.int64],
    asset: NDArray[np.float64],
    target_3: NDArray[np.int64],
    range_ticks: int,
    changed_2n: NDArray[np.int64],
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Bring the touch to where the next trade will be, with more shown there than it takes."""
    shock = rng.exponential(1.0)
    mean_ticks = SPREAD_SHARE * range_ticks
    asset[SPREAD_TICKS] += (1.0 - SPREAD_MEMORY) * (mean_ticks * shock - asset[SPREAD_TICKS])
    ticks = target_3[TICKS]
    spread = 1 + min(int(asset[SPREAD_TICKS]), SPREAD_TICKS_MAX, ticks // 4)
    bid, ask = (ticks - spread, ticks) if target_3[AGGRESSOR] == 1 else (ticks, ticks + spread)
    clear_through(rng, book, ASK, ask, 0.0, changed_2n[1], ids, rows, 0)
    clear_through(rng, book, BID, bid, 0.0, changed_2n[0], ids, rows, 0)
    _forget_far(book, BID, bid, changed_2n[0])
    _forget_far(book, ASK, ask, changed_2n[1])
    gap_ticks = LEVEL_GAP_BPS * 1e-4 * ticks
    refresh_side(rng, book, BID, bid, asset[LEVEL_LOTS], gap_ticks, changed_2n[0])
    refresh_side(rng, book, ASK, ask, asset[LEVEL_LOTS], gap_ticks, changed_2n[1])
    side = -target_3[AGGRESSOR]
    if level_lots(book, side, ticks) <= target_3[TRADED_LOTS]:
        lots = target_3[TRADED_LOTS] + draw_lots(rng, asset[LEVEL_LOTS])
        change_level(book, side, ticks, lots, changed_2n[0 if side == BID else 1])


@njit
def play_bar(
    rng: np.random.Generator,
    plan_M3: NDArray[np.int64],
    after_3: NDArray[np.int64],
    range_ticks: int,
    instrument: int,
    open_ns: int,
    interval_ns: int,
    asset: NDArray[np.float64],
    ids: NDArray[np.int64],
    book: NDArray[np.int64],
    changed_2n: NDArray[np.int64],
    rows: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
) -> int:
    """Walk the book along a plan; return event rows written, in order of time.

    The touch stands where the first move trades already; ``after_3`` is the first move of the bar
    to come, towards which the last one leaves it. Moves fall at any time within their share of the
    bar; a move's trade comes first, then the quote, then the depth update.
    """
    at = 0
    level_at = 0
    moves = plan_M3.shape[0]
    for move in range(moves):
        began = at
        changed_2n[:, 0] = 0
        lots = plan_M3[move, TRADED_LOTS]
        if lots > 0:
            ticks, aggressor = plan_M3[move, TICKS], plan_M3[move, AGGRESSOR]
            shown = level_lots(book, -aggressor, ticks)
            side_row = changed_2n[0 if aggressor == -1 else 1]
            change_level(book, -aggressor, ticks, shown - lots, side_row)
            at = print_trade(rows, at, ids, ticks, lots, aggressor)
        target_3 = plan_M3[move + 1] if move + 1 < moves else after_3
        prepare_book(rng, book, asset, target_3, range_ticks, changed_2n, ids, rows[at:])
        at, level_at = publish_book(rng, book, ids, changed_2n, rows, levels_m2, at, level_at)
        elapsed_ns = open_ns + int((move + rng.random()) * (interval_ns / moves))
        elapsed_ns = min(elapsed_ns, open_ns + interval_ns - 1)
        for row in range(began, at):
            rows[row, 1] = instrument
            rows[row, 2] = elapsed_ns
    return at
