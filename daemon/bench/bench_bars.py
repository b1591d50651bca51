"""Bars that are timed: a seeded walk as quotes and trades, and the same bars as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.features import FeatureEngine
from kernels.loops import fold_quotes_and_trades

BAR_NS = 1_000_000_000
QUOTES_PER_BAR = 4
TICK_SIZE, LOT_SIZE = 0.1, 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class BarMarket:
    """Quotes with a trade each, four to a bar, and what the closed bars hold, in ticks and lots.

    ``quotes_n5``: received_ns, bid_ticks, bid_lots, ask_ticks, ask_lots; ``trades_n3``:
    price_ticks, quantity_lots, sign. Every other array has one entry per bar.
    """

    quotes_n5: NDArray[np.int64]
    trades_n3: NDArray[np.int64]
    open_ticks: NDArray[np.float64]
    high_ticks: NDArray[np.float64]
    low_ticks: NDArray[np.float64]
    close_ticks: NDArray[np.float64]
    volume_lots: NDArray[np.float64]
    signed_lots: NDArray[np.float64]
    notional_ticks: NDArray[np.float64]

    @property
    def end_ns(self) -> int:
        """When the last bar is over."""
        return len(self.close_ticks) * BAR_NS

    def fill(self, engine: FeatureEngine) -> None:
        """Fold everything into an engine and close the last bar."""
        fold_quotes_and_trades(engine.state, self.quotes_n5, self.trades_n3)
        engine.close_bars(self.end_ns)


def bar_market(bars: int, seed: int = 11) -> BarMarket:
    """Make a random walk of so many bars that begins at time 0."""
    rng = np.random.default_rng(seed)
    count = bars * QUOTES_PER_BAR
    spread_n = 2 * rng.integers(1, 3, count)
    bid_n = 600_000 + np.cumsum(rng.integers(-30, 31, count))
    quotes_n5 = np.empty((count, 5), np.int64)
    quotes_n5[:, 0] = np.arange(count) * (BAR_NS // QUOTES_PER_BAR)
    quotes_n5[:, 1] = bid_n
    quotes_n5[:, 2] = rng.integers(1, 500, count)
    quotes_n5[:, 3] = bid_n + spread_n
    quotes_n5[:, 4] = rng.integers(1, 500, count)
    sign_n = rng.choice(np.array([-1, 1]), count)
    trades_n3 = np.column_stack(
        [np.where(sign_n > 0, bid_n + spread_n, bid_n), rng.integers(1, 50, count), sign_n]
    ).astype(np.int64)
    mid_n: NDArray[np.float64] = 0.5 * (quotes_n5[:, 1] + quotes_n5[:, 3]).astype(np.float64)
    mid_bq = mid_n.reshape(bars, QUOTES_PER_BAR)
    lots_bq = trades_n3[:, 1].astype(np.float64).reshape(bars, QUOTES_PER_BAR)
    sign_bq = sign_n.reshape(bars, QUOTES_PER_BAR)
    price_bq = trades_n3[:, 0].reshape(bars, QUOTES_PER_BAR)
    return BarMarket(
        quotes_n5=quotes_n5,
        trades_n3=trades_n3,
        open_ticks=mid_bq[:, 0].copy(),
        high_ticks=mid_bq.max(axis=1),
        low_ticks=mid_bq.min(axis=1),
        close_ticks=mid_bq[:, -1].copy(),
        volume_lots=lots_bq.sum(axis=1),
        signed_lots=(lots_bq * sign_bq).sum(axis=1),
        notional_ticks=(lots_bq * price_bq).sum(axis=1),
    )
