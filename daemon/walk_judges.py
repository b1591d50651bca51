"""The last step of a walk: a bundle trained on all of its bars, judged on files it never saw.

Several seeds train several bundles of the same bars: how far their results lie apart is what chance
in the training is worth. A training or a judgement that is finished is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from daemon.evaluation import EvaluationOptions, evaluate
from daemon.evaluation_inputs import Inputs
from daemon.train import TrainOptions, train_bundle
from strategy.evaluation.trials import TRIALS_FILE
from strategy.learning.training import TrainingPlan

FAR_NS = 2**63 - 1
DONE_FILE = "done.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The ensemble's annual Sharpe on one file over all seeds; ``deviation`` None for one seed."""

    bars_file: str
    sharpes: tuple[float, ...]
    mean: float
    deviation: float | None


def is_done(folder: Path, what: dict[str, Any]) -> bool:
    """Say whether a folder was finished as ``what`` names it."""
    path = folder / DONE_FILE
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == what


def mark_done(folder: Path, what: dict[str, Any]) -> None:
    """Remember what a finished folder is a function of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).write_text(json.dumps(what) + "\n", encoding="utf-8")


def judge_files(
    inputs: Inputs,
    plan: TrainingPlan,
    *,
    files: Sequence[Path],
    seeds: int,
    out: Path,
    announce: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Train one bundle a seed on all bars of ``inputs``, judge each on every file; the reports."""
    reports = []
    for seed in range(plan.seed, plan.seed + seeds) if files else ():
        own = replace(plan, seed=seed)
        bundle, trained = out / f"bundle-seed-{seed}", out / f"trained-{seed}"
        what = {
            "bars": str(inputs.bars_path.resolve()),
            "span_ns": [inputs.from_ns, inputs.to_ns],
            "bar_ns": inputs.bar_ns,
            "plan": asdict(own),
        }
        if not is_done(trained, what):
            announce(f"seed {seed}: training")
            _train(inputs, own, bundle, announce)
            mark_done(trained, what)
        for path in files:
            folder = out / f"seed-{seed}-{path.stem}"
            judged = {
                **what,
                "judge": str(path.resolve()),
                "costs": asdict(inputs.costs),
                "delay_bars": inputs.delay_bars,
                "settings": inputs.settings.model_dump(
                    mode="json", include={"meta", "sizing", "limits"}
                ),
            }
            if not is_done(folder, judged):
                announce(f"seed {seed}: judging on {path.name}")
                _judge(inputs, bundle, path, folder, seed)
                mark_done(folder, judged)
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            reports.append({**report, "training_seed": seed})
    return reports


def _train(
    inputs: Inputs, plan: TrainingPlan, bundle: Path, announce: Callable[[str], None]
) -> None:
    train_bundle(
        TrainOptions(
            bars_path=inputs.bars_path,
            out=bundle,
            bar_ns=inputs.bar_ns,
            from_ns=inputs.from_ns,
            to_ns=inputs.to_ns,
            half_spread_frac=inputs.costs.half_spread_frac,
            expires_days=0,
            plan=plan,
            as_json=True,
        ),
        lambda agent, done, whole, _: announce(
            f"seed {plan.seed}: {agent}, {done:,} of {whole:,} updates"
        ),
    )


def _judge(inputs: Inputs, bundle: Path, path: Path, folder: Path, seed: int) -> None:
    evaluate(
        EvaluationOptions(
            inputs=replace(
                inputs,
                bundle_path=bundle,
                bars_path=path,
                from_ns=0,
                to_ns=FAR_NS,
                ledger_path=folder.parent / TRIALS_FILE,
            ),
            test_from_ns=0,
            seed=seed,
            out=folder,
            as_json=True,
        )
    )


def spreads(reports: Sequence[dict[str, Any]]) -> list[Spread]:
    """Return how far the seeds' Sharpe ratios lie apart, file by file."""
    found = []
    for name in dict.fromkeys(report["bars_file"] for report in reports):
        own = [
            report["standings"][0]["sharpe"] for report in reports if report["bars_file"] == name
        ]
        sharpes = tuple(float(sharpe["estimate"]) for sharpe in own if sharpe is not None)
        if not sharpes:
            continue
        mean, deviation = sum(sharpes) / len(sharpes), None
        if len(sharpes) > 1:
            square = sum((sharpe - mean) ** 2 for sharpe in sharpes)
            deviation = (square / (len(sharpes) - 1)) ** 0.5
        found.append(Spread(bars_file=name, sharpes=sharpes, mean=mean, deviation=deviation))
    return found
