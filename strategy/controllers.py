"""Experts that learn nothing: cash, a no-trade band around the forecast, and trend following.

They stand beside the agents in the meta-learner with accounts of their own, so that whoever does
worse than doing nothing, or than two well-known rules, loses its weight to them. Positions are 0
short, 1 flat, 2 long, as the agents' are.

- *cash* stays flat.
- *no_trade_band*: the model's expected return over the life of its forecast against the cost of a
  trade; inside the band nothing is traded. Source: Constantinides, JPE 94 (1986), for the form.
- *momentum*: the sign of an exponential mean of returns, in units of what pure noise would give;
  the position is that of a bar's volatility, as for all others. Source: Moskowitz, Ooi and
  Pedersen, JFE 104 (2012).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.observation import FLAT

Floats = NDArray[np.float64]

CONTROLLER_NAMES = ("cash", "no_trade_band", "momentum")
CASH, BAND, MOMENTUM = range(3)

MOMENTUM_DECAY = 0.5 ** (1.0 / 100.0)
"""Memory of the trend per bar: a half-life of 100 bars."""

MOMENTUM_BAND = 1.0
"""A trend of so many standard deviations of noise opens a position, a smaller one keeps what is."""

SHORT, LONG = 0, 2


@njit
def band_position(held: int, gain: float, cost: float) -> int:
    """Return the position for an expected gain of being long, and a cost, in the same unit.

    Beyond the cost the sign decides; within it nothing is worth a trade. A gain that is not finite
    leads to flat.
    """
    if not np.isfinite(gain):
        return FLAT
    if gain > cost:
        return LONG
    if gain < -cost:
        return SHORT
    return held


@njit
def noise_scale(decay: float, bars: float) -> float:
    """Return the standard deviation of an exponential mean of unit noise after so many bars."""
    seen = 1.0 - decay ** (2.0 * bars)
    return float(np.sqrt((1.0 - decay) / (1.0 + decay) * seen))


@njit
def controller_positions(
    held_3: NDArray[np.int64], gain: float, cost: float, trend: float, out_3: NDArray[np.int64]
) -> None:
    """Write the controllers' positions.

    ``gain`` is the expected return of being long over the life of the forecast, ``cost`` that of
    one trade, both in standard deviations of a bar; ``trend`` is in units of noise.
    """
    out_3[CASH] = FLAT
    out_3[BAND] = band_position(held_3[BAND], gain, cost)
    out_3[MOMENTUM] = band_position(held_3[MOMENTUM], trend, MOMENTUM_BAND)
