"""What a venue's answer to an order proves: taken, refused, not found - or nothing at all.

Pure. Decided by the venue's numeric code and the HTTP status, never by ccxt's exception class: its
network errors include a wrong timestamp and leave out an unknown execution.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgspec

from daemon.venues.normalize import NS_PER_MS, VENUE_STATUSES, fee_quote_e8, read_side
from daemon.venues.wire import OrderAnswer, UserTradeAnswer
from kernels.events import Fill, OrderStatus, OrderUpdate
from kernels.units import Instrument


class Outcome(IntEnum):
    """What an error proves about the request that met it."""

    REFUSED = 0
    UNKNOWN = 1
    NOT_FOUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A failed request: ``code`` is the venue's (0: none), ``http_status`` 0 without an answer."""

    outcome: Outcome
    code: int
    http_status: int
    reason: str


OVERLOADED_CODE = -1008
"""Refused by the venue's own throttle: the one 5XX that is documented not to have executed."""

NOT_FOUND_CODES = frozenset({-2011, -2013})
"""Cancel refused because unknown; order does not exist."""

UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007, -4116})
"""Unknown error, internal disconnect, unexpected answer, backend time-out; and a duplicate client
order id, which we never send on purpose: an order under this id exists, so ask about it."""

_NEVER_EXECUTED_STATUSES = frozenset({403, 418, 429})  # firewall, ban, rate limit: turned away


def classify(http_status: int, code: int, reason: str) -> Refusal:
    """Judge an error answer; ``http_status`` 0 means that no answer came.

    Refused needs evidence: a negative code on a 4XX, a turned-away status, or the overload code.
    Everything else is unknown, which counts at full size until the venue is asked.
    """
    if code in NOT_FOUND_CODES:
        outcome = Outcome.NOT_FOUND
    elif code == OVERLOADED_CODE or http_status in _NEVER_EXECUTED_STATUSES:
        outcome = Outcome.REFUSED
    elif code in UNKNOWN_CODES or not 400 <= http_status < 500 or http_status == 408 or code >= 0:
        outcome = Outcome.UNKNOWN
    else:
        outcome = Outcome.REFUSED
    return Refusal(outcome=outcome, code=code, http_status=http_status, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """One order as a REST answer describes it."""

    instrument: int
    venue_order_id: int
    client_order_id: str
    status: OrderStatus
    event_ns: int
    price_ticks: int
    quantity_lots: int
    filled_lots: int


def read_order(answer: object, instrument: Instrument) -> VenueOrder | None:
    """Read a REST order answer as ccxt parsed it; None when it does not describe an order.

    A 200 with a truncated body gives None: the fate of that order is unknown.
    """
    try:
        words = msgspec.convert(answer, OrderAnswer, strict=False)
        status = VENUE_STATUSES[words.status]
        if words.symbol != instrument.venue_id or not words.clientOrderId:
            return None
        return VenueOrder(
            instrument=instrument.index,
            venue_order_id=words.orderId,
            client_order_id=words.clientOrderId,
            status=status,
            event_ns=words.updateTime * NS_PER_MS,
            price_ticks=instrument.price_ticks(words.price),
            quantity_lots=instrument.quantity_lots(words.origQty),
            filled_lots=instrument.quantity_lots(words.executedQty),
        )
    except (msgspec.ValidationError, KeyError, ValueError):
        return None


def to_update(order: VenueOrder, received_ns: int, reason: str) -> OrderUpdate:
    """Say what a REST answer proved as the event that the engine folds."""
    return OrderUpdate(
        instrument=order.instrument,
        event_ns=order.event_ns,
        received_ns=received_ns,
        client_order_id=order.client_order_id,
        status=order.status,
        filled_lots=order.filled_lots,
        code=0,
        reason=reason,
    )


def read_fill(
    row: object, instrument: Instrument, client_order_id: str, received_ns: int
) -> tuple[int, Fill]:
    """Read one userTrades row into (venue order id, fill); ValueError when it is malformed."""
    words = msgspec.convert(row, UserTradeAnswer, strict=False)  # its error is a ValueError
    if words.symbol != instrument.venue_id:
        raise ValueError(f"trade of {words.symbol[:20]!r} among those of {instrument.venue_id}")
    price_ticks = instrument.price_ticks(words.price)
    quantity_lots = instrument.quantity_lots(words.qty)
    fill = Fill(
        instrument=instrument.index,
        event_ns=words.time * NS_PER_MS,
        received_ns=received_ns,
        client_order_id=client_order_id,
        trade_id=words.id,
        side=read_side(words.side),
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
        fee_quote_e8=fee_quote_e8(
            instrument,
            words.commission,
            words.commissionAsset,
            price_ticks,
            quantity_lots,
            words.maker,
        ),
        is_maker=words.maker,
    )
    return words.orderId, fill
