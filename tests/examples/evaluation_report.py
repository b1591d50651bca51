"""Evaluation: judge a trained bundle, with intervals, and write the report.

    python tests/examples/evaluation_report.py --bundle sessions/basic/final_session/model \
        --out sessions/basic/judged
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metaensemble import MetaLearningEvaluator


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Judge a bundle on a drawn world that it was not trained on; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1_000, help="bars of an episode")
    options = parser.parse_args(arguments)
    evaluator = MetaLearningEvaluator(
        options.bundle,
        {"results_dir": options.out, "ledger": options.out / "trials.jsonl", "seed": 11},
    )
    found = evaluator.evaluate_comprehensive(options.episodes, options.steps)
    assessment = found["detailed_analysis"]["performance_assessment"]
    print(f"grade {assessment['grade']}, {assessment['score']} of 100: {assessment['headline']}")
    return found


if __name__ == "__main__":
    main()
