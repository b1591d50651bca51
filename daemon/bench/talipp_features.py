"""An established incremental library, talipp, on the indicators that it shares with ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from talipp.indicators import ADX, ATR, BB, MACD, RSI, Stoch
from talipp.ohlcv import OHLCV

from daemon.bench.bench_bars import BarMarket


class TalippIndicators:
    """RSI 14, MACD 12-26-9, ADX 14, ATR 14, Bollinger and stochastic over one short window.

    Fed with logarithms of prices, as ours are defined, so that the answers can be compared.
    """

    def __init__(self, short: int) -> None:
        """Begin without a bar; ``short`` is the window of Bollinger and stochastic."""
        self._closes: tuple[Any, ...] = (RSI(14), MACD(12, 26, 9), BB(short, 2.0))
        self._ranges: tuple[Any, ...] = (ADX(14, 14), ATR(14), Stoch(short, 3))

    def add(self, bar: Any) -> None:
        """Add one closed bar to every indicator."""
        close = bar.close
        for indicator in self._closes:
            indicator.add(close)
        for indicator in self._ranges:
            indicator.add(bar)

    def values(self, log_close: float, volatility: float) -> dict[str, float]:
        """Return the newest values under our names and in our scaling.

        ``volatility`` is the exponential one by which our MACD is divided.
        """
        rsi, macd, band = (indicator[-1] for indicator in self._closes)
        adx, true_range, stochastic = (indicator[-1] for indicator in self._ranges)
        return {
            "rsi_14": rsi / 50 - 1,
            "macd_12_26": macd.macd / volatility,
            "macd_histogram_9": macd.histogram / volatility,
            "bollinger_short": (log_close - band.lb) / (band.ub - band.lb),
            "adx_14": adx.adx / 100,
            "atr_14_bps": 1e4 * true_range,
            "stochastic_short": stochastic.k / 50 - 1,
        }


def log_bars(market: BarMarket) -> list[Any]:
    """Return the bars as talipp takes them, prices as natural logarithms."""
    columns = (market.open_ticks, market.high_ticks, market.low_ticks, market.close_ticks)
    rows = np.log(np.column_stack(columns)).tolist()
    return [OHLCV(*row) for row in rows]
