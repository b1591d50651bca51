"""The pieces of a walk: trainings first, then judgements; each a function of what its task names.

They run one by one, in processes or on Ray (``daemon.side_by_side``) with equal results. So that
the order of judgements changes nothing, every one counts the same trials: all that were on the
ledger when the judgements began, and all judgements of the walk, later ones too. Each writes its
own trial into its folder; whoever leads the walk puts them on the ledger. A finished piece is not
made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.evaluation import EvaluationOptions, Judged, evaluate
from daemon.residual_training import LOG_FILE, write_log
from daemon.side_by_side import Workers, each
from daemon.train import TrainOptions, train_bundle
from strategy.evaluation.joined import Fold
from strategy.evaluation.random_timing import RandomTiming
from strategy.evaluation.trials import TRIALS_FILE, Trial, append_trial, read_trials
from strategy.learning.training import use_one_thread

DONE_FILE, PATHS_FILE, REPORT_FILE = "done.json", "paths.npz", "report.json"
DRAWN = ("sum_D", "square_D", "log_D", "turnover_D")
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A bundle to be made; ``what`` names all that it is a function of, ``folder`` keeps that."""

    name: str
    folder: Path
    what: dict[str, Any]
    options: TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """A bundle to be judged on bars into ``folder``; ``log_from_ns`` 0: no paths are kept."""

    name: str
    folder: Path
    what: dict[str, Any]
    options: EvaluationOptions
    log_from_ns: int = 0


def is_done(folder: Path, what: dict[str, Any]) -> bool:
    """Say whether a folder was finished as ``what`` names it."""
    path = folder / DONE_FILE
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == what


def mark_done(folder: Path, what: dict[str, Any]) -> None:
    """Remember what a finished folder is a function of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).write_text(json.dumps(what) + "\n", encoding="utf-8")


def train_all(tasks: Sequence[Training], workers: Workers, announce: Announce) -> None:
    """Make every bundle that is not there yet."""
    missing = [task for task in tasks if not is_done(task.folder, task.what)]
    if missing:
        announce(f"{missing[0].name}: training, the first of {len(missing)}")
    for task, _ in zip(missing, each(train_piece, missing, workers), strict=True):
        announce(f"{task.name}: trained")


def judge_all(
    tasks: Sequence[Judging], ledger: Path, workers: Workers, announce: Announce
) -> list[dict[str, Any]]:
    """Judge what is not judged yet, put every trial on the ledger; the reports in their order."""
    own = [trial for task in tasks for trial in read_trials(task.folder / TRIALS_FILE)]
    others = tuple(trial for trial in read_trials(ledger) if trial not in own)
    missing = [task for task in tasks if not is_done(task.folder, task.what)]
    if missing:
        announce(f"{missing[0].name}: judging, the first of {len(missing)}")
    asked = [
        replace(task, options=replace(task.options, others=others, planned=len(tasks) - 1))
        for task in missing
    ]
    try:
        for task, _ in zip(missing, each(judge_piece, asked, workers), strict=True):
            announce(f"{task.name}: judged")
    finally:
        for task in tasks:
            _enter(ledger, task.folder)
    return [json.loads((task.folder / REPORT_FILE).read_text(encoding="utf-8")) for task in tasks]


def train_piece(task: Training) -> None:
    """Train one bundle and remember that it is finished."""
    use_one_thread()
    train_bundle(task.options, lambda agent, done, whole, measured: None)
    mark_done(task.folder, task.what)


def judge_piece(task: Judging) -> None:
    """Judge one bundle, keep its paths where a walk joins them, remember that it is finished."""
    use_one_thread()
    judged = evaluate(task.options)
    if task.log_from_ns:
        _write_paths(task.folder, judged)
        write_log(task.folder / LOG_FILE, judged.assessment.match.run, task.log_from_ns)
    mark_done(task.folder, task.what)


def read_paths(folder: Path) -> Fold:
    """Return the paths that a judgement kept."""
    with np.load(folder / PATHS_FILE, allow_pickle=False) as arrays:
        names, net_TN = arrays["names"].tolist(), arrays["net_TN"]
        tradable = arrays["is_tradable"].tolist()
        return Fold(
            net_by_name={name: net_TN[:, n] for n, name in enumerate(names)},
            doubled_T2=arrays["doubled_T2"],
            drawn=RandomTiming(
                bars=len(net_TN), **{name: arrays[f"drawn_{name}"] for name in DRAWN}
            ),
            untradable=frozenset(
                name for name, is_so in zip(names, tradable, strict=True) if not is_so
            ),
        )


def _write_paths(folder: Path, judged: Judged) -> None:
    found = judged.assessment
    drawn = {f"drawn_{name}": getattr(found.drawn, name) for name in DRAWN}
    with open(folder / PATHS_FILE, "wb") as file:
        np.savez_compressed(
            file,
            names=np.array([path.name for path in found.match.paths]),
            is_tradable=np.array([path.tradable for path in found.match.paths]),
            net_TN=np.column_stack([path.net_T for path in found.match.paths]),
            doubled_T2=found.doubled_T2,
            **drawn,
        )


def _enter(ledger: Path, folder: Path) -> None:
    """Put a folder's trials on the ledger, those that are not there yet."""
    there = read_trials(ledger)
    for trial in _new(read_trials(folder / TRIALS_FILE), there):
        append_trial(ledger, trial)


def _new(trials: Sequence[Trial], there: Sequence[Trial]) -> Iterator[Trial]:
    yield from (trial for trial in trials if trial not in there)
