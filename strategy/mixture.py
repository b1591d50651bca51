"""The safe top: candidate weightings are mixed by the wealth each would have made.

Every candidate j starts with a prior share of wealth and earns ``1 + kappa z_j`` a bar, where
``z_j`` is the return of its weighting in standard deviations. The mixture weighs candidates by the
wealth they hold. Its own log wealth is then, on every path and at every bar, exactly the log of the
candidates' mean wealth (Cover 1991; Vovk's aggregating algorithm), so it is never further behind
any candidate than the log of that candidate's prior share: no assumption, no tuning.

Two things keep that true. Returns are clipped per agent before they are mixed. And a candidate that
cannot be followed for a bar (asleep) is credited with what the mixture itself earned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.experts import RETURN_CLIP

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHARPE_SCALE = 3.0
"""The stake ``kappa`` is this many annual Sharpe ratios per bar."""


def stake(year_bars: float, return_clip: float = RETURN_CLIP) -> float:
    """Return kappa for bars of that many a year; ValueError where one bar could take all wealth."""
    kappa = SHARPE_SCALE / float(np.sqrt(year_bars))
    if not return_clip * kappa < 1.0:
        raise ValueError(
            f"bars are too long for the guarantee: {return_clip:g} deviations at stake "
            f"{kappa:.3f} lose everything"
        )
    return kappa


@njit
def mixture_shares(log_wealth_J: Floats, awake_J: Floats | Flags, out_J: Floats) -> bool:
    """Write each awake candidate's share of the wealth; False when none is awake."""
    best = -np.inf
    for j in range(log_wealth_J.shape[0]):
        if awake_J[j] and log_wealth_J[j] > best:
            best = log_wealth_J[j]
    if best == -np.inf:
        out_J[:] = 0.0
        return False
    total = 0.0
    for j in range(log_wealth_J.shape[0]):
        out_J[j] = np.exp(log_wealth_J[j] - best) if awake_J[j] else 0.0
        total += out_J[j]
    for j in range(log_wealth_J.shape[0]):
        out_J[j] /= total
    return True


@njit
def mix_weights(share_J: Floats, weight_JN: Floats, out_N: Floats) -> None:
    """Write the mixture's weights: a mean of feasible points, so feasible itself."""
    out_N[:] = 0.0
    for j in range(share_J.shape[0]):
        for i in range(out_N.shape[0]):
            out_N[i] += share_J[j] * weight_JN[j, i]


@njit
def earn(
    log_wealth_J: Floats,
    awake_J: Floats | Flags,
    share_J: Floats,
    weight_JN: Floats,
    return_N: Floats,
    kappa: float,
) -> float:
    """Credit every candidate with one bar; return the log of the mixture's own wealth factor.

    ``share_J`` and ``weight_JN`` are those that were played. Returns must lie within
    ``RETURN_CLIP``: what is beyond it is outside the guarantee and the caller's to count.
    """
    ensemble = 0.0
    for j in range(share_J.shape[0]):
        gain = 0.0
        for i in range(return_N.shape[0]):
            gain += weight_JN[j, i] * return_N[i]
        if awake_J[j]:
            ensemble += share_J[j] * gain
            log_wealth_J[j] += np.log1p(kappa * gain)
    factor = np.log1p(kappa * ensemble)
    for j in range(share_J.shape[0]):
        if not awake_J[j]:
            log_wealth_J[j] += factor
    return float(factor)
