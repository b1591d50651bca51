"""A synthetic market as a source: the events of ``kernels.markets`` in the venue's wire form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from daemon.simulated.event_wire import EventWire
from daemon.simulated.listings import find_listing
from daemon.simulated.market_source import Frame, frame_of
from daemon.simulated.spot_listings import find_spot_listing, is_spot
from daemon.simulated.spot_streams import SpotWire
from kernels.markets import SyntheticMarket
from kernels.units import Instrument


class SyntheticSource:
    """An endless source: the same frames for the same instruments, market name and seed.

    ``market`` is a name of ``kernels.market_worlds.VARIANTS``; every instrument opens at the price
    of its listing. ValueError for an unknown market or an instrument that is not listed.
    """

    def __init__(self, instruments: Sequence[Instrument], market: str, seed: int) -> None:
        """Check the arguments and compile the market, so that serving never waits for that."""
        self._instruments = tuple(instruments)
        self._market = market
        self._seed = seed
        self._opening_ticks = tuple(
            instrument.price_ticks(_opening_price(instrument.symbol))
            for instrument in self._instruments
        )
        self._served = self._new_market()
        self._served.next_block()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments in configuration order."""
        return self._instruments

    def frames(self) -> Iterator[Frame]:
        """Yield the opening snapshots, then every event of the market from its start."""
        market = self._new_market()
        for snapshot in market.snapshots:
            yield frame_of(0, "", snapshot, b"")
        wires = [
            SpotWire(item) if is_spot(item.symbol) else EventWire(item)
            for item in self._instruments
        ]
        self._served = market
        for event in market.events():
            yield wires[event.instrument].frame(event)

    @property
    def truth(self) -> tuple[tuple[int, int], ...]:
        """Changes of regime of the pass begun last, (elapsed ns, index into ``REGIMES``).

        The side door of tests: no frame tells, and nothing of the exchange asks.
        """
        return tuple(self._served.truth)

    def _new_market(self) -> SyntheticMarket:
        generator = np.random.default_rng(self._seed)
        return SyntheticMarket(self._instruments, self._opening_ticks, self._market, generator)


def _opening_price(symbol: str) -> str:
    if is_spot(symbol):
        return find_spot_listing(symbol).opening_price
    return find_listing(symbol).opening_price
