"""Risk that is as foreseen passes, risk that is not is found out."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.evaluation.loss_bound import START_BARS, loss_bounds
from strategy.evaluation.risk_figures import coverage_p, independence_p, risk_figures

YEAR_BARS = 8_766.0


def drawn(bars: int, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return normal returns ``factor`` times as wild as foreseen; sizes, forecasts, bounds."""
    generator = np.random.default_rng(4)
    volatility_T = 0.3 + 0.3 * generator.random(bars)
    return_T = factor * volatility_T / np.sqrt(YEAR_BARS) * generator.standard_normal(bars)
    return return_T, np.minimum(0.25, 0.1 / volatility_T), volatility_T, loss_bounds(return_T)


def test_honest_forecasts_pass() -> None:
    """All windows near, five losses of a hundred beyond the bound, no clusters."""
    found = risk_figures(*drawn(20_000, 1.0), YEAR_BARS)
    assert found.windows == 9
    assert found.near_frac == 1.0
    assert found.ratio == pytest.approx(1.0, abs=0.02)
    assert found.beyond_frac == pytest.approx(0.05, abs=0.005)
    assert (found.coverage_p or 0.0) > 0.05
    assert (found.independence_p or 0.0) > 0.05


def test_bold_forecasts_fail() -> None:
    """Half as much volatility as came: no window is near, and losses are far too many."""
    found = risk_figures(*drawn(20_000, 2.0), YEAR_BARS)
    assert found.near_frac == 0.0
    assert found.ratio == pytest.approx(2.0, abs=0.05)
    assert found.coverage_p == pytest.approx(0.0, abs=1e-12)


def test_nothing_known_defines_nothing() -> None:
    """Without a forecast there is no figure, with few bars no window."""
    return_T, size_T, volatility_T, bound_T = drawn(100, 1.0)
    found = risk_figures(return_T, size_T, 0.0 * volatility_T, bound_T, YEAR_BARS)
    assert (found.bars, found.ratio, found.coverage_p) == (0, None, None)
    assert risk_figures(return_T, size_T, volatility_T, bound_T, YEAR_BARS).near_frac is None


def test_likelihood_ratios_by_hand() -> None:
    """Kupiec's own table: 255 days at 1 %, 7 losses are rejected at 5 %, 6 are not."""
    assert (coverage_p(7, 255, 0.01) or 1.0) < 0.05
    assert (coverage_p(6, 255, 0.01) or 0.0) > 0.05
    assert coverage_p(0, 0, 0.01) is None
    clustered = np.zeros(1_000, np.bool_)
    clustered[300:350] = True
    assert independence_p(clustered) == pytest.approx(0.0, abs=1e-12)
    assert independence_p(np.zeros(10, np.bool_)) is None


def test_a_learned_bound_holds_where_a_normal_one_does_not() -> None:
    """Fat tails, and a volatility that jumps by the hundred bars: still one loss in twenty."""
    generator = np.random.default_rng(6)
    scale_T = np.repeat(np.exp(0.8 * generator.standard_normal(200)), 100)
    return_T = 1e-3 * scale_T * generator.standard_t(3, len(scale_T))
    rows = slice(START_BARS, None)
    is_beyond_T = (return_T < -loss_bounds(return_T))[rows]
    assert (coverage_p(int(is_beyond_T.sum()), len(is_beyond_T), 0.05) or 0.0) > 0.05
    assert (independence_p(is_beyond_T) or 0.0) > 0.05
    fixed_T = (return_T < -1.645 * return_T.std())[rows]
    assert (independence_p(fixed_T) or 0.0) < 0.05


def test_a_bound_knows_nothing_of_its_own_bar() -> None:
    """Another future leaves every earlier bound as it is; the first ones are infinite."""
    return_T = np.random.default_rng(7).normal(0.0, 1e-3, 600)
    other_T = return_T.copy()
    other_T[400:] *= -9.0
    bound_T = loss_bounds(return_T)
    np.testing.assert_array_equal(bound_T[:401], loss_bounds(other_T)[:401])
    assert np.isinf(bound_T[:START_BARS]).all()
    assert np.isfinite(bound_T[START_BARS:]).all()
