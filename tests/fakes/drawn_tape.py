"""A small tape of drawn numbers: a market to step through without computing a feature."""

from __future__ import annotations

import numpy as np

from strategy.learning.market_tape import FUNDING_NS, MarketTape

HOUR_NS = 3_600_000_000_000


def small_tape(
    bars: int,
    seed: int,
    *,
    columns: int = 9,
    volatility: float = 0.01,
    drift: float = 0.0,
    half_tick: float = 0.0,
) -> MarketTape:
    """Return a tape of hours; ``volatility`` and ``drift`` are those of a bar's log return.

    ``half_tick`` is the largest half of a price step, as a fraction; each bar draws its own.
    """
    generator = np.random.default_rng(seed)
    moves_T = drift + volatility * generator.normal(size=bars)
    close_ns_T = (438_288 + np.arange(bars, dtype=np.int64)) * HOUR_NS
    half_tick_T = half_tick * np.random.default_rng((seed, 1)).uniform(size=bars)
    return MarketTape(
        rows_TM=generator.uniform(-4.0, 4.0, (bars, columns)).astype(np.float32),
        price_ticks_T=np.rint(100_000.0 * np.exp(np.cumsum(moves_T))).astype(np.int64),
        half_tick_T=half_tick_T,
        crossings_T=np.append(np.diff(close_ns_T // FUNDING_NS), 0),
        close_ns_T=close_ns_T,
        interval_ns=HOUR_NS,
    )
