"""The road from sockets to the engine: bounded, ordered, and honest about what it leaves out.

Quotes conflate: of several waiting quotes of one instrument only the newest is kept, at the place
of the newest. Nothing else is ever dropped silently: an instrument whose market events no longer
fit is closed as a whole (its feed must say GAP, wait for the engine and resynchronise), while
fills, order updates, feed verdicts and commands are always taken. One event loop, one consumer.
"""

from __future__ import annotations

import asyncio

from kernels.events import DepthDiff, DepthSnapshot, Event, MarkPrice, Quote, Trade

ALWAYS_ACCEPTED_FACTOR = 10
"""Events that may never be refused fill the lanes to this multiple; beyond, the engine is dead."""

REOPEN_DIVISOR = 2
"""A closed instrument may come back once the lanes are this much emptier than full."""


class LaneOverflowError(RuntimeError):
    """The engine stopped draining while its own account events piled up: our bug, not load."""


class Lanes:
    """Events that wait for the engine, in order of arrival.

    Counters, all cumulative: ``conflated_count`` quotes replaced by a newer one,
    ``refused_counts`` per instrument, ``counts`` accepted events by type name,
    ``waiting_count_max`` the high-water mark.
    """

    def __init__(self, instrument_count: int, events_max: int) -> None:
        """Make empty lanes for that many instruments; market events stop at ``events_max``."""
        if instrument_count < 1 or events_max < 1:
            raise ValueError("lanes need at least one instrument and room for one event")
        self._events_max = events_max
        self._events: list[Event | None] = []  # None: a quote that was conflated away
        self._head = 0
        self._hole_count = 0
        self._quote_at: list[int] = [-1] * instrument_count
        self._closed: list[bool] = [False] * instrument_count
        self._waiter: asyncio.Future[None] | None = None
        self.conflated_count = 0
        self.refused_counts: list[int] = [0] * instrument_count
        self.counts: dict[str, int] = {}
        self.waiting_count_max = 0

    @property
    def waiting_count(self) -> int:
        """Events that the next unbounded drain would return."""
        return len(self._events) - self._head - self._hole_count

    @property
    def overflowed(self) -> bool:
        """Whether any instrument is closed because its market events did not fit."""
        return any(self._closed)

    def is_closed(self, instrument: int) -> bool:
        """Whether market events of this instrument are being refused."""
        return self._closed[instrument]

    def can_reopen(self) -> bool:
        """Whether the engine has caught up enough for a closed instrument to come back."""
        return self.waiting_count <= self._events_max // REOPEN_DIVISOR

    def reopen(self, instrument: int) -> None:
        """Accept market events of this instrument again; the feed must resynchronise it."""
        self._closed[instrument] = False

    def put(self, event: Event) -> bool:
        """Add an event; False when it is a market event that was refused and counted."""
        kind = type(event)
        if kind is Quote:
            if not self._make_room_for_quote(event.instrument):  # type: ignore[union-attr]  # kind says that it is a quote
                return False
        elif kind in _REFUSABLE:
            if not self._has_room(event.instrument):  # type: ignore[union-attr]  # all _REFUSABLE have it
                return False
        elif self.waiting_count >= self._events_max * ALWAYS_ACCEPTED_FACTOR:
            raise LaneOverflowError(f"{self.waiting_count} events wait and nothing drains them")
        events = self._events
        events.append(event)
        name = kind.__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        waiting_count = len(events) - self._head - self._hole_count
        if waiting_count > self.waiting_count_max:
            self.waiting_count_max = waiting_count
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def drain(self, events_max: int) -> list[Event]:
        """Take up to that many events, oldest first."""
        events, head, hole_count = self._events, self._head, self._hole_count
        if events_max >= len(events) - head:
            self._events = []
            self._head = self._hole_count = 0
            self._quote_at = [-1] * len(self._quote_at)
            if head or hole_count:
                return [event for event in events[head:] if event is not None]
            return events  # type: ignore[return-value]  # no hole inside, checked just above
        drained: list[Event] = []
        while len(drained) < events_max and head < len(events):
            event = events[head]
            events[head] = None
            if event is None:
                self._hole_count -= 1
            else:
                if type(event) is Quote and self._quote_at[event.instrument] == head:
                    self._quote_at[event.instrument] = -1
                drained.append(event)
            head += 1
        self._head = head
        self._compact()
        return drained

    async def wait(self, timeout_s: float) -> None:
        """Return as soon as an event waits, or after the time limit."""
        if self.waiting_count:
            return
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _make_room_for_quote(self, instrument: int) -> bool:
        at = self._quote_at[instrument]
        if at >= 0:
            self._events[at] = None
            self._hole_count += 1
            self.conflated_count += 1
            if self._hole_count > self._events_max:
                self._compact()
        elif not self._has_room(instrument):
            return False
        self._quote_at[instrument] = len(self._events)
        return True

    def _has_room(self, instrument: int) -> bool:
        waiting_count = len(self._events) - self._head - self._hole_count
        if self._closed[instrument] or waiting_count >= self._events_max:
            self._closed[instrument] = True
            self.refused_counts[instrument] += 1
            return False
        return True

    def _compact(self) -> None:
        """Drop the drained part and the holes once they outnumber what waits: amortised O(1)."""
        if self._head + self._hole_count <= self.waiting_count:
            return
        self._events = [event for event in self._events[self._head :] if event is not None]
        self._head = self._hole_count = 0
        self._quote_at = [-1] * len(self._quote_at)
        for at, event in enumerate(self._events):
            if type(event) is Quote:
                self._quote_at[event.instrument] = at


_REFUSABLE = frozenset({Trade, DepthDiff, DepthSnapshot, MarkPrice})


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
