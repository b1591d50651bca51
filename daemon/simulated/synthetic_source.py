"""A synthetic market as a source: the events of ``kernels.markets`` in the venue's wire form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.simulated.listings import find_listing
from daemon.simulated.market_source import Frame, frame_of
from kernels.events import DepthDiff, Quote, Side, Trade
from kernels.markets import SyntheticMarket
from kernels.units import E8, Instrument

NEWER_STAMP = "1700000000001"
OLDER_STAMP = "1700000000000"
"""Placeholders that ``Frame.render`` overwrites; only their difference in ms counts."""


class _Wire:
    """Writes one instrument's events as Binance USD-M stream documents."""

    __slots__ = ("_lot_decimals", "_lot_size_e8", "_tick_decimals", "_tick_size_e8", "_venue_id")

    def __init__(self, instrument: Instrument) -> None:
        self._venue_id = instrument.venue_id
        self._tick_size_e8 = instrument.tick_size_e8
        self._lot_size_e8 = instrument.lot_size_e8
        self._tick_decimals = _decimals(instrument.tick_size_e8)
        self._lot_decimals = _decimals(instrument.lot_size_e8)

    def quote(self, quote: Quote) -> bytes:
        return (
            f'{{"e":"bookTicker","u":{quote.update_id},"s":"{self._venue_id}",'
            f'"b":"{self._price(quote.bid_ticks)}","B":"{self._quantity(quote.bid_lots)}",'
            f'"a":"{self._price(quote.ask_ticks)}","A":"{self._quantity(quote.ask_lots)}",'
            f'"T":{NEWER_STAMP},"E":{NEWER_STAMP}}}'
        ).encode()

    def trade(self, trade: Trade) -> bytes:
        maker = "true" if trade.aggressor == Side.SELL else "false"
        return (
            f'{{"e":"trade","E":{NEWER_STAMP},"T":{NEWER_STAMP},"s":"{self._venue_id}",'
            f'"t":{trade.trade_id},"p":"{self._price(trade.price_ticks)}",'
            f'"q":"{self._quantity(trade.quantity_lots)}","X":"MARKET","m":{maker}}}'
        ).encode()

    def depth(self, diff: DepthDiff) -> bytes:
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


class SyntheticSource:
    """An endless source: the same frames for the same instruments, market name and seed.

    ``market`` is a name of ``kernels.markets.VARIANTS``; every instrument opens at its listing's
    price. ValueError for an unknown market or an instrument that is not listed.
    """

    def __init__(self, instruments: Sequence[Instrument], market: str, seed: int) -> None:
        """Check the arguments and compile the market, so that serving never waits for that."""
        self._instruments = tuple(instruments)
        self._market = market
        self._seed = seed
        self._opening_ticks = tuple(
            instrument.price_ticks(find_listing(instrument.symbol).opening_price)
            for instrument in self._instruments
        )
        self._new_market().next_block()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments in configuration order."""
        return self._instruments

    def frames(self) -> Iterator[Frame]:
        """Yield the opening snapshots, then every event of the market from its start."""
        market = self._new_market()
        for snapshot in market.snapshots:
            yield frame_of(0, "", snapshot, b"")
        wires = [_Wire(instrument) for instrument in self._instruments]
        prefixes = [instrument.venue_id.lower() for instrument in self._instruments]
        for event in market.events():
            wire, prefix = wires[event.instrument], prefixes[event.instrument]
            if isinstance(event, Quote):
                yield frame_of(event.event_ns, f"{prefix}@bookTicker", event, wire.quote(event))
            elif isinstance(event, Trade):
                yield frame_of(event.event_ns, f"{prefix}@trade", event, wire.trade(event))
            else:
                yield frame_of(event.event_ns, f"{prefix}@depth@0ms", event, wire.depth(event))

    def _new_market(self) -> SyntheticMarket:
        generator = np.random.default_rng(self._seed)
        return SyntheticMarket(self._instruments, self._opening_ticks, self._market, generator)
