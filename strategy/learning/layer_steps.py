"""Layers of a network on one flat vector of parameters: forward, back, and the optimiser's step.

A layer's weights lie inputs by outputs, its bias behind them: so forward passes read them as they
are, and only the way back turns them, into a scratch of its own. Products run in tiles
(``matrix_steps``). Gradients are added to what stands in ``gradient_P``; the caller begins at zero.
Shapes: B rows, I inputs, O outputs, H hidden, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_reordered
from strategy.compiled_kernel import hyperbolic_tangent
from strategy.learning.matrix_steps import add_product, add_turned_product, turn

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

EPSILON = 1e-5
"""Of the layer normalisation, as torch has it."""

BETA_1, BETA_2 = 0.9, 0.999


@njit_reordered
def linear(theta_P: Floats32, at: int, x_BI: Floats32, out_BO: Floats32) -> int:
    """Write x W + b with the weights that begin at ``at``; return where they end."""
    inputs, outputs = x_BI.shape[1], out_BO.shape[1]
    bias_at = at + inputs * outputs
    bias_O = theta_P[bias_at : bias_at + outputs]
    for b in range(out_BO.shape[0]):
        for o in range(outputs):
            out_BO[b, o] = bias_O[o]
    add_product(x_BI, theta_P[at:bias_at].reshape((inputs, outputs)), out_BO)
    end: int = bias_at + outputs
    return end


@njit_reordered
def weights_back(at: int, x_BI: Floats32, slope_BO: Floats32, gradient_P: Floats32) -> None:
    """Add the gradients of weights and bias that follow from the slope of a layer's outputs."""
    inputs, outputs = x_BI.shape[1], slope_BO.shape[1]
    bias_at = at + inputs * outputs
    add_turned_product(x_BI, slope_BO, gradient_P[at:bias_at].reshape((inputs, outputs)))
    bias_O = gradient_P[bias_at : bias_at + outputs]
    for b in range(slope_BO.shape[0]):
        for o in range(outputs):
            bias_O[o] += slope_BO[b, o]


@njit_reordered
def inputs_back(
    theta_P: Floats32, at: int, slope_BO: Floats32, turned_W: Floats32, out_BI: Floats32
) -> None:
    """Add the slope of a layer's inputs; ``turned_W`` has room for its weights."""
    inputs, outputs = out_BI.shape[1], slope_BO.shape[1]
    weight_IO = theta_P[at : at + inputs * outputs].reshape((inputs, outputs))
    turned_OI = turned_W[: inputs * outputs].reshape((outputs, inputs))
    turn(weight_IO, turned_OI)
    add_product(slope_BO, turned_OI, out_BI)


@njit_reordered
def normalise(y_BH: Floats32, h_BH: Floats32, inverse_B: Floats32) -> None:
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
def normalise_back(y_BH: Floats32, inverse_B: Floats32, slope_BH: Floats32) -> None:
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
def rectify(x_BN: Floats32) -> None:
    """Keep the positive part."""
    for b in range(x_BN.shape[0]):
        for n in range(x_BN.shape[1]):
            x_BN[b, n] = max(x_BN[b, n], np.float32(0.0))


@njit_reordered
def rectify_back(x_BN: Floats32, slope_BN: Floats32) -> None:
    """Drop the slope of what was not positive."""
    for b in range(x_BN.shape[0]):
        for n in range(x_BN.shape[1]):
            slope_BN[b, n] = slope_BN[b, n] if x_BN[b, n] > 0.0 else np.float32(0.0)


@njit_reordered
def bend(x_BN: Floats32) -> None:
    """Replace numbers by their hyperbolic tangent."""
    for b in range(x_BN.shape[0]):
        for n in range(x_BN.shape[1]):
            x_BN[b, n] = hyperbolic_tangent(x_BN[b, n])


@njit_reordered
def bend_back(bent_BN: Floats32, slope_BN: Floats32) -> None:
    """Turn the slope after the tangent into that before it, in place."""
    for b in range(bent_BN.shape[0]):
        for n in range(bent_BN.shape[1]):
            slope_BN[b, n] *= np.float32(1.0) - bent_BN[b, n] * bent_BN[b, n]


@njit_reordered
def descend(
    theta_P: Floats32,
    gradient_P: Floats32,
    mean_P: Floats32,
    square_P: Floats32,
    rule_6: Floats64,
) -> None:
    """Clip the gradient's norm and take one step of AdamW (Loshchilov and Hutter 2019).

    ``rule_6``: rate, weight decay, largest norm, epsilon, and both moments' bias corrections.
    """
    total = np.float32(0.0)
    for p in range(gradient_P.shape[0]):
        total += gradient_P[p] * gradient_P[p]
    scale = np.float32(min(rule_6[2] / (math.sqrt(total) + 1e-6), 1.0))
    kept = np.float32(1.0 - rule_6[0] * rule_6[1])
    step = np.float32(rule_6[0] / rule_6[4])
    root = np.float32(1.0 / math.sqrt(rule_6[5]))
    beta_1, beta_2, tiny = np.float32(BETA_1), np.float32(BETA_2), np.float32(rule_6[3])
    rest_1, rest_2 = np.float32(1.0 - BETA_1), np.float32(1.0 - BETA_2)
    for p in range(theta_P.shape[0]):
        slope = gradient_P[p] * scale
        mean = beta_1 * mean_P[p] + rest_1 * slope
        square = beta_2 * square_P[p] + rest_2 * slope * slope
        mean_P[p] = mean
        square_P[p] = square
        theta_P[p] = theta_P[p] * kept - step * mean / (np.sqrt(square) * root + tiny)


@njit_reordered
def follow(target_P: Floats32, theta_P: Floats32, smoothing: float) -> None:
    """Let the target take over a share of the parameters."""
    share = np.float32(smoothing)
    for p in range(theta_P.shape[0]):
        target_P[p] += share * (theta_P[p] - target_P[p])
