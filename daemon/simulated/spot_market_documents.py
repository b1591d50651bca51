"""Public spot market state as the venue's JSON documents."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from daemon.simulated import venue_errors
from daemon.simulated.spot_listings import (
    NOTIONAL_MAX_QUOTE,
    NOTIONAL_MIN_QUOTE,
    PRICE_FACTOR_MAX,
    QUOTE_ASSET,
    base_asset,
    spot_price,
    spot_quantity,
)
from daemon.simulated.spot_request import SpotOrderType
from daemon.simulated.spot_stops import STOP_ORDERS_MAX
from daemon.simulated.spot_streams import spot_rows
from daemon.simulated.venue_market import RESTING_ORDERS_MAX, VenueMarket
from kernels.events import Side, Trade
from kernels.units import E8, Instrument, from_e8, to_e8

Document = dict[str, object]
AVERAGE_MINUTES = 5
PRICE_TICKS_MAX = 10**8
_NAMES = msgspec.json.Decoder(list[str])


def symbol_names(text: str) -> list[str]:
    """Read a JSON list of pairs, as in ``["BTCUSDT"]`` (-1100)."""
    try:
        return _NAMES.decode(text)
    except msgspec.DecodeError:
        raise venue_errors.illegal_characters("symbols", '["BTCUSDT","BNBUSDT"]') from None


def exchange_document(
    instruments: Iterable[Instrument], now_ms: int, rate_limits: list[Document]
) -> Document:
    """Render exchangeInfo."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": rate_limits,
        "exchangeFilters": [],
        "symbols": [_symbol_document(instrument) for instrument in instruments],
    }


def _symbol_document(instrument: Instrument) -> Document:
    return {
        "symbol": instrument.venue_id,
        "status": "TRADING",
        "baseAsset": base_asset(instrument),
        "baseAssetPrecision": 8,
        "quoteAsset": QUOTE_ASSET,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [order_type.value for order_type in SpotOrderType],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_TAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER"],
    }


def _filters(instrument: Instrument) -> list[Document]:
    factor_up, factor_down = str(PRICE_FACTOR_MAX), from_e8(E8 // PRICE_FACTOR_MAX).rstrip("0")
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": spot_price(instrument, 1),
            "maxPrice": spot_price(instrument, PRICE_TICKS_MAX),
            "tickSize": spot_price(instrument, 1),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": spot_quantity(instrument, instrument.lots_min),
            "maxQty": spot_quantity(instrument, instrument.lots_max),
            "stepSize": spot_quantity(instrument, 1),
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": factor_up,
            "bidMultiplierDown": factor_down,
            "askMultiplierUp": factor_up,
            "askMultiplierDown": factor_down,
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": from_e8(to_e8(NOTIONAL_MIN_QUOTE)),
            "applyMinToMarket": True,
            "maxNotional": from_e8(to_e8(NOTIONAL_MAX_QUOTE)),
            "applyMaxToMarket": False,
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": RESTING_ORDERS_MAX},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": STOP_ORDERS_MAX},
    ]


def depth_document(market: VenueMarket, limit: int) -> Document:
    """Render the order book, best levels first."""
    return {
        "lastUpdateId": market.book.last_update_id,
        "bids": spot_rows(market.instrument, market.book.levels(Side.BUY, limit)),
        "asks": spot_rows(market.instrument, market.book.levels(Side.SELL, limit)),
    }


def book_ticker_document(market: VenueMarket) -> Document:
    """Render best bid and ask, from the quote stream when it has spoken, else from the book."""
    bid_ticks, bid_lots, ask_ticks, ask_lots = market.book.best()
    quote = market.quote
    if quote is not None and quote.update_id >= market.book.last_update_id:
        bid_ticks, bid_lots = quote.bid_ticks, quote.bid_lots
        ask_ticks, ask_lots = quote.ask_ticks, quote.ask_lots
    return {
        "symbol": market.instrument.venue_id,
        "bidPrice": spot_price(market.instrument, bid_ticks),
        "bidQty": spot_quantity(market.instrument, bid_lots),
        "askPrice": spot_price(market.instrument, ask_ticks),
        "askQty": spot_quantity(market.instrument, ask_lots),
    }


def price_document(market: VenueMarket) -> Document:
    """Render the price of the newest trade, before the first the average price."""
    price = from_e8(market.mark_e8)
    if market.trades:
        price = spot_price(market.instrument, market.trades[-1][0].price_ticks)
    return {"symbol": market.instrument.venue_id, "price": price}


def average_document(market: VenueMarket, now_ms: int) -> Document:
    """Render avgPrice; the mid, a second old at most, stands for the average of five minutes."""
    return {"mins": AVERAGE_MINUTES, "price": from_e8(market.mark_e8), "closeTime": now_ms}


def trades_document(market: VenueMarket, limit: int, from_id: int | None = None) -> list[Document]:
    """Render public trades, oldest first: the newest, or from an id on as far back as is kept."""
    if from_id is None:
        chosen = list(islice(reversed(market.trades), limit))[::-1]
    else:
        chosen = list(islice((row for row in market.trades if row[0].trade_id >= from_id), limit))
    return [_trade_document(market.instrument, *row) for row in chosen]


def _trade_document(instrument: Instrument, trade: Trade, time_ms: int) -> Document:
    return {
        "id": trade.trade_id,
        "price": spot_price(instrument, trade.price_ticks),
        "qty": spot_quantity(instrument, trade.quantity_lots),
        "quoteQty": from_e8(instrument.notional_quote_e8(trade.price_ticks, trade.quantity_lots)),
        "time": time_ms,
        "isBuyerMaker": trade.aggressor is Side.SELL,
        "isBestMatch": True,
    }
