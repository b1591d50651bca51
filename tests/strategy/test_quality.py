"""The model-quality guard: strangeness, disagreement, coverage; each cuts size continuously."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.labelled_bars import draw_labelled
from strategy.quality import (
    AdaptiveInterval,
    StrangenessScale,
    calibrated_confidence,
    false_positive_frac,
    fit_strangeness,
    interval_bound,
    size_factor,
    unseen_false_positive_frac,
)
from strategy.shadow_accounts import INTERVAL, ShadowAccounts


def correlated_rows(seed: int, bars: int = 4000) -> np.ndarray:
    """Return rows of eight correlated features."""
    generator = np.random.default_rng(seed)
    mixed = np.random.default_rng(0).normal(size=(8, 8))
    return generator.normal(size=(bars, 8)) @ mixed


def test_ordinary_rows_are_left_alone() -> None:
    """On fresh rows of the same kind about one in a hundred is cut, and only a little."""
    scale = fit_strangeness(correlated_rows(1))
    fresh = correlated_rows(2)
    assert 0.003 < false_positive_frac(scale, fresh) < 0.03
    assert min(scale.factor(row) for row in fresh) > 0.5


def test_false_positives_are_counted_on_rows_that_were_not_fitted() -> None:
    """About one in a hundred of one kind; where the kind changes half way, more and honestly so."""
    rows_TF = correlated_rows(1)
    assert 0.003 < unseen_false_positive_frac(rows_TF) < 0.03
    wilder_TF = rows_TF * np.where(np.arange(len(rows_TF)) // 37 % 7 == 0, 3.0, 1.0)[:, None]
    assert false_positive_frac(fit_strangeness(rows_TF), wilder_TF) > 0.05
    assert np.isnan(unseen_false_positive_frac(rows_TF[:8]))


def test_strangeness_falls_continuously_to_zero() -> None:
    """Pushed outward a row loses size without a jump, down to nothing."""
    scale = fit_strangeness(correlated_rows(1))
    row_F = correlated_rows(3)[0]
    factors = [scale.factor(row_F * push) for push in np.linspace(0.0, 60.0, 2000)]
    assert factors[0] == 1.0
    assert factors[-1] == 0.0
    assert max(np.abs(np.diff(factors))) < 0.05
    assert all(np.diff(factors) <= 1e-12)


def test_a_broken_correlation_is_strange() -> None:
    """Each feature within its range but against the usual relation counts as strange."""
    generator = np.random.default_rng(4)
    common_T = generator.normal(size=3000)
    rows_TF = np.column_stack((common_T, common_T + 0.1 * generator.normal(size=3000)))
    scale = fit_strangeness(rows_TF)
    assert scale.factor(np.array([1.5, 1.5])) == 1.0
    assert scale.factor(np.array([1.5, -1.5])) < 0.5


def test_the_distance_is_that_of_the_matrices() -> None:
    """The compiled distance is the square form's root, of single rows and of many alike."""
    rows_TF = correlated_rows(1)
    scale = fit_strangeness(rows_TF)
    away_TF = correlated_rows(5, bars=50) - scale.mean_F
    square_T = np.einsum("ti,ij,tj->t", away_TF, scale.precision_FF, away_TF)
    seen_TF = away_TF + scale.mean_F
    distance_T = np.array([scale.distance(row_F) for row_F in seen_TF])
    np.testing.assert_allclose(distance_T, np.sqrt(square_T / 8.0), rtol=1e-9)
    assert scale.factors(seen_TF).tolist() == [scale.factor(row_F) for row_F in seen_TF]
    seen_TF[3, 2] = np.inf
    assert scale.factors(seen_TF)[3] == 0.0


def test_numbers_that_are_not_finite_leave_nothing() -> None:
    """Full distrust, never a masked value."""
    scale = fit_strangeness(correlated_rows(1))
    row_F = np.zeros(8)
    row_F[2] = np.nan
    assert scale.factor(row_F) == 0.0
    assert size_factor(scale, row_F, 0.0) == 0.0
    assert size_factor(scale, np.zeros(8), float("nan")) == 0.0
    assert size_factor(None, row_F, 0.0) == 1.0
    assert calibrated_confidence(np.nan, AdaptiveInterval()) == 0.0


def test_disagreement_takes_size_in_proportion() -> None:
    """All alike leave the whole, half against half nothing, and what lies between its share."""
    scale = fit_strangeness(correlated_rows(1))
    left = [size_factor(scale, np.zeros(8), each) for each in (0.0, 0.25, 1.0, 1.5)]
    assert left == [1.0, 0.75, 0.0, 0.0]


def test_tables_give_the_scale_back() -> None:
    """A bundle's tables hold the scale; none means none; part of one is refused."""
    scale = fit_strangeness(correlated_rows(1))
    tables = scale.to_tables()
    again = StrangenessScale.from_tables(tables)
    assert again is not None
    assert again.factor(np.full(8, 9.0)) == scale.factor(np.full(8, 9.0))
    assert StrangenessScale.from_tables({}) is None
    del tables["quality.ordinary"]
    with pytest.raises(ValueError, match="ordinary is missing"):
        StrangenessScale.from_tables(tables)


@pytest.mark.parametrize("seed", range(5))
def test_coverage_holds_through_regime_switches(seed: int) -> None:
    """S18: 89 to 91 % in the long run, at least 85 % in every window of 1,000 bars."""
    path_T4 = draw_labelled("misspecified", 30_000, np.random.default_rng(seed))
    interval = AdaptiveInterval(0.9, 0.01)
    inside_T = np.array([interval.update(score) for score in np.abs(path_T4[:, 0]).tolist()])
    windows = np.convolve(inside_T[500:], np.ones(1000) / 1000.0, mode="valid")
    assert 0.89 <= inside_T.mean() <= 0.91
    assert windows.min() >= 0.85


def test_a_fixed_bound_would_miss() -> None:
    """The coverage test can fail: a bound that never moves misses its windows."""
    path_T4 = draw_labelled("misspecified", 30_000, np.random.default_rng(1))
    score_T = np.abs(path_T4[:, 0])
    inside_T = score_T <= np.quantile(score_T, 0.9)
    assert np.convolve(inside_T, np.ones(1000) / 1000.0, mode="valid").min() < 0.85


def accounts_after(return_T: np.ndarray) -> tuple[ShadowAccounts, np.ndarray]:
    """Return accounts that saw these bars, and what was left of the size after each."""
    accounts, left_T = ShadowAccounts(1), np.empty(len(return_T))
    for t, return_frac in enumerate(return_T):
        accounts.scale_by(float(return_frac))
        left_T[t] = accounts.calibration_frac
    return accounts, left_T


def test_size_falls_while_bars_outgrow_their_scale() -> None:
    """Nearly whole on what was foretold, below half in a burst six times as wild, whole after."""
    draws = np.random.default_rng(5)
    calm_T, burst_T = 1e-3 * draws.standard_normal(2_000), 6e-3 * draws.standard_normal(25)
    accounts, left_T = accounts_after(np.concatenate((calm_T[:1_000], burst_T, calm_T[1_000:])))
    assert left_T[:20].tolist() == [1.0] * 20  # nothing is known yet
    assert left_T[200:1_000].mean() > 0.9
    assert left_T[1_005:1_025].min() < 0.5
    assert left_T[-200:].mean() > 0.9
    assert ((left_T >= 0.0) & (left_T <= 1.0)).all()
    again = ShadowAccounts(1)
    again.restore(accounts.state)
    assert again.calibration_frac == accounts.calibration_frac


def test_live_bound_holds_nine_in_ten_through_regime_switches() -> None:
    """S18 on the decision's own interval: 89 to 91 % of bars, at least 85 % of any thousand."""
    return_T = draw_labelled("misspecified", 20_000, np.random.default_rng(9))[:, 0]
    accounts, is_inside_T = ShadowAccounts(1), np.ones(len(return_T), np.bool_)
    for t, return_frac in enumerate(return_T):
        numbers = accounts.arrays[0]
        if accounts.scale > 0.0 and numbers[INTERVAL + 1] > 0.0:
            bound = interval_bound(numbers[INTERVAL:])
            is_inside_T[t] = abs(return_frac) / accounts.scale <= bound
        accounts.scale_by(float(return_frac))
    assert 0.89 < is_inside_T[100:].mean() < 0.91
    windows = np.lib.stride_tricks.sliding_window_view(is_inside_T[100:], 1_000)
    assert windows.mean(axis=1).min() >= 0.85
