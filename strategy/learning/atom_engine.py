"""Rainbow in training by compiled steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy.agents.rainbow import Rainbow
from strategy.learning import atom_steps as steps
from strategy.learning.critic_steps import Dims, Trace, new_tables, new_trace, parameter_count
from strategy.learning.flat_memory import FlatMemory, Stride, check_rows, lay_out
from strategy.learning.transitions import Batch

Floats32 = NDArray[np.float32]
Scratch = tuple[Trace, Trace, Trace, Trace, steps.AtomTables]


class AtomEngine:
    """One Rainbow network and its target."""

    def __init__(self, net: Rainbow, target: Rainbow) -> None:
        """Take both networks; their parameters become views."""
        self.dims = dims_of(net)
        self.memory, self.target_P = FlatMemory([net]), lay_out([target])[0]
        self.support_Z = net.support_Z.numpy()
        self.silence_N = np.zeros(steps.noise_count(self.dims), np.float32)
        self._scratch: dict[int, Scratch] = {}
        self._asked: dict[int, Trace] = {}
        self._tables = new_atom_tables(self.dims)

    def update(
        self,
        batch: Batch,
        stride: Stride,
        method: steps.Method,
        noises: tuple[Floats32, Floats32],
    ) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from a batch under the noises (N) of both networks.

        Returns the loss, mean and all (B) errors before the step.
        """
        rows, memory = len(batch.action_B), self.memory
        if rows not in self._scratch:
            first, second, third, fourth = (new_trace(rows, self.dims) for _ in range(4))
            self._scratch[rows] = first, second, third, fourth, self._tables
        error_B = np.zeros(rows)
        loss, error = steps.update_atoms(
            (memory.theta_CP[0], self.target_P, memory.mean_CP[0], memory.square_CP[0]),
            memory.gradient_CP[0],
            self.dims,
            batch,
            self._scratch[rows],
            noises,
            self.support_Z,
            method,
            error_B,
            memory.next_rule(stride),
        )
        return loss, error, error_B

    def values(self, input_BF: Floats32, noise_N: Floats32 | None = None) -> Floats32:
        """Return expected returns of states (B, A), without noise unless it is given.

        ValueError for states of another width.
        """
        check_rows(input_BF, self.dims.inputs)
        rows, tables = len(input_BF), self._tables
        if rows not in self._asked:
            self._asked[rows] = new_trace(rows, self.dims)
        noise_N = self.silence_N if noise_N is None else noise_N
        steps.perturb(self.memory.theta_CP[0], self.dims, noise_N, tables.plain_E)
        value_BA = np.empty((rows, self.dims.actions), np.float32)
        steps.atom_values(
            tables.plain_E,
            self.dims,
            input_BF,
            self._asked[rows],
            self.support_Z,
            tables.share_Z,
            value_BA,
        )
        return value_BA


def new_atom_tables(dims: Dims) -> steps.AtomTables:
    """Return the scratch of an update that does not depend on its rows."""
    plain_E, target_plain_E, gradient_E = (
        np.zeros(parameter_count(dims), np.float32) for _ in range(3)
    )
    return steps.AtomTables(
        plain_E=plain_E,
        target_plain_E=target_plain_E,
        plain_gradient_E=gradient_E,
        turned_W=new_tables(1, dims).turned_W,
        share_Z=np.zeros(dims.atoms, np.float32),
        wanted_Z=np.zeros(dims.atoms, np.float32),
        value_A=np.zeros(dims.actions, np.float32),
    )


def dims_of(net: Rainbow) -> Dims:
    """Return the widths of a network."""
    heads = (net.value_hidden, net.value_out, net.advantage_out)
    head, atoms, outputs = (len(layer.bias_mean) for layer in heads)
    return Dims(
        inputs=net.first.in_features,
        first=net.first.out_features,
        second=net.second.out_features,
        head=head,
        actions=outputs // atoms,
        atoms=atoms,
        is_dueling=net.is_dueling,
    )
