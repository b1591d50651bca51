"""What happened, kept to learn from: transitions of any environment, the oldest forgotten first.

A stored row reaches over up to ``steps`` steps: rewards discounted and added up, the state that was
reached, and how much what follows counts there (0 where the episode ended, gamma to the number of
steps where it goes on or was only cut off).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.learning.samplers import (
    PRIORITY_MIN,
    PrioritisedSampler,
    Sampler,
    UniformSampler,
)
from strategy.learning.sum_tree import SumTree
from strategy.learning.transitions import (
    POSITIONS,
    Batch,
    Integers,
    MarketPath,
    PathView,
    Policy,
)

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spaces:
    """An environment's sizes and the reach of its rewards.

    ``return_scale`` is what a discounted return is of the order of: Rainbow lays its atoms there.
    """

    input_count: int
    action_count: int
    return_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse sizes with which there is nothing to choose; ValueError."""
        if self.input_count < 1 or self.action_count < 2 or not self.return_scale > 0.0:
            raise ValueError(f"{self.input_count} inputs, {self.action_count} actions")


class Replay:
    """A ring of transitions of one stream of steps."""

    def __init__(self, spaces: Spaces, *, capacity: int, steps: int, discount: float) -> None:
        """Reserve the ring; ValueError for no room or returns over no step."""
        if capacity < 1 or steps < 1 or not 0.0 < discount <= 1.0:
            raise ValueError(f"capacity {capacity}, steps {steps}, discount {discount}")
        self.spaces, self.capacity = spaces, capacity
        self.steps, self.discount = steps, discount
        self.stored = 0
        self._input_NF = np.zeros((capacity, spaces.input_count), np.float32)
        self._next_NF = np.zeros((capacity, spaces.input_count), np.float32)
        self._action_N = np.zeros(capacity, np.int64)
        self._reward_N = np.zeros(capacity, np.float32)
        self._discount_N = np.zeros(capacity, np.float32)
        self._open: deque[tuple[Floats32, int, float]] = deque()
        self._watchers: list[PrioritisedReplaySampler] = []

    def __len__(self) -> int:
        """Return how many transitions can be learnt from."""
        return min(self.stored, self.capacity)

    def add(
        self,
        input_F: Floats32,
        action: int,
        reward: float,
        next_F: Floats32,
        *,
        is_ended: bool,
        is_cut: bool = False,
    ) -> None:
        """Take the next step; ``is_ended``: nothing follows, ``is_cut``: only left off there.

        ValueError for another width, an unknown action or what is not finite.
        """
        width = (self.spaces.input_count,)
        if input_F.shape != width or next_F.shape != width:
            raise ValueError(f"states {input_F.shape} and {next_F.shape}, wanted {width}")
        if not 0 <= action < self.spaces.action_count:
            raise ValueError(f"action {action} of {self.spaces.action_count}")
        if not (isfinite(reward) and are_finite(input_F) and are_finite(next_F)):
            raise ValueError("a state or the reward is not finite")
        self._open.append((np.array(input_F, np.float32), action, float(reward)))
        follows = 0.0 if is_ended else 1.0
        if len(self._open) == self.steps:
            self._store(next_F, follows)
            self._open.popleft()
        if is_ended or is_cut:
            while self._open:
                self._store(next_F, follows)
                self._open.popleft()

    def _store(self, next_F: Floats32, follows: float) -> None:
        place = self.stored % self.capacity
        self._input_NF[place], self._action_N[place], _ = self._open[0]
        self._next_NF[place] = next_F
        total, factor = 0.0, 1.0
        for _, _, reward in self._open:
            total, factor = total + factor * reward, factor * self.discount
        self._reward_N[place] = total
        self._discount_N[place] = follows * factor
        self.stored += 1
        for watcher in self._watchers:
            watcher.welcome(place)

    def clear(self) -> None:
        """Forget everything that is stored."""
        self.stored = 0
        self._open.clear()

    def sampler(self, is_prioritised: bool) -> Sampler:
        """Return where batches of this ring come from."""
        if not is_prioritised:
            return UniformReplaySampler(self)
        watcher = PrioritisedReplaySampler(self)
        self._watchers.append(watcher)
        return watcher

    def transitions(
        self,
        place_B: Integers,
        weight_B: Floats32,
        policy: Policy,
        *,
        discount: float,
        steps: int,
    ) -> Batch:
        """Return stored transitions; ValueError for another discount or reach than they have."""
        if steps != self.steps or discount != self.discount:
            raise ValueError(f"stored over {self.steps} steps, discount {self.discount}")
        return Batch(
            input_BF=self._input_NF[place_B],
            next_BF=self._next_NF[place_B],
            action_B=self._action_N[place_B],
            reward_B=self._reward_N[place_B],
            discount_B=self._discount_N[place_B],
            weight_B=weight_B,
        )

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return everything stored, by name, to go on from; steps under way are left out."""
        count = len(self)
        return {
            "input": self._input_NF[:count].copy(),
            "next": self._next_NF[:count].copy(),
            "action": self._action_N[:count].copy(),
            "reward": self._reward_N[:count].copy(),
            "discount": self._discount_N[:count].copy(),
            "stored": np.array([self.stored]),
        }

    def restore(self, tables: dict[str, NDArray[Any]]) -> None:
        """Take over what ``tables`` gave; ValueError for a ring of another size."""
        count = len(tables["action"])
        if count > self.capacity or tables["input"].shape[1:] != (self.spaces.input_count,):
            raise ValueError(f"a ring of {count} transitions {tables['input'].shape}")
        self._input_NF[:count], self._next_NF[:count] = tables["input"], tables["next"]
        self._action_N[:count], self._reward_N[:count] = tables["action"], tables["reward"]
        self._discount_N[:count] = tables["discount"]
        self.stored = int(tables["stored"][0])
        self._open.clear()


@njit
def are_finite(state_F: Floats32) -> bool:
    """Return whether every number of a state is one; numpy takes 1.3 us for it, this 0.3."""
    return bool(np.isfinite(state_F).all())


class UniformReplaySampler:
    """Every stored transition alike."""

    def __init__(self, replay: Replay) -> None:
        """Look at a ring."""
        self._replay = replay

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        """Return places, drawn with replacement; ValueError while nothing is stored."""
        return generator.integers(0, len(self._replay), count)

    def weights(self, place_B: Integers, progress_frac: float) -> Floats32:
        """Return ones."""
        return np.ones(len(place_B), np.float32)

    def learn(self, place_B: Integers, error_B: NDArray[np.float64]) -> None:
        """Keep drawing all alike."""


class PrioritisedReplaySampler:
    """Stored transitions in proportion to (error + small)^alpha (Schaul et al. 2015).

    A newcomer has the largest priority so far; weights (n p)^-beta over the batch's largest.
    """

    def __init__(self, replay: Replay, alpha: float = 0.5, beta: float = 0.4) -> None:
        """Start with what is stored, all alike."""
        self._replay, self.alpha, self.beta = replay, alpha, beta
        self.tree = SumTree(replay.capacity)
        self.largest = 1.0
        stored = np.arange(len(replay))
        self.tree.set(stored, np.ones(len(stored)))

    def welcome(self, place: int) -> None:
        """Give a transition that was just stored the largest priority."""
        self.tree.set(np.array([place]), np.array([self.largest]))

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        """Return places, one from each equal share of the whole priority."""
        return self.tree.draw(generator.random(count))

    def weights(self, place_B: Integers, progress_frac: float) -> Floats32:
        """Return the importance weights of places that were just drawn."""
        beta = self.beta + (1.0 - self.beta) * min(progress_frac, 1.0)
        share_B = self.tree.get(place_B) / self.tree.total
        weight_B = (len(self._replay) * share_B) ** -beta
        return np.asarray(weight_B / weight_B.max(), np.float32)

    def learn(self, place_B: Integers, error_B: NDArray[np.float64]) -> None:
        """Give these places the priority of their error."""
        priority_B = (np.abs(error_B) + PRIORITY_MIN) ** self.alpha
        self.largest = max(self.largest, float(priority_B.max()))
        self.tree.set(place_B, priority_B)


Source = MarketPath | Replay
"""What a learner can learn from."""

View = PathView | Replay


def view_of(source: Source) -> View:
    """Return what makes transitions of a source."""
    return PathView(source) if isinstance(source, MarketPath) else source


def spaces_of(source: Source) -> Spaces:
    """Return the sizes of a source's control problem."""
    if isinstance(source, Replay):
        return source.spaces
    return Spaces(input_count=source.input_count, action_count=POSITIONS)


def sampler_of(view: View, steps: int, is_prioritised: bool) -> Sampler:
    """Return where batches come from, for returns over so many steps."""
    if isinstance(view, Replay):
        return view.sampler(is_prioritised)
    kind = PrioritisedSampler if is_prioritised else UniformSampler
    return kind(len(view), steps)
