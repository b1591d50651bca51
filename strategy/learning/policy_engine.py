"""PPO's actor and critic in training by compiled steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy.agents.ppo import Ppo
from strategy.learning import policy_steps as steps
from strategy.learning.flat_memory import FlatMemory, Stride, check_rows

Floats32 = NDArray[np.float32]


class PolicyEngine:
    """One actor and its critic."""

    def __init__(self, net: Ppo) -> None:
        """Take the networks; their parameters become views."""
        self.dims = dims = dims_of(net)
        self.memory = FlatMemory([net])
        widest = max(dims.inputs, dims.first, dims.second)
        self._scratch = (
            np.zeros((steps.BLOCK_ROWS, dims.inputs), np.float32),
            self._new_traces(steps.BLOCK_ROWS),
            self._new_traces(steps.BLOCK_ROWS),
            np.zeros(widest * max(widest, dims.actions), np.float32),
        )
        self._asked: dict[int, tuple[steps.TanhTrace, steps.TanhTrace]] = {}

    def update(
        self,
        walked: steps.Walked,
        place_M: NDArray[np.int64],
        stride: Stride,
        weighing: steps.Weighing,
    ) -> tuple[float, float, float]:
        """Learn from a minibatch; return loss, approximate KL shift and the clipped share."""
        memory, found_3 = self.memory, np.zeros(3)
        steps.update_policy(
            (memory.theta_CP[0], memory.mean_CP[0], memory.square_CP[0]),
            memory.gradient_CP[0],
            walked,
            place_M,
            self._scratch,
            weighing,
            memory.next_rule(stride),
            found_3,
        )
        return float(found_3[0]), float(found_3[1]), float(found_3[2])

    def answer(self, input_BF: Floats32) -> tuple[Floats32, Floats32]:
        """Return logs of shares (B, A) and values (B) of states; ValueError for another width."""
        check_rows(input_BF, self.dims.inputs)
        rows = len(input_BF)
        if rows not in self._asked:
            self._asked[rows] = self._new_traces(rows)
        log_share_BA = np.empty((rows, self.dims.actions), np.float32)
        value_B = np.empty(rows, np.float32)
        steps.answer(self.memory.theta_CP[0], input_BF, self._asked[rows], log_share_BA, value_B)
        return log_share_BA, value_B

    def _new_traces(self, rows: int) -> tuple[steps.TanhTrace, steps.TanhTrace]:
        actor = steps.new_tanh_trace(rows, self.dims, self.dims.actions)
        return actor, steps.new_tanh_trace(rows, self.dims, 1)


def dims_of(net: Ppo) -> steps.PolicyDims:
    """Return the widths of actor and critic."""
    return steps.PolicyDims(
        inputs=net.actor.first.in_features,
        first=net.actor.first.out_features,
        second=net.actor.second.out_features,
        actions=net.actor.out.out_features,
    )
