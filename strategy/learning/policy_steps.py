"""PPO as compiled steps: actor and critic forward and back, one step on a minibatch.

The loss is that of ``ppo_learner.ppo_loss``, its gradient written out by hand and held to torch's
by a test. Both networks lie in one vector, the actor first; a network's layers are first, second,
out, with tangents between them. Rows go through in blocks that stay in the processor's own cache.
Shapes: M rows of the minibatch, N of all walks, B of a block, F inputs, H hidden, A actions, P
parameters, W the largest layer's weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_reordered
from strategy.compiled_kernel import exponential
from strategy.learning.layer_steps import (
    bend,
    bend_back,
    descend,
    inputs_back,
    linear,
    weights_back,
)

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK_ROWS = 64


class PolicyDims(NamedTuple):
    """Widths of actor and critic."""

    inputs: int
    first: int
    second: int
    actions: int


class TanhTrace(NamedTuple):
    """What one network's forward pass leaves for the way back; the same tables hold slopes."""

    first_BH: Floats32
    second_BH: Floats32
    out_BA: Floats32


class Walked(NamedTuple):
    """All walks, as ``ppo_learner.Walks`` has them."""

    input_NF: Floats32
    action_N: Integers
    log_share_N: Floats32
    value_N: Floats32
    advantage_N: Floats32
    return_N: Floats32


class Weighing(NamedTuple):
    """What the loss is made of: how far ratios and values may move, and both weights."""

    clip: float
    value: float
    entropy: float


def network_count(dims: PolicyDims, outputs: int) -> int:
    """Return how many parameters one network has."""
    body = (dims.inputs + 1) * dims.first + (dims.first + 1) * dims.second
    return body + (dims.second + 1) * outputs


def new_tanh_trace(rows: int, dims: PolicyDims, outputs: int) -> TanhTrace:
    """Return the scratch of one network."""
    widths = (dims.first, dims.second, outputs)
    return TanhTrace(*(np.zeros((rows, each), np.float32) for each in widths))


@njit_reordered
def tanh_forward(theta_P: Floats32, at: int, input_BF: Floats32, trace: TanhTrace) -> int:
    """Write one network's outputs; return where its parameters end."""
    at = linear(theta_P, at, input_BF, trace.first_BH)
    bend(trace.first_BH)
    at = linear(theta_P, at, trace.first_BH, trace.second_BH)
    bend(trace.second_BH)
    return linear(theta_P, at, trace.second_BH, trace.out_BA)


@njit_reordered
def tanh_backward(
    theta_P: Floats32,
    at: int,
    input_BF: Floats32,
    trace: TanhTrace,
    slopes: TanhTrace,
    turned_W: Floats32,
    gradient_P: Floats32,
) -> None:
    """Add one network's gradient; ``slopes.out_BA`` holds d loss / d outputs."""
    first, second = trace.first_BH.shape[1], trace.second_BH.shape[1]
    second_at = at + (input_BF.shape[1] + 1) * first
    out_at = second_at + (first + 1) * second
    weights_back(out_at, trace.second_BH, slopes.out_BA, gradient_P)
    slopes.second_BH[:] = 0.0
    inputs_back(theta_P, out_at, slopes.out_BA, turned_W, slopes.second_BH)
    bend_back(trace.second_BH, slopes.second_BH)
    weights_back(second_at, trace.first_BH, slopes.second_BH, gradient_P)
    slopes.first_BH[:] = 0.0
    inputs_back(theta_P, second_at, slopes.second_BH, turned_W, slopes.first_BH)
    bend_back(trace.first_BH, slopes.first_BH)
    weights_back(at, input_BF, slopes.first_BH, gradient_P)


@njit_reordered
def update_policy(
    states: tuple[Floats32, Floats32, Floats32],
    gradient_P: Floats32,
    walked: Walked,
    place_M: Integers,
    scratch: tuple[Floats32, tuple[TanhTrace, TanhTrace], tuple[TanhTrace, TanhTrace], Floats32],
    weighing: Weighing,
    rule_6: Floats64,
    found_3: Floats64,
) -> None:
    """Take one step; write loss, approximate KL shift and clipped share into ``found_3``.

    ``states``: parameters and both moments (P). ``scratch``: a block of inputs, traces and slopes
    of actor and critic, room for turned weights.
    """
    theta_P, mean_P, square_P = states
    input_BF, traces, slopes, turned_W = scratch
    count = place_M.shape[0]
    level, spread = _advantage_scale(walked.advantage_N, place_M)
    gradient_P[:] = 0.0
    found_3[:] = 0.0
    for begin in range(0, count, BLOCK_ROWS):
        place_B = place_M[begin : begin + BLOCK_ROWS]
        rows = place_B.shape[0]
        for b in range(rows):
            input_BF[b] = walked.input_NF[place_B[b]]
        critic_at = tanh_forward(theta_P, 0, input_BF, traces[0])
        tanh_forward(theta_P, critic_at, input_BF, traces[1])
        slopes[0].out_BA[:] = 0.0
        slopes[1].out_BA[:] = 0.0
        for b in range(rows):
            place = place_B[b]
            advantage = float((walked.advantage_N[place] - level) / spread)
            action, said = walked.action_N[place], walked.log_share_N[place]
            logit_A, slope_A = traces[0].out_BA[b], slopes[0].out_BA[b]
            _blame_policy(logit_A, action, said, advantage, weighing, count, slope_A, found_3)
            value, before = traces[1].out_BA[b, 0], walked.value_N[place]
            wanted = walked.return_N[place]
            slopes[1].out_BA[b, 0] = _blame_value(value, before, wanted, weighing, count, found_3)
        tanh_backward(theta_P, 0, input_BF, traces[0], slopes[0], turned_W, gradient_P)
        tanh_backward(theta_P, critic_at, input_BF, traces[1], slopes[1], turned_W, gradient_P)
    descend(theta_P, gradient_P, mean_P, square_P, rule_6)


@njit_reordered
def _advantage_scale(advantage_N: Floats32, place_M: Integers) -> tuple[float, float]:
    """Return mean and deviation of a minibatch's advantages, the latter a little raised."""
    count = place_M.shape[0]
    total: float = 0.0
    for m in range(count):
        total += advantage_N[place_M[m]]
    mean = total / count
    total = 0.0
    for m in range(count):
        off = advantage_N[place_M[m]] - mean
        total += off * off
    return mean, np.sqrt(total / (count - 1)) + 1e-8


@njit_reordered
def _blame_policy(
    logit_A: Floats32,
    action: int,
    log_share_before: float,
    advantage: float,
    weighing: Weighing,
    count: int,
    slope_A: Floats32,
    found_3: Floats64,
) -> None:
    """Write the slope of a row's logits, add what was measured to the means."""
    actions = logit_A.shape[0]
    top = logit_A.max()
    total = np.float32(0.0)
    for a in range(actions):
        slope_A[a] = exponential(logit_A[a] - top)  # the shares, until their slopes replace them
        total += slope_A[a]
    level = np.float32(top + np.log(total))
    minus_entropy = np.float32(0.0)
    for a in range(actions):
        slope_A[a] /= total
        minus_entropy += slope_A[a] * (logit_A[a] - level)
    log_ratio = logit_A[action] - level - np.float32(log_share_before)
    ratio = exponential(log_ratio)
    clip = np.float32(weighing.clip)
    held = min(max(ratio, np.float32(1.0) - clip), np.float32(1.0) + clip)
    gain = min(ratio * advantage, held * advantage)
    is_held = held != ratio and ratio * advantage > held * advantage
    pull = np.float32(0.0) if is_held else np.float32(-advantage * ratio / count)
    push = np.float32(weighing.entropy / count)
    for a in range(actions):
        share = slope_A[a]
        of_entropy = push * share * (logit_A[a] - level - minus_entropy)
        slope_A[a] = of_entropy - pull * share
    slope_A[action] += pull
    found_3[0] += (weighing.entropy * minus_entropy - gain) / count
    found_3[1] += ((ratio - np.float32(1.0)) - log_ratio) / count
    found_3[2] += (1.0 if abs(ratio - np.float32(1.0)) > clip else 0.0) / count


@njit_reordered
def _blame_value(
    value: float,
    before: float,
    wanted: float,
    weighing: Weighing,
    count: int,
    found_3: Floats64,
) -> np.float32:
    """Return the slope of a row's value, add its loss; the larger of plain and clipped counts."""
    moved = min(max(value - before, -weighing.clip), weighing.clip)
    plain, near = value - wanted, before + moved - wanted
    is_near = abs(value - before) > weighing.clip and near * near > plain * plain
    error = near if is_near else plain
    found_3[0] += weighing.value * 0.5 * error * error / count
    return np.float32(0.0 if is_near else weighing.value * plain / count)


@njit_reordered
def answer(
    theta_P: Floats32,
    input_BF: Floats32,
    traces: tuple[TanhTrace, TanhTrace],
    log_share_BA: Floats32,
    value_B: Floats32,
) -> None:
    """Write what actor and critic say of states: logs of shares (B, A) and values (B)."""
    critic_at = tanh_forward(theta_P, 0, input_BF, traces[0])
    tanh_forward(theta_P, critic_at, input_BF, traces[1])
    logit_BA = traces[0].out_BA
    for b in range(value_B.shape[0]):
        top = logit_BA[b].max()
        total = np.float32(0.0)
        for a in range(logit_BA.shape[1]):
            total += exponential(logit_BA[b, a] - top)
        level = np.float32(top + np.log(total))
        for a in range(logit_BA.shape[1]):
            log_share_BA[b, a] = logit_BA[b, a] - level
        value_B[b] = traces[1].out_BA[b, 0]
