"""What a path of returns was like: every figure of a report, for markets that never close.

A path is the simple return of equity per bar, idle cash included, costs taken off.
``bars_per_year`` is 31,557,600 s over the bar's length: crypto trades around the clock. A figure
that the path does not determine (no deviation, no loss, too few bars) is None, and a report writes
*undefined*: missing is not zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.autocovariance import autocovariances

Floats = NDArray[np.float64]

YEAR_S = 31_557_600.0
UNDEFINED = "undefined"
INSUFFICIENT = "insufficient"

EPISODES_MIN = 30
"""Fewer independent episodes than this say nothing about a regime."""

HAC_LAGS_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Figures of one path; fractions unless the name says otherwise, None where undefined.

    ``sharpe_hac`` corrects the standard deviation for autocorrelation (Lo 2002, Bartlett weights),
    ``sharpe_daily`` is that of returns compounded to days. ``drawdown_frac_max`` lies in [0, 1].
    ``cvar95_frac`` and ``cvar99_frac`` are mean losses per bar beyond the quantile, positive.
    ``win_frac`` and ``profit_factor`` count bars that were not flat. ``kurtosis`` of a normal is 3.
    """

    bars: int
    years: float
    total_return: float
    annual_return: float | None
    annual_volatility: float | None
    sharpe: float | None
    sharpe_hac: float | None
    sharpe_daily: float | None
    sortino: float | None
    calmar: float | None
    drawdown_frac_max: float
    drawdown_bars_max: int
    cvar95_frac: float | None
    cvar99_frac: float | None
    win_frac: float | None
    profit_factor: float | None
    skew: float | None
    kurtosis: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was held and paid; per year where the name says so.

    ``exposure_frac`` is the mean absolute position as a share of equity, ``turnover_per_year`` the
    sum of its absolute changes. ``cost_share`` is cost over gross profit, None without any profit.
    ``shortfall_bps`` is the cost per unit traded (implementation shortfall against the decision's
    price), None without a trade.
    """

    exposure_frac: float
    turnover_per_year: float
    cost_frac: float
    cost_share: float | None
    shortfall_bps: float | None


def bars_per_year(interval_ms: float) -> float:
    """Return how many bars of this length a year of 365.25 days holds; ValueError below 1 ms."""
    if not interval_ms >= 1.0:
        raise ValueError(f"bars of {interval_ms} ms")
    return YEAR_S * 1_000.0 / interval_ms


def measure(return_T: Floats, year_bars: float) -> Metrics:
    """Measure a path of simple returns; ValueError for one that is empty or not finite."""
    returns = _checked(return_T)
    bars, years = len(returns), len(returns) / year_bars
    equity_T = np.cumprod(1.0 + returns)
    total = float(equity_T[-1] - 1.0)
    mean, deviation = float(returns.mean()), _deviation(returns)
    depth, duration = drawdown(returns)
    annual = _annual(total, years)
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    moved = returns[returns != 0.0]
    gain, loss = float(moved[moved > 0.0].sum()), float(-moved[moved < 0.0].sum())
    root = math.sqrt(year_bars)
    return Metrics(
        bars=bars,
        years=years,
        total_return=total,
        annual_return=annual,
        annual_volatility=None if deviation is None else deviation * root,
        sharpe=None if deviation is None else mean / deviation * root,
        sharpe_hac=_sharpe_hac(returns, root),
        sharpe_daily=_sharpe_daily(returns, year_bars),
        sortino=mean / downside * root if downside > 0.0 and bars > 1 else None,
        calmar=annual / depth if annual is not None and depth > 0.0 else None,
        drawdown_frac_max=depth,
        drawdown_bars_max=duration,
        cvar95_frac=expected_shortfall(returns, 0.05),
        cvar99_frac=expected_shortfall(returns, 0.01),
        win_frac=float(np.mean(moved > 0.0)) if len(moved) else None,
        profit_factor=gain / loss if loss > 0.0 else None,
        skew=_moment(returns, 3),
        kurtosis=_moment(returns, 4),
    )


def activity(position_T: Floats, gross_T: Floats, cost_T: Floats, year_bars: float) -> Activity:
    """Measure what was held: positions as shares of equity, gross returns and costs per bar."""
    changes = float(np.abs(np.diff(position_T, prepend=0.0)).sum())
    years, cost = len(position_T) / year_bars, float(cost_T.sum())
    profit = float(gross_T[gross_T > 0.0].sum())
    return Activity(
        exposure_frac=float(np.mean(np.abs(position_T))),
        turnover_per_year=changes / years,
        cost_frac=cost,
        cost_share=cost / profit if profit > 0.0 else None,
        shortfall_bps=1e4 * cost / changes if changes > 0.0 else None,
    )


def drawdown(return_T: Floats) -> tuple[float, int]:
    """Return the deepest fall from a peak in [0, 1], and the most bars spent below one."""
    equity_T = np.concatenate(([1.0], np.cumprod(1.0 + return_T)))
    peak_T = np.maximum.accumulate(equity_T)
    depth_T = 1.0 - equity_T / peak_T
    longest = run = 0
    for is_below in depth_T > 1e-15:
        run = run + 1 if is_below else 0
        longest = max(longest, run)
    return min(float(depth_T.max()), 1.0), longest


def drawdown_path(return_T: Floats) -> Floats:
    """Return the fall from the peak so far after each bar, in [0, 1]."""
    equity_T = np.cumprod(1.0 + return_T)
    return np.asarray(1.0 - equity_T / np.maximum(np.maximum.accumulate(equity_T), 1.0))


def expected_shortfall(return_T: Floats, tail_frac: float) -> float | None:
    """Return the mean loss per bar at or beyond the quantile, None below one bar in the tail."""
    if len(return_T) * tail_frac < 1.0:
        return None
    floor = np.quantile(return_T, tail_frac)
    return float(-return_T[return_T <= floor].mean())


def sharpe(return_T: Floats, year_bars: float) -> float | None:
    """Return the annual Sharpe ratio, None without deviation."""
    deviation = _deviation(return_T)
    return None if deviation is None else float(return_T.mean()) / deviation * math.sqrt(year_bars)


def _checked(return_T: Floats) -> Floats:
    returns = np.asarray(return_T, np.float64)
    if returns.ndim != 1 or not len(returns):
        raise ValueError(f"a path of returns of shape {returns.shape}")
    if not np.isfinite(returns).all():
        raise ValueError(f"return {int(np.argmin(np.isfinite(returns)))} is not finite")
    if (returns < -1.0).any():
        raise ValueError("a return below -1: more was lost than there was")
    return returns


def _deviation(returns: Floats) -> float | None:
    """Return the sample standard deviation; rounding alone is none."""
    if len(returns) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    return deviation if deviation > 1e-14 * max(1.0, float(np.abs(returns).max())) else None


def _annual(total: float, years: float) -> float | None:
    if total <= -1.0:
        return -1.0
    growth = math.log1p(total) / years
    return math.expm1(growth) if growth < 50.0 else None  # a bar is no year: no figure at all


def _moment(returns: Floats, order: int) -> float | None:
    deviation = _deviation(returns)
    if deviation is None or len(returns) <= order:
        return None
    centred = returns - returns.mean()
    return float(np.mean(centred**order) / np.mean(centred**2) ** (order / 2))


def _sharpe_hac(returns: Floats, root: float) -> float | None:
    """Divide by the long-run deviation: Bartlett weights over 4 (n / 100)^(2/9) lags."""
    if _deviation(returns) is None:
        return None
    lags = min(HAC_LAGS_MAX, int(4 * (len(returns) / 100) ** (2 / 9)), len(returns) - 1)
    centred = returns - returns.mean()
    sum_L = autocovariances(centred, lags) * len(returns) / (len(returns) - 1)
    weight_L = 1.0 - np.arange(lags + 1) / (lags + 1)
    variance = float(2.0 * np.sum(weight_L * sum_L) - sum_L[0])
    return float(returns.mean()) / math.sqrt(variance) * root if variance > 0.0 else None


def _sharpe_daily(returns: Floats, year_bars: float) -> float | None:
    day_bars = round(year_bars / 365.25)
    days = len(returns) // day_bars if day_bars >= 1 else 0
    if days < 2:
        return None
    logs_DB = np.log1p(np.maximum(returns[: days * day_bars], -0.999999)).reshape(days, day_bars)
    return sharpe(np.expm1(logs_DB.sum(axis=1)), 365.25)
