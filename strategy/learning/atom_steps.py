"""Rainbow as compiled steps: noisy heads, distributions over atoms, one update.

A noisy layer's weights are mean + sigma times the product of the noise at both its ends (Fortunato
et al. 2018); ``perturb`` writes them out as the vector of a plain critic, which ``critic_steps``
takes forward and back. The vector of the module lies in its order:

    first, second, then for each of four layers weight mean, bias mean, weight sigma, bias sigma

Shapes: B rows, F inputs, A actions, Z atoms, V = A Z outputs, E parameters without noise, P all
parameters, N noise at all ends of the four layers (inputs, then outputs of each).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import borrow, njit_reordered
from strategy.compiled_kernel import exponential
from strategy.learning.critic_steps import (
    Dims,
    Trace,
    backward,
    first_largest,
    forward,
    huber_loss,
    huber_slope,
)
from strategy.learning.layer_steps import descend, follow
from strategy.learning.transitions import Batch

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]


class Method(NamedTuple):
    """Which parts are on, and the numbers of a step beside the optimiser's rule."""

    is_double: bool
    is_distributional: bool
    reward_scale: float
    huber: float
    smoothing: float


class AtomTables(NamedTuple):
    """Scratch of an update."""

    plain_E: Floats32
    target_plain_E: Floats32
    plain_gradient_E: Floats32
    turned_W: Floats32
    share_Z: Floats32
    wanted_Z: Floats32
    value_A: Floats32


def noise_count(dims: Dims) -> int:
    """Return the length N of one network's noise."""
    outputs = dims.atoms * (1 + dims.actions)
    return 2 * (dims.second + dims.head) + 2 * dims.head + outputs


@njit_reordered
def layer_sizes(dims: Dims, layer: int) -> tuple[int, int]:
    """Return inputs and outputs of the noisy layer 0 to 3."""
    if layer % 2 == 0:
        return dims.second, dims.head
    return dims.head, dims.atoms if layer == 1 else dims.atoms * dims.actions


@njit_reordered
def perturb(theta_P: Floats32, dims: Dims, noise_N: Floats32, plain_E: Floats32) -> None:
    """Write the weights that the noise makes of means and sigmas."""
    at = (dims.inputs + 1) * dims.first + (dims.first + 1) * dims.second
    plain_E[:at] = theta_P[:at]
    to, noise_at = at, 0
    for layer in range(4):
        inputs, outputs = layer_sizes(dims, layer)
        count = (inputs + 1) * outputs
        noise_O = noise_N[noise_at + inputs : noise_at + inputs + outputs]
        for i in range(inputs + 1):
            scale = noise_N[noise_at + i] if i < inputs else np.float32(1.0)
            row = i * outputs
            mean_O = theta_P[at + row : at + row + outputs]
            sigma_O = theta_P[at + count + row : at + count + row + outputs]
            plain_O = plain_E[to + row : to + row + outputs]
            for o in range(outputs):
                plain_O[o] = mean_O[o] + sigma_O[o] * scale * noise_O[o]
        at, to, noise_at = at + 2 * count, to + count, noise_at + inputs + outputs


@njit_reordered
def spread_gradient(
    plain_gradient_E: Floats32, dims: Dims, noise_N: Floats32, gradient_P: Floats32
) -> None:
    """Write the gradient of means and sigmas that follows from that of the noisy weights."""
    at = (dims.inputs + 1) * dims.first + (dims.first + 1) * dims.second
    gradient_P[:at] = plain_gradient_E[:at]
    source, noise_at = at, 0
    for layer in range(4):
        inputs, outputs = layer_sizes(dims, layer)
        count = (inputs + 1) * outputs
        noise_O = noise_N[noise_at + inputs : noise_at + inputs + outputs]
        for i in range(inputs + 1):
            scale = noise_N[noise_at + i] if i < inputs else np.float32(1.0)
            row = i * outputs
            slope_O = plain_gradient_E[source + row : source + row + outputs]
            mean_O = gradient_P[at + row : at + row + outputs]
            sigma_O = gradient_P[at + count + row : at + count + row + outputs]
            for o in range(outputs):
                mean_O[o] = slope_O[o]
                sigma_O[o] = slope_O[o] * scale * noise_O[o]
        at, source, noise_at = at + 2 * count, source + count, noise_at + inputs + outputs


@njit_reordered
def shares(logit_Z: Floats32, share_Z: Floats32) -> float:
    """Write the softmax of logits; return the log of the sum by which it divides."""
    top = logit_Z[0]
    for z in range(1, logit_Z.shape[0]):
        top = max(top, logit_Z[z])
    total = np.float32(0.0)
    for z in range(logit_Z.shape[0]):
        share_Z[z] = exponential(logit_Z[z] - top)
        total += share_Z[z]
    for z in range(logit_Z.shape[0]):
        share_Z[z] /= total
    return float(top + np.log(total))


@njit_reordered
def expected_values(
    logit_V: Floats32, support_Z: Floats32, share_Z: Floats32, value_A: Floats32
) -> None:
    """Write the expectation of every action's distribution (A)."""
    atoms = support_Z.shape[0]
    for a in range(value_A.shape[0]):
        shares(logit_V[a * atoms : (a + 1) * atoms], share_Z)
        value = np.float32(0.0)
        for z in range(atoms):
            value += share_Z[z] * support_Z[z]
        value_A[a] = value


@njit_reordered
def project(
    share_Z: Floats32, reward: float, discount: float, support_Z: Floats32, wanted_Z: Floats32
) -> None:
    """Write the distribution of r + discount Z on the atoms' own places (Bellemare et al. 2017)."""
    atoms = support_Z.shape[0]
    low, high = support_Z[0], support_Z[atoms - 1]
    gap = (high - low) / np.float32(atoms - 1)
    wanted_Z[:] = 0.0
    for z in range(atoms):
        moved = np.float32(reward) + np.float32(discount) * support_Z[z]
        place = (min(max(moved, low), high) - low) / gap
        below = min(int(place), atoms - 1)
        above_frac = place - np.float32(below)
        wanted_Z[below] += share_Z[z] * (np.float32(1.0) - above_frac)
        wanted_Z[min(below + 1, atoms - 1)] += share_Z[z] * above_frac


@njit_reordered
def update_atoms(
    states: tuple[Floats32, Floats32, Floats32, Floats32],
    gradient_P: Floats32,
    dims: Dims,
    batch: Batch,
    scratch: tuple[Trace, Trace, Trace, Trace, AtomTables],
    noises: tuple[Floats32, Floats32],
    support_Z: Floats32,
    method: Method,
    error_B: Floats64,
    rule_6: Floats64,
) -> tuple[float, float]:
    """Do one update; return loss and mean error, write the errors by which rows are ranked (B).

    ``states``: parameters, target, both moments (P). ``scratch``: traces of the online network, of
    what chooses and what values, slopes, tables. ``noises``: the online network's and the target's.
    """
    theta_P, target_P, mean_P, square_P = states
    trace, chooser, worth, slopes, tables = scratch
    plain_E = tables.plain_E
    perturb(theta_P, dims, noises[0], plain_E)
    perturb(target_P, dims, noises[1], tables.target_plain_E)
    forward(tables.target_plain_E, dims, batch.next_BF, worth)
    if method.is_double:
        forward(plain_E, dims, batch.next_BF, chooser)
    chooser_BV = chooser.q_BV if method.is_double else worth.q_BV
    forward(plain_E, dims, batch.input_BF, trace)
    loss: float = 0.0
    slopes.q_BV[:] = 0.0
    chooser_BV, worth_BV = borrow(chooser_BV), borrow(worth.q_BV)
    logit_BV, slope_BV = borrow(trace.q_BV), borrow(slopes.q_BV)
    for b in range(batch.action_B.shape[0]):
        expected_values(chooser_BV[b], support_Z, tables.share_Z, tables.value_A)
        begin = first_largest(tables.value_A) * dims.atoms
        worth_Z = worth_BV[b, begin : begin + dims.atoms]
        lost, error_B[b] = _blame_row(
            batch, b, worth_Z, logit_BV[b], support_Z, method, tables, slope_BV
        )
        loss += lost
    tables.plain_gradient_E[:] = 0.0
    backward(
        *(plain_E, dims, batch.input_BF, trace, slopes),
        *(tables.turned_W, tables.plain_gradient_E),
    )
    spread_gradient(tables.plain_gradient_E, dims, noises[0], gradient_P)
    descend(theta_P, gradient_P, mean_P, square_P, rule_6)
    follow(target_P, theta_P, method.smoothing)
    return float(loss / batch.action_B.shape[0]), float(error_B.mean())


@njit_reordered
def _blame_row(
    batch: Batch,
    b: int,
    worth_Z: Floats32,
    logit_V: Floats32,
    support_Z: Floats32,
    method: Method,
    tables: AtomTables,
    slope_BV: Floats32,
) -> tuple[float, float]:
    """Return one row's weighted loss and its error, write its slopes."""
    atoms, rows = support_Z.shape[0], slope_BV.shape[0]
    share_Z, wanted_Z, action = tables.share_Z, tables.wanted_Z, batch.action_B[b]
    reward = batch.reward_B[b] * np.float32(method.reward_scale)
    begin = action * atoms
    own_Z, slope_Z = logit_V[begin : begin + atoms], slope_BV[b, begin : begin + atoms]
    weight = batch.weight_B[b]
    shares(worth_Z, share_Z)
    if method.is_distributional:
        project(share_Z, reward, batch.discount_B[b], support_Z, wanted_Z)
        level = np.float32(shares(own_Z, share_Z))
        entropy = np.float32(0.0)
        for z in range(atoms):
            entropy -= wanted_Z[z] * (own_Z[z] - level)
            slope_Z[z] = weight * (share_Z[z] - wanted_Z[z]) / np.float32(rows)
        return float(weight * entropy), float(entropy)
    wanted = np.float32(0.0)
    for z in range(atoms):
        wanted += share_Z[z] * support_Z[z]
    wanted = reward + batch.discount_B[b] * wanted
    shares(own_Z, share_Z)
    found = np.float32(0.0)
    for z in range(atoms):
        found += share_Z[z] * support_Z[z]
    slope = np.float32(weight * huber_slope(found - wanted, method.huber) / rows)
    for z in range(atoms):
        slope_Z[z] = slope * share_Z[z] * (support_Z[z] - found)
    error = float(abs(found - wanted))
    return float(weight) * huber_loss(error, method.huber), error


@njit_reordered
def atom_values(
    plain_E: Floats32,
    dims: Dims,
    input_BF: Floats32,
    trace: Trace,
    support_Z: Floats32,
    share_Z: Floats32,
    value_BA: Floats32,
) -> None:
    """Write the expected returns of states under given weights (B, A)."""
    forward(plain_E, dims, input_BF, trace)
    for b in range(value_BA.shape[0]):
        expected_values(trace.q_BV[b], support_Z, share_Z, value_BA[b])
