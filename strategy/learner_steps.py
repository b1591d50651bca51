"""The two compiled crossings of a decision: what bars that closed teach, and who is followed next.

The live learner calls them bar by bar, ``strategy.evaluation.chain_walk`` over a whole history from
inside one loop; a test holds both to the same bits. One crossing with a handful of rows costs 1 us,
one for each of the eight kernels inside cost 10 us with their arguments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import borrow, njit
from strategy.chain_memory import ChainMemory, open_memory
from strategy.chain_steps import learn_step, weigh_step, write_weighing
from strategy.regime_steps import filter_step
from strategy.regime_tracker import track_step
from strategy.shadow_accounts import mark_step, rest_step, scale_step, settle_step

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Given = NDArray[np.float32] | NDArray[np.float64]
"""Numbers as a model gives them, or as the filter does."""

IS_NEW_BAR, IS_SCORED, THRESHOLD, CRISIS_LEVEL, CRISIS = range(5)
RULES = 5
"""Slots of the rules of a weighing: the first two are flags, the rest as the tracker has them."""

IS_WEIGHED, IS_FEASIBLE, AWAKE_AGENTS = range(3)


@njit
def watch_step(
    row: Floats,
    numbers: Floats,
    earned_N: Floats,
    position_N: Ints,
    numbers_N: Floats,
    state_KP: Floats,
    next_KK: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    filter_state: Floats,
    bars_M3: Floats,
    mid: float,
    posterior_K: Floats,
    paid_N: Floats,
) -> bool:
    """Mark every account, then take the bars that closed; say whether something was learned.

    ``paid_N`` is what every expert earned in the bar that closed, if one did; ``posterior_K`` moves
    on with the filter.
    """
    numbers, earned_N, position_N = borrow(numbers), borrow(earned_N), borrow(position_N)
    bars_M3, filter_state = borrow(bars_M3), borrow(filter_state)
    memory, state_KP, next_KK = open_memory(borrow(row)), borrow(state_KP), borrow(next_KK)
    mark_step(numbers, earned_N, position_N, mid)
    is_paid = close_step(memory, numbers, earned_N, position_N, bars_M3[:, 0], borrow(paid_N))
    for m in range(bars_M3.shape[0]):
        filter_step(
            numbers_N,
            state_KP,
            next_KK,
            level_M2,
            offset_O2,
            filter_state,
            bars_M3[m],
            posterior_K,
        )
    return bool(is_paid)


@njit
def close_step(
    memory: ChainMemory,
    numbers: Floats,
    earned_N: Floats,
    position_N: Ints,
    return_M: Floats,
    paid_N: Floats,
) -> bool:
    """Pay and teach for the one bar that closed, then move the scale on; say whether it taught.

    Bars without a decision teach nothing: what an expert would have held is unknown.
    """
    is_paid = False
    if return_M.shape[0] > 1:
        rest_step(earned_N, position_N)
    elif return_M.shape[0] == 1 and settle_step(numbers, earned_N, paid_N):
        learn_step(memory, paid_N)
        is_paid = True
    for m in range(return_M.shape[0]):
        scale_step(numbers, return_M[m])
    return is_paid


@njit
def gather_step(
    posterior_K: Given,
    score_A: Given,
    may_ask_N: Flags,
    is_scored: bool,
    filtered_K: Floats,
    seen_K: Floats,
    score_N: Floats,
    awake_N: Flags,
) -> tuple[bool, int]:
    """Write what the chain reads; say whether somebody fell asleep or woke, and who is awake.

    A posterior that is not finite is replaced by the filter's own.
    """
    is_finite, is_changed, awake_agents = True, False, 0
    for k in range(posterior_K.shape[0]):
        is_finite = is_finite and np.isfinite(posterior_K[k])
    for k in range(posterior_K.shape[0]):
        seen_K[k] = posterior_K[k] if is_finite else filtered_K[k]
    for i in range(awake_N.shape[0]):
        is_awake = bool(may_ask_N[i]) if i < may_ask_N.shape[0] else True
        if i < score_A.shape[0]:
            score_N[i] = score_A[i] if is_scored else 0.0
            awake_agents += is_awake
        is_changed = is_changed or is_awake != awake_N[i]
        awake_N[i] = is_awake
    return is_changed, awake_agents


@njit
def follow_step(
    row: Floats,
    rules: Floats,
    posterior_K: Given,
    score_A: Given,
    may_ask_N: Flags,
    filtered_K: Floats,
    seen_K: Floats,
    score_N: Floats,
    awake_N: Flags,
    tracked: Floats,
    posterior_WK: Floats,
    reported_W: Floats,
    out: Floats,
) -> tuple[bool, bool, int]:
    """Gather, report the regime of a new bar, weigh where something changed, write the weighing.

    ``out`` takes weights (N,), skills (N,), shares (J,) and candidates (J, N), one after the other.
    Returns whether it weighed, whether the cap could be kept, and how many agents are awake.
    """
    count = awake_N.shape[0]
    seen_K, score_N, awake_N, out = borrow(seen_K), borrow(score_N), borrow(awake_N), borrow(out)
    posterior_WK = borrow(posterior_WK)
    is_changed, awake_agents = gather_step(
        posterior_K,
        score_A,
        may_ask_N,
        rules[IS_SCORED] > 0.0,
        filtered_K,
        seen_K,
        score_N,
        awake_N,
    )
    is_new_bar = rules[IS_NEW_BAR] > 0.0
    if is_new_bar:
        track_step(
            tracked,
            posterior_WK,
            reported_W,
            seen_K,
            rules[THRESHOLD],
            rules[CRISIS_LEVEL],
            int(rules[CRISIS]),
        )
    if not (is_new_bar or is_changed):
        return False, False, awake_agents
    rules[IS_NEW_BAR] = 0.0
    memory = open_memory(borrow(row))
    is_feasible = weigh_step(memory, seen_K, score_N, awake_N, out[count : 2 * count])
    write_weighing(memory, out)
    return True, is_feasible, awake_agents
