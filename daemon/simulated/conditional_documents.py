"""Conditional orders as the venue's JSON documents: REST answers and the user-stream event."""

from __future__ import annotations

from daemon.simulated.conditional_orders import ConditionalOrder
from daemon.simulated.wire_text import average_price_wire, price_wire, quantity_wire
from kernels.units import Instrument

Document = dict[str, object]


def conditional_document(order: ConditionalOrder, instrument: Instrument) -> Document:
    """Render one conditional order as REST answers it."""
    request = order.request
    plain = request.order
    return {
        "algoId": order.algo_id,
        "clientAlgoId": plain.client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": request.kind.value,
        "symbol": instrument.venue_id,
        "side": plain.side.name,
        "positionSide": "BOTH",
        "timeInForce": plain.time_in_force.name,
        "quantity": _quantity(order, instrument),
        "algoStatus": order.status.value,
        "actualOrderId": str(order.released.order_id) if order.released else "",
        "actualPrice": _average(order, instrument),
        "triggerPrice": price_wire(instrument, request.trigger_ticks),
        "price": price_wire(instrument, plain.price_ticks),
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "workingType": request.price_source.value,
        "priceMatch": "NONE",
        "closePosition": request.is_close,
        "priceProtect": request.is_price_protected,
        "reduceOnly": plain.reduce_only,
        "createTime": order.created_ms,
        "updateTime": order.updated_ms,
        "triggerTime": order.triggered_ms,
        "goodTillDate": 0,
    }


def conditional_event(order: ConditionalOrder, instrument: Instrument, now_ms: int) -> Document:
    """Render ALGO_UPDATE."""
    request = order.request
    plain = request.order
    released = order.released
    filled_lots = released.filled_lots if released else 0
    return {
        "e": "ALGO_UPDATE",
        "E": now_ms,
        "T": now_ms,
        "o": {
            "caid": plain.client_order_id,
            "aid": order.algo_id,
            "at": "CONDITIONAL",
            "o": request.kind.value,
            "s": instrument.venue_id,
            "S": plain.side.name,
            "ps": "BOTH",
            "f": plain.time_in_force.name,
            "q": _quantity(order, instrument),
            "X": order.status.value,
            "ai": str(released.order_id) if released else "",
            "ap": _average(order, instrument),
            "aq": quantity_wire(instrument, filled_lots),
            "act": plain.order_type.value if released else "0",
            "tp": price_wire(instrument, request.trigger_ticks),
            "p": price_wire(instrument, plain.price_ticks),
            "V": "EXPIRE_TAKER",
            "wt": request.price_source.value,
            "pm": "NONE",
            "cp": request.is_close,
            "pP": request.is_price_protected,
            "R": plain.reduce_only,
            "tt": order.triggered_ms,
            "gtd": 0,
            "rm": order.reason,
        },
    }


def _quantity(order: ConditionalOrder, instrument: Instrument) -> str:
    is_open = order.request.is_close
    return quantity_wire(instrument, 0 if is_open else order.request.order.quantity_lots)


def _average(order: ConditionalOrder, instrument: Instrument) -> str:
    released = order.released
    if released is None:
        return "0.00"
    return average_price_wire(released.filled_notional_e8, released.filled_lots, instrument)
