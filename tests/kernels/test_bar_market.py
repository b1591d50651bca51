"""Markets made of bars: the trades rebuild the bars, and the streams agree with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.bar_market import BarMarket, moves_of, thin_bars
from kernels.bar_steps import trades_needed
from kernels.book import Book
from kernels.events import DepthDiff, Quote, Side, Trade
from tests.naive.rebuilt_bars import rebuild

MINUTE_NS = 60 * 10**9
SHORT_NS = 5 * 10**9


@st.composite
def drawn_bar(draw: st.DrawFn) -> list[int]:
    """Draw one bar with any shape and volume, thin and flat ones often."""
    low = draw(st.integers(1_000, 3_000))
    high = low + draw(st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 400)))
    inside = st.integers(low, high)
    volume = draw(st.one_of(st.integers(0, 6), st.integers(0, 100_000), st.just(2**50)))
    return [draw(inside), high, low, draw(inside), volume]


def market_of(
    bars: list[list[int]], opens: list[int], interval_ns: int = SHORT_NS, seed: int = 1
) -> BarMarket:
    """Build a market of bars that open at the times given."""
    return BarMarket(
        0,
        np.array(opens, dtype=np.int64),
        np.array(bars, dtype=np.int64),
        interval_ns,
        np.random.default_rng(seed),
    )


@settings(max_examples=80, deadline=None)
@given(
    bars=st.lists(drawn_bar(), min_size=1, max_size=6),
    gaps=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_bars_rebuilt_from_trades_are_the_bars_given(
    bars: list[list[int]], gaps: list[int], seed: int
) -> None:
    """Every bar with lots enough comes back whole; a thin one its volume, close and bounds."""
    starts = np.cumsum([0, *(1 + gap for gap in gaps)])[: len(bars)]
    opens = [int(start) * SHORT_NS for start in starts]
    trades = [e for e in market_of(bars, opens, seed=seed).events() if isinstance(e, Trade)]
    assert [trade.trade_id for trade in trades] == list(range(1_001, 1_001 + len(trades)))
    for given_bar, found in zip(bars, rebuild(trades, opens, SHORT_NS), strict=True):
        if given_bar[4] >= trades_needed(np.array(given_bar)):
            assert found == given_bar
        elif given_bar[4] > 0:
            assert (found[3], found[4]) == (given_bar[3], given_bar[4])
            assert given_bar[2] <= found[2] <= found[1] <= given_bar[1]
        else:
            assert found == [0, 0, 0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(bars=st.lists(drawn_bar(), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_streams_agree_with_each_other(bars: list[list[int]], seed: int) -> None:
    """Trades hit the touch for less than it shows; quotes are the touch; the book is whole."""
    market = market_of(bars, [index * SHORT_NS for index in range(len(bars))], seed=seed)
    book = Book(128)
    book.load(market.snapshot)
    touch: tuple[int, int, int, int] = book.best()
    last_ns = 0
    for event in market.events():
        assert event.event_ns == event.received_ns >= last_ns
        last_ns = event.event_ns
        if isinstance(event, Trade):
            at = 2 if event.aggressor is Side.BUY else 0
            assert book.best()[at] == event.price_ticks
            assert event.quantity_lots < book.best()[at + 1]
        elif isinstance(event, Quote):
            touch = (event.bid_ticks, event.bid_lots, event.ask_ticks, event.ask_lots)
        else:
            assert isinstance(event, DepthDiff)
            assert event.previous_update_id == book.last_update_id
            book.apply(event)
            assert book.best() == touch
            assert not book.is_crossed()
            assert min(len(book.levels(side, 64)) for side in Side) >= 20
    assert last_ns < len(bars) * SHORT_NS
    assert book.dropped_count == 0


def a_day() -> NDArray[np.int64]:
    """Draw some bars of a walk with plenty of volume."""
    generator = np.random.default_rng(2)
    close = 600_000 + np.cumsum(generator.normal(0.0, 200.0, 60)).astype(np.int64)
    opened = np.concatenate([[600_000], close[:-1]])
    reach = generator.integers(0, 300, (2, 60))
    high, low = np.maximum(opened, close) + reach[0], np.minimum(opened, close) - reach[1]
    return np.column_stack([opened, high, low, close, generator.integers(5_000, 90_000, 60)])


def test_a_seed_is_one_market() -> None:
    """The same seed repeats every event, another seed fills the same bars differently."""

    def flat(seed: int) -> list[Any]:
        bars = a_day()[:5].tolist()
        market = market_of(bars, [i * MINUTE_NS for i in range(5)], MINUTE_NS, seed)
        return [(type(e), e.event_ns, getattr(e, "price_ticks", 0)) for e in market.events()]

    assert flat(1) == flat(1)
    assert flat(1) != flat(2)


def test_a_market_of_bars_looks_like_a_market() -> None:
    """Minutes have hundreds of updates, a narrow spread, and depth that follows the volume."""
    opens = [i * MINUTE_NS for i in range(60)]
    market = market_of(a_day().tolist(), opens, MINUTE_NS)
    book = Book(128)
    book.load(market.snapshot)
    spreads_bps, depths = [], []
    counts = dict.fromkeys((Trade, Quote, DepthDiff), 0)
    for event in market.events():
        counts[type(event)] += 1
        if isinstance(event, DepthDiff):
            book.apply(event)
            bid, _, ask, _ = book.best()
            spreads_bps.append((ask - bid) / bid * 1e4)
            depths.append(int(book.levels(Side.BUY, 10)[:, 1].sum()))
    assert counts[DepthDiff] == 60 * moves_of(MINUTE_NS)
    assert 100 * 60 < counts[Trade] < 200 * 60
    assert 0.01 < np.mean(spreads_bps) < 1.0
    per_s = a_day()[:, 4].mean() / 60
    assert 5 * per_s < np.mean(depths) < 60 * per_s


def test_thin_bars_are_counted() -> None:
    """A bar is thin when its volume is positive and cannot show its prices."""
    bars = [[10, 12, 8, 11, 3], [10, 12, 8, 11, 4], [10, 12, 10, 12, 2], [9, 9, 9, 9, 1]]
    assert thin_bars(np.array([*bars, [10, 12, 8, 11, 0], [10, 12, 10, 12, 1]])) == 2


def test_bars_out_of_range_are_refused() -> None:
    """No bars, prices off any sensible grid and absurd volumes raise at once."""
    with pytest.raises(ValueError, match="0 bars at 0 times"):
        BarMarket(
            0, np.zeros(0, np.int64), np.zeros((0, 5), np.int64), 10**9, np.random.default_rng(1)
        )
    for bar in ([50, 50, 50, 50, 1], [1 << 41, 1 << 41, 1 << 41, 1 << 41, 1]):
        with pytest.raises(ValueError, match="a price outside"):
            market_of([bar], [0])
    for lots in (-1, 2**50 + 1):
        with pytest.raises(ValueError, match="a volume outside"):
            market_of([[1000, 1000, 1000, 1000, lots]], [0])
