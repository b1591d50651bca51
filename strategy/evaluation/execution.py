"""From wanted positions to returns: one rule of trading and one bill for ensemble and rivals alike.

Row t is the decision at a close and the bar that follows it. Costs are paid on the share of equity
that changes hands: fee, half the spread, slippage. A spread is never narrower than the step of the
prices, so a coin of 20 USDT that moves in cents pays what it must. Funding is part of what holding
one unit long earns, so that a short receives it. Sizes are shares of equity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]

FUNDING_S = 28_800.0
"""Eight hours: the period that a funding rate is quoted for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading and holding cost; fractions of what is traded, and a rate per eight hours.

    ``half_spread_frac`` is the least: where the bars' own price step is wider, half a spread is
    ``half_ticks`` of half a step (1: the narrowest that a book can have; 0: steps are ignored).
    ``funding_frac`` is paid by longs and received by shorts; it may be negative. ValueError for
    other numbers outside [0, 0.1).

    The defaults are those of liquid perpetuals, at the dearer side of what recorded books and
    executed orders showed (README, Evaluation, R8).
    """

    fee_frac: float = 5e-4
    half_spread_frac: float = 1e-5
    slippage_frac: float = 2.5e-5
    funding_frac: float = 1e-4
    half_ticks: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no cost."""
        for name in ("fee_frac", "half_spread_frac", "slippage_frac"):
            value = getattr(self, name)
            if not 0.0 <= value < 0.1:
                raise ValueError(f"{name} {value} is not in [0, 0.1)")
        if not 0.0 <= self.half_ticks <= 100.0:
            raise ValueError(f"half_ticks {self.half_ticks} is not in [0, 100]")
        if not abs(self.funding_frac) < 0.1:
            raise ValueError(f"funding_frac {self.funding_frac} is not in (-0.1, 0.1)")

    @property
    def trade_frac(self) -> float:
        """Cost of a unit of turnover where prices move in small steps."""
        return self.fee_frac + self.half_spread_frac + self.slippage_frac

    def trade_fracs(self, half_tick_T: Floats) -> Floats:
        """Return the cost of a unit of turnover at each bar; half a price step as a fraction."""
        half_T = np.maximum(self.half_spread_frac, self.half_ticks * half_tick_T)
        return np.asarray(self.fee_frac + self.slippage_frac + half_T, np.float64)

    def times(self, factor: float) -> Costs:
        """Return all costs, funding too, multiplied; ValueError where that leaves the range."""
        names = ("fee_frac", "half_spread_frac", "slippage_frac", "funding_frac", "half_ticks")
        return replace(self, **{name: factor * getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """How large a full position is: a share of equity, less where the market is wild.

    ``share_max`` is the largest share; ``volatility_target_frac`` what a full position may add to
    the account's volatility a year. The drawdown governor and Kelly depend on the account's own
    past and take no part: all strategies are to be sized alike.
    """

    share_max: float = 0.25
    volatility_target_frac: float = 0.2
    hysteresis_frac: float = 0.1

    def sizes(self, volatility_T: Floats) -> Floats:
        """Return the share of equity of a full position; a volatility a year of 0 is unknown."""
        size_T = np.full(len(volatility_T), self.share_max)
        known_T = volatility_T > 0.0
        share_T = self.volatility_target_frac / np.where(known_T, volatility_T, 1.0)
        return np.where(known_T, np.minimum(size_T, share_T), size_T)


def holding_returns(price_return_T: Floats, bar_s: float, funding_frac: float) -> Floats:
    """Return what a unit long earns in each bar, funding spread evenly over the bars."""
    return np.asarray(price_return_T - funding_frac * bar_s / FUNDING_S, np.float64)


def held_positions(
    wanted_T: Floats, full_T: Floats, hysteresis_frac: float, delay_bars: int = 0
) -> Floats:
    """Return what is held through each bar, from flat, when small changes are not worth an order.

    As the daemon does it: a change below ``hysteresis_frac`` of a full position ``full_T`` is left,
    unless the target is flat, and a flip stops at flat for one bar. An order of bar t is filled
    ``delay_bars`` later.
    """
    if not 0.0 <= hysteresis_frac <= 1.0 or delay_bars < 0 or wanted_T.shape != full_T.shape:
        raise ValueError(f"hysteresis {hysteresis_frac}, delay {delay_bars}, {wanted_T.shape}")
    held_T = np.empty(len(wanted_T))
    _hold(wanted_T, full_T, hysteresis_frac, held_T)
    if delay_bars:
        held_T = np.concatenate((np.zeros(delay_bars), held_T))[: len(wanted_T)]
    return held_T


def trading_costs(position_T: Floats, trade_frac_T: Floats) -> Floats:
    """Return what the changes of position cost, the first from flat."""
    return np.asarray(trade_frac_T * np.abs(np.diff(position_T, prepend=0.0)), np.float64)


def annual_volatility(bar_bps_T: Floats, year_bars: float) -> Floats:
    """Return the volatility a year as a fraction from that of a bar in basis points."""
    return np.asarray(bar_bps_T * 1e-4 * math.sqrt(year_bars), np.float64)


@njit
def _hold(wanted_T: Floats, full_T: Floats, hysteresis_frac: float, held_T: Floats) -> None:
    held = 0.0
    for t in range(wanted_T.shape[0]):
        aim = 0.0 if held * wanted_T[t] < 0.0 else wanted_T[t]
        if aim == 0.0 or abs(aim - held) >= hysteresis_frac * full_T[t]:
            held = aim
        held_T[t] = held
