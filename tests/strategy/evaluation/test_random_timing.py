"""Random timing: sums give the Sharpe ratios of whole paths, folds join, places are counted."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.evaluation.figures import sharpe
from strategy.evaluation.random_timing import RandomTiming, joined, stand

YEAR_BARS = 8_766.0


def timing(net_DT: np.ndarray) -> RandomTiming:
    """Sum up paths, D rows."""
    return RandomTiming(
        bars=net_DT.shape[1],
        sum_D=net_DT.sum(axis=1),
        square_D=(net_DT**2).sum(axis=1),
        log_D=np.log1p(net_DT).sum(axis=1),
        turnover_D=np.arange(len(net_DT), dtype=float),
    )


def test_the_place_among_random_paths_is_that_of_their_sharpes() -> None:
    """Quantiles and percentile of sums are those of the paths one by one."""
    chance = np.random.default_rng(1)
    net_DT = chance.normal(1e-4, 0.01, (300, 400))
    own_T = chance.normal(8e-4, 0.01, 400)
    ratios = np.array([sharpe(net_T, YEAR_BARS) for net_T in net_DT], float)
    own = sharpe(own_T, YEAR_BARS)
    found = stand(timing(net_DT), own_T, YEAR_BARS)
    assert own is not None
    assert found.percentile_frac == pytest.approx(np.mean(ratios < own))
    assert 0.5 < np.mean(ratios < own) < 1.0
    assert (found.low, found.median, found.high) == pytest.approx(
        tuple(np.quantile(ratios, (0.025, 0.5, 0.975)))
    )
    logs = np.log(np.prod(1.0 + net_DT, axis=1))
    assert found.total_return == pytest.approx(np.exp(np.median(logs)) - 1.0)
    assert found.turnover_per_year == pytest.approx(149.5 * YEAR_BARS / 400)


def test_joined_draws_are_whole_paths() -> None:
    """Two tests behind each other give what their concatenated paths give."""
    net_DT = np.random.default_rng(2).normal(0.0, 0.01, (50, 300))
    own_T = np.random.default_rng(4).normal(0.0, 0.01, 300)
    whole = stand(timing(net_DT), own_T, YEAR_BARS)
    parts = stand(joined([timing(net_DT[:, :90]), timing(net_DT[:, 90:])]), own_T, YEAR_BARS)
    assert parts.median == pytest.approx(whole.median)
    assert parts.percentile_frac == pytest.approx(whole.percentile_frac)
    assert parts.total_return == pytest.approx(whole.total_return)
    with pytest.raises(ValueError, match="different numbers"):
        joined([timing(net_DT), timing(net_DT[:9])])


def test_nothing_held_is_undefined() -> None:
    """An ensemble that never trades has no timing, and a flat one among others no place."""
    flat = stand(timing(np.zeros((20, 100))), np.zeros(100), YEAR_BARS)
    assert (flat.median, flat.low, flat.high, flat.percentile_frac) == (None,) * 4
    moving = timing(np.random.default_rng(3).normal(0.0, 0.01, (20, 100)))
    among = stand(moving, np.zeros(100), YEAR_BARS)
    assert among.median is not None
    assert among.percentile_frac is None
