"""Candles, tickers and aggregated trades as the venue's JSON, in either dialect."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from daemon.simulated import venue_errors
from daemon.simulated.order_request import integer
from daemon.simulated.spot_listings import is_spot, spot_price, spot_quantity
from daemon.simulated.tape import MINUTE_MS, Candle
from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.wire_text import price_wire, quantity_wire
from kernels.units import Instrument, from_e8

Document = dict[str, object]
DAY_MS = 86_400_000
ROWS_DEFAULT = 500
ROWS_MAX = 1_000
INTERVALS_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1_440,
}


def klines_document(market: VenueMarket, parameters: Mapping[str, str]) -> list[list[object]]:
    """Render klines of ``interval`` (-1120), the newest ``limit`` of ``startTime`` .. ``endTime``.

    With ``startTime`` the oldest ones, as the venue does.
    """
    if not parameters.get("interval"):
        raise venue_errors.missing("interval")
    minutes = INTERVALS_MINUTES.get(parameters["interval"])
    if minutes is None:
        raise venue_errors.VenueError(-1120, "Invalid interval.")
    limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
    start_ms = integer(parameters, "startTime", 0)
    end_ms = integer(parameters, "endTime", 2**62)
    interval_ms = minutes * MINUTE_MS
    candles = [c for c in market.tape.rows(interval_ms) if start_ms <= c.open_ms <= end_ms]
    chosen = candles[:limit] if start_ms else candles[max(0, len(candles) - limit) :]
    return [_kline_row(market.instrument, candle, interval_ms) for candle in chosen]


def _kline_row(instrument: Instrument, candle: Candle, interval_ms: int) -> list[object]:
    return [
        candle.open_ms,
        _price(instrument, candle.open_ticks),
        _price(instrument, candle.high_ticks),
        _price(instrument, candle.low_ticks),
        _price(instrument, candle.close_ticks),
        _quantity(instrument, candle.lots),
        candle.open_ms + interval_ms - 1,
        from_e8(candle.quote_e8),
        candle.count,
        _quantity(instrument, candle.taker_buy_lots),
        from_e8(candle.taker_buy_quote_e8),
        "0",
    ]


def kline_event(instrument: Instrument, candle: Candle, now_ms: int) -> Document:
    """Render the kline event of one minute; it is final once its minute is over."""
    close_ms = candle.open_ms + MINUTE_MS - 1
    return {
        "e": "kline",
        "E": now_ms,
        "s": instrument.venue_id,
        "k": {
            "t": candle.open_ms,
            "T": close_ms,
            "s": instrument.venue_id,
            "i": "1m",
            "f": candle.first_id or -1,
            "L": candle.last_id or -1,
            "o": _price(instrument, candle.open_ticks),
            "c": _price(instrument, candle.close_ticks),
            "h": _price(instrument, candle.high_ticks),
            "l": _price(instrument, candle.low_ticks),
            "v": _quantity(instrument, candle.lots),
            "n": candle.count,
            "x": now_ms > close_ms,
            "q": from_e8(candle.quote_e8),
            "V": _quantity(instrument, candle.taker_buy_lots),
            "Q": from_e8(candle.taker_buy_quote_e8),
            "B": "0",
        },
    }


def mini_ticker_event(instrument: Instrument, day: Candle, now_ms: int) -> Document:
    """Render 24hrMiniTicker."""
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": instrument.venue_id,
        "c": _price(instrument, day.close_ticks),
        "o": _price(instrument, day.open_ticks),
        "h": _price(instrument, day.high_ticks),
        "l": _price(instrument, day.low_ticks),
        "v": _quantity(instrument, day.lots),
        "q": from_e8(day.quote_e8),
    }


def day_document(market: VenueMarket, now_ms: int) -> Document:
    """Render ticker/24hr; before the first trade the mid stands for every price."""
    instrument = market.instrument
    mark = market.mark_ticks
    day = market.tape.whole_day(now_ms) or Candle(
        open_ms=now_ms, open_ticks=mark, high_ticks=mark, low_ticks=mark, close_ticks=mark
    )
    change_ticks = day.close_ticks - day.open_ticks
    average_ticks = mark
    if day.lots:
        average_ticks = day.quote_e8 // (day.lots * instrument.tick_lot_quote_e8)
    percent = 100 * change_ticks / day.open_ticks if day.open_ticks else 0.0
    last_lots = market.trades[-1][0].quantity_lots if market.trades else 0
    document: Document = {
        "symbol": instrument.venue_id,
        "priceChange": _price(instrument, change_ticks),
        "priceChangePercent": f"{percent:.3f}",
        "weightedAvgPrice": _price(instrument, average_ticks),
        "lastPrice": _price(instrument, day.close_ticks),
        "lastQty": _quantity(instrument, last_lots),
        "openPrice": _price(instrument, day.open_ticks),
        "highPrice": _price(instrument, day.high_ticks),
        "lowPrice": _price(instrument, day.low_ticks),
        "volume": _quantity(instrument, day.lots),
        "quoteVolume": from_e8(day.quote_e8),
        "openTime": max(day.open_ms, now_ms - DAY_MS),
        "closeTime": now_ms,
        "firstId": day.first_id or -1,
        "lastId": day.last_id or -1,
        "count": day.count,
    }
    if is_spot(instrument.symbol):
        bid_ticks, bid_lots, ask_ticks, ask_lots = market.book.best()
        document |= {
            "prevClosePrice": _price(instrument, day.open_ticks),
            "bidPrice": _price(instrument, bid_ticks),
            "bidQty": _quantity(instrument, bid_lots),
            "askPrice": _price(instrument, ask_ticks),
            "askQty": _quantity(instrument, ask_lots),
        }
    return document


def aggregates_document(market: VenueMarket, parameters: Mapping[str, str]) -> list[Document]:
    """Render aggTrades: the newest ``limit``, oldest first."""
    limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
    newest = list(islice(reversed(market.tape.aggregates), limit))
    return [
        {name: value for name, value in event.items() if name not in ("e", "E", "s")}
        for event in reversed(newest)
    ]


def _price(instrument: Instrument, ticks: int) -> str:
    if is_spot(instrument.symbol):
        return spot_price(instrument, ticks)
    return price_wire(instrument, ticks)


def _quantity(instrument: Instrument, lots: int) -> str:
    if is_spot(instrument.symbol):
        return spot_quantity(instrument, lots)
    return quantity_wire(instrument, lots)
