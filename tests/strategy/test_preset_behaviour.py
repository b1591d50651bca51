"""The presets differ in what the meta-learner and the sizing do, not only in their numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from config.load import load_settings
from config.settings import Settings
from kernels.events import AGENTS
from risk.sizing import SizingEvidence, full_notional_quote
from strategy.chain_memory import SCORES
from strategy.meta_learner import MetaLearner, Outlook
from strategy.shipped_filter import shipped_filter
from tests.strategy.test_meta_learner import BAR_NS, WELL, Market

PRESETS = ("conservative", "balanced", "aggressive", "research")
CAPS = {"conservative": 0.4, "balanced": 0.6, "aggressive": 0.8, "research": 0.6}
ACTIVE = {"conservative": 4, "balanced": 3, "aggressive": 2, "research": 3}


@cache
def settings_of(preset: str) -> Settings:
    return load_settings(preset, None, [])


@cache
def weighed(preset: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights, and those of the predictions alone, where one agent is always right."""
    learner, market = (
        MetaLearner(AGENTS, shipped_filter(), settings_of(preset).meta, BAR_NS),
        Market(3),
    )
    draws, weights_N = np.random.default_rng(5), None
    score_A = np.linspace(0.0, 1.0, len(AGENTS)).astype(np.float32)
    for _ in range(700):
        coming = 0.006 if draws.random() < 0.5 else -0.006
        action_A = np.ones(len(AGENTS), np.int64)
        action_A[0] = 2 if coming > 0.0 else 0
        posterior_K = learner.watch(market.features, market.mid)
        weights_N = learner.weigh(posterior_K, score_A, WELL)
        learner.book(action_A, WELL, Outlook(gain=0.0, cost_frac=0.0))
        market.step(coming)
    assert weights_N is not None
    assert learner.weighing is not None
    return weights_N, learner.weighing.candidate_JN[SCORES]


@pytest.mark.parametrize("preset", PRESETS)
def test_proven_agent_gets_all_that_the_preset_allows(preset: str) -> None:
    """Conservative stops at .4, balanced at .6, aggressive at .8; the others share the rest."""
    weights_N, _ = weighed(preset)
    assert weights_N[0] == pytest.approx(CAPS[preset], abs=0.02)
    assert weights_N.max() <= CAPS[preset] + 1e-9


@pytest.mark.parametrize("preset", PRESETS)
def test_so_many_experts_are_heard_as_the_preset_wants(preset: str) -> None:
    """Four, three or two carry at least the floor of 5 %, however clear the evidence is."""
    weights_N, _ = weighed(preset)
    assert (weights_N >= 0.05 - 1e-9).sum() >= ACTIVE[preset]


def test_temperature_sets_how_far_predictions_are_obeyed() -> None:
    """The same predictions spread the agents' weights most in aggressive, least in conservative."""
    spread = {
        preset: float(np.ptp(weighed(preset)[1][: len(AGENTS)]))
        for preset in ("conservative", "balanced", "aggressive")
    }
    assert spread["conservative"] < spread["balanced"] < spread["aggressive"]


def test_regime_is_reported_sooner_by_the_bolder_preset() -> None:
    """A posterior of .6 renames the regime in aggressive only; of .75 in balanced too."""
    bull_K, bear_K, sure_K = (np.full(7, (1.0 - top) / 6.0) for top in (0.9, 0.6, 0.75))
    bull_K[0], bear_K[1], sure_K[1] = 0.9, 0.6, 0.75
    named = {}
    for preset in ("conservative", "balanced", "aggressive"):
        learner = MetaLearner(AGENTS, shipped_filter(), settings_of(preset).meta, BAR_NS)
        tracker = learner.tracker
        for _ in range(6):
            tracker.update(bull_K)
        named[preset] = (tracker.update(bear_K), tracker.update(sure_K))
    assert named == {"conservative": (0, 0), "balanced": (0, 1), "aggressive": (1, 1)}


def test_full_conviction_is_sized_by_the_preset() -> None:
    """The same target is the smallest position in conservative and the largest in aggressive."""
    evidence = SizingEvidence(drawdown_frac=0.0, volatility_frac=None)
    quote = {
        preset: full_notional_quote(
            instrument_count=1,
            equity_quote_e8=100_000 * 10**8,
            sizing=settings_of(preset).sizing,
            limits=settings_of(preset).limits,
            max_position_risk=settings_of(preset).meta.max_position_risk,
            is_kelly_enabled=False,
            evidence=evidence,
        )
        for preset in ("conservative", "balanced", "aggressive")
    }
    small, middle, large = (quote[name] for name in ("conservative", "balanced", "aggressive"))
    assert 0.0 < small < middle < large


def test_research_logs_more_and_remembers_longer() -> None:
    """Research is balanced in what it risks, and tells everything."""
    research, balanced = settings_of("research").meta, settings_of("balanced").meta
    assert research.detailed_logging
    assert research.meta_learning_debug
    assert research.decision_history_size > balanced.decision_history_size
    assert np.array_equal(weighed("research")[0], weighed("balanced")[0])
