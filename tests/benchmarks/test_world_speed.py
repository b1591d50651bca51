"""How fast the trading worlds roll: steps a second on one core, beside gymnasium's own loop.

Budgets: 1,024 worlds with 50 numbers of state each make at least 1,000,000 steps a second, and at
least 20 times as many as one ``TradeSimulator-v0`` stepped from Python, in the same run. Every step
trades on the ledger where the action asks for it and writes the whole state; the features of the
tape are made once by the live kernels and cost no step anything. Run with ``-m bench -s``.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from strategy.learning.environment import TradingWorlds, WorldRules
from strategy.learning.market_tape import drawn_tape
from strategy.learning.trade_simulator import TradeSimulator

pytestmark = pytest.mark.bench

WORLDS, STEPS, SINGLE_STEPS, ROUNDS = 1_024, 200, 5_000, 5


def test_worlds_against_a_gymnasium_loop() -> None:
    """Both on the same tape, with the same rules and the same drawn actions, in turn."""
    tape = drawn_tape("misspecified", 20_000, 7, 50)
    rules = WorldRules()
    worlds = TradingWorlds(tape, WORLDS, rules, seed=1)
    single = TradeSimulator(tape=tape, rules=rules)
    action_TW = np.random.default_rng(1).integers(0, 3, (STEPS, WORLDS))
    worlds.reset()
    worlds.step(action_TW[0])
    many, one = [], []
    for _ in range(ROUNDS):
        began = perf_counter()
        for action_W in action_TW:
            worlds.step(action_W)
        many.append(STEPS * WORLDS / (perf_counter() - began))
        single.reset(seed=1)
        began = perf_counter()
        for place in range(SINGLE_STEPS):
            _, _, terminated, truncated, _ = single.step(action_TW[place % STEPS, 0])
            if terminated or truncated:
                single.reset()
        one.append(SINGLE_STEPS / (perf_counter() - began))
    ratio = float(np.median(many) / np.median(one))
    print(
        f"\n{WORLDS} worlds {np.median(many) / 1e6:.2f} M steps/s (best {max(many) / 1e6:.2f}), "
        f"gymnasium loop {np.median(one):,.0f} steps/s; ratio {ratio:.0f}"
    )
    assert np.median(many) >= 1e6
    assert ratio >= 20.0
