"""``MetaLearningEvaluator``: the specification's name for an evaluation out of a program.

It loads the real weights of a bundle, verified as the daemon does it, and raises where anything is
wrong: there is no fallback to other weights and none to another market. Without bars in ``config``
it plays a drawn world, and says so in every result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config.load import load_settings
from daemon.bar_files import BarTable
from daemon.evaluation import EvaluationOptions, evaluate
from daemon.evaluation_inputs import Inputs
from strategy.evaluation.drawn_bars import HOUR_NS, drawn_bars
from strategy.evaluation.execution import Costs

FAR_NS = 2**63 - 1
DRAWN_WORLD = "misspecified"
WARM_BARS = 2_000
"""Bars drawn beyond those that are judged: features warm up, the meta-learner learns."""

PORTFOLIO = (
    *("mean_return", "mean_sharpe_ratio", "mean_max_drawdown", "mean_win_rate", "success_rate"),
    *("profit_factor", "calmar_ratio"),
)
META_LEARNING = ("mean_confidence", "mean_agreement_rate", "regime_adaptability")
KNOWN = frozenset(
    {"data", "bar_ns", "from_ns", "to_ns", "test_from_ns", "preset", "set", "seed", "costs"}
    | {"equity_quote", "delay_bars", "results_dir", "ledger", "journal"}
)


class MetaLearningEvaluator:
    """Judge the bundle at ``model_path``.

    ``config`` may hold ``data`` (a parquet file of bars), ``bar_ns``, ``from_ns``, ``to_ns``,
    ``test_from_ns``, ``preset``, ``set`` (assignments as on the command line), ``seed``, ``costs``
    (fields of ``strategy.evaluation.execution.Costs``), ``equity_quote``, ``delay_bars``,
    ``results_dir``, ``ledger`` and ``journal`` (of past runs). Any other key raises ValueError.
    """

    def __init__(self, model_path: str | Path, config: Mapping[str, Any] | None = None) -> None:
        """Keep what was asked; nothing is loaded before an evaluation."""
        self._path = Path(model_path)
        self._config = dict(config or {})
        unknown = sorted(set(self._config) - KNOWN)
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(KNOWN))}")

    def evaluate_comprehensive(
        self,
        num_episodes: int = 20,
        max_steps_per_episode: int = 1_000,
        save_results: bool = True,
    ) -> dict[str, Any]:
        """Judge the bundle; return the figures by the specification's names, and the report.

        Episodes are consecutive pieces of at most so many bars. With ``save_results`` report and
        tear sheet are written to ``results_dir`` (evaluation_results). The trial is counted either
        way. One of ``daemon.evaluation.EVALUATION_ERRORS`` where bundle or bars are wrong.
        """
        out = self._results_dir if save_results else None
        judged = evaluate(self.options(num_episodes, max_steps_per_episode, out))
        found = judged.assessment
        specified = asdict(found.specified)
        return {
            "portfolio_metrics": {name: specified[name] for name in PORTFOLIO},
            "meta_learning_metrics": {name: specified[name] for name in META_LEARNING},
            "detailed_analysis": {
                "performance_assessment": {
                    "grade": specified["grade"],
                    "score": specified["score"],
                    "headline": found.headline,
                    "not_shown": list(found.missing),
                },
                "regimes": [asdict(row) for row in found.regimes],
                "episodes": specified["episodes"],
                "episode_bars": specified["episode_bars"],
            },
            "report": judged.report,
            "report_path": None if judged.report_path is None else str(judged.report_path),
        }

    def options(self, episodes: int, episode_bars_max: int, out: Path | None) -> EvaluationOptions:
        """Return what ``metaensemble evaluate`` would be asked for."""
        journal = self._config.get("journal")
        return EvaluationOptions(
            inputs=self._inputs(episodes * episode_bars_max),
            test_from_ns=int(self._config.get("test_from_ns", 0)),
            seed=int(self._config.get("seed", 7)),
            out=out,
            as_json=False,
            journal_path=None if journal is None else Path(journal),
            episodes=episodes,
            episode_bars_max=episode_bars_max,
        )

    @property
    def _results_dir(self) -> Path:
        return Path(self._config.get("results_dir", "evaluation_results"))

    def _inputs(self, bars: int) -> Inputs:
        config = self._config
        seed, ledger = int(config.get("seed", 7)), config.get("ledger")
        table, path = None, Path(config.get("data", ""))
        if "data" not in config:
            opened_T, prices_T4, volume_T = drawn_bars(DRAWN_WORLD, bars + WARM_BARS, seed)
            path = Path(f"drawn world {DRAWN_WORLD}, seed {seed}")
            table = BarTable(
                open_ns_T=opened_T, prices_T4=prices_T4, volume_T=volume_T, interval_ns=HOUR_NS
            )
        return Inputs(
            bundle_path=self._path,
            bars_path=path,
            bar_ns=int(config.get("bar_ns", 0)),
            from_ns=int(config.get("from_ns", 0)),
            to_ns=int(config.get("to_ns", FAR_NS)),
            costs=Costs(**config.get("costs", {})),
            delay_bars=int(config.get("delay_bars", 0)),
            equity_quote=float(config.get("equity_quote", 100_000.0)),
            settings=load_settings(config.get("preset"), None, list(config.get("set", ()))),
            ledger_path=None if ledger is None else Path(ledger),
            table=table,
        )
