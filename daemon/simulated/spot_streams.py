"""Spot's market streams: a synthetic market on the wire, and the windows of derived streams.

Other than futures: no ``pu`` and no ``T`` in depth, no time at all in bookTicker, eight decimals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.simulated.derived_streams import DepthWindow, Document, TradeRun, TradeWindow
from daemon.simulated.market_source import Frame, frame_of
from daemon.simulated.spot_listings import spot_price, spot_quantity, stream_prefix
from kernels.events import DepthDiff, Quote, Side, Trade
from kernels.units import Instrument

SPOT_DEPTH_INTERVALS_NS = {"depth@100ms": 100_000_000, "depth": 1_000_000_000}
STAMP = "1700000000000"
"""Placeholder that ``Frame.render`` overwrites."""


def spot_rows(instrument: Instrument, levels_n2: NDArray[np.int64]) -> list[list[str]]:
    """Render rows of (ticks, lots) as the wire's pairs of decimal strings."""
    return [
        [spot_price(instrument, ticks), spot_quantity(instrument, lots)]
        for ticks, lots in levels_n2.tolist()
    ]


class SpotWire:
    """Writes one pair's synthetic events as Binance spot stream documents."""

    __slots__ = ("_instrument",)

    def __init__(self, instrument: Instrument) -> None:
        """Write for one pair."""
        self._instrument = instrument

    def quote(self, quote: Quote) -> bytes:
        """Write bookTicker."""
        item = self._instrument
        return (
            f'{{"u":{quote.update_id},"s":"{item.venue_id}",'
            f'"b":"{spot_price(item, quote.bid_ticks)}",'
            f'"B":"{spot_quantity(item, quote.bid_lots)}",'
            f'"a":"{spot_price(item, quote.ask_ticks)}",'
            f'"A":"{spot_quantity(item, quote.ask_lots)}"}}'
        ).encode()

    def trade(self, trade: Trade) -> bytes:
        """Write trade."""
        item = self._instrument
        maker = "true" if trade.aggressor == Side.SELL else "false"
        return (
            f'{{"e":"trade","E":{STAMP},"s":"{item.venue_id}","t":{trade.trade_id},'
            f'"p":"{spot_price(item, trade.price_ticks)}",'
            f'"q":"{spot_quantity(item, trade.quantity_lots)}",'
            f'"T":{STAMP},"m":{maker},"M":true}}'
        ).encode()

    def frame(self, event: Quote | Trade | DepthDiff) -> Frame:
        """Render one event as the frame of its stream.

        Spot has no stream of every depth change, only windows of them: such a frame moves the book
        and is never sent.
        """
        prefix = stream_prefix(self._instrument)
        if isinstance(event, Quote):
            return frame_of(event.event_ns, f"{prefix}@bookTicker", event, self.quote(event))
        if isinstance(event, Trade):
            return frame_of(event.event_ns, f"{prefix}@trade", event, self.trade(event))
        return frame_of(event.event_ns, f"{prefix}@depth@0ms", event, b"")


class SpotDepthWindow(DepthWindow):
    """Merges changes into one event of spot: U is one after the u of the event before."""

    def _render(self, first: DepthDiff, now_ms: int) -> Document:
        return {
            "e": "depthUpdate",
            "E": now_ms,
            "s": self._instrument.venue_id,
            "U": first.previous_update_id + 1,
            "u": self._last_update_id,
            "b": spot_rows(self._instrument, self._bid_rows()),
            "a": spot_rows(self._instrument, self._ask_rows()),
        }


class SpotTradeWindow(TradeWindow):
    """Aggregates trades of one price and taker side within 100 ms."""

    def _render(self, run: TradeRun, now_ms: int) -> Document:
        return {
            **super()._render(run, now_ms),
            "p": spot_price(self._instrument, run.price_ticks),
            "q": spot_quantity(self._instrument, run.quantity_lots),
            "M": True,
        }
