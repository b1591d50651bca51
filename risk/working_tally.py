"""Sums of the living orders, kept as they change: no review has to count them again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kernels.events import Side
from risk.views import (
    BUY_LOTS,
    REDUCE_BUY_LOTS,
    RESTING_BUY_TICKS,
    RESTING_SELL_TICKS,
    SELL_LOTS,
    UNKNOWN_COUNT,
    WORKING_COLUMNS,
    WorkingOrder,
    WorkingView,
)

LOTS_BOUND = 2**55
"""An order counts as so many lots at most, far above every limit, so that no sum overflows."""


class WorkingTally:
    """Living orders by client order id, and their sums; ``view`` stays the same, living object."""

    __slots__ = ("_orders", "_table_NC", "view")

    def __init__(self, instrument_count: int) -> None:
        """Start without orders."""
        self._orders: dict[str, WorkingOrder] = {}
        self._table_NC = np.zeros((instrument_count, WORKING_COLUMNS), dtype=np.int64)
        self.view = WorkingView(table_NC=self._table_NC)

    def put(self, client_order_id: str, order: WorkingOrder) -> None:
        """Count an order, or count it anew."""
        before = self._orders.get(client_order_id)
        if before == order:
            return
        if before is not None:
            self.remove(client_order_id)
        self._orders[client_order_id] = order
        self._add(order, 1)
        if order.resting_ticks:
            self._meet(order)

    def remove(self, client_order_id: str) -> None:
        """Count an order no longer; one that is not counted changes nothing."""
        order = self._orders.pop(client_order_id, None)
        if order is None:
            return
        self._add(order, -1)
        if order.resting_ticks:
            self._table_NC[order.instrument, _best_column(order)] = 0
            for other in self._orders.values():
                meets = other.instrument == order.instrument and other.side is order.side
                if meets and other.resting_ticks:
                    self._meet(other)

    def _add(self, order: WorkingOrder, sign: int) -> None:
        row = self._table_NC[order.instrument]
        total = BUY_LOTS if order.side is Side.BUY else SELL_LOTS
        lots = sign * min(order.remaining_lots, LOTS_BOUND)
        row[total] += lots
        if order.reduce_only:
            row[total + REDUCE_BUY_LOTS] += lots
        if order.is_unknown:
            row[UNKNOWN_COUNT] += sign

    def _meet(self, order: WorkingOrder) -> None:
        """Let the price of an order that rests count, where it is the nearest of its side."""
        row, column = self._table_NC[order.instrument], _best_column(order)
        held = row[column]
        if not held or int(order.side) * (order.resting_ticks - held) > 0:
            row[column] = order.resting_ticks


def tally(instrument_count: int, orders: Iterable[WorkingOrder]) -> WorkingView:
    """Sum living orders from the start."""
    sums = WorkingTally(instrument_count)
    for number, order in enumerate(orders):
        sums.put(str(number), order)
    return sums.view


def _best_column(order: WorkingOrder) -> int:
    return RESTING_BUY_TICKS if order.side is Side.BUY else RESTING_SELL_TICKS
