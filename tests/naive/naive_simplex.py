"""Slow, obvious twins of the capped-simplex projection."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def project_by_bisection(point_A: Floats, floor_A: Floats, cap: float) -> Floats:
    """Halve the interval of the shift two hundred times."""
    low, high = float(np.min(point_A)) - cap - 1.0, float(np.max(point_A)) + 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if np.clip(point_A - middle, floor_A, cap).sum() > 1.0:
            low = middle
        else:
            high = middle
    return np.asarray(np.clip(point_A - high, floor_A, cap))


def project_by_enumeration(point_A: Floats, floor_A: Floats, cap: float) -> Floats:
    """Try every split into at-floor, free and at-cap; keep the nearest feasible point."""
    best, best_distance = None, np.inf
    for split in product((-1, 0, 1), repeat=len(point_A)):
        kind = np.array(split)
        weight_A = np.where(kind < 0, floor_A, cap)
        free = kind == 0
        if free.any():
            rest = 1.0 - weight_A[~free].sum()
            weight_A[free] = point_A[free] + (rest - point_A[free].sum()) / free.sum()
        inside = np.all(weight_A >= floor_A - 1e-12) and np.all(weight_A <= cap + 1e-12)
        if not inside or abs(weight_A.sum() - 1.0) > 1e-9:
            continue
        distance = float(np.square(weight_A - point_A).sum())
        if distance < best_distance:
            best, best_distance = weight_A, distance
    assert best is not None, "no feasible point"
    return best
