"""The command ``export``: real policies of Stable-Baselines3 become agents of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from daemon.cli import main
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.bundle import load
from strategy.learning import trade_simulator
from strategy.runtime import Runtime

STATE_DIM = 20


@pytest.fixture(scope="module")
def states_TF() -> np.ndarray:  # noqa: N802 - TF is the shape suffix
    """Return states of an account that trades at random."""
    environment = gymnasium.make(
        trade_simulator.ENVIRONMENT_ID, state_dim=STATE_DIM, bars=1_100, max_step=60
    )
    state, _ = environment.reset(seed=3)
    generator = np.random.default_rng(3)
    states = []
    for _ in range(50):
        states.append(state)
        state, _, _, _, _ = environment.step(np.int64(generator.integers(3)))
    return np.array(states)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("PPO", {}),
        ("A2C", {"policy_kwargs": {"net_arch": [24, 16], "activation_fn": torch.nn.ELU}}),
        ("DQN", {"buffer_size": 100, "policy_kwargs": {"net_arch": [32]}}),
    ],
)
def test_a_real_policy_answers_alike(
    kind: str,
    words: dict[str, Any],
    states_TF: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What ``model.predict`` says on an account's states, the bundle's agent says as well."""
    sb3 = pytest.importorskip("stable_baselines3", reason="extra test: stable-baselines3")
    environment = gymnasium.make(
        trade_simulator.ENVIRONMENT_ID, state_dim=STATE_DIM, bars=1_100, max_step=60
    )
    model = getattr(sb3, kind)("MlpPolicy", environment, seed=5, device="cpu", **words)
    with torch.no_grad():  # an untrained actor is nearly indifferent: let it have opinions
        for parameter in model.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save(tmp_path / "My policy.zip")
    out = tmp_path / "joined"
    arguments = ["export", "--from", "sb3", str(tmp_path / "My policy.zip"), "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agents"][-1] == "my_policy"
    bundle = load(out, DEFAULT_FEATURE_NAMES, now_ns=1)
    assert bundle.sha256 == told["sha256"]
    assert kind == "DQN" or "actor-critic" in bundle.manifest.provenance["guest_my_policy"]
    kept = STATE_DIM - 12
    obs_BF = np.zeros((len(states_TF), bundle.observation_count), np.float32)
    obs_BF[:, :kept], obs_BF[:, -9:] = states_TF[:, :kept], states_TF[:, kept:-3]
    held_BA = np.ones((len(states_TF), len(bundle.agents)), np.int64)
    held_BA[:, -1] = states_TF[:, -3:].argmax(axis=1)
    judged = Runtime(bundle).decide(obs_BF, held_BA)
    wanted, _ = model.predict(states_TF, deterministic=True)
    np.testing.assert_array_equal(judged.action_BA[:, -1], wanted)
    assert len(set(wanted.tolist())) > 1
    assert judged.healthy_BA.all()


def test_what_cannot_join_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no policy, one that is missing, and a name that makes no agent's name."""
    (tmp_path / "text.zip").write_bytes(b"no zip")
    (tmp_path / "7.zip").write_bytes(b"no zip")
    for name, reason in (
        ("text.zip", "no whole zip archive"),
        ("none.zip", "No such file"),
        ("7.zip", "makes no agent's name"),
    ):
        arguments = ["export", "--from", "sb3", str(tmp_path / name), "--out", str(tmp_path / "o")]
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert reason in said
        assert name in said
        assert said.count("\n") == 1
        assert not (tmp_path / "o").exists()
