"""Sampling by priority in O(log n): a sum tree (Schaul et al. 2015, proportional variant)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class SumTree:
    """Priorities of ``capacity`` places; a place is drawn in proportion to its priority."""

    def __init__(self, capacity: int) -> None:
        """Start with every priority at zero; ValueError for no place at all."""
        if capacity < 1:
            raise ValueError(f"capacity {capacity} is below 1")
        self.capacity = capacity
        self.leaf_first = 1 << (capacity - 1).bit_length()
        self.nodes = np.zeros(2 * self.leaf_first)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self.nodes[1])

    def set(self, place_B: Integers, priority_B: Floats) -> None:
        """Give places a priority of at least zero; of a place named twice the last one counts."""
        if not (np.isfinite(priority_B).all() and (priority_B >= 0.0).all()):
            raise ValueError("a priority is negative or no number")
        _set(self.nodes, self.leaf_first, place_B, priority_B)

    def fill(self, priority: float) -> None:
        """Give every place the same priority."""
        self.set(np.arange(self.capacity), np.full(self.capacity, priority))

    def get(self, place_B: Integers) -> Floats:
        """Return the priorities of places."""
        return np.asarray(self.nodes[self.leaf_first + place_B])

    def draw(self, uniform_B: Floats) -> Integers:
        """Return one place for every number in [0, 1), stratified: one from each equal share."""
        count = len(uniform_B)
        target_B = (np.arange(count) + uniform_B) / count * self.total
        return _find(self.nodes, self.leaf_first, self.capacity, target_B)


@njit
def _set(nodes: Floats, leaf_first: int, place_B: Integers, priority_B: Floats) -> None:
    for b in range(place_B.shape[0]):
        node = leaf_first + place_B[b]
        nodes[node] = priority_B[b]
        node //= 2
        while node >= 1:  # sums are made anew, never adjusted: rounding cannot add up
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node //= 2


@njit
def _find(nodes: Floats, leaf_first: int, capacity: int, target_B: Floats) -> Integers:
    place_B = np.empty(target_B.shape[0], np.int64)
    for b in range(target_B.shape[0]):
        node, left = 1, target_B[b]
        while node < leaf_first:
            node *= 2
            # the left sum may be reached by rounding alone: never walk into an empty half
            if left >= nodes[node] and nodes[node + 1] > 0.0:
                left -= nodes[node]
                node += 1
        place_B[b] = min(node - leaf_first, capacity - 1)
    return place_B
