"""The wealth mixture: an exact identity, a bound without luck, and a bug that breaks both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strategy.experts import RETURN_CLIP
from strategy.mixture import earn, mix_weights, mixture_shares, stake

Floats = NDArray[np.float64]
BARS, CANDIDATES, AGENTS = 200, 4, 5
KAPPA = stake(8_766.0)
PRIOR_J = np.array([0.4, 0.3, 0.2, 0.1])


def play(draws: np.random.Generator, *, clips_after: bool) -> tuple[float, Floats, float]:
    """Mix drawn candidates; return the mixture's log wealth, all candidates' and the identity's."""
    log_wealth_J, share_J = np.log(PRIOR_J), np.empty(CANDIDATES)
    own = 0.0
    mixed_N = np.empty(AGENTS)
    scale = draws.choice([1.0, 6.0, 30.0])
    for _ in range(BARS):
        weight_JN = draws.dirichlet(np.full(AGENTS, 0.5), CANDIDATES)
        awake_J = draws.random(CANDIDATES) > 0.2
        drawn_N = scale * draws.standard_t(3.0, AGENTS)
        return_N = np.clip(drawn_N, -RETURN_CLIP, RETURN_CLIP)
        if not mixture_shares(log_wealth_J, awake_J, share_J):
            continue  # nothing to follow: flat, nobody earns
        mix_weights(share_J, weight_JN, mixed_N)
        factor = earn(log_wealth_J, awake_J, share_J, weight_JN, return_N, KAPPA)
        if clips_after:
            mixed = float(np.clip(mixed_N @ drawn_N, -RETURN_CLIP, RETURN_CLIP))
            factor = float(np.log1p(KAPPA * mixed))
        own += factor
    identity = float(np.log(np.exp(log_wealth_J).sum()))
    return own, log_wealth_J - np.log(PRIOR_J), identity


@given(seed=st.integers(0, 2**32 - 1))
def test_never_further_behind_than_the_prior(seed: int) -> None:
    """On any path, with sleepers: identity to 1e-10, and the bound against every candidate."""
    own, theirs_J, identity = play(np.random.default_rng(seed), clips_after=False)
    assert abs(own - identity) < 1e-10
    assert (own - theirs_J + np.log(1.0 / PRIOR_J)).min() > -1e-9


def test_clipping_after_mixing_is_found() -> None:
    """A planted bug: returns clipped after they were mixed break the identity."""
    gaps = []
    for seed in range(20):
        own, _, identity = play(np.random.default_rng(seed), clips_after=True)
        gaps.append(abs(own - identity))
    assert max(gaps) > 0.05


@given(seed=st.integers(0, 2**32 - 1), cap=st.floats(0.4, 1.0))
def test_mixture_of_feasible_points_is_feasible(seed: int, cap: float) -> None:
    """Candidates under a cap mix to weights under the cap that sum to 1."""
    draws = np.random.default_rng(seed)
    weight_JN = cap * draws.dirichlet(np.ones(AGENTS), CANDIDATES)
    weight_JN += (1.0 - cap) / AGENTS
    highest = weight_JN.max()
    share_J, mixed_N = np.empty(CANDIDATES), np.empty(AGENTS)
    log_wealth_J = draws.normal(0.0, 50.0, CANDIDATES)
    assert mixture_shares(log_wealth_J, np.ones(CANDIDATES, np.bool_), share_J)
    mix_weights(share_J, weight_JN, mixed_N)
    assert abs(mixed_N.sum() - 1.0) < 1e-12
    assert mixed_N.max() <= highest + 1e-12


def test_nobody_awake_means_flat() -> None:
    """Without a candidate to follow there are no shares."""
    share_J = np.ones(2)
    assert not mixture_shares(np.zeros(2), np.zeros(2, np.bool_), share_J)
    assert not share_J.any()


@pytest.mark.parametrize(("year_bars", "fits"), [(8_766.0, True), (2_191.5, True), (365.25, False)])
def test_bars_too_long_for_the_guarantee_are_refused(year_bars: float, fits: bool) -> None:
    """Hours and four hours fit; at a day one bar of twelve deviations could take everything."""
    if fits:
        assert RETURN_CLIP * stake(year_bars) < 1.0
    else:
        with pytest.raises(ValueError, match="too long for the guarantee"):
            stake(year_bars)
