"""Thousands of trading worlds in one call: features, ledger, fees, spread, slippage, funding.

    worlds = TradingWorlds(drawn_tape("misspecified", 20_000, 7, 50), 1_024, WorldRules(), seed=1)
    obs_WF = worlds.reset()
    moved = worlds.step(action_W)        # actions 0 short, 1 flat, 2 long: target positions

A world begins flat at a drawn row of the tape and walks it bar by bar; its account is the house's
ledger, to the last 1e-8. Features are those of the live kernels, computed once for the tape:
prices do not depend on us. Equal seeds give equal worlds, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernels.ledger import FEES, FUNDING, POSITION
from strategy.evaluation.execution import Costs
from strategy.learning import world_steps as steps
from strategy.learning.market_tape import MarketTape

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ACTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRules:
    """What trading costs and where an episode ends.

    A position is ``position_frac`` of equity when it is opened. ``cost_factor_min`` and ``_max``
    bound a factor on all costs, drawn anew for each episode. An episode lasts ``episode_bars``, and
    is lost below ``ruin_frac`` of the opening equity. Orders below ``notional_min_quote`` are not
    sent, all are filled ``delay_bars`` late.
    """

    costs: Costs = field(default_factory=Costs)
    wallet_quote: float = 10_000.0
    position_frac: float = 1.0
    is_short_allowed: bool = True
    delay_bars: int = 0
    episode_bars: int = 1_000
    ruin_frac: float = 0.2
    notional_min_quote: float = 5.0
    cost_factor_min: float = 1.0
    cost_factor_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no world can be played by; ValueError names it."""
        if not 0.0 < self.position_frac <= 5.0 or not 0.0 <= self.ruin_frac < 1.0:
            raise ValueError("position_frac must lie in (0, 5], ruin_frac in [0, 1)")
        if not 10.0 <= self.wallet_quote <= 1e6 or not self.notional_min_quote >= 0.0:
            raise ValueError("wallet_quote must lie in [10, 1e6], notional_min_quote not below 0")
        if self.episode_bars < 1 or not 0 <= self.delay_bars <= 1_000:
            raise ValueError("episode_bars must be at least 1, delay_bars 0 to 1,000")
        if not 0.0 <= self.cost_factor_min <= self.cost_factor_max <= 10.0:
            raise ValueError("cost factors must rise within [0, 10]")

    def numbers(self, seed: int) -> Floats:
        """Return the rules as the kernels read them."""
        costs, numbers = self.costs, np.zeros(steps.RULE_COUNT)
        numbers[steps.FEE] = costs.fee_frac
        numbers[steps.HALF_SPREAD] = costs.half_spread_frac
        numbers[steps.SLIPPAGE] = costs.slippage_frac
        numbers[steps.HALF_TICKS] = costs.half_ticks
        numbers[steps.FUNDING] = costs.funding_frac
        numbers[steps.POSITION_FRAC] = self.position_frac
        numbers[steps.IS_SHORT] = float(self.is_short_allowed)
        numbers[steps.DELAY] = self.delay_bars
        numbers[steps.EPISODE_BARS] = self.episode_bars
        numbers[steps.RUIN_FRAC] = self.ruin_frac
        numbers[steps.WALLET_E8] = round(self.wallet_quote * steps.E8)
        numbers[steps.NOTIONAL_MIN_E8] = round(self.notional_min_quote * steps.E8)
        numbers[steps.FACTOR_MIN] = self.cost_factor_min
        numbers[steps.FACTOR_SPAN] = self.cost_factor_max - self.cost_factor_min
        numbers[steps.SEED] = seed & steps.MASK
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """What a step did in each of W worlds; the arrays are written anew by the next step.

    ``obs_WF`` is what is seen now; where a world ended it is already that of its next episode, and
    the last state of the old one stands in ``final_WF``. ``reward_W`` is the change of equity as a
    share of it. ``terminated_W``: the account is ruined, nothing follows; ``truncated_W``: cut off.
    """

    obs_WF: Floats32
    final_WF: Floats32
    reward_W: Floats
    terminated_W: Flags
    truncated_W: Flags


class TradingWorlds:
    """W worlds on one tape."""

    def __init__(
        self, tape: MarketTape, count: int, rules: WorldRules | None = None, *, seed: int = 0
    ) -> None:
        """Hold the tape; ``reset`` opens the worlds. ValueError for no world or a negative seed."""
        if count < 1 or seed < 0:
            raise ValueError(f"{count} worlds with seed {seed}")
        self.tape, self.count = tape, count
        self.rules = rules or WorldRules()
        self._rules_15 = self.rules.numbers(seed)
        self._state_WS = np.zeros((count, steps.LEDGER_COUNT), np.int64)
        self._walk_W4 = np.zeros((count, steps.WALK_COUNT), np.int64)
        self._pending_WD = np.zeros((count, max(self.rules.delay_bars, 1)), np.int64)
        self._factor_W = np.ones(count)
        self._moved = Moved(
            obs_WF=np.zeros((count, tape.input_count), np.float32),
            final_WF=np.zeros((count, tape.input_count), np.float32),
            reward_W=np.zeros(count),
            terminated_W=np.zeros(count, np.bool_),
            truncated_W=np.zeros(count, np.bool_),
        )
        self._is_open = False

    def reset(self, seed: int | None = None, first_bar: int | None = None) -> Floats32:
        """Open the first episode of every world, after a new seed if one is given; (W, F).

        ``first_bar`` is the row where all begin instead of drawn ones; ValueError off the tape.
        """
        if first_bar is not None and not 0 <= first_bar < len(self.tape) - 1:
            raise ValueError(f"row {first_bar} of a tape of {len(self.tape)}")
        if seed is not None:
            self._rules_15[steps.SEED] = seed & steps.MASK
        self._walk_W4[:] = 0
        steps.reset_worlds(
            self.tape.rows_TM,
            self.tape.price_ticks_T,
            self._state_WS,
            self._walk_W4,
            self._pending_WD,
            self._factor_W,
            self._rules_15,
            -1 if first_bar is None else first_bar,
            self._moved.obs_WF,
        )
        self._is_open = True
        return self._moved.obs_WF

    def step(self, action_W: Ints) -> Moved:
        """Move every world one bar; ValueError before ``reset`` or for actions beyond 0, 1, 2."""
        if not self._is_open:
            raise ValueError("reset opens the worlds, then they can step")
        if action_W.shape != (self.count,) or not steps.are_below(action_W, ACTIONS):
            raise ValueError(f"actions {action_W.shape}, wanted {self.count} of 0, 1, 2")
        moved = self._moved
        steps.step_worlds(
            self.tape.rows_TM,
            self.tape.price_ticks_T,
            self.tape.half_tick_T,
            self.tape.crossings_T,
            action_W,
            self._state_WS,
            self._walk_W4,
            self._pending_WD,
            self._factor_W,
            self._rules_15,
            moved.obs_WF,
            moved.final_WF,
            moved.reward_W,
            moved.terminated_W,
            moved.truncated_W,
        )
        return moved

    def account(self, world: int) -> dict[str, float]:
        """Return one world's row of the tape and the state of its account."""
        walk_4, state_S = self._walk_W4[world], self._state_WS[world]
        return {
            "bar": int(walk_4[steps.BAR]),
            "equity_quote": int(walk_4[steps.EQUITY]) / steps.E8,
            "position_lots": int(state_S[steps.ROW + POSITION]),
            "fees_quote": int(state_S[FEES]) / steps.E8,
            "funding_quote": int(state_S[FUNDING]) / steps.E8,
        }

    @property
    def bar_W(self) -> Ints:  # noqa: N802 - W is the shape suffix
        """Row of the tape where each world stands (W,)."""
        return self._walk_W4[:, steps.BAR].copy()

    @property
    def equity_quote_W(self) -> Floats:  # noqa: N802 - W is the shape suffix
        """Equity of each world's account (W,)."""
        return self._walk_W4[:, steps.EQUITY] / steps.E8

    @property
    def position_lots_W(self) -> Ints:  # noqa: N802 - W is the shape suffix
        """Signed position of each world (W,)."""
        return self._state_WS[:, steps.ROW + POSITION].copy()

    @property
    def fees_quote_W(self) -> Floats:  # noqa: N802 - W is the shape suffix
        """Fees paid in each world's episode (W,)."""
        return self._state_WS[:, FEES] / steps.E8

    @property
    def funding_quote_W(self) -> Floats:  # noqa: N802 - W is the shape suffix
        """Funding received in each world's episode, negative where it was paid (W,)."""
        return self._state_WS[:, FUNDING] / steps.E8

    @property
    def cost_factor_W(self) -> Floats:  # noqa: N802 - W is the shape suffix
        """The factor on all costs that each episode drew (W,)."""
        return self._factor_W.copy()
