"""D3QN: dueling double deep Q-network (van Hasselt et al. 2016, Wang et al. 2016).

"Double" is a matter of the training target; at decision time the agent is one dueling critic.
"""

from __future__ import annotations

from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT, VALUE_DIMS, DuelingNet


class D3qn(nn.Module):
    """Prefer by one dueling critic."""

    def __init__(
        self,
        observation_count: int,
        action_count: int = ACTION_COUNT,
        net_dims: tuple[int, int] = VALUE_DIMS,
    ) -> None:
        """Take the width F of one observation row, the actions, the widths of both layers."""
        super().__init__()
        self.critic = DuelingNet(observation_count, action_count, net_dims)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to action values (B, 3)."""
        value_B3: Tensor = self.critic(obs_BF)
        return value_B3
