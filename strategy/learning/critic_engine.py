"""Critics in training by compiled steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.dueling import DuelingNet
from strategy.learning import critic_steps as steps
from strategy.learning.flat_memory import FlatMemory, Stride, check_rows, lay_out
from strategy.learning.transitions import Batch

Floats32 = NDArray[np.float32]
Scratch = tuple[tuple[steps.Trace, ...], steps.Trace, steps.Trace, steps.Tables]


class CriticEngine:
    """One critic, or two that learn from the smaller of both targets."""

    def __init__(
        self, critics: Sequence[nn.Module], targets: Sequence[nn.Module], *, huber: float
    ) -> None:
        """Take critics of one shape and their targets; their parameters become views."""
        self.dims, self.huber = dims_of(critics[0]), huber
        is_alone = len(critics) == 1
        self._chooser_dims = self.dims._replace(is_dueling=self.dims.is_dueling and not is_alone)
        self.memory, self.target_CP = FlatMemory(critics), lay_out(targets)
        self._scratch: dict[int, Scratch] = {}
        self._asked: dict[int, steps.Trace] = {}
        self._row_1A = np.zeros((1, self.dims.actions), np.float32)

    def update(
        self, batch: Batch, stride: Stride, smoothing: float
    ) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from a batch; return loss, mean and all (B) absolute errors before the step.

        ``smoothing`` is the share that the target takes over.
        """
        rows, memory = len(batch.action_B), self.memory
        if rows not in self._scratch:
            self._scratch[rows] = new_scratch(rows, self.dims, len(memory.theta_CP))
        error_B = np.zeros(rows)
        loss, error = steps.update_critics(
            (memory.theta_CP, self.target_CP, memory.mean_CP, memory.square_CP),
            memory.gradient_CP,
            self.dims,
            self._chooser_dims,
            batch,
            self._scratch[rows],
            error_B,
            self.huber,
            smoothing,
            memory.next_rule(stride),
        )
        return loss, error, error_B

    def spread(self, state_1F: Floats32) -> float:
        """Return how far one state's values lie apart, as ``critic_steps.row_spread``."""
        check_rows(state_1F, self.dims.inputs)
        if 1 not in self._asked:
            self._asked[1] = steps.new_trace(1, self.dims)
        theta_CP = self.memory.theta_CP
        return float(steps.row_spread(theta_CP, self.dims, state_1F, self._asked[1], self._row_1A))

    def values(self, input_BF: Floats32) -> Floats32:
        """Return what the critics say of states (B, A); ValueError for ones of another width."""
        check_rows(input_BF, self.dims.inputs)
        rows = len(input_BF)
        if rows not in self._asked:
            self._asked[rows] = steps.new_trace(rows, self.dims)
        least_BA = np.empty((rows, self.dims.actions), np.float32)
        steps.least_values(self.memory.theta_CP, self.dims, input_BF, self._asked[rows], least_BA)
        return least_BA


def new_scratch(rows: int, dims: steps.Dims, critics: int) -> Scratch:
    """Return the scratch of an update."""
    traces = tuple(steps.new_trace(rows, dims) for _ in range(critics))
    spare, slopes = (steps.new_trace(rows, dims) for _ in range(2))
    return traces, spare, slopes, steps.new_tables(rows, dims)


def dims_of(critic: nn.Module) -> steps.Dims:
    """Return the widths of a critic; TypeError for one of another kind."""
    if isinstance(critic, DuelingNet):
        head, actions = critic.value_hidden.out_features, critic.advantage_out.out_features
    elif isinstance(critic, DoubleDqn):
        head, actions = 0, critic.out.out_features
    else:
        raise TypeError(f"no compiled steps for {type(critic).__name__}")
    return steps.Dims(
        inputs=critic.first.in_features,
        first=critic.first.out_features,
        second=critic.second.out_features,
        head=head,
        actions=actions,
        atoms=1,
        is_dueling=head > 0,
    )
