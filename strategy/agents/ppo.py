"""PPO (Schulman et al. 2017): a separate tanh actor and critic; the actor alone decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT

TANH_COUNT = 64
"""Width of both hidden layers of actor and critic."""

TANH_DIMS = (TANH_COUNT, TANH_COUNT)


class TanhNet(nn.Module):
    """Two tanh layers of 64 and a linear output."""

    def __init__(
        self, observation_count: int, output_count: int, net_dims: tuple[int, int] = TANH_DIMS
    ) -> None:
        """Take the width F of one observation row, the outputs, the widths of both layers."""
        super().__init__()
        self.first = nn.Linear(observation_count, net_dims[0])
        self.second = nn.Linear(net_dims[0], net_dims[1])
        self.out = nn.Linear(net_dims[1], output_count)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to outputs (B, output_count)."""
        hidden_BH = torch.tanh(self.first(obs_BF))
        hidden_BH = torch.tanh(self.second(hidden_BH))
        output_BO: Tensor = self.out(hidden_BH)
        return output_BO


class Ppo(nn.Module):
    """Prefer by the actor's logits; the critic serves training."""

    def __init__(
        self,
        observation_count: int,
        action_count: int = ACTION_COUNT,
        net_dims: tuple[int, int] = TANH_DIMS,
    ) -> None:
        """Take the width F of one observation row, the actions, the widths of both layers."""
        super().__init__()
        self.actor = TanhNet(observation_count, action_count, net_dims)
        self.critic = TanhNet(observation_count, 1, net_dims)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action logits (B, 3)."""
        logits_B3: Tensor = self.actor(obs_BF)
        return logits_B3
