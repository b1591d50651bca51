"""The fused ensemble as one compiled call: the arithmetic of ``strategy.fused``, row by row.

All weights lie in one flat float32 vector in the order of use, so the call crosses the Python
border with a handful of arguments whatever the networks hold (a crossing costs about 0.1 us for
each array), and memory is read strictly forward.

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


INPUT_BLOCK = 8
PANEL = 16
"""Inputs and outputs that are worked on together; a layer is padded with zeros to whole ones."""

POSTERIOR_FLOOR = np.float32(1e-4)
"""As ``strategy.regimes.POSTERIOR_MIN``."""


class Widths(NamedTuple):
    """Lengths of the axes: hidden layers, regimes, agents, atoms of one distribution.

    ``posterior_first`` is the column of a market row at which the filter's posterior begins.
    """

    posterior_first: int
    hidden: int
    head: int
    tanh: int
    narrow: int
    regimes: int
    agents: int
    atoms: int


@njit_contracted
def padded(count: int, block: int) -> int:
    """Return the next multiple of a block."""
    return (count + block - 1) // block * block


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
    place = np.int32(n) if n == n else np.int32(0)  # NaN has no integer
    return np.float32(value * POWERS_OF_TWO[place - EXPONENT_MIN])


@njit_contracted
def hyperbolic_tangent(x: np.float32) -> np.float32:
    """Return tanh x within 2e-7; NaN for NaN. Past +-9 it is 1 to the last bit of a float32."""
    x = TANH_SATURATED if x > TANH_SATURATED else x
    x = -TANH_SATURATED if x < -TANH_SATURATED else x
    return np.float32(1.0) - np.float32(2.0) / (exponential(np.float32(2.0) * x) + np.float32(1.0))


@njit_contracted
def add_product(x_I: Vector, flat: Vector, at: int, out_O: Vector) -> int:
    """Add x W to ``out_O``; return where the weights end.

    Inputs come in blocks of INPUT_BLOCK and outputs in panels of PANEL, both whole; the weights of
    one block and panel lie side by side, so that memory is read strictly forward. A 128 x 128 layer
    takes 0.73 us this way and 1.09 us row by row: it is bound by reading 64 kB from the L2 cache.
    """
    for i in range(0, x_I.shape[0], INPUT_BLOCK):
        x0, x1, x2, x3 = x_I[i], x_I[i + 1], x_I[i + 2], x_I[i + 3]
        x4, x5, x6, x7 = x_I[i + 4], x_I[i + 5], x_I[i + 6], x_I[i + 7]
        for j in range(0, out_O.shape[0], PANEL):
            block = flat[at : at + INPUT_BLOCK * PANEL]
            panel = out_O[j : j + PANEL]
            for lane in range(PANEL):
                panel[lane] += (
                    x0 * block[lane]
                    + x1 * block[PANEL + lane]
                    + x2 * block[2 * PANEL + lane]
                    + x3 * block[3 * PANEL + lane]
                    + x4 * block[4 * PANEL + lane]
                    + x5 * block[5 * PANEL + lane]
                    + x6 * block[6 * PANEL + lane]
                    + x7 * block[7 * PANEL + lane]
                )
            at += INPUT_BLOCK * PANEL
    return at


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
def apply_layer(flat: Vector, at: int, x_I: Vector, out_O: Vector) -> int:
    """Write b + x W for the next layer, bias first; return where its weights end."""
    outputs = out_O.shape[0]
    out_O[:] = flat[at : at + outputs]
    end: int = add_product(x_I, flat, at + outputs, out_O)
    return end


@njit_contracted
def read_row(
    flat: Vector, widths: Widths, obs_F: Vector, held_A: NDArray[np.int64], first_H: Vector
) -> int:
    """Write the first layer of every network; return where its weights end.

    After the market's part come three rows for every agent, one of which is its own position's.
    """
    at = apply_layer(flat, 0, obs_F, first_H)
    hidden_count: int = first_H.shape[0]
    for a in range(held_A.shape[0]):
        begin = at + (ACTION_COUNT * a + held_A[a]) * hidden_count
        row_H = flat[begin : begin + hidden_count]
        for j in range(hidden_count):
            first_H[j] += row_H[j]
    return at + ACTION_COUNT * widths.agents * hidden_count


@njit_contracted
def judge_row(
    flat: Vector,
    widths: Widths,
    obs_F: Vector,
    held_A: NDArray[np.int64],
    scratch: Vector,
    preference_A3: Matrix,
    confidence_A: Vector,
    regime_K: Vector,
    predicted_A: Vector,
    action_A: NDArray[np.int64],
) -> None:
    """Judge one padded market row; ``scratch`` holds every hidden value, the rest is written."""
    hidden, tanh = widths.hidden, widths.tanh
    actor_at = VALUE_COUNT * hidden
    regime_at, market_at = actor_at + tanh, actor_at + tanh + hidden
    first_H = scratch[: market_at + hidden]
    rest = scratch[market_at + hidden :]
    at = read_row(flat, widths, obs_F, held_A, first_H)
    at = judge_values(flat, at, widths, first_H, rest, preference_A3)
    at = judge_actor(flat, at, first_H[actor_at:regime_at], rest, preference_A3)
    at = judge_regime(flat, at, widths, first_H[regime_at:market_at], obs_F, rest, regime_K)
    at = predict(flat, at, widths, first_H[market_at:], regime_K, rest, predicted_A)
    for a in range(widths.agents):
        vote(flat[at + a], a, preference_A3, confidence_A, action_A)


@njit_contracted
def vote(
    temperature: np.float32,
    a: int,
    preference_A3: Matrix,
    confidence_A: Vector,
    action_A: NDArray[np.int64],
) -> None:
    """Write an agent's action and how sure it is of it."""
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
    hidden, head = widths.hidden, 2 * widths.head
    second_VH = scratch[: VALUE_COUNT * hidden].reshape(VALUE_COUNT, hidden)
    heads_at = VALUE_COUNT * hidden
    head_VH = scratch[heads_at : heads_at + HEAD_NET_COUNT * head].reshape(HEAD_NET_COUNT, head)
    rest = scratch[heads_at + HEAD_NET_COUNT * head :]
    for v in range(VALUE_COUNT):
        own_H = first_H[v * hidden : (v + 1) * hidden]
        normalise_and_rectify(own_H)
        at = apply_layer(flat, at, own_H, second_VH[v])
        normalise_and_rectify(second_VH[v])
    for v in range(HEAD_NET_COUNT):
        at = apply_layer(flat, at, second_VH[v], head_VH[v])
        rectify(head_VH[v])
    out_P = rest[:PANEL]
    at = apply_layer(flat, at, head_VH[0], out_P)
    preference_A3[0] = out_P[:ACTION_COUNT]
    at = apply_layer(flat, at, head_VH[1], out_P)
    preference_A3[2] = out_P[:ACTION_COUNT]
    at = apply_layer(flat, at, head_VH[2], out_P)
    take_minimum(out_P, preference_A3[2])
    atom_O = rest[: padded(ACTION_COUNT * widths.atoms, PANEL)]
    at = apply_layer(flat, at, head_VH[3], atom_O)
    at = mean_atoms(flat, at, widths, atom_O, preference_A3[4])
    at = apply_layer(flat, at, second_VH[4], out_P)
    preference_A3[1] = out_P[:ACTION_COUNT]
    return at


@njit_contracted
def take_minimum(out_P: Vector, preference_3: Vector) -> None:
    """Keep the smaller of what two networks say; NaN wins, as in torch.minimum."""
    for c in range(ACTION_COUNT):
        if not out_P[c] >= preference_3[c]:
            preference_3[c] = out_P[c]


@njit_contracted
def mean_atoms(flat: Vector, at: int, widths: Widths, atom_O: Vector, out_3: Vector) -> int:
    """Write the means of Rainbow's three distributions; return where their support ends.

    ``atom_O`` holds the logits of all atoms, and is used up.
    """
    atoms = widths.atoms
    support_Z = flat[at : at + atoms]
    for c in range(ACTION_COUNT):
        share_Z = atom_O[c * atoms : (c + 1) * atoms]
        softmax(share_Z, share_Z)
        mean = np.float32(0.0)
        for z in range(atoms):
            mean += share_Z[z] * support_Z[z]
        out_3[c] = mean
    return at + atoms


@njit_contracted
def judge_actor(
    flat: Vector, at: int, first_T: Vector, scratch: Vector, preference_A3: Matrix
) -> int:
    """Write PPO's logits; return where the weights of its actor end."""
    second_T, out_P = scratch[: first_T.shape[0]], scratch[first_T.shape[0] :][:PANEL]
    for j in range(first_T.shape[0]):
        first_T[j] = hyperbolic_tangent(first_T[j])
    at = apply_layer(flat, at, first_T, second_T)
    for j in range(second_T.shape[0]):
        second_T[j] = hyperbolic_tangent(second_T[j])
    at = apply_layer(flat, at, second_T, out_P)
    preference_A3[3] = out_P[:ACTION_COUNT]
    return at


@njit_contracted
def judge_regime(
    flat: Vector,
    at: int,
    widths: Widths,
    first_H: Vector,
    obs_F: Vector,
    scratch: Vector,
    regime_K: Vector,
) -> int:
    """Write the posterior: the filter's, whose logarithm the net corrects."""
    narrow, regimes = widths.narrow, widths.regimes
    second_N, out_P = scratch[:narrow], scratch[narrow : narrow + padded(regimes, PANEL)]
    rectify(first_H)
    at = apply_layer(flat, at, first_H, second_N)
    rectify(second_N)
    at = apply_layer(flat, at, second_N, out_P)
    write_posterior(flat[at], widths, out_P, obs_F, regime_K)
    return at + 1


@njit_contracted
def write_posterior(
    trust: np.float32, widths: Widths, out_P: Vector, obs_F: Vector, regime_K: Vector
) -> None:
    """Write the softmax of the net's correction and the logarithm of the filter's posterior."""
    for k in range(widths.regimes):
        prior = obs_F[widths.posterior_first + k]
        prior = np.float32(0.0) if prior < np.float32(0.0) else prior
        regime_K[k] = out_P[k] + trust * np.log(prior + POSTERIOR_FLOOR)
    softmax(regime_K, regime_K)


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
    hidden, narrow, regimes = widths.hidden, widths.narrow, widths.regimes
    seen_K = scratch[: padded(regimes, INPUT_BLOCK)]
    seen_K[:regimes] = regime_K
    seen_K[regimes:] = np.float32(0.0)
    at = add_product(seen_K, flat, at, market_H)
    code_AH = flat[at : at + widths.agents * hidden].reshape(widths.agents, hidden)
    begins = at + widths.agents * hidden
    trunk_H, second_N = scratch[:hidden], scratch[hidden : hidden + narrow]
    out_P = scratch[hidden + narrow :][:PANEL]
    for a in range(widths.agents):
        for j in range(hidden):
            trunk_H[j] = market_H[j] + code_AH[a, j]
        rectify(trunk_H)
        at = apply_layer(flat, begins, trunk_H, second_N)
        rectify(second_N)
        at = apply_layer(flat, at, second_N, out_P)
        predicted_A[a] = out_P[0]
    return at


@njit_contracted
def judge_rows(
    flat: Vector,
    widths: Widths,
    obs_BF: Matrix,
    held_BA: NDArray[np.int64],
    scratch: Vector,
    preference_BA3: NDArray[np.float32],
    confidence_BA: Matrix,
    regime_BK: Matrix,
    predicted_BA: Matrix,
    action_BA: NDArray[np.int64],
    is_walk: bool,
) -> None:
    """Judge a batch one by one; every output array is written in full.

    In a walk rows follow each other in time: what an agent wanted at one is written to ``held_BA``
    as what it holds at the next, flat (1) where a number of its is not finite.
    """
    padded_F = scratch[: padded(obs_BF.shape[1], INPUT_BLOCK)]
    padded_F[:] = np.float32(0.0)
    for b in range(obs_BF.shape[0]):
        padded_F[: obs_BF.shape[1]] = obs_BF[b]
        judge_row(
            flat,
            widths,
            padded_F,
            held_BA[b],
            scratch[padded_F.shape[0] :],
            preference_BA3[b],
            confidence_BA[b],
            regime_BK[b],
            predicted_BA[b],
            action_BA[b],
        )
        if is_walk and b + 1 < obs_BF.shape[0]:
            for a in range(action_BA.shape[1]):
                total = confidence_BA[b, a] + predicted_BA[b, a]
                for c in range(ACTION_COUNT):
                    total += preference_BA3[b, a, c]
                held_BA[b + 1, a] = action_BA[b, a] if np.isfinite(total) else 1
