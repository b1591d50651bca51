"""``metaensemble evaluate``: a bundle judged on bars; every trial counted, every figure with facts.

What is written: ``report.json`` and the tear sheet in the folder asked for, and a line in the
ledger of trials. A
detector that finds a fault makes the command fail (exit 1), and the report says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from daemon.bar_files import BarFileError, read_bars
from daemon.clock import SystemClock
from daemon.evaluation_inputs import Inputs, Opened, open_inputs
from daemon.executed_orders import executed_orders
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from daemon.progress_lines import progress
from daemon.seals import break_seal, seal_lines
from daemon.train import code_commit
from strategy.bundle import Bundle, BundleError
from strategy.evaluation.assessment import Assessment, Inquiry, assess
from strategy.evaluation.backtest import Backtest, Listening, listen
from strategy.evaluation.cost_figures import cost_figures
from strategy.evaluation.detectors import (
    STREAMED_ROWS,
    TRUNCATED_BARS,
    Finding,
    check_ledger,
    check_mixture,
    check_streaming,
    check_truncation,
)
from strategy.evaluation.figures import YEAR_S
from strategy.evaluation.report_json import report_of
from strategy.evaluation.report_lines import report_lines
from strategy.evaluation.tear_sheet import tear_sheet
from strategy.evaluation.trials import (
    SEALED,
    LedgerError,
    Trial,
    append_trial,
    read_trials,
    sharpe_variance,
)
from strategy.learning.training import use_one_thread
from strategy.regime_tracker import crisis_level_of

EMBARGO_BARS = 200
"""Bars between the last one that the training saw and the first that judges."""

TRAINING_FRAC = 0.2
"""Share of the bars that only teaches the meta-learner, where the training saw none of them."""

THOROUGH_ROWS = 100_000

REPORT_FILE, SHEET_FILE = "report.json", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What the command asks for; ``test_from_ns`` 0: after what the training saw, or a fifth.

    ``out`` None: nothing is written but the trial. ``is_again`` allows a second look at sealed
    bars; ``is_thorough`` looks for leaks in ``THOROUGH_ROWS`` decisions. ``journal_path`` holds
    orders of past runs, which the costs are held against. ``others`` are trials that stand on other
    ledgers and count as well, ``planned`` counts those that are decided on and still to come.
    """

    inputs: Inputs
    test_from_ns: int
    seed: int
    out: Path | None
    as_json: bool
    is_again: bool = False
    is_thorough: bool = False
    journal_path: Path | None = None
    episodes: int = 20
    episode_bars_max: int = 1_000
    others: tuple[Trial, ...] = ()
    planned: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A judgement and the report that was written of it."""

    assessment: Assessment
    report: dict[str, Any]
    report_path: Path | None


EVALUATION_ERRORS = (BundleError, BarFileError, LedgerError, ValueError, OSError)
"""What bad input raises; each says in one line what is wrong."""


def run(options: EvaluationOptions) -> int:
    """Judge and tell; 0 done, 1 a detector found a fault, 2 refused, 130 interrupted."""
    use_one_thread()
    try:
        with progress() as announce:
            judged = evaluate(options, announce)
    except EVALUATION_ERRORS as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if options.as_json:
        told = {name: part for name, part in judged.report.items() if name != "curves"}
        print(json.dumps({**told, "report": str(judged.report_path)}))
    else:
        print("\n".join(report_lines(judged.report)))
        print(f"  written to {judged.report_path}; for a browser: {SHEET_FILE} beside it")
    return EXIT_DONE if judged.assessment.is_clean else EXIT_FAILED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Everything before the first decision is looked at: models have been asked, nothing judged."""

    opened: Opened
    listening: Listening
    inquiry: Inquiry

    def check(self, played: Backtest, *, is_thorough: bool = False) -> tuple[Finding, ...]:
        """Run the detectors that need bars and models."""
        history, bars, runtime = self.opened.history, self.opened.bars, self.opened.runtime
        truncated, streamed = TRUNCATED_BARS, STREAMED_ROWS
        if is_thorough:
            truncated = streamed = THOROUGH_ROWS
        warm_bars = len(bars.open_ns_T) - len(history)
        return (
            check_truncation(runtime, bars, self.opened.plan, warm_bars, truncated),
            check_streaming(runtime, history, played, streamed),
            check_ledger(played, history.close_T),
            check_mixture(played),
        )


def prepare(options: EvaluationOptions) -> Prepared:
    """Open bundle, bars and ledger, and ask the models; one of ``EVALUATION_ERRORS`` otherwise."""
    opened = open_inputs(options.inputs, SystemClock().now_ns())
    charged = None
    if options.journal_path is not None:
        charged = cost_figures(executed_orders(options.journal_path).orders, options.inputs.costs)
    known = (*options.others, *read_trials(opened.ledger_path))
    before = [trial for trial in known if trial.kind != SEALED]
    listening = listen(opened.runtime, opened.history)
    bundle = opened.runtime.bundle
    inquiry = Inquiry(
        training_bars=_training_bars(bundle, listening.close_ns_T, _test_from_ns(options)),
        seed=options.seed,
        trials=len(before) + 1 + options.planned,
        trial_variance=sharpe_variance(tuple(before), YEAR_S * 1e9 / listening.bar_ns),
        crisis_level=crisis_level_of(bundle.tables),
        episodes=options.episodes,
        episode_bars_max=options.episode_bars_max,
        charged=charged,
    )
    return Prepared(opened=opened, listening=listening, inquiry=inquiry)


def evaluate(
    options: EvaluationOptions, announce: Callable[[str], None] = lambda _: None
) -> Judged:
    """Judge a bundle, count the trial, write the report; one of ``EVALUATION_ERRORS`` otherwise."""
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    prepared = prepare(options)
    opened, sealed_path = prepared.opened, options.inputs.sealed_path
    ledger_path = opened.ledger_path
    if sealed_path is not None:  # the last thing before anything of it is seen
        break_seal(
            ledger_path,
            sealed_path,
            now_ns=clock.now_ns(),
            commit=code_commit(),
            again=options.is_again,
        )
    found = assess(
        prepared.listening,
        opened.plan,
        prepared.inquiry,
        lambda played: prepared.check(played, is_thorough=options.is_thorough),
        announce,
    )
    now_ns = clock.now_ns()
    facts = {
        **asdict(opened.facts),
        "resampling_seed": options.seed,
        "created": datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="seconds"),
        "took_s": (clock.monotonic_ns() - began_ns) / 1e9,
        "runtime": opened.runtime.form,
        "status": opened.runtime.bundle.manifest.status,
    }
    sealed = opened.facts.bars_sha256 if sealed_path is not None else ""
    append_trial(ledger_path, _trial(opened, found, options.seed, now_ns, sealed))
    trials = (*options.others, *read_trials(ledger_path))
    report = report_of(found, {**facts, "seal": list(seal_lines(trials))})
    path = None if options.out is None else _write(options.out, report)
    return Judged(assessment=found, report=report, report_path=path)


def _write(folder: Path, report: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    path.write_text(json.dumps(report, allow_nan=False) + "\n", encoding="utf-8")
    (folder / SHEET_FILE).write_text(tear_sheet(report), encoding="utf-8")
    return path


def _test_from_ns(options: EvaluationOptions) -> int:
    """Return when the test begins: with the sealed bars where there are some."""
    sealed_path = options.inputs.sealed_path
    if sealed_path is None:
        return options.test_from_ns
    if options.test_from_ns:
        raise ValueError("--test-from and --seal exclude each other: sealed bars are the test")
    return int(read_bars(sealed_path).open_ns_T[0])


def _training_bars(
    bundle: Bundle, close_ns_T: np.typing.NDArray[np.int64], test_from_ns: int
) -> int:
    """Return the row at which the test begins; ValueError where the training saw later bars."""
    seen_ns = int(bundle.manifest.provenance.get("last_ns", "0"))
    first = int(np.searchsorted(close_ns_T, test_from_ns))
    begins = int(np.searchsorted(close_ns_T, seen_ns, side="right"))
    free = begins + EMBARGO_BARS if begins else 0
    if not test_from_ns:
        first = max(free, int(TRAINING_FRAC * len(close_ns_T)))
    elif first < free:
        raise ValueError(
            f"bundle {bundle.name} was trained on bars up to "
            f"{datetime.fromtimestamp(seen_ns / 1e9, UTC):%Y-%m-%d %H:%M}: a test may begin "
            f"{EMBARGO_BARS} bars later, not at the time asked for"
        )
    if not 2 <= first <= len(close_ns_T) - 100:
        raise ValueError(
            f"{first:,} of {len(close_ns_T):,} bars come before the test: at least 2 must, "
            "and 100 must be left"
        )
    return first


def _trial(opened: Opened, found: Assessment, seed: int, now_ns: int, sealed: str) -> Trial:
    own = found.standings[0]
    return Trial(
        kind="evaluate",
        created_ns=now_ns,
        config_sha256=opened.facts.config_sha256,
        bars_sha256=opened.facts.bars_sha256,
        commit=opened.facts.commit,
        seed=seed,
        sharpe=own.metrics.sharpe,
        bars=own.metrics.bars,
        note=found.headline,
        details={"bundle_sha256": opened.facts.bundle_sha256, "sealed": sealed},
    )
