"""Spot orders, executions and balances as the venue's JSON: REST answers and user events."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.simulated.spot_account import Holdings
from daemon.simulated.spot_listings import spot_price, spot_quantity
from daemon.simulated.spot_order import SpotFill, SpotOrder
from daemon.simulated.spot_request import ResponseType
from daemon.simulated.venue_order import WORKING
from kernels.units import Instrument, from_e8

Document = dict[str, object]
SELF_TRADE = "EXPIRE_TAKER"
NO_LIST = -1
NOT_WORKING = -1
"""workingTime of an order that waits for its stop price."""


def _common(order: SpotOrder, instrument: Instrument) -> Document:
    request = order.request
    return {
        "symbol": instrument.venue_id,
        "orderId": order.order_id,
        "orderListId": NO_LIST,
        "clientOrderId": request.client_order_id,
        "price": spot_price(instrument, request.price_ticks),
        "origQty": spot_quantity(instrument, order.quantity_lots),
        "executedQty": spot_quantity(instrument, order.filled_lots),
        "origQuoteOrderQty": from_e8(request.spend_quote_e8),
        "cummulativeQuoteQty": from_e8(order.filled_quote_e8),
        "status": order.status,
        "timeInForce": request.time_in_force_text,
        "type": request.order_type.value,
        "side": request.side.name,
        "selfTradePreventionMode": SELF_TRADE,
    }


def order_document(order: SpotOrder, instrument: Instrument) -> Document:
    """Render one order as queries and lists answer it."""
    return {
        **_common(order, instrument),
        "stopPrice": spot_price(instrument, order.request.stop_ticks),
        "icebergQty": from_e8(0),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": bool(order.working_ms),
        "workingTime": order.working_ms or NOT_WORKING,
    }


def _stop_words(order: SpotOrder, instrument: Instrument) -> Document:
    """Give what the answers about stop orders alone tell."""
    if not order.request.stop_ticks:
        return {}
    return {"stopPrice": spot_price(instrument, order.request.stop_ticks)}


def placed_document(order: SpotOrder, instrument: Instrument) -> Document:
    """Render the answer to a new order, as long as its newOrderRespType asks for."""
    if order.request.response is ResponseType.ACK:
        return {
            "symbol": instrument.venue_id,
            "orderId": order.order_id,
            "orderListId": NO_LIST,
            "clientOrderId": order.request.client_order_id,
            "transactTime": order.created_ms,
        }
    document: Document = {
        **_common(order, instrument),
        **_stop_words(order, instrument),
        "transactTime": order.created_ms,
        "workingTime": order.working_ms or NOT_WORKING,
    }
    if order.request.response is ResponseType.FULL:
        document["fills"] = [
            {
                "price": spot_price(instrument, fill.price_ticks),
                "qty": spot_quantity(instrument, fill.quantity_lots),
                "commission": from_e8(fill.fee_e8),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.trade_id,
            }
            for fill in order.fills
        ]
    return document


def cancelled_document(order: SpotOrder, instrument: Instrument) -> Document:
    """Render the answer to a cancellation; the client id is then that of the request."""
    return {
        **_common(order, instrument),
        **_stop_words(order, instrument),
        "origClientOrderId": order.request.client_order_id,
        "clientOrderId": order.cancel_id,
        "transactTime": order.updated_ms,
    }


def trade_document(fill: SpotFill, instrument: Instrument) -> Document:
    """Render one execution as myTrades answers it."""
    return {
        "symbol": instrument.venue_id,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": NO_LIST,
        "price": spot_price(instrument, fill.price_ticks),
        "qty": spot_quantity(instrument, fill.quantity_lots),
        "quoteQty": from_e8(fill.quote_e8),
        "commission": from_e8(fill.fee_e8),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "isBuyer": fill.is_buy,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def account_document(
    holdings: Holdings, instruments: tuple[Instrument, ...], *, omit_zero: bool
) -> Document:
    """Render the account call; the account's rates are those of its first pair."""
    fees = [(item.maker_fee_frac, item.taker_fee_frac) for item in instruments[:1]] or [(0.0, 0.0)]
    maker_frac, taker_frac = fees[0]
    return {
        "makerCommission": round(maker_frac * 10_000),
        "takerCommission": round(taker_frac * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(maker_frac, taker_frac),
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": holdings.updated_ms,
        "accountType": "SPOT",
        "balances": [
            {
                "asset": asset,
                "free": from_e8(holdings.free_e8[asset]),
                "locked": from_e8(holdings.locked_e8[asset]),
            }
            for asset in holdings.assets
            if not omit_zero or holdings.free_e8[asset] or holdings.locked_e8[asset]
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def commission_document(instrument: Instrument) -> Document:
    """Render account/commission: standard rates, no tax, no discount."""
    return {
        "symbol": instrument.venue_id,
        "standardCommission": _rates(instrument.maker_fee_frac, instrument.taker_fee_frac),
        "specialCommission": _rates(0.0, 0.0),
        "taxCommission": _rates(0.0, 0.0),
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": from_e8(0),
        },
    }


def _rates(maker_frac: float, taker_frac: float) -> Document:
    return {
        "maker": f"{maker_frac:.8f}",
        "taker": f"{taker_frac:.8f}",
        "buyer": from_e8(0),
        "seller": from_e8(0),
    }


def execution_report(
    order: SpotOrder,
    instrument: Instrument,
    execution_type: str,
    now_ms: int,
    fill: SpotFill | None = None,
) -> Document:
    """Render executionReport; ``fill`` is the execution when the type is TRADE."""
    request = order.request
    has_cancel_id = bool(order.cancel_id)
    is_on_book = order.working_ms > 0 and order.status in WORKING
    working_time: Document = {"W": order.working_ms} if order.working_ms else {}
    return {
        "e": "executionReport",
        "E": now_ms,
        "s": instrument.venue_id,
        "c": order.cancel_id if has_cancel_id else request.client_order_id,
        "S": request.side.name,
        "o": request.order_type.value,
        "f": request.time_in_force_text,
        "q": spot_quantity(instrument, order.quantity_lots),
        "p": spot_price(instrument, request.price_ticks),
        "P": spot_price(instrument, request.stop_ticks),
        "F": from_e8(0),
        "g": NO_LIST,
        "C": request.client_order_id if has_cancel_id else "",
        "x": execution_type,
        "X": order.status,
        "r": order.reason,
        "i": order.order_id,
        "l": spot_quantity(instrument, fill.quantity_lots if fill else 0),
        "z": spot_quantity(instrument, order.filled_lots),
        "L": spot_price(instrument, fill.price_ticks if fill else 0),
        "n": from_e8(fill.fee_e8) if fill else "0",
        "N": fill.fee_asset if fill else None,
        "T": now_ms,
        "t": fill.trade_id if fill else -1,
        "I": order.order_id * 2,
        "w": is_on_book and (fill is None or fill.is_maker),
        "m": fill.is_maker if fill else False,
        "M": fill is not None,
        "O": order.created_ms,
        "Z": from_e8(order.filled_quote_e8),
        "Y": from_e8(fill.quote_e8 if fill else 0),
        "Q": from_e8(request.spend_quote_e8),
        **working_time,
        "V": SELF_TRADE,
    }


def balance_event(asset: str, amount_e8: int, now_ms: int) -> Document:
    """Render balanceUpdate: money that came (positive) or went by no trade."""
    return {"e": "balanceUpdate", "E": now_ms, "a": asset, "d": from_e8(amount_e8), "T": now_ms}


def position_event(holdings: Holdings, assets: Iterable[str], now_ms: int) -> Document:
    """Render outboundAccountPosition: the balances that an event may have changed."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [
            {
                "a": asset,
                "f": from_e8(holdings.free_e8[asset]),
                "l": from_e8(holdings.locked_e8[asset]),
            }
            for asset in assets
        ],
    }
