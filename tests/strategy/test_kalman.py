"""The filter of the agents' skills: equal to its plain twin, and right about what it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.kalman import (
    Foretold,
    SkillPrior,
    SkillState,
    learn_noise,
    learn_skills,
    mean_variance_step,
    open_skills,
    predict_skills,
    shrink_noise,
)
from tests.naive import naive_kalman

AGENTS, REGIMES = 5, 7
PRIOR = SkillPrior(year_bars=8_766.0, memory_years=1_000.0 / 8_766.0, noise_half_life_bars=200.0)
DECAY = 0.5 ** (1.0 / PRIOR.noise_half_life_bars)
SEEDS = st.integers(0, 2**32 - 1)


def foretell(state: SkillState, posterior_K: np.ndarray) -> Foretold:
    """Return what is expected of the next bar."""
    count, size = len(state.noise_NN), len(state.mean_D)
    foretold = Foretold(np.empty((count, size)), np.empty(count), np.empty((count, count)))
    predict_skills(state.mean_D, state.cov_DD, posterior_K, foretold)
    return foretold


def step(
    state: SkillState,
    posterior_K: np.ndarray,
    return_N: np.ndarray,
    awake_N: np.ndarray | None = None,
    forget_frac: float = PRIOR.forget_frac,
) -> None:
    """Fold one bar into a state, in place."""
    awake_N = np.ones(len(return_N), np.bool_) if awake_N is None else awake_N
    noisy_NN = np.empty_like(state.noise_NN)
    shrink_noise(state.noise_NN, awake_N, noisy_NN)
    foretold = foretell(state, posterior_K)
    _, wild = learn_skills(
        state.mean_D,
        state.cov_DD,
        foretold,
        noisy_NN,
        return_N,
        awake_N,
        np.array([PRIOR.base_variance, PRIOR.regime_variance]),
        forget_frac,
    )
    learn_noise(state.noise_NN, return_N, awake_N, DECAY, wild)


def predicted(state: SkillState, posterior_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and covariance of the next bar's skills."""
    foretold = foretell(state, posterior_K)
    return foretold.mean_N, foretold.cov_NN


@settings(max_examples=40)
@given(seed=SEEDS)
def test_filter_equals_its_plain_twin(seed: int) -> None:
    """Forty bars with sleepers: mean, covariance and noise agree with Joseph's form."""
    draws = np.random.default_rng(seed)
    state = open_skills(AGENTS, REGIMES, PRIOR)
    plain, prior_DD = state.copy(), state.cov_DD.copy()
    mean_D, cov_DD, noise_NN = plain.mean_D, plain.cov_DD, plain.noise_NN
    for _ in range(40):
        posterior_K = draws.dirichlet(np.full(REGIMES, 0.4))
        return_N = draws.normal(0.0, 1.0, AGENTS) + 0.5 * draws.normal()
        awake_N = draws.random(AGENTS) > 0.15
        mean_D, cov_DD, noise_NN = naive_kalman.learn(
            *(mean_D, cov_DD, prior_DD, noise_NN, posterior_K, return_N, awake_N),
            *(PRIOR.forget_frac, DECAY),
        )
        step(state, posterior_K, return_N, awake_N)
    np.testing.assert_allclose(state.mean_D, mean_D, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(state.cov_DD, cov_DD, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(state.noise_NN, noise_NN, rtol=1e-10)
    design_ND = naive_kalman.design(posterior_K, AGENTS)
    seen_N, seen_NN = predicted(state, posterior_K)
    np.testing.assert_allclose(seen_N, design_ND @ mean_D, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(seen_NN, design_ND @ cov_DD @ design_ND.T, rtol=1e-7, atol=1e-12)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_covariance_stays_one(seed: int) -> None:
    """After two thousand bars it is symmetric and no variance is negative."""
    draws = np.random.default_rng(seed)
    state = open_skills(AGENTS, REGIMES, PRIOR)
    for _ in range(2_000):
        step(state, draws.dirichlet(np.ones(REGIMES)), draws.normal(0.0, 3.0, AGENTS))
    assert np.array_equal(state.cov_DD, state.cov_DD.T)
    assert np.linalg.eigvalsh(state.cov_DD).min() > -1e-12


def test_learns_who_is_good_in_which_regime() -> None:
    """Agent 0 earns in regime 0 only, agent 1 in regime 1 only; the means say so."""
    draws = np.random.default_rng(11)
    state = open_skills(2, 2, SkillPrior(year_bars=8_766.0))
    for bar in range(6_000):
        regime = (bar // 100) % 2
        mean_N = np.array([0.04, -0.04]) if regime == 0 else np.array([-0.04, 0.04])
        step(state, np.eye(2)[regime], mean_N + draws.normal(0.0, 1.0, 2), forget_frac=0.0)
    first_N, _ = predicted(state, np.array([1.0, 0.0]))
    second_N, _ = predicted(state, np.array([0.0, 1.0]))
    assert first_N[0] > first_N[1] + 0.01
    assert second_N[1] > second_N[0] + 0.01


def test_sleeper_is_not_learned_from() -> None:
    """What a dead agent reports, be it absurd, moves nothing of its own or of the others."""
    quiet, loud = open_skills(3, 2, PRIOR), open_skills(3, 2, PRIOR)
    awake_N = np.array([True, False, True])
    for state, told in ((quiet, 0.0), (loud, 12.0)):
        step(state, np.array([0.3, 0.7]), np.array([0.5, told, -0.2]), awake_N)
    assert np.array_equal(quiet.mean_D, loud.mean_D)
    assert np.array_equal(quiet.noise_NN, loud.noise_NN)
    assert not quiet.mean_D[2:4].any()


def test_gradient_steps_reach_the_optimum() -> None:
    """Unprojected steps climb to the solution of ``aversion C w = mu``."""
    draws = np.random.default_rng(3)
    root_NN = draws.normal(size=(4, 4))
    risk_NN, mean_N = root_NN @ root_NN.T + np.eye(4), draws.normal(size=4)
    weight_N, out_N = np.zeros(4), np.zeros(4)
    for _ in range(2_000):
        mean_variance_step(weight_N, mean_N, risk_NN, 0.7, out_N)
        weight_N, out_N = out_N, weight_N
    np.testing.assert_allclose(0.7 * risk_NN @ weight_N, mean_N, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [{"year_bars": 0.0}, {"regime_sharpe_sd": -1.0}, {"memory_years": 1e-5}],
)
def test_meaningless_prior_is_refused(wrong: dict[str, float]) -> None:
    """A width that is not positive, or forgetting everything at once, is no prior."""
    with pytest.raises(ValueError, match=r"positive|memory_years"):
        SkillPrior(**({"year_bars": 8_766.0} | wrong))
