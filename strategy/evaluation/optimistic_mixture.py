"""OAMP: online weights over agents from what each would have earned, with last bar's loss as hint.

After Dispoto et al. 2024 (optimistic Adapt-ML-Prod), stepped per bar instead of per episode.
Weights are kept as logarithms: thousands of bars would drive their plain values to zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]

SCORE_MAX = 12.0
"""A bar's return in units of its forecast deviation is cut here, for each agent on its own."""

RATE_MAX = 0.25


def mixture_weights(score_TN: Floats) -> Floats:
    """Return the weights [T, N] held during each bar; row t knows the scores before t only.

    ``score_TN`` is each agent's net return over the forecast deviation of the bar. A score that is
    not finite raises ValueError.
    """
    scores = np.ascontiguousarray(score_TN, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0 or not np.isfinite(scores).all():
        raise ValueError("scores must be finite, one row a bar and one column an agent")
    return _weights(np.clip(scores, -SCORE_MAX, SCORE_MAX))


@njit
def _weights(score_TN: Floats) -> Floats:
    bars, agents = score_TN.shape
    weight_TN = np.empty((bars, agents))
    log_weight_N = np.full(agents, -math.log(agents))
    rate_N = np.full(agents, RATE_MAX)
    surprise_N = np.zeros(agents)
    hint_N = np.zeros(agents)  # the loss of the bar before; none is known at first
    played_N = np.full(agents, 1.0 / agents)
    for t in range(bars):
        optimism_N = np.sum(played_N * hint_N) - hint_N
        power_N = np.log(rate_N) + log_weight_N + rate_N * optimism_N
        played_N = np.exp(power_N - np.max(power_N))
        played_N /= np.sum(played_N)
        weight_TN[t] = played_N
        loss_N = -score_TN[t] / (2.0 * SCORE_MAX)
        regret_N = np.sum(played_N * loss_N) - loss_N
        surprise_N += (regret_N - optimism_N) ** 2
        next_N = np.minimum(RATE_MAX, np.sqrt(math.log(agents) / (1.0 + surprise_N)))
        gain_N = rate_N * regret_N - (rate_N * (regret_N - optimism_N)) ** 2
        log_weight_N = (log_weight_N + gain_N) * next_N / rate_N
        rate_N = np.maximum(next_N, 1e-300)  # a lone agent has ln N = 0
        hint_N = loss_N
    return weight_TN
