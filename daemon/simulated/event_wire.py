"""Market events in the venue's wire form, for sources that make their own markets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.simulated.market_source import Frame, frame_of
from kernels.events import DepthDiff, Quote, Side, Trade
from kernels.units import E8, Instrument

NEWER_STAMP = "1700000000001"
OLDER_STAMP = "1700000000000"
"""Placeholders that ``Frame.render`` overwrites; only their difference in ms counts."""


class EventWire:
    """Writes one instrument's events as frames of Binance USD-M streams."""

    __slots__ = (
        "_lot_decimals",
        "_lot_size_e8",
        "_prefix",
        "_tick_decimals",
        "_tick_size_e8",
        "_venue_id",
    )

    def __init__(self, instrument: Instrument) -> None:
        """Fix the names and the numbers of decimals of an instrument."""
        self._venue_id = instrument.venue_id
        self._prefix = instrument.venue_id.lower()
        self._tick_size_e8 = instrument.tick_size_e8
        self._lot_size_e8 = instrument.lot_size_e8
        self._tick_decimals = _decimals(instrument.tick_size_e8)
        self._lot_decimals = _decimals(instrument.lot_size_e8)

    def frame(self, event: Quote | Trade | DepthDiff) -> Frame:
        """Return an event as a frame, due at its own time."""
        if isinstance(event, Quote):
            return frame_of(event.event_ns, f"{self._prefix}@bookTicker", event, self._quote(event))
        if isinstance(event, Trade):
            return frame_of(event.event_ns, f"{self._prefix}@trade", event, self._trade(event))
        return frame_of(event.event_ns, f"{self._prefix}@depth@0ms", event, self._depth(event))

    def _quote(self, quote: Quote) -> bytes:
        return (
            f'{{"e":"bookTicker","u":{quote.update_id},"s":"{self._venue_id}",'
            f'"b":"{self._price(quote.bid_ticks)}","B":"{self._quantity(quote.bid_lots)}",'
            f'"a":"{self._price(quote.ask_ticks)}","A":"{self._quantity(quote.ask_lots)}",'
            f'"T":{NEWER_STAMP},"E":{NEWER_STAMP}}}'
        ).encode()

    def _trade(self, trade: Trade) -> bytes:
        maker = "true" if trade.aggressor == Side.SELL else "false"
        return (
            f'{{"e":"trade","E":{NEWER_STAMP},"T":{NEWER_STAMP},"s":"{self._venue_id}",'
            f'"t":{trade.trade_id},"p":"{self._price(trade.price_ticks)}",'
            f'"q":"{self._quantity(trade.quantity_lots)}","X":"MARKET","m":{maker}}}'
        ).encode()

    def _depth(self, diff: DepthDiff) -> bytes:
        return (
            f'{{"e":"depthUpdate","E":{NEWER_STAMP},"T":{OLDER_STAMP},"s":"{self._venue_id}",'
            f'"U":{diff.first_update_id},"u":{diff.last_update_id},'
            f'"pu":{diff.previous_update_id},'
            f'"b":[{self._levels(diff.bid_levels_n2)}],"a":[{self._levels(diff.ask_levels_n2)}]}}'
        ).encode()

    def _levels(self, levels_n2: NDArray[np.int64]) -> str:
        return ",".join(
            f'["{self._price(ticks)}","{self._quantity(lots)}"]'
            for ticks, lots in levels_n2.tolist()
        )

    def _price(self, ticks: int) -> str:
        return _text(ticks * self._tick_size_e8, self._tick_decimals)

    def _quantity(self, lots: int) -> str:
        return _text(lots * self._lot_size_e8, self._lot_decimals)


def _decimals(step_e8: int) -> int:
    """Return how many decimals a multiple of the step needs."""
    return len(f"{step_e8 % E8:08d}".rstrip("0"))


def _text(amount_e8: int, decimals: int) -> str:
    whole, fraction = divmod(amount_e8, E8)
    return f"{whole}.{f'{fraction:08d}'[:decimals]}" if decimals else str(whole)
