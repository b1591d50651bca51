"""The common way: a table of the newest bars, every feature computed anew from it by pandas.

Only features that bars alone decide, 34 of the default 50; the others would make this slower. The
answers equal the engine's to 1e-8 before anything is timed. The bars are as in ``BarMarket``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daemon.bench.bench_bars import BarMarket

LOOK_BACK_BARS = 21
"""Bars before the window that returns over 20 bars look back to."""

Columns = Any
"""A pandas frame or series: pandas ships no types here."""


def bar_table(market: BarMarket, rows: int) -> Columns:
    """Return the newest bars as a frame: ``rows`` and those that they look back to."""
    kept = slice(-(rows + LOOK_BACK_BARS), None)
    return pd.DataFrame(
        {
            "open": market.open_ticks[kept],
            "high": market.high_ticks[kept],
            "low": market.low_ticks[kept],
            "close": market.close_ticks[kept],
            "volume": market.volume_lots[kept],
            "signed": market.signed_lots[kept],
            "notional": market.notional_ticks[kept],
        }
    )


def recompute(table: Columns, long: int, short: int) -> dict[str, float]:
    """Return the features at the last bar; windows of ``long`` and ``short`` bars."""
    logs = np.log(table[["open", "high", "low", "close"]])
    change = logs["close"].diff()
    values = _returns(table, logs["close"], change, long)
    values |= _volatility(logs, change, long, short)
    values |= _trend(logs, change, long, short)
    values |= _oscillators(logs, change, short)
    values |= _flow(table, change, long)
    values |= _tail(table["close"], change, long)
    return values


def _last(series: Columns) -> float:
    return float(series.iloc[-1])


def _wilder(series: Columns) -> Columns:
    return series.ewm(alpha=1 / 14, adjust=False).mean()


def _returns(table: Columns, close: Columns, change: Columns, long: int) -> dict[str, float]:
    recent = change.tail(long)
    spread = recent.std(ddof=0)
    values = {f"return_{n}_bps": 1e4 * _last(close.diff(n)) for n in (1, 5, 20)}
    values["return_long_bps"] = 1e4 * float(recent.sum())
    values["momentum_long"] = float(recent.mean() / spread * np.sqrt(long))
    window = close.tail(long)
    values["zscore_long"] = float((_last(close) - window.mean()) / window.std(ddof=0))
    values["autocorrelation_long"] = float(recent.corr(change.shift(1).tail(long)))
    variance_5 = close.diff(5).tail(long).var(ddof=0)
    variance_20 = close.diff(20).tail(long).var(ddof=0)
    values["variance_ratio_5_long"] = float(variance_5 / (5 * spread**2) - 1)
    values["hurst_long"] = float(0.5 * np.log(variance_20 / variance_5) / np.log(4) - 0.5)
    peak = table["close"].tail(long).max()
    values["drawdown_long_frac"] = float(1 - _last(table["close"]) / peak)
    return values


def _volatility(logs: Columns, change: Columns, long: int, short: int) -> dict[str, float]:
    squares = change**2
    ranges = (logs["high"] - logs["low"]) ** 2
    bodies = (logs["close"] - logs["open"]) ** 2
    realised_short = np.sqrt(squares.tail(short).mean())
    realised_long = np.sqrt(squares.tail(long).mean())
    bipower = np.pi / 2 * (change.abs() * change.shift(1).abs()).tail(long).mean()
    garman_klass = 0.5 * ranges - (2 * np.log(2) - 1) * bodies
    sizes = change.abs().tail(long)
    return {
        "volatility_ewma_bps": 1e4 * np.sqrt(_last(squares.ewm(alpha=0.06, adjust=False).mean())),
        "volatility_realised_short_bps": 1e4 * realised_short,
        "volatility_realised_long_bps": 1e4 * realised_long,
        "volatility_bipower_long_bps": 1e4 * np.sqrt(bipower),
        "volatility_parkinson_short_bps": 1e4
        * np.sqrt(ranges.tail(short).mean() / (4 * np.log(2))),
        "volatility_garman_klass_long_bps": 1e4 * np.sqrt(garman_klass.tail(long).mean()),
        "volatility_ratio": np.log(realised_short / realised_long),
        "volatility_of_volatility_long": sizes.std(ddof=0) / sizes.mean(),
        "jump_share_long": max(0.0, 1 - bipower / realised_long**2),
    }


def _trend(logs: Columns, change: Columns, long: int, short: int) -> dict[str, float]:
    up, down = logs["high"].diff(), -logs["low"].diff()
    plus = _wilder(up.where((up > down) & (up > 0), 0.0).iloc[1:])
    minus = _wilder(down.where((down > up) & (down > 0), 0.0).iloc[1:])
    before = logs["close"].shift(1)
    high = pd.concat([logs["high"], before], axis=1).max(axis=1)
    low = pd.concat([logs["low"], before], axis=1).min(axis=1)
    true_range = _wilder((high - low).iloc[1:])
    direction = ((plus - minus) / (plus + minus)).fillna(0.0)
    values = {
        "adx_14": _last(_wilder(direction.abs())),
        "directional_14": _last((plus - minus) / true_range),
    }
    for name, bars in (("short", short), ("long", long)):
        window = logs["close"].tail(bars)
        slope = np.polyfit(np.arange(bars), window.to_numpy(), 1)[0]
        values[f"slope_{name}_bps"] = 1e4 * float(slope)
        recent = change.tail(bars)
        values[f"efficiency_ratio_{name}"] = float(abs(recent.sum()) / recent.abs().sum())
    return values


def _oscillators(logs: Columns, change: Columns, short: int) -> dict[str, float]:
    close = logs["close"]
    gain = _wilder(change.clip(lower=0).iloc[1:])
    loss = _wilder((-change).clip(lower=0).iloc[1:])
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    volatility = np.sqrt((change**2).ewm(alpha=0.06, adjust=False).mean())
    window = close.rolling(short)
    band = (close - window.mean()) / (4 * window.std(ddof=0)) + 0.5
    highest, lowest = logs["high"].rolling(short).max(), logs["low"].rolling(short).min()
    return {
        "rsi_14": _last(2 * gain / (gain + loss) - 1),
        "macd_12_26": _last(macd / volatility),
        "macd_histogram_9": _last((macd - signal) / volatility),
        "bollinger_short": _last(band),
        "stochastic_short": _last(2 * (close - lowest) / (highest - lowest) - 1),
    }


def _flow(table: Columns, change: Columns, long: int) -> dict[str, float]:
    recent = table.tail(long)
    vwap = recent["notional"].sum() / recent["volume"].sum()
    flow, returns = recent["signed"], change.tail(long)
    kyle = flow.cov(returns, ddof=0) / flow.var(ddof=0) * recent["volume"].mean()
    return {
        "vwap_deviation_long_bps": 1e4 * float(_last(table["close"]) / vwap - 1),
        "kyle_lambda_long_bps": 1e4 * float(kyle),
    }


def _tail(close: Columns, change: Columns, long: int) -> dict[str, float]:
    centred = change.tail(long) - change.tail(long).mean()
    spread = np.sqrt((centred**2).mean())
    return {
        "skewness_long": float((centred**3).mean() / spread**3),
        "kurtosis_long": float((centred**4).mean() / spread**4 - 3),
    }
