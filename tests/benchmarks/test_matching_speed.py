"""Speed of matching and of the markets' sources; run by ``make bench``.

Budgets: a million book events (level changes and trades) a second through the compiled matcher with
orders resting, drawn and recorded ones, 20 us for one depth update of 20 levels from Python, and
sources of synthetic markets and of bars at 100 times real time.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.simulated.bars_source import BarsSource
from daemon.simulated.listings import listed_instruments
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.jit import njit
from kernels.match_steps import apply_diff, trade_printed
from kernels.matching import Matcher, PlacementStatus, TimeInForce
from tests.benchmarks.compare_hftbacktest import CAPTURE, read_market
from tests.daemon.simulated.test_bars_source import write_bars

DIFFS = 100_000


@njit
def _replay(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    bids_n2: NDArray[np.int64],
    asks_n2: NDArray[np.int64],
    out_n4: NDArray[np.int64],
) -> int:
    written = 0
    for i in range(bids_n2.shape[0]):
        bid_n2, ask_n2 = bids_n2[i : i + 1], asks_n2[i : i + 1]
        written += apply_diff(book, orders, consumed, counts, bid_n2, ask_n2, i + 2, 1, out_n4)
        if i % 4 == 0:
            written += trade_printed(orders, counts, bids_n2[i, 0], bids_n2[i, 1] + 1, -1, out_n4)
    return written


def levels_near_touch(side: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw changes of single levels, most of them near the touch."""
    away = generator.geometric(0.08, DIFFS)
    return np.column_stack([10_000 - side * away, generator.integers(0, 50, DIFFS)])


def deep_matcher(own_orders: int) -> Matcher:
    """Build a matcher on 1,000 levels a side with some orders resting near the touch."""
    matcher = Matcher(Book(4096))
    away = np.arange(1, 1001)
    matcher.load(
        DepthSnapshot(
            instrument=0,
            event_ns=0,
            received_ns=0,
            last_update_id=1,
            bid_levels_n2=np.column_stack([10_000 - away, np.full(1000, 20)]),
            ask_levels_n2=np.column_stack([10_000 + away, np.full(1000, 20)]),
        )
    )
    for key in range(own_orders):
        placed = matcher.place(key, Side.BUY, TimeInForce.GTX, 9_990 - key // 4 * 7, 10**9)
        assert placed.status is PlacementStatus.RESTING
    return matcher


@pytest.mark.bench
@pytest.mark.parametrize("own_orders", [0, 16])
def test_compiled_matcher_takes_a_million_events_a_second(own_orders: int) -> None:
    """Level changes and trades through the compiled steps, in events a second."""
    generator = np.random.default_rng(0)
    bids_n2, asks_n2 = levels_near_touch(1, generator), levels_near_touch(-1, generator)
    for count in (1, DIFFS):
        matcher = deep_matcher(own_orders)
        state = (matcher.book.state, matcher._orders, matcher._consumed, matcher._counts)
        started_ns = time.perf_counter_ns()
        _replay(*state, bids_n2[:count], asks_n2[:count], matcher._out_n4)
        elapsed_ns = time.perf_counter_ns() - started_ns
    rate = (2 * DIFFS + DIFFS // 4) / (elapsed_ns / 1e9)
    print(f"compiled matcher, {own_orders} own orders: {rate / 1e6:.2f} million book events/s")
    assert rate > 1e6


@njit
def _replay_recorded(
    book: NDArray[np.int64],
    orders: NDArray[np.int64],
    consumed: NDArray[np.int64],
    counts: NDArray[np.int64],
    events_n4: NDArray[np.int64],
    levels_m2: NDArray[np.int64],
    out_n4: NDArray[np.int64],
) -> int:
    """Play rows of (first level, bids, asks, 0) and (price, lots, aggressor, 1)."""
    written = 0
    for n in range(events_n4.shape[0]):
        one, two, three, is_trade = events_n4[n]
        if is_trade:
            written += trade_printed(orders, counts, one, two, three, out_n4)
            continue
        bids_n2 = levels_m2[one : one + two]
        asks_n2 = levels_m2[one + two : one + two + three]
        written += apply_diff(book, orders, consumed, counts, bids_n2, asks_n2, n, 1, out_n4)
    return written


@pytest.mark.bench
@pytest.mark.skipif(not CAPTURE.is_file(), reason=f"needs the recording {CAPTURE}")
def test_compiled_matcher_replays_a_recording_at_a_million_events_a_second() -> None:
    """Every level change and trade of a recorded market, 40 orders of ours resting in it."""
    market = read_market(CAPTURE)
    levels: list[NDArray[np.int64]] = []
    rows: list[tuple[int, int, int, int]] = []
    count = 0
    for event in market.events:
        if isinstance(event, DepthDiff):
            bids, asks = event.bid_levels_n2, event.ask_levels_n2
            rows.append((count, len(bids), len(asks), 0))
            levels += [bids, asks]
            count += len(bids) + len(asks)
        else:
            rows.append((event.price_ticks, event.quantity_lots, int(event.aggressor), 1))
    events_n4, levels_m2 = np.array(rows), np.concatenate(levels)
    for end in (1, len(events_n4)):
        matcher = Matcher(Book(8192))
        matcher.load(market.opening)
        bid, _, ask, _ = matcher.book.best()
        for key in range(40):
            side, touch = (Side.BUY, bid) if key % 2 else (Side.SELL, ask)
            matcher.place(key, side, TimeInForce.GTX, touch - int(side) * 20 * key, 5)
        state = (matcher.book.state, matcher._orders, matcher._consumed, matcher._counts)
        started_ns = time.perf_counter_ns()
        written = _replay_recorded(*state, events_n4[:end], levels_m2, matcher._out_n4)
        elapsed_ns = time.perf_counter_ns() - started_ns
    assert written > 0
    trades = int(events_n4[:, 3].sum())
    rate = (count + trades) / (elapsed_ns / 1e9)
    span_ns = int(market.moments[-1] - market.moments[0])
    print(
        f"recorded market: {count} level changes, {trades} trades, {written} fills, "
        f"{rate / 1e6:.2f} million book events/s, {span_ns / elapsed_ns:.0f} times real time"
    )
    assert rate > 1e6


@pytest.mark.bench
def test_python_depth_update_stays_below_its_budget() -> None:
    """One update of 20 levels from Python, orders resting, in microseconds."""
    generator = np.random.default_rng(0)
    bids_n2, asks_n2 = levels_near_touch(1, generator), levels_near_touch(-1, generator)
    diffs = [
        DepthDiff(
            instrument=0,
            event_ns=0,
            received_ns=0,
            first_update_id=i,
            last_update_id=i,
            previous_update_id=i - 1,
            bid_levels_n2=bids_n2[10 * i : 10 * i + 10].copy(),
            ask_levels_n2=asks_n2[10 * i : 10 * i + 10].copy(),
        )
        for i in range(DIFFS // 10)
    ]
    matcher = deep_matcher(16)
    matcher.on_diff(diffs[0])
    started_ns = time.perf_counter_ns()
    for diff in diffs[1:]:
        matcher.on_diff(diff)
    mean_us = (time.perf_counter_ns() - started_ns) / (len(diffs) - 1) / 1e3
    print(f"on_diff of 20 levels, 16 own orders: {mean_us:.2f} us")
    assert mean_us < 20.0


@pytest.mark.bench
def test_synthetic_source_is_a_hundred_times_faster_than_life() -> None:
    """Two instruments, events and wire documents, against the market's own clock."""
    instruments = listed_instruments(
        ("BTC/USDT:USDT", "ETH/USDT:USDT"), maker_fee_bps=2.0, taker_fee_bps=5.0
    )
    source = SyntheticSource(instruments, "regimes", 7)
    market_ns = 30 * 10**9
    started_ns = time.perf_counter_ns()
    for frame in source.frames():
        if frame.due_ns > market_ns:
            break
    speed = market_ns / (time.perf_counter_ns() - started_ns)
    print(f"synthetic source: {speed:.0f} times real time")
    assert speed > 100.0


@pytest.mark.bench
def test_bars_source_is_a_hundred_times_faster_than_life(tmp_path: Path) -> None:
    """Two instruments of bars of a minute, events and wire documents, against their own clock."""
    instruments = listed_instruments(
        ("BTC/USDT:USDT", "ETH/USDT:USDT"), maker_fee_bps=2.0, taker_fee_bps=5.0
    )
    paths = [write_bars(tmp_path / "a.parquet", 3e4), write_bars(tmp_path / "b.parquet", 2e3)]
    source = BarsSource(paths, instruments, 7)
    for _ in range(2):
        started_ns = time.perf_counter_ns()
        frames = sum(1 for _ in source.frames())
        elapsed_ns = time.perf_counter_ns() - started_ns
    speed = source.duration_ns / elapsed_ns
    print(f"bars source: {frames} frames, {speed:.0f} times real time")
    assert speed > 100.0
