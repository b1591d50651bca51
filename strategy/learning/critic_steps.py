"""One update of value critics as one compiled call: forward, backward, AdamW, target.

The gradient is written out by hand, a test holds it to torch's; at a batch of 64 torch spends most
of its time between its sixty calls. Products of matrices are loops of our own (``matrix_steps``):
they reach what BLAS does at these sizes, and BLAS with two threads took twenty times as long on two
busy cores. All parameters of a critic lie in one vector, in the order of its module:

    dueling   first, second, value hidden, value out, advantage hidden, advantage out
    plain     first, second, out

``dims`` are (inputs, first width, second width, head width or 0 for a plain critic, actions).
Shapes: B rows, F inputs, H hidden, N head, A actions, P parameters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_reordered
from strategy.learning.matrix_steps import add_product, add_turned_product

Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]
Dims = tuple[int, int, int, int, int]
Trace = tuple[Any, ...]

EPSILON = 1e-5
"""Of the layer normalisation, as torch has it."""

BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8


def parameter_count(dims: Dims) -> int:
    """Return the length P of a critic's vector."""
    inputs, first, second, head, actions = dims
    body = (inputs + 1) * first + (first + 1) * second
    if head == 0:
        return body + (second + 1) * actions
    return body + 2 * (second + 1) * head + (head + 1) + (head + 1) * actions


def new_trace(rows: int, dims: Dims) -> Trace:
    """Return the scratch that a forward pass leaves for the backward pass."""
    _, first, second, head, actions = dims
    width = max(head, 1)
    widths = (first, first, second, second, width, width, 1, actions)
    tables = tuple(np.zeros((rows, each), np.float32) for each in widths)
    return (*tables, np.zeros(rows, np.float32), np.zeros(rows, np.float32))


@njit_reordered
def forward(turned_P: Floats32, dims: Dims, input_BF: Floats32, trace: Trace) -> None:
    """Write the action values (B, A) and what the backward pass needs into the trace.

    ``turned_P`` is what ``turn`` made of the critic's vector.
    """
    y1_BH, h1_BH, y2_BH, h2_BH, v_BN, a_BN, value_B1, q_BA, inverse1_B, inverse2_B = trace
    inputs, first, second, head, actions = dims
    at = _linear(turned_P, 0, inputs, first, input_BF, y1_BH)
    _normalise(y1_BH, h1_BH, inverse1_B)
    at = _linear(turned_P, at, first, second, h1_BH, y2_BH)
    _normalise(y2_BH, h2_BH, inverse2_B)
    if head == 0:
        _linear(turned_P, at, second, actions, h2_BH, q_BA)
        return
    at = _linear(turned_P, at, second, head, h2_BH, v_BN)
    _rectify(v_BN)
    at = _linear(turned_P, at, head, 1, v_BN, value_B1)
    at = _linear(turned_P, at, second, head, h2_BH, a_BN)
    _rectify(a_BN)
    _linear(turned_P, at, head, actions, a_BN, q_BA)
    for b in range(q_BA.shape[0]):
        mean = np.float32(0.0)
        for a in range(actions):
            mean += q_BA[b, a]
        shift = value_B1[b, 0] - mean / np.float32(actions)
        for a in range(actions):
            q_BA[b, a] += shift


@njit_reordered
def backward(
    theta_P: Floats32,
    dims: Dims,
    input_BF: Floats32,
    trace: Trace,
    slopes: Trace,
    gradient_P: Floats32,
) -> None:
    """Write the gradient; the last table but two of ``slopes`` holds d loss / d values (B, A)."""
    y1_BH, h1_BH, y2_BH, h2_BH, v_BN, a_BN, _, _, inverse1_B, inverse2_B = trace
    dy1_BH, _, dy2_BH, dh2_BH, dv_BN, da_BN, dvalue_B1, dq_BA, _, _ = slopes
    inputs, first, second, head, actions = dims
    second_at = (inputs + 1) * first
    heads_at = second_at + (first + 1) * second
    if head == 0:
        _linear_back(theta_P, heads_at, second, actions, h2_BH, dq_BA, gradient_P, dy2_BH)
    else:
        for b in range(dq_BA.shape[0]):
            total = np.float32(0.0)
            for a in range(actions):
                total += dq_BA[b, a]
            dvalue_B1[b, 0] = total
            for a in range(actions):
                dq_BA[b, a] -= total / np.float32(actions)
        value_out_at = heads_at + (second + 1) * head
        hidden_at = value_out_at + head + 1
        out_at = hidden_at + (second + 1) * head
        _linear_back(theta_P, value_out_at, head, 1, v_BN, dvalue_B1, gradient_P, dv_BN)
        _linear_back(theta_P, out_at, head, actions, a_BN, dq_BA, gradient_P, da_BN)
        _rectify_back(v_BN, dv_BN)
        _rectify_back(a_BN, da_BN)
        _linear_back(theta_P, heads_at, second, head, h2_BH, dv_BN, gradient_P, dy2_BH)
        _linear_back(theta_P, hidden_at, second, head, h2_BH, da_BN, gradient_P, dh2_BH)
        for b in range(dy2_BH.shape[0]):
            for i in range(second):
                dy2_BH[b, i] += dh2_BH[b, i]
    _normalise_back(y2_BH, inverse2_B, dy2_BH)
    _linear_back(theta_P, second_at, first, second, h1_BH, dy2_BH, gradient_P, dy1_BH)
    _normalise_back(y1_BH, inverse1_B, dy1_BH)
    _weights_back(0, inputs, first, input_BF, dy1_BH, gradient_P)


@njit_reordered
def update_critics(
    states: tuple[Floats32, Floats32, Floats32, Floats32],
    spares: tuple[Floats32, Floats32],
    dims: Dims,
    inputs: tuple[Floats32, Floats32],
    action_B: Integers,
    facts: tuple[Floats32, Floats32, Floats32],
    traces: tuple[Trace, ...],
    spare: Trace,
    slopes: Trace,
    tables: tuple[Any, ...],
    error_B: NDArray[np.float64],
    limit: float,
    rule_6: NDArray[np.float64],
) -> float:
    """Do one update of C critics of one shape; return the loss, write the largest errors (B).

    ``states``: parameters, targets, both moments (C, P); ``spares``: gradient and transposed
    weights (C, P). Two critics choose and value by the smaller of both. ``facts``: reward, discount
    and weight of every row; ``tables``: chooser and worth (B, A), wanted and own errors (B).
    """
    theta_CP, target_CP, mean_CP, square_CP = states
    gradient_CP, turned_CP = spares
    input_BF, next_BF = inputs
    reward_B, discount_B, weight_B = facts
    chooser_BA, worth_BA, wanted_B, own_error_B = tables
    spare_BA = spare[7]
    chooser_BA[:] = np.inf
    worth_BA[:] = np.inf
    for c in range(theta_CP.shape[0]):
        turn(target_CP[c], dims, turned_CP[c])
        forward(turned_CP[c], dims, next_BF, spare)
        _smaller(spare_BA, worth_BA)
        turn(theta_CP[c], dims, turned_CP[c])
        forward(turned_CP[c], dims, next_BF, spare)
        _smaller(spare_BA, chooser_BA)
    targets(chooser_BA, worth_BA, reward_B, discount_B, wanted_B)
    loss = 0.0
    error_B[:] = 0.0
    for c in range(theta_CP.shape[0]):
        trace = traces[c]
        forward(turned_CP[c], dims, input_BF, trace)
        loss += blame(trace[7], action_B, wanted_B, weight_B, limit, slopes[7], own_error_B)
        for b in range(len(error_B)):
            error_B[b] = max(error_B[b], own_error_B[b])
        backward(theta_CP[c], dims, input_BF, trace, slopes, gradient_CP[c])
    descend(
        theta_CP.reshape(-1),
        gradient_CP.reshape(-1),
        mean_CP.reshape(-1),
        square_CP.reshape(-1),
        target_CP.reshape(-1),
        rule_6,
    )
    return loss


@njit_reordered
def _smaller(found_BA: Floats32, least_BA: Floats32) -> None:
    for b in range(found_BA.shape[0]):
        for a in range(found_BA.shape[1]):
            least_BA[b, a] = min(least_BA[b, a], found_BA[b, a])


@njit_reordered
def row_values(theta_CP: Floats32, dims: Dims, state_F: Floats32, least_A: Floats32) -> None:
    """Write what C critics say of one state, action by action the smallest (A)."""
    _, first, second, head, actions = dims
    least_A[:] = np.inf
    value_A, value_1 = np.empty(actions, np.float32), np.empty(1, np.float32)
    one_H, two_H = np.empty(first, np.float32), np.empty(second, np.float32)
    head_N = np.empty(max(head, 1), np.float32)
    for c in range(theta_CP.shape[0]):
        theta_P = theta_CP[c]
        at = _row_linear(theta_P, 0, state_F, one_H)
        _row_normalise(one_H)
        at = _row_linear(theta_P, at, one_H, two_H)
        _row_normalise(two_H)
        if head > 0:
            at = _row_linear(theta_P, at, two_H, head_N)
            np.maximum(head_N, np.float32(0.0), head_N)
            at = _row_linear(theta_P, at, head_N, value_1)
            at = _row_linear(theta_P, at, two_H, head_N)
            np.maximum(head_N, np.float32(0.0), head_N)
            _row_linear(theta_P, at, head_N, value_A)
            shift = value_1[0] - value_A.mean()
        else:
            _row_linear(theta_P, at, two_H, value_A)
            shift = np.float32(0.0)
        for a in range(actions):
            least_A[a] = min(least_A[a], value_A[a] + shift)


@njit_reordered
def _row_linear(theta_P: Floats32, at: int, x_I: Floats32, out_O: Floats32) -> int:
    inputs, outputs = len(x_I), len(out_O)
    bias_at = at + inputs * outputs
    for o in range(outputs):
        total = theta_P[bias_at + o]
        row = at + o * inputs
        for i in range(inputs):
            total += theta_P[row + i] * x_I[i]
        out_O[o] = total
    return bias_at + outputs


@njit_reordered
def _row_normalise(x_H: Floats32) -> None:
    mean = x_H.mean()
    total = np.float32(0.0)
    for i in range(x_H.shape[0]):
        off = x_H[i] - mean
        total += off * off
    inverse = np.float32(1.0) / np.sqrt(total / np.float32(x_H.shape[0]) + np.float32(EPSILON))
    for i in range(x_H.shape[0]):
        x_H[i] = max((x_H[i] - mean) * inverse, np.float32(0.0))


@njit_reordered
def blame(
    q_BA: Floats32,
    action_B: Integers,
    wanted_B: Floats32,
    weight_B: Floats32,
    limit: float,
    dq_BA: Floats32,
    error_B: NDArray[np.float64],
) -> float:
    """Write d loss / d values and the absolute errors; return the mean weighted Huber loss."""
    rows = q_BA.shape[0]
    dq_BA[:] = 0.0
    lost: float = 0.0
    for b in range(rows):
        error = q_BA[b, action_B[b]] - wanted_B[b]
        size = abs(error)
        error_B[b] = size
        if size < limit:
            lost += weight_B[b] * 0.5 * size * size / limit
            slope = error / limit
        else:
            lost += weight_B[b] * (size - 0.5 * limit)
            slope = 1.0 if error > 0.0 else -1.0
        dq_BA[b, action_B[b]] = weight_B[b] * slope / rows
    return float(lost / rows)


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
        best = 0
        for a in range(1, chooser_BA.shape[1]):
            if chooser_BA[b, a] > chooser_BA[b, best]:
                best = a
        wanted_B[b] = reward_B[b] + discount_B[b] * worth_BA[b, best]


@njit_reordered
def descend(
    theta_P: Floats32,
    gradient_P: Floats32,
    mean_P: Floats32,
    square_P: Floats32,
    target_P: Floats32,
    rule_6: NDArray[np.float64],
) -> None:
    """Clip the gradient's norm, take one step of AdamW, let the target follow.

    ``rule_6``: rate, weight decay, largest norm, smoothing, and both moments' bias corrections.
    """
    total = np.float32(0.0)
    for p in range(gradient_P.shape[0]):
        total += gradient_P[p] * gradient_P[p]
    scale = np.float32(min(rule_6[2] / (math.sqrt(total) + 1e-6), 1.0))
    kept = np.float32(1.0 - rule_6[0] * rule_6[1])
    step = np.float32(rule_6[0] / rule_6[4])
    root = np.float32(1.0 / math.sqrt(rule_6[5]))
    beta_1, beta_2, tiny = np.float32(BETA_1), np.float32(BETA_2), np.float32(ADAM_EPSILON)
    rest_1, rest_2 = np.float32(1.0 - BETA_1), np.float32(1.0 - BETA_2)
    smoothing = np.float32(rule_6[3])
    for p in range(theta_P.shape[0]):
        slope = gradient_P[p] * scale
        mean = beta_1 * mean_P[p] + rest_1 * slope
        square = beta_2 * square_P[p] + rest_2 * slope * slope
        mean_P[p] = mean
        square_P[p] = square
        theta = theta_P[p] * kept - step * mean / (np.sqrt(square) * root + tiny)
        theta_P[p] = theta
        target_P[p] += smoothing * (theta - target_P[p])


@njit_reordered
def turn(theta_P: Floats32, dims: Dims, turned_P: Floats32) -> None:
    """Write the vector with every weight transposed, as forward passes read it."""
    inputs, first, second, head, actions = dims
    at = _turn_layer(theta_P, 0, inputs, first, turned_P)
    at = _turn_layer(theta_P, at, first, second, turned_P)
    if head == 0:
        _turn_layer(theta_P, at, second, actions, turned_P)
        return
    at = _turn_layer(theta_P, at, second, head, turned_P)
    at = _turn_layer(theta_P, at, head, 1, turned_P)
    at = _turn_layer(theta_P, at, second, head, turned_P)
    _turn_layer(theta_P, at, head, actions, turned_P)


@njit_reordered
def _turn_layer(theta_P: Floats32, at: int, inputs: int, outputs: int, turned_P: Floats32) -> int:
    bias_at = at + inputs * outputs
    for i in range(inputs):
        for o in range(outputs):
            turned_P[at + i * outputs + o] = theta_P[at + o * inputs + i]
    turned_P[bias_at : bias_at + outputs] = theta_P[bias_at : bias_at + outputs]
    return bias_at + outputs


@njit_reordered
def _linear(
    turned_P: Floats32, at: int, inputs: int, outputs: int, x_BI: Floats32, out_BO: Floats32
) -> int:
    """Write x W' + b with the weights that begin at ``at``; return where they end."""
    bias_at = at + inputs * outputs
    out_BO[:] = turned_P[bias_at : bias_at + outputs]
    add_product(x_BI, turned_P[at:bias_at].reshape((inputs, outputs)), out_BO)
    return bias_at + outputs


@njit_reordered
def _linear_back(
    theta_P: Floats32,
    at: int,
    inputs: int,
    outputs: int,
    x_BI: Floats32,
    slope_BO: Floats32,
    gradient_P: Floats32,
    out_BI: Floats32,
) -> None:
    """Write the gradients of weights and bias, and the slope of the layer's inputs (B, I)."""
    _weights_back(at, inputs, outputs, x_BI, slope_BO, gradient_P)
    out_BI[:] = 0.0
    weight_OI = theta_P[at : at + inputs * outputs].reshape((outputs, inputs))
    add_product(slope_BO, weight_OI, out_BI)


@njit_reordered
def _weights_back(
    at: int,
    inputs: int,
    outputs: int,
    x_BI: Floats32,
    slope_BO: Floats32,
    gradient_P: Floats32,
) -> None:
    bias_at = at + inputs * outputs
    gradient_P[at : bias_at + outputs] = 0.0
    add_turned_product(slope_BO, x_BI, gradient_P[at:bias_at].reshape((outputs, inputs)))
    bias_O = gradient_P[bias_at : bias_at + outputs]
    for b in range(slope_BO.shape[0]):
        for o in range(outputs):
            bias_O[o] += slope_BO[b, o]


@njit_reordered
def _normalise(y_BH: Floats32, h_BH: Floats32, inverse_B: Floats32) -> None:
    """Give rows mean 0 and variance 1 in place, write their positive part beside them."""
    width = np.float32(y_BH.shape[1])
    for b in range(y_BH.shape[0]):
        total = np.float32(0.0)
        for i in range(y_BH.shape[1]):
            total += y_BH[b, i]
        mean = total / width
        total = np.float32(0.0)
        for i in range(y_BH.shape[1]):
            off = y_BH[b, i] - mean
            total += off * off
        inverse = np.float32(1.0) / np.sqrt(total / width + np.float32(EPSILON))
        inverse_B[b] = inverse
        for i in range(y_BH.shape[1]):
            value = (y_BH[b, i] - mean) * inverse
            y_BH[b, i] = value
            h_BH[b, i] = max(value, np.float32(0.0))


@njit_reordered
def _normalise_back(y_BH: Floats32, inverse_B: Floats32, slope_BH: Floats32) -> None:
    """Turn the slope after normalisation and rectifier into that before both, in place."""
    width = np.float32(y_BH.shape[1])
    for b in range(y_BH.shape[0]):
        total, along = np.float32(0.0), np.float32(0.0)
        for i in range(y_BH.shape[1]):
            slope = slope_BH[b, i] if y_BH[b, i] > 0.0 else np.float32(0.0)
            slope_BH[b, i] = slope
            total += slope
            along += slope * y_BH[b, i]
        total, along = total / width, along / width
        for i in range(y_BH.shape[1]):
            slope_BH[b, i] = inverse_B[b] * (slope_BH[b, i] - total - y_BH[b, i] * along)


@njit_reordered
def _rectify(x_BN: Floats32) -> None:
    for b in range(x_BN.shape[0]):
        for n in range(x_BN.shape[1]):
            x_BN[b, n] = max(x_BN[b, n], np.float32(0.0))


@njit_reordered
def _rectify_back(x_BN: Floats32, slope_BN: Floats32) -> None:
    for b in range(x_BN.shape[0]):
        for n in range(x_BN.shape[1]):
            if not x_BN[b, n] > 0.0:
                slope_BN[b, n] = 0.0
