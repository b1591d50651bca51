"""Sliding windows over bars in O(1) worst case: summaries of three blocks, merged.

One record summarises a stretch of bars: every windowed statistic of the features at once. A window
of n bars is cut into blocks of h = n // 2. At any bar it is (the end of the block before last) +
(the whole last block) + (the beginning of this block). Summaries of endings are built backwards,
one a bar, while the next block fills: so each bar costs four merges, whatever n is; nothing is
subtracted, so nothing drifts. Until n bars were seen the window is as long as what was seen.

A window's stretch of the state: n, h, two spare entries, then records: beginning of this block,
whole last block, result, and twice h endings (one set in use, one being built).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.feature_slots import INPUTS_AT, LONG_BARS, SCRATCH
from kernels.jit import njit
from kernels.rings import ring_slot
from kernels.rolling import merged_fourth, merged_mean, merged_second, merged_third

# What one bar contributes, as it is kept in the ring of inputs. Prices are natural logarithms
# relative to the anchor, returns logarithmic.
IN_PRICE = 0
IN_RETURN = 1
IN_RETURN_BEFORE = 2
IN_RETURN_5 = 3
IN_RETURN_20 = 4
IN_RANGE = 5
IN_BODY = 6
IN_HIGH = 7
IN_LOW = 8
IN_VOLUME = 9
IN_SIGNED = 10
IN_NOTIONAL = 11
IN_ORDER_FLOW = 12
IN_SPREAD = 13
IN_INDEX = 14
IN_WIDTH = 15

# The record. MEAN_x: mean; SECOND_x, THIRD_x, FOURTH_x: sums of powers of deviations; CROSS_x_y:
# sum of products of deviations.
MEAN_PRICE = 0
SECOND_PRICE = 1
CROSS_TIME_PRICE = 2
MEAN_RETURN = 3
SECOND_RETURN = 4
THIRD_RETURN = 5
FOURTH_RETURN = 6
MEAN_BEFORE = 7
SECOND_BEFORE = 8
CROSS_BEFORE_RETURN = 9
MEAN_SIZE = 10
SECOND_SIZE = 11
MEAN_SIZE_BEFORE = 12
SECOND_SIZE_BEFORE = 13
CROSS_SIZE_SIZE = 14
MEAN_RETURN_5 = 15
SECOND_RETURN_5 = 16
MEAN_RETURN_20 = 17
SECOND_RETURN_20 = 18
MEAN_VOLUME = 19
SECOND_VOLUME = 20
MEAN_SIGNED = 21
SECOND_SIGNED = 22
CROSS_SIGNED_RETURN = 23
MEAN_ORDER_FLOW = 24
SECOND_ORDER_FLOW = 25
CROSS_ORDER_FLOW_RETURN = 26
MEAN_SPREAD = 27
SECOND_SPREAD = 28
SUM_FIRST = 29
SUM_BIPOWER = 29
SUM_DOWN_SQUARES = 30
SUM_RANGE_SQUARES = 31
SUM_GARMAN_KLASS = 32
SUM_UP = 33
SUM_NOTIONAL = 34
SUM_END = 35
HIGHEST = 35
HIGHEST_INDEX = 36
LOWEST = 37
LOWEST_INDEX = 38
CLOSE_HIGHEST = 39
CLOSE_LOWEST = 40
FALL_LARGEST = 41
SIZE_LARGEST = 42
WIDTH = 43

GARMAN_KLASS_BODY = 2.0 * 0.6931471805599453 - 1.0

WINDOW_HEADER = 4


def window_size(bars: int) -> int:
    """Return how many entries of the state a window of this many bars takes; at least 2 bars."""
    if bars < 2:
        raise ValueError(f"a window needs at least 2 bars, not {bars}")
    return WINDOW_HEADER + WIDTH * (3 + 2 * (bars // 2))


@njit
def result_of(window_at: int) -> int:
    """Return the offset of a window's result record."""
    return window_at + WINDOW_HEADER + 2 * WIDTH


@njit
def copy_record(state: NDArray[np.float64], source: int, target: int) -> None:
    """Copy one record."""
    for i in range(WIDTH):
        state[target + i] = state[source + i]


@njit
def single_record(state: NDArray[np.float64], bar_at: int, out: int) -> None:
    """Write the record of one bar from its inputs at ``bar_at``."""
    for i in range(SUM_FIRST):
        state[out + i] = 0.0
    price = state[bar_at + IN_PRICE]
    change = state[bar_at + IN_RETURN]
    before = state[bar_at + IN_RETURN_BEFORE]
    body = state[bar_at + IN_BODY]
    range_square = state[bar_at + IN_RANGE] * state[bar_at + IN_RANGE]
    state[out + MEAN_PRICE] = price
    state[out + MEAN_RETURN] = change
    state[out + MEAN_BEFORE] = before
    state[out + MEAN_SIZE] = abs(change)
    state[out + MEAN_SIZE_BEFORE] = abs(before)
    state[out + MEAN_RETURN_5] = state[bar_at + IN_RETURN_5]
    state[out + MEAN_RETURN_20] = state[bar_at + IN_RETURN_20]
    state[out + MEAN_VOLUME] = state[bar_at + IN_VOLUME]
    state[out + MEAN_SIGNED] = state[bar_at + IN_SIGNED]
    state[out + MEAN_ORDER_FLOW] = state[bar_at + IN_ORDER_FLOW]
    state[out + MEAN_SPREAD] = state[bar_at + IN_SPREAD]
    state[out + SUM_BIPOWER] = abs(change) * abs(before)
    state[out + SUM_DOWN_SQUARES] = change * change if change < 0.0 else 0.0
    state[out + SUM_RANGE_SQUARES] = range_square
    state[out + SUM_GARMAN_KLASS] = 0.5 * range_square - GARMAN_KLASS_BODY * body * body
    state[out + SUM_UP] = 1.0 if change > 0.0 else (0.5 if change == 0.0 else 0.0)
    state[out + SUM_NOTIONAL] = state[bar_at + IN_NOTIONAL]
    state[out + HIGHEST] = state[bar_at + IN_HIGH]
    state[out + HIGHEST_INDEX] = state[bar_at + IN_INDEX]
    state[out + LOWEST] = state[bar_at + IN_LOW]
    state[out + LOWEST_INDEX] = state[bar_at + IN_INDEX]
    state[out + CLOSE_HIGHEST] = price
    state[out + CLOSE_LOWEST] = price
    state[out + FALL_LARGEST] = 0.0
    state[out + SIZE_LARGEST] = abs(change)


@njit
def _merge_mean_second(
    state: NDArray[np.float64],
    a: int,
    count_a: float,
    b: int,
    count_b: float,
    out: int,
    field: int,
) -> float:
    """Merge a mean and, right behind it, its second moment; return the step between means."""
    mean_a = state[a + field]
    step = state[b + field] - mean_a
    state[out + field + 1] = merged_second(
        state[a + field + 1], state[b + field + 1], step, step, count_a, count_b
    )
    state[out + field] = merged_mean(mean_a, mean_a + step, count_a, count_b)
    return float(step)


@njit
def _merge_cross(
    state: NDArray[np.float64],
    a: int,
    count_a: float,
    b: int,
    count_b: float,
    out: int,
    field: int,
    product: float,
) -> None:
    """Merge a cross moment; ``product`` is the product of the two steps between means."""
    state[out + field] = merged_second(
        state[a + field], state[b + field], product, 1.0, count_a, count_b
    )


@njit
def _merge_returns(
    state: NDArray[np.float64], a: int, count_a: float, b: int, count_b: float, out: int
) -> float:
    """Merge four moments of the return; return the step between means."""
    step = state[b + MEAN_RETURN] - state[a + MEAN_RETURN]
    second_a = state[a + SECOND_RETURN]
    second_b = state[b + SECOND_RETURN]
    third_a = state[a + THIRD_RETURN]
    third_b = state[b + THIRD_RETURN]
    state[out + FOURTH_RETURN] = merged_fourth(
        state[a + FOURTH_RETURN],
        state[b + FOURTH_RETURN],
        third_a,
        third_b,
        second_a,
        second_b,
        step,
        count_a,
        count_b,
    )
    state[out + THIRD_RETURN] = merged_third(
        third_a, third_b, second_a, second_b, step, count_a, count_b
    )
    return _merge_mean_second(state, a, count_a, b, count_b, out, MEAN_RETURN)


@njit
def _merge_extremes(state: NDArray[np.float64], a: int, b: int, out: int) -> None:
    """Merge highs, lows and the largest fall; of equal extremes the newer one counts."""
    fall = state[a + CLOSE_HIGHEST] - state[b + CLOSE_LOWEST]
    state[out + FALL_LARGEST] = max(fall, max(state[a + FALL_LARGEST], state[b + FALL_LARGEST]))
    state[out + CLOSE_HIGHEST] = max(state[a + CLOSE_HIGHEST], state[b + CLOSE_HIGHEST])
    state[out + CLOSE_LOWEST] = min(state[a + CLOSE_LOWEST], state[b + CLOSE_LOWEST])
    state[out + SIZE_LARGEST] = max(state[a + SIZE_LARGEST], state[b + SIZE_LARGEST])
    newer = b if state[b + HIGHEST] >= state[a + HIGHEST] else a
    state[out + HIGHEST_INDEX] = state[newer + HIGHEST_INDEX]
    state[out + HIGHEST] = state[newer + HIGHEST]
    newer = b if state[b + LOWEST] <= state[a + LOWEST] else a
    state[out + LOWEST_INDEX] = state[newer + LOWEST_INDEX]
    state[out + LOWEST] = state[newer + LOWEST]


@njit
def merge_records(
    state: NDArray[np.float64], a: int, bars_a: int, b: int, bars_b: int, out: int
) -> None:
    """Write the record of stretch a followed by stretch b; ``out`` may be a. Both not empty."""
    na = float(bars_a)
    nb = float(bars_b)
    step = _merge_mean_second(state, a, na, b, nb, out, MEAN_PRICE)
    _merge_cross(state, a, na, b, nb, out, CROSS_TIME_PRICE, step * 0.5 * (na + nb))
    step_return = _merge_returns(state, a, na, b, nb, out)
    step = _merge_mean_second(state, a, na, b, nb, out, MEAN_BEFORE)
    _merge_cross(state, a, na, b, nb, out, CROSS_BEFORE_RETURN, step * step_return)
    step_size = _merge_mean_second(state, a, na, b, nb, out, MEAN_SIZE)
    step = _merge_mean_second(state, a, na, b, nb, out, MEAN_SIZE_BEFORE)
    _merge_cross(state, a, na, b, nb, out, CROSS_SIZE_SIZE, step * step_size)
    _merge_mean_second(state, a, na, b, nb, out, MEAN_RETURN_5)
    _merge_mean_second(state, a, na, b, nb, out, MEAN_RETURN_20)
    _merge_mean_second(state, a, na, b, nb, out, MEAN_VOLUME)
    step = _merge_mean_second(state, a, na, b, nb, out, MEAN_SIGNED)
    _merge_cross(state, a, na, b, nb, out, CROSS_SIGNED_RETURN, step * step_return)
    step = _merge_mean_second(state, a, na, b, nb, out, MEAN_ORDER_FLOW)
    _merge_cross(state, a, na, b, nb, out, CROSS_ORDER_FLOW_RETURN, step * step_return)
    _merge_mean_second(state, a, na, b, nb, out, MEAN_SPREAD)
    for field in range(SUM_FIRST, SUM_END):
        state[out + field] = state[a + field] + state[b + field]
    _merge_extremes(state, a, b, out)


@njit
def slide_window(state: NDArray[np.float64], window_at: int, index: int, single_at: int) -> None:
    """Move a window on by one bar and write its result record.

    ``index`` counts the window's bars from 0, ``single_at`` is the record of this bar, whose inputs
    are already in the ring at this index. The result covers the last min(index + 1, n) bars.
    """
    bars = int(state[window_at])
    half = int(state[window_at + 1])
    at = index % half
    block = index // half
    beginning = window_at + WINDOW_HEADER
    whole = beginning + WIDTH
    result = whole + WIDTH
    endings = result + WIDTH
    if at == 0:
        copy_record(state, beginning, whole)
        copy_record(state, single_at, beginning)
    else:
        merge_records(state, beginning, at, single_at, 1, beginning)
    if block > 0:
        slot = half - 1 - at
        bar_at = ring_slot(
            int(state[INPUTS_AT]), int(state[LONG_BARS]), IN_WIDTH, (block - 1) * half + slot
        )
        ending = endings + (((block + 1) % 2) * half + slot) * WIDTH
        if at == 0:
            single_record(state, bar_at, ending)
        else:
            single_record(state, bar_at, SCRATCH)
            merge_records(state, SCRATCH, 1, ending + WIDTH, at, ending)
    left = bars - half - at - 1
    if block == 0:
        copy_record(state, beginning, result)
    elif block > 1 and left > 0:
        ending = endings + ((block % 2) * half + half - left) * WIDTH
        merge_records(state, ending, left, whole, half, result)
        merge_records(state, result, left + half, beginning, at + 1, result)
    else:
        merge_records(state, whole, half, beginning, at + 1, result)
