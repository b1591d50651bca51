"""Parameters and moments as rows of tables, for compiled steps; torch's modules look at them too.

The parameters of modules of one shape are laid into a table, a row each, of which the modules' own
parameters become views: whatever asks, saves or restores the modules goes on as before, and an
update changes them in place. Weights lie inputs by outputs there, so a module sees them turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strategy.learning.layer_steps import BETA_1, BETA_2

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stride:
    """How far one step of the optimiser goes."""

    rate: float
    gradient_norm_max: float
    weight_decay: float = 0.0
    epsilon: float = 1e-8


class FlatMemory:
    """What an optimiser holds of C modules with P parameters each."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """Take over the modules' parameters."""
        self.theta_CP = lay_out(modules)
        self.mean_CP, self.square_CP, self.gradient_CP = (
            np.zeros_like(self.theta_CP) for _ in range(3)
        )
        self.steps_done = 0

    def next_rule(self, stride: Stride) -> Floats64:
        """Count a step and return what ``layer_steps.descend`` wants to know of it (6)."""
        self.steps_done += 1
        return np.array(
            [
                stride.rate,
                stride.weight_decay,
                stride.gradient_norm_max,
                stride.epsilon,
                1.0 - BETA_1**self.steps_done,
                1.0 - BETA_2**self.steps_done,
            ]
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the moments, to go on from."""
        return {
            "moments.mean": torch.from_numpy(self.mean_CP.copy()),
            "moments.square": torch.from_numpy(self.square_CP.copy()),
            "moments.steps": torch.tensor(self.steps_done),
        }

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` gave; ValueError for other sizes, KeyError for none."""
        for name, moment_CP in (("mean", self.mean_CP), ("square", self.square_CP)):
            found = tensors[f"moments.{name}"].numpy()
            if found.shape != moment_CP.shape:
                raise ValueError(f"moments of shape {found.shape}, wanted {moment_CP.shape}")
            moment_CP[:] = found
        self.steps_done = int(tensors["moments.steps"])


def lay_out(modules: Sequence[nn.Module]) -> Floats32:
    """Move the parameters of every module into a row of one table (C, P) and return it."""
    flat_CP = torch.stack(
        [torch.cat([p.detach().t().flatten() for p in each.parameters()]) for each in modules]
    )
    for row_P, module in zip(flat_CP, modules, strict=True):
        at = 0
        for parameter in module.parameters():
            turned = parameter.shape[::-1]
            parameter.data = row_P[at : at + parameter.numel()].view(turned).t()
            at += parameter.numel()
    table_CP: Floats32 = flat_CP.numpy()
    return table_CP


def check_rows(input_BF: Floats32, inputs: int) -> None:
    """Refuse inputs that networks of this width cannot read; ValueError."""
    if input_BF.shape[1:] != (inputs,):
        raise ValueError(f"states of shape {input_BF.shape}, wanted (B, {inputs})")
    if not input_BF.flags.c_contiguous:
        raise ValueError("the rows of states do not lie side by side")
