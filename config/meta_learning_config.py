"""The specification's configuration of a training session: preset, environment, parameters, JSON.

    config = create_meta_learning_config("balanced", {"max_step": 500}, {"max_agent_weight": 0.75})

``MetaLearningConfig`` has every parameter of ``MetaLearningSettings`` under its own name (they act
in the daemon too) and those of training. Unknown keys, unknown presets and values out of range are
errors; nothing is replaced in silence but ``meta_training_frequency``, which becomes a quarter of
``break_step`` where it is larger than that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from config.load import load_settings
from config.problems import ConfigError, explain, near, raise_all
from config.section import Frac, PositiveFloat, PositiveInt, Section
from config.settings import MetaLearningSettings

AGENT_NAMES = ("d3qn", "double_dqn", "twin_d3qn", "ppo", "rainbow")
BARS_MIN = 1_000


class EnvArgs(Section):
    """What the training market is; the specification's ``env_args``."""

    env_name: Literal["TradeSimulator-v0"] = Field(
        "TradeSimulator-v0", description="the environment's registered name"
    )
    state_dim: Annotated[int, Field(ge=12, le=87)] = Field(
        50, description="numbers of a state: features that fit, posterior, forecasts, position"
    )
    action_dim: Literal[3] = Field(3, description="SELL, HOLD, BUY")
    if_discrete: Literal[True] = Field(True, description="actions are discrete")
    max_step: PositiveInt = Field(1_000, description="bars of an episode at most")
    bars_file: str = Field("", description="parquet file of bars; empty: a drawn world")
    bar_s: Annotated[int, Field(ge=0)] = Field(
        0, description="seconds of a bar, longer than the file's; 0: as in the file"
    )
    world: Literal["misspecified", "realistic", "textbook"] = Field(
        "misspecified", description="drawn world, hours, where there is no file"
    )
    bars: Annotated[int, Field(ge=BARS_MIN, le=1_000_000)] = Field(
        6_000, description="bars drawn of it"
    )
    market_seed: Annotated[int, Field(ge=0)] = Field(7, description="of the drawn world")
    fee_frac: Annotated[float, Field(ge=0.0, lt=0.1)] = Field(5e-4, description="of a trade")
    half_spread_frac: Annotated[float, Field(ge=0.0, lt=0.1)] = Field(
        5e-5, description="paid on each trade as well"
    )
    slippage_frac: Annotated[float, Field(ge=0.0, lt=0.1)] = Field(
        5e-5, description="paid on each trade as well"
    )
    funding_frac: Annotated[float, Field(gt=-0.1, lt=0.1)] = Field(
        1e-4, description="paid by longs every eight hours"
    )


class MetaLearningConfig(MetaLearningSettings):
    """One training session, whole."""

    preset: str = Field("balanced", description="where the values not named come from")
    env_args: EnvArgs = EnvArgs()
    agents: dict[str, bool] = Field(
        default_factory=lambda: dict.fromkeys(AGENT_NAMES, True),
        description="which standard agents take part; those not named do",
    )
    break_step: PositiveInt = Field(100_000, description="steps of the whole session")
    net_dims: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="widths of both hidden layers; null: each agent's own"
    )
    learning_rate: PositiveFloat = Field(1e-3, description="falls as a cosine over break_step")
    batch_size: PositiveInt = Field(256, description="transitions of an update")
    gamma: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.99, description="discount per bar")
    updates_per_step: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        1.0, description="updates of every agent after each step; PPO makes a fortieth of them"
    )
    warm_steps: PositiveInt = Field(500, description="steps kept before a replay is learnt from")
    replay_capacity: PositiveInt = Field(50_000, description="steps a replay keeps")
    return_scale: PositiveFloat = Field(
        0.3, description="size of a discounted return, shares of equity: Rainbow's atoms lie there"
    )
    exploration_start: Frac = Field(1.0, description="chance of a drawn action at first")
    exploration_end: Frac = Field(0.05, description="and from half of break_step on")
    seed: Annotated[int, Field(ge=0, le=2**31)] = Field(7, description="of everything drawn")
    gpu_id: Annotated[int, Field(ge=-1, le=-1)] = Field(
        -1, description="-1, the CPU: networks this small are trained there"
    )
    save_dir: str = Field("meta_learning", description="folder that sessions are written to")

    @model_validator(mode="before")
    @classmethod
    def _whole_team(cls, values: Any) -> Any:
        """Complete the agents, and fit the frequency to the session."""
        if not isinstance(values, Mapping):
            return values
        found = dict(values)
        named = found.get("agents", {})
        if isinstance(named, Mapping):
            for name in named:
                if name not in AGENT_NAMES:
                    raise ValueError(f"no agent {name!r}{near(str(name), AGENT_NAMES)}")
            found["agents"] = {**dict.fromkeys(AGENT_NAMES, True), **named}
        steps = found.get("break_step", cls.model_fields["break_step"].default)
        frequency = found.get("meta_training_frequency", 1)
        if isinstance(steps, int) and isinstance(frequency, int) and frequency > steps > 0:
            found["meta_training_frequency"] = max(steps // 4, 1)
        return found

    @model_validator(mode="after")
    def _somebody_learns(self) -> Self:
        if not any(self.agents.values()):
            raise ValueError("agents: all are switched off")
        if self.exploration_end > self.exploration_start:
            raise ValueError("exploration_end exceeds exploration_start")
        if self.env_args.state_dim > self.regime_features_dim + 12:
            raise ValueError(
                f"env_args.state_dim {self.env_args.state_dim} exceeds the "
                f"{self.regime_features_dim} features of regime_features_dim and 12 more"
            )
        return self

    @property
    def meta(self) -> MetaLearningSettings:
        """The parameters that the daemon knows as well."""
        names = MetaLearningSettings.model_fields
        return MetaLearningSettings(**{name: getattr(self, name) for name in names})


def create_meta_learning_config(
    preset: str = "balanced",
    env_args: Mapping[str, Any] | None = None,
    custom_params: Mapping[str, Any] | None = None,
) -> MetaLearningConfig:
    """Return the configuration of a preset, with the environment and parameters given.

    Presets: conservative, balanced, aggressive, research, and custom, which is balanced with
    ``custom_params``. The environment variable MODEL_DIR is the ``save_dir`` where none is named,
    GPU_ID the ``gpu_id``. ConfigError for an unknown preset, key or value, all problems at once.
    """
    values: dict[str, Any] = load_settings(preset, None, []).meta.model_dump()
    for variable, name in (("MODEL_DIR", "save_dir"), ("GPU_ID", "gpu_id")):
        if variable in os.environ:
            values[name] = os.environ[variable]
    values.update(custom_params or {})
    values["preset"] = preset
    if env_args is not None:
        values["env_args"] = dict(env_args)
    return _validated(values, "create_meta_learning_config")


class MetaLearningConfigManager:  # the specification's name
    """Configurations as JSON files; a round trip loses nothing."""

    @staticmethod
    def save_config_to_file(config: MetaLearningConfig, path: str | Path) -> Path:
        """Write a configuration, all at once; a bare name lies in the working directory."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.with_name(f".{target.name}.part")
        staging.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        staging.rename(target)
        return target

    @staticmethod
    def load_config_from_file(path: str | Path) -> MetaLearningConfig:
        """Read a configuration; ConfigError for anything but a whole and valid one."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(str(path), "", None, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(str(path), "", None, f"no JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(str(path), "", None, "must hold one object")
        return _validated(values, str(path))


def _validated(values: Mapping[str, Any], source: str) -> MetaLearningConfig:
    try:
        return MetaLearningConfig.model_validate(values)
    except ValidationError as error:
        found = [explain(detail, {}) for detail in error.errors(include_url=False)]
        raise_all(
            ConfigError(source, problem.key_path, None, _worded(problem)) for problem in found
        )
        raise


def _worded(problem: ConfigError) -> str:
    """Say of an unknown key that it is unknown, and which one is near."""
    if "not permitted" not in problem.message:
        return problem.message
    section = EnvArgs if problem.key_path.startswith("env_args.") else MetaLearningConfig
    return "unknown key" + near(problem.key_path.removeprefix("env_args."), section.model_fields)
