"""Where the next batch of a market path comes from: all places alike, or by priority."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from strategy.learning.sum_tree import SumTree
from strategy.learning.transitions import POSITIONS, Integers

PLACES_PER_BAR = POSITIONS * POSITIONS
PRIORITY_MIN = 1e-3
"""Added to an error, so that no place is forgotten."""


class Sampler(Protocol):
    """Draws places of a path and learns how wrong the agent was there."""

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        """Return places."""

    def weights(self, place_B: Integers, progress_frac: float) -> NDArray[np.float32]:
        """Return what corrects the preference, at most 1."""

    def learn(self, place_B: Integers, error_B: NDArray[np.float64]) -> None:
        """Take the absolute errors of places that were learnt from."""


class UniformSampler:
    """Every bar, position and action alike."""

    def __init__(self, bars: int, steps: int) -> None:
        """Leave out the last bars, from which ``steps`` would lead beyond the end."""
        self._places = _place_count(bars, steps)

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        """Return places, drawn with replacement."""
        return generator.integers(0, self._places, count)

    def weights(self, place_B: Integers, progress_frac: float) -> NDArray[np.float32]:
        """Return ones."""
        return np.ones(len(place_B), np.float32)

    def learn(self, place_B: Integers, error_B: NDArray[np.float64]) -> None:
        """Keep drawing all places alike."""


class PrioritisedSampler:
    """Places in proportion to (error + small)^alpha (Schaul et al. 2015).

    Places not yet seen have the largest priority so far; weights (n p)^-beta over the largest of
    the batch, beta rising from ``beta`` to 1 over the training.
    """

    def __init__(self, bars: int, steps: int, alpha: float = 0.5, beta: float = 0.4) -> None:
        """Start with all places alike."""
        self.alpha, self.beta = alpha, beta
        self.tree = SumTree(_place_count(bars, steps))
        self.largest = 1.0
        self.tree.fill(self.largest)

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        """Return places, one from each equal share of the whole priority."""
        return self.tree.draw(generator.random(count))

    def weights(self, place_B: Integers, progress_frac: float) -> NDArray[np.float32]:
        """Return the importance weights of places that were just drawn."""
        beta = self.beta + (1.0 - self.beta) * progress_frac
        share_B = self.tree.get(place_B) / self.tree.total
        weight_B = (self.tree.capacity * share_B) ** -beta
        return np.asarray(weight_B / weight_B.max(), np.float32)

    def learn(self, place_B: Integers, error_B: NDArray[np.float64]) -> None:
        """Give these places the priority of their error, and those not yet seen the largest.

        Were they left behind, places seen once would be drawn again and again and learnt by heart:
        on the hardest of five paths of the strong world that cost 0.02 of the optimum.
        """
        priority_B = (np.abs(error_B) + PRIORITY_MIN) ** self.alpha
        largest = float(priority_B.max())
        if largest >= self.largest:
            largest = math.nextafter(largest, math.inf)  # by which the unseen are known
            leaf_P = self.tree.get(np.arange(self.tree.capacity))
            unseen_P = np.flatnonzero(leaf_P == self.largest)
            self.tree.set(unseen_P, np.full(len(unseen_P), largest))
            self.largest = largest
        self.tree.set(place_B, priority_B)


def _place_count(bars: int, steps: int) -> int:
    usable = bars - steps
    if usable < 1:
        raise ValueError(f"a path of {bars} bars is too short for {steps} steps")
    return usable * PLACES_PER_BAR
