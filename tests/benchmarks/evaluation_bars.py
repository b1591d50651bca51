"""Is an evaluation ever deceived by luck? Worlds without any edge, on seeds drawn now and printed.

    python -m tests.benchmarks.evaluation_bars                       200 worlds; exit 1 if so
    python -m tests.benchmarks.evaluation_bars --worlds 20 --plant eager       must end with 1
    python -m tests.benchmarks.evaluation_bars --seed 81 --worlds 1  one world again

Each world is a market of hours without drift and memory. What is asked for is the sentence that
``metaensemble evaluate`` would begin with (a test holds both to the same words), with all that it
rests on: equal weight, doubled costs, every ablation, the detectors, 1,000 draws an interval. At
most 5 % may be called better than equal weight, and no detector may find anything. Every judged
world is kept at once in ``--keep``, with the hash of the code that judged it: an interrupted run
goes on where it was, with its own seeds; changed code begins afresh. ``--plant eager`` calls better
whatever lies above 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from daemon.clock import SystemClock
from daemon.evaluation import prepare
from daemon.evaluator import MetaLearningEvaluator
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from strategy.evaluation.assessment import claim_alone
from strategy.evaluation.drawn_bars import MARTINGALE
from strategy.evaluation.headline import Evidence, missing
from strategy.learning.training import use_one_thread
from tests.benchmarks.learning_bars import BARS_FILE

ROOT = Path(__file__).resolve().parents[2]
KEEP = ROOT / ".bench/evaluation_worlds.jsonl"
WORLDS = 200
EPISODES, EPISODE_BARS = 8, 250
JUDGES = ("kernels", "config", "strategy", "daemon/evaluation*.py", "daemon/evaluator.py")
"""What a judgement is a function of, apart from the seed and the libraries."""

PLANTS = ("eager",)


def code_sha256() -> str:
    """Return the hash of every file that has a part in a judgement, the shipped bundle included."""
    digest = hashlib.sha256()
    for pattern in JUDGES:
        below = pattern if pattern.endswith(".py") else f"{pattern}/**/*"
        for path in sorted(ROOT.glob(below)):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def eager(evidence: Evidence) -> tuple[str, ...]:
    """Plant a bug: an interval above 0 is all that a claim needs."""
    lead = evidence.difference
    return (
        () if lead is not None and lead.low > 0.0 else ("the interval of the difference holds 0",)
    )


def judge(seed: int, plant: str) -> dict[str, Any]:
    """Judge one world; return what was said of it."""
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("daemon.evaluator.DRAWN_WORLD", MARTINGALE),
        patch("strategy.evaluation.headline.missing", eager if plant else missing),
    ):
        config = {"seed": seed, "ledger": str(Path(folder) / "trials.jsonl")}
        evaluator = MetaLearningEvaluator(UNTRAINED_BUNDLE_PATH, config)
        world = prepare(evaluator.options(EPISODES, EPISODE_BARS, None))
        claim = claim_alone(world.listening, world.opened.plan, world.inquiry, world.check)
    return {
        "seed": seed,
        "headline": claim.headline,
        "is_better": "better than" in claim.headline,
        "is_clean": claim.is_clean,
        "missing": claim.missing,
        "took_s": (clock.monotonic_ns() - began_ns) / 1e9,
    }


def kept_rows(keep: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the worlds that the same code judged with the same plant, oldest first."""
    if not keep.is_file():
        return []
    rows = [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if all(row[name] == value for name, value in run.items())]


def judged_worlds(
    worlds: int, first: int | None, plant: str, keep: Path
) -> Iterator[dict[str, Any]]:
    """Yield every world of a run: those that are kept, then the others as they are judged."""
    run: dict[str, Any] = {"code_sha256": code_sha256(), "plant": plant}
    kept = kept_rows(keep, run)
    if first is None:
        last = kept[-1]["first"] if kept else -1
        is_unfinished = 0 < sum(row["first"] == last for row in kept) < worlds
        first = last if is_unfinished else secrets.randbelow(2**20)
    run["first"] = first
    kept = kept_rows(keep, run)[:worlds]
    print(f"{worlds} worlds, seeds from {first} on, {len(kept)} of them judged before", flush=True)
    yield from kept
    keep.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(first + len(kept), first + worlds):
        row = {**run, **judge(seed, plant)}
        with open(keep, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        yield row


def run_worlds(
    worlds: int, first: int | None = None, *, plant: str = "", keep: Path = KEEP
) -> list[str]:
    """Judge every world and print what was said; return what was missed."""
    bar = tomllib.loads(BARS_FILE.read_text())["martingale_evaluations"]
    use_one_thread()
    better, unclean, took_s = [], [], 0.0
    for done, row in enumerate(judged_worlds(worlds, first, plant, keep), start=1):
        took_s += row["took_s"]
        if row["is_better"]:
            better.append(row["seed"])
            print(f"  seed {row['seed']}: {row['headline']}", flush=True)
        if not row["is_clean"]:
            unclean.append(row["seed"])
            print(f"  seed {row['seed']}: {row['missing'][0]}", flush=True)
        if done % 20 == 0 or done == worlds:
            print(
                f"  {done} judged in {took_s:.0f} s: {len(better)} called better, "
                f"{len(unclean)} with a fault found",
                flush=True,
            )
    complaints = []
    if len(better) > bar["better_frac_max"] * worlds:
        complaints.append(f"{len(better)} of {worlds} worlds are called better")
    if len(unclean) > bar["unclean_max"]:
        complaints.append(f"{len(unclean)} of {worlds} honest runs are called leaks")
    return complaints


def main() -> int:
    """Print what was said; 1 when too many worlds are called better."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=WORLDS, help=f"how many (default {WORLDS})")
    parser.add_argument("--seed", type=int, help="repeat a run by its first seed")
    parser.add_argument("--plant", choices=PLANTS, default="", help="claim too easily")
    parser.add_argument("--keep", type=Path, default=KEEP, metavar="FILE", help="of judged worlds")
    options = parser.parse_args()
    complaints = run_worlds(options.worlds, options.seed, plant=options.plant, keep=options.keep)
    for line in complaints:
        print(f"MISSED {line}")
    print("no luck is taken for skill" if not complaints else f"{len(complaints)} missed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
