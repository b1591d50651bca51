"""Autocovariances of a path, without a library that wakes other threads for long vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]


@njit
def autocovariances(centred_T: Floats, lags: int) -> Floats:
    """Return sums of products (lags + 1,) of a centred path with itself, lag 0 first, over T."""
    bars = centred_T.shape[0]
    sum_L = np.zeros(lags + 1)
    for lag in range(lags + 1):
        total = 0.0
        for t in range(bars - lag):
            total += centred_T[t] * centred_T[t + lag]
        sum_L[lag] = total / bars
    return sum_L
