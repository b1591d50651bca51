"""Do the agents learn? S13 and S14 against an exact optimum, on seeds drawn now and printed.

    python -m tests.benchmarks.learning_bars                    both tables; exit 1 below a bar
    python -m tests.benchmarks.learning_bars --only s13 --agents ppo --seeds 2
    python -m tests.benchmarks.learning_bars --plant no_cost    a planted bug: must end with 1

S13: each agent on the strong world, five seeds, judged by its worst. S14: on the weak world (IC
0.025, four years of hours) the whole chain: forecasts out of fold, model rewards, then the agent;
ten data seeds. Score: expected reward on a fresh path over that of the exact policy.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from kernels.events import AGENTS
from strategy.learning import value_learner
from strategy.learning.dp_world import STRONG, WEAK, draw_path, draw_signal, score
from strategy.learning.forecasts import apply_forecast, fit_forecast
from strategy.learning.learner import LearnerOptions
from strategy.learning.learners import UPDATES, make_learner
from strategy.learning.policies import action_table
from strategy.learning.transitions import MarketPath

BARS_FILE = Path(__file__).with_name("bars.toml")
STRONG_BARS = 60_000
WEAK_BARS = 35_040
SCORED_BARS = 20_000
CHAIN_UPDATES = 2_500
PLANTS = ("swapped_argmax", "no_target", "no_cost")


def strong_score(agent: str, seed: int, plant: str = "") -> tuple[float, float]:
    """Train one agent on the strong world; return its score and the seconds it took."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(seed)
    path = draw_path(STRONG, STRONG_BARS, generator)
    began = perf_counter()
    with planted(plant):
        learner = make_learner(agent, taught(path, plant), seed=seed)
        learner.train(UPDATES[agent])
    took_s = perf_counter() - began
    x_T = draw_signal(STRONG, SCORED_BARS, generator)
    noise_TD = generator.normal(size=(SCORED_BARS, STRONG.noise_columns))
    rows_TF = np.column_stack((x_T, noise_TD)).astype(np.float32)
    table_TP = action_table(learner.net, rows_TF)
    if plant == "swapped_argmax":
        table_TP = 2 - table_TP
    return score(STRONG, table_TP, x_T), took_s


def chain_score(agent: str, seed: int, plant: str = "") -> tuple[float, float]:
    """Fit forecasts, train one agent on model rewards, score it on a fresh path."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(seed)
    path = draw_path(WEAK, WEAK_BARS, generator)
    began = perf_counter()
    fitted = fit_forecast(path.rows_TF.astype(np.float64), path.return_T)
    modelled = MarketPath(
        rows_TF=fitted.seen_T2.astype(np.float32),
        return_T=fitted.reward_T,
        cost_T=path.cost_T,
    )
    updates = CHAIN_UPDATES if agent != "ppo" else UPDATES["ppo"]
    with planted(plant):
        learner = make_learner(
            agent, taught(modelled, plant), LearnerOptions(updates=updates), seed=seed
        )
        learner.train(updates)
    took_s = perf_counter() - began
    x_T = draw_signal(WEAK, SCORED_BARS, generator)
    noise_TD = generator.normal(size=(SCORED_BARS, WEAK.noise_columns))
    seen_T2 = apply_forecast(fitted.forecast, np.column_stack((x_T, noise_TD)))
    return score(WEAK, action_table(learner.net, seen_T2.astype(np.float32)), x_T), took_s


@contextmanager
def planted(plant: str) -> Iterator[None]:
    """Break the learning in one named way for as long as this lasts."""
    smoothing = value_learner.ValueLearner.smoothing
    try:
        if plant == "no_target":
            whole = property(lambda self: 1.0)
            setattr(value_learner.ValueLearner, "smoothing", whole)  # noqa: B010 - a planted bug
        yield
    finally:
        setattr(value_learner.ValueLearner, "smoothing", smoothing)  # noqa: B010 - the plant is taken out


def taught(path: MarketPath, plant: str) -> MarketPath:
    """Return what an agent learns from: trading costs nothing where that bug is planted."""
    return replace(path, cost_T=np.zeros_like(path.cost_T)) if plant == "no_cost" else path


def run_table(
    title: str,
    judge: Callable[[str, int, str], tuple[float, float]],
    agents: tuple[str, ...],
    seeds: list[int],
    options: argparse.Namespace,
) -> dict[str, list[float]]:
    """Run every agent on every seed and print one line for each agent."""
    print(f"{title}; seeds {' '.join(map(str, seeds))}", flush=True)
    found: dict[str, list[float]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {
            agent: [pool.submit(judge, agent, seed, options.plant) for seed in seeds]
            for agent in agents
        }
        for agent, answers in waiting.items():
            pairs = [answer.result() for answer in answers]
            found[agent] = [value for value, _ in pairs]
            took_s = sum(took for _, took in pairs) / len(pairs)
            print(
                f"  {agent:11s} worst {min(found[agent]):.3f}  mean {np.mean(found[agent]):.3f}  "
                f"all {' '.join(f'{value:.3f}' for value in found[agent])}  {took_s:.0f} s each",
                flush=True,
            )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the tables asked for; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=("s13", "s14"), help="one table")
    parser.add_argument("--agents", nargs="+", default=list(AGENTS), choices=AGENTS)
    parser.add_argument("--seeds", type=int, help="how many; 5 for S13, 10 for S14")
    parser.add_argument("--seed", type=int, help="repeat a run by its first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--plant", choices=PLANTS, default="", help="break the learning")
    options = parser.parse_args(arguments)
    bars = tomllib.loads(BARS_FILE.read_text())
    first = options.seed if options.seed is not None else secrets.randbelow(2**31)
    failed: list[str] = []
    if options.only != "s14":
        seeds = [first + place for place in range(options.seeds or 5)]
        bar = bars["s13_dp_world"]
        title = f"S13, strong world (IC {STRONG.information_coefficient:.3f})"
        for agent, scores in run_table(
            title, strong_score, tuple(options.agents), seeds, options
        ).items():
            if not min(scores) >= bar["worst_seed_min"]:
                failed.append(f"S13 {agent}: worst {min(scores):.3f} < {bar['worst_seed_min']}")
    if options.only != "s13":
        seeds = [first + 1_000 + place for place in range(options.seeds or 10)]
        bar = bars["s14_low_signal"]
        title = f"S14, weak world (IC {WEAK.information_coefficient:.3f}), forecast and agent"
        for agent, scores in run_table(
            title, chain_score, tuple(options.agents), seeds, options
        ).items():
            if not (np.mean(scores) >= bar["mean_min"] and min(scores) > bar["worst_min"]):
                failed.append(
                    f"S14 {agent}: mean {np.mean(scores):.3f}, worst {min(scores):.3f}; "
                    f"wanted {bar['mean_min']} and above {bar['worst_min']}"
                )
    for line in failed:
        print(f"MISSED {line}")
    print("every bar holds" if not failed else f"{len(failed)} missed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
