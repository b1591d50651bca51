"""The last step of a walk: a bundle trained on all of its bars, judged on files it never saw.

Several seeds train several bundles of the same bars: how far their results lie apart is what chance
in the training is worth. A training or a judgement that is finished is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from daemon.evaluation import EvaluationOptions
from daemon.evaluation_inputs import Inputs
from daemon.train import TrainOptions
from daemon.walk_tasks import Judging, Training
from strategy.evaluation.trials import TRIALS_FILE
from strategy.learning.training import TrainingPlan

FAR_NS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The ensemble's annual Sharpe on one file over all seeds; ``deviation`` None for one seed."""

    bars_file: str
    sharpes: tuple[float, ...]
    mean: float
    deviation: float | None


def judge_tasks(
    inputs: Inputs, plan: TrainingPlan, files: Sequence[Path], seeds: int, out: Path
) -> list[tuple[Training, Judging]]:
    """Return a training for each seed, on all bars of ``inputs``, with its judgement on a file."""
    tasks = []
    for seed in range(plan.seed, plan.seed + seeds) if files else ():
        own = replace(plan, seed=seed)
        training = Training(
            name=f"seed {seed}",
            folder=out / f"trained-{seed}",
            what={
                "bars": str(inputs.bars_path.resolve()),
                "span_ns": [inputs.from_ns, inputs.to_ns],
                "bar_ns": inputs.bar_ns,
                "half_spread_frac": inputs.costs.half_spread_frac,
                "plan": asdict(own),
            },
            options=TrainOptions(
                bars_path=inputs.bars_path,
                out=out / f"bundle-seed-{seed}",
                bar_ns=inputs.bar_ns,
                from_ns=inputs.from_ns,
                to_ns=inputs.to_ns,
                half_spread_frac=inputs.costs.half_spread_frac,
                expires_days=0,
                plan=own,
                as_json=True,
            ),
        )
        tasks += [(training, _judging(training, inputs, path, seed)) for path in files]
    return tasks


def _judging(training: Training, inputs: Inputs, path: Path, seed: int) -> Judging:
    folder = training.folder.parent / f"seed-{seed}-{path.stem}"
    return Judging(
        name=f"seed {seed} on {path.name}",
        folder=folder,
        what={
            **training.what,
            "judge": str(path.resolve()),
            "costs": asdict(inputs.costs),
            "delay_bars": inputs.delay_bars,
            "settings": inputs.settings.model_dump(
                mode="json", include={"meta", "sizing", "limits"}
            ),
        },
        options=EvaluationOptions(
            inputs=replace(
                inputs,
                bundle_path=training.options.out,
                bars_path=path,
                from_ns=0,
                to_ns=FAR_NS,
                ledger_path=folder / TRIALS_FILE,
            ),
            test_from_ns=0,
            seed=seed,
            out=folder,
            as_json=True,
        ),
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
