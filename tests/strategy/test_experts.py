"""Learners over agents: weights are weights, and the bounds of their papers hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from strategy.experts import (
    RETURN_CLIP,
    adahedge_step,
    adahedge_weights,
    fixed_share_bound,
    fixed_share_step,
    softmax_weights,
)

Floats = NDArray[np.float64]
COUNT = 4
RETURNS = arrays(np.float64, (60, COUNT), elements=st.floats(-RETURN_CLIP, RETURN_CLIP))
SCORES = arrays(np.float64, COUNT, elements=st.floats(-1e3, 1e3))


@given(return_TN=RETURNS, share_frac=st.floats(1e-4, 0.2))
def test_fixed_share_is_close_to_any_expert(return_TN: Floats, share_frac: float) -> None:
    """Weights stay positive and sum to 1; log wealth keeps the bound against each expert."""
    factor_TN = 1.0 + 0.03 * return_TN
    weight_N, log_wealth = np.full(COUNT, 1.0 / COUNT), 0.0
    for factor_N in factor_TN:
        log_wealth += float(np.log(weight_N @ factor_N))
        fixed_share_step(weight_N, factor_N, share_frac)
        assert abs(weight_N.sum() - 1.0) < 1e-12
        assert weight_N.min() > 0.0
    best = np.log(factor_TN).sum(axis=0).max()
    assert log_wealth >= best - fixed_share_bound(COUNT, len(return_TN), 0, share_frac) - 1e-9


@given(return_TN=RETURNS)
def test_adahedge_keeps_its_bound(return_TN: Floats) -> None:
    """Regret stays below twice the mixability gap, on any returns."""
    gain_N, gap, earned = np.zeros(COUNT), 0.0, 0.0
    weight_N = np.empty(COUNT)
    for return_N in return_TN:
        adahedge_weights(gain_N, gap, weight_N)
        assert abs(weight_N.sum() - 1.0) < 1e-12
        earned += float(weight_N @ return_N)
        before = gap
        gap = adahedge_step(gain_N, gap, return_N)
        assert gap >= before
    np.testing.assert_allclose(gain_N, return_TN.sum(axis=0), atol=1e-9)
    regret = gain_N.max() - earned
    assert regret <= 2.0 * gap + 1e-9  # lemma 2 of the paper: R <= Delta + ln N / eta = 2 Delta


@given(score_N=SCORES, shift=st.floats(-100, 100))
def test_softmax_knows_no_level(score_N: Floats, shift: float) -> None:
    """A constant added to all scores changes no weight, and order is kept."""
    one_N, two_N = np.empty(COUNT), np.empty(COUNT)
    softmax_weights(score_N, 0.5, one_N)
    softmax_weights(score_N + shift, 0.5, two_N)
    np.testing.assert_allclose(one_N, two_N, atol=1e-9)
    assert abs(one_N.sum() - 1.0) < 1e-12
    assert one_N[int(score_N.argmax())] == one_N.max()
