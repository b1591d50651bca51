"""One look over the whole account in one compiled call: flat in the number of instruments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from kernels.ledger import (
    DAY_START,
    MARK,
    MARK_NS,
    PEAK,
    POSITION,
    ROW_COUNT,
    TICK_LOT,
    TOTALS_COUNT,
    equity_e8,
)
from risk.views import (
    BUY_LOTS,
    REDUCE_BUY_LOTS,
    REDUCE_SELL_LOTS,
    RESTING_BUY_TICKS,
    RESTING_SELL_TICKS,
    SELL_LOTS,
    UNKNOWN_COUNT,
)

VALUE_BOUND_E8 = 4_000_000_000_000_000_000
"""Values saturate here (4e10 quote): above every limit, and two of them still fit int64."""

NOBODY = -1


class Survey(NamedTuple):
    """What ``survey`` tells of one instrument and of all others together, all int.

    ``others_*_e8`` value the other instruments at their marks with all orders of one side filled:
    gross sums the larger absolute side of each, net the highest and the lowest end. Instruments
    without position and orders count nowhere. ``unmarked`` is the first exposed other instrument
    that never had a mark, ``oldest_mark_ns`` the oldest stamp among the exposed others.
    ``is_whole`` is 0 where the inputs contradict each other; nothing else holds then.
    """

    is_whole: int
    position_lots: int
    buy_lots: int
    sell_lots: int
    unknown_count: int
    resting_buy_ticks: int
    resting_sell_ticks: int
    ledger_mark_ticks: int
    others_gross_e8: int
    others_net_high_e8: int
    others_net_low_e8: int
    unmarked: int
    oldest_mark_ns: int
    equity_e8: int
    day_start_e8: int
    peak_e8: int


@njit
def bounded_value(lots: int, lot_value_e8: int) -> int:
    """Return lots times value, signed, saturating at VALUE_BOUND_E8."""
    estimate = float(lots) * float(lot_value_e8)
    if estimate >= VALUE_BOUND_E8:
        return VALUE_BOUND_E8
    if estimate <= -VALUE_BOUND_E8:
        return -VALUE_BOUND_E8
    return lots * lot_value_e8


@njit
def bounded_sum(one_e8: int, other_e8: int) -> int:
    """Add two bounded values, saturating again."""
    return min(max(one_e8 + other_e8, -VALUE_BOUND_E8), VALUE_BOUND_E8)


@njit
def survey(
    state_S: NDArray[np.int64], table_NC: NDArray[np.int64], instrument: int
) -> tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]:
    """Read ledger and working orders at once; the fields of ``Survey``, in its order."""
    count = table_NC.shape[0]
    is_whole = 1
    if state_S.size != TOTALS_COUNT + ROW_COUNT * count or not 0 <= instrument < count:
        return 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NOBODY, 0, 0, 0, 0
    gross_e8 = 0
    high_e8 = 0
    low_e8 = 0
    unmarked = NOBODY
    oldest_ns = np.int64(2**63 - 1)
    for other in range(count):
        buying = table_NC[other, BUY_LOTS]
        selling = table_NC[other, SELL_LOTS]
        if not (
            0 <= table_NC[other, REDUCE_BUY_LOTS] <= buying
            and 0 <= table_NC[other, REDUCE_SELL_LOTS] <= selling
            and table_NC[other, UNKNOWN_COUNT] >= 0
        ):
            is_whole = 0
        if other == instrument:
            continue
        row = TOTALS_COUNT + other * ROW_COUNT
        highest = state_S[row + POSITION] + buying
        lowest = state_S[row + POSITION] - selling
        if highest == 0 and lowest == 0:
            continue
        if state_S[row + MARK] <= 0 and unmarked == NOBODY:
            unmarked = other
        oldest_ns = min(oldest_ns, state_S[row + MARK_NS])
        lot_e8 = state_S[row + MARK] * state_S[row + TICK_LOT]
        most_e8 = bounded_value(highest, lot_e8)
        least_e8 = bounded_value(lowest, lot_e8)
        gross_e8 = bounded_sum(gross_e8, max(abs(most_e8), abs(least_e8)))
        high_e8 = bounded_sum(high_e8, most_e8)
        low_e8 = bounded_sum(low_e8, least_e8)
    row = TOTALS_COUNT + instrument * ROW_COUNT
    return (
        is_whole,
        state_S[row + POSITION],
        table_NC[instrument, BUY_LOTS],
        table_NC[instrument, SELL_LOTS],
        table_NC[instrument, UNKNOWN_COUNT],
        table_NC[instrument, RESTING_BUY_TICKS],
        table_NC[instrument, RESTING_SELL_TICKS],
        state_S[row + MARK],
        gross_e8,
        high_e8,
        low_e8,
        unmarked,
        int(oldest_ns),
        equity_e8(state_S),
        state_S[DAY_START],
        state_S[PEAK],
    )
