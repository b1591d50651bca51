"""``metaensemble walkforward``: train on what came before, judge what comes next, move on.

Every fold is a training and an evaluation as the commands of that name make them, with files of
their own under the folder asked for, so that an interrupted walk goes on where it was. Folds are
pure functions of settings, bars and seed (``daemon.walk_tasks``): they run here, side by side, or
on Ray. Behind the folds a bundle of all bars may be judged on other files
(``daemon.walk_judges``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from daemon.bar_files import BarTable, read_bars
from daemon.clock import SystemClock
from daemon.evaluation import EVALUATION_ERRORS, EvaluationOptions
from daemon.evaluation_inputs import Inputs
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from daemon.progress_lines import progress
from daemon.side_by_side import HERE, Workers
from daemon.train import TrainOptions
from daemon.walk_judges import judge_tasks, spreads
from daemon.walk_tasks import Judging, Training, judge_all, read_paths, train_all
from daemon.walk_words import lines, write_block
from strategy.evaluation.comparison import EQUAL
from strategy.evaluation.figures import YEAR_S
from strategy.evaluation.joined import Joined, join_folds
from strategy.evaluation.trials import SEALED, TRIALS_FILE, read_trials, sharpe_variance
from strategy.learning.checkpoints import CheckpointError
from strategy.learning.training import TrainingPlan, use_one_thread

RESULT_FILE = "walkforward.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkOptions:
    """What the command asks for; ``inputs`` name bars and costs, their bundle is filled in.

    ``judges`` are files of other bars, on which ``seeds`` bundles of all bars are judged. The
    result is written between the marks of ``readme`` where there is one. ``workers`` says where
    trainings and judgements run, and changes nothing else.
    """

    inputs: Inputs
    plan: TrainingPlan
    folds: int
    first_frac: float
    out: Path
    as_json: bool
    judges: tuple[Path, ...] = ()
    seeds: int = 1
    readme: Path | None = None
    workers: Workers = HERE

    def __post_init__(self) -> None:
        """Refuse a walk without a fold or without a beginning; ValueError."""
        folds_min = 0 if self.judges else 1
        if not folds_min <= self.folds <= 100 or not 0.1 <= self.first_frac <= 0.9:
            raise ValueError(f"{self.folds} folds after {self.first_frac:g} of the bars")
        if not 1 <= self.seeds <= 100:
            raise ValueError(f"{self.seeds} seeds")


def run(options: WalkOptions) -> int:
    """Walk and tell; 0 done, 1 a detector found a fault, 2 refused, 130 interrupted."""
    use_one_thread()
    try:
        answer = walk(options)
    except (CheckpointError, *EVALUATION_ERRORS) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print(
            f"metaensemble: interrupted; the same command goes on in {options.out}", file=sys.stderr
        )
        return EXIT_INTERRUPTED
    print(json.dumps(answer) if options.as_json else "\n".join(lines(answer)))
    return EXIT_DONE if answer["is_clean"] else EXIT_FAILED


def walk(options: WalkOptions) -> dict[str, Any]:
    """Make every piece that is not there yet, join the folds, and write the result."""
    inputs, out = options.inputs, options.out
    table = read_bars(inputs.bars_path, inputs.from_ns, inputs.to_ns)
    folds = _fold_tasks(options, table) if options.folds else []
    others = judge_tasks(inputs, options.plan, options.judges, options.seeds, out)
    pairs = (*folds, *others)
    trainings = {task.folder: task for task, _ in pairs}
    with progress() as announce:
        train_all(list(trainings.values()), options.workers, announce)
        judgings = [task for _, task in pairs]
        made = judge_all(judgings, out / TRIALS_FILE, options.workers, announce)
    reports = made[: len(folds)]
    judged = [
        {**report, "training_seed": task.options.seed}
        for report, (_, task) in zip(made[len(folds) :], others, strict=True)
    ]
    answer = {
        "schema": 1,
        "joined": asdict(_join(options, reports)) if reports else None,
        "is_clean": all(report["is_clean"] for report in made),
        "folds": [_fold_words(report) for report in reports],
        "judged": [_judged_words(report) for report in judged],
        "spreads": [asdict(each) for each in spreads(judged)],
        "made": _made(options, made),
    }
    path = out / RESULT_FILE
    path.write_text(json.dumps(answer, allow_nan=False) + "\n", encoding="utf-8")
    if options.readme is not None:
        write_block(options.readme, answer)
    return answer


def _join(options: WalkOptions, reports: Sequence[dict[str, Any]]) -> Joined:
    trials = [trial for trial in read_trials(options.out / TRIALS_FILE) if trial.kind != SEALED]
    year_bars = YEAR_S / reports[0]["bars"]["length_s"]
    return join_folds(
        [read_paths(options.out / f"fold-{place + 1}") for place in range(options.folds)],
        year_bars,
        trials=len(trials),
        trial_variance=sharpe_variance(tuple(trials), year_bars),
        seed=options.plan.seed,
        faults=[
            f"{finding['name']}: {finding['said']}"
            for report in reports
            for finding in report["findings"]
            if not finding["is_clean"]
        ],
    )


def _edges(table: BarTable, options: WalkOptions) -> list[int]:
    """Return the UNIX times between folds: equal pieces behind the first part."""
    first = int(options.first_frac * len(table))
    rows = np.linspace(first, len(table) - 1, options.folds + 1).astype(np.int64)
    return [int(table.open_ns_T[row]) for row in rows]


def _identity(options: WalkOptions, begin_ns: int, end_ns: int) -> dict[str, Any]:
    """Name what a fold is a function of: a finished one of another kind is not taken over."""
    inputs = options.inputs
    return {
        "bars": str(inputs.bars_path.resolve()),
        "span_ns": [inputs.from_ns, begin_ns, end_ns],
        "bar_ns": inputs.bar_ns,
        "costs": asdict(inputs.costs),
        "delay_bars": inputs.delay_bars,
        "plan": asdict(options.plan),
        "settings": inputs.settings.model_dump(mode="json", include={"meta", "sizing", "limits"}),
    }


def _fold_tasks(options: WalkOptions, table: BarTable) -> list[tuple[Training, Judging]]:
    """Return what every fold trains on, all bars before its edge, and judges, up to the next."""
    inputs, plan, first_ns = options.inputs, options.plan, int(table.open_ns_T[0])
    tasks = []
    for place, (begin_ns, end_ns) in enumerate(pairwise(_edges(table, options)), start=1):
        folder, bundle = options.out / f"fold-{place}", options.out / f"bundle-fold-{place}"
        what = _identity(options, begin_ns, end_ns)
        training = Training(
            name=f"fold {place} of {options.folds}",
            folder=options.out / f"trained-fold-{place}",
            what=what,
            options=TrainOptions(
                bars_path=inputs.bars_path,
                out=bundle,
                bar_ns=inputs.bar_ns,
                from_ns=inputs.from_ns,
                to_ns=begin_ns,
                half_spread_frac=inputs.costs.half_spread_frac,
                expires_days=0,
                plan=plan,
                as_json=True,
            ),
        )
        # what the agents learned from teaches the meta-learner nothing: it begins with the later
        # block
        learned_ns = begin_ns - int(plan.validation_frac * (begin_ns - first_ns))
        judging = Judging(
            name=training.name,
            folder=folder,
            what=what,
            options=EvaluationOptions(
                inputs=replace(
                    inputs,
                    bundle_path=bundle,
                    from_ns=max(inputs.from_ns, learned_ns),
                    to_ns=end_ns,
                    ledger_path=folder / TRIALS_FILE,
                ),
                test_from_ns=0,
                seed=plan.seed,
                out=folder,
                as_json=True,
            ),
            log_from_ns=begin_ns,
        )
        tasks.append((training, judging))
    return tasks


def _fold_words(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "from_ns": report["test_from_ns"],
        "to_ns": report["test_to_ns"],
        "bars": report["bars"]["test"],
        "sharpe": report["standings"][0]["sharpe"],
        "headline": report["headline"],
        "bundle_sha256": report["bundle_sha256"],
        "bars_sha256": report["bars_sha256"],
        "commit": report["commit"],
    }


def _judged_words(report: dict[str, Any]) -> dict[str, Any]:
    equal = next(row for row in report["standings"] if row["name"] == EQUAL)
    return {
        **_fold_words(report),
        "bars_file": report["bars_file"],
        "training_seed": report["training_seed"],
        "is_clean": report["is_clean"],
        "lead": equal["lead"],
        "random": report["random"],
        "requirements": report["requirements"],
    }


def _made(options: WalkOptions, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say when, by which code and with which settings the result was made."""
    now = datetime.fromtimestamp(SystemClock().now_ns() / 1e9, UTC)
    return {
        "created": now.isoformat(timespec="seconds"),
        "commits": list(dict.fromkeys(report["commit"] for report in reports)),
        "bars_file": options.inputs.bars_path.name,
        "bar_s": reports[0]["bars"]["length_s"],
        "seed": options.plan.seed,
        "effort_frac": options.plan.effort_frac,
        "trade_frac": options.inputs.costs.trade_frac,
    }
