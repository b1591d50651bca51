"""A market made of recorded bars: true prices and volumes, an invented book and order of trades.

A bar says where a price opened, how far it went, where it closed and how much was traded; what
happened inside is gone. Here it is made up, plausibly and the same for a seed, and nothing learnt
inside a bar is worth anything. What is kept exactly, on the instrument's grid: rebuilt from the
trades, every bar is the bar given (``kernels.bar_steps.plan_bar`` says what of those too thin).
What is invented:

- *path*: Brownian bridges from open to one extreme, to the other, to close; the one it does not
  close towards tends to come first; the extremes fall at any time;
- *trades*: on six in ten of the moves, exponential sizes that sum to the volume; the aggressor
  mostly follows the path;
- *spread*: a tick and a slowly varying rest, on average 2 % of the bar's range;
- *depth*: levels of log-normal size, on average what is traded in two seconds lately, about 0.25
  bps apart; the level that is traded next always shows more than the trade takes.

Bars may be missing: then nothing happens for so long. A bar without volume moves the book only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kernels import market_chain as chain
from kernels import market_steps as steps
from kernels.bar_steps import (
    HIGH,
    LOW,
    MOVES_MIN,
    OPEN,
    TICKS,
    VOLUME_LOTS,
    plan_bar,
    play_bar,
    prepare_book,
    trades_needed,
)
from kernels.book import ASK_COUNT, BID_COUNT, Book, set_level
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.markets import event_of_row

MOVE_NS = 250_000_000
MOVES_MAX = 1_200
DEPTH_S = 2.0
"""Seconds of trading that a level shows on average."""
VOLUME_MEMORY = 0.95
PRICE_TICKS_MIN = 100
PRICE_TICKS_MAX = 1 << 40
VOLUME_LOTS_MAX = 1 << 50
"""Shares of a volume are taken in float64, which counts exactly to 2**53."""


def moves_of(interval_ns: int) -> int:
    """Return in how many moves a bar of that length is walked: one in 250 ms, 4 to 1,200."""
    return int(min(max(interval_ns // MOVE_NS, MOVES_MIN), MOVES_MAX))


def thin_bars(bars_T5: NDArray[np.int64]) -> int:
    """Count the bars with volume but fewer lots than it takes to show their four prices."""
    return sum(bool(0 < bar_5[VOLUME_LOTS] < trades_needed(bar_5)) for bar_5 in bars_T5)


class BarMarket:
    """One instrument's bars as events, to their end; a pure function of its arguments.

    ``elapsed_ns_T`` is when each bar opens, since the start that all instruments share; ``bars_T5``
    open, high, low and close in ticks and the volume in lots, low <= open, close <= high. Events
    carry elapsed time in both stamps. ``generator`` is owned from then on.
    """

    def __init__(
        self,
        instrument: int,
        elapsed_ns_T: NDArray[np.int64],
        bars_T5: NDArray[np.int64],
        interval_ns: int,
        generator: np.random.Generator,
    ) -> None:
        """Build the opening book; ValueError for no bars, or prices or volumes out of range."""
        prices_T4 = bars_T5[:, :VOLUME_LOTS]
        if len(bars_T5) == 0 or len(bars_T5) != len(elapsed_ns_T):
            raise ValueError(f"{len(bars_T5)} bars at {len(elapsed_ns_T)} times")
        if prices_T4.min() < PRICE_TICKS_MIN or prices_T4.max() > PRICE_TICKS_MAX:
            raise ValueError(f"a price outside {PRICE_TICKS_MIN} to {PRICE_TICKS_MAX} ticks")
        if bars_T5[:, VOLUME_LOTS].min() < 0 or bars_T5[:, VOLUME_LOTS].max() > VOLUME_LOTS_MAX:
            raise ValueError(f"a volume outside 0 to {VOLUME_LOTS_MAX} lots")
        self._instrument = instrument
        self._elapsed_ns = elapsed_ns_T.tolist()
        self._bars_T5 = np.ascontiguousarray(bars_T5, dtype=np.int64)
        self._interval_ns = interval_ns
        self._generator = generator
        moves = moves_of(interval_ns)
        self._plan_M3 = np.zeros((moves, 3), dtype=np.int64)
        self._next_M3 = np.zeros((moves, 3), dtype=np.int64)
        self._asset = np.zeros(4)
        self._ids = np.zeros(6, dtype=np.int64)
        self._ids[steps.UPDATE_ID], self._ids[steps.TRADE_ID] = 1_000_000, 1_000
        self._book = Book(steps.BOOK_CAPACITY)
        self._changed_2n = np.zeros((2, 1 + steps.LEVELS_PER_MOVE // 2), dtype=np.int64)
        self._rows = np.zeros((3 * moves, steps.ROW_COLUMNS), dtype=np.int64)
        self._levels_m2 = np.zeros((moves * steps.LEVELS_PER_MOVE, 2), dtype=np.int64)
        self._mean_lots = float(self._bars_T5[:60, VOLUME_LOTS].mean())
        self._snapshot = self._open()

    @property
    def snapshot(self) -> DepthSnapshot:
        """The opening book, at elapsed time 0."""
        return self._snapshot

    def events(self) -> Iterator[Quote | Trade | DepthDiff]:
        """Yield the events of every bar, elapsed time never falling; at its end it is over."""
        last = len(self._bars_T5) - 1
        for index in range(last + 1):
            if index < last:
                plan_bar(self._generator, self._bars_T5[index + 1], self._next_M3)
            else:
                self._next_M3[0] = self._plan_M3[-1]
            yield from self._bar(index)
            self._plan_M3, self._next_M3 = self._next_M3, self._plan_M3

    def _bar(self, index: int) -> list[Quote | Trade | DepthDiff]:
        bar_5 = self._bars_T5[index]
        self._set_depth(float(bar_5[VOLUME_LOTS]))
        written = play_bar(
            self._generator,
            self._plan_M3,
            self._next_M3[0].copy(),
            int(bar_5[HIGH] - bar_5[LOW]),
            self._instrument,
            self._elapsed_ns[index],
            self._interval_ns,
            self._asset,
            self._ids,
            self._book.state,
            self._changed_2n,
            self._rows,
            self._levels_m2,
        )
        return [event_of_row(row, self._levels_m2) for row in self._rows[:written].tolist()]

    def _set_depth(self, volume_lots: float) -> None:
        self._mean_lots += (1.0 - VOLUME_MEMORY) * (volume_lots - self._mean_lots)
        lots_per_s = self._mean_lots / (self._interval_ns / 1e9)
        self._asset[chain.LEVEL_LOTS] = max(DEPTH_S * lots_per_s, 2.0)

    def _open(self) -> DepthSnapshot:
        bar_5 = self._bars_T5[0]
        self._set_depth(float(bar_5[VOLUME_LOTS]))
        plan_bar(self._generator, bar_5, self._plan_M3)
        ticks = int(self._plan_M3[0, TICKS])
        assert ticks == bar_5[OPEN]
        for side, touch in ((1, ticks - 1), (-1, ticks + 1)):
            set_level(self._book.state, side, touch, 1)
        prepare_book(
            self._generator,
            self._book.state,
            self._asset,
            self._plan_M3[0].copy(),
            int(bar_5[HIGH] - bar_5[LOW]),
            self._changed_2n,
            self._ids,
            self._rows,
        )
        return DepthSnapshot(
            instrument=self._instrument,
            event_ns=0,
            received_ns=0,
            last_update_id=int(self._ids[steps.UPDATE_ID]),
            bid_levels_n2=self._book.levels(Side.BUY, int(self._book.state[BID_COUNT])),
            ask_levels_n2=self._book.levels(Side.SELL, int(self._book.state[ASK_COUNT])),
        )
