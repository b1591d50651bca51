"""Forecasts: shrunk, out of fold, equal live and in batch, and silent where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.learning.forecasts import (
    Forecast,
    apply_forecast,
    exponential_mean,
    fit_forecast,
    no_forecast,
    relevance_weights,
    step_forecast,
    step_into_row,
)


def drawn(bars: int, count: int, signal: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standard normal features and returns of which the first feature knows a share."""
    generator = np.random.default_rng(seed)
    features_TF = generator.normal(size=(bars, count))
    return features_TF, signal * features_TF[:, 0] + generator.normal(size=bars)


def test_a_signal_is_found_at_its_size() -> None:
    """The weight of the feature that matters comes close to the truth, the others near zero."""
    features_TF, target_T = drawn(20_000, 10, 0.1, seed=1)
    fitted = fit_forecast(features_TF, target_T)
    assert fitted.forecast.weight_F[0] == pytest.approx(0.1, abs=0.02)
    assert np.abs(fitted.forecast.weight_F[1:]).max() < 0.02
    assert fitted.forecast.slope == pytest.approx(1.0, abs=0.15)


def test_noise_is_forecast_away() -> None:
    """Over seeds the out-of-fold forecast of pure noise has no skill, and its reward is tiny."""
    slopes, rewards = [], []
    for seed in range(8):
        features_TF, target_T = drawn(5_000, 16, 0.0, seed)
        fitted = fit_forecast(features_TF, target_T)
        slopes.append(fitted.forecast.slope)
        rewards.append(float(fitted.reward_T.std()))
    assert np.median(slopes) < 0.5
    assert np.median(rewards) < 0.03


def test_a_target_among_its_own_training_would_be_seen() -> None:
    """The forecast in the sample correlates with noise; the one out of fold does not."""
    features_TF, target_T = drawn(600, 40, 0.0, seed=3)
    inside = np.corrcoef(features_TF @ relevance_weights(features_TF, target_T), target_T)[0, 1]
    fitted = fit_forecast(features_TF, target_T)
    outside = np.corrcoef(fitted.seen_T2[:, 0], target_T)[0, 1]
    assert inside > outside + 0.05
    assert outside < 0.1


def test_the_gap_is_kept_out() -> None:
    """What only the rows beside a fold know (a block that spans its edge) is not learnt."""
    bars, block = 1_040, 80
    blocks = np.arange(bars) // block
    level_T = np.random.default_rng(5).normal(size=bars // block)[blocks]
    features_TF = np.eye(bars // block)[blocks]
    edge = slice(208, 240)  # the second fold begins at 208, inside the block of 160 to 239
    near = fit_forecast(features_TF, level_T, gap_bars=0)
    far = fit_forecast(features_TF, level_T, gap_bars=80)
    assert np.abs(near.seen_T2[edge, 0] * near.forecast.scale).min() > 0.01
    assert np.abs(far.seen_T2[edge, 0] * far.forecast.scale).max() < 1e-6


def test_live_equals_batch_and_survives_its_tables() -> None:
    """Bar by bar through saved tables gives the same bits as the whole path at once."""
    features_TF, target_T = drawn(2_000, 8, 0.1, seed=6)
    forecast = fit_forecast(features_TF, target_T).forecast
    again = Forecast.from_tables(forecast.to_tables(), 8)
    np.testing.assert_array_equal(
        apply_forecast(forecast, features_TF), apply_forecast(again, features_TF)
    )
    fast_T = features_TF @ forecast.weight_F
    slow_T = exponential_mean(fast_T, forecast.decay)
    seen_T2 = apply_forecast(forecast, features_TF)
    np.testing.assert_allclose(seen_T2[:, 0] * forecast.scale, fast_T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(seen_T2[:, 1] * forecast.slow_scale, slow_T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("odd", [0.0, 1e30, -1e30, np.nan, np.inf])
def test_a_row_written_at_once_has_the_bits_of_its_parts(odd: float) -> None:
    """One call does what stepping, cutting and storing did, for numbers that are none as well."""
    features_TF, target_T = drawn(500, 6, 0.3, seed=9)
    forecast = fit_forecast(features_TF, target_T).forecast
    fixed = (forecast.weight_F, forecast.scale, forecast.slow_scale, forecast.decay)
    row_F = np.r_[features_TF[7], 0.1, 0.2, 0.0, 0.0].astype(np.float32)
    row_F[2] = odd
    seen_2, given_F = np.zeros(2), row_F[:6].astype(np.float64)
    slow = step_forecast(*fixed, given_F, 0.25, seen_2)
    wanted_F = row_F.copy()
    wanted_F[-2:] = np.clip(seen_2, -5.0, 5.0)
    assert step_into_row(*fixed, 0.25, 5.0, row_F) == slow
    np.testing.assert_array_equal(row_F, wanted_F)


def test_no_tables_no_forecast() -> None:
    """A bundle without forecast knows nothing; one of another width is refused."""
    nothing = Forecast.from_tables({}, 5)
    assert not apply_forecast(nothing, np.ones((3, 5))).any()
    assert nothing.slope == 0.0
    with pytest.raises(ValueError, match="wanted"):
        Forecast.from_tables(no_forecast(4).to_tables(), 5)
    broken = no_forecast(4).to_tables()
    broken["forecast.numbers"] = np.array([0.0, 1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="out of range"):
        Forecast.from_tables(broken, 4)


def test_a_missing_number_is_no_forecast() -> None:
    """NaN stays visible in the row and does not poison the exponential mean."""
    forecast = fit_forecast(*drawn(500, 3, 0.3, seed=7)).forecast
    rows = np.ones((4, 3))
    rows[1, 1] = np.nan
    seen_T2 = apply_forecast(forecast, rows)
    assert np.isnan(seen_T2[1]).all()
    assert np.isfinite(seen_T2[[0, 2, 3]]).all()


def test_too_few_rows_are_refused() -> None:
    """Ten rows for each feature at least."""
    with pytest.raises(ValueError, match="too few"):
        fit_forecast(*drawn(50, 10, 0.1, seed=8))


def test_a_weak_signal_is_not_drowned_by_columns_of_noise() -> None:
    """Four years of hours at IC 0.025 beside 16 empty columns: it carries the weight."""
    shares = []
    for seed in range(6):
        features_TF, target_T = drawn(35_040, 17, 0.025, seed)
        weight_F = relevance_weights(features_TF, target_T)
        shares.append(abs(weight_F[0]) / float(np.linalg.norm(weight_F)))
    assert np.mean(shares) > 0.8
    assert min(shares) > 0.6


def test_columns_that_say_nothing_weigh_nothing() -> None:
    """A column of zeros, a copy of another and a target that never moves give finite weights."""
    features_TF, target_T = drawn(2_000, 4, 0.3, seed=2)
    features_TF[:, 2] = 0.0
    features_TF[:, 3] = features_TF[:, 0]
    weight_F = relevance_weights(features_TF, target_T)
    assert np.isfinite(weight_F).all()
    assert weight_F[2] == 0.0
    assert abs(weight_F[0] + weight_F[3] - 0.3) < 0.06
    assert not relevance_weights(features_TF, np.zeros(2_000)).any()
