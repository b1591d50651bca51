"""Ask the venue how much of each instrument is traded in a day, once a minute.

The answer travels as an event, so that the gate may hold an order against it and a replay sees the
same. A venue that does not answer is noted by whoever runs this; the gate stops new risk when the
last answer is too old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from daemon.clock import Clock
from daemon.venues.tap import TapBinanceUsdm
from kernels.events import DayVolume, Event
from kernels.units import Instrument, to_e8

INTERVAL_S = 60.0
FIRST_INTERVAL_S, FIRST_ROUNDS = 3.0, 20
"""A market that just opened tells little at first: it is asked more often in its first minute."""


class DayVolumes:
    """Keeps the day's volumes of some instruments fresh."""

    def __init__(
        self,
        venue: TapBinanceUsdm,
        instruments: Sequence[Instrument],
        put: Callable[[Event], bool],
        clock: Clock,
    ) -> None:
        """Ask ``venue``; ``put`` takes the events."""
        self._venue = venue
        self._instruments = instruments
        self._put = put
        self._clock = clock

    async def keep(self) -> None:
        """Ask for ever; raises what the venue's client raises, to be run again after a pause."""
        rounds = 0
        while True:
            for instrument in self._instruments:
                self._put(await self.ask(instrument))
            rounds += 1
            await asyncio.sleep(FIRST_INTERVAL_S if rounds < FIRST_ROUNDS else INTERVAL_S)

    async def ask(self, instrument: Instrument) -> DayVolume:
        """Return what is traded of one instrument; ValueError for an answer that says nothing."""
        answer = await self._venue.fapiPublicGetTicker24hr({"symbol": instrument.venue_id})
        volume_e8 = to_e8(answer["volume"])
        if volume_e8 < 0:
            raise ValueError(f"{instrument.symbol}: volume {answer['volume']}")
        return DayVolume(
            instrument=instrument.index,
            received_ns=self._clock.now_ns(),
            volume_lots=volume_e8 // instrument.lot_size_e8,
        )
