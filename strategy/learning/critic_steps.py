"""Value critics as compiled steps: forward, back, and one update of D3QN, double and twin D3QN.

The gradient is written out by hand, a test holds it to torch's; at a batch of 64 torch spends most
of its time between its sixty calls. All parameters of a critic lie in one vector, in the order of
its module:

    dueling   first, second, value hidden, value out, advantage hidden, advantage out
    plain     first, second, out

A critic with more than one atom answers with the logits of a distribution for each action: see
``atom_steps``. Shapes: B rows, F inputs, H hidden, N head, A actions, Z atoms, V = A Z outputs, C
critics, P parameters, W the largest layer's weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_reordered
from strategy.learning.layer_steps import (
    descend,
    follow,
    inputs_back,
    linear,
    normalise,
    normalise_back,
    rectify,
    rectify_back,
    weights_back,
)
from strategy.learning.transitions import Batch

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Integers = NDArray[np.int64]


class Dims(NamedTuple):
    """Widths of a critic; ``head`` is 0 for a plain one.

    Without ``is_dueling`` the value stream is there but says nothing.
    """

    inputs: int
    first: int
    second: int
    head: int
    actions: int
    atoms: int
    is_dueling: bool


class Trace(NamedTuple):
    """What a forward pass leaves for the way back; the same tables again hold slopes."""

    y1_BH: Floats32
    h1_BH: Floats32
    y2_BH: Floats32
    h2_BH: Floats32
    value_hidden_BN: Floats32
    advantage_hidden_BN: Floats32
    value_BZ: Floats32
    q_BV: Floats32
    inverse1_B: Floats32
    inverse2_B: Floats32


class Tables(NamedTuple):
    """Scratch of an update: what chooses, what values, what is wanted, how wrong a row was."""

    chooser_BA: Floats32
    worth_BA: Floats32
    wanted_B: Floats32
    own_error_B: Floats64
    turned_W: Floats32


def parameter_count(dims: Dims) -> int:
    """Return the length P of a critic's vector."""
    outputs = dims.actions * dims.atoms
    body = (dims.inputs + 1) * dims.first + (dims.first + 1) * dims.second
    if dims.head == 0:
        return body + (dims.second + 1) * outputs
    return body + 2 * (dims.second + 1) * dims.head + (dims.head + 1) * (dims.atoms + outputs)


def new_trace(rows: int, dims: Dims) -> Trace:
    """Return the scratch of a forward pass, or of the way back."""
    width, outputs = max(dims.head, 1), dims.actions * dims.atoms
    widths = (dims.first, dims.first, dims.second, dims.second, width, width, dims.atoms, outputs)
    tables = [np.zeros((rows, each), np.float32) for each in widths]
    return Trace._make([*tables, np.zeros(rows, np.float32), np.zeros(rows, np.float32)])


def new_tables(rows: int, dims: Dims) -> Tables:
    """Return the scratch of an update."""
    sides = (dims.first, dims.second, dims.head)
    outputs = dims.actions * dims.atoms
    return Tables(
        chooser_BA=np.zeros((rows, dims.actions), np.float32),
        worth_BA=np.zeros((rows, dims.actions), np.float32),
        wanted_B=np.zeros(rows, np.float32),
        own_error_B=np.zeros(rows),
        turned_W=np.zeros(max(sides) * max(*sides, outputs), np.float32),
    )


@njit_reordered
def forward(theta_P: Floats32, dims: Dims, input_BF: Floats32, trace: Trace) -> None:
    """Write the outputs (B, V) and what the way back needs into the trace."""
    at = linear(theta_P, 0, input_BF, trace.y1_BH)
    normalise(trace.y1_BH, trace.h1_BH, trace.inverse1_B)
    at = linear(theta_P, at, trace.h1_BH, trace.y2_BH)
    normalise(trace.y2_BH, trace.h2_BH, trace.inverse2_B)
    if dims.head == 0:
        linear(theta_P, at, trace.h2_BH, trace.q_BV)
        return
    if dims.is_dueling:
        value_out_at = linear(theta_P, at, trace.h2_BH, trace.value_hidden_BN)
        rectify(trace.value_hidden_BN)
        linear(theta_P, value_out_at, trace.value_hidden_BN, trace.value_BZ)
    at += (dims.second + 1) * dims.head + (dims.head + 1) * dims.atoms
    at = linear(theta_P, at, trace.h2_BH, trace.advantage_hidden_BN)
    rectify(trace.advantage_hidden_BN)
    linear(theta_P, at, trace.advantage_hidden_BN, trace.q_BV)
    if dims.is_dueling:
        _join_streams(trace.value_BZ, dims, trace.q_BV)


@njit_reordered
def _join_streams(value_BZ: Floats32, dims: Dims, q_BV: Floats32) -> None:
    """Add to every action's atoms the value's, and take off the mean over actions."""
    for b in range(q_BV.shape[0]):
        for z in range(dims.atoms):
            mean = np.float32(0.0)
            for a in range(dims.actions):
                mean += q_BV[b, a * dims.atoms + z]
            shift = value_BZ[b, z] - mean / np.float32(dims.actions)
            for a in range(dims.actions):
                q_BV[b, a * dims.atoms + z] += shift


@njit_reordered
def _split_slopes(dims: Dims, dq_BV: Floats32, dvalue_BZ: Floats32) -> None:
    """Undo ``_join_streams`` for slopes."""
    for b in range(dq_BV.shape[0]):
        for z in range(dims.atoms):
            total = np.float32(0.0)
            for a in range(dims.actions):
                total += dq_BV[b, a * dims.atoms + z]
            dvalue_BZ[b, z] = total
            for a in range(dims.actions):
                dq_BV[b, a * dims.atoms + z] -= total / np.float32(dims.actions)


@njit_reordered
def backward(
    theta_P: Floats32,
    dims: Dims,
    input_BF: Floats32,
    trace: Trace,
    slopes: Trace,
    turned_W: Floats32,
    gradient_P: Floats32,
) -> None:
    """Add the gradient; ``slopes.q_BV`` holds d loss / d outputs and is used up."""
    second_at = (dims.inputs + 1) * dims.first
    heads_at = second_at + (dims.first + 1) * dims.second
    slopes.y2_BH[:] = 0.0
    if dims.head == 0:
        weights_back(heads_at, trace.h2_BH, slopes.q_BV, gradient_P)
        inputs_back(theta_P, heads_at, slopes.q_BV, turned_W, slopes.y2_BH)
    else:
        if dims.is_dueling:
            _split_slopes(dims, slopes.q_BV, slopes.value_BZ)
            _head_back(
                *(theta_P, heads_at, trace.h2_BH, trace.value_hidden_BN, slopes.value_BZ),
                *(slopes.value_hidden_BN, turned_W, gradient_P, slopes.y2_BH),
            )
        heads_at += (dims.second + 1) * dims.head + (dims.head + 1) * dims.atoms
        _head_back(
            *(theta_P, heads_at, trace.h2_BH, trace.advantage_hidden_BN, slopes.q_BV),
            *(slopes.advantage_hidden_BN, turned_W, gradient_P, slopes.y2_BH),
        )
    normalise_back(trace.y2_BH, trace.inverse2_B, slopes.y2_BH)
    weights_back(second_at, trace.h1_BH, slopes.y2_BH, gradient_P)
    slopes.y1_BH[:] = 0.0
    inputs_back(theta_P, second_at, slopes.y2_BH, turned_W, slopes.y1_BH)
    normalise_back(trace.y1_BH, trace.inverse1_B, slopes.y1_BH)
    weights_back(0, input_BF, slopes.y1_BH, gradient_P)


@njit_reordered
def _head_back(
    theta_P: Floats32,
    at: int,
    body_BH: Floats32,
    hidden_BN: Floats32,
    slope_BO: Floats32,
    hidden_slope_BN: Floats32,
    turned_W: Floats32,
    gradient_P: Floats32,
    body_slope_BH: Floats32,
) -> None:
    """Go back through one head of two layers that begins at ``at``."""
    out_at = at + (body_BH.shape[1] + 1) * hidden_BN.shape[1]
    weights_back(out_at, hidden_BN, slope_BO, gradient_P)
    hidden_slope_BN[:] = 0.0
    inputs_back(theta_P, out_at, slope_BO, turned_W, hidden_slope_BN)
    rectify_back(hidden_BN, hidden_slope_BN)
    weights_back(at, body_BH, hidden_slope_BN, gradient_P)
    inputs_back(theta_P, at, hidden_slope_BN, turned_W, body_slope_BH)


@njit_reordered
def update_critics(
    states: tuple[Floats32, Floats32, Floats32, Floats32],
    gradient_CP: Floats32,
    dims: Dims,
    chooser_dims: Dims,
    batch: Batch,
    scratch: tuple[tuple[Trace, ...], Trace, Trace, Tables],
    error_B: Floats64,
    limit: float,
    smoothing: float,
    rule_6: Floats64,
) -> tuple[float, float]:
    """Do one update of C critics of one shape; return loss and mean error, write all errors (B).

    ``states``: parameters, targets, both moments (C, P). ``scratch``: a trace for each critic, one
    to spare, one for slopes, tables. Two critics choose and value by the smaller of both; an error
    is the larger of both. ``chooser_dims`` may leave out the value stream of a single critic, which
    prefers nothing.
    """
    theta_CP, target_CP, mean_CP, square_CP = states
    traces, spare, slopes, tables = scratch
    tables.chooser_BA[:] = np.inf
    tables.worth_BA[:] = np.inf
    for c in range(theta_CP.shape[0]):
        forward(target_CP[c], dims, batch.next_BF, spare)
        _smaller(spare.q_BV, tables.worth_BA)
        forward(theta_CP[c], chooser_dims, batch.next_BF, spare)
        _smaller(spare.q_BV, tables.chooser_BA)
    targets(tables.chooser_BA, tables.worth_BA, batch.reward_B, batch.discount_B, tables.wanted_B)
    loss = 0.0
    error_B[:] = 0.0
    gradient_CP[:] = 0.0
    own_error_B = tables.own_error_B
    for c in range(theta_CP.shape[0]):
        trace = traces[c]
        forward(theta_CP[c], dims, batch.input_BF, trace)
        loss += blame(
            *(trace.q_BV, batch.action_B, tables.wanted_B, batch.weight_B),
            *(limit, slopes.q_BV, own_error_B),
        )
        for b in range(len(error_B)):
            error_B[b] = max(error_B[b], own_error_B[b])
        backward(theta_CP[c], dims, batch.input_BF, trace, slopes, tables.turned_W, gradient_CP[c])
    theta_P, gradient_P = theta_CP.reshape(-1), gradient_CP.reshape(-1)
    descend(theta_P, gradient_P, mean_CP.reshape(-1), square_CP.reshape(-1), rule_6)
    follow(target_CP.reshape(-1), theta_P, smoothing)
    return loss, float(error_B.mean())


@njit_reordered
def _smaller(found_BA: Floats32, least_BA: Floats32) -> None:
    for b in range(found_BA.shape[0]):
        for a in range(found_BA.shape[1]):
            least_BA[b, a] = min(least_BA[b, a], found_BA[b, a])


@njit_reordered
def least_values(
    theta_CP: Floats32, dims: Dims, input_BF: Floats32, trace: Trace, least_BA: Floats32
) -> None:
    """Write what C critics say of states, action by action the smallest (B, A)."""
    least_BA[:] = np.inf
    for c in range(theta_CP.shape[0]):
        forward(theta_CP[c], dims, input_BF, trace)
        _smaller(trace.q_BV, least_BA)


@njit_reordered
def row_spread(
    theta_CP: Floats32, dims: Dims, state_1F: Floats32, trace: Trace, least_1A: Floats32
) -> float:
    """Return the root mean square of one state's values around their mean."""
    least_values(theta_CP, dims, state_1F, trace, least_1A)
    mean: float = 0.0
    for a in range(dims.actions):
        mean += least_1A[0, a] / dims.actions
    square: float = 0.0
    for a in range(dims.actions):
        square += (least_1A[0, a] - mean) ** 2 / dims.actions
    return float(np.sqrt(square))


@njit_reordered
def blame(
    q_BA: Floats32,
    action_B: Integers,
    wanted_B: Floats32,
    weight_B: Floats32,
    limit: float,
    dq_BA: Floats32,
    error_B: Floats64,
) -> float:
    """Write d loss / d values and the absolute errors; return the mean weighted Huber loss."""
    rows = q_BA.shape[0]
    dq_BA[:] = 0.0
    lost: float = 0.0
    for b in range(rows):
        error = q_BA[b, action_B[b]] - wanted_B[b]
        size = abs(error)
        error_B[b] = size
        lost += weight_B[b] * huber_loss(size, limit)
        dq_BA[b, action_B[b]] = weight_B[b] * huber_slope(error, limit) / rows
    return float(lost / rows)


@njit_reordered
def huber_loss(size: float, limit: float) -> float:
    """Return the Huber loss of an absolute error, divided by its limit."""
    return 0.5 * size * size / limit if size < limit else size - 0.5 * limit


@njit_reordered
def huber_slope(error: float, limit: float) -> float:
    """Return the slope of that loss at an error."""
    if abs(error) < limit:
        return error / limit
    return 1.0 if error > 0.0 else -1.0


@njit_reordered
def targets(
    chooser_BA: Floats32,
    worth_BA: Floats32,
    reward_B: Floats32,
    discount_B: Floats32,
    wanted_B: Floats32,
) -> None:
    """Write r + discount * worth of the action that the chooser prefers (B)."""
    for b in range(chooser_BA.shape[0]):
        wanted_B[b] = reward_B[b] + discount_B[b] * worth_BA[b, first_largest(chooser_BA[b])]


@njit_reordered
def first_largest(value_A: Floats32) -> int:
    """Return the place of the largest number, the first of equals."""
    best = 0
    for a in range(1, value_A.shape[0]):
        if value_A[a] > value_A[best]:
            best = a
    return best
