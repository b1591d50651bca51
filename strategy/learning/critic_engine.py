"""Critics in training by compiled steps; torch's modules look at the same memory.

The parameters of one or two critics are laid into one vector, of which the modules' own parameters
become views: whatever asks, saves or restores the modules goes on as before, and an update changes
them in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.dueling import DuelingNet
from strategy.learning import critic_steps as steps
from strategy.learning.transitions import Batch

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stride:
    """How far an update goes: ``smoothing`` is the share that the target takes over."""

    rate: float
    weight_decay: float
    gradient_norm_max: float
    smoothing: float
    huber: float


class CriticEngine:
    """One critic, or two that learn from the smaller of both targets."""

    def __init__(self, critics: Sequence[nn.Module], targets: Sequence[nn.Module]) -> None:
        """Take critics of one shape and their targets; their parameters become views."""
        self.dims = dims_of(critics[0])
        self.theta_CP, self.target_CP = lay_out(critics), lay_out(targets)
        self.mean_CP, self.square_CP = np.zeros_like(self.theta_CP), np.zeros_like(self.theta_CP)
        self._gradient_CP, self._turned_CP = (np.zeros_like(self.theta_CP) for _ in range(2))
        self._scratch: dict[int, tuple[steps.Trace, ...]] = {}

    def update(
        self, batch: Batch, stride: Stride, updates_done: int
    ) -> tuple[float, NDArray[np.float64]]:
        """Learn from a batch; return the loss and the absolute errors (B) before the step."""
        rows = len(batch.place_B)
        if rows not in self._scratch:
            self._scratch[rows] = self._new_scratch(rows)
        traces, spare, slopes, tables = self._scratch[rows]
        error_B = np.zeros(rows)
        rule_6 = np.array(
            [
                stride.rate,
                stride.weight_decay,
                stride.gradient_norm_max,
                stride.smoothing,
                1.0 - steps.BETA_1 ** (updates_done + 1),
                1.0 - steps.BETA_2 ** (updates_done + 1),
            ]
        )
        loss = steps.update_critics(
            (self.theta_CP, self.target_CP, self.mean_CP, self.square_CP),
            (self._gradient_CP, self._turned_CP),
            self.dims,
            (batch.input_BF.numpy(), batch.next_BF.numpy()),
            batch.action_B.numpy(),
            (batch.reward_B.numpy(), batch.discount_B.numpy(), batch.weight_B.numpy()),
            traces,
            spare,
            slopes,
            tables,
            error_B,
            stride.huber,
            rule_6,
        )
        return float(loss), error_B

    def values(self, state_F: Floats32) -> Floats32:
        """Return what the critics say of one state (A); ValueError for one of another width."""
        if state_F.shape != self.dims[:1]:
            raise ValueError(f"a state of shape {state_F.shape}, wanted {self.dims[:1]}")
        least_A = np.empty(self.dims[-1], np.float32)
        steps.row_values(self.theta_CP, self.dims, np.ascontiguousarray(state_F), least_A)
        return least_A

    def _new_scratch(self, rows: int) -> tuple[steps.Trace, ...]:
        critics, actions = len(self.theta_CP), self.dims[-1]
        traces = tuple(steps.new_trace(rows, self.dims) for _ in range(critics))
        tables = (
            np.zeros((rows, actions), np.float32),
            np.zeros((rows, actions), np.float32),
            np.zeros(rows, np.float32),
            np.zeros(rows),
        )
        return (
            traces,
            steps.new_trace(rows, self.dims),
            steps.new_trace(rows, self.dims),
            tables,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the moments, to go on from."""
        return {
            "moments.mean": torch.from_numpy(self.mean_CP.copy()),
            "moments.square": torch.from_numpy(self.square_CP.copy()),
        }

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` gave; ValueError for other sizes, KeyError for none."""
        for name, moment_CP in (("mean", self.mean_CP), ("square", self.square_CP)):
            found = tensors[f"moments.{name}"].numpy()
            if found.shape != moment_CP.shape:
                raise ValueError(f"moments of shape {found.shape}, wanted {moment_CP.shape}")
            moment_CP[:] = found


def dims_of(critic: nn.Module) -> steps.Dims:
    """Return the widths of a critic; TypeError for one of another kind."""
    if isinstance(critic, DuelingNet):
        head, actions = critic.value_hidden.out_features, critic.advantage_out.out_features
    elif isinstance(critic, DoubleDqn):
        head, actions = 0, critic.out.out_features
    else:
        raise TypeError(f"no compiled steps for {type(critic).__name__}")
    first, second = critic.first, critic.second
    return first.in_features, first.out_features, second.out_features, head, actions


def lay_out(critics: Sequence[nn.Module]) -> Floats32:
    """Move the parameters of every critic into a row of one table (C, P) and return it."""
    flat_CP = torch.stack(
        [torch.cat([p.detach().flatten() for p in critic.parameters()]) for critic in critics]
    )
    for row_P, critic in zip(flat_CP, critics, strict=True):
        at = 0
        for parameter in critic.parameters():
            parameter.data = row_P[at : at + parameter.numel()].view(parameter.shape)
            at += parameter.numel()
    table_CP: Floats32 = flat_CP.numpy()
    return table_CP
