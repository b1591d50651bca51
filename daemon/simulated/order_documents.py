"""Orders and executions as the venue's JSON documents: REST answers and user-stream events."""

from __future__ import annotations

from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.venue_order import VenueFill, VenueOrder
from daemon.simulated.wire_text import ASSET, average_price_wire, price_wire, quantity_wire
from kernels.events import Side
from kernels.units import Instrument, from_e8

Document = dict[str, object]


def order_document(order: VenueOrder, instrument: Instrument) -> Document:
    """Render one order as REST answers it (placing, querying, cancelling, listing)."""
    request = order.request
    filled = quantity_wire(instrument, order.filled_lots)
    return {
        "orderId": order.order_id,
        "symbol": instrument.venue_id,
        "status": order.status,
        "clientOrderId": request.client_order_id,
        "price": price_wire(instrument, request.price_ticks),
        "avgPrice": average_price_wire(order.filled_notional_e8, order.filled_lots, instrument),
        "origQty": quantity_wire(instrument, order.quantity_lots),
        "executedQty": filled,
        "cumQty": filled,
        "cumQuote": from_e8(order.filled_notional_e8),
        "timeInForce": request.time_in_force.name,
        "type": request.order_type.value,
        "reduceOnly": request.reduce_only,
        "closePosition": False,
        "side": request.side.name,
        "positionSide": "BOTH",
        "stopPrice": "0.00",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": request.order_type.value,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "goodTillDate": 0,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
    }


def order_event(
    order: VenueOrder,
    market: VenueMarket,
    execution_type: str,
    now_ms: int,
    record: VenueFill | None = None,
) -> Document:
    """Render ORDER_TRADE_UPDATE; ``record`` is the execution when the type is TRADE."""
    instrument = market.instrument
    request = order.request
    detail: Document = {
        "s": instrument.venue_id,
        "c": request.client_order_id,
        "S": request.side.name,
        "o": request.order_type.value,
        "f": request.time_in_force.name,
        "q": quantity_wire(instrument, order.quantity_lots),
        "p": price_wire(instrument, request.price_ticks),
        "ap": average_price_wire(order.filled_notional_e8, order.filled_lots, instrument),
        "sp": "0",
        "x": execution_type,
        "X": order.status,
        "i": order.order_id,
        "l": "0",
        "z": quantity_wire(instrument, order.filled_lots),
        "L": "0",
        "T": now_ms,
        "t": 0,
        "b": "0",
        "a": "0",
        "m": False,
        "R": request.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": request.order_type.value,
        "ps": "BOTH",
        "cp": False,
        "rp": "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_TAKER",
        "pm": "NONE",
        "gtd": 0,
    }
    if record is not None:
        fill = record.fill
        detail |= {
            "l": quantity_wire(instrument, fill.quantity_lots),
            "L": price_wire(instrument, fill.price_ticks),
            "n": from_e8(fill.fee_quote_e8),
            "N": ASSET,
            "t": fill.trade_id,
            "m": fill.is_maker,
            "rp": from_e8(record.realised_e8),
        }
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": detail}


def user_trade_document(record: VenueFill, instrument: Instrument) -> Document:
    """Render one execution as the userTrades call answers it."""
    fill = record.fill
    return {
        "symbol": instrument.venue_id,
        "id": fill.trade_id,
        "orderId": record.order_id,
        "side": fill.side.name,
        "price": price_wire(instrument, fill.price_ticks),
        "qty": quantity_wire(instrument, fill.quantity_lots),
        "realizedPnl": from_e8(record.realised_e8),
        "quoteQty": from_e8(instrument.notional_quote_e8(fill.price_ticks, fill.quantity_lots)),
        "commission": from_e8(fill.fee_quote_e8),
        "commissionAsset": ASSET,
        "time": record.time_ms,
        "positionSide": "BOTH",
        "buyer": fill.side is Side.BUY,
        "maker": fill.is_maker,
    }
