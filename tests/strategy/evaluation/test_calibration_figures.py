"""Slopes and the band where the truth is planted: a right forecast of a bar has slope 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from strategy.evaluation.assessment import Inquiry, assess
from strategy.evaluation.backtest import Backtest, Listening, Plan, listen, trade
from strategy.evaluation.calibration_figures import band_coverage, calibration
from strategy.learning.bar_history import History
from strategy.runtime import Runtime
from tests.strategy.evaluation.test_backtest import history, runtime

__all__ = ["history", "runtime"]

TRAINING_BARS = 100
DECAY = 0.9
"""Of the planted forecast: what it promises over its life is ten times a bar's."""


@pytest.fixture(scope="module")
def listening(runtime: Runtime, history: History) -> Listening:
    """Ask a bundle with a forecast once."""
    return listen(runtime, history)


@pytest.fixture(scope="module")
def foretold(listening: Listening) -> tuple[Backtest, np.ndarray]:
    """Return a run whose bars are what was foreseen and noise half as large."""
    run = trade(listening, Plan())
    generator = np.random.default_rng(2)
    foreseen_T = generator.normal(0.0, 1.0, len(listening))
    came_T = foreseen_T[:-1] + 0.5 * generator.normal(0.0, 1.0, len(run))
    return replace(run, return_T=run.followed.scale_T[: len(run)] * came_T), foreseen_T


def test_a_right_forecast_has_slope_one(foretold: tuple[Backtest, np.ndarray]) -> None:
    """And one that promises ten times as much has a tenth of it."""
    run, foreseen_T = foretold
    for factor in (1.0, 10.0):
        slope = calibration(run, factor * foreseen_T, TRAINING_BARS, np.random.default_rng(1))[-1]
        assert slope.slope == pytest.approx(1.0 / factor, rel=0.1)
        assert (slope.low or 0.0) < 1.0 / factor < (slope.high or 0.0)


def test_what_is_judged_is_the_bar_not_the_life(listening: Listening) -> None:
    """The forecast that a report judges is that of one bar; accounts hear the promise of all."""
    promised_T = listening.foreseen_T / (1.0 - DECAY)
    assert listening.heard.gain_T == pytest.approx(promised_T)
    found = assess(listening, Plan(), Inquiry(training_bars=100, seed=3, trials=1), lambda _: ())
    run = found.match.run
    judged = calibration(run, listening.foreseen_T, 100, np.random.default_rng(1))[-1]
    assert found.calibration[-1].slope == judged.slope


def test_the_band_holds_nine_bars_in_ten(foretold: tuple[Backtest, np.ndarray]) -> None:
    """Around the forecast, whatever its error; and nothing is said where no scale is known."""
    run, foreseen_T = foretold
    inside = band_coverage(run, foreseen_T, TRAINING_BARS)
    assert inside == pytest.approx(0.9, abs=0.02)
    blind = replace(run.followed, scale_T=np.zeros_like(run.followed.scale_T))
    assert band_coverage(replace(run, followed=blind), foreseen_T, TRAINING_BARS) is None
