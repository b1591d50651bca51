"""The meta-learner of one instrument: who is followed, why, and that nothing looks ahead."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config.settings import DecisionSettings, MetaLearningSettings
from kernels.events import AGENTS, REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine
from strategy.controllers import BAND, CASH, CONTROLLER_NAMES, MOMENTUM, controller_positions
from strategy.meta_learner import MetaLearner, Outlook
from strategy.shadow_accounts import SCALE_BARS_MIN, VARIANCE_DECAY, ShadowAccounts
from strategy.shipped_filter import shipped_filter

BAR_NS = 3_600 * 10**9
TICKS = 50_000.0
FILTER = shipped_filter()
KNOBS = MetaLearningSettings()
NOTHING = Outlook(gain=0.0, cost_frac=0.0)
COUNT = len(AGENTS)
WELL = np.ones(COUNT, np.bool_)


class Market:
    """Hourly quotes and trades that walk at random, one bar a step."""

    def __init__(self, seed: int) -> None:
        self.features = FeatureEngine(DEFAULT_FEATURE_NAMES, BAR_NS, 0.1, 0.001)
        self._generator = np.random.default_rng(seed)
        self._bar = 0
        self.mid = TICKS

    def step(self, return_frac: float | None = None) -> float:
        """Close a bar whose return is given or drawn; return it."""
        drawn = 0.006 * float(self._generator.standard_normal())
        before = self.mid
        self.mid *= 1.0 + (drawn if return_frac is None else return_frac)
        now_ns = self._bar * BAR_NS + 1
        bid, volume = int(self.mid), int(self._generator.integers(1, 500))
        self.features.on_quote(now_ns, bid, 5, bid + 1, 5)
        self.features.on_trade(now_ns + 1, bid, volume, 1)
        self._bar += 1
        self.features.close_bars(self._bar * BAR_NS)
        return self.mid / before - 1.0


def learner_with(meta: MetaLearningSettings = KNOBS) -> MetaLearner:
    return MetaLearner(AGENTS, FILTER, meta, BAR_NS)


def decide(
    learner: MetaLearner,
    market: Market,
    action_A: np.ndarray,
    healthy_A: np.ndarray = WELL,
    outlook: Outlook = NOTHING,
) -> np.ndarray | None:
    """Take one decision as the panel does."""
    posterior_K = learner.watch(market.features, market.mid)
    weights_N = learner.weigh(posterior_K, np.zeros(COUNT, np.float32), healthy_A)
    learner.book(action_A, healthy_A, outlook)
    return weights_N


def walk(learner: MetaLearner, market: Market, bars: int, seed: int) -> Iterator[np.ndarray | None]:
    """Decide at the end of so many bars, agents acting at random."""
    generator = np.random.default_rng(seed)
    for _ in range(bars):
        market.step()
        healthy_A = generator.random(COUNT) < 0.95
        outlook = Outlook(gain=float(generator.standard_normal()), cost_frac=5e-4)
        action_A = generator.integers(0, 3, COUNT)
        yield decide(learner, market, action_A, healthy_A, outlook)


def test_accounts_equal_bookkeeping_by_hand() -> None:
    """Positions times moves less costs, over a scale that the bar itself did not touch."""
    generator = np.random.default_rng(4)
    accounts, mid, square = ShadowAccounts(3), 100.0, 0.0
    held_N, paid_N = np.zeros(3), np.zeros(3)
    accounts.mark(mid)
    for bars in range(80):
        wanted_N = generator.integers(-1, 2, 3)
        accounts.trade(wanted_N, 0.001)
        paid_N -= 0.001 * np.abs(wanted_N - held_N)
        held_N = wanted_N.astype(float)
        move = 0.01 * float(generator.standard_normal())
        mid *= 1.0 + move
        accounts.mark(mid)
        paid_N += held_N * move
        found_N = accounts.settle()
        if bars < SCALE_BARS_MIN:
            assert found_N is None
        else:
            assert found_N is not None
            np.testing.assert_allclose(found_N, paid_N / np.sqrt(square), rtol=1e-9, atol=1e-12)
        paid_N[:] = 0.0
        accounts.scale_by(move)
        weights = VARIANCE_DECAY ** np.arange(bars + 1)
        square += (move * move - square) / weights.sum()


def test_scale_is_a_weighted_mean_of_squares() -> None:
    """After any bars the squared scale is the exponentially weighted mean of squared returns."""
    move_T = 0.01 * np.random.default_rng(5).standard_normal(60)
    accounts = ShadowAccounts(1)
    for move in move_T.tolist():
        accounts.scale_by(move)
    weight_T = VARIANCE_DECAY ** np.arange(60)[::-1]
    assert accounts.scale**2 == pytest.approx(np.average(move_T**2, weights=weight_T))


@pytest.mark.parametrize(
    ("gain", "held", "wanted"),
    [(0.5, 0, 0), (0.5, 2, 2), (1.5, 0, 2), (-1.5, 2, 0), (np.nan, 2, 1), (0.0, 1, 1)],
)
def test_band_trades_only_beyond_the_cost(gain: float, held: int, wanted: int) -> None:
    """Inside the band the position stays, beyond it the sign decides; no number closes it."""
    out_3 = np.zeros(3, np.int64)
    controller_positions(np.array([1, held, 1]), gain, 1.0, 0.0, out_3)
    assert (out_3[CASH], out_3[BAND], out_3[MOMENTUM]) == (1, wanted, 1)


def test_momentum_follows_a_trend_and_ignores_noise() -> None:
    """Steady rises open a long position, steady falls a short one."""
    for sign, wanted in ((1.0, 2), (-1.0, 0)):
        market, learner = Market(1), learner_with()
        for _ in range(60):
            market.step(sign * 0.002)
            decide(learner, market, np.ones(COUNT, np.int64))
        assert learner.accounts.position_N[COUNT + MOMENTUM] + 1 == wanted


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.4, 0.6, 1.0]), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_weights_obey_the_settings_on_any_path(seed: int, cap: float, active: int) -> None:
    """Sum 1, under the cap, enough experts with weight, none on who may not ask; else None."""
    meta = MetaLearningSettings(max_agent_weight=cap, min_diversification_agents=active)
    learner, market = learner_with(meta), Market(seed)
    generator = np.random.default_rng(seed)
    for _ in range(40):
        market.step()
        healthy_A = generator.random(COUNT) < 0.8
        weights_N = decide(learner, market, generator.integers(0, 3, COUNT), healthy_A)
        awake = healthy_A.sum() + len(CONTROLLER_NAMES)
        is_possible = healthy_A.sum() >= active and awake * cap >= 1.0 - 1e-9
        assert (weights_N is not None) == is_possible
        if weights_N is not None:
            assert weights_N.sum() == pytest.approx(1.0)
            assert weights_N.max() <= cap + 1e-9
            assert (weights_N > 1e-6).sum() >= active
            assert not weights_N[:COUNT][~healthy_A].any()


def test_evidence_moves_weight_from_a_loser_to_a_winner() -> None:
    """One agent always right, one always wrong: in time the first is believed and followed."""
    learner, market = learner_with(), Market(3)
    weights_N = None
    for _ in range(400):
        coming = 0.006 * (1.0 if np.random.default_rng(market._bar).random() < 0.5 else -1.0)
        action_A = np.ones(COUNT, np.int64)
        action_A[0], action_A[1] = (2, 0) if coming > 0.0 else (0, 2)
        weights_N = decide(learner, market, action_A)
        market.step(coming)
    assert weights_N is not None
    assert learner.weighing is not None
    assert weights_N[0] > 0.55
    assert weights_N[1] < 0.05
    skill_N = learner.skills(learner.weighing)
    assert skill_N[0] == max(skill_N)
    assert skill_N[1] == min(skill_N)


def test_weights_stay_within_a_bar_until_somebody_falls_asleep() -> None:
    """Between closes nothing is learned; an agent that fails loses its weight at once."""
    learner, market = learner_with(), Market(8)
    for weights_N in walk(learner, market, 30, 1):
        assert weights_N is not None
    first_N = decide(learner, market, np.ones(COUNT, np.int64))
    again_N = decide(learner, market, np.ones(COUNT, np.int64))
    assert first_N is not None
    assert again_N is not None
    np.testing.assert_array_equal(first_N, again_N)
    sick_A = WELL.copy()
    sick_A[2] = False
    fallen_N = decide(learner, market, np.ones(COUNT, np.int64), sick_A)
    assert fallen_N is not None
    assert fallen_N[2] == 0.0
    assert fallen_N.sum() == pytest.approx(1.0)


def test_a_disarmed_controller_carries_no_weight() -> None:
    """Who may not ask for new risk is not listened to, be it an agent or a rule."""
    learner, market = learner_with(), Market(8)
    for _ in walk(learner, market, 30, 1):
        pass
    may_ask_N = np.ones(len(learner.names), np.bool_)
    may_ask_N[COUNT + MOMENTUM] = False
    posterior_K = learner.watch(market.features, market.mid)
    weights_N = learner.weigh(posterior_K, np.zeros(COUNT, np.float32), may_ask_N)
    assert weights_N is not None
    assert weights_N[COUNT + MOMENTUM] == 0.0
    assert weights_N.sum() == pytest.approx(1.0)


def test_bars_without_a_decision_teach_nothing() -> None:
    """After a gap everybody starts flat: nobody knows what an agent would have held."""
    learner, market = learner_with(), Market(9)
    for _ in walk(learner, market, 40, 2):
        pass
    learner.book(np.full(COUNT, 2), WELL, NOTHING)
    before = learner.chain.state
    market.step(0.05)
    market.step(0.05)
    learner.watch(market.features, market.mid)
    np.testing.assert_array_equal(learner.chain.state, before)
    assert not learner.accounts.position_N.any()


def test_switched_off_it_is_a_plain_vote_of_the_agents() -> None:
    """Without the meta-learner every healthy agent weighs the same and no controller anything."""
    learner, market = learner_with(MetaLearningSettings(meta_learning_enabled=False)), Market(2)
    market.step()
    weights_N = decide(learner, market, np.ones(COUNT, np.int64))
    assert weights_N is not None
    np.testing.assert_allclose(weights_N, [0.2] * COUNT + [0.0] * len(CONTROLLER_NAMES))


def test_a_learner_restored_goes_on_as_the_one_that_never_stopped() -> None:
    """State out, state in, in the middle of a bar: the same weights and states, bit for bit."""
    kept, market, twin = learner_with(), Market(6), Market(6)
    for _ in walk(kept, market, 90, 3):
        pass
    for _ in range(90):
        twin.step()
    restored = learner_with()
    restored.restore(deepcopy(kept.state))
    for one, other in zip(walk(kept, market, 60, 4), walk(restored, twin, 60, 4), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    for name, value in asdict(kept.state).items():
        np.testing.assert_array_equal(value, asdict(restored.state)[name], err_msg=name)


def test_state_of_another_shape_is_refused() -> None:
    """A learner of other experts cannot take it over, and says so."""
    state = learner_with().state
    with pytest.raises(ValueError, match="number of experts"):
        MetaLearner(AGENTS[:3], FILTER, KNOBS, BAR_NS).restore(state)


def test_deleting_the_future_changes_no_decision() -> None:
    """Weights up to a bar are the same whatever comes after it."""
    whole, cut = learner_with(), learner_with()
    whole_weights = list(walk(whole, Market(11), 120, 5))
    cut_weights = list(walk(cut, Market(11), 70, 5))
    for one, other in zip(whole_weights, cut_weights, strict=False):
        np.testing.assert_array_equal(np.asarray(one, float), np.asarray(other, float))


def test_reload_changes_cap_and_threshold_for_the_next_decision() -> None:
    """New settings act on the next weighing, without a loss of evidence."""
    learner, market = learner_with(), Market(12)
    for _ in walk(learner, market, 50, 6):
        pass
    wealth = learner.chain.log_wealth
    learner.use(MetaLearningSettings(max_agent_weight=0.2, regime_stability_threshold=0.8))
    weights_N = decide(learner, market, np.ones(COUNT, np.int64))
    assert weights_N is not None
    assert weights_N.max() <= 0.2 + 1e-9
    assert learner.chain.log_wealth == wealth


def test_regimes_are_known_once_the_market_was_measured() -> None:
    """The posterior sums to 1 from the first bar and leaves its start when bars come in."""
    learner, market = learner_with(), Market(13)
    opening_K = learner.watch(market.features, market.mid).copy()
    for _ in range(200):
        market.step()
        posterior_K = learner.watch(market.features, market.mid)
        assert posterior_K.sum() == pytest.approx(1.0)
    assert len(posterior_K) == len(REGIMES)
    assert not np.allclose(posterior_K, opening_K)


def test_longest_bar_that_settings_allow_keeps_the_guarantee() -> None:
    """Six hours: twelve deviations at the stake of the wealth mixture do not take all wealth."""
    longest_ms = 21_600_000
    assert DecisionSettings(interval_ms=longest_ms).interval_ms == longest_ms
    MetaLearner(AGENTS, FILTER, KNOBS, longest_ms * 1_000_000)
    with pytest.raises(ValidationError):
        DecisionSettings(interval_ms=longest_ms + 1)
