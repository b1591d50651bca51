"""Advanced: parameters of one's own, episode by episode, checkpoints by one's own rule.

python tests/examples/advanced_session.py --out sessions/advanced
"""

from __future__ import annotations

import argparse
from pathlib import Path

from metaensemble import (
    MetaLearningConfigManager,
    MetaLearningEnsembleTrainer,
    create_meta_learning_config,
)

SHARPE_WORTH_KEEPING = 1.5


def main(arguments: list[str] | None = None) -> list[str]:
    """Train episode by episode; return the checkpoints that were kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the session")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--bars", type=int, default=6_000, help="hours drawn")
    parser.add_argument("--steps", type=int, default=500, help="bars of an episode")
    options = parser.parse_args(arguments)
    config = create_meta_learning_config(
        "custom",
        {"bars": options.bars, "max_step": options.steps},
        {
            "max_agent_weight": 0.75,
            "meta_training_frequency": 50,
            "break_step": options.episodes * options.steps,
            "agents": {"twin_d3qn": False},
        },
    )
    path = MetaLearningConfigManager.save_config_to_file(config, options.out / "config.json")
    config = MetaLearningConfigManager.load_config_from_file(path)
    trainer = MetaLearningEnsembleTrainer(config, "advanced_team", options.out)
    kept: list[str] = []
    for episode in range(options.episodes):
        found = trainer.train_episode(episode, options.steps)
        sharpe_ratio = found["sharpe_ratio"]  # None without spread
        is_last = episode == options.episodes - 1
        if is_last or (sharpe_ratio is not None and sharpe_ratio > SHARPE_WORTH_KEEPING):
            name = f"kept_{episode:04d}"
            trainer.save_checkpoint(name)
            kept.append(name)
        print(f"episode {episode}: reward {found['total_reward']:+.4f}, Sharpe {sharpe_ratio}")
    return kept


if __name__ == "__main__":
    main()
