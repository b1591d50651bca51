"""Running statistics: exponential averages, and moments that merge without subtraction.

Sliding windows are aggregated by merging summaries of adjacent stretches (Chan, Golub, LeVeque
1983; Pébay 2008), never by taking the oldest value out again: so nothing drifts, a constant window
has a variance of exactly 0, and no re-summing schedule is needed. ``kernels.feature_windows`` does
the sliding.
"""

from __future__ import annotations

import math

from kernels.jit import njit


@njit
def ewma(average: float, value: float, count: int, weight: float) -> float:
    """Return the average after one more value; ``count`` includes it and starts at 1.

    The weight of the new value is 1/count until that falls below ``weight``: the plain mean at
    first, then exponential. With weight 1/n this is Wilder's smoothing and his own start.
    """
    return average + (value - average) * max(weight, 1.0 / count)


@njit
def decay(elapsed_ns: float, constant_ns: float) -> float:
    """Return exp(-elapsed / constant), the weight left after some time; elapsed not negative."""
    return math.exp(-elapsed_ns / constant_ns)


@njit
def merged_mean(mean_a: float, mean_b: float, count_a: float, count_b: float) -> float:
    """Return the mean of two stretches together; both counts positive."""
    return mean_a + (mean_b - mean_a) * (count_b / (count_a + count_b))


@njit
def merged_second(
    second_a: float, second_b: float, step_x: float, step_y: float, count_a: float, count_b: float
) -> float:
    """Return the sum of (x - mean x)(y - mean y) over two stretches together.

    ``step`` is mean b minus mean a of each series; with x = y it is the second moment.
    """
    return second_a + second_b + step_x * step_y * (count_a * count_b / (count_a + count_b))


@njit
def merged_third(
    third_a: float,
    third_b: float,
    second_a: float,
    second_b: float,
    step: float,
    count_a: float,
    count_b: float,
) -> float:
    """Return the sum of (x - mean)^3 over two stretches together (Pébay 2008, equation 2.1)."""
    count = count_a + count_b
    return (
        third_a
        + third_b
        + step * step * step * (count_a * count_b * (count_a - count_b) / (count * count))
        + 3.0 * step * (count_a * second_b - count_b * second_a) / count
    )


@njit
def merged_fourth(
    fourth_a: float,
    fourth_b: float,
    third_a: float,
    third_b: float,
    second_a: float,
    second_b: float,
    step: float,
    count_a: float,
    count_b: float,
) -> float:
    """Return the sum of (x - mean)^4 over two stretches together (Pébay 2008, equation 2.1)."""
    count = count_a + count_b
    square = step * step
    spread = count_a * count_a - count_a * count_b + count_b * count_b
    return (
        fourth_a
        + fourth_b
        + square * square * (count_a * count_b * spread / (count * count * count))
        + 6.0
        * square
        * (count_a * count_a * second_b + count_b * count_b * second_a)
        / (count * count)
        + 4.0 * step * (count_a * third_b - count_b * third_a) / count
    )


@njit
def ratio(numerator: float, denominator: float) -> float:
    """Return numerator / denominator, 0 where the denominator is not positive."""
    if denominator > 0.0:
        return numerator / denominator
    return 0.0


@njit
def correlation(cross: float, second_x: float, second_y: float) -> float:
    """Return the correlation in [-1, 1] from summed moments, 0 where one series is constant."""
    if second_x > 0.0 and second_y > 0.0:
        return min(1.0, max(-1.0, cross / (math.sqrt(second_x) * math.sqrt(second_y))))
    return 0.0
