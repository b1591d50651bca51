"""Weights of the agents and the target they add up to.

Weights: softmax of the predicted performance over the healthy agents, then the exact Euclidean
projection onto {floor <= w <= cap, sum w = 1}. The floor is ``DIVERSIFICATION_FLOOR`` for the
``min_diversification_agents`` healthy agents of highest prediction and 0 for the others, so that at
least so many always carry weight. Clipping and renormalising does not hold a cap; this does.

No feasible weights, no guess: ``weigh`` returns None and the caller takes no new risk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.jit import njit

Floats = NDArray[np.float64]

DIVERSIFICATION_FLOOR = 0.05
"""Smallest weight of an agent that counts towards diversification, unless the cap is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the ensemble wants to be on one instrument.

    ``exposure`` in [-1, 1] of a full position; ``disagreement`` in [0, 1], the weighted standard
    deviation of the agents' votes; ``confidence`` in [0, 1], the weighted mean of the agents' own.
    """

    exposure: float
    disagreement: float
    confidence: float


@njit
def _sort(value_n: Floats) -> None:
    """Sort in place by insertion: a handful of numbers, half the time of the general sort."""
    for i in range(1, value_n.shape[0]):
        value, at = value_n[i], i
        while at > 0 and value_n[at - 1] > value:
            value_n[at] = value_n[at - 1]
            at -= 1
        value_n[at] = value


@njit
def project_box_simplex(point_A: Floats, floor_A: Floats, cap: float, out_A: Floats) -> bool:
    """Write the Euclidean projection of a point onto {floor <= w <= cap, sum w = 1}.

    Returns False, with ``out_A`` untouched, when the set is empty or a number is not finite.
    """
    count = point_A.shape[0]
    return bool(
        project_awake(point_A, floor_A, cap, np.ones(count, np.bool_), np.empty(2 * count), out_A)
    )


@njit
def project_awake(
    point_A: Floats,
    floor_A: Floats,
    cap: float,
    awake_A: NDArray[np.bool_],
    kinks_2A: Floats,
    out_A: Floats,
) -> bool:
    """Do the same over the agents that are awake; the others get 0. ``kinks_2A`` is scratch.

    The projection is clip(point - shift, floor, cap) for the one shift at which the sum is 1. That
    sum falls piecewise linearly in the shift, so the two kinks that enclose 1 give it exactly.
    """
    count, awake_count = point_A.shape[0], 0
    floor_sum = 0.0
    for i in range(count):
        if awake_A[i]:
            if not np.isfinite(point_A[i]) or not 0.0 <= floor_A[i] <= cap:
                return False
            kinks_2A[2 * awake_count] = point_A[i] - cap
            kinks_2A[2 * awake_count + 1] = point_A[i] - floor_A[i]
            floor_sum += floor_A[i]
            awake_count += 1
    if floor_sum > 1.0 + 1e-12 or awake_count * cap < 1.0 - 1e-12:
        return False
    kinks = kinks_2A[: 2 * awake_count]
    _sort(kinks)
    low = 0
    high = 2 * awake_count - 1
    while high - low > 1:  # the sum is at least 1 at kinks[low], at most 1 at kinks[high]
        middle = (low + high) // 2
        total = 0.0
        for i in range(count):
            if awake_A[i]:
                total += min(max(point_A[i] - kinks[middle], floor_A[i]), cap)
        if total >= 1.0:
            low = middle
        else:
            high = middle
    shift = _shift(point_A, floor_A, cap, awake_A, 0.5 * (kinks[low] + kinks[high]))
    for i in range(count):
        out_A[i] = min(max(point_A[i] - shift, floor_A[i]), cap) if awake_A[i] else 0.0
    return True


@njit
def _shift(
    point_A: Floats, floor_A: Floats, cap: float, awake_A: NDArray[np.bool_], between: float
) -> float:
    """Return the shift at which the sum is 1, given one that lies on the same piece of it."""
    fixed = 0.0
    free_count = 0
    free_sum = 0.0
    for i in range(point_A.shape[0]):
        if not awake_A[i]:
            continue
        if point_A[i] - between >= cap:
            fixed += cap
        elif point_A[i] - between <= floor_A[i]:
            fixed += floor_A[i]
        else:
            free_count += 1
            free_sum += point_A[i]
    return float((free_sum + fixed - 1.0) / free_count) if free_count else between


@njit
def _weigh(
    predicted_A: Floats,
    healthy_A: NDArray[np.bool_],
    cap: float,
    temperature: float,
    active_count: int,
    out_A: Floats,
) -> bool:
    count = predicted_A.shape[0]
    index_H = np.empty(count, np.int64)
    healthy_count = 0
    best = -np.inf
    for i in range(count):
        if healthy_A[i] and np.isfinite(predicted_A[i]):
            index_H[healthy_count] = i
            healthy_count += 1
            best = max(best, predicted_A[i])
    if healthy_count == 0 or healthy_count < active_count:
        return False
    point_H = np.empty(healthy_count)
    total = 0.0
    for h in range(healthy_count):
        point_H[h] = np.exp((predicted_A[index_H[h]] - best) / temperature)
        total += point_H[h]
    point_H /= total
    floor = min(DIVERSIFICATION_FLOOR, cap, 1.0 / active_count)
    floor_H = np.zeros(healthy_count)
    for _ in range(active_count):
        chosen = -1
        for h in range(healthy_count):
            if floor_H[h] > 0.0:
                continue
            if chosen < 0 or predicted_A[index_H[h]] > predicted_A[index_H[chosen]]:
                chosen = h
        floor_H[chosen] = floor
    weight_H = np.empty(healthy_count)
    if not project_box_simplex(point_H, floor_H, cap, weight_H):
        return False
    out_A[:] = 0.0
    for h in range(healthy_count):
        out_A[index_H[h]] = weight_H[h]
    return True


def weigh(
    predicted_A: Floats | NDArray[np.float32],
    healthy_A: NDArray[np.bool_],
    settings: MetaLearningSettings,
) -> Floats | None:
    """Return the agents' weights (sum 1, none above ``max_agent_weight``), or None to abstain.

    An agent that is not healthy, or whose prediction is not finite, gets 0. None when fewer healthy
    agents are left than ``min_diversification_agents``, or too few to sum to 1 under the cap. With
    ``meta_learning_enabled`` or ``performance_prediction_enabled`` off all predictions count alike.
    """
    predicted = np.asarray(predicted_A, dtype=np.float64)
    healthy = np.asarray(healthy_A, dtype=np.bool_)
    if predicted.ndim != 1 or predicted.shape != healthy.shape:
        raise ValueError(f"predictions {predicted.shape} and health {healthy.shape} do not match")
    if not (settings.meta_learning_enabled and settings.performance_prediction_enabled):
        predicted = np.zeros_like(predicted)
    weights_A = np.empty_like(predicted)
    feasible = _weigh(
        predicted,
        healthy,
        settings.max_agent_weight,
        settings.weight_temperature,
        settings.min_diversification_agents,
        weights_A,
    )
    return weights_A if feasible else None


def combine(
    action_A: NDArray[np.int64],
    weights_A: Floats,
    confidence_A: Floats | NDArray[np.float32],
    exposure_frac_max: float = 1.0,
    agent_count: int | None = None,
) -> Target:
    """Add up the votes: exposure = sum of weight times (action - 1), limited by the bundle.

    Disagreement is that of the first ``agent_count`` experts among themselves (None: all): weight
    on cash makes a target smaller, it contradicts nobody. Confidence does not scale the exposure:
    it is not calibrated, and a linear mixture is what the weights' guarantees speak of. Raises
    ValueError when an expert with weight has no valid vote.
    """
    is_valid, mean, spread, confidence = combine_step(
        action_A, weights_A, confidence_A, len(action_A) if agent_count is None else agent_count
    )
    if not is_valid:
        raise ValueError(f"weight on an agent without a valid vote: {action_A}, {weights_A}")
    return Target(
        exposure=min(max(mean, -exposure_frac_max), exposure_frac_max),
        disagreement=min(spread, 1.0),
        confidence=min(max(confidence, 0.0), 1.0),
    )


@njit
def combine_step(
    action_A: NDArray[np.int64],
    weights_A: Floats,
    confidence_A: Floats | NDArray[np.float32],
    agent_count: int,
) -> tuple[bool, float, float, float]:
    """Return validity, weighted mean, the agents' deviation, weighted mean confidence."""
    is_valid = True
    mean = 0.0
    agent_mean = 0.0
    agent_square = 0.0
    agent_weight = 0.0
    confidence = 0.0
    for i in range(action_A.shape[0]):
        if not weights_A[i] > 0.0:
            continue
        is_valid = is_valid and 0 <= action_A[i] <= 2 and np.isfinite(confidence_A[i])
        vote = float(action_A[i] - 1)
        mean += weights_A[i] * vote
        if i < agent_count:
            agent_weight += weights_A[i]
            agent_mean += weights_A[i] * vote
            agent_square += weights_A[i] * vote * vote
        confidence += weights_A[i] * confidence_A[i]
    spread = 0.0
    if agent_weight > 0.0:
        agent_mean /= agent_weight
        spread = np.sqrt(max(agent_square / agent_weight - agent_mean * agent_mean, 0.0))
    return is_valid, mean, spread, confidence


def attribute(
    action_A: NDArray[np.int64], weights_A: Floats, side: int, exposure: float
) -> tuple[float, ...]:
    """Share an order out among the agents that wanted it; sums to 1, empty when none did.

    ``side`` is +1 or -1, ``exposure`` in [-1, 1] what is held now: an agent wanted the order as far
    as its vote lies beyond that, on the order's side, times its weight.
    """
    assert len(action_A) == len(weights_A), "the kernel would read beyond the shorter one"
    share_A = np.empty(len(weights_A))
    is_wanted = _attribute(action_A, weights_A, side, exposure, share_A)
    return tuple(share_A.tolist()) if is_wanted else ()


@njit
def _attribute(
    action_A: NDArray[np.int64], weights_A: Floats, side: int, exposure: float, share_A: Floats
) -> bool:
    """Write the shares; False where nobody wanted the order."""
    total = 0.0
    for i in range(share_A.shape[0]):
        wanted = 0.0
        if weights_A[i] > 0.0:
            wanted = weights_A[i] * max(0.0, side * (action_A[i] - 1 - exposure))
        share_A[i] = wanted
        total += wanted
    if not total > 0.0:
        return False
    for i in range(share_A.shape[0]):
        share_A[i] /= total
    return True


def warm_up(agent_count: int) -> None:
    """Compile the kernels of this file, so that no decision waits for the compiler."""
    weights_A = np.empty(agent_count)
    _weigh(np.zeros(agent_count), np.ones(agent_count, np.bool_), 1.0, 1.0, 1, weights_A)
    action_A = np.ones(agent_count, np.int64)
    combine(action_A, weights_A, np.zeros(agent_count, np.float32))  # as the runtime gives them
    combine(action_A, weights_A, np.zeros(agent_count, np.float64))
    attribute(action_A, weights_A, 1, 0.0)
