"""The open bar: middle of the touch as price, trades as volume, epoch-aligned intervals.

A bar covers [index * interval, (index + 1) * interval) of our own receive time. Its open is the
first middle inside it, or the last close where no quote came; so a bar without quotes is flat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.feature_slots import (
    BAR_HIGH,
    BAR_INDEX,
    BAR_INTERVAL_NS,
    BAR_LOW,
    BAR_NOTIONAL,
    BAR_OPEN,
    BAR_ORDER_FLOW_LOTS,
    BAR_QUOTES,
    BAR_SIGNED_LOTS,
    BAR_SPREAD_SUM_BPS,
    BAR_VOLUME_LOTS,
    CATCH_UP_BARS_MAX,
)
from kernels.jit import njit


@njit
def bar_of(state: NDArray[np.float64], now_ns: int) -> int:
    """Return the index of the bar that contains this time."""
    return int(now_ns // int(state[BAR_INTERVAL_NS]))


@njit
def bars_due(state: NDArray[np.float64], now_ns: int) -> int:
    """Return how many bars ended by now and are still open; the first call only starts the count.

    After a silence of more than CATCH_UP_BARS_MAX bars the index jumps forward, so that at most
    that many are due. A time before the open bar gives 0: what arrives late belongs to the bar that
    is open.
    """
    now_index = bar_of(state, now_ns)
    if state[BAR_INDEX] < 0.0:
        state[BAR_INDEX] = now_index
        return 0
    due = now_index - int(state[BAR_INDEX])
    if due > CATCH_UP_BARS_MAX:
        state[BAR_INDEX] += due - CATCH_UP_BARS_MAX
        due = CATCH_UP_BARS_MAX
    return max(due, 0)


@njit
def bar_price(
    state: NDArray[np.float64], mid_ticks: float, spread_bps: float, order_flow_lots: float
) -> None:
    """Count one quote into the open bar."""
    if state[BAR_QUOTES] == 0.0:
        state[BAR_OPEN] = mid_ticks
        state[BAR_HIGH] = mid_ticks
        state[BAR_LOW] = mid_ticks
    else:
        state[BAR_HIGH] = max(state[BAR_HIGH], mid_ticks)
        state[BAR_LOW] = min(state[BAR_LOW], mid_ticks)
    state[BAR_QUOTES] += 1.0
    state[BAR_SPREAD_SUM_BPS] += spread_bps
    state[BAR_ORDER_FLOW_LOTS] += order_flow_lots


@njit
def bar_trade(
    state: NDArray[np.float64], price_ticks: float, quantity_lots: float, aggressor_sign: float
) -> None:
    """Count one trade into the open bar."""
    state[BAR_VOLUME_LOTS] += quantity_lots
    state[BAR_SIGNED_LOTS] += aggressor_sign * quantity_lots
    state[BAR_NOTIONAL] += price_ticks * quantity_lots


@njit
def next_bar(state: NDArray[np.float64]) -> None:
    """Open the following bar, empty."""
    state[BAR_INDEX] += 1.0
    state[BAR_QUOTES] = 0.0
    state[BAR_VOLUME_LOTS] = 0.0
    state[BAR_SIGNED_LOTS] = 0.0
    state[BAR_NOTIONAL] = 0.0
    state[BAR_ORDER_FLOW_LOTS] = 0.0
    state[BAR_SPREAD_SUM_BPS] = 0.0
