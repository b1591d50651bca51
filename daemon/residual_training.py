"""``metaensemble predictor``: a walk's shadow log becomes a network in a candidate bundle.

It learns from nothing but what ``walkforward`` wrote down: in every fold what agents that had not
seen those bars earned on their own accounts, and what the Kalman filter had believed. The fit runs
in a child process. The answer is a copy of a bundle with the network beside the old tables; the
daemon takes it as any other newcomer, in shadow first, and never by itself.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from config.settings import MetaLearningSettings
from daemon.clock import SystemClock
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from strategy.archive import write_with_tables
from strategy.bundle import BundleError, read_files
from strategy.controllers import CONTROLLER_NAMES
from strategy.evaluation.backtest import Backtest
from strategy.evaluation.figures import YEAR_S
from strategy.learning.residuals import ShadowLog, fit_residuals
from strategy.learning.training import use_one_thread
from strategy.manifest import parse_manifest
from strategy.residual_model import PREFIX

LOG_FILE = "shadow.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualOptions:
    """What the command asks for: folder of a walk, bundle to copy, where the copy goes."""

    walk: Path
    bundle: Path
    out: Path
    meta: MetaLearningSettings
    seed: int
    as_json: bool

    def __post_init__(self) -> None:
        """Refuse to write over what is copied; ValueError."""
        if self.out.resolve() == self.bundle.resolve():
            raise ValueError("--out is the bundle itself: a candidate needs a folder of its own")


def run(options: ResidualOptions) -> int:
    """Fit in a child process and tell; 0 done, 1 the child died, 2 refused, 130 interrupted."""
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            answer = child.submit(make_candidate, options).result()
    except BrokenProcessPool as error:
        print(f"metaensemble: predictor: {error}", file=sys.stderr)
        return EXIT_FAILED
    except (BundleError, ValueError, OSError) as error:
        print(f"metaensemble: predictor: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    print(json.dumps(answer) if options.as_json else _words(answer))
    return EXIT_DONE


def make_candidate(options: ResidualOptions) -> dict[str, Any]:
    """Fit on a walk's logs and write the bundle; what can be wrong is an error of one line."""
    use_one_thread()
    manifest = parse_manifest(read_files(options.bundle)["manifest.json"])
    names = (*manifest.agents, *CONTROLLER_NAMES)
    paths = sorted(options.walk.glob(f"fold-*/{LOG_FILE}"), key=_fold_number)
    if not paths:
        raise ValueError(f"{options.walk}: no fold has a {LOG_FILE}; walkforward writes them")
    logs, lengths = zip(*(read_log(path, names) for path in paths), strict=True)
    if len(set(lengths)) != 1:
        raise ValueError(f"{options.walk}: folds of bars of {sorted(set(lengths))} ns")
    meta = options.meta
    model = fit_residuals(
        logs,
        year_bars=YEAR_S * 1e9 / lengths[0],
        window_bars=meta.performance_prediction_window,
        history_count=meta.agent_history_features,
        batch_size=meta.meta_batch_size,
        epochs=meta.meta_epochs,
        seed=options.seed,
    )
    found = {
        "folds": len(logs),
        "bars": sum(len(log.return_TN) for log in logs),
        "slope": round(model.slope, 6),
        "correlation": round(model.oof_correlation, 6),
    }
    sha256 = write_with_tables(
        options.bundle,
        options.out,
        model.to_tables(),
        replaced=PREFIX,
        created_ns=SystemClock().now_ns(),
        provenance={"residual": json.dumps(found), "residual_walk": str(options.walk)},
    )
    return {"bundle": str(options.out), "sha256": sha256, **found}


def write_log(path: Path, run: Backtest, from_ns: int) -> None:
    """Write what a run's experts earned and what was believed, from a time on.

    A row belongs to a bar that taught: its posterior is known at its close, its belief before it.
    """
    followed, bars = run.followed, len(run)
    skill_TN = np.vstack((np.zeros((1, len(followed.names))), followed.skill_TN[: bars - 1]))
    is_kept_T = followed.is_learned_T[:bars] & (run.close_ns_T >= from_ns)
    np.savez_compressed(
        path,
        names=np.array(followed.names),
        bar_ns=np.array(run.bar_ns),
        posterior_TK=run.posterior_TK[is_kept_T],
        return_TN=followed.paid_TN[:bars][is_kept_T],
        belief_TN=(skill_TN * np.sqrt(run.year_bars))[is_kept_T],
    )


def read_log(path: Path, names: tuple[str, ...]) -> tuple[ShadowLog, int]:
    """Return a fold's log and the length of its bars in ns; ValueError for other experts."""
    with np.load(path, allow_pickle=False) as arrays:
        if tuple(arrays["names"].tolist()) != names:
            raise ValueError(f"{path}: experts {', '.join(arrays['names'].tolist())}")
        log = ShadowLog(
            posterior_TK=arrays["posterior_TK"],
            return_TN=arrays["return_TN"],
            belief_TN=arrays["belief_TN"],
        )
        return log, int(arrays["bar_ns"])


def _fold_number(path: Path) -> int:
    number = path.parent.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _words(answer: dict[str, Any]) -> str:
    adds = "adds nothing" if answer["slope"] == 0.0 else f"slope {answer['slope']:.2f}"
    return (
        f"{answer['bundle']}: manifest sha256 {answer['sha256']}\n"
        f"  {answer['bars']:,} bars of {answer['folds']} folds; out of fold it {adds}, "
        f"correlation {answer['correlation']:+.3f}\n"
        "  a candidate: promote it with metaensemble models promote"
    )
