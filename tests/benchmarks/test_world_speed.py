"""How fast the trading worlds roll: steps a second on one core, beside gymnasium's own loop.

Budgets: 1,024 worlds with 50 numbers of state each make at least 1,000,000 steps a second, and at
least 20 times as many as one ``TradeSimulator-v0`` stepped from Python, in the same run. Every step
trades on the ledger where the action asks for it and writes the whole state; the features of the
tape are made once by the live kernels and cost no step anything. Beside ElegantRL's own vectorised
simulator (``StockTradingVmapEnv``, on torch, one asset, 50 numbers of state, as many worlds) at
least 1.5 times as many; that library is no extra of ours, since what it requires cannot be built
everywhere: ``pip install --no-deps elegantrl==0.3.6``. Run with ``-m bench -s``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch

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


def elegant_worlds() -> Any:
    """Return ElegantRL's vectorised simulator on drawn prices, read from its own file alone."""
    found = importlib.util.find_spec("elegantrl")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no ElegantRL: pip install --no-deps elegantrl==0.3.6")
    path = Path(found.submodule_search_locations[0]) / "envs" / "StockTradingVmapEnv.py"
    spec = importlib.util.spec_from_file_location("elegant_vmap", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    base: Any = module.StockTradingVmapEnv

    class Drawn(base):  # type: ignore[misc]  # its class is known only when it runs
        """Its own file of shares lies on the net: prices and factors are drawn here."""

        def load_data_from_disk(self, tech_id_list: object = None) -> tuple[Any, Any]:
            generator = np.random.default_rng(1)
            close_T1 = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.01, (1_113, 1)), axis=0))
            return close_T1, generator.normal(size=(1_113, 47))

    return Drawn(gpu_id=-1, num_envs=WORLDS)


@pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")
def test_worlds_against_elegantrl() -> None:
    """Both with drawn actions and one thread, in turn."""
    torch.set_num_threads(1)
    theirs = elegant_worlds()
    worlds = TradingWorlds(drawn_tape("misspecified", 20_000, 7, 50), WORLDS, WorldRules(), seed=1)
    action_TW = np.random.default_rng(1).integers(0, 3, (STEPS, WORLDS))
    drawn_TW1 = torch.rand((STEPS, WORLDS, 1), generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert theirs.reset().shape == worlds.reset().shape
    worlds.step(action_TW[0])
    pairs = []
    for _ in range(ROUNDS):
        began = perf_counter()
        for action_W in action_TW:
            worlds.step(action_W)
        own_s = perf_counter() - began
        theirs.reset()
        began = perf_counter()
        for drawn_W1 in drawn_TW1:
            theirs.step(drawn_W1)
        pairs.append((own_s, perf_counter() - began))
    ratio = float(np.median([other_s / own_s for own_s, other_s in pairs]))
    own_s, other_s = np.median(np.array(pairs), axis=0)
    print(
        f"\n{WORLDS} worlds {STEPS * WORLDS / own_s / 1e6:.2f} M steps/s, ElegantRL's "
        f"{STEPS * WORLDS / other_s / 1e6:.2f} M; ratio {ratio:.1f}"
    )
    assert ratio >= 1.5
