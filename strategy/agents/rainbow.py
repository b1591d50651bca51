"""Rainbow (Hessel et al. 2018): dueling C51 over 51 atoms with factorised noisy layers.

Noise explores during training only; at decision time the layers use their means, so that equal
observations give equal decisions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategy.agents.dueling import ACTION_COUNT, HEAD_COUNT, VALUE_DIMS, normalise

ATOM_COUNT = 51
"""Atoms of the return distribution."""

RETURN_MAX = 10.0
"""The atoms lie evenly on [-RETURN_MAX, RETURN_MAX], in units of the scaled training reward."""

NOISE_SIGMA = 0.1
"""Initial noise of a noisy layer, divided by the square root of its fan-in (Fortunato 2018).

The paper's 0.5 drowns a weak signal: on the exactly solvable world (``strategy.learning.dp_world``)
an agent stays flat with it (0.00 to 0.10 of the optimum after 2,500 updates), with 0.1 it reaches
0.98 after 3,000."""


class NoisyLinear(nn.Module):
    """Linear layer whose weights carry factorised Gaussian noise while training."""

    def __init__(self, input_count: int, output_count: int) -> None:
        """Take both widths; the noise is zero until it is given."""
        super().__init__()
        bound = 1.0 / math.sqrt(input_count)
        self.weight_mean = nn.Parameter(torch.empty(output_count, input_count))
        self.bias_mean = nn.Parameter(torch.empty(output_count))
        nn.init.uniform_(self.weight_mean, -bound, bound)
        nn.init.uniform_(self.bias_mean, -bound, bound)
        sigma = NOISE_SIGMA * bound
        self.weight_sigma = nn.Parameter(torch.full((output_count, input_count), sigma))
        self.bias_sigma = nn.Parameter(torch.full((output_count,), sigma))
        self.noise_in: Tensor
        self.noise_out: Tensor
        self.register_buffer("noise_in", torch.zeros(input_count), persistent=False)
        self.register_buffer("noise_out", torch.zeros(output_count), persistent=False)

    @torch.jit.ignore  # type: ignore[untyped-decorator]  # torch ships it without annotations
    def take_noise(self, noise_in: Tensor, noise_out: Tensor) -> None:
        """Take new noise f(x) = sgn(x) sqrt|x| of both sides, as many numbers as they have."""
        self.noise_in.copy_(noise_in)
        self.noise_out.copy_(noise_out)

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """Map (B, input_count) to (B, output_count); noise only in training mode."""
        weight: Tensor = self.weight_mean
        bias: Tensor = self.bias_mean
        if self.training:
            weight = weight + self.weight_sigma * torch.outer(self.noise_out, self.noise_in)
            bias = bias + self.bias_sigma * self.noise_out
        return functional.linear(hidden_BH, weight, bias)


class Rainbow(nn.Module):
    """Prefer by the expected return of a dueling categorical distribution."""

    def __init__(
        self,
        observation_count: int,
        action_count: int = ACTION_COUNT,
        net_dims: tuple[int, int] = VALUE_DIMS,
        is_dueling: bool = True,
    ) -> None:
        """Take the width F of one observation row; without dueling one stream gives the values."""
        super().__init__()
        self.is_dueling = is_dueling
        self.first = nn.Linear(observation_count, net_dims[0])
        self.second = nn.Linear(net_dims[0], net_dims[1])
        self.value_hidden = NoisyLinear(net_dims[1], HEAD_COUNT)
        self.value_out = NoisyLinear(HEAD_COUNT, ATOM_COUNT)
        self.advantage_hidden = NoisyLinear(net_dims[1], HEAD_COUNT)
        self.advantage_out = NoisyLinear(HEAD_COUNT, action_count * ATOM_COUNT)
        self.support_Z: Tensor
        support_Z = torch.linspace(-RETURN_MAX, RETURN_MAX, ATOM_COUNT)
        self.register_buffer("support_Z", support_Z)

    def atom_logits(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to the logits of the return atoms (B, 3, 51)."""
        hidden_BH = torch.relu(normalise(self.first(obs_BF)))
        hidden_BH = torch.relu(normalise(self.second(hidden_BH)))
        value_BZ: Tensor = self.value_out(torch.relu(self.value_hidden(hidden_BH)))
        advantage: Tensor = self.advantage_out(torch.relu(self.advantage_hidden(hidden_BH)))
        advantage_B3Z = advantage.view(value_BZ.size(0), -1, value_BZ.size(1))
        if not self.is_dueling:
            return advantage_B3Z
        centred_B3Z = advantage_B3Z - advantage_B3Z.mean(dim=1, keepdim=True)
        return value_BZ.unsqueeze(1) + centred_B3Z

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to expected returns (B, 3)."""
        return torch.softmax(self.atom_logits(obs_BF), dim=2) @ self.support_Z
