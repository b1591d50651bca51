"""Fixed-capacity rings inside a flat float64 vector: newest overwrites oldest, nothing moves.

A ring is a stretch of ``capacity * width`` entries from ``start``; the entry of index i (counted
from 0 since the beginning) stands at slot i modulo capacity. The caller keeps the count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit


@njit
def ring_slot(start: int, capacity: int, width: int, index: int) -> int:
    """Return the offset of the entry with this index; it must be among the last ``capacity``."""
    return start + (index % capacity) * width


@njit
def ring_put(
    state: NDArray[np.float64], start: int, capacity: int, index: int, value: float
) -> None:
    """Store the value of this index in a ring of single numbers."""
    state[start + index % capacity] = value


@njit
def ring_back(
    state: NDArray[np.float64], start: int, capacity: int, newest_index: int, back: int
) -> float:
    """Return the value ``back`` entries before the newest (0 is the newest itself).

    ``back`` must be below the capacity and not exceed ``newest_index``.
    """
    return float(state[start + (newest_index - back) % capacity])
