"""What learners learn from: transitions, and market paths whose every consequence is known.

Prices do not depend on what we do, so for a recorded bar the outcome of *every* position and action
is known: own position and action of a training row can be chosen freely (off-policy on exogenous
data), and the actions that follow can be the present policy's own, which makes returns over several
steps unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POSITIONS = 3

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketPath:
    """One market as agents see it: rows float32 (T, F), what acting at t earns, what it costs.

    ``return_T`` is the return that a position taken at row t earns until row t + 1, ``cost_T`` that
    of changing it by one unit at t; both in the same unit, of about one per bar.
    """

    rows_TF: NDArray[np.float32]
    return_T: NDArray[np.float64]
    cost_T: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse paths whose parts do not match, or that hold what is no number."""
        if self.rows_TF.ndim != 2 or self.rows_TF.dtype != np.float32:
            raise ValueError(f"rows {self.rows_TF.dtype} {self.rows_TF.shape}, wanted float32 TF")
        if not len(self.rows_TF) == len(self.return_T) == len(self.cost_T):
            raise ValueError("rows, returns and costs differ in length")
        for what in (self.rows_TF, self.return_T, self.cost_T):
            if not np.isfinite(what).all():
                raise ValueError("the path holds numbers that are not finite")

    @property
    def input_count(self) -> int:
        """Width of what an agent sees: the row and its own position."""
        return int(self.rows_TF.shape[1]) + POSITIONS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Transitions: ``reward_B`` until ``next_BF``, from where ``discount_B`` counts on.

    ``discount_B`` is 0 where the episode ended, gamma to the number of steps otherwise (also where
    it was only cut off). ``weight_B`` corrects a sampling that prefers some rows.
    """

    input_BF: Tensor
    action_B: Tensor
    reward_B: Tensor
    next_BF: Tensor
    discount_B: Tensor
    weight_B: Tensor
    place_B: Integers


class Policy(Protocol):
    """What chooses greedily: inputs (B, F) to actions (B)."""

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return the preferred action of every row."""


class PathView:
    """A market path as tensors; makes transitions for any bar, position and action."""

    def __init__(self, path: MarketPath) -> None:
        """Hold the path once in the form that networks read."""
        self.path = path
        self.rows_TF = torch.from_numpy(path.rows_TF)
        self.return_T = torch.from_numpy(path.return_T.astype(np.float32))
        self.cost_T = torch.from_numpy(path.cost_T.astype(np.float32))
        self.one_hot_33 = torch.eye(POSITIONS)

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.rows_TF)

    def inputs(self, bar_B: Tensor, held_B: Tensor) -> Tensor:
        """Return what agents see at these bars with these own positions (B, F)."""
        return torch.cat((self.rows_TF[bar_B], self.one_hot_33[held_B]), dim=1)

    def reward(self, bar_B: Tensor, held_B: Tensor, action_B: Tensor) -> Tensor:
        """Return what the action earns, costs taken off."""
        change_B = (action_B - held_B).abs()
        return (action_B - 1) * self.return_T[bar_B] - self.cost_T[bar_B] * change_B

    def transitions(
        self,
        place_B: Integers,
        weight_B: NDArray[np.float32],
        policy: Policy,
        *,
        discount: float,
        steps: int,
    ) -> Batch:
        """Return the transitions of these places; a place is (bar * 3 + held) * 3 + action.

        After the first step the policy's own greedy actions are followed for ``steps`` - 1 more.
        """
        place = torch.from_numpy(place_B)
        bar_B = torch.div(place, POSITIONS * POSITIONS, rounding_mode="floor")
        held_B = torch.div(place, POSITIONS, rounding_mode="floor") % POSITIONS
        action_B = place % POSITIONS
        reward_B = self.reward(bar_B, held_B, action_B)
        at_B, now_B = bar_B + 1, action_B
        for step in range(1, steps):
            with torch.no_grad():
                follow_B = policy.greedy(self.inputs(at_B, now_B))
            reward_B = reward_B + discount**step * self.reward(at_B, now_B, follow_B)
            at_B, now_B = at_B + 1, follow_B
        return Batch(
            input_BF=self.inputs(bar_B, held_B),
            action_B=action_B,
            reward_B=reward_B,
            next_BF=self.inputs(at_B, now_B),
            discount_B=torch.full_like(reward_B, discount**steps),
            weight_B=torch.from_numpy(weight_B),
            place_B=place_B,
        )
