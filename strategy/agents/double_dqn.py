"""Double DQN (van Hasselt et al. 2016): one plain critic without a dueling head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT, HIDDEN_COUNT, normalise


class DoubleDqn(nn.Module):
    """Prefer by one plain critic."""

    def __init__(self, observation_count: int) -> None:
        """Take the width F of one observation row."""
        super().__init__()
        self.first = nn.Linear(observation_count, HIDDEN_COUNT)
        self.second = nn.Linear(HIDDEN_COUNT, HIDDEN_COUNT)
        self.out = nn.Linear(HIDDEN_COUNT, ACTION_COUNT)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action values (B, 3)."""
        hidden_BH = torch.relu(normalise(self.first(obs_BF)))
        hidden_BH = torch.relu(normalise(self.second(hidden_BH)))
        value_B3: Tensor = self.out(hidden_BH)
        return value_B3
