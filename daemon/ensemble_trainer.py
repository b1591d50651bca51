"""``MetaLearningEnsembleTrainer``: the specification's training session out of a program.

The agents learn to control on out-of-fold forecasts and model rewards, as ``metaensemble train``
does it; episodes on realised prices, all costs paid, judge them and teach the weights, and agents
of the user's own learn from their own steps there. What is best is decided on the later block that
teaches nobody. Everything is a function of configuration and data: a session that was left goes on
bit for bit.

    save_dir/checkpoints/NAME/      to go on from
    save_dir/best_models/           the team that did best on the later block
    save_dir/final_session/         the team at the end, configuration and figures
    save_dir/evaluation_results/    one file for each evaluation
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from config.meta_learning_config import MetaLearningConfig, MetaLearningConfigManager
from daemon.bar_files import read_bars
from daemon.clock import SystemClock
from daemon.session_files import read_team, write_json, write_team
from daemon.train import code_commit
from kernels.events import AGENTS
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES
from strategy.archive import write_bundle
from strategy.evaluation.execution import Costs
from strategy.evaluation.grade import grade, score
from strategy.learning.agent_wrappers import BaseAgentWrapper, LearnerWrapper
from strategy.learning.bar_history import History, history_of, merge_bars
from strategy.learning.checkpoints import CheckpointError
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.environment import WorldRules
from strategy.learning.episodes import Episode, Play, Stage
from strategy.learning.market_tape import drawn_history, tapes_of
from strategy.learning.training import (
    TrainingPlan,
    embed,
    prepare,
    recipe_of,
    use_one_thread,
)
from strategy.learning.transitions import MarketPath
from strategy.learning.wrapper_factory import create_agent_wrappers_from_config

NS_PER_S = 1_000_000_000
BUNDLE = "model"
LATEST = "latest"


class MetaLearningEnsembleTrainer:
    """One session of one team."""

    def __init__(
        self,
        config: MetaLearningConfig,
        team_name: str = "ensemble",
        save_dir: str | Path | None = None,
        *,
        extra_agents: Mapping[str, BaseAgentWrapper] | None = None,
    ) -> None:
        """Read or draw the market, fit the forecast, build the team; trains nothing yet.

        ``save_dir`` None is the configuration's; ``extra_agents`` join by name. BarFileError or
        ValueError for data that cannot teach.
        """
        use_one_thread()
        self.config, self.team_name = config, team_name
        self.save_dir = Path(save_dir if save_dir is not None else config.save_dir)
        env = config.env_args
        self.history = _history(config)
        plan = TrainingPlan(
            seed=config.seed, fee_frac=env.fee_frac + env.slippage_frac, discount=config.gamma
        )
        self.prepared = prepare(self.history, plan)
        taught, judged = tapes_of(self.history, self.prepared, env.state_dim)
        market = MarketPath(
            rows_TF=taught.rows_TM,
            return_T=self.prepared.path.return_T,
            cost_T=self.prepared.path.cost_T,
        )
        rules = WorldRules(
            costs=Costs(
                fee_frac=env.fee_frac,
                half_spread_frac=env.half_spread_frac,
                slippage_frac=env.slippage_frac,
                funding_frac=env.funding_frac,
            ),
            position_frac=config.max_position_risk,
        )
        self._taught, self._judged = (
            Stage(
                tape=tape,
                rules=rules,
                scale=self.prepared.scale,
                weigh_every=config.meta_training_frequency,
                is_patient=config.emergency_fallback_enabled,
            )
            for tape in (taught, judged)
        )
        members = create_agent_wrappers_from_config(config, market=market)
        for name, member in (extra_agents or {}).items():
            if name in members:
                raise ValueError(f"there are two agents {name!r}")
            members[name] = member
        self.ensemble = AgentEnsembleWrapper(
            members, team_name, config.meta, year_bars=self._taught.year_bars
        )
        self.training_stats: dict[str, Any] = {
            "episodes_completed": 0,
            "steps_completed": 0,
            "meta_learning_updates": 0,
            "best_performance": None,
            "best_episode": None,
            "best_episode_sharpe": None,
            "best_episode_reward": None,
        }
        self.decision_history: deque[dict[str, Any]] = deque(maxlen=config.decision_history_size)

    def train_episode(self, n: int, max_steps: int = 1_000) -> dict[str, Any]:
        """Play and learn from episode ``n`` of the teaching block; return what it gave.

        Where it begins depends on the seed and ``n``. Keys: total_reward, sharpe_ratio (a year's,
        None without spread), steps, and those of ``strategy.learning.episodes.Episode``.
        """
        left = self.config.break_step - self.training_stats["steps_completed"]
        steps = min(max_steps, self.config.env_args.max_step, max(left, 1))
        generator = np.random.default_rng([self.config.seed, n])
        last = max(len(self._taught.tape) - 1 - steps, 0)
        play = Play(
            self.ensemble, self._taught, int(generator.integers(last + 1)), steps, self.config.seed
        )
        found = play.run(is_learning=True)
        self.decision_history.extend(answer.info["votes"] for answer in play.answers)
        stats = self.training_stats
        stats["episodes_completed"] += 1
        stats["steps_completed"] += found.steps
        stats["meta_learning_updates"] += -(-found.steps // self._taught.weigh_every)
        for key, value in (
            ("best_episode_sharpe", found.sharpe_ratio),
            ("best_episode_reward", found.total_reward),
        ):
            if value is not None and (stats[key] is None or value > stats[key]):
                stats[key] = value
        if self.config.detailed_logging:
            print(_line(n, found), file=sys.stderr)
        return {"episode": n, **found.as_dict()}

    def evaluate(self, max_steps: int = 1_000) -> dict[str, Any]:
        """Play the beginning of the later block without learning; changes nothing.

        Returns an episode's keys and the specification's ``score`` and ``grade``.
        """
        twin = AgentEnsembleWrapper(
            self.ensemble.agent,
            self.team_name,
            self.config.meta,
            year_bars=self._judged.year_bars,
        )
        twin.restore(self.ensemble.snapshot())
        steps = min(max_steps, len(self._judged.tape) - 1)
        found = Play(twin, self._judged, 0, steps, self.config.seed).run(is_learning=False)
        points = score(
            sharpe=found.sharpe_ratio,
            win_frac=found.win_rate,
            drawdown_frac_max=min(found.max_drawdown, 1.0),
            confidence_frac=found.confidence,
            exposure_frac=found.exposure,
        )
        return {**found.as_dict(), "score": points, "grade": grade(points)}

    def train_full_session(
        self, num_episodes: int = 100, save_interval: int = 20, evaluation_interval: int = 10
    ) -> dict[str, Any]:
        """Train until so many episodes are complete, or ``break_step`` steps; return the figures.

        A session that went on from a checkpoint does the rest. Ctrl-C leaves a checkpoint named
        ``interrupted``. ValueError for intervals below 1.
        """
        if min(num_episodes, save_interval, evaluation_interval) < 1:
            raise ValueError("episodes and intervals are at least 1")
        stats = self.training_stats
        evaluation: dict[str, Any] | None = None
        try:
            while (
                stats["episodes_completed"] < num_episodes
                and stats["steps_completed"] < self.config.break_step
            ):
                self.train_episode(stats["episodes_completed"], self.config.env_args.max_step)
                done = stats["episodes_completed"]
                if done % evaluation_interval == 0:
                    evaluation = self._judge(done)
                if done % save_interval == 0:
                    name = f"episode_{done:04d}" if self.config.auto_backup_enabled else LATEST
                    self._save_checkpoint(name)
        except KeyboardInterrupt:
            self._save_checkpoint("interrupted")
            raise
        evaluation = self._judge(stats["episodes_completed"])
        return self._finish(evaluation)

    def _judge(self, done: int) -> dict[str, Any]:
        """Evaluate, write the result, keep the team where it is the best so far."""
        found = self.evaluate()
        write_json(self.save_dir / "evaluation_results" / f"episode_{done:04d}.json", found)
        stats = self.training_stats
        # without a single trade there is no Sharpe: such a team is worth what it earned, nothing
        worth = found["sharpe_ratio"] if found["sharpe_ratio"] is not None else 0.0
        if stats["best_performance"] is None or worth > stats["best_performance"]:
            stats["best_performance"], stats["best_episode"] = worth, done
            self._write(self.save_dir / "best_models")
        return found

    def _finish(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        folder = self.save_dir / "final_session"
        bundle = self._write(folder)
        stats = dict(self.training_stats)
        answer = {
            "team_name": self.team_name,
            "episodes": stats["episodes_completed"],
            "best_episode_sharpe": stats["best_episode_sharpe"],
            "best_episode_reward": stats["best_episode_reward"],
            "grade": evaluation["grade"],
            "evaluation": dict(evaluation),
            "training_stats": stats,
            "bundle": None if bundle is None else str(bundle),
        }
        write_json(folder / "result.json", answer)
        return answer

    def _write(self, folder: Path) -> Path | None:
        """Write team and configuration, and the bundle where it is the five standard agents."""
        write_team(folder / "team", self.ensemble, self._facts())
        MetaLearningConfigManager.save_config_to_file(self.config, folder / "config.json")
        if self.ensemble.names != AGENTS:
            return None
        self.export_bundle(folder / BUNDLE)
        return folder / BUNDLE

    def export_bundle(self, path: Path) -> None:
        """Write the five standard agents as a bundle for the daemon; ValueError for other teams."""
        if self.ensemble.names != AGENTS:
            raise ValueError(
                f"a bundle holds {', '.join(AGENTS)}; this team is {self.ensemble.names}"
            )
        features, inputs = len(self.history.feature_names), self.config.env_args.state_dim
        agents = []
        for member in self.ensemble.agent.values():
            assert isinstance(member, LearnerWrapper)
            agents.append(embed(member.agent.net, inputs, features))
        recipe = recipe_of(
            self.prepared,
            self.history,
            agents,
            name=self.team_name,
            status=f"trained for {self.training_stats['steps_completed']} steps of a session",
            created_ns=SystemClock().now_ns(),
            expires_ns=None,
            provenance={
                "config_sha256": self._config_sha256(),
                "bars_file": self.config.env_args.bars_file or self.config.env_args.world,
                "commit": code_commit(),
                "first_ns": str(int(self.history.close_ns_T[0])),
                "last_ns": str(int(self.history.close_ns_T[-1])),
            },
        )
        write_bundle(path, recipe)

    def save_checkpoint(self, name: str) -> Path:
        """Write everything that the next episode depends on; return the folder."""
        folder = self.save_dir / "checkpoints" / name
        write_team(folder, self.ensemble, self._facts())
        return folder

    _save_checkpoint = save_checkpoint  # the specification's name

    def load_checkpoint(self, name: str) -> None:
        """Go on where a checkpoint was taken; CheckpointError for one of another configuration."""
        folder = self.save_dir / "checkpoints" / name
        facts = read_team(folder, self.ensemble)
        if facts.get("config_sha256") != self._config_sha256():
            raise CheckpointError(f"{folder}: of another configuration")
        self.training_stats = facts["training_stats"]

    def _facts(self) -> dict[str, Any]:
        return {
            "team_name": self.team_name,
            "config_sha256": self._config_sha256(),
            "training_stats": self.training_stats,
        }

    def _config_sha256(self) -> str:
        return hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()


def _history(config: MetaLearningConfig) -> History:
    """Return the bars with their features: of the file, or of a drawn world."""
    env = config.env_args
    names = DEFAULT_FEATURE_NAMES if config.regime_features_dim == 50 else RESEARCH_FEATURE_NAMES
    if not env.bars_file:
        return drawn_history(env.world, env.bars, env.market_seed, env.half_spread_frac, names)
    table = read_bars(Path(env.bars_file))
    interval_ns = env.bar_s * NS_PER_S or table.interval_ns
    if interval_ns % table.interval_ns:
        raise ValueError(f"bar_s is no multiple of the file's {table.interval_ns // NS_PER_S} s")
    merged = merge_bars(table.open_ns_T, table.prices_T4, table.volume_T, interval_ns)
    return history_of(
        *merged,
        interval_ns=interval_ns,
        feature_names=names,
        half_spread_frac=env.half_spread_frac,
    )


def _line(n: int, found: Episode) -> str:
    sharpe = "undefined" if found.sharpe_ratio is None else f"{found.sharpe_ratio:+.2f}"
    weights = " ".join(f"{name} {weight:.2f}" for name, weight in found.weights.items())
    return f"episode {n}: {found.steps} bars, {found.total_reward:+.4f}, Sharpe {sharpe}; {weights}"
