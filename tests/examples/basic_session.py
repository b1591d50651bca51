"""Basic: train a team for some episodes and say how it did.

python tests/examples/basic_session.py --out sessions/basic
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metaensemble import MetaLearningEnsembleTrainer, create_meta_learning_config


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train on a drawn world; return the session's result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the session")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--bars", type=int, default=6_000, help="hours drawn")
    parser.add_argument("--steps", type=int, default=500, help="bars of an episode")
    options = parser.parse_args(arguments)
    config = create_meta_learning_config(
        "balanced",
        {"bars": options.bars, "max_step": options.steps},
        {"break_step": options.episodes * options.steps},
    )
    trainer = MetaLearningEnsembleTrainer(config, "basic_team", options.out)
    result = trainer.train_full_session(options.episodes)
    print(
        f"grade {result['grade']}; best episode: reward {result['best_episode_reward']}, "
        f"a year's Sharpe ratio {result['best_episode_sharpe']} (one episode, so mostly luck)"
    )
    return result


if __name__ == "__main__":
    main()
