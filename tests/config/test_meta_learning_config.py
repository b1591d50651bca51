"""The specification's configuration: presets differ, unknown keys fail, JSON loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config.meta_learning_config import (
    AGENT_NAMES,
    MetaLearningConfig,
    MetaLearningConfigManager,
    create_meta_learning_config,
)
from config.problems import ConfigError
from kernels.events import AGENTS


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the variables that change a configuration."""
    for name in ("MODEL_DIR", "GPU_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("preset", "cap", "least", "temperature"),
    [
        ("conservative", 0.4, 4, 1.0),
        ("balanced", 0.6, 3, 0.5),
        ("aggressive", 0.8, 2, 0.3),
        ("custom", 0.6, 3, 0.5),
    ],
)
def test_presets_differ(preset: str, cap: float, least: int, temperature: float) -> None:
    """Every preset has the specification's values; custom is balanced with what is given."""
    config = create_meta_learning_config(preset)
    assert config.preset == preset
    assert config.max_agent_weight == cap
    assert config.min_diversification_agents == least
    assert config.weight_temperature == temperature
    assert config.meta.max_agent_weight == cap


def test_the_documented_call_is_positional() -> None:
    """Preset, environment, parameters, in that order; all three arrive."""
    config = create_meta_learning_config(
        "balanced",
        {"env_name": "TradeSimulator-v0", "state_dim": 50, "action_dim": 3, "if_discrete": True},
        {"max_agent_weight": 0.75, "meta_training_frequency": 50, "break_step": 100},
    )
    assert (config.max_agent_weight, config.meta_training_frequency) == (0.75, 50)
    assert config.break_step == 100
    assert config.env_args.state_dim == 50


def test_a_frequency_beyond_the_session_becomes_a_quarter() -> None:
    """As documented; one that fits is left alone."""
    assert (
        create_meta_learning_config(custom_params={"break_step": 60}).meta_training_frequency == 15
    )
    fitting = {"break_step": 60, "meta_training_frequency": 60}
    assert create_meta_learning_config(custom_params=fitting).meta_training_frequency == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wild",), "unknown preset 'wild'"),
        (("balanced", {"colour": 1}), r"env_args.colour: unknown key"),
        (("balanced", None, {"max_agent_wieght": 0.3}), "did you mean max_agent_weight"),
        (("balanced", None, {"gamma": 3.0}), "less than 1"),
        (("balanced", None, {"agents": {"pp": False}}), "did you mean ppo"),
        (("balanced", None, {"agents": dict.fromkeys(AGENT_NAMES, False)}), "switched off"),
        (("balanced", {"state_dim": 70}), "regime_features_dim"),
        (("balanced", None, {"gpu_id": 0}), "gpu_id"),
        (("balanced", None, {"exploration_start": 0.01}), "exploration_end"),
        (("balanced", {"env_name": "Pong-v5"}), "TradeSimulator-v0"),
    ],
)
def test_wrong_keys_and_values_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    """Nothing is replaced in silence; the message names the key."""
    with pytest.raises(ConfigError, match=message):
        create_meta_learning_config(*arguments)


def test_a_round_trip_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved and loaded is equal, also under a bare file name."""
    monkeypatch.chdir(tmp_path)
    config = create_meta_learning_config(
        "aggressive",
        {"max_step": 200, "world": "textbook"},
        {"agents": {"ppo": False}, "net_dims": [64, 32], "kelly_criterion_enabled": False},
    )
    MetaLearningConfigManager.save_config_to_file(config, "mine.json")
    loaded = MetaLearningConfigManager.load_config_from_file("mine.json")
    assert loaded == config
    assert loaded.net_dims == (64, 32)
    assert not loaded.agents["ppo"]
    written = json.loads(Path("mine.json").read_text())
    assert set(written) == set(MetaLearningConfig.model_fields)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Missing, no JSON, no object, an unknown key: one line that names the file."""
    path = tmp_path / "mine.json"
    for content in (None, "{", "[1]", '{"colour": 1}'):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=r"mine\.json"):
            MetaLearningConfigManager.load_config_from_file(path)


def test_environment_variables_fill_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """MODEL_DIR and GPU_ID count where nothing else is said; what is said wins."""
    monkeypatch.setenv("MODEL_DIR", "elsewhere")
    monkeypatch.setenv("GPU_ID", "-1")
    assert create_meta_learning_config().save_dir == "elsewhere"
    assert create_meta_learning_config(custom_params={"save_dir": "here"}).save_dir == "here"
    monkeypatch.setenv("GPU_ID", "fast")
    with pytest.raises(ConfigError, match="gpu_id"):
        create_meta_learning_config()


def test_agents_are_the_houses() -> None:
    """The names are those that the daemon knows, in its order."""
    assert AGENT_NAMES == AGENTS
