"""The ensemble as an object: documented calls do what they say on real small agents."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.learning.training import use_one_thread
from strategy.meta_ensemble import BarCosts, MetaLearningEnsembleManager

FREE = BarCosts(fee_frac=0.0, half_spread_frac=0.0)
KNOBS = MetaLearningSettings(performance_prediction_window=10, agent_history_features=4)


class Follower:
    """Does what it is told by the state, plainly or the other way round."""

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def get_action_with_confidence(self, state: Any) -> tuple[int, float, Mapping[str, Any]]:
        return 1 + self._sign * int(state), 0.8, {}


class Broken:
    """Raises, or answers nonsense."""

    def __init__(self, answer: int | None) -> None:
        self._answer = answer

    def get_action_with_confidence(self, state: Any) -> tuple[int, float, Mapping[str, Any]]:
        if self._answer is None:
            raise RuntimeError("no network")
        return self._answer, 0.5, {}


def manager_of(**agents: Any) -> MetaLearningEnsembleManager:
    named = {"right": Follower(1), "wrong": Follower(-1), "flat": Follower(0), **agents}
    return MetaLearningEnsembleManager(named, settings=KNOBS, costs=FREE)


def play(manager: MetaLearningEnsembleManager, bars: int, seed: int = 1) -> list[dict[str, Any]]:
    """Tell the agents the sign of every coming bar; return all answers."""
    draws, price, infos = np.random.default_rng(seed), 50_000.0, []
    for _ in range(bars):
        coming = 1 if draws.random() < 0.5 else -1
        action, info = manager.get_trading_action(coming, price, float(draws.integers(1, 90)))
        infos.append({"action": action, "coming": coming, **info})
        price *= 1.0 + 0.006 * coming
    return infos


def test_the_agent_that_is_right_is_followed_and_the_ensemble_earns() -> None:
    """Weights move to who earned; action, regime and weights are told at every bar."""
    manager = manager_of()
    infos = play(manager, 400)
    last = infos[-1]
    assert last["algorithm_weights"]["right"] > 0.5
    assert last["algorithm_weights"]["wrong"] < 0.06
    assert sum(last["algorithm_weights"].values()) == pytest.approx(1.0)
    assert last["current_regime"] in REGIMES
    hits = [info["action"] - 1 == info["coming"] for info in infos[-50:]]
    assert all(hits)
    summary = manager.get_performance_summary()
    assert summary["recent_sharpe"] > 10.0
    assert 0.0 <= summary["recent_max_drawdown"] < 0.2
    assert summary["total_trades"] == sum(
        first["action"] != second["action"] for first, second in pairwise(infos)
    ) + (infos[0]["action"] != 1)
    assert summary["regime_info"]["regime_stability"] >= 0.0
    assert len(manager.training_data["market_features"]) == 400


def test_constraints_hold_for_the_answer_they_were_given_for() -> None:
    """A lower cap is kept exactly, and gone with the next question; unknown ones are errors."""
    manager = manager_of()
    play(manager, 300)
    bound = manager.get_adaptive_algorithm_weights({"max_agent_weight": 0.3})
    assert max(bound.values()) <= 0.3 + 1e-9
    assert max(manager.get_adaptive_algorithm_weights().values()) > 0.5
    with pytest.raises(ValueError, match="risk constraint 'max_weight'"):
        manager.get_adaptive_algorithm_weights({"max_weight": 0.3})


@pytest.mark.parametrize("answer", [None, 7])
def test_agent_that_fails_sleeps_and_is_named(answer: int | None) -> None:
    """It carries no weight in that bar, and nothing of it looks like HOLD."""
    manager = manager_of(sick=Broken(answer))
    info = play(manager, 30)[-1]
    assert info["algorithm_weights"]["sick"] == 0.0
    assert info["actions"]["sick"] == -1
    assert "sick" in info["errors"]


def test_too_few_well_agents_abstain() -> None:
    """Fewer than the minimum of diversification: HOLD, said to be an abstention."""
    sick = {name: Broken(None) for name in ("right", "wrong")}
    info = play(manager_of(**sick), 30)[-1]
    assert info["action"] == 1
    assert info["outcome"] == "abstained"
    assert info["algorithm_weights"] == {}


def test_training_saving_and_loading_keep_what_was_learned(tmp_path: Path) -> None:
    """Meta-models are fitted on the bars kept; a manager that loads them weighs alike."""
    use_one_thread()
    manager = manager_of()
    with pytest.raises(ValueError, match="nothing was learned"):
        manager.train_meta_models()
    play(manager, 500)
    found = manager.train_meta_models(batch_size=64, epochs=2)
    assert found["bars"] > 400
    assert 0.0 <= found["slope"] <= 1.0
    path = tmp_path / "meta.safetensors"
    manager.save_meta_models(path)
    other = manager_of()
    other.load_meta_models(path)
    assert other.get_adaptive_algorithm_weights()["right"] > 0.5
    with pytest.raises(ValueError, match="meta-models of"):
        manager_of(more=Follower(0)).load_meta_models(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no meta-models"):
        other.load_meta_models(path)


@pytest.mark.parametrize(("price", "volume"), [(0.0, 1.0), (np.nan, 1.0), (5.0, -1.0)])
def test_nonsense_is_no_market_data(price: float, volume: float) -> None:
    """Prices must be positive, volumes not negative, both finite."""
    with pytest.raises(ValueError, match="no market data"):
        manager_of().update_market_data(price, volume)


def test_own_regimes_are_groups_of_the_seven() -> None:
    """Names, posterior, history and evidence are of the user's list; it must hold every regime."""
    groups = {"wild": ("crisis", "high_vol_range", "breakout", "reversal"), "calm": REGIMES[:2]}
    agents: dict[str, Any] = {"right": Follower(1), "wrong": Follower(-1), "flat": Follower(0)}
    with pytest.raises(ValueError, match="each once"):
        MetaLearningEnsembleManager(agents, settings=KNOBS, market_regimes=groups)
    groups["calm"] = (*REGIMES[:2], "low_vol_range")
    manager = MetaLearningEnsembleManager(agents, settings=KNOBS, market_regimes=groups)
    seven = MetaLearningEnsembleManager(agents, settings=KNOBS)
    last, of_seven = play(manager, 60)[-1], play(seven, 60)[-1]["regime_probabilities"]
    assert list(last["regime_probabilities"]) == ["wild", "calm"]
    assert last["current_regime"] in groups
    for name, members in groups.items():
        whole = sum(of_seven[member] for member in members)
        assert last["regime_probabilities"][name] == pytest.approx(whole)
    summary = manager.get_performance_summary()
    assert summary["regimes"] == ["wild", "calm"]
    assert set(summary["decisions"]["regime_distribution"]) == set(groups)


def test_what_an_agent_really_earned_counts_instead_of_its_account() -> None:
    """Told of losses bar by bar, the agent that was right on paper loses its weight."""
    told, untold = manager_of(), manager_of()
    draws, price = np.random.default_rng(2), 50_000.0
    for _ in range(200):
        coming = 1 if draws.random() < 0.5 else -1
        for manager in (told, untold):
            manager.get_trading_action(coming, price, 20.0)
        told.update_performance({"right": -0.006})
        price *= 1.0 + 0.006 * coming
    assert untold.get_adaptive_algorithm_weights()["right"] > 0.3
    assert told.get_adaptive_algorithm_weights()["right"] < 0.1
    figures = told.get_performance_summary()["agents"]
    assert figures["right"] < -10.0 < 10.0 < untold.get_performance_summary()["agents"]["right"]
    with pytest.raises(ValueError, match="'nobody'"):
        told.update_performance({"nobody": 0.0})
