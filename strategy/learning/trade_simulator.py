"""``TradeSimulator-v0``: one trading world behind gymnasium's interface.

Registered when this file, or ``metaensemble``, is imported::

    env = gymnasium.make("TradeSimulator-v0", state_dim=50, max_step=500)

Without a ``tape`` the market is drawn: ``world`` of ``bars`` hours, the same for a ``market_seed``.
The state is that of a live agent: features, the regime's posterior, two forecasts, own position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from strategy.learning.environment import ACTIONS, TradingWorlds, WorldRules
from strategy.learning.market_tape import MarketTape, drawn_tape
from strategy.observation import CLIP

ENVIRONMENT_ID = "TradeSimulator-v0"
SEEDS = 2**31

State = NDArray[np.float32]


class TradeSimulator(gymnasium.Env[State, np.int64]):
    """SELL 0, HOLD 1 and BUY 2 are target positions short, flat and long; reward is net of costs.

    The reward is the change of equity as a share of it. Losing all but ``rules.ruin_frac`` of the
    account terminates, ``max_step`` bars or the end of the tape truncate.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium declares it so

    def __init__(
        self,
        state_dim: int = 50,
        action_dim: int = ACTIONS,
        if_discrete: bool = True,
        max_step: int = 1_000,
        world: str = "misspecified",
        bars: int = 6_000,
        market_seed: int = 7,
        tape: MarketTape | None = None,
        rules: WorldRules | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Open the market; ValueError for a state or actions that it does not have."""
        if action_dim != ACTIONS or not if_discrete:
            raise ValueError(f"{ENVIRONMENT_ID} has {ACTIONS} discrete actions: short, flat, long")
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode {render_mode!r}; there is only 'ansi'")
        self.tape = tape if tape is not None else drawn_tape(world, bars, market_seed, state_dim)
        if self.tape.input_count != state_dim:
            raise ValueError(f"the tape's states have {self.tape.input_count} numbers")
        if rules is not None and rules.episode_bars != max_step:
            raise ValueError(f"rules of {rules.episode_bars} bars, max_step {max_step}")
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-CLIP, CLIP, (state_dim,), np.float32)
        self.action_space = spaces.Discrete(ACTIONS)
        self._worlds = TradingWorlds(self.tape, 1, rules or WorldRules(episode_bars=max_step))
        self._is_over = True
        self._account = self._worlds.account(0)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[State, dict[str, Any]]:
        """Open an episode at a drawn bar; equal seeds give equal series of episodes."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"unknown option {min(options)!r}: there are none")
        obs_1F = self._worlds.reset(int(self.np_random.integers(SEEDS)))
        self._is_over = False
        self._account = self._worlds.account(0)
        return obs_1F[0].copy(), self._account.copy()

    def step(self, action: np.int64) -> tuple[State, float, bool, bool, dict[str, Any]]:
        """Hold the position that the action names through the next bar."""
        if self._is_over:
            raise ValueError("the episode is over: reset opens the next one")
        moved = self._worlds.step(np.array([action], np.int64))
        terminated, truncated = bool(moved.terminated_W[0]), bool(moved.truncated_W[0])
        reward = float(moved.reward_W[0])
        self._is_over = terminated or truncated
        seen_F = moved.final_WF[0] if self._is_over else moved.obs_WF[0]
        if self._is_over:  # the account is that of the next episode already
            self._account["equity_quote"] *= 1.0 + reward
        else:
            self._account = self._worlds.account(0)
        return seen_F.copy(), reward, terminated, truncated, self._account.copy()

    def render(self) -> str | None:
        """Return one line about the account, or None without a render mode."""
        if self.render_mode is None:
            return None
        found = self._account
        return f"bar {found['bar']}: equity {found['equity_quote']:.2f} quote"


def register_simulator() -> None:
    """Make the environment known to ``gymnasium.make``; calling again changes nothing."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            ENVIRONMENT_ID, entry_point="strategy.learning.trade_simulator:TradeSimulator"
        )


register_simulator()
