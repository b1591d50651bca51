"""Production: trained agents decide at every closed bar; nothing is sent to any exchange.

    python tests/examples/production_loop.py --session sessions/advanced --checkpoint kept_0019

An unattended account belongs to the daemon, ``metaensemble run``, which has the risk gate; this
loop shows how a program of one's own asks the same ensemble. The market is drawn: states, prices
and volumes are those of the same bars, as a feed of one's own would have to bring them.
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
from strategy.evaluation.drawn_bars import HOUR_NS, drawn_bars
from strategy.learning.market_tape import MarketTape, drawn_tape

WORLD, MARKET_SEED = "misspecified", 11


class Feed:
    """One drawn market: the states of its tape, and the bars that they were made of."""

    def __init__(self, bars: int, state_dim: int) -> None:
        """Draw it."""
        self.tape: MarketTape = drawn_tape(WORLD, bars, MARKET_SEED, state_dim)
        self._opened_ns_T, self._price_T4, self._volume_T = drawn_bars(WORLD, bars, MARKET_SEED)

    def bar(self, row: int) -> tuple[float, float]:
        """Return close and volume of the bar that a row of the tape was made at."""
        opened_ns = self.tape.close_ns_T[row] - HOUR_NS
        place = int((opened_ns - self._opened_ns_T[0]) // HOUR_NS)
        return float(self._price_T4[place, 3]), float(self._volume_T[place])


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
    feed = Feed(3 * options.bars + 1_000, config.env_args.state_dim)
    account = TradeSimulator(state_dim=config.env_args.state_dim, tape=feed.tape)
    state, at = account.reset(seed=1)
    taken = Counter[str]()
    for _ in range(options.bars):
        price, volume = feed.bar(at["bar"])
        action, found = manager.get_trading_action(state, price, volume)
        if found["errors"]:
            raise RuntimeError(f"agents failed: {found['errors']}")
        state, _, terminated, truncated, at = account.step(np.int64(action))
        taken[Action(action).name] += 1
        if terminated or truncated:
            state, at = account.reset()
    print(f"{dict(taken)}; {manager.get_performance_summary()}")
    return taken


if __name__ == "__main__":
    main()
