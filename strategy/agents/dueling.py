"""The dueling value network that D3QN and Twin D3QN share.

Linear, layer normalisation without affine terms, ReLU, twice; then a value and an advantage head.
The normalisation carries no parameters of its own: two of them are one call in the fused ensemble.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN_COUNT = 128
"""Width of both hidden layers of every value network."""

VALUE_DIMS = (HIDDEN_COUNT, HIDDEN_COUNT)

HEAD_COUNT = 64
"""Width of the hidden layer of a value head and of an advantage head."""

ACTION_COUNT = 3
"""SELL, HOLD, BUY, in the order of ``kernels.events.Action``."""


def normalise(hidden_BH: Tensor) -> Tensor:
    """Give every row of the last axis mean zero and variance one."""
    return functional.layer_norm(hidden_BH, (hidden_BH.size(-1),))


class DuelingNet(nn.Module):
    """Return action values Q = V + A - mean A; the values' unit is that of the training reward."""

    def __init__(
        self,
        observation_count: int,
        action_count: int = ACTION_COUNT,
        net_dims: tuple[int, int] = VALUE_DIMS,
    ) -> None:
        """Take the width F of one observation row, the actions, the widths of both layers."""
        super().__init__()
        self.first = nn.Linear(observation_count, net_dims[0])
        self.second = nn.Linear(net_dims[0], net_dims[1])
        self.value_hidden = nn.Linear(net_dims[1], HEAD_COUNT)
        self.value_out = nn.Linear(HEAD_COUNT, 1)
        self.advantage_hidden = nn.Linear(net_dims[1], HEAD_COUNT)
        self.advantage_out = nn.Linear(HEAD_COUNT, action_count)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action values (B, 3)."""
        hidden_BH = torch.relu(normalise(self.first(obs_BF)))
        hidden_BH = torch.relu(normalise(self.second(hidden_BH)))
        value_B1: Tensor = self.value_out(torch.relu(self.value_hidden(hidden_BH)))
        advantage_B3: Tensor = self.advantage_out(torch.relu(self.advantage_hidden(hidden_BH)))
        return value_B1 + advantage_B3 - advantage_B3.mean(dim=1, keepdim=True)
