"""The record of a window of bars, computed from the bars themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import feature_windows as win

Floats = NDArray[np.float64]


def naive_record(bars_ni: Floats) -> Floats:
    """Return the record of rows of inputs, every statistic by its definition."""
    out = np.zeros(win.WIDTH)
    series = {
        win.MEAN_PRICE: bars_ni[:, win.IN_PRICE],
        win.MEAN_RETURN: bars_ni[:, win.IN_RETURN],
        win.MEAN_BEFORE: bars_ni[:, win.IN_RETURN_BEFORE],
        win.MEAN_SIZE: np.abs(bars_ni[:, win.IN_RETURN]),
        win.MEAN_SIZE_BEFORE: np.abs(bars_ni[:, win.IN_RETURN_BEFORE]),
        win.MEAN_RETURN_5: bars_ni[:, win.IN_RETURN_5],
        win.MEAN_RETURN_20: bars_ni[:, win.IN_RETURN_20],
        win.MEAN_VOLUME: bars_ni[:, win.IN_VOLUME],
        win.MEAN_SIGNED: bars_ni[:, win.IN_SIGNED],
        win.MEAN_ORDER_FLOW: bars_ni[:, win.IN_ORDER_FLOW],
        win.MEAN_SPREAD: bars_ni[:, win.IN_SPREAD],
    }
    centred = {at: x - np.mean(x) for at, x in series.items()}
    for at, x in series.items():
        out[at] = np.mean(x)
        out[at + win.MEANS] = np.sum(centred[at] ** 2)
    time = np.arange(len(bars_ni)) - (len(bars_ni) - 1) / 2
    change = centred[win.MEAN_RETURN]
    out[win.THIRD_RETURN] = np.sum(change**3)
    out[win.FOURTH_RETURN] = np.sum(change**4)
    out[win.CROSS_TIME_PRICE] = np.sum(time * centred[win.MEAN_PRICE])
    out[win.CROSS_BEFORE_RETURN] = np.sum(centred[win.MEAN_BEFORE] * change)
    out[win.CROSS_SIZE_SIZE] = np.sum(centred[win.MEAN_SIZE] * centred[win.MEAN_SIZE_BEFORE])
    out[win.CROSS_SIGNED_RETURN] = np.sum(centred[win.MEAN_SIGNED] * change)
    out[win.CROSS_ORDER_FLOW_RETURN] = np.sum(centred[win.MEAN_ORDER_FLOW] * change)
    raw, before = bars_ni[:, win.IN_RETURN], bars_ni[:, win.IN_RETURN_BEFORE]
    span, body = bars_ni[:, win.IN_RANGE], bars_ni[:, win.IN_BODY]
    out[win.SUM_BIPOWER] = np.sum(np.abs(raw) * np.abs(before))
    out[win.SUM_DOWN_SQUARES] = np.sum(np.minimum(raw, 0.0) ** 2)
    out[win.SUM_RANGE_SQUARES] = np.sum(span**2)
    out[win.SUM_GARMAN_KLASS] = np.sum(span**2 / 2 - win.GARMAN_KLASS_BODY * body**2)
    out[win.SUM_UP] = np.sum(raw > 0) + np.sum(raw == 0) / 2
    out[win.SUM_NOTIONAL] = np.sum(bars_ni[:, win.IN_NOTIONAL])
    highs, lows = bars_ni[:, win.IN_HIGH], bars_ni[:, win.IN_LOW]
    out[win.HIGHEST], out[win.LOWEST] = np.max(highs), np.min(lows)
    out[win.HIGHEST_INDEX] = bars_ni[np.flatnonzero(highs == np.max(highs))[-1], win.IN_INDEX]
    out[win.LOWEST_INDEX] = bars_ni[np.flatnonzero(lows == np.min(lows))[-1], win.IN_INDEX]
    price = bars_ni[:, win.IN_PRICE]
    out[win.CLOSE_HIGHEST], out[win.CLOSE_LOWEST] = np.max(price), np.min(price)
    out[win.FALL_LARGEST] = np.max(np.maximum.accumulate(price) - price)
    out[win.SIZE_LARGEST] = np.max(np.abs(raw))
    return out


def natural_scale(bars_ni: Floats) -> Floats:
    """Return the size that each field's rounding error is measured against.

    Means and extremes: the largest input; sums of powers and products: as many times the largest
    deviations multiplied.
    """
    count = len(bars_ni)
    largest = np.max(np.abs(bars_ni), axis=0)
    scale = np.full(win.WIDTH, 1.0)

    def spread(of: int) -> float:
        return 2 * float(largest[of])

    pairs = (
        (win.MEAN_PRICE, win.IN_PRICE),
        (win.MEAN_RETURN, win.IN_RETURN),
        (win.MEAN_BEFORE, win.IN_RETURN_BEFORE),
        (win.MEAN_SIZE, win.IN_RETURN),
        (win.MEAN_SIZE_BEFORE, win.IN_RETURN_BEFORE),
        (win.MEAN_RETURN_5, win.IN_RETURN_5),
        (win.MEAN_RETURN_20, win.IN_RETURN_20),
        (win.MEAN_VOLUME, win.IN_VOLUME),
        (win.MEAN_SIGNED, win.IN_SIGNED),
        (win.MEAN_ORDER_FLOW, win.IN_ORDER_FLOW),
        (win.MEAN_SPREAD, win.IN_SPREAD),
    )
    for field, column in pairs:
        scale[field] = largest[column]
        scale[field + win.MEANS] = count * spread(column) ** 2
    change = spread(win.IN_RETURN)
    scale[win.THIRD_RETURN] = count * change**3
    scale[win.FOURTH_RETURN] = count * change**4
    squared = [win.IN_RETURN, win.IN_RETURN_BEFORE, win.IN_RANGE, win.IN_BODY]
    scale[win.SUM_BIPOWER : win.SUM_UP] = count * float(np.max(largest[squared])) ** 2
    scale[win.SUM_NOTIONAL] = count * largest[win.IN_NOTIONAL]
    scale[win.CROSS_TIME_PRICE] = count**2 * spread(win.IN_PRICE)
    scale[win.CROSS_BEFORE_RETURN] = count * spread(win.IN_RETURN_BEFORE) * change
    scale[win.CROSS_SIZE_SIZE] = scale[win.CROSS_BEFORE_RETURN]
    scale[win.CROSS_SIGNED_RETURN] = count * spread(win.IN_SIGNED) * change
    scale[win.CROSS_ORDER_FLOW_RETURN] = count * spread(win.IN_ORDER_FLOW) * change
    return scale
