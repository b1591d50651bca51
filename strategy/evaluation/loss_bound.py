"""A bound that one bar in twenty should lose more than: learned as bars close, never looking ahead.

The deviation of a bar is an exponential mean of squared returns; the bound is a multiple of it,
which grows after every loss beyond it and shrinks otherwise, so that the share of such losses
tends to ``TAIL_FRAC`` on any path (Gibbs and Candès 2021, adaptive conformal inference). Losses
come in clusters, so there are two multiples, one for bars after such a loss and one for the others:
each is right on its own, and one loss foretells no other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]

TAIL_FRAC = 0.05
HALF_LIFE_BARS = 12.0
START_BARS = 200
"""Bars before the first bound is trusted: until then it is infinite."""

FIRST_CALM, FIRST_LOUD = 1.5, 1.9
"""Multiples before anything was learned, in deviations."""

RATE_CALM, RATE_LOUD = 0.05, 0.2
"""How far a multiple moves for a loss; bars after a loss are rare, so theirs moves faster."""


def loss_bounds(return_T: Floats) -> Floats:
    """Return the loss, a positive fraction, that bar t should exceed one time in twenty.

    Row t knows the returns before t only. Infinite for the first ``START_BARS``.
    """
    bound_T = np.full(len(return_T), np.inf)
    _bounds(np.ascontiguousarray(return_T, np.float64), bound_T)
    return bound_T


@njit
def _bounds(return_T: Floats, bound_T: Floats) -> None:
    decay, square, is_loud = 0.5 ** (1.0 / HALF_LIFE_BARS), 0.0, False
    calm, loud = FIRST_CALM, FIRST_LOUD
    for t in range(return_T.shape[0]):
        gain = (1.0 - decay) / (1.0 - decay ** (t + 1.0))
        if t >= START_BARS:
            bound_T[t] = (loud if is_loud else calm) * np.sqrt(square)
            is_beyond = return_T[t] < -bound_T[t]
            if is_loud:
                loud += RATE_LOUD * ((1.0 if is_beyond else 0.0) - TAIL_FRAC)
            else:
                calm += RATE_CALM * ((1.0 if is_beyond else 0.0) - TAIL_FRAC)
            is_loud = is_beyond
        square += gain * (return_T[t] * return_T[t] - square)
