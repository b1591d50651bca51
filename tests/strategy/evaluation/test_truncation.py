"""A leak of one bar, and a scale taken from the whole sample, are found; honest code is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from strategy.evaluation.truncation import Leak, truncation_leaks

Floats = NDArray[np.float64]

KNOWN_TF = np.random.default_rng(5).standard_normal((200, 2))


def _trailing_mean(known_TF: Floats) -> Floats:
    total_T = np.cumsum(known_TF[:, 0])
    mean_T: Floats = total_T / np.arange(1, len(total_T) + 1)
    return mean_T


def _one_bar_ahead(known_TF: Floats) -> Floats:
    return np.append(known_TF[1:, 0], 0.0)


def _scaled_by_the_whole(known_TF: Floats) -> Floats:
    scaled_TF: Floats = known_TF / known_TF.std(axis=0)
    return scaled_TF


def test_honest_decisions_pass() -> None:
    """What looks back only stays the same at every cut, a NaN of the warm-up included."""
    assert truncation_leaks(_trailing_mean, KNOWN_TF, range(1, 200)) == ()
    warm = KNOWN_TF.copy()
    warm[:5] = np.nan
    assert truncation_leaks(lambda known_TF: known_TF, warm, (3, 50)) == ()


def test_planted_leaks_are_found() -> None:
    """One bar leaked changes the last decision before each cut, a common scale the first."""
    ahead = truncation_leaks(_one_bar_ahead, KNOWN_TF, (20, 150))
    assert ahead == (Leak(cut=20, bar=19), Leak(cut=150, bar=149))
    assert truncation_leaks(_scaled_by_the_whole, KNOWN_TF, (50,)) == (Leak(cut=50, bar=0),)


def test_bad_calls_are_refused() -> None:
    """A cut that deletes nothing, or an answer of another length, would prove nothing."""
    with pytest.raises(ValueError, match="cut 200"):
        truncation_leaks(_trailing_mean, KNOWN_TF, (200,))
    with pytest.raises(ValueError, match="decisions for"):
        truncation_leaks(lambda known_TF: known_TF[1:], KNOWN_TF, (10,))
