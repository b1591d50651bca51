"""Public market state as the venue's JSON documents: REST answers and derived streams."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from daemon.simulated.accounts import MAINTENANCE_E8
from daemon.simulated.conditional_orders import CONDITIONAL_ORDERS_MAX
from daemon.simulated.listings import find_listing
from daemon.simulated.order_desk import COLLAR_PERCENT
from daemon.simulated.order_request import ConditionalType, VenueOrderType, decimal_places
from daemon.simulated.venue_market import RESTING_ORDERS_MAX, VenueMarket
from daemon.simulated.wire_text import ASSET, decimal_text, price_wire, quantity_wire
from kernels.events import Side, Trade
from kernels.matching import TimeInForce
from kernels.units import E8, Instrument, from_e8

Document = dict[str, object]

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
ONBOARD_MS = 1_569_398_400_000
FUNDING_INTERVAL_MS = 8 * 3_600_000
FUNDING_RATE_E8 = E8 // 10_000
"""Funding per interval: the interest component of 0.01 % alone, as the premium is zero here."""

DEPTH_LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1000})
DEPTH_LIMIT_DEFAULT = 500


def next_funding_ms(now_ms: int) -> int:
    """Return the next 00:00, 08:00 or 16:00 UTC after ``now_ms``."""
    return (now_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS


def exchange_document(
    instruments: Iterable[Instrument], now_ms: int, rate_limits: list[Document]
) -> Document:
    """Render exchangeInfo."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": rate_limits,
        "exchangeFilters": [],
        "assets": [{"asset": ASSET, "marginAvailable": True, "autoAssetExchange": "0"}],
        "symbols": [_symbol_document(instrument) for instrument in instruments],
    }


def _symbol_document(instrument: Instrument) -> Document:
    listing = find_listing(instrument.venue_id)
    lot_filter = {
        "minQty": quantity_wire(instrument, instrument.lots_min),
        "maxQty": quantity_wire(instrument, instrument.lots_max),
        "stepSize": listing.lot_size,
    }
    return {
        "symbol": instrument.venue_id,
        "pair": instrument.venue_id,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_DELIVERY_MS,
        "onboardDate": ONBOARD_MS,
        "status": "TRADING",
        "maintMarginPercent": decimal_text(MAINTENANCE_E8 * 100, 4),
        "requiredMarginPercent": "5.0000",
        "baseAsset": listing.base,
        "quoteAsset": ASSET,
        "marginAsset": ASSET,
        "pricePrecision": decimal_places(listing.tick_size),
        "quantityPrecision": decimal_places(listing.lot_size),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": decimal_text(COLLAR_PERCENT * E8 // 100, 2),
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "tickSize": listing.tick_size,
                "minPrice": listing.tick_size,
                "maxPrice": price_wire(instrument, 2**31),
            },
            {"filterType": "LOT_SIZE", **lot_filter},
            {"filterType": "MARKET_LOT_SIZE", **lot_filter},
            {"filterType": "MAX_NUM_ORDERS", "limit": RESTING_ORDERS_MAX},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": CONDITIONAL_ORDERS_MAX},
            {"filterType": "MIN_NOTIONAL", "notional": listing.notional_min_quote},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": decimal_text((100 + COLLAR_PERCENT) * E8 // 100, 4),
                "multiplierDown": decimal_text((100 - COLLAR_PERCENT) * E8 // 100, 4),
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [each.value for each in (*VenueOrderType, *ConditionalType)],
        "timeInForce": [each.name for each in TimeInForce],
    }


def currencies_document() -> list[Document]:
    """Render the wallet service's list of currencies, which a client with keys loads first."""
    return [
        {
            "coin": ASSET,
            "name": "TetherUS",
            "trading": True,
            "isLegalMoney": False,
            "depositAllEnable": False,
            "withdrawAllEnable": False,
            "free": "0",
            "locked": "0",
            "networkList": [],
        }
    ]


def level_rows(instrument: Instrument, levels_n2: NDArray[np.int64]) -> list[list[str]]:
    """Render rows of (ticks, lots) as the wire's pairs of decimal strings."""
    listing = find_listing(instrument.venue_id)
    price_decimals = decimal_places(listing.tick_size)
    lot_decimals = decimal_places(listing.lot_size)
    tick_e8, lot_e8 = instrument.tick_size_e8, instrument.lot_size_e8
    return [
        [decimal_text(ticks * tick_e8, price_decimals), decimal_text(lots * lot_e8, lot_decimals)]
        for ticks, lots in levels_n2.tolist()
    ]


def depth_document(market: VenueMarket, limit: int, now_ms: int) -> Document:
    """Render the order book, best levels first."""
    return {
        "lastUpdateId": market.book.last_update_id,
        "E": now_ms,
        "T": now_ms,
        "bids": level_rows(market.instrument, market.book.levels(Side.BUY, limit)),
        "asks": level_rows(market.instrument, market.book.levels(Side.SELL, limit)),
    }


def book_ticker_document(market: VenueMarket, now_ms: int) -> Document:
    """Render best bid and ask, from the quote stream when it has spoken, else from the book."""
    bid_ticks, bid_lots, ask_ticks, ask_lots = market.book.best()
    update_id = market.book.last_update_id
    quote = market.quote
    if quote is not None and quote.update_id >= update_id:
        bid_ticks, bid_lots = quote.bid_ticks, quote.bid_lots
        ask_ticks, ask_lots = quote.ask_ticks, quote.ask_lots
        update_id = quote.update_id
    return {
        "symbol": market.instrument.venue_id,
        "bidPrice": price_wire(market.instrument, bid_ticks),
        "bidQty": quantity_wire(market.instrument, bid_lots),
        "askPrice": price_wire(market.instrument, ask_ticks),
        "askQty": quantity_wire(market.instrument, ask_lots),
        "time": now_ms,
        "lastUpdateId": update_id,
    }


def price_document(market: VenueMarket, now_ms: int) -> Document:
    """Render the price of the newest trade, before the first the mark price."""
    ticks = market.last_ticks
    price = price_wire(market.instrument, ticks)
    return {"symbol": market.instrument.venue_id, "price": price, "time": now_ms}


def premium_document(market: VenueMarket, now_ms: int) -> Document:
    """Render premiumIndex: mark price and funding."""
    mark = from_e8(market.mark_e8)
    return {
        "symbol": market.instrument.venue_id,
        "markPrice": mark,
        "indexPrice": mark,
        "estimatedSettlePrice": mark,
        "lastFundingRate": from_e8(FUNDING_RATE_E8),
        "interestRate": from_e8(FUNDING_RATE_E8),
        "nextFundingTime": next_funding_ms(now_ms),
        "time": now_ms,
    }


def mark_event(market: VenueMarket, now_ms: int) -> Document:
    """Render markPriceUpdate."""
    mark = from_e8(market.mark_e8)
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": market.instrument.venue_id,
        "p": mark,
        "ap": mark,
        "P": mark,
        "i": mark,
        "r": from_e8(FUNDING_RATE_E8),
        "T": next_funding_ms(now_ms),
    }


def trades_document(market: VenueMarket, limit: int, from_id: int | None = None) -> list[Document]:
    """Render public trades, oldest first: the newest, or from an id on as far back as is kept."""
    instrument = market.instrument
    if from_id is None:
        chosen = list(islice(reversed(market.trades), limit))[::-1]
    else:
        later = (row for row in market.trades if row[0].trade_id >= from_id)
        chosen = list(islice(later, limit))
    return [_trade_document(instrument, trade, time_ms) for trade, time_ms in chosen]


def _trade_document(instrument: Instrument, trade: Trade, time_ms: int) -> Document:
    return {
        "id": trade.trade_id,
        "price": price_wire(instrument, trade.price_ticks),
        "qty": quantity_wire(instrument, trade.quantity_lots),
        "quoteQty": from_e8(instrument.notional_quote_e8(trade.price_ticks, trade.quantity_lots)),
        "time": time_ms,
        "isBuyerMaker": trade.aggressor is Side.SELL,
    }
