"""An instrument's recent trades summed up: minute candles, day statistics, aggregates.

Minutes are those of the venue's clock. Prices of the day are those since the exchange opened, its
volume is that rate over a whole day.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from kernels.events import Side, Trade
from kernels.units import Instrument

MINUTE_MS = 60_000
CANDLES_KEPT = 1_440
AGGREGATES_KEPT = 1_000
DAY_MS = 86_400_000
AGE_MS_MIN = 1_000


@dataclass(slots=True, kw_only=True)
class Candle:
    """Trades of a span of time; ``first_id`` is 0 where there were none."""

    open_ms: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    lots: int = 0
    quote_e8: int = 0
    count: int = 0
    taker_buy_lots: int = 0
    taker_buy_quote_e8: int = 0
    first_id: int = 0
    last_id: int = 0

    def absorb(self, later: Candle) -> None:
        """Take in a candle of a later span."""
        self.high_ticks = max(self.high_ticks, later.high_ticks)
        self.low_ticks = min(self.low_ticks, later.low_ticks)
        self.close_ticks = later.close_ticks
        self.lots += later.lots
        self.quote_e8 += later.quote_e8
        self.count += later.count
        self.taker_buy_lots += later.taker_buy_lots
        self.taker_buy_quote_e8 += later.taker_buy_quote_e8
        self.first_id = self.first_id or later.first_id
        self.last_id = later.last_id or self.last_id


class Tape:
    """Candles and aggregated trades of one instrument."""

    def __init__(self, instrument: Instrument) -> None:
        """Start without a trade."""
        self._instrument = instrument
        self.candles: deque[Candle] = deque(maxlen=CANDLES_KEPT)
        self._final_ms = 0
        self._began_ms = 0
        self.aggregates: deque[dict[str, object]] = deque(maxlen=AGGREGATES_KEPT)

    def add(self, trade: Trade, now_ms: int) -> None:
        """Take one trade; minutes without trades become flat candles."""
        self._began_ms = self._began_ms or now_ms
        minute_ms = now_ms // MINUTE_MS * MINUTE_MS
        ticks, lots = trade.price_ticks, trade.quantity_lots
        if self.candles:
            first_missing_ms = max(
                self.candles[-1].open_ms + MINUTE_MS, minute_ms - CANDLES_KEPT * MINUTE_MS
            )
            for open_ms in range(first_missing_ms, minute_ms, MINUTE_MS):
                self.candles.append(_flat(open_ms, self.candles[-1].close_ticks))
        if not self.candles or self.candles[-1].open_ms < minute_ms:
            self.candles.append(_flat(minute_ms, ticks))
        quote_e8 = self._instrument.notional_quote_e8(ticks, lots)
        is_buy = trade.aggressor is Side.BUY
        self.candles[-1].absorb(
            Candle(
                open_ms=minute_ms,
                open_ticks=ticks,
                high_ticks=ticks,
                low_ticks=ticks,
                close_ticks=ticks,
                lots=lots,
                quote_e8=quote_e8,
                count=1,
                taker_buy_lots=lots if is_buy else 0,
                taker_buy_quote_e8=quote_e8 if is_buy else 0,
                first_id=trade.trade_id,
                last_id=trade.trade_id,
            )
        )

    def unsent(self, now_ms: int) -> list[Candle]:
        """Return the candles to tell of now: once those that became final, then the open one."""
        chosen = [candle for candle in list(self.candles)[-2:] if candle.open_ms > self._final_ms]
        for candle in chosen:
            if candle.open_ms + MINUTE_MS <= now_ms:
                self._final_ms = candle.open_ms
        return chosen

    def rows(self, interval_ms: int) -> list[Candle]:
        """Return candles of whole minutes' length, oldest first; the last may still grow."""
        merged: list[Candle] = []
        for candle in self.candles:
            open_ms = candle.open_ms // interval_ms * interval_ms
            if merged and merged[-1].open_ms == open_ms:
                merged[-1].absorb(candle)
            else:
                merged.append(_copy(candle, open_ms))
        return merged

    def day(self) -> Candle | None:
        """Return everything as one candle, None before the first trade."""
        if not self.candles:
            return None
        total = _copy(self.candles[0], self.candles[0].open_ms)
        for index in range(1, len(self.candles)):
            total.absorb(self.candles[index])
        return total

    def whole_day(self, now_ms: int) -> Candle | None:
        """Return the day's candle as a venue that never closed would tell it.

        A market younger than a day counts its volume as if it had gone on so all day: a client that
        holds orders against the day's volume could do nothing in the first hours otherwise.
        """
        total = self.day()
        if total is not None:
            age_ms = min(max(now_ms - self._began_ms, AGE_MS_MIN), DAY_MS)
            total.lots = total.lots * DAY_MS // age_ms
            total.quote_e8 = total.quote_e8 * DAY_MS // age_ms
            total.taker_buy_lots = total.taker_buy_lots * DAY_MS // age_ms
            total.taker_buy_quote_e8 = total.taker_buy_quote_e8 * DAY_MS // age_ms
        return total


def _flat(open_ms: int, ticks: int) -> Candle:
    return Candle(
        open_ms=open_ms, open_ticks=ticks, high_ticks=ticks, low_ticks=ticks, close_ticks=ticks
    )


def _copy(candle: Candle, open_ms: int) -> Candle:
    copied = _flat(open_ms, candle.open_ticks)
    copied.absorb(candle)
    return copied
