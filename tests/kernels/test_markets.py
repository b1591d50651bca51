"""Synthetic markets: consistent streams, plausible prices, known regimes, exact repetition."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from config.settings import SimulatedSettings
from kernels import market_chain
from kernels.book import Book
from kernels.events import REGIMES, DepthDiff, Quote, Side, Trade
from kernels.jit import njit
from kernels.market_worlds import (
    MEAN_BARS,
    STATE_REGIMES,
    VARIANTS,
    state_table,
    transition_table,
    world_numbers,
)
from kernels.markets import SyntheticMarket
from kernels.units import Instrument

NS_PER_S = 1_000_000_000


def contract(index: int, tick_size_e8: int) -> Instrument:
    """Build an instrument with a lot of 0.001."""
    return Instrument(
        index=index,
        symbol=f"X{index}/USDT:USDT",
        venue_id=f"X{index}USDT",
        tick_size_e8=tick_size_e8,
        lot_size_e8=100_000,
        lots_min=1,
        lots_max=1_000_000,
        notional_min_quote_e8=500_000_000,
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )


def market_of(variant: str = "regimes", seed: int = 7) -> SyntheticMarket:
    """Build a market of a fine and a coarse price grid."""
    instruments = (contract(0, 10_000_000), contract(1, 1_000_000), contract(2, 100_000))
    return SyntheticMarket(
        instruments, (600_000, 260_000, 5_800), variant, np.random.default_rng(seed)
    )


def events_of(market: SyntheticMarket, seconds: int) -> list[Any]:
    """Run a market for some seconds."""
    return [event for _ in range(seconds) for event in market.next_block()]


def flat(event: Any) -> tuple[Any, ...]:
    """Turn an event into something that compares by value."""
    values = (getattr(event, name) for name in type(event).__slots__)
    return tuple(v.tolist() if isinstance(v, np.ndarray) else v for v in values)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_streams_agree_with_each_other(variant: str) -> None:
    """Trades hit what is shown, quotes are the book's touch, the book is deep and never crossed."""
    market = market_of(variant)
    books = [Book(128) for _ in market.snapshots]
    trade_ids = dict.fromkeys(range(len(books)), 1_000)
    printed: defaultdict[tuple[int, int, int], int] = defaultdict(int)
    touch: dict[int, tuple[int, int, int, int]] = {}
    for book, snapshot in zip(books, market.snapshots, strict=True):
        book.load(snapshot)
    for event in events_of(market, 40):
        book = books[event.instrument]
        if isinstance(event, Trade):
            side = -event.aggressor
            level = (event.instrument, side, event.price_ticks)
            printed[level] += event.quantity_lots
            assert printed[level] <= book.level_lots(Side(side), event.price_ticks)
            trade_ids[event.instrument] += 1
            assert event.trade_id == trade_ids[event.instrument]
        elif isinstance(event, Quote):
            touch[event.instrument] = (
                event.bid_ticks,
                event.bid_lots,
                event.ask_ticks,
                event.ask_lots,
            )
        else:
            assert event.previous_update_id == book.last_update_id
            assert event.first_update_id <= book.last_update_id < event.last_update_id
            book.apply(event)
            printed.clear()
            assert book.best() == touch[event.instrument]
            assert not book.is_crossed()
            assert min(len(book.levels(side, 64)) for side in Side) >= 20
            prices = [row[0] for row in event.bid_levels_n2.tolist()]
            assert len(prices) == len(set(prices))
    assert all(book.dropped_count == 0 for book in books)


def test_time_never_falls_and_rates_are_those_of_a_feed() -> None:
    """Elapsed times rise, and each instrument gets 20 to 50 depth updates a second."""
    events = events_of(market_of(), 60)
    stamps = [event.event_ns for event in events]
    assert stamps == sorted(stamps)
    assert stamps[-1] < 60 * NS_PER_S
    assert all(event.received_ns == event.event_ns for event in events)
    for index in range(3):
        mine = [event for event in events if event.instrument == index]
        diffs = sum(isinstance(event, DepthDiff) for event in mine)
        trades = sum(isinstance(event, Trade) for event in mine)
        assert 20 <= diffs / 60 <= 50
        assert 2 <= trades / 60 <= 100


def test_a_seed_is_one_market() -> None:
    """The same seed repeats every event, another seed does not."""
    first = [flat(event) for event in events_of(market_of(), 3)]
    assert first == [flat(event) for event in events_of(market_of(), 3)]
    assert first != [flat(event) for event in events_of(market_of(seed=8), 3)]
    assert [flat(s) for s in market_of().snapshots] == [flat(s) for s in market_of().snapshots]


def second_returns_bps(market: SyntheticMarket, seconds: int) -> tuple[Any, Any]:
    """Return mid returns (seconds, instruments) and signed trade value of the first instrument."""
    mids_TI = np.zeros((seconds, len(market.snapshots)))
    flow_T = np.zeros(seconds)
    for second in range(seconds):
        for event in market.next_block():
            if isinstance(event, Quote):
                mids_TI[second:, event.instrument] = 0.5 * (event.bid_ticks + event.ask_ticks)
            elif isinstance(event, Trade) and event.instrument == 0:
                flow_T[second] += event.aggressor * event.quantity_lots
    return np.diff(np.log(mids_TI), axis=0) * 1e4, flow_T[1:]


def test_prices_move_together_and_with_the_flow() -> None:
    """Second returns are plausible, instruments correlate, and buying goes with rising."""
    returns_TI, flow_T = second_returns_bps(market_of(), 300)
    assert (returns_TI.std(axis=0) > 0.3).all()
    assert (returns_TI.std(axis=0) < 8.0).all()
    correlation_II = np.corrcoef(returns_TI.T)
    assert correlation_II[0, 1] > 0.5
    assert correlation_II[0, 2] > 0.5
    assert np.corrcoef(returns_TI[:, 0], flow_T)[0, 1] > 0.2
    assert (np.abs(returns_TI) > 0.05).mean() > 0.5  # a taker each second sees another price


def test_variants_differ_in_kind() -> None:
    """A volatile market moves more than the mixed one, a calm one less."""
    deviation = {name: second_returns_bps(market_of(name), 240)[0].std() for name in VARIANTS}
    assert deviation["calm"] < 0.7 * deviation["regimes"]
    assert deviation["volatile"] > 1.5 * deviation["regimes"]


def test_variants_are_the_settings_markets() -> None:
    """Every market that the configuration may name exists, and no other."""
    named = SimulatedSettings.model_json_schema()["properties"]["market"]["enum"]
    assert sorted(named) == sorted(VARIANTS)


@njit
def _episodes(
    rng: np.random.Generator,
    table_KP: NDArray[np.float64],
    next_KK: NDArray[np.float64],
    world_W: NDArray[np.float64],
    hidden_N: NDArray[np.int64],
    bars_N: NDArray[np.int64],
) -> None:
    chain_i = np.zeros(market_chain.CHAIN_INTEGERS, dtype=np.int64)
    chain_f = np.zeros(market_chain.CHAIN_FLOATS)
    for n in range(hidden_N.shape[0]):
        market_chain.start_episode(rng, chain_i, chain_f, table_KP, next_KK, world_W)
        hidden_N[n] = chain_i[market_chain.HIDDEN]
        bars_N[n] = chain_i[market_chain.BARS_LEFT]


def test_regimes_last_and_follow_as_the_tables_say() -> None:
    """Durations have their means and no memoryless spread; successors have their shares."""
    variant = VARIANTS["regimes"]
    next_KK = transition_table(variant)
    hidden_N = np.zeros(60_000, dtype=np.int64)
    bars_N = np.zeros_like(hidden_N)
    _episodes(
        np.random.default_rng(3),
        state_table(variant),
        next_KK,
        world_numbers(variant),
        hidden_N,
        bars_N,
    )
    for state, mean_bars in enumerate(MEAN_BARS):
        bars = bars_N[hidden_N == state]
        assert bars.mean() == pytest.approx(mean_bars + 1.5, rel=0.05)
        assert bars.std() == pytest.approx(mean_bars / 2, rel=0.10)  # Gamma(4): half the mean
        followers = hidden_N[1:][hidden_N[:-1] == state]
        shares = np.bincount(followers, minlength=9) / len(followers)
        assert shares == pytest.approx(next_KK[state], abs=0.03)
    assert {REGIMES[STATE_REGIMES[state]] for state in np.unique(hidden_N)} == set(REGIMES)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_variant_keeps_to_its_states(variant: str) -> None:
    """Successor shares sum to one and stay within the variant; nothing follows itself."""
    allowed = set(VARIANTS[variant].states)
    next_KK = transition_table(VARIANTS[variant])
    assert next_KK.sum(axis=1) == pytest.approx(1.0)
    for state in allowed:
        assert next_KK[state, state] == 0.0
        assert set(np.flatnonzero(next_KK[state])) <= allowed


def test_truth_tells_the_regime_only_to_those_who_ask() -> None:
    """The side door lists changes of regime in order; calm never leaves its three regimes."""
    market = market_of("volatile")
    assert not market.truth
    events_of(market, 400)
    truth = list(market.truth)
    assert truth[0][0] == 0
    assert all(a[0] < b[0] and a[1] != b[1] for a, b in pairwise(truth))
    assert {regime for _, regime in truth} <= {2, 4, 5, 6}
    assert len(truth) >= 3


def test_bad_arguments_are_refused() -> None:
    """Unknown names, missing prices and prices off any sensible grid raise."""
    one = (contract(0, 10_000_000),)
    generator = np.random.default_rng(1)
    with pytest.raises(ValueError, match="no synthetic market"):
        SyntheticMarket(one, (600_000,), "sideways", generator)
    with pytest.raises(ValueError, match="1 instruments, 0 prices"):
        SyntheticMarket(one, (), "calm", generator)
    with pytest.raises(ValueError, match="below 1000 ticks"):
        SyntheticMarket(one, (10,), "calm", generator)
