"""Our orders and what is proven about each: a transition table and the exposure still at stake.

Two sources speak about one order, in any order and more than once: the answer to the request and
the user stream. Statuses say what the venue claims, fills say what moved the position; an order is
settled when it is terminal *and* every claimed lot has arrived as a fill. Until then the difference
counts as working, so that no limit can be passed through the gap between the two.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import IntEnum

from kernels.events import (
    TERMINAL_STATUSES,
    Fill,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
)
from risk.views import WorkingOrder, WorkingView
from risk.working_tally import WorkingTally

_S = OrderStatus

TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.INTENT: frozenset({_S.SENT, _S.REJECTED}),
    _S.SENT: frozenset(set(_S) - {_S.INTENT, _S.SENT, _S.PENDING_CANCEL}),
    _S.UNKNOWN: frozenset(set(_S) - {_S.INTENT, _S.SENT, _S.UNKNOWN, _S.PENDING_CANCEL}),
    _S.WORKING: frozenset({_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, *TERMINAL_STATUSES}),
    _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, *TERMINAL_STATUSES}),
    _S.PENDING_CANCEL: TERMINAL_STATUSES,  # a cancel that failed is asked again, never forgotten
    _S.FILLED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.EXPIRED: frozenset(),
}
"""Every legal change of status; nothing else in the program changes one."""

_STALE_NEWS: frozenset[OrderStatus] = frozenset(
    {_S.SENT, _S.UNKNOWN, _S.WORKING, _S.PARTIALLY_FILLED}
)
"""Statuses that a slower channel may still report after the order has gone further."""

_MAY_REST: frozenset[OrderStatus] = frozenset(
    {_S.SENT, _S.WORKING, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL}
)

SETTLED_KEPT = 1024
"""Settled orders remembered, so that late or doubled news about them is recognised."""


TRADES_KEPT = 4096
"""Executions remembered, so that each is booked once."""

COUNTED = ("sent", "filled", "partially_filled", "cancelled", "rejected", "expired", "unknown")
"""Names of ``OrderTable.counts``; an order that ended early with some fills is partially filled."""


class Applied(IntEnum):
    """What a piece of news did to the table."""

    CHANGED = 0
    REPEATED = 1
    FOREIGN = 2
    ILLEGAL = 3


@dataclass(slots=True, kw_only=True)
class TrackedOrder:
    """One order of ours: the intent, its status and the lots claimed and seen."""

    client_order_id: str
    intent: OrderIntent
    status: OrderStatus
    status_ns: int
    sent_ns: int
    claimed_lots: int = 0
    seen_lots: int = 0
    cancel_requested_ns: int = 0
    queried_ns: int = 0
    amended_ns: int = 0

    @property
    def at_stake_lots(self) -> int:
        """Lots that may still move the position."""
        if self.status in TERMINAL_STATUSES:
            return max(self.claimed_lots - self.seen_lots, 0)
        return max(self.intent.quantity_lots - self.seen_lots, 0)

    @property
    def resting_ticks(self) -> int:
        """Price at which the order may rest in the book, 0 where it cannot or nobody knows."""
        may_rest = self.intent.order_type is not OrderType.IOC
        return self.intent.price_ticks if may_rest and self.status in _MAY_REST else 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can come of this order."""
        return self.status in TERMINAL_STATUSES and self.seen_lots >= self.claimed_lots


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """All that the table remembers; the orders are the live ones, so write it out at once."""

    open_orders: list[TrackedOrder]
    settled: list[TrackedOrder]
    trades: list[tuple[int, int]]
    counts: dict[str, int]


class OrderTable:
    """All orders of one run, and the per-instrument exposure of those not settled."""

    def __init__(self, instrument_count: int) -> None:
        """Start empty."""
        self._instrument_count = instrument_count
        self._tally = WorkingTally(instrument_count)
        self._open: dict[str, TrackedOrder] = {}
        self._settled: OrderedDict[str, TrackedOrder] = OrderedDict()
        self._trades: OrderedDict[tuple[int, int], None] = OrderedDict()
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)

    def add(self, client_order_id: str, intent: OrderIntent, sent_ns: int) -> None:
        """Track an approved order from the moment its sending is ordered; it counts at once."""
        assert client_order_id not in self._open, client_order_id
        order = TrackedOrder(
            client_order_id=client_order_id,
            intent=intent,
            status=OrderStatus.SENT,
            status_ns=sent_ns,
            sent_ns=sent_ns,
        )
        self._open[client_order_id] = order
        self._settle(order)
        self.counts["sent"] += 1

    def get(self, client_order_id: str) -> TrackedOrder | None:
        """Find an order, open or recently settled."""
        return self._open.get(client_order_id) or self._settled.get(client_order_id)

    def open_orders(self, instrument: int | None = None) -> list[TrackedOrder]:
        """List what is not settled, oldest first."""
        return [
            order
            for order in self._open.values()
            if instrument is None or order.intent.instrument == instrument
        ]

    def begin_cancel(self, order: TrackedOrder, now_ns: int) -> None:
        """Note that a cancel of an order leaves now; one that does not rest keeps its status."""
        order.cancel_requested_ns = now_ns
        if OrderStatus.PENDING_CANCEL in TRANSITIONS[order.status]:
            order.status = OrderStatus.PENDING_CANCEL
            order.status_ns = now_ns

    def apply_update(self, update: OrderUpdate) -> Applied:
        """Fold a status; an illegal change keeps the old status and is reported."""
        order = self.get(update.client_order_id)
        if order is None:
            return Applied.FOREIGN
        whole = order.intent.quantity_lots
        claimed = whole if update.status is OrderStatus.FILLED else update.filled_lots
        claims_more = claimed > order.claimed_lots
        if claims_more:
            order.claimed_lots = claimed
        if update.status is order.status and not claims_more:
            return Applied.REPEATED
        if update.status not in TRANSITIONS[order.status]:
            late = update.status in _STALE_NEWS or update.status is order.status
            self._settle(order)
            return Applied.REPEATED if late else Applied.ILLEGAL
        order.status = update.status
        order.status_ns = update.received_ns
        self._count(update.status, order)
        self._settle(order)
        return Applied.CHANGED

    def apply_fill(self, fill: Fill) -> Applied:
        """Fold an execution once; a repeated trade id changes nothing."""
        key = (fill.instrument, fill.trade_id)
        if key in self._trades:
            return Applied.REPEATED
        self._trades[key] = None
        if len(self._trades) > TRADES_KEPT:
            self._trades.popitem(last=False)
        order = self.get(fill.client_order_id)
        if order is None:
            return Applied.FOREIGN
        order.seen_lots += fill.quantity_lots
        self._settle(order)
        if order.seen_lots > order.intent.quantity_lots:
            return Applied.ILLEGAL
        return Applied.CHANGED

    def lift(self, order: TrackedOrder) -> None:
        """Leave an order out of what is at stake while the gate judges it at another price."""
        self._tally.remove(order.client_order_id)

    def put_back(self, order: TrackedOrder, price_ticks: int | None, now_ns: int) -> None:
        """Count a lifted order again, at a new price if it was moved."""
        if price_ticks is not None:
            order.intent = replace(order.intent, price_ticks=price_ticks)
            order.amended_ns = now_ns
        self._settle(order)

    def working_view(self) -> WorkingView:
        """Give what is at stake per instrument and side, as the gate counts it; a living view."""
        return self._tally.view

    @property
    def state(self) -> TableState:
        """Give all that the table remembers."""
        return TableState(
            open_orders=list(self._open.values()),
            settled=list(self._settled.values()),
            trades=list(self._trades),
            counts=dict(self.counts),
        )

    def restore(self, state: TableState) -> None:
        """Take over what another table remembered, with its orders."""
        self._open = {order.client_order_id: order for order in state.open_orders}
        self._settled = OrderedDict((order.client_order_id, order) for order in state.settled)
        self._trades = OrderedDict.fromkeys(state.trades)
        self.counts = dict(state.counts)
        self._tally = WorkingTally(self._instrument_count)
        for order in state.open_orders:
            self._settle(order)

    def _settle(self, order: TrackedOrder) -> None:
        """Move an order to where it belongs now and count what of it is at stake."""
        name = order.client_order_id
        if order.is_settled:
            self._tally.remove(name)
            if self._open.pop(name, None) is not None:
                self._settled[name] = order
                if len(self._settled) > SETTLED_KEPT:
                    self._settled.popitem(last=False)
            return
        if self._settled.pop(name, None) is not None:
            self._open[name] = order  # a late claim: its lots are at stake again
        self._tally.put(
            name,
            WorkingOrder(
                instrument=order.intent.instrument,
                side=order.intent.side,
                remaining_lots=order.at_stake_lots,
                reduce_only=order.intent.reduce_only,
                is_unknown=order.status is OrderStatus.UNKNOWN,
                resting_ticks=order.resting_ticks,
            ),
        )

    def _count(self, status: OrderStatus, order: TrackedOrder) -> None:
        if status is OrderStatus.UNKNOWN:
            self.counts["unknown"] += 1
        elif status is OrderStatus.REJECTED:
            self.counts["rejected"] += 1
        elif status is OrderStatus.FILLED:
            self.counts["filled"] += 1
        elif status in (OrderStatus.CANCELLED, OrderStatus.EXPIRED):
            if order.claimed_lots > 0:
                self.counts["partially_filled"] += 1
            self.counts["cancelled" if status is OrderStatus.CANCELLED else "expired"] += 1
