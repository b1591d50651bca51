"""Tables of the order desk: what is noted, what trips, and when an order is asked about. Pure."""

from __future__ import annotations

from daemon.order_table import TrackedOrder
from kernels.events import TERMINAL_STATUSES, CommandName, OrderStatus
from risk.breaker import Trigger

SENT_PATIENCE = 5
"""An order without any answer is asked about after this many query intervals."""

ASKED_ABOUT = TERMINAL_STATUSES | {OrderStatus.UNKNOWN, OrderStatus.PENDING_CANCEL}
"""An order in one of these that is not settled is asked about after one query interval."""

NOTES_BY_STATUS: dict[OrderStatus, str] = {
    OrderStatus.WORKING: "order_acknowledged",
    OrderStatus.CANCELLED: "order_cancelled",
    OrderStatus.REJECTED: "order_rejected",
    OrderStatus.EXPIRED: "order_expired",
    OrderStatus.UNKNOWN: "order_unknown",
}

TRIGGERS_BY_COMMAND: dict[CommandName, Trigger] = {
    CommandName.HALT: Trigger.OPERATOR_HALT,
    CommandName.REDUCE: Trigger.OPERATOR_REDUCE,
    CommandName.RESUME: Trigger.OPERATOR_RESUME,
    CommandName.CANCEL: Trigger.OPERATOR_CANCEL,
    CommandName.FLATTEN: Trigger.OPERATOR_FLATTEN,
}


EXPECTED_REJECTIONS = frozenset({-5022})
"""Codes that are no sign of trouble: a post-only order would have taken, as the touch moved."""


def wants_query(order: TrackedOrder, now_ns: int, query_ns: int) -> bool:
    """Say whether to ask about an order that is not proven; questions are ``query_ns`` apart."""
    if order.status is OrderStatus.SENT:
        patience_ns = query_ns * SENT_PATIENCE
    elif order.status in ASKED_ABOUT:
        patience_ns = query_ns
    else:
        return False
    return now_ns - max(order.status_ns, order.queried_ns) >= patience_ns
