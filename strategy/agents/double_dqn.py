"""Double DQN (van Hasselt et al. 2016): one plain critic without a dueling head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT, VALUE_DIMS, normalise


class DoubleDqn(nn.Module):
    """Prefer by one plain critic."""

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
        self.out = nn.Linear(net_dims[1], action_count)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action values (B, 3)."""
        hidden_BH = torch.relu(normalise(self.first(obs_BF)))
        hidden_BH = torch.relu(normalise(self.second(hidden_BH)))
        value_B3: Tensor = self.out(hidden_BH)
        return value_B3
