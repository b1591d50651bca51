"""Twin D3QN: two dueling critics, the smaller value counts (clipped double Q, Fujimoto 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT, VALUE_DIMS, DuelingNet


class TwinD3qn(nn.Module):
    """Prefer by the pessimistic one of two dueling critics, action by action."""

    def __init__(
        self,
        observation_count: int,
        action_count: int = ACTION_COUNT,
        net_dims: tuple[int, int] = VALUE_DIMS,
    ) -> None:
        """Take the width F of one observation row, the actions, the widths of both layers."""
        super().__init__()
        self.critic_a = DuelingNet(observation_count, action_count, net_dims)
        self.critic_b = DuelingNet(observation_count, action_count, net_dims)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to the smaller of both action values (B, 3)."""
        return torch.minimum(self.critic_a(obs_BF), self.critic_b(obs_BF))
