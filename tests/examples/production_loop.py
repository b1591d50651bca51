"""Production: trained agents decide at every closed bar; nothing is sent to any exchange.

    python tests/examples/production_loop.py --session sessions/advanced --checkpoint kept_0019

An unattended account belongs to the daemon, ``metaensemble run``, which has the risk gate; this
loop shows how a program of one's own asks the same ensemble. States and prices are drawn apart from
each other, so what it earns means nothing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from kernels.events import Action
from metaensemble import (
    MetaLearningConfigManager,
    MetaLearningEnsembleManager,
    MetaLearningEnsembleTrainer,
    TradeSimulator,
)
from strategy.learning.market_tape import drawn_tape


def main(arguments: list[str] | None = None) -> Counter[str]:
    """Load a team, decide bar by bar; return how often each action was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", type=Path, required=True, help="folder of the session")
    parser.add_argument("--checkpoint", required=True, help="name of a checkpoint in it")
    parser.add_argument("--bars", type=int, default=500)
    options = parser.parse_args(arguments)
    config = MetaLearningConfigManager.load_config_from_file(options.session / "config.json")
    trainer = MetaLearningEnsembleTrainer(config, "production_team", options.session)
    trainer.load_checkpoint(options.checkpoint)
    manager = MetaLearningEnsembleManager(trainer.ensemble.agent, settings=config.meta)
    tape = drawn_tape("misspecified", 3 * options.bars + 1_000, 11, config.env_args.state_dim)
    account = TradeSimulator(tape=tape)
    state, _ = account.reset(seed=1)
    generator = np.random.default_rng(1)
    price, taken = 50_000.0, Counter[str]()
    for _ in range(options.bars):
        price *= float(np.exp(0.005 * generator.normal()))
        action, found = manager.get_trading_action(state, price, 10.0)
        if found["errors"]:
            raise RuntimeError(f"agents failed: {found['errors']}")
        state, _, terminated, truncated, _ = account.step(np.int64(action))
        taken[Action(action).name] += 1
        if terminated or truncated:
            state, _ = account.reset()
    print(f"{dict(taken)}; {manager.get_performance_summary()}")
    return taken


if __name__ == "__main__":
    main()
