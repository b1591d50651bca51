"""Twin D3QN: two dueling critics, each learning from the smaller of both targets.

Clipped double Q-learning (Fujimoto et al. 2018) with discrete actions: the next action is the one
whose pessimistic value, the smaller of both online critics, is largest; its worth is the smaller of
both target critics. Where the critics disagree the agent is careful, so it is a different learner
from D3QN and not a copy with another seed.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from strategy.agents.twin_d3qn import TwinD3qn
from strategy.learning.transitions import TensorBatch
from strategy.learning.value_learner import ValueLearner, huber, taken


class TwinD3qnLearner(ValueLearner):
    """Move both critics towards one pessimistic target."""

    name: ClassVar[str] = "twin_d3qn"
    net: TwinD3qn
    target: TwinD3qn

    def build(self, input_count: int, action_count: int) -> nn.Module:
        """Return two dueling critics."""
        return TwinD3qn(input_count, action_count, self.net_dims)

    def critics(self, net: nn.Module) -> tuple[nn.Module, ...]:
        """Return both critics."""
        assert isinstance(net, TwinD3qn)
        return (net.critic_a, net.critic_b)

    def losses(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return the sum of both critics' Huber losses, and the larger absolute error."""
        wanted_B = clipped_target(batch, self.net, self.target)
        found_a_B = taken(self.net.critic_a(batch.input_BF), batch.action_B)
        found_b_B = taken(self.net.critic_b(batch.input_BF), batch.action_B)
        limit = self.options.huber
        loss_B = huber(found_a_B, wanted_B, limit) + huber(found_b_B, wanted_B, limit)
        error_B = torch.maximum((found_a_B - wanted_B).abs(), (found_b_B - wanted_B).abs())
        return loss_B, error_B


def clipped_target(batch: TensorBatch, online: TwinD3qn, target: TwinD3qn) -> Tensor:
    """Return r + discount * min over critics of Q_target(next, the pessimist's choice) (B)."""
    with torch.no_grad():
        chosen_B1 = online(batch.next_BF).argmax(dim=1, keepdim=True)
        worth_B3: Tensor = target(batch.next_BF)  # already the smaller of both
        return batch.reward_B + batch.discount_B * worth_B3.gather(1, chosen_B1).squeeze(1)
