"""Does the whole chain find an edge where there is none? S15, on seeds drawn now and printed.

    python -m tests.benchmarks.martingale_bars                        200 worlds; exit 1 if so
    python -m tests.benchmarks.martingale_bars --worlds 20 --plant tomorrow    must end with 1
    python -m tests.benchmarks.martingale_bars --bars btc_1m.parquet  real bars, signs drawn anew

Each world is a market of hours without drift and memory, but with the misspecified market's
regimes, volatilities and volumes; with ``--bars`` blocks of a file's hours whose signs are tossed.
Forecast, five agents and meta-learner are made on its first part as ``metaensemble train`` makes
them and walk the rest as ``metaensemble backtest`` does, without any cost, so that whatever the
chain believes to know it acts upon. The mean Sharpe ratio must lie within two standard errors of
zero, and a deflated one (six trials: the chain and its agents) may exceed 0.95 in 5 % of worlds.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.bar_files import read_bars
from kernels.events import AGENTS
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.archive import write_bundle
from strategy.bundle import load
from strategy.evaluation.backtest import Plan, expert_positions, listen, trade
from strategy.evaluation.drawn_bars import HOUR_NS, MARTINGALE, drawn_bars
from strategy.evaluation.execution import Costs
from strategy.evaluation.inference import deflated_sharpe, moments, stationary_draws
from strategy.learning.bar_history import History, history_of, merge_bars
from strategy.learning.training import (
    TrainingPlan,
    new_learner,
    prepare,
    recipe_of,
    use_one_thread,
    widen_team,
)
from strategy.runtime import Runtime
from tests.benchmarks.learning_bars import BARS_FILE

Floats = NDArray[np.float64]

BARS = 12_000
BLOCK_BARS = 168
"""Mean length of a block of real hours: what volatility remembers stays."""

TAUGHT_FRAC = 0.65
EFFORT_FRAC = 0.05
"""A twentieth of the full training: longer ones only learn the same forecast to the end."""

TRIALS = len(AGENTS) + 1
FREE = Costs(
    fee_frac=0.0, half_spread_frac=0.0, slippage_frac=0.0, funding_frac=0.0, half_ticks=0.0
)
PLANTS = ("tomorrow",)


def tossed_bars(path: Path, bars: int, seed: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return hours drawn in blocks from a file, each bar mirrored by the toss of a coin."""
    table = read_bars(path, 0, 2**63 - 1)
    _, price_T4, volume_T = merge_bars(table.open_ns_T, table.prices_T4, table.volume_T, HOUR_NS)
    generator = np.random.default_rng(seed)
    place_T = stationary_draws(len(volume_T), 1.0 / BLOCK_BARS, 1, generator)[0][:bars]
    shape_T4 = np.log(price_T4[place_T] / price_T4[place_T, :1])  # open is 0
    sign_T1 = generator.choice((-1.0, 1.0), (len(place_T), 1))
    shape_T4 = shape_T4 * sign_T1
    # over both signs exp(move) averages to cosh: divided by it the price is a martingale
    shape_T4[:, 3] -= np.log(np.cosh(shape_T4[:, 3]))
    high_T, low_T = shape_T4.max(axis=1), shape_T4.min(axis=1)
    shape_T4[:, 1], shape_T4[:, 2] = high_T, low_T
    open_T = np.cumsum(np.append(0.0, shape_T4[:-1, 3]))
    open_ns_T = np.arange(len(place_T), dtype=np.int64) * HOUR_NS
    return open_ns_T, 1e4 * np.exp(shape_T4 + open_T[:, None]), volume_T[place_T]


def world_history(seed: int, bars_path: Path | None) -> History:
    """Return one market in which nothing can be earned."""
    if bars_path is None:
        opened_T, prices_T4, volume_T = drawn_bars(MARTINGALE, BARS, seed)
    else:
        opened_T, prices_T4, volume_T = tossed_bars(bars_path, BARS, seed)
    return history_of(
        opened_T,
        prices_T4,
        volume_T,
        interval_ns=HOUR_NS,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=0.0,
    )


def leak(history: History) -> History:
    """Plant a bug: the first feature is the return that follows, blurred."""
    features_TF = history.features_TF.copy()
    noise_T = np.random.default_rng(1).normal(size=len(history))
    features_TF[:, 0] = history.return_T + 10.0 * history.return_T.std() * noise_T
    return replace(history, features_TF=features_TF)


def walk(seed: int, bars_path: Path | None, plant: str) -> tuple[float, float, list[float]]:
    """Make and walk one world's chain; return its Sharpe a year, deflated, and its agents'."""
    use_one_thread()
    history = world_history(seed, bars_path)
    if plant == "tomorrow":
        history = leak(history)
    split = int(TAUGHT_FRAC * len(history))
    plan = TrainingPlan(seed=seed, fee_frac=0.0, half_ticks=0.0, effort_frac=EFFORT_FRAC)
    taught = history.part(0, split)
    prepared = prepare(taught, plan)
    learners = {agent: new_learner(prepared, agent) for agent in AGENTS}
    for agent, learner in learners.items():
        learner.train(plan.updates(agent))
    recipe = recipe_of(
        prepared,
        taught,
        widen_team(learners, len(history.feature_names)),
        name="chain",
        status="trained where there is nothing to learn",
        created_ns=0,
        expires_ns=None,
        provenance={},
    )
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "chain", recipe)
        bundle = load(Path(folder) / "chain", history.feature_names, now_ns=1)
    later = history.part(split + plan.gap_bars, len(history))
    run = trade(listen(Runtime(bundle), later), Plan(costs=FREE))
    return_T = np.expm1(later.return_T[: len(run)])
    per_agent_TA = np.column_stack([expert_positions(run, name) * return_T for name in AGENTS])
    sharpes = [_sharpe(path_T) for path_T in (run.gross_T, *per_agent_TA.T)]
    found = moments(run.gross_T)
    if found is None:
        return 0.0, 0.0, [value * run.year_bars**0.5 for value in sharpes[1:]]
    deflated = deflated_sharpe(
        found[0], len(run), *found[1:], trials=TRIALS, variance=float(np.var(sharpes, ddof=1))
    )
    year = run.year_bars**0.5
    return found[0] * year, deflated or 0.0, [value * year for value in sharpes[1:]]


def _sharpe(return_T: Floats) -> float:
    found = moments(return_T)
    return 0.0 if found is None else found[0]


def run_worlds(
    seeds: list[int], *, bars_path: Path | None = None, plant: str = "", jobs: int = 2
) -> list[str]:
    """Walk every world and print what came of it; return what was missed."""
    bar = tomllib.loads(BARS_FILE.read_text())["s15_martingale"]
    print(f"S15, {len(seeds)} worlds; seeds {seeds[0]} to {seeds[-1]}", flush=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(walk, seed, bars_path, plant) for seed in seeds]
        found = [answer.result() for answer in waiting]
    own_W = np.array([sharpe for sharpe, _, _ in found])
    agents_WA = np.array([each for _, _, each in found])
    surprising_frac = float(np.mean([deflated > 0.95 for _, deflated, _ in found]))
    for name, sharpe_W in (("chain", own_W), *zip(AGENTS, agents_WA.T, strict=True)):
        error = sharpe_W.std(ddof=1) / len(sharpe_W) ** 0.5
        print(
            f"  {name:11s} mean Sharpe {sharpe_W.mean():+.3f}, standard error {error:.3f}, "
            f"worlds {sharpe_W.min():+.2f} to {sharpe_W.max():+.2f}"
        )
    print(f"  deflated Sharpe above 0.95 in {surprising_frac:.1%} of worlds", flush=True)
    missed = []
    error = float(own_W.std(ddof=1)) / len(own_W) ** 0.5
    if not error > 0.0:
        missed.append("the chain never held anything: the worlds show nothing")
    elif abs(own_W.mean()) > bar["errors_max"] * error:
        missed.append(f"mean Sharpe {own_W.mean():+.3f} is {own_W.mean() / error:+.1f} errors off")
    if surprising_frac > bar["surprising_frac_max"]:
        missed.append(f"{surprising_frac:.1%} of worlds show what is not there")
    return missed


def main() -> int:
    """Print the table; 1 when an edge is found where there is none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, help="repeat a run by its first seed")
    parser.add_argument("--bars", type=Path, metavar="FILE", help="real bars, signs tossed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--plant", choices=PLANTS, default="", help="let the future leak")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else secrets.randbelow(2**20)
    missed = run_worlds(
        [first + place for place in range(options.worlds)],
        bars_path=options.bars,
        plant=options.plant,
        jobs=options.jobs,
    )
    for line in missed:
        print(f"MISSED {line}")
    print("nothing is found where nothing is" if not missed else f"{len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
