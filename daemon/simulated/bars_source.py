"""Recorded bars as a market: parquet files, one an instrument, with an invented book inside.

``kernels.bar_market`` says what of it is recorded and what is made up: prices and volumes of bars
are true, everything inside a bar is a guess. Instruments share the clock of their files, so that
what moved together moves together; the market lasts while all of them have bars.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon.bar_files import BarFileError, BarTable, read_bars
from daemon.simulated.event_wire import EventWire
from daemon.simulated.market_source import Frame, frame_of
from kernels.bar_market import BarMarket, thin_bars
from kernels.units import E8, Instrument

NS_PER_US = 1_000


def utc_ns(text: str) -> int:
    """Parse a date or a time of day in ISO form, UTC where it names no zone, to UNIX ns.

    The empty text is the beginning of time. ValueError for anything else.
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * NS_PER_US


def bars_on_grid(
    table: BarTable, instrument: Instrument, volume_unit: Literal["base", "quote"]
) -> NDArray[np.int64]:
    """Return (T, 5): open, high, low, close in ticks, volume in lots, each to the nearest.

    A volume in quote currency is divided by the mean of high, low and close.
    """
    ticks_T4 = np.rint(table.prices_T4 * E8 / instrument.tick_size_e8)
    volume_T = table.volume_T
    if volume_unit == "quote":
        volume_T = volume_T / table.prices_T4[:, 1:].mean(axis=1)
    lots_T = np.rint(volume_T * E8 / instrument.lot_size_e8)
    return np.column_stack([ticks_T4, lots_T]).astype(np.int64)


class BarsSource:
    """A finite source: the bars of every instrument from ``start`` on, at their own pace.

    Reading happens in the constructor: ``BarFileError`` for a file that holds no usable bars, and
    ValueError where files and instruments do not pair up, a start that is no date, or bars that do
    not overlap. The same arguments give the same frames.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        instruments: Sequence[Instrument],
        seed: int,
        start: str = "",
        volume_unit: Literal["base", "quote"] = "base",
    ) -> None:
        """Read the files, cut them to the time they share, and put them on the grid."""
        if len(paths) != len(instruments):
            raise ValueError(f"{len(paths)} files of bars for {len(instruments)} instruments")
        try:
            from_ns = utc_ns(start)
        except ValueError:
            raise ValueError(f"bars_from: {start!r} is no date such as 2022-05-12") from None
        self._instruments = tuple(instruments)
        self._seed = seed
        tables = [read_bars(path, from_ns) for path in paths]
        self.origin_ns = max(int(table.open_ns_T[0]) for table in tables)
        """UNIX time of the market's beginning."""
        self.end_ns = min(int(table.open_ns_T[-1]) + table.interval_ns for table in tables)
        self._elapsed: list[NDArray[np.int64]] = []
        self._bars: list[NDArray[np.int64]] = []
        self._intervals = [table.interval_ns for table in tables]
        for path, table, instrument in zip(paths, tables, self._instruments, strict=True):
            shared = (table.open_ns_T >= self.origin_ns) & (
                table.open_ns_T + table.interval_ns <= self.end_ns
            )
            if not shared.any():
                raise BarFileError(path, 0, "shares no time with the other files")
            self._elapsed.append(table.open_ns_T[shared] - self.origin_ns)
            self._bars.append(bars_on_grid(table, instrument, volume_unit)[shared])
            try:
                self._market(len(self._bars) - 1)  # its checks, before anything is served
            except ValueError as error:
                raise BarFileError(path, 0, f"as {instrument.venue_id}: {error}") from None
        next(self._market(0).events())  # compiled now, so that serving never waits for that

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments in configuration order."""
        return self._instruments

    @property
    def duration_ns(self) -> int:
        """Elapsed time from the first bar's open to the last one's end."""
        return self.end_ns - self.origin_ns

    @property
    def thin_counts(self) -> tuple[int, ...]:
        """Bars of each instrument too thin to show all four of their prices."""
        return tuple(thin_bars(bars_T5) for bars_T5 in self._bars)

    def bars(self, instrument: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return when the bars open (elapsed ns, T) and what they are on the grid (T, 5)."""
        return self._elapsed[instrument], self._bars[instrument]

    def frames(self) -> Iterator[Frame]:
        """Yield the opening snapshots, then every instrument's events in order of time."""
        markets = [self._market(index) for index in range(len(self._instruments))]
        for market in markets:
            yield frame_of(0, "", market.snapshot, b"")
        streams = [
            map(EventWire(instrument).frame, market.events())
            for instrument, market in zip(self._instruments, markets, strict=True)
        ]
        yield from heapq.merge(*streams, key=lambda frame: frame.due_ns)

    def _market(self, index: int) -> BarMarket:
        return BarMarket(
            index,
            self._elapsed[index],
            self._bars[index],
            self._intervals[index],
            np.random.default_rng([self._seed, index]),
        )
