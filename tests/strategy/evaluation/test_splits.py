"""Purged splits by hand, and against purgedcv: which bars teach, which judge, and what overfits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from strategy.evaluation.inference import deflated_sharpe, track_record_bars_min
from strategy.evaluation.splits import (
    combinatorial,
    combinatorial_paths,
    overfitting_probability,
    walk_forward,
)


def library() -> Any:
    """Return purgedcv; the test is skipped where it is not installed."""
    return pytest.importorskip("purgedcv", reason="purgedcv is not installed (extra oracle)")


def horizons(bars: int, label_bars: int) -> dict[str, Any]:
    """Return the times of decisions and of their labels' ends as purgedcv wants them."""
    decided_T = np.datetime64("2024-01-01") + np.arange(bars) * np.timedelta64(1, "h")
    return {
        "prediction_times": decided_T,
        "evaluation_times": decided_T + label_bars * np.timedelta64(1, "h"),
    }


def test_a_combination_by_hand() -> None:
    """Twelve bars in four groups, two judged: what lies too near is left out, and no other."""
    splits = list(combinatorial(12, 4, 2, purge_bars=1, embargo_bars=2))
    assert [s.test_T.tolist() for s in splits] == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 6, 7, 8],
        [0, 1, 2, 9, 10, 11],
        [3, 4, 5, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [6, 7, 8, 9, 10, 11],
    ]
    assert [s.train_T.tolist() for s in splits] == [
        [8, 9, 10, 11],
        [11],
        [5, 6, 7],
        [0, 1, 11],
        [0, 1],
        [0, 1, 2, 3, 4],
    ]
    assert combinatorial_paths(4, 2) == 3


def test_a_walk_by_hand() -> None:
    """Ten bars, half of them first, two pieces: purge and embargo lie before each."""
    plain = [(s.train_T.tolist(), s.test_T.tolist()) for s in walk_forward(10, 2, purge_bars=1)]
    assert plain == [([0, 1, 2, 3], [5, 6]), ([0, 1, 2, 3, 4, 5], [7, 8, 9])]
    wide = next(walk_forward(10, 2, purge_bars=1, embargo_bars=2))
    assert (wide.train_T.tolist(), wide.test_T.tolist()) == ([0, 1], [5, 6])


@pytest.mark.parametrize(("bars", "groups", "in_test"), [(200, 10, 2), (207, 9, 3), (64, 6, 1)])
@pytest.mark.parametrize(("purge", "embargo"), [(0, 0), (3, 0), (2, 5), (5, 2)])
def test_combinations_are_those_of_the_library(
    bars: int, groups: int, in_test: int, purge: int, embargo: int
) -> None:
    """Every split's bars, teaching and judging, in the same order; a label lasts purge + 1 bars."""
    judge = library().CombinatorialPurgedCV(
        groups, in_test, embargo_observations=embargo, **horizons(bars, purge + 1)
    )
    theirs = list(judge.split(np.zeros((bars, 1))))
    ours = list(combinatorial(bars, groups, in_test, purge_bars=purge, embargo_bars=embargo))
    assert len(ours) == len(theirs) == judge.get_n_splits()
    for own, (train_T, test_T) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own.train_T, train_T)
        np.testing.assert_array_equal(own.test_T, test_T)


@pytest.mark.parametrize("purge", [0, 4])
def test_walks_are_those_of_the_library(purge: int) -> None:
    """Expanding windows with the same pieces; each teaches on all that ends before its piece."""
    judge = library().WalkForwardSplit(4, 25, **horizons(200, purge + 1))
    theirs = list(judge.split(np.zeros((200, 1))))
    ours = list(walk_forward(200, 4, purge_bars=purge))
    for own, (train_T, test_T) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own.train_T, train_T)
        np.testing.assert_array_equal(own.test_T, test_T)
    assert all(then.train_T[-1] < now.train_T[-1] for then, now in pairwise(ours))


@pytest.mark.parametrize("edge", [0.0, 0.002])
def test_overfitting_is_that_of_the_library(edge: float) -> None:
    """The same share of halves in which the best is below the middle, with and without skill."""
    purgedcv = library()
    path_TN = np.random.default_rng(8).normal(0.0, 0.01, (800, 20))
    path_TN[:, 3] += edge
    theirs = purgedcv.probability_of_backtest_overfitting(path_TN.T, n_splits=8)
    assert overfitting_probability(path_TN, 8) == pytest.approx(theirs.pbo, abs=1e-12)


def test_certainty_is_that_of_the_library() -> None:
    """Deflated Sharpe and the shortest track record of one fat-tailed path."""
    purgedcv = library()
    path_T = np.random.default_rng(5).standard_t(5, 900) * 0.01 + 0.0006
    deviation = path_T.std(ddof=1)
    own = path_T - path_T.mean()
    skew = float((own**3).mean() / (own**2).mean() ** 1.5)
    kurtosis = float((own**4).mean() / (own**2).mean() ** 2)
    ratio = float(path_T.mean() / deviation)
    ours = deflated_sharpe(ratio, 900, skew, kurtosis, trials=40, variance=0.001)
    theirs = purgedcv.deflated_sharpe_ratio(path_T, n_trials=40, var_sharpe=0.001)
    assert ours == pytest.approx(theirs, abs=2e-3)
    bars = track_record_bars_min(ratio, 0.0, skew, kurtosis)
    assert bars is not None
    theirs = purgedcv.min_track_record_length(ratio, 0.0, 0.05, skew, kurtosis)
    assert bars <= theirs < bars + 1.0  # it counts whole bars
