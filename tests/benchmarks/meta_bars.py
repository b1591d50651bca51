"""Is the meta-learner worth its weights? S3 to S6 on markets drawn now, seeds printed.

    python -m tests.benchmarks.meta_bars                          every world; exit 1 below a bar
    python -m tests.benchmarks.meta_bars --world w --paths 40     one of them, quickly
    python -m tests.benchmarks.meta_bars --plant shuffled         a planted bug: must end with 1

Three years are drawn for each path, two to warm up, one to score. Figures are expected Sharpe
ratios: the true skill of what was held over its true risk, so that luck does not judge. Capture is
how much of the way from equal weight to the agent that is truly best at every bar was gone. All
rules see the same streams. The worlds are those of ``tests.benchmarks.skill_worlds``.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.bar_files import read_bars
from strategy.learning.bar_history import merge_bars
from tests.benchmarks import weighting_rules as rules
from tests.benchmarks.bar_table import BarTable, mean_interval, ratio_interval
from tests.benchmarks.skill_worlds import COUNT, WORLDS, YEAR_BARS, Draw, real

Floats = NDArray[np.float64]
Rows = dict[str, Floats]
Limits = Mapping[str, Mapping[str, float]]
BARS_FILE = Path(__file__).with_name("bars.toml")
REAL_BARS = Path(__file__).parents[3] / "shared/data/bars/xbtusd_bitmex_perp_1m_2017_2021.parquet"
HOUR_NS = 3_600_000_000_000
CAP = 0.6
SEPARATE_PATHS = {"a": 400, "w": 400, "identical": 200, "drifting": 100, "rough": 200, "real": 100}
TRUE_NN = 0.5 * np.eye(COUNT) + 0.5


def expected_sharpe(weight_TN: Floats, skill_TN: Floats) -> float:
    """Return the true annual Sharpe ratio of weights held."""
    risk = np.einsum("ti,ij,tj->t", weight_TN, TRUE_NN, weight_TN).mean()
    return float((weight_TN * skill_TN).sum(axis=1).mean() / np.sqrt(risk))


def draw_world(world: str, seed: int) -> Draw:
    """Draw one path of a world."""
    draws = np.random.default_rng(seed)
    return real(draws, real_hours()) if world == "real" else WORLDS[world](draws)


@cache
def real_hours() -> Floats:
    """Return real hourly bars: log return, log volume, no range (T, 3)."""
    table = read_bars(REAL_BARS, 0, 2**62)
    _, prices_T4, volume_T = merge_bars(table.open_ns_T, table.prices_T4, table.volume_T, HOUR_NS)
    bars_T3 = np.full((len(prices_T4) - 1, 3), np.nan)
    bars_T3[:, 0] = np.diff(np.log(prices_T4[:, 3]))
    bars_T3[:, 1] = np.log(np.maximum(volume_T[1:], 1e-9))
    return bars_T3


def judge_path(world: str, seed: int, plant: str = "") -> dict[str, float]:
    """Return the expected Sharpe ratio of every rule in the scored year of one path."""
    draw = draw_world(world, seed)
    posterior_TK = draw.posterior_TK
    if plant == "shuffled":
        posterior_TK = np.random.default_rng(seed).permutation(posterior_TK)
    scored = slice(len(draw.return_TN) - YEAR_BARS, None)
    skill_TN = draw.skill_TN[scored]
    held: dict[str, Floats] = {"equal": np.full((len(draw.return_TN), COUNT), 1.0 / COUNT)}
    for suffix, cap in (("", 1.0), ("_capped", CAP)):
        chain = rules.chain_weights(posterior_TK, draw.return_TN, YEAR_BARS, cap)
        held |= {f"{name}{suffix}": weight_TN for name, weight_TN in chain.items()}
    held["specified"] = rules.specified(draw.return_TN, YEAR_BARS)
    held["oamp"] = rules.optimistic(draw.return_TN)
    for name in ("specified", "oamp"):
        held[f"{name}_capped"] = rules.capped(held[name], CAP)
    found = {name: expected_sharpe(held[name][scored], skill_TN) for name in held}
    best_TN = np.zeros_like(skill_TN)
    best_TN[np.arange(len(skill_TN)), skill_TN.argmax(axis=1)] = 1.0
    return found | {"oracle": expected_sharpe(best_TN, skill_TN)} | _realised(held, draw, scored)


def _realised(held: Mapping[str, Floats], draw: Draw, scored: slice) -> dict[str, float]:
    """Return what equal weight and the capped chain really earned, as Sharpe ratios."""
    out = {}
    for name in ("equal", "safe_capped"):
        earned_T = (held[name][scored] * draw.return_TN[scored]).sum(axis=1)
        out[f"realised_{name}"] = float(earned_T.mean() / earned_T.std() * np.sqrt(YEAR_BARS))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print every world's table; 1 when a bar is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.meta_bars",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--world", choices=tuple(SEPARATE_PATHS), help="one of the worlds")
    parser.add_argument("--seed", type=int, help="master seed; drawn and printed when left out")
    parser.add_argument("--paths", type=int, help="paths of each world")
    parser.add_argument("--plant", choices=("shuffled",), default="", help="a bug to be found")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    chosen = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    print(f"master seed {seed}")
    bars, table = tomllib.loads(BARS_FILE.read_text("utf-8")), BarTable()
    with ProcessPoolExecutor(chosen.workers, get_context("spawn")) as pool:
        for world, wanted in SEPARATE_PATHS.items():
            if chosen.world not in (None, world):
                continue
            if world == "real" and not REAL_BARS.is_file():
                print(f"real: left out, {REAL_BARS.name} is not here")
                continue
            count = chosen.paths or wanted
            seeds = [seed + number for number in range(count)]
            rows = list(
                pool.map(judge_path, [world] * count, seeds, [chosen.plant] * count, chunksize=4)
            )
            found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            print(f"{world}: {count} paths; expected Sharpe {_levels(found)}")
            _judge(world, found, bars, table)
    return table.end()


def _levels(found: Rows) -> str:
    names = ("equal", "oracle", "kalman", "safe", "safe_capped", "adahedge", "oamp", "specified")
    return ", ".join(f"{name} {found[name].mean():.2f}" for name in names)


def _capture(found: Rows, name: str) -> tuple[float, float, float]:
    equal_P = found["equal"]
    return ratio_interval(found[name] - equal_P, found["oracle"] - equal_P)


def _judge(
    world: str, found: Rows, bars: Mapping[str, Mapping[str, float]], table: BarTable
) -> None:
    if world in ("a", "w", "drifting"):
        limits = bars[f"s3_capture_{world}"]
        for name in ("kalman", "kalman_capped", "safe", "safe_capped"):
            if f"{name}_min" in limits:
                goal = limits.get(f"{name}_goal")
                what = f"capture of {name}"
                table.judge(what, _capture(found, name), limits[f"{name}_min"], goal)
    if world == "identical":
        limits = bars["s5_no_harm"]
        gain_P = found["realised_safe_capped"] - found["realised_equal"]
        table.mean("S5 gain over equal weight", gain_P, limits["gain_min"], -0.02, up=True)
        loss = float(np.quantile(-gain_P, 0.95))
        table.judge("S5 95 % quantile of the loss", (loss,) * 3, limits["loss_max"], up=False)
        return
    if world in ("rough", "real"):
        _judge_order(found, table)
        return
    gap_min = bars["s4_paired"]["gap_min"]
    goal = bars["s4_paired"]["adahedge_goal"] if world == "w" else None
    for rival in ("specified", "adahedge", "oamp"):
        for suffix in ("", "_capped"):
            gap_P = found[f"safe{suffix}"] - found[f"{rival}{suffix}"]
            wanted = goal if rival == "adahedge" else None
            table.mean(f"S4 safe{suffix} ahead of {rival}{suffix}", gap_P, gap_min, wanted, up=True)
    if world == "w":
        worse = float(np.mean(found["safe"] < found["equal"] - 0.05))
        table.judge("S4 share of paths worse than equal weight", (worse,) * 3, 0.0, up=False)


def _judge_order(found: Rows, table: BarTable) -> None:
    """Judge an order of means: safe, then AdaHedge, then the specification's rule."""
    for suffix in ("", "_capped"):
        for better, worse in (("safe", "adahedge"), ("adahedge", "specified")):
            gap_P = found[f"{better}{suffix}"] - found[f"{worse}{suffix}"]
            mean, low, high = mean_interval(gap_P)
            what = f"order: {better}{suffix} ahead of {worse}{suffix}"
            table.judge(what, (mean, mean, mean), 0.0)
            print(f"    95 % interval of that difference [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    sys.exit(main())
