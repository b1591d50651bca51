"""Do the agents learn? S13 and S14 against an exact optimum, on seeds drawn now and printed.

    python -m tests.benchmarks.learning_bars                    both tables; exit 1 below a bar
    python -m tests.benchmarks.learning_bars --only s13 --agents ppo --seeds 2
    python -m tests.benchmarks.learning_bars --plant no_cost    a planted bug: must end with 1

S13: each agent on the strong world, five seeds, judged by its worst. S14: on the weak world (IC
0.025, four years of hours) the whole chain: forecasts out of fold, model rewards, then the agent;
ten data seeds. Score: expected reward on a fresh path over that of the exact policy.

The score cannot miss a target network: without one D3QN reached 0.99 of the strong world. So S13
also measures how many updates the target lags behind what is trained, and holds a bar on it.
"""

from __future__ import annotations

import argparse
import copy
import secrets
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from kernels.events import AGENTS
from strategy.learning import value_learner
from strategy.learning.dp_world import STRONG, WEAK, draw_path, draw_signal, score
from strategy.learning.forecasts import apply_forecast, fit_forecast
from strategy.learning.learner import Learner, LearnerOptions
from strategy.learning.learners import UPDATES, make_learner
from strategy.learning.policies import action_table
from strategy.learning.transitions import MarketPath

BARS_FILE = Path(__file__).with_name("bars.toml")
STRONG_BARS = 60_000
WEAK_BARS = 35_040
SCORED_BARS = 20_000
CHAIN_UPDATES = 2_500
PLANTS = ("swapped_argmax", "no_target", "no_cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of one training: share of the optimum, seconds, and the target's lag.

    ``lag_updates`` is None where there is no target network by design, and where nobody asked.
    """

    score: float
    took_s: float
    lag_updates: float | None = None


def target_lag(learner: Learner) -> float | None:
    """Return how many updates the target network is behind, by one update more; None without one.

    The distance that is left, in units of what the target moves: 99 where it takes over 1 %.
    """
    if not isinstance(learner, value_learner.ValueLearner):
        return None
    before_P = flat(learner.target)
    learner.train(1)
    left = float(torch.linalg.norm(flat(learner.net) - flat(learner.target)))
    moved = float(torch.linalg.norm(flat(learner.target) - before_P))
    return left / moved if moved > 0.0 else float("inf")


def flat(network: nn.Module) -> torch.Tensor:
    """Return a copy of all weights in one row (P)."""
    return torch.cat([weight.detach().double().ravel() for weight in network.parameters()])


def strong_score(agent: str, seed: int, plant: str = "") -> Trained:
    """Train one agent on the strong world."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(seed)
    path = draw_path(STRONG, STRONG_BARS, generator)
    began = perf_counter()
    with planted(plant):
        learner = make_learner(agent, taught(path, plant), seed=seed)
        learner.train(UPDATES[agent])
        took_s = perf_counter() - began
        judged = copy.deepcopy(learner.net)
        lag_updates = target_lag(learner)
    x_T = draw_signal(STRONG, SCORED_BARS, generator)
    noise_TD = generator.normal(size=(SCORED_BARS, STRONG.noise_columns))
    rows_TF = np.column_stack((x_T, noise_TD)).astype(np.float32)
    table_TP = action_table(judged, rows_TF)
    if plant == "swapped_argmax":
        table_TP = 2 - table_TP
    return Trained(score=score(STRONG, table_TP, x_T), took_s=took_s, lag_updates=lag_updates)


def chain_score(agent: str, seed: int, plant: str = "") -> Trained:
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
    table_TP = action_table(learner.net, seen_T2.astype(np.float32))
    return Trained(score=score(WEAK, table_TP, x_T), took_s=took_s)


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
    judge: Callable[[str, int, str], Trained],
    agents: tuple[str, ...],
    seeds: list[int],
    options: argparse.Namespace,
) -> dict[str, list[Trained]]:
    """Run every agent on every seed and print one line for each agent."""
    print(f"{title}; seeds {' '.join(map(str, seeds))}", flush=True)
    found: dict[str, list[Trained]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {
            agent: [pool.submit(judge, agent, seed, options.plant) for seed in seeds]
            for agent in agents
        }
        for agent, answers in waiting.items():
            found[agent] = [answer.result() for answer in answers]
            scores = [trained.score for trained in found[agent]]
            took_s = sum(trained.took_s for trained in found[agent]) / len(scores)
            lags = [t.lag_updates for t in found[agent] if t.lag_updates is not None]
            lag = f"  target {min(lags):.0f} updates behind" if lags else ""
            print(
                f"  {agent:11s} worst {min(scores):.3f}  mean {np.mean(scores):.3f}  "
                f"all {' '.join(f'{value:.3f}' for value in scores)}  {took_s:.0f} s each{lag}",
                flush=True,
            )
    return found


def strong_misses(agent: str, trained: list[Trained], bar: dict[str, float]) -> list[str]:
    """Return what an agent's trainings on the strong world miss, a line each."""
    worst = min(each.score for each in trained)
    found = []
    if not worst >= bar["worst_seed_min"]:
        found.append(f"S13 {agent}: worst {worst:.3f} < {bar['worst_seed_min']}")
    lags = [each.lag_updates for each in trained if each.lag_updates is not None]
    if lags and not min(lags) >= bar["target_lag_updates_min"]:
        found.append(
            f"S13 {agent}: the target is {min(lags):.1f} updates behind, "
            f"wanted {bar['target_lag_updates_min']:g}"
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
        for agent, trained in run_table(
            title, strong_score, tuple(options.agents), seeds, options
        ).items():
            failed += strong_misses(agent, trained, bar)
    if options.only != "s13":
        seeds = [first + 1_000 + place for place in range(options.seeds or 10)]
        bar = bars["s14_low_signal"]
        title = f"S14, weak world (IC {WEAK.information_coefficient:.3f}), forecast and agent"
        for agent, trained in run_table(
            title, chain_score, tuple(options.agents), seeds, options
        ).items():
            scores = [each.score for each in trained]
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
