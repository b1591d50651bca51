"""PPO (Schulman et al. 2017): a separate tanh actor and critic; the actor alone decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT

TANH_COUNT = 64
"""Width of both hidden layers of actor and critic."""


class TanhNet(nn.Module):
    """Two tanh layers of 64 and a linear output."""

    def __init__(self, observation_count: int, output_count: int) -> None:
        """Take the width F of one observation row and the number of outputs."""
        super().__init__()
        self.first = nn.Linear(observation_count, TANH_COUNT)
        self.second = nn.Linear(TANH_COUNT, TANH_COUNT)
        self.out = nn.Linear(TANH_COUNT, output_count)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to outputs (B, output_count)."""
        hidden_BH = torch.tanh(self.first(obs_BF))
        hidden_BH = torch.tanh(self.second(hidden_BH))
        output_BO: Tensor = self.out(hidden_BH)
        return output_BO


class Ppo(nn.Module):
    """Prefer by the actor's logits; the critic serves training."""

    def __init__(self, observation_count: int) -> None:
        """Take the width F of one observation row."""
        super().__init__()
        self.actor = TanhNet(observation_count, ACTION_COUNT)
        self.critic = TanhNet(observation_count, 1)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action logits (B, 3)."""
        logits_B3: Tensor = self.actor(obs_BF)
        return logits_B3
