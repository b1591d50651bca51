"""Learners that weigh agents by what each of them earned: one function a learner, O(1) per bar.

All see the same: every agent's own return of the last bar, in standard deviations, clipped to
``RETURN_CLIP`` **before** anything is mixed. A weighting is a point of the simplex over N agents;
it is made to obey the cap by ``strategy.ensemble.project_box_simplex``, never by clipping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]

RETURN_CLIP = 12.0
"""Returns beyond this many standard deviations of a bar count as this many."""


@njit
def fixed_share_step(weight_N: Floats, factor_N: Floats, share_frac: float) -> None:
    """Multiply weights by their wealth factors, then let each share a part with all others.

    Herbster and Warmuth (1998), "Tracking the best expert", fixed share with the log loss: against
    any sequence of experts with m switches in T bars the log wealth is short by no more than
    ``fixed_share_bound``. Factors must be positive; the sum of weights stays 1.
    """
    count = weight_N.shape[0]
    total = 0.0
    for i in range(count):
        weight_N[i] *= factor_N[i]
        total += weight_N[i]
    for i in range(count):
        kept = weight_N[i] / total
        weight_N[i] = (1.0 - share_frac) * kept + share_frac / (count - 1) * (1.0 - kept)


def fixed_share_bound(count: int, bars: int, switches: int, share_frac: float) -> float:
    """Return the largest shortfall of log wealth against any sequence with that many switches."""
    stays = bars - 1 - switches
    return (
        float(np.log(count))
        + switches * float(np.log((count - 1) / share_frac))
        + stays * float(np.log(1.0 / (1.0 - share_frac)))
    )


@njit
def adahedge_weights(gain_N: Floats, gap: float, out_N: Floats) -> float:
    """Write AdaHedge's weights for cumulative gains and mixability gap; return the rate used.

    De Rooij, van Erven, Gruenwald and Koolen (2014), "Follow the leader if you can, hedge if you
    must". A gap of 0 follows the leaders; the rate is then reported as infinite.
    """
    count = gain_N.shape[0]
    best = gain_N.max()
    total = 0.0
    rate = np.inf if gap <= 0.0 else np.log(count) / gap
    for i in range(count):
        if gap <= 0.0:
            out_N[i] = 1.0 if gain_N[i] == best else 0.0
        else:
            out_N[i] = np.exp(rate * (gain_N[i] - best))
        total += out_N[i]
    for i in range(count):
        out_N[i] /= total
    return rate


@njit
def adahedge_step(gain_N: Floats, gap: float, return_N: Floats) -> float:
    """Add one bar's returns to the gains; return the new mixability gap."""
    weight_N = np.empty(gain_N.shape[0])
    rate = adahedge_weights(gain_N, gap, weight_N)
    return gap + adahedge_move(gain_N, weight_N, rate, return_N)


@njit
def adahedge_move(gain_N: Floats, weight_N: Floats, rate: float, return_N: Floats) -> float:
    """Add one bar's returns to the gains; return what the gap grows by under these weights."""
    count = gain_N.shape[0]
    earned = 0.0
    best = -np.inf
    for i in range(count):
        earned += weight_N[i] * return_N[i]
        if weight_N[i] > 0.0 and return_N[i] > best:
            best = return_N[i]
    mixed = best
    if np.isfinite(rate):
        total = 0.0
        for i in range(count):
            total += weight_N[i] * np.exp(rate * (return_N[i] - best))
        mixed = best + np.log(total) / rate
    for i in range(count):
        gain_N[i] += return_N[i]
    return max(0.0, mixed - earned)


@njit
def softmax_weights(score_N: Floats, temperature: float, out_N: Floats) -> None:
    """Write the softmax of scores at a temperature above 0."""
    best, total = score_N.max(), 0.0
    for i in range(score_N.shape[0]):
        out_N[i] = np.exp((score_N[i] - best) / temperature)
        total += out_N[i]
    for i in range(score_N.shape[0]):
        out_N[i] /= total
