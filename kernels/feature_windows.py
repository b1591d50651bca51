"""Sliding windows over bars in O(1) worst case: summaries of three blocks, merged.

One record summarises a stretch of bars: every windowed statistic of the features at once. A window
of n bars is cut into blocks of h = n // 2. At any bar it is (the end of the block before last) +
(the last block and what came of this one). Summaries of endings are built backwards, one a bar,
while the next block fills; the other part grows forwards. So each bar costs three additions of a
bar and one merge, whatever n is; nothing is subtracted, so nothing drifts. Until n bars were seen
the window is as long as what was seen.

An ending is read once, from the shortest to the longest gone; the new ones are built the other way
round and take their places, mirrored from block to block. So the places written are those read just
before, and long windows stay in the cache.

A window's stretch of the state: n, h, two spare entries, then records: beginning of this block,
last block and this one so far, result, and h endings.

Records and inputs are laid out in runs of equal treatment, and kernels get views of them: their
constant places need no test for negative indices. With all of this a bar of one quote takes 700 ns
in a compiled loop, where four merges and twice the endings took 760.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.feature_slots import INPUTS_AT, LONG_BARS
from kernels.jit import njit
from kernels.rings import ring_slot
from kernels.rolling import merged_fourth, merged_mean, merged_second, merged_third

# What one bar contributes, as it is kept in the ring of inputs. Prices are natural logarithms
# relative to the anchor, returns logarithmic. First what is averaged, then what is summed.
IN_PRICE = 0
IN_RETURN = 1
IN_RETURN_BEFORE = 2
IN_SIZE = 3
IN_SIZE_BEFORE = 4
IN_RETURN_5 = 5
IN_RETURN_20 = 6
IN_VOLUME = 7
IN_SIGNED = 8
IN_ORDER_FLOW = 9
IN_SPREAD = 10
IN_SUMS = 11
IN_BIPOWER = 11
IN_DOWN_SQUARE = 12
IN_RANGE_SQUARE = 13
IN_GARMAN_KLASS = 14
IN_UP = 15
IN_NOTIONAL = 16
IN_RANGE = 17
IN_BODY = 18
IN_HIGH = 19
IN_LOW = 20
IN_INDEX = 21
IN_WIDTH = 22

# The record. MEAN_x: mean, in the order of the inputs; SECOND_x, THIRD_x, FOURTH_x: sums of powers
# of deviations; CROSS_x_y: sum of products of deviations.
MEANS = 11
MEAN_PRICE = 0
MEAN_RETURN = 1
MEAN_BEFORE = 2
MEAN_SIZE = 3
MEAN_SIZE_BEFORE = 4
MEAN_RETURN_5 = 5
MEAN_RETURN_20 = 6
MEAN_VOLUME = 7
MEAN_SIGNED = 8
MEAN_ORDER_FLOW = 9
MEAN_SPREAD = 10
SECOND_PRICE = 11
SECOND_RETURN = 12
SECOND_BEFORE = 13
SECOND_SIZE = 14
SECOND_SIZE_BEFORE = 15
SECOND_RETURN_5 = 16
SECOND_RETURN_20 = 17
SECOND_VOLUME = 18
SECOND_SIGNED = 19
SECOND_ORDER_FLOW = 20
SECOND_SPREAD = 21
THIRD_RETURN = 22
FOURTH_RETURN = 23
CROSS_TIME_PRICE = 24
CROSS_BEFORE_RETURN = 25
CROSS_SIZE_SIZE = 26
CROSS_SIGNED_RETURN = 27
CROSS_ORDER_FLOW_RETURN = 28
SUMS = 6
SUM_FIRST = 29
SUM_BIPOWER = 29
SUM_DOWN_SQUARES = 30
SUM_RANGE_SQUARES = 31
SUM_GARMAN_KLASS = 32
SUM_UP = 33
SUM_NOTIONAL = 34
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

Floats = NDArray[np.float64]


def window_size(bars: int) -> int:
    """Return how many entries of the state a window of this many bars takes; at least 2 bars."""
    if bars < 2:
        raise ValueError(f"a window needs at least 2 bars, not {bars}")
    return WINDOW_HEADER + WIDTH * (3 + bars // 2)


@njit
def result_of(window_at: int) -> int:
    """Return the offset of a window's result record."""
    return window_at + WINDOW_HEADER + 2 * WIDTH


@njit
def copy_record(source: Floats, target: Floats) -> None:
    """Copy one record."""
    for i in range(WIDTH):
        target[i] = source[i]


@njit
def derive_inputs(bar: Floats) -> None:
    """Fill in what follows from a bar's returns, range and body."""
    change = bar[IN_RETURN]
    body = bar[IN_BODY]
    range_square = bar[IN_RANGE] * bar[IN_RANGE]
    bar[IN_SIZE] = abs(change)
    bar[IN_SIZE_BEFORE] = abs(bar[IN_RETURN_BEFORE])
    bar[IN_BIPOWER] = abs(change) * abs(bar[IN_RETURN_BEFORE])
    bar[IN_DOWN_SQUARE] = change * change if change < 0.0 else 0.0
    bar[IN_RANGE_SQUARE] = range_square
    bar[IN_GARMAN_KLASS] = 0.5 * range_square - GARMAN_KLASS_BODY * body * body
    bar[IN_UP] = 1.0 if change > 0.0 else (0.5 if change == 0.0 else 0.0)


@njit
def single_record(bar: Floats, out: Floats) -> None:
    """Write the record of one bar from its inputs."""
    for i in range(MEANS):
        out[i] = bar[i]
    for i in range(MEANS, SUM_FIRST):
        out[i] = 0.0
    for i in range(SUMS):
        out[SUM_FIRST + i] = bar[IN_SUMS + i]
    out[HIGHEST] = bar[IN_HIGH]
    out[HIGHEST_INDEX] = bar[IN_INDEX]
    out[LOWEST] = bar[IN_LOW]
    out[LOWEST_INDEX] = bar[IN_INDEX]
    out[CLOSE_HIGHEST] = bar[IN_PRICE]
    out[CLOSE_LOWEST] = bar[IN_PRICE]
    out[FALL_LARGEST] = 0.0
    out[SIZE_LARGEST] = bar[IN_SIZE]


@njit
def _add_moments(record: Floats, n: float, bar: Floats, lead: float) -> None:
    """Add a bar to means and moments; ``lead`` is its time less the mean time, times n + 1."""
    share = 1.0 / (n + 1.0)
    joint = n * share
    step = bar[IN_RETURN] - record[MEAN_RETURN]
    second = record[SECOND_RETURN]
    third = record[THIRD_RETURN]
    scaled = step * share
    square = scaled * scaled
    record[FOURTH_RETURN] += (
        square * step * step * joint * (n * n - n + 1.0)
        + 6.0 * square * second
        - 4.0 * scaled * third
    )
    record[THIRD_RETURN] = third + square * step * n * (n - 1.0) - 3.0 * scaled * second
    weight = step * joint
    record[CROSS_TIME_PRICE] += (bar[IN_PRICE] - record[MEAN_PRICE]) * lead * joint
    record[CROSS_BEFORE_RETURN] += (bar[IN_RETURN_BEFORE] - record[MEAN_BEFORE]) * weight
    record[CROSS_SIGNED_RETURN] += (bar[IN_SIGNED] - record[MEAN_SIGNED]) * weight
    record[CROSS_ORDER_FLOW_RETURN] += (bar[IN_ORDER_FLOW] - record[MEAN_ORDER_FLOW]) * weight
    step = bar[IN_SIZE] - record[MEAN_SIZE]
    record[CROSS_SIZE_SIZE] += step * (bar[IN_SIZE_BEFORE] - record[MEAN_SIZE_BEFORE]) * joint
    for i in range(MEANS):
        step = bar[i] - record[i]
        record[MEANS + i] += step * step * joint
        record[i] += step * share


@njit
def add_bar(record: Floats, bars: int, bar: Floats, is_newest: bool) -> None:
    """Add one bar to the record of ``bars`` others: behind them or, not newest, before them.

    Of equal extremes the newer one counts.
    """
    n = float(bars)
    _add_moments(record, n, bar, 0.5 * (n + 1.0) if is_newest else -0.5 * (n + 1.0))
    for i in range(SUMS):
        record[SUM_FIRST + i] += bar[IN_SUMS + i]
    price = bar[IN_PRICE]
    high = bar[IN_HIGH]
    low = bar[IN_LOW]
    if is_newest:
        fall = record[CLOSE_HIGHEST] - price
        is_highest = high >= record[HIGHEST]
        is_lowest = low <= record[LOWEST]
    else:
        fall = price - record[CLOSE_LOWEST]
        is_highest = high > record[HIGHEST]
        is_lowest = low < record[LOWEST]
    record[FALL_LARGEST] = max(fall, record[FALL_LARGEST])
    record[CLOSE_HIGHEST] = max(price, record[CLOSE_HIGHEST])
    record[CLOSE_LOWEST] = min(price, record[CLOSE_LOWEST])
    record[SIZE_LARGEST] = max(bar[IN_SIZE], record[SIZE_LARGEST])
    if is_highest:
        record[HIGHEST] = high
        record[HIGHEST_INDEX] = bar[IN_INDEX]
    if is_lowest:
        record[LOWEST] = low
        record[LOWEST_INDEX] = bar[IN_INDEX]


@njit
def _merge_moments(a: Floats, na: float, b: Floats, nb: float, out: Floats) -> None:
    """Merge what is more than a mean and its second moment; means are read, not written."""
    step = b[MEAN_RETURN] - a[MEAN_RETURN]
    out[FOURTH_RETURN] = merged_fourth(
        a[FOURTH_RETURN],
        b[FOURTH_RETURN],
        a[THIRD_RETURN],
        b[THIRD_RETURN],
        a[SECOND_RETURN],
        b[SECOND_RETURN],
        step,
        na,
        nb,
    )
    out[THIRD_RETURN] = merged_third(
        a[THIRD_RETURN], b[THIRD_RETURN], a[SECOND_RETURN], b[SECOND_RETURN], step, na, nb
    )
    step_before = b[MEAN_BEFORE] - a[MEAN_BEFORE]
    out[CROSS_BEFORE_RETURN] = merged_second(
        a[CROSS_BEFORE_RETURN], b[CROSS_BEFORE_RETURN], step_before, step, na, nb
    )
    step_signed = b[MEAN_SIGNED] - a[MEAN_SIGNED]
    out[CROSS_SIGNED_RETURN] = merged_second(
        a[CROSS_SIGNED_RETURN], b[CROSS_SIGNED_RETURN], step_signed, step, na, nb
    )
    step_flow = b[MEAN_ORDER_FLOW] - a[MEAN_ORDER_FLOW]
    out[CROSS_ORDER_FLOW_RETURN] = merged_second(
        a[CROSS_ORDER_FLOW_RETURN], b[CROSS_ORDER_FLOW_RETURN], step_flow, step, na, nb
    )
    out[CROSS_SIZE_SIZE] = merged_second(
        a[CROSS_SIZE_SIZE],
        b[CROSS_SIZE_SIZE],
        b[MEAN_SIZE] - a[MEAN_SIZE],
        b[MEAN_SIZE_BEFORE] - a[MEAN_SIZE_BEFORE],
        na,
        nb,
    )
    out[CROSS_TIME_PRICE] = merged_second(
        a[CROSS_TIME_PRICE],
        b[CROSS_TIME_PRICE],
        b[MEAN_PRICE] - a[MEAN_PRICE],
        0.5 * (na + nb),
        na,
        nb,
    )


@njit
def merge_records(a: Floats, bars_a: int, b: Floats, bars_b: int, out: Floats) -> None:
    """Write the record of stretch a followed by stretch b; both not empty, ``out`` neither."""
    na = float(bars_a)
    nb = float(bars_b)
    _merge_moments(a, na, b, nb, out)
    for i in range(MEANS):
        step = b[i] - a[i]
        out[MEANS + i] = merged_second(a[MEANS + i], b[MEANS + i], step, step, na, nb)
        out[i] = merged_mean(a[i], a[i] + step, na, nb)
    for i in range(SUM_FIRST, SUM_FIRST + SUMS):
        out[i] = a[i] + b[i]
    fall = a[CLOSE_HIGHEST] - b[CLOSE_LOWEST]
    out[FALL_LARGEST] = max(fall, max(a[FALL_LARGEST], b[FALL_LARGEST]))
    out[CLOSE_HIGHEST] = max(a[CLOSE_HIGHEST], b[CLOSE_HIGHEST])
    out[CLOSE_LOWEST] = min(a[CLOSE_LOWEST], b[CLOSE_LOWEST])
    out[SIZE_LARGEST] = max(a[SIZE_LARGEST], b[SIZE_LARGEST])
    is_newer = b[HIGHEST] >= a[HIGHEST]
    out[HIGHEST] = b[HIGHEST] if is_newer else a[HIGHEST]
    out[HIGHEST_INDEX] = b[HIGHEST_INDEX] if is_newer else a[HIGHEST_INDEX]
    is_newer = b[LOWEST] <= a[LOWEST]
    out[LOWEST] = b[LOWEST] if is_newer else a[LOWEST]
    out[LOWEST_INDEX] = b[LOWEST_INDEX] if is_newer else a[LOWEST_INDEX]


@njit
def slide_window(state: Floats, window_at: int, index: int, bar_at: int) -> None:
    """Move a window on by one bar and write its result record.

    ``index`` counts the window's bars from 0, ``bar_at`` is where this bar's inputs stand in the
    ring. The result covers the last min(index + 1, n) bars.
    """
    bars = int(state[window_at])
    half = int(state[window_at + 1])
    block = int(float(index) / float(half))  # exact below 2**52, and cheaper than whole division
    at = index - block * half
    start = window_at + WINDOW_HEADER
    beginning = state[start : start + WIDTH]
    recent = state[start + WIDTH : start + 2 * WIDTH]
    result = state[start + 2 * WIDTH : start + 3 * WIDTH]
    endings = start + 3 * WIDTH
    bar = state[bar_at : bar_at + IN_WIDTH]
    if at == 0:
        copy_record(beginning, recent)
        single_record(bar, beginning)
    else:
        add_bar(beginning, at, bar, True)
    if block == 0:
        copy_record(beginning, result)
        return
    add_bar(recent, half + at, bar, True)
    left = bars - half - at - 1
    is_mirrored = block % 2 == 1
    if block > 1 and left > 0:
        # the ending of the last ``left`` bars of its block; its place is free from now on
        place = left - 1 if is_mirrored else half - left
        ending = state[endings + place * WIDTH : endings + (place + 1) * WIDTH]
        merge_records(ending, left, recent, half + at + 1, result)
    else:
        copy_record(recent, result)
    slot = half - 1 - at
    place = slot if is_mirrored else at
    ending = state[endings + place * WIDTH : endings + (place + 1) * WIDTH]
    old_at = ring_slot(
        int(state[INPUTS_AT]), int(state[LONG_BARS]), IN_WIDTH, (block - 1) * half + slot
    )
    old = state[old_at : old_at + IN_WIDTH]
    if at == 0:
        single_record(old, ending)
    else:
        before = endings + (place + 1 if is_mirrored else place - 1) * WIDTH
        copy_record(state[before : before + WIDTH], ending)
        add_bar(ending, at, old, False)
