"""One contract's market inside the exchange: its own book, matching, mark price, recent trades."""

from __future__ import annotations

from collections import deque

from daemon.simulated.market_source import SourceEvent
from daemon.simulated.tape import Tape
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Quote, Trade
from kernels.matching import Execution, Matcher
from kernels.units import Instrument

TRADES_KEPT = 20_000
HELD_DIFFS_MAX = 100_000
BOOK_CAPACITY = 8_192
RESTING_ORDERS_MAX = 200
"""MAX_NUM_ORDERS of the contract's filters."""


class VenueMarket:
    """Book and matcher of one instrument, moved by its source's events. No I/O, no clock.

    Until the snapshot the depth changes are held: the change that bridges a recorded snapshot may
    come before it. From the snapshot on, the source's own changes are the truth.
    """

    def __init__(self, instrument: Instrument) -> None:
        """Start without a book."""
        self.instrument = instrument
        self.matcher = Matcher(Book(BOOK_CAPACITY), RESTING_ORDERS_MAX)
        self.is_open = False
        self.quote: Quote | None = None
        self.trades: deque[tuple[Trade, int]] = deque(maxlen=TRADES_KEPT)
        self.tape = Tape(instrument)
        self._held: deque[DepthDiff] = deque(maxlen=HELD_DIFFS_MAX)
        self._mark_half_ticks = 0

    @property
    def book(self) -> Book:
        """The displayed book."""
        return self.matcher.book

    def apply(self, event: SourceEvent, now_ms: int) -> tuple[Execution, ...]:
        """Take one market event; return what it filled of the resting orders."""
        if isinstance(event, Quote):
            self.quote = event
            return ()
        if isinstance(event, Trade):
            self.trades.append((event, now_ms))
            self.tape.add(event, now_ms)
            if not self.is_open:
                return ()
            return self.matcher.on_trade(event.price_ticks, event.quantity_lots, event.aggressor)
        if isinstance(event, DepthDiff):
            if self.is_open:
                return self.matcher.on_diff(event)
            self._held.append(event)
            return ()
        return self._open(event)

    def _open(self, snapshot: DepthSnapshot) -> tuple[Execution, ...]:
        executions = list(self.matcher.load(snapshot))
        for diff in self._held:
            if diff.last_update_id >= snapshot.last_update_id:
                executions += self.matcher.on_diff(diff)
        self._held.clear()
        self.is_open = True
        if not self._mark_half_ticks:
            self.renew_mark()
        return tuple(executions)

    @property
    def last_ticks(self) -> int:
        """Price of the newest public trade, before the first the mark price."""
        return self.trades[-1][0].price_ticks if self.trades else self.mark_ticks

    def renew_mark(self) -> bool:
        """Set the mark price to the mid; False, and unchanged, while a side is empty."""
        bid_ticks, _, ask_ticks, _ = self.book.best()
        if not (bid_ticks and ask_ticks):
            return False
        self._mark_half_ticks = bid_ticks + ask_ticks
        return True

    def set_mark(self, mark_ticks: int) -> None:
        """Take the mark price from elsewhere, in ticks."""
        self._mark_half_ticks = 2 * mark_ticks

    @property
    def mark_ticks(self) -> int:
        """Mark price to the nearest tick, halves up; 0 before the first book."""
        return (self._mark_half_ticks + 1) // 2

    @property
    def mark_e8(self) -> int:
        """Mark price in 1e-8 quote, exact to half a tick; 0 before the first book."""
        return self._mark_half_ticks * self.instrument.tick_size_e8 // 2
