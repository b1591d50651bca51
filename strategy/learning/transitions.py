"""What learners learn from: transitions, and market paths whose every consequence is known.

Prices do not depend on what we do, so for a recorded bar the outcome of *every* position and action
is known: own position and action of a training row can be chosen freely (off-policy on exogenous
data), and the actions that follow can be the present policy's own, which makes returns over several
steps unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.jit import njit

POSITIONS = 3

Integers = NDArray[np.int64]
Floats32 = NDArray[np.float32]


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


class TensorBatch(NamedTuple):
    """A ``Batch`` as torch reads it."""

    input_BF: Tensor
    next_BF: Tensor
    action_B: Tensor
    reward_B: Tensor
    discount_B: Tensor
    weight_B: Tensor


class Batch(NamedTuple):
    """Transitions: ``reward_B`` until ``next_BF``, from where ``discount_B`` counts on.

    ``discount_B`` is 0 where the episode ended, gamma to the number of steps otherwise (also where
    it was only cut off). ``weight_B`` corrects a sampling that prefers some rows.
    """

    input_BF: Floats32
    next_BF: Floats32
    action_B: Integers
    reward_B: Floats32
    discount_B: Floats32
    weight_B: Floats32

    def tensors(self) -> TensorBatch:
        """Return the same memory as tensors."""
        return TensorBatch._make(torch.from_numpy(table) for table in self)


class Policy(Protocol):
    """What chooses greedily: inputs (B, F) to actions (B)."""

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return the preferred action of every row."""


class PathView:
    """A market path; makes transitions for any bar, position and action."""

    def __init__(self, path: MarketPath) -> None:
        """Hold the path once in the form that networks read."""
        self.path = path
        self.rows_TF = path.rows_TF
        self.return_T = path.return_T.astype(np.float32)
        self.cost_T = path.cost_T.astype(np.float32)

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.rows_TF)

    def inputs(self, bar_B: Integers, held_B: Integers) -> Floats32:
        """Return what agents see at these bars with these own positions (B, F)."""
        input_BF = np.empty((len(bar_B), self.path.input_count), np.float32)
        _see(self.rows_TF, bar_B, held_B, input_BF)
        return input_BF

    def reward(self, bar_B: Integers, held_B: Integers, action_B: Integers) -> Floats32:
        """Return what the action earns, costs taken off."""
        reward_B = np.zeros(len(bar_B), np.float32)
        _earn(self.return_T, self.cost_T, bar_B, held_B, action_B, 1.0, reward_B)
        return reward_B

    def transitions(
        self,
        place_B: Integers,
        weight_B: Floats32,
        policy: Policy,
        *,
        discount: float,
        steps: int,
    ) -> Batch:
        """Return the transitions of these places; a place is (bar * 3 + held) * 3 + action.

        After the first step the policy's own greedy actions are followed for ``steps`` - 1 more.
        """
        situation_B, action_B = np.divmod(place_B, POSITIONS)
        bar_B, held_B = np.divmod(situation_B, POSITIONS)
        reward_B = self.reward(bar_B, held_B, action_B)
        at_B, now_B = bar_B + 1, action_B
        for step in range(1, steps):
            follow_B = policy.greedy(torch.from_numpy(self.inputs(at_B, now_B))).numpy()
            factor = discount**step
            _earn(self.return_T, self.cost_T, at_B, now_B, follow_B, factor, reward_B)
            at_B, now_B = at_B + 1, follow_B
        return Batch(
            input_BF=self.inputs(bar_B, held_B),
            next_BF=self.inputs(at_B, now_B),
            action_B=action_B,
            reward_B=reward_B,
            discount_B=np.full(len(place_B), discount**steps, np.float32),
            weight_B=weight_B,
        )


@njit
def _see(rows_TF: Floats32, bar_B: Integers, held_B: Integers, input_BF: Floats32) -> None:
    bars, width = rows_TF.shape
    for b in range(bar_B.shape[0]):
        if not (0 <= bar_B[b] < bars and 0 <= held_B[b] < POSITIONS):
            raise IndexError("a bar or a position beyond the path")
        input_BF[b, :width] = rows_TF[bar_B[b]]
        input_BF[b, width:] = 0.0
        input_BF[b, width + held_B[b]] = 1.0


@njit
def _earn(
    return_T: Floats32,
    cost_T: Floats32,
    bar_B: Integers,
    held_B: Integers,
    action_B: Integers,
    factor: float,
    reward_B: Floats32,
) -> None:
    """Add ``factor`` times what the actions earn, costs taken off."""
    for b in range(bar_B.shape[0]):
        bar = bar_B[b]
        earned = (action_B[b] - 1) * return_T[bar] - cost_T[bar] * abs(action_B[b] - held_B[b])
        reward_B[b] += np.float32(factor * earned)
