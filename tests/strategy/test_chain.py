"""The meta-learner of one instrument: weights obey caps, evidence moves them, wealth is bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from strategy.chain import CORE_NAMES, ChainShape, MetaChain
from strategy.experts import RETURN_CLIP
from strategy.kalman import SkillPrior
from strategy.mixture import stake

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c", "d", "e")
COUNT, REGIMES = len(NAMES), 7
YEAR_BARS = 8_766.0
SHAPE = ChainShape(
    agent_names=NAMES,
    regime_count=REGIMES,
    year_bars=YEAR_BARS,
    weight_cap=0.6,
    active_min=2,
)
AWAKE = np.ones(COUNT, np.bool_)
SEEDS = st.integers(0, 2**32 - 1)


def naive_wealth(chain: MetaChain, draws: np.random.Generator, bars: int) -> tuple[float, Floats]:
    """Play drawn bars; return own log wealth and every candidate's, kept apart from the chain."""
    kappa = stake(YEAR_BARS)
    own, theirs_J = 0.0, np.zeros(len(chain.prior_J))
    for _ in range(bars):
        awake_N = draws.random(COUNT) > 0.1
        posterior_K = draws.dirichlet(np.full(REGIMES, 0.3))
        weighing = chain.weigh(posterior_K, draws.normal(0.0, 1.0, COUNT), awake_N)
        return_N = 2.0 * draws.standard_t(3.0, COUNT)
        if weighing is not None:
            assert weighing.weight_N.max() <= SHAPE.weight_cap + 1e-9
            assert abs(weighing.weight_N.sum() - 1.0) < 1e-9
            assert not weighing.weight_N[~awake_N].any()
            assert np.count_nonzero(weighing.weight_N > 0.04) >= min(2, awake_N.sum())
            paid_N = np.where(awake_N, np.clip(return_N, -RETURN_CLIP, RETURN_CLIP), 0.0)
            factor = float(np.log1p(kappa * (weighing.weight_N @ paid_N)))
            own += factor
            alone_J = np.log1p(kappa * (weighing.candidate_JN @ paid_N))
            sleeps_J = np.concatenate([np.zeros(len(CORE_NAMES), np.bool_), ~awake_N])
            theirs_J += np.where(sleeps_J, factor, alone_J)
        chain.learn(return_N)
    return own, theirs_J


@settings(max_examples=25)
@given(seed=SEEDS)
def test_wealth_keeps_the_bound_on_any_path(seed: int) -> None:
    """Sleepers, fat tails, any posterior: never behind a candidate by more than its prior's log."""
    chain = MetaChain(SHAPE)
    own, theirs_J = naive_wealth(chain, np.random.default_rng(seed), 150)
    assert abs(own - chain.log_wealth) < 1e-9
    assert (own - theirs_J - np.log(chain.prior_J)).min() > -1e-9
    np.testing.assert_allclose(chain.log_wealth_J - np.log(chain.prior_J), theirs_J, atol=1e-9)


def test_good_agent_is_found_in_its_regime() -> None:
    """Each of two agents earns in one regime; after two years the posterior moves the weights."""
    draws = np.random.default_rng(2)
    chain = MetaChain(SHAPE, SkillPrior(year_bars=YEAR_BARS, regime_sharpe_sd=3.0))
    posteriors_2K = np.eye(REGIMES)[:2]
    for bar in range(9_000):
        regime = (bar // 120) % 2
        mean_N = np.zeros(COUNT)
        mean_N[regime], mean_N[1 - regime] = 0.06, -0.06
        assert chain.weigh(posteriors_2K[regime], np.zeros(COUNT), AWAKE) is not None
        chain.learn(mean_N + draws.normal(0.0, 1.0, COUNT))
    for regime in range(2):
        weighing = chain.weigh(posteriors_2K[regime], np.zeros(COUNT), AWAKE)
        assert weighing is not None
        kalman_N = weighing.candidate_JN[CORE_NAMES.index("kalman")]
        assert kalman_N[regime] > kalman_N[1 - regime] + 0.2
        assert weighing.weight_N[regime] > weighing.weight_N[1 - regime] + 0.1


def believing(skill_RN: Floats, seed: int, bars: int = 9_000) -> MetaChain:
    """Return a chain that saw two regimes in turn, of which each agent earns its mean in each."""
    draws, chain = np.random.default_rng(seed), MetaChain(SHAPE)
    posteriors_2K = np.eye(REGIMES)[:2]
    for bar in range(bars):
        regime = (bar // 120) % 2
        chain.weigh(posteriors_2K[regime], np.zeros(COUNT), AWAKE)
        chain.learn(skill_RN[regime] + draws.normal(0.0, 1.0, COUNT))
    return chain


def test_each_belief_is_held_where_it_is_true() -> None:
    """Skills by regime, skills for ever, no difference at all: each is likeliest where it is so."""
    by_regime = np.array([[0.06, -0.06, 0.06, -0.06, 0.0], [-0.06, 0.06, -0.06, 0.06, 0.0]])
    own = np.array([[0.02, -0.02, 0.01, -0.01, 0.0]] * 2)
    alike = np.full((2, COUNT), 0.01)
    held_33 = np.array(
        [
            np.mean([believing(skill_RN, seed).belief_shares for seed in range(4)], axis=0)
            for skill_RN in (by_regime, own, alike)
        ]
    )
    np.testing.assert_allclose(held_33.sum(axis=1), 1.0)
    assert held_33.argmax(axis=0).tolist() == [0, 1, 2]  # of all worlds, the one it fits


def test_agents_that_are_alike_are_weighed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to choose by, the third belief holds the Kalman candidate nearer to equal."""

    def apart() -> float:
        found = []
        for seed in range(4):
            chain = believing(np.full((2, COUNT), 0.01), seed, 6_000)
            weighing = chain.weigh(np.eye(REGIMES)[0], np.zeros(COUNT), AWAKE)
            assert weighing is not None
            kalman_N = weighing.candidate_JN[CORE_NAMES.index("kalman")]
            found.append(float(np.abs(kalman_N - 1.0 / COUNT).sum()))
        return float(np.mean(found))

    with_it = apart()
    monkeypatch.setattr("strategy.chain.BELIEF_PRIORS", (1.0, 1.0, 1e-9))
    assert with_it < 0.8 * apart()


def test_skills_are_the_beliefs_mean() -> None:
    """What is believed is the three filters' predictions, each by its share."""
    chain = believing(np.array([[0.05, -0.05, 0.02, -0.02, 0.0]] * 2), 4, 500)
    weighing = chain.weigh(np.eye(REGIMES)[1], np.zeros(COUNT), AWAKE)
    assert weighing is not None
    memory = chain.memory
    mean_3N = np.stack(
        [
            memory.mean_D.reshape((COUNT, REGIMES))[:, 1],
            memory.steady_mean_D,
            np.repeat(memory.alike_mean_1, COUNT),
        ]
    )
    np.testing.assert_allclose(
        weighing.skill_N, np.array(chain.belief_shares) @ mean_3N, rtol=1e-12, atol=1e-15
    )


def test_dead_agent_weighs_nothing_at_once() -> None:
    """An agent that is not fit has weight 0 in that very bar, also alone; the rest sum to 1."""
    chain = MetaChain(SHAPE)
    chain.weigh(np.full(REGIMES, 1 / REGIMES), np.zeros(COUNT), AWAKE)
    chain.learn(np.array([9.0, 0.0, 0.0, 0.0, 0.0]))
    awake_N = np.array([False, True, True, True, True])
    weighing = chain.weigh(np.full(REGIMES, 1 / REGIMES), np.array([9.0, 0, 0, 0, 0]), awake_N)
    assert weighing is not None
    assert weighing.weight_N[0] == 0.0
    assert not weighing.candidate_JN[:, 0].any()
    assert weighing.share_J[len(CORE_NAMES)] == 0.0


def test_nothing_feasible_is_said() -> None:
    """One agent left cannot carry all under a cap of 0.6: no weights, and nothing is paid."""
    chain = MetaChain(SHAPE)
    before_J = chain.log_wealth_J.copy()
    one = np.array([True, False, False, False, False])
    assert chain.weigh(np.full(REGIMES, 1 / REGIMES), np.zeros(COUNT), one) is None
    chain.learn(np.ones(COUNT))
    assert np.array_equal(chain.log_wealth_J, before_J)
    assert chain.log_wealth == 0.0


@settings(max_examples=10)
@given(seed=SEEDS)
def test_restored_chain_goes_on_bit_for_bit(seed: int) -> None:
    """A chain that takes over a state weighs and learns exactly as the one that gave it."""
    one, two = MetaChain(SHAPE), MetaChain(SHAPE)
    naive_wealth(one, np.random.default_rng(seed), 40)
    two.restore(one.state.copy())
    for chain in (one, two):
        naive_wealth(chain, np.random.default_rng(seed + 1), 20)
    assert np.array_equal(one.state, two.state)


def test_chain_restored_within_a_bar_learns_the_same() -> None:
    """What a weighing leaves for the learning after it is no evidence: it is made anew."""
    draws = np.random.default_rng(3)
    one, two = MetaChain(SHAPE), MetaChain(SHAPE)
    naive_wealth(one, draws, 30)
    naive_wealth(two, draws, 20)
    posterior_K, score_N = draws.dirichlet(np.full(REGIMES, 0.3)), draws.normal(0.0, 1.0, COUNT)
    for chain in (one, two):  # the other chain's scratch is of other evidence
        chain.weigh(posterior_K, score_N, AWAKE)
    two.restore(one.state)
    return_N = draws.normal(0.0, 1.0, COUNT)
    one.learn(return_N)
    two.learn(return_N)
    assert one.state.tobytes() == two.state.tobytes()


def test_state_of_another_shape_is_refused() -> None:
    """A row of another length belongs to other agents."""
    with pytest.raises(ValueError, match="another shape"):
        MetaChain(SHAPE).restore(np.zeros(3))


def test_value_that_is_no_number_is_no_evidence() -> None:
    """NaN from a shadow account leaves that agent's skill where it was and everything finite."""
    chain = MetaChain(SHAPE)
    chain.weigh(np.full(REGIMES, 1 / REGIMES), np.zeros(COUNT), AWAKE)
    chain.learn(np.array([np.nan, 1.0, -1.0, np.inf, 0.5]))
    assert np.isfinite(chain.state).all()
    mean_NK = chain.skills.mean_D.reshape((COUNT, REGIMES))
    assert not mean_NK[[0, 3]].any()
    assert mean_NK[[1, 2, 4]].all()


def test_clipped_mass_is_counted() -> None:
    """What lies beyond the clip is outside the guarantee, so it is reported."""
    chain = MetaChain(SHAPE)
    chain.weigh(np.full(REGIMES, 1 / REGIMES), np.zeros(COUNT), AWAKE)
    chain.learn(np.array([RETURN_CLIP + 3.0, 0.0, -RETURN_CLIP - 1.0, 0.0, 0.0]))
    assert chain.beyond_clip == pytest.approx(4.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight_cap": 0.1},
        {"weight_cap": 1.5},
        {"active_min": 6},
        {"temperature": 0.0},
        {"year_bars": 365.25},
    ],
)
def test_shape_that_no_weighting_can_obey_is_refused(wrong: dict[str, float]) -> None:
    """A cap below equal weight, more active agents than there are, bars too long for the bound."""
    facts = {
        "agent_names": NAMES,
        "regime_count": REGIMES,
        "year_bars": YEAR_BARS,
        "weight_cap": 0.6,
        "active_min": 2,
    }
    with pytest.raises(ValueError, match=r"cap|active|temperature|too long"):
        ChainShape(**(facts | wrong))  # type: ignore[arg-type]  # drawn as plain numbers
