"""The price step that bars show: no spread is narrower, and nothing of a later bar tells of it."""

from __future__ import annotations

import numpy as np

from strategy.learning.bar_history import STEP_BARS, half_ticks


def bars_on_a_grid(step: float, bars: int, seed: int) -> np.ndarray:
    """Return open, high, low, close of a walk around 1,000, all whole multiples of a step."""
    chance = np.random.default_rng(seed)
    moved_T4 = np.cumsum(chance.integers(-3, 4, 4 * bars)).reshape(bars, 4)
    return (round(1_000.0 / step) + np.clip(moved_T4, -200, 200)) * step


def test_half_a_step_is_read_off_the_prices() -> None:
    """A grid of 0.05: half of it over each close, whatever binary fractions make of it."""
    prices_T4 = bars_on_a_grid(0.05, 300, seed=1)
    half_T = half_ticks(prices_T4)
    np.testing.assert_allclose(half_T[10:], 0.025 / prices_T4[10:, 3], rtol=1e-6)


def test_a_step_that_changed_is_forgotten() -> None:
    """Steps of 0.5 after years of 0.1: known once the finer bars are long enough ago."""
    prices_T4 = np.vstack((bars_on_a_grid(0.1, 700, seed=2), bars_on_a_grid(0.5, 1_500, seed=3)))
    step_T = 2.0 * half_ticks(prices_T4) * prices_T4[:, 3]
    np.testing.assert_allclose(step_T[700], 0.1, rtol=1e-6)
    np.testing.assert_allclose(step_T[700 + 2 * STEP_BARS :], 0.5, rtol=1e-6)


def test_later_bars_change_no_earlier_step() -> None:
    """Cut anywhere, what is left gives the same bits; bars that never move have no step."""
    prices_T4 = np.vstack((np.full((5, 4), 100.0), bars_on_a_grid(0.05, 900, seed=4)))
    whole_T = half_ticks(prices_T4)
    assert not whole_T[:5].any()
    for cut in (7, 300, 513, 800):
        np.testing.assert_array_equal(half_ticks(prices_T4[:cut]), whole_T[:cut])
