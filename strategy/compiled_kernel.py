"""The fused ensemble as one compiled call: the arithmetic of ``strategy.fused``, row by row.

All weights lie in one flat float32 vector in the order of use, so the call crosses the Python
border with a handful of arguments whatever the networks hold (a crossing costs about 0.1 us for
each array). Weights are input-major: one input is broadcast against a contiguous row of outputs,
eight inputs at a time, so that an output is loaded and stored an eighth as often.

Here alone products may be contracted to fused multiply-adds, and the sums of one normalisation
reordered: half the time of the strict form. NaN and infinity stay visible, since neither 'nnan' nor
'ninf' is given, and equal inputs give equal bits on one machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_contracted, njit_reordered

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]

ACTION_COUNT = 3
VALUE_COUNT = 5
"""d3qn, twin a, twin b, rainbow, double DQN, in the order of ``strategy.fused``."""
DUELING_COUNT = 3
HEAD_NET_COUNT = 4
"""All value networks but double DQN have a hidden head."""

NORMALISATION_EPSILON = np.float32(1e-5)
"""Added to the variance, as torch's layer_norm does."""

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(-2.12194440e-4)
EXPONENT_MIN, EXPONENT_MAX = -126, 127
POWERS_OF_TWO = np.ldexp(
    np.ones(EXPONENT_MAX - EXPONENT_MIN + 1, np.float32), np.arange(EXPONENT_MIN, EXPONENT_MAX + 1)
)
LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
TANH_SATURATED = np.float32(9.0)


class Widths(NamedTuple):
    """Lengths of the axes: inputs, hidden layers, regimes, agents, atoms of one distribution."""

    rows: int
    hidden: int
    head: int
    tanh: int
    narrow: int
    regimes: int
    agents: int
    atoms: int


@njit_contracted
def exponential(x: np.float32) -> np.float32:
    """Return e**x within 2 units in the last place, for x held to [-87, 88]; NaN for NaN.

    x = n ln 2 + r with |r| <= ln 2 / 2; a polynomial of degree 6 in r (Cephes expf) times 2**n.
    No branch, so that loops over it become vector code.
    """
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    n = np.floor(x * LOG2_E + np.float32(0.5))
    r = x - n * LN2_HIGH - n * LN2_LOW
    tail = np.float32(1.9875691500e-4)
    tail = tail * r + np.float32(1.3981999507e-3)
    tail = tail * r + np.float32(8.3334519073e-3)
    tail = tail * r + np.float32(4.1665795894e-2)
    tail = tail * r + np.float32(1.6666665459e-1)
    tail = tail * r + np.float32(5.0000001201e-1)
    value = tail * r * r + r + np.float32(1.0)
    place = np.int32(n) if n == n else np.int32(0)  # noqa: PLR0124  # NaN has no integer
    return value * POWERS_OF_TWO[place - EXPONENT_MIN]


@njit_contracted
def hyperbolic_tangent(x: np.float32) -> np.float32:
    """Return tanh x within 2e-7; NaN for NaN. Past +-9 it is 1 to the last bit of a float32."""
    x = TANH_SATURATED if x > TANH_SATURATED else x
    x = -TANH_SATURATED if x < -TANH_SATURATED else x
    return np.float32(1.0) - np.float32(2.0) / (
        exponential(np.float32(2.0) * x) + np.float32(1.0)
    )


@njit_contracted
def add_product(x_I: Vector, weight_IO: Matrix, out_O: Vector) -> None:
    """Add x W to ``out_O``; inputs in blocks of eight, the rest one by one."""
    inputs, outputs = weight_IO.shape
    whole = inputs - inputs % 8
    for i in range(0, whole, 8):
        x0, x1, x2, x3 = x_I[i], x_I[i + 1], x_I[i + 2], x_I[i + 3]
        x4, x5, x6, x7 = x_I[i + 4], x_I[i + 5], x_I[i + 6], x_I[i + 7]
        w0, w1, w2, w3 = weight_IO[i], weight_IO[i + 1], weight_IO[i + 2], weight_IO[i + 3]
        w4, w5, w6, w7 = weight_IO[i + 4], weight_IO[i + 5], weight_IO[i + 6], weight_IO[i + 7]
        for j in range(outputs):
            out_O[j] += (
                x0 * w0[j]
                + x1 * w1[j]
                + x2 * w2[j]
                + x3 * w3[j]
                + x4 * w4[j]
                + x5 * w5[j]
                + x6 * w6[j]
                + x7 * w7[j]
            )
    for i in range(whole, inputs):
        x0 = x_I[i]
        for j in range(outputs):
            out_O[j] += x0 * weight_IO[i, j]


@njit_reordered
def normalise_and_rectify(x_H: Vector) -> None:
    """Give a row mean zero and variance one, then keep its positive part; NaN stays NaN."""
    count = np.float32(x_H.shape[0])
    total = np.float32(0.0)
    for j in range(x_H.shape[0]):
        total += x_H[j]
    mean = total / count
    square = np.float32(0.0)
    for j in range(x_H.shape[0]):
        apart = x_H[j] - mean
        square += apart * apart
    scale = np.float32(1.0) / np.sqrt(square / count + NORMALISATION_EPSILON)
    for j in range(x_H.shape[0]):
        value = (x_H[j] - mean) * scale
        x_H[j] = np.float32(0.0) if value < np.float32(0.0) else value


@njit_contracted
def rectify(x_H: Vector) -> None:
    """Keep the positive part; NaN stays NaN."""
    for j in range(x_H.shape[0]):
        x_H[j] = np.float32(0.0) if x_H[j] < np.float32(0.0) else x_H[j]


@njit_contracted
def softmax(x_K: Vector, out_K: Vector) -> None:
    """Write exp(x - max x) divided by its sum."""
    top = x_K[0]
    for k in range(1, x_K.shape[0]):
        top = x_K[k] if x_K[k] > top else top
    total = np.float32(0.0)
    for k in range(x_K.shape[0]):
        out_K[k] = exponential(x_K[k] - top)
        total += out_K[k]
    for k in range(x_K.shape[0]):
        out_K[k] /= total


@njit_contracted
def take_matrix(flat: Vector, at: int, inputs: int, outputs: int) -> tuple[Matrix, int]:
    """Return the next block as (inputs, outputs), and where the one after it begins."""
    end = at + inputs * outputs
    return flat[at:end].reshape(inputs, outputs), end


@njit_contracted
def apply_layer(flat: Vector, at: int, x_I: Vector, out_O: Vector) -> int:
    """Write b + x W for the next layer (bias first, then weights); return where it ends."""
    inputs, outputs = x_I.shape[0], out_O.shape[0]
    out_O[:] = flat[at : at + outputs]
    weight_IO, end = take_matrix(flat, at + outputs, inputs, outputs)
    add_product(x_I, weight_IO, out_O)
    return end


@njit_contracted
def judge_row(
    flat: Vector,
    widths: Widths,
    obs_F: Vector,
    scratch: Vector,
    preference_A3: Matrix,
    confidence_A: Vector,
    regime_K: Vector,
    predicted_A: Vector,
    action_A: NDArray[np.int64],
) -> None:
    """Judge one observation; ``scratch`` holds every hidden value, the rest is written."""
    hidden, tanh, narrow = widths.hidden, widths.tanh, widths.narrow
    first_H = scratch[: VALUE_COUNT * hidden + tanh + 2 * hidden]
    at = apply_layer(flat, 0, obs_F, first_H)
    rest = scratch[first_H.shape[0] :]
    at = judge_values(flat, at, widths, first_H, rest, preference_A3)
    actor_T = first_H[VALUE_COUNT * hidden : VALUE_COUNT * hidden + tanh]
    at = judge_actor(flat, at, actor_T, rest[:tanh], preference_A3[3])
    regime_H = first_H[VALUE_COUNT * hidden + tanh : VALUE_COUNT * hidden + tanh + hidden]
    rectify(regime_H)
    at = apply_layer(flat, at, regime_H, rest[:narrow])
    rectify(rest[:narrow])
    at = apply_layer(flat, at, rest[:narrow], regime_K)
    softmax(regime_K, regime_K)
    market_H = first_H[VALUE_COUNT * hidden + tanh + hidden :]
    at = predict(flat, at, widths, market_H, regime_K, rest, predicted_A)
    for a in range(widths.agents):
        temperature = flat[at + a]
        best = 0
        for c in range(1, ACTION_COUNT):
            best = c if preference_A3[a, c] > preference_A3[a, best] else best
        total = np.float32(0.0)
        for c in range(ACTION_COUNT):
            total += exponential((preference_A3[a, c] - preference_A3[a, best]) / temperature)
        action_A[a] = best
        confidence_A[a] = np.float32(1.5) / total - np.float32(0.5)


@njit_contracted
def judge_values(
    flat: Vector,
    at: int,
    widths: Widths,
    first_H: Vector,
    scratch: Vector,
    preference_A3: Matrix,
) -> int:
    """Write the preferences of the value agents; rows as in the manifest, PPO's is left out."""
    hidden, head, atoms = widths.hidden, 2 * widths.head, widths.atoms
    second_VH = scratch[: VALUE_COUNT * hidden].reshape(VALUE_COUNT, hidden)
    head_VH = scratch[VALUE_COUNT * hidden : VALUE_COUNT * hidden + HEAD_NET_COUNT * head].reshape(
        HEAD_NET_COUNT, head
    )
    rest = scratch[VALUE_COUNT * hidden + HEAD_NET_COUNT * head :]
    for v in range(VALUE_COUNT):
        own_H = first_H[v * hidden : (v + 1) * hidden]
        normalise_and_rectify(own_H)
        at = apply_layer(flat, at, own_H, second_VH[v])
        normalise_and_rectify(second_VH[v])
    for v in range(HEAD_NET_COUNT):
        at = apply_layer(flat, at, second_VH[v], head_VH[v])
        rectify(head_VH[v])
    twin_b = rest[:ACTION_COUNT]
    at = apply_layer(flat, at, head_VH[0], preference_A3[0])
    at = apply_layer(flat, at, head_VH[1], preference_A3[2])
    at = apply_layer(flat, at, head_VH[2], twin_b)
    for c in range(ACTION_COUNT):
        smaller = twin_b[c] if twin_b[c] < preference_A3[2, c] else preference_A3[2, c]
        preference_A3[2, c] = smaller if twin_b[c] == twin_b[c] else twin_b[c]  # noqa: PLR0124  # NaN wins, as in torch.minimum
    atom_O = rest[: ACTION_COUNT * atoms]
    at = apply_layer(flat, at, head_VH[3], atom_O)
    support_Z = flat[at : at + atoms]
    at += atoms
    for c in range(ACTION_COUNT):
        share_Z = atom_O[c * atoms : (c + 1) * atoms]
        softmax(share_Z, share_Z)
        mean = np.float32(0.0)
        for z in range(atoms):
            mean += share_Z[z] * support_Z[z]
        preference_A3[4, c] = mean
    return apply_layer(flat, at, second_VH[4], preference_A3[1])


@njit_contracted
def judge_actor(flat: Vector, at: int, first_T: Vector, second_T: Vector, out_3: Vector) -> int:
    """Write PPO's logits; return where the weights of its actor end."""
    for j in range(first_T.shape[0]):
        first_T[j] = hyperbolic_tangent(first_T[j])
    at = apply_layer(flat, at, first_T, second_T)
    for j in range(second_T.shape[0]):
        second_T[j] = hyperbolic_tangent(second_T[j])
    return apply_layer(flat, at, second_T, out_3)


@njit_contracted
def predict(
    flat: Vector,
    at: int,
    widths: Widths,
    market_H: Vector,
    regime_K: Vector,
    scratch: Vector,
    predicted_A: Vector,
) -> int:
    """Write the predicted performance of every agent from the shared trunk."""
    hidden, narrow = widths.hidden, widths.narrow
    posterior_KH, at = take_matrix(flat, at, widths.regimes, hidden)
    code_AH, at = take_matrix(flat, at, widths.agents, hidden)
    add_product(regime_K, posterior_KH, market_H)
    trunk_H, narrow_H = scratch[:hidden], scratch[hidden : hidden + narrow]
    begins = at
    for a in range(widths.agents):
        for j in range(hidden):
            trunk_H[j] = market_H[j] + code_AH[a, j]
        rectify(trunk_H)
        at = apply_layer(flat, begins, trunk_H, narrow_H)
        rectify(narrow_H)
        at = apply_layer(flat, at, narrow_H, predicted_A[a : a + 1])
    return at


@njit_contracted
def judge_rows(
    flat: Vector,
    widths: Widths,
    obs_BF: Matrix,
    scratch: Vector,
    preference_BA3: NDArray[np.float32],
    confidence_BA: Matrix,
    regime_BK: Matrix,
    predicted_BA: Matrix,
    action_BA: NDArray[np.int64],
) -> None:
    """Judge a batch one by one; every output array is written in full."""
    for b in range(obs_BF.shape[0]):
        judge_row(
            flat,
            widths,
            obs_BF[b],
            scratch,
            preference_BA3[b],
            confidence_BA[b],
            regime_BK[b],
            predicted_BA[b],
            action_BA[b],
        )
