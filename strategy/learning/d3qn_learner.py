"""D3QN: a dueling critic (Wang et al. 2016) on double targets (van Hasselt et al. 2016)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from strategy.agents.d3qn import D3qn
from strategy.learning.transitions import TensorBatch
from strategy.learning.value_learner import ValueLearner, double_target, huber, taken


class D3qnLearner(ValueLearner):
    """Move the value of the action taken towards its double target."""

    name: ClassVar[str] = "d3qn"

    def build(self, input_count: int, action_count: int) -> nn.Module:
        """Return a dueling critic."""
        return D3qn(input_count, action_count, self.net_dims)

    def critics(self, net: nn.Module) -> tuple[nn.Module, ...]:
        """Return the one dueling critic."""
        assert isinstance(net, D3qn)
        return (net.critic,)

    def losses(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return Huber losses and absolute errors."""
        wanted_B = double_target(batch, self.net, self.target)
        found_B = taken(self.net(batch.input_BF), batch.action_B)
        return huber(found_B, wanted_B, self.options.huber), (found_B - wanted_B).abs()
