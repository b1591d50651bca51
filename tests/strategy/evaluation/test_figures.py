"""Every figure on paths whose answer is known by hand, and against quantstats where it agrees."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from strategy.evaluation.figures import (
    activity,
    bars_per_year,
    drawdown,
    drawdown_path,
    expected_shortfall,
    measure,
)

HOUR_BARS = 8766.0


def test_year_of_crypto_never_closes() -> None:
    """A year holds 8,766 hours and 525,960 minutes, not 252 days."""
    assert bars_per_year(3_600_000) == HOUR_BARS
    assert bars_per_year(60_000) == 525_960.0
    with pytest.raises(ValueError, match="bars of"):
        bars_per_year(0.0)


def test_known_curve() -> None:
    """Up 10 %, down half, up 20 %: return, drawdown, its length and the profit factor by hand."""
    found = measure(np.array([0.1, -0.5, 0.2, 0.0]), 4.0)
    assert found.total_return == pytest.approx(1.1 * 0.5 * 1.2 - 1.0)
    assert found.annual_return == pytest.approx(found.total_return)
    assert found.drawdown_frac_max == pytest.approx(0.5)
    assert found.drawdown_bars_max == 3
    assert found.win_frac == pytest.approx(2 / 3)
    assert found.profit_factor == pytest.approx(0.6)
    assert found.calmar == pytest.approx(found.total_return / 0.5)
    mean, deviation = -0.05, math.sqrt((0.0225 + 0.2025 + 0.0625 + 0.0025) / 3)
    assert found.sharpe == pytest.approx(mean / deviation * 2.0)
    assert found.sortino == pytest.approx(mean / math.sqrt(0.25 / 4) * 2.0)


def test_flat_path_defines_nothing() -> None:
    """Who never traded has no Sharpe, no win rate and no profit factor; none of them is 0."""
    found = measure(np.zeros(100), HOUR_BARS)
    assert found.sharpe is found.sortino is found.win_frac is found.profit_factor is None
    assert found.calmar is found.skew is found.sharpe_hac is found.sharpe_daily is None
    assert found.total_return == found.drawdown_frac_max == 0.0


def test_steady_gain_has_no_sharpe() -> None:
    """A constant return deviates by rounding only, which is no risk measured."""
    assert measure(np.full(500, 0.1), HOUR_BARS).sharpe is None


@pytest.mark.parametrize("path", [[], [np.nan], [0.1, np.inf], [-1.5]])
def test_impossible_paths_are_refused(path: list[float]) -> None:
    """Empty, not finite, or more lost than there was."""
    with pytest.raises(ValueError, match="return"):
        measure(np.array(path), 100.0)


def test_ruin_is_told_as_ruin() -> None:
    """A path that loses all ends at -100 % with a drawdown of 1."""
    found = measure(np.array([0.1, -1.0, 0.3]), 3.0)
    assert (found.annual_return, found.drawdown_frac_max) == (-1.0, 1.0)


def test_autocorrelation_lowers_the_corrected_sharpe() -> None:
    """Smoothed returns flatter the plain Sharpe; the corrected one is smaller."""
    raw_T = np.random.default_rng(5).normal(0.001, 0.01, 4_000)
    found = measure(np.convolve(raw_T, np.ones(5) / 5, "valid"), HOUR_BARS)
    assert found.sharpe is not None
    assert found.sharpe_hac is not None
    assert found.sharpe_hac < 0.6 * found.sharpe


@given(arrays(np.float64, st.integers(2, 60), elements=st.floats(-0.5, 0.5)))
def test_drawdown_against_the_plain_twin(
    path_T: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    """Depth equals the largest fall between any two moments, and the path never exceeds it."""
    equity = np.concatenate(([1.0], np.cumprod(1.0 + path_T)))
    falls = [1.0 - equity[b] / equity[a] for a in range(len(equity)) for b in range(a, len(equity))]
    assert drawdown(path_T)[0] == pytest.approx(max(falls), abs=1e-12)
    assert drawdown_path(path_T).max() == pytest.approx(max(falls), abs=1e-12)


def test_tail_needs_a_bar() -> None:
    """The 1 % tail of 50 bars holds none; of 100 it is the worst."""
    path_T = np.linspace(-0.05, 0.05, 100)
    assert expected_shortfall(path_T[:50], 0.01) is None
    assert expected_shortfall(path_T, 0.01) == pytest.approx(0.05)


def test_activity_counts_every_change() -> None:
    """In, reversed, out is four units; a cost of 10 bps each is the shortfall."""
    position_T, cost_T = np.array([1.0, -1.0, 0.0]), np.array([0.001, 0.002, 0.001])
    found = activity(position_T, np.array([0.02, -0.01, 0.0]), cost_T, 3.0)
    assert found.turnover_per_year == 4.0
    assert found.shortfall_bps == pytest.approx(10.0)
    assert found.cost_share == pytest.approx(0.2)
    assert found.exposure_frac == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("ignore")
def test_quantstats_agrees_where_definitions_do() -> None:
    """Sharpe, Sortino, drawdown, skew, profit factor and win rate to 1e-10, 365 periods a year."""
    pytest.importorskip("quantstats", reason="not installed: pip install -e '.[oracle]'")
    stats, pandas = import_module("quantstats.stats"), import_module("pandas")
    path_T = np.random.default_rng(11).standard_t(4, 900) * 0.01 + 0.0005
    series = pandas.Series(path_T, index=pandas.date_range("2022-01-01", periods=900))
    found = measure(path_T, 365.0)
    assert found.sharpe == pytest.approx(stats.sharpe(series, periods=365), rel=1e-10)
    assert found.sortino == pytest.approx(stats.sortino(series, periods=365), rel=1e-10)
    assert -found.drawdown_frac_max == pytest.approx(stats.max_drawdown(series), rel=1e-10)
    assert found.profit_factor == pytest.approx(stats.profit_factor(series), rel=1e-10)
    assert found.win_frac == pytest.approx(stats.win_rate(series), rel=1e-10)
    assert found.annual_volatility == pytest.approx(
        stats.volatility(series, periods=365), rel=1e-10
    )
