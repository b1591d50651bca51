"""A training session of the specification: real learners, real files, to the bit when continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config.meta_learning_config import MetaLearningConfig, create_meta_learning_config
from daemon.ensemble_trainer import MetaLearningEnsembleTrainer
from daemon.session_files import members_of
from kernels.events import AGENTS
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.agents.wrappers import AgentError
from strategy.bundle import load
from strategy.learning.agent_wrappers import (
    Answer,
    BaseAgentWrapper,
    Feedback,
    LearnerWrapper,
    State,
)
from strategy.learning.checkpoints import CheckpointError
from strategy.learning.training import embed


def small(**params: Any) -> MetaLearningConfig:
    """Return a configuration of a few seconds: D3QN and Rainbow, fifteen bars an episode."""
    chosen = {
        "break_step": 300,
        "batch_size": 16,
        "meta_training_frequency": 5,
        "updates_per_step": 0.4,
        "agents": {"double_dqn": False, "twin_d3qn": False, "ppo": False},
        "min_diversification_agents": 1,
        **params,
    }
    return create_meta_learning_config("balanced", {"bars": 1_100, "max_step": 15}, chosen)


def trainer(folder: Path, **params: Any) -> MetaLearningEnsembleTrainer:
    """Return a small session."""
    return MetaLearningEnsembleTrainer(small(**params), "team", folder)


def state_of(session: MetaLearningEnsembleTrainer) -> dict[str, Any]:
    """Return everything that a session remembers, in one comparable form."""
    found: dict[str, Any] = {"stats": dict(session.training_stats)}
    for name, member in members_of(session.ensemble).items():
        snapshot = member.snapshot()
        found[name] = (
            {key: tensor.numpy().tobytes() for key, tensor in snapshot.tensors.items()},
            json.dumps(dict(snapshot.facts), sort_keys=True),
        )
    return found


def test_a_whole_session_leaves_what_it_says(tmp_path: Path) -> None:
    """Five agents train; layout, figures and a verified bundle that answers as the team does."""
    session = trainer(tmp_path, agents={}, min_diversification_agents=3)
    result = session.train_full_session(2, save_interval=1, evaluation_interval=1)
    assert result["episodes"] == 2
    assert result["grade"] in "ABCDF"
    assert result["best_episode_reward"] is not None
    assert result["training_stats"]["meta_learning_updates"] == 6
    for part in ("best_models/config.json", "final_session/result.json", "checkpoints"):
        assert (tmp_path / part).exists()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "episode_0001",
        "episode_0002",
    ]
    written = json.loads((tmp_path / "evaluation_results" / "episode_0002.json").read_text())
    assert written["steps"] > 100
    bundle = load(tmp_path / "final_session" / "model", DEFAULT_FEATURE_NAMES, now_ns=10)
    assert bundle.agents == AGENTS
    assert bundle.manifest.provenance["config_sha256"]
    load(tmp_path / "best_models" / "model", DEFAULT_FEATURE_NAMES, now_ns=10)
    check_bundle_agents(session)


def check_bundle_agents(session: MetaLearningEnsembleTrainer) -> None:
    """Hold agents for whole rows to those that were trained, whatever stands in other features."""
    generator = torch.Generator().manual_seed(1)
    state_BF = torch.randn(20, 50, generator=generator)
    left_out_BF = torch.randn(20, 12, generator=generator)
    whole_BF = torch.cat((state_BF[:, :38], left_out_BF, state_BF[:, 38:]), dim=1)
    for member in session.ensemble.agent.values():
        assert isinstance(member, LearnerWrapper)
        net = member.agent.net.eval()
        with torch.no_grad():
            found = embed(net, 50, 50)(whole_BF)
            torch.testing.assert_close(found, net(state_BF), atol=1e-5, rtol=1e-5)


def test_training_changes_the_agents(tmp_path: Path) -> None:
    """An episode moves every agent's weights and reports a loss; without updates nothing moves."""
    session = trainer(tmp_path)
    before = state_of(session)
    found = session.train_episode(0)
    assert found["steps"] == 15
    assert set(found) >= {"total_reward", "sharpe_ratio", "steps"}
    assert found["updates"] == {"d3qn": 6, "rainbow": 6}
    assert all(np.isfinite(loss) for loss in found["losses"].values())
    after = state_of(session)
    for name in ("d3qn", "rainbow", "ensemble"):
        assert before[name] != after[name]
    still = trainer(tmp_path, updates_per_step=0.0)
    assert still.train_episode(0)["updates"] == {"d3qn": 0, "rainbow": 0}


def test_a_session_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Left after one episode and continued elsewhere equals two in one go."""
    whole, first, second = (trainer(tmp_path) for _ in range(3))
    for n in (0, 1):
        whole.train_episode(n)
    first.train_episode(0)
    first._save_checkpoint("mine")
    second.load_checkpoint("mine")
    second.train_episode(1)
    assert state_of(second) == state_of(whole)
    with pytest.raises(CheckpointError, match="another configuration"):
        trainer(tmp_path, seed=8).load_checkpoint("mine")
    with pytest.raises(CheckpointError, match="cannot be continued"):
        second.load_checkpoint("nobody")
    (tmp_path / "checkpoints" / "mine" / "d3qn.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="damaged"):
        second.load_checkpoint("mine")


def test_an_evaluation_changes_nothing(tmp_path: Path) -> None:
    """Neither agents nor weights nor counts move, and the same comes out again."""
    session = trainer(tmp_path)
    before = state_of(session)
    first = session.evaluate(40)
    assert state_of(session) == before
    assert session.evaluate(40) == first
    assert first["steps"] == 40
    assert {"score", "grade", "max_drawdown", "win_rate"} <= set(first)


class Always(BaseAgentWrapper):
    """Wants one position, or fails, and counts what it is told."""

    told = 0

    def get_action_with_confidence(self, state: State) -> Answer:
        """Return the agent, an action; below zero it fails."""
        if self.agent < 0:
            raise AgentError(self.name, "no idea")
        return Answer(self.agent, 1.0, {})

    def update_with_feedback(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        done: bool,
        truncated: bool = False,
    ) -> Feedback:
        """Count."""
        assert action == self.agent
        self.told += 1
        return Feedback(True, None, 0)


def test_own_agents_take_part_with_their_own_outcomes(tmp_path: Path) -> None:
    """Each is told of its own action, long and short earn the opposite; no bundle comes of it."""
    extra = {"bull": Always(2, "bull"), "bear": Always(0, "bear"), "lost": Always(-1, "lost")}
    session = MetaLearningEnsembleTrainer(small(), "team", tmp_path, extra_agents=extra)
    found = session.train_episode(0)
    assert (extra["bull"].told, extra["bear"].told, extra["lost"].told) == (15, 15, 0)
    assert found["failures"]["lost"] == 15
    rewards = found["agent_rewards"]
    assert rewards["lost"] == 0.0
    # what one wins the other loses; both pay for their one trade
    assert -0.01 < rewards["bull"] + rewards["bear"] < 0.0
    with pytest.raises(ValueError, match="a bundle holds"):
        session.export_bundle(tmp_path / "bundle")
    with pytest.raises(ValueError, match="two agents"):
        MetaLearningEnsembleTrainer(small(), "t", tmp_path, extra_agents={"d3qn": extra["bull"]})


def test_too_few_voices_are_counted_or_raised(tmp_path: Path) -> None:
    """With the fallback such bars are flat and counted, without it the session stops."""
    only = {"d3qn": False, "rainbow": False, "double_dqn": False, "twin_d3qn": False}
    extra = {"lost": Always(-1, "lost"), "gone": Always(-1, "gone")}
    params = {"agents": only, "min_diversification_agents": 2}
    patient = MetaLearningEnsembleTrainer(small(**params), "t", tmp_path, extra_agents=extra)
    found = patient.train_episode(0)
    assert found["abstained"] == 15
    assert found["exposure"] == 0.0
    strict = MetaLearningEnsembleTrainer(
        small(**params, emergency_fallback_enabled=False), "t", tmp_path, extra_agents=extra
    )
    with pytest.raises(AgentError, match="members answer"):
        strict.train_episode(0)


def test_parameters_act(tmp_path: Path) -> None:
    """Position risk scales what is earned, the frequency the updates, break_step the session."""
    extra = {"bull": Always(2, "bull")}
    rewards = {}
    for risk in (0.2, 0.8):
        session = MetaLearningEnsembleTrainer(
            small(max_position_risk=risk), "t", tmp_path, extra_agents=extra
        )
        rewards[risk] = session.train_episode(0)["agent_rewards"]["bull"]
    assert rewards[0.8] / rewards[0.2] == pytest.approx(4.0, rel=0.2)
    rare = trainer(tmp_path, meta_training_frequency=15, break_step=20, decision_history_size=4)
    result = rare.train_full_session(50, 50, 50)
    assert result["episodes"] == 2
    assert rare.training_stats["steps_completed"] == 20
    assert rare.training_stats["meta_learning_updates"] == 2
    assert len(rare.decision_history) == 4
    equal = trainer(tmp_path, meta_learning_enabled=False)
    assert set(equal.train_episode(0)["weights"].values()) == {0.5}
    with pytest.raises(ValueError, match="at least 1"):
        equal.train_full_session(0)
