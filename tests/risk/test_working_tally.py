"""Sums of living orders: the same kept up as counted from the start, and no overflow."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.events import Side
from risk.views import (
    BUY_LOTS,
    REDUCE_BUY_LOTS,
    REDUCE_SELL_LOTS,
    RESTING_BUY_TICKS,
    RESTING_SELL_TICKS,
    SELL_LOTS,
    UNKNOWN_COUNT,
    WORKING_COLUMNS,
    WorkingOrder,
)
from risk.working_tally import WorkingTally

ORDER = st.builds(
    WorkingOrder,
    instrument=st.integers(0, 1),
    side=st.sampled_from(Side),
    remaining_lots=st.integers(0, 50),
    reduce_only=st.booleans(),
    is_unknown=st.booleans(),
    resting_ticks=st.integers(0, 5),
)
STEP = st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), ORDER))


def counted(orders: list[WorkingOrder]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Count from the start, one question at a time."""
    table_NC = np.zeros((2, WORKING_COLUMNS), np.int64)
    for at in range(2):
        for side, total, reducing, resting, nearest in (
            (Side.BUY, BUY_LOTS, REDUCE_BUY_LOTS, RESTING_BUY_TICKS, max),
            (Side.SELL, SELL_LOTS, REDUCE_SELL_LOTS, RESTING_SELL_TICKS, min),
        ):
            ours = [each for each in orders if each.instrument == at and each.side is side]
            table_NC[at, total] = sum(each.remaining_lots for each in ours)
            table_NC[at, reducing] = sum(each.remaining_lots for each in ours if each.reduce_only)
            prices = [each.resting_ticks for each in ours if each.resting_ticks]
            table_NC[at, resting] = nearest(prices, default=0)
        unknown = [each for each in orders if each.instrument == at and each.is_unknown]
        table_NC[at, UNKNOWN_COUNT] = len(unknown)
    return table_NC


@given(st.lists(STEP, max_size=60))
def test_sums_kept_up_are_sums_counted(steps: list[tuple[str, WorkingOrder | None]]) -> None:
    """After every change the living view is what counting all orders anew gives."""
    sums = WorkingTally(2)
    view = sums.view
    living: dict[str, WorkingOrder] = {}
    for name, order in steps:
        if order is None:
            sums.remove(name)
            living.pop(name, None)
        else:
            sums.put(name, order)
            living[name] = order
        assert sums.view is view
        assert np.array_equal(view.table_NC, counted(list(living.values())))


def test_absurd_orders_do_not_wrap_around() -> None:
    """A hundred orders of more lots than 64 bits hold sum up to a huge positive number."""
    sums = WorkingTally(1)
    for number in range(100):
        order = WorkingOrder(
            instrument=0, side=Side.SELL, remaining_lots=2**70, reduce_only=True, is_unknown=True
        )
        sums.put(str(number), order)
    assert sums.view.table_NC[0, SELL_LOTS] == sums.view.table_NC[0, REDUCE_SELL_LOTS] > 2**60
