"""``TradeSimulator-v0`` under gymnasium's own checks."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from strategy.learning.environment import TradingWorlds, WorldRules
from strategy.learning.trade_simulator import ENVIRONMENT_ID, TradeSimulator
from tests.fakes.drawn_tape import small_tape

ENV_ARGS: dict[str, Any] = {"state_dim": 12, "action_dim": 3, "if_discrete": True, "max_step": 50}


def test_gymnasium_finds_nothing_wrong() -> None:
    """The checker runs with warnings as errors; the specification's arguments make it."""
    env = gymnasium.make(ENVIRONMENT_ID, tape=small_tape(300, 1), **ENV_ARGS)
    check_env(env.unwrapped)
    assert isinstance(env.unwrapped, TradeSimulator)
    assert env.observation_space.shape == (12,)
    env.close()


def test_a_simulator_is_one_world() -> None:
    """Step by step the vectorised worlds' numbers; the end keeps the old episode's account."""
    tape, rules = small_tape(300, 2), WorldRules(episode_bars=50)
    env = TradeSimulator(tape=tape, rules=rules, **ENV_ARGS)
    seen_F, found = env.reset(seed=4)
    seed = int(np.random.Generator(np.random.PCG64(4)).integers(2**31))
    worlds = TradingWorlds(tape, 1, rules)
    np.testing.assert_array_equal(worlds.reset(seed=seed)[0], seen_F)
    equity = 10_000.0
    for place in range(50):
        action = place % 3
        moved = worlds.step(np.array([action]))
        seen_F, reward, terminated, truncated, found = env.step(np.int64(action))
        equity *= 1.0 + reward
        assert reward == moved.reward_W[0]
        assert not terminated
        assert truncated == (place == 49)
    np.testing.assert_array_equal(seen_F, moved.final_WF[0])
    assert found["equity_quote"] == pytest.approx(equity)
    with pytest.raises(ValueError, match="reset opens"):
        env.step(np.int64(1))


def test_a_drawn_market_needs_no_tape() -> None:
    """With nothing but the specification's arguments there is a market, the same every time."""
    first = gymnasium.make(ENVIRONMENT_ID, state_dim=50, bars=1_500, render_mode="ansi")
    again = gymnasium.make(ENVIRONMENT_ID, state_dim=50, bars=1_500, render_mode="ansi")
    np.testing.assert_array_equal(first.reset(seed=1)[0], again.reset(seed=1)[0])
    first.step(2)
    assert "equity" in str(first.render())


def test_what_the_market_does_not_have_is_refused() -> None:
    """Other actions, other widths, unknown arguments and options."""
    tape = small_tape(60, 1)
    with pytest.raises(ValueError, match="3 discrete actions"):
        TradeSimulator(tape=tape, action_dim=5)
    with pytest.raises(ValueError, match="12 numbers"):
        TradeSimulator(tape=tape, state_dim=50)
    with pytest.raises(TypeError):
        gymnasium.make(ENVIRONMENT_ID, tape=tape, state_dim=12, colour="red")
    with pytest.raises(ValueError, match="unknown option"):
        TradeSimulator(tape=tape, state_dim=12).reset(options={"bar": 3})
