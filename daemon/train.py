"""``metaensemble train``: bars in, a verified bundle out; can be interrupted and continued."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from daemon.bar_files import BarFileError, read_bars
from daemon.clock import SystemClock
from daemon.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED
from kernels.events import AGENTS
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.archive import write_bundle
from strategy.bundle import load
from strategy.evaluation.trials import TRIALS_FILE, Trial, append_trial
from strategy.learning.bar_history import History, history_of, merge_bars
from strategy.learning.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from strategy.learning.learner import Learner
from strategy.learning.market_history import market_history
from strategy.learning.training import (
    Prepared,
    TrainingPlan,
    Verdict,
    judge,
    new_learner,
    prepare,
    recipe_of,
    standardise,
    use_one_thread,
    widen_team,
)
from strategy.quality import StrangenessScale, false_positive_frac, unseen_false_positive_frac

CHECKPOINT_FOLDER = ".training"
SLICES = 40
"""A training is cut into so many parts; after each one progress is shown and state is saved."""

MARKET_BAR_NS = 1_000_000_000
"""Of a synthetic market, where no other length is asked for: what the daemon decides on."""

NS_PER_DAY = 86_400_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What the command line asks for; times in ns, costs as shares.

    Bars come from a file, or from a ``market`` that is drawn with ``market_seed`` where one is
    named; then there is no file, and no span.
    """

    bars_path: Path | None
    out: Path
    bar_ns: int
    from_ns: int
    to_ns: int
    half_spread_frac: float
    expires_days: int
    plan: TrainingPlan
    as_json: bool
    market: str = ""
    market_bars: int = 20_000
    market_seed: int = 1

    @property
    def source(self) -> str:
        """Name what is learnt from, for people."""
        if self.bars_path is not None:
            return self.bars_path.name
        return f"the synthetic market {self.market}, seed {self.market_seed}"


class Announce(Protocol):
    """Shows how far an agent is."""

    def __call__(self, agent: str, done: int, whole: int, measured: Mapping[str, float]) -> None:
        """Take updates done, updates in all, and what was measured."""


def run(options: TrainOptions) -> int:
    """Train all agents and write the bundle; 2 for data that cannot be used, 130 interrupted."""
    use_one_thread()
    try:
        with _progress() as announce:
            answer, verdicts = train_bundle(options, announce)
    except (BarFileError, CheckpointError, ValueError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        folder = options.out.parent / CHECKPOINT_FOLDER / options.out.name
        print(f"metaensemble: interrupted; the same command goes on from {folder}", file=sys.stderr)
        return EXIT_INTERRUPTED
    _say(answer, verdicts, as_json=options.as_json)
    return EXIT_DONE


def train_bundle(
    options: TrainOptions, announce: Announce
) -> tuple[dict[str, Any], dict[str, Verdict]]:
    """Train all agents, write the bundle and count the trial; return what there is to tell.

    BarFileError, CheckpointError or ValueError for data that cannot be used.
    """
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    history = read_history(options)
    prepared = prepare(history, options.plan)
    facts = _facts(options, history)
    learners, verdicts = _train_all(options, prepared, facts, announce)
    now_ns = clock.now_ns()
    expires_ns = now_ns + options.expires_days * NS_PER_DAY if options.expires_days else None
    recipe = recipe_of(
        prepared,
        history,
        widen_team(learners, len(history.feature_names)),
        name=options.out.name,
        status=f"trained on {len(history)} bars of {options.source}",
        created_ns=now_ns,
        expires_ns=expires_ns,
        provenance={name: str(value) for name, value in {**facts, **_seen(history)}.items()},
    )
    write_bundle(options.out, recipe)
    bundle = load(options.out, history.feature_names, now_ns=now_ns)
    rows_TF = prepared.rows_TF[:, : len(history.feature_names)]
    judged_TF = standardise(prepared.normalisation, prepared.judged.features_TF)
    scale = StrangenessScale.from_tables(recipe.tables)
    assert scale is not None, "just fitted"
    answer = {
        "bundle": str(options.out),
        "sha256": bundle.sha256,
        "bars": len(history),
        "took_s": (clock.monotonic_ns() - began_ns) / 1e9,
        "forecast_slope": prepared.fitted.forecast.slope,
        "strange_frac_unseen": unseen_false_positive_frac(rows_TF),
        "strange_frac_later": false_positive_frac(scale, judged_TF),
        "validation": {agent: asdict(verdict) for agent, verdict in verdicts.items()},
        **facts,
    }
    append_trial(options.out.parent / TRIALS_FILE, _trial(options, answer, verdicts, now_ns))
    return answer, verdicts


def read_history(options: TrainOptions) -> History:
    """Read the bars or draw the market, make longer ones where asked, and compute the features."""
    if options.bars_path is None:
        return market_history(
            options.market,
            bars=options.market_bars,
            interval_ns=options.bar_ns or MARKET_BAR_NS,
            seed=options.market_seed,
            feature_names=DEFAULT_FEATURE_NAMES,
            half_spread_frac=options.half_spread_frac,
        )
    table = read_bars(options.bars_path, options.from_ns, options.to_ns)
    interval_ns = options.bar_ns or table.interval_ns
    if interval_ns % table.interval_ns:
        raise ValueError(f"--bar is no multiple of the file's {table.interval_ns // 10**9} s")
    opened_T, prices_T4, volume_T = merge_bars(
        table.open_ns_T, table.prices_T4, table.volume_T, interval_ns
    )
    return history_of(
        opened_T,
        prices_T4,
        volume_T,
        interval_ns=interval_ns,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=options.half_spread_frac,
    )


def _train_all(
    options: TrainOptions, prepared: Prepared, facts: dict[str, Any], announce: Announce
) -> tuple[dict[str, Learner], dict[str, Verdict]]:
    folder = options.out.parent / CHECKPOINT_FOLDER / options.out.name
    learners: dict[str, Learner] = {}
    verdicts: dict[str, Verdict] = {}
    for agent in AGENTS:
        whole = options.plan.updates(agent)
        learner = new_learner(prepared, agent)
        read_checkpoint(folder, learner, facts)
        try:
            while learner.updates_done < whole:
                announce(agent, learner.updates_done, whole, {})
                measured = learner.train(min(max(1, whole // SLICES), whole - learner.updates_done))
                announce(agent, learner.updates_done, whole, measured)
        finally:  # an interrupt between two updates leaves what the same command goes on from
            write_checkpoint(folder, learner, facts)
        learners[agent] = learner
        verdicts[agent] = judge(prepared, learner.net)
    return learners, verdicts


def _facts(options: TrainOptions, history: History) -> dict[str, Any]:
    """Name everything that the result is a function of."""
    plan = json.dumps(asdict(options.plan), sort_keys=True)
    if options.bars_path is None:
        content = history.close_T.tobytes() + history.features_TF.tobytes()
    else:
        content = options.bars_path.read_bytes()
    return {
        "data": options.source,
        "data_sha256": hashlib.sha256(content).hexdigest(),
        "span_ns": f"{options.from_ns}..{options.to_ns}",
        "bar_ns": options.bar_ns,
        "half_spread_frac": options.half_spread_frac,
        "plan": plan,
        "seed": options.plan.seed,
        "commit": code_commit(),
    }


def _seen(history: History) -> dict[str, int]:
    """Say which closes the training saw, validation included: UNIX ns of the first and the last."""
    return {"first_ns": int(history.close_ns_T[0]), "last_ns": int(history.close_ns_T[-1])}


@cache
def code_commit() -> str:
    """Return the commit of the code as this process first found it, empty outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _trial(
    options: TrainOptions,
    answer: Mapping[str, Any],
    verdicts: Mapping[str, Verdict],
    now_ns: int,
) -> Trial:
    """Return the line for the ledger of everything that was tried; its Sharpe is the best agent's.

    Five agents are one trial here: an evaluation of the bundle judges the ensemble, not the five.
    """
    known = [verdict.sharpe for verdict in verdicts.values() if verdict.sharpe is not None]
    return Trial(
        kind="train",
        created_ns=now_ns,
        config_sha256=hashlib.sha256(answer["plan"].encode()).hexdigest(),
        bars_sha256=answer["data_sha256"],
        commit=answer["commit"],
        seed=options.plan.seed,
        sharpe=max(known, default=None),
        bars=answer["bars"],
        details=answer,
    )


def _say(answer: Mapping[str, Any], verdicts: Mapping[str, Verdict], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer))
        return
    print(f"{answer['bundle']}: manifest sha256 {answer['sha256']}")
    print(
        f"  {answer['bars']:,} bars, forecast slope {answer['forecast_slope']:.2f} out of fold, "
        f"{answer['took_s']:.0f} s"
    )
    print(
        f"  rows held to be strange: {answer['strange_frac_unseen']:.1%} of unseen ones out of the "
        f"training's span, {answer['strange_frac_later']:.1%} of the later block"
    )
    print("  on the later block, alone, net of costs:")
    for agent, verdict in verdicts.items():
        sharpe = "undefined" if verdict.sharpe is None else f"{verdict.sharpe:+.2f}"
        print(
            f"    {agent:11s} Sharpe {sharpe} +- {1.96 * verdict.sharpe_error:.2f} (95 %), "
            f"{verdict.net_bps_per_bar:+.3f} bps and {verdict.trades_per_bar:.4f} trades a bar"
        )


@contextmanager
def _progress() -> Iterator[Announce]:
    """Show a bar with the time left on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda agent, done, whole, measured: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[measured]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {agent: bars.add_task(agent, total=1, measured="") for agent in AGENTS}

        def announce(agent: str, done: int, whole: int, measured: Mapping[str, float]) -> None:
            text = "  ".join(f"{name} {value:.4g}" for name, value in measured.items())
            bars.update(tasks[agent], completed=done, total=whole, measured=text)

        yield announce
