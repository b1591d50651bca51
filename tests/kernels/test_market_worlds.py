"""The worlds: each has exactly the ingredients it claims, measured on long runs of its chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import market_chain as chain
from kernels.book import Book
from kernels.events import DepthDiff, Quote, Side
from kernels.jit import njit
from kernels.market_worlds import (
    MEAN_BARS,
    STATE_REGIMES,
    VARIANTS,
    opening_chain,
    state_table,
    transition_table,
    world_numbers,
)
from kernels.markets import SyntheticMarket
from tests.fakes.gate_scene import make_instrument

CRISIS = 6

MID, STATE, VARIANCE, VOLUME, SPREAD = range(5)


@njit
def _run_bars(
    rng: np.random.Generator,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    table_KP: NDArray[np.float64],
    next_KK: NDArray[np.float64],
    world_W: NDArray[np.float64],
    out_T5: NDArray[np.float64],
) -> None:
    asset_IC = np.zeros((1, 4))
    asset_IC[0, chain.CENTRE_TICKS] = 1e9
    asset_IC[0, chain.BETA] = 1.0
    row_P = np.empty(table_KP.shape[1])
    for t in range(out_T5.shape[0]):
        chain.start_bar(rng, chain_i, chain_f, table_KP, next_KK, world_W)
        for _ in range(chain.STEPS_PER_BAR):
            chain.conditions(chain_i, chain_f, table_KP, world_W, row_P)
            chain.move_centres(rng, chain_i, chain_f, row_P, world_W, asset_IC)
        out_T5[t, 0] = asset_IC[0, chain.CENTRE_TICKS]
        out_T5[t, 1] = chain_i[chain.HIDDEN]
        out_T5[t, 2] = chain_f[chain.VARIANCE]
        out_T5[t, 3] = chain_f[chain.VOLUME]
        out_T5[t, 4] = row_P[chain.SPREAD_BPS]


def bars_of(name: str, bars: int, seed: int = 5) -> NDArray[np.float64]:
    """Run a world's chain alone; return (T, 5) of price, state, variance, volume, spread."""
    variant, rng = VARIANTS[name], np.random.default_rng(seed)
    chain_i, chain_f = opening_chain(variant, rng)
    out_T5 = np.zeros((bars, 5))
    tables = state_table(variant), transition_table(variant), world_numbers(variant)
    _run_bars(rng, chain_i, chain_f, *tables, out_T5)
    return out_T5


def log_returns_bps(bars_T5: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log returns of a bar in bps, the first counted from the opening."""
    return np.diff(np.log(bars_T5[:, MID]), prepend=np.log(1e9)) * 1e4


def echo(series_T: NDArray[np.float64], lag: int = 1) -> float:
    """Return the autocorrelation at a lag."""
    return float(np.corrcoef(series_T[:-lag], series_T[lag:])[0, 1])


def episode_bars(states_T: NDArray[np.float64], state: int) -> NDArray[np.int64]:
    """Return the lengths of a state's episodes, the cut ones at both ends left out."""
    edges = np.flatnonzero(np.diff(states_T)) + 1
    lengths: NDArray[np.int64] = np.diff(edges)[states_T[edges[:-1]] == state]
    return lengths


def test_matched_world_is_a_hidden_markov_chain_with_student_bars() -> None:
    """Durations have no memory, variance stands still, volume has none, tails are a Student's."""
    bars_T5 = bars_of("matched", 200_000)
    shares = [episode_bars(bars_T5[:, STATE], s) / mean for s, mean in enumerate(MEAN_BARS)]
    assert np.concatenate(shares).mean() == pytest.approx(1.0, abs=0.1)
    assert np.concatenate(shares).std() == pytest.approx(1.0, abs=0.15)  # a geometric's
    assert (bars_T5[:, VARIANCE] == 1.0).all()
    assert abs(echo(bars_T5[:, VOLUME])) < 0.02
    assert bars_T5[:, VOLUME].std() == pytest.approx(0.6, rel=0.02)
    spreads = {(state, spread) for state, spread in bars_T5[:, [STATE, SPREAD]].tolist()}
    assert len(spreads) == len(STATE_REGIMES)  # the spread is the state's, always
    calm = bars_T5[:, STATE] == 0
    returns = log_returns_bps(bars_T5)[calm]
    sigma_bps = state_table(VARIANTS["matched"])[0, chain.SIGMA_BPS]
    assert returns.std() == pytest.approx(sigma_bps, rel=0.05)
    kurtosis = ((returns / returns.std()) ** 4).mean()
    assert kurtosis > 4.0


def test_misspecified_world_breaks_each_assumption() -> None:
    """Durations have memory, variance clusters, volume echoes, spread follows volatility."""
    bars_T5 = bars_of("misspecified", 120_000)
    lengths = episode_bars(bars_T5[:, STATE], 8)
    assert lengths.std() < 0.7 * lengths.mean()
    assert echo(bars_T5[:, VARIANCE], 10) > 0.2
    assert echo(bars_T5[:, VOLUME]) == pytest.approx(0.5, abs=0.02)
    in_state = bars_T5[:, STATE] == 3
    size = np.abs(log_returns_bps(bars_T5))[in_state]
    assert np.corrcoef(size, bars_T5[in_state, SPREAD])[0, 1] > 0.2
    matched = bars_of("matched", 120_000)
    matched_size = np.abs(log_returns_bps(matched))[matched[:, STATE] == 3]
    assert echo(size, 5) > echo(matched_size, 5) + 0.05


def test_martingale_world_pays_nobody() -> None:
    """Price ends where it began on average, and no return follows from the one before."""
    ends = np.array([bars_of("martingale", 300, seed)[-1, MID] / 1e9 for seed in range(1_000)])
    assert abs(ends.mean() - 1.0) < 4.0 * ends.std() / np.sqrt(len(ends))
    returns = log_returns_bps(bars_of("martingale", 200_000))
    clipped = np.clip(returns, -5.0 * returns.std(), 5.0 * returns.std())
    for lag in (1, 2, 5, 30):
        assert abs(echo(clipped, lag)) < 0.012
    assert abs(np.corrcoef(np.sign(clipped[:-1]), clipped[1:])[0, 1]) < 0.012


def test_flash_crash_falls_fast_and_recovers() -> None:
    """The first crash comes in time, is deep and short, and most of it comes back."""
    for seed in range(5):
        bars_T5 = bars_of("flash_crash", 900, seed)
        falling = np.flatnonzero(bars_T5[:, STATE] == 8)
        assert chain.FIRST_CRASH_S - 1 <= falling[0] < chain.FIRST_CRASH_S + 180
        length = int(np.argmax(np.diff(falling, append=10_000) > 1)) + 1
        assert 20 <= length <= 120
        top, bottom = bars_T5[falling[0] - 1, MID], bars_T5[falling[length - 1], MID]
        assert 0.02 < 1.0 - bottom / top < 0.12
        after = falling[length - 1] + 1
        recovering = after + int(np.argmax(bars_T5[after:, STATE] != 6))
        assert recovering > after
        back_frac = (bars_T5[recovering - 1, MID] - bottom) / (top - bottom)
        assert 0.3 < back_frac < 1.1


def test_flash_crash_thins_and_widens_the_book() -> None:
    """While it falls the spread is many times and the depth a fraction of what it was."""
    instruments = (make_instrument(0, 10_000_000), make_instrument(1, 1_000_000))
    market = SyntheticMarket(
        instruments, (600_000, 260_000), "flash_crash", np.random.default_rng(3)
    )
    book = Book(128)
    book.load(market.snapshots[0])
    seen: list[tuple[int, float, int]] = []
    falls = dict.fromkeys((0, 1), (0.0, 0.0))
    for _ in range(260):
        for event in market.next_block():
            if isinstance(event, DepthDiff) and event.instrument == 0:
                book.apply(event)
                bid, _, ask, _ = book.best()
                lots = int(book.levels(Side.BUY, 10)[:, 1].sum())
                seen.append((event.event_ns, (ask - bid) / bid * 1e4, lots))
            elif isinstance(event, Quote):
                top, fall = falls[event.instrument]
                top = max(top, event.bid_ticks)
                falls[event.instrument] = (top, max(fall, 1.0 - event.bid_ticks / top))
    began_ns = next(at_ns for at_ns, regime in market.truth if regime == CRISIS)
    ended_ns = next((at for at, regime in market.truth if at > began_ns), 10**18)
    rows = np.array(seen)
    during = (rows[:, 0] >= began_ns) & (rows[:, 0] < ended_ns)
    before = rows[:, 0] < began_ns
    assert rows[during, 1].mean() > 4.0 * rows[before, 1].mean()
    assert rows[during, 2].mean() < 0.5 * rows[before, 2].mean()
    assert min(fall for _, fall in falls.values()) > 0.02  # both instruments fall together


def test_worlds_of_ones_own_can_be_made() -> None:
    """A market takes a world that is on no list."""
    wild = replace(VARIANTS["calm"], jump_factor=200.0)
    market = SyntheticMarket(
        (make_instrument(0, 10_000_000),), (600_000,), wild, np.random.default_rng(1)
    )
    assert len(market.next_block()) > 10
