"""``metaensemble train`` for several seeds, side by side in processes or on Ray.

A seed's training is a function of options, bars and seed and has a folder of its own, so it is the
same bundle wherever it was made; what an interrupt leaves, the same command goes on from. How far
the seeds lie apart is what chance in a training is worth: no seed is chosen for the reader.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from daemon.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED
from daemon.progress_lines import progress
from daemon.side_by_side import Workers, each
from daemon.train import TrainOptions, train_bundle
from kernels.events import AGENTS
from strategy.learning.training import use_one_thread

SEEDS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpread:
    """An agent's annual Sharpe on the later block over all seeds; None where undefined."""

    agent: str
    sharpes: tuple[float | None, ...]
    mean: float | None
    deviation: float | None


def run(options: TrainOptions, seeds: int, workers: Workers) -> int:
    """Train every seed and tell; 0 done, 2 for what cannot be used, 130 interrupted."""
    try:
        answers = train_seeds(options, seeds, workers)
    except ValueError as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print(
            f"metaensemble: interrupted; the same command goes on beside {options.out}",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    found = spreads(answers)
    if options.as_json:
        told = {"bundles": answers, "spreads": [asdict(spread) for spread in found]}
        print(json.dumps(told))
    else:
        print("\n".join(_lines(answers, found)))
    return EXIT_DONE


def train_seeds(options: TrainOptions, seeds: int, workers: Workers) -> list[dict[str, Any]]:
    """Return what every seed's training has to tell, in the order of the seeds; ValueError."""
    tasks = options_by_seed(options, seeds)
    answers = []
    with progress() as announce:
        announce(f"training: {len(tasks)} seeds")
        for answer in each(train_one, tasks, workers):
            answers.append(answer)
            announce(f"training: {len(answers)} of {len(tasks)} seeds done")
    return answers


def options_by_seed(options: TrainOptions, seeds: int) -> list[TrainOptions]:
    """Return each seed's own options: one keeps the folder asked for, more get one each in it."""
    if not 1 <= seeds <= SEEDS_MAX:
        raise ValueError(f"--seeds {seeds} is not in 1 to {SEEDS_MAX}")
    # a worker of a cluster may stand elsewhere
    path = options.bars_path.resolve() if options.bars_path is not None else None
    placed = replace(options, bars_path=path, out=options.out.resolve())
    if seeds == 1:
        return [placed]
    return [
        replace(placed, plan=replace(placed.plan, seed=seed), out=placed.out / f"seed-{seed}")
        for seed in range(placed.plan.seed, placed.plan.seed + seeds)
    ]


def train_one(options: TrainOptions) -> dict[str, Any]:
    """Train one seed and write its bundle; return what there is to tell."""
    use_one_thread()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    answer, _ = train_bundle(options, lambda agent, done, whole, measured: None)
    return answer


def spreads(answers: Sequence[dict[str, Any]]) -> list[SeedSpread]:
    """Return how far the seeds of every agent lie apart."""
    found = []
    for agent in AGENTS:
        sharpes = tuple(answer["validation"][agent]["sharpe"] for answer in answers)
        known = [sharpe for sharpe in sharpes if sharpe is not None]
        found.append(
            SeedSpread(
                agent=agent,
                sharpes=sharpes,
                mean=fmean(known) if known else None,
                deviation=stdev(known) if len(known) > 1 else None,
            )
        )
    return found


def _lines(answers: Sequence[dict[str, Any]], found: Sequence[SeedSpread]) -> list[str]:
    lines = [
        f"{answer['bundle']}: seed {answer['seed']}, manifest sha256 {answer['sha256']}"
        for answer in answers
    ]
    error = answers[0]["validation"][AGENTS[0]]["sharpe_error"]
    lines.append(f"  Sharpe on the later block, alone, net of costs (+- {1.96 * error:.2f}, 95 %):")
    for spread in found:
        each_one = " ".join("none" if s is None else f"{s:+.2f}" for s in spread.sharpes)
        mean = "undefined" if spread.mean is None else f"{spread.mean:+.2f}"
        apart = "" if spread.deviation is None else f", deviation {spread.deviation:.2f}"
        lines.append(f"    {spread.agent:11s} mean {mean}{apart}: {each_one}")
    return lines
