"""Plays the market: pulls frames when they are due, moves the exchange, feeds the streams."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

import orjson

from daemon.clock import Clock
from daemon.simulated import market_documents, tape_documents
from daemon.simulated.derived_streams import (
    DEPTH_INTERVALS_NS,
    MARK_INTERVALS_NS,
    DepthWindow,
    TradeWindow,
)
from daemon.simulated.market_source import Frame, MarketSource, SourceEvent
from daemon.simulated.spot_listings import is_spot, stream_prefix
from daemon.simulated.spot_streams import (
    SPOT_DEPTH_INTERVALS_NS,
    SpotDepthWindow,
    SpotTradeWindow,
)
from daemon.simulated.streams import StreamHub
from daemon.simulated.venue_market import VenueMarket
from kernels.events import DepthDiff, DepthSnapshot, Trade
from kernels.units import Instrument

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
BATCH_FRAMES_MAX = 512
"""Frames between two chances for requests to be served when the player is behind."""

WINDOWS_CHECK_NS = 10 * NS_PER_MS
"""Market time between two looks at the windows of the derived streams."""

TAPE_INTERVAL_NS = NS_PER_S
"""Market time between two events of a candle or of the day's statistics."""

SLEEP_S_MIN = 0.001
SLEEP_S_MAX = 0.05


class PlayedVenue(Protocol):
    """What the market moves; markets and instruments are numbered alike."""

    @property
    def instruments(self) -> Sequence[Instrument]:
        """Every instrument of the source."""
        ...

    @property
    def markets(self) -> Sequence[VenueMarket]:
        """The market of every instrument."""
        ...

    def apply(self, event: SourceEvent, now_ms: int) -> None:
        """Let one market event move book, queue and orders."""
        ...

    def renew_mark(self, instrument: int) -> bool:
        """Set the mark price to the mid; False while there is no book."""
        ...


class Player:
    """One pass through a source, at ``speed`` times its own pace, from ``start()`` on."""

    def __init__(
        self, source: MarketSource, venue: PlayedVenue, hub: StreamHub, clock: Clock, speed: float
    ) -> None:
        """Apply the snapshots that head the source, so that such a market is open at once."""
        self._venue = venue
        self._hub = hub
        self._clock = clock
        self._speed = speed
        self._frames: Iterator[Frame] = source.frames()
        self._next: Frame | None = next(self._frames, None)
        self._started = asyncio.Event()
        self._opened = [asyncio.Event() for _ in venue.markets]
        self._depth_windows: dict[str, tuple[int, DepthWindow]] = {}
        self._trade_windows: dict[str, tuple[int, TradeWindow]] = {}
        self._mark_due_ns: dict[str, tuple[int, int, int]] = {}
        self._tapes: dict[str, VenueMarket] = {}
        self._tapes_due_ns = 0
        self._windows_due_ns = 0
        self._last_due_ns = 0
        self.frames_played = 0
        self.late_ns_max = 0
        self.is_finished = False
        self.finished = asyncio.Event()
        for market in venue.markets:
            self._prepare(market.instrument)
        while self._next is not None and isinstance(self._next.event, DepthSnapshot):
            if self._next.due_ns > 0:
                break
            self._play(self._next, 0)

    def start(self) -> None:
        """Begin; the clock of the market starts now."""
        self._started.set()

    async def opened(self, instrument: int, timeout_s: float) -> bool:
        """Wait until an instrument has a book; False when the time is up."""
        try:
            await asyncio.wait_for(self._opened[instrument].wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Play to the end of the source; endless sources end by cancellation."""
        await self._started.wait()
        origin_ns = self._clock.monotonic_ns()
        while self._next is not None:
            elapsed_ns = self._clock.monotonic_ns() - origin_ns
            market_ns = int(elapsed_ns * self._speed)
            self._play_due(market_ns)
            self._hub.flush()
            wait_s = 0.0
            if self._next is not None and self._next.due_ns > market_ns:
                wait_s = (self._next.due_ns - market_ns) / self._speed / NS_PER_S
                wait_s = min(max(wait_s, SLEEP_S_MIN), SLEEP_S_MAX)
            await asyncio.sleep(wait_s)
        self._finish()

    def _finish(self) -> None:
        """Send what the open windows still hold; the last book stays and is served."""
        self._windows_due_ns = 0
        self._close_windows(self._last_due_ns + NS_PER_S, self._clock.now_ns() // NS_PER_MS)
        self._hub.flush()
        self.is_finished = True
        self.finished.set()

    def _play_due(self, market_ns: int) -> None:
        """Play what is due; windows close at the times at which the frames say they do."""
        now_ms = self._clock.now_ns() // NS_PER_MS
        if self._next is not None and self._next.due_ns < market_ns:
            late_ns = int((market_ns - self._next.due_ns) / self._speed)
            self.late_ns_max = max(self.late_ns_max, late_ns)
        reached_ns = market_ns
        for _ in range(BATCH_FRAMES_MAX):
            frame = self._next
            if frame is None or frame.due_ns > market_ns:
                break
            self._close_windows(frame.due_ns, now_ms)
            self._play(frame, now_ms)
        else:
            reached_ns = min(market_ns, self._next.due_ns if self._next else market_ns)
        self._close_windows(reached_ns, now_ms)

    def _play(self, frame: Frame, now_ms: int) -> None:
        event = frame.event
        self._venue.apply(event, now_ms)
        stream = frame.stream
        if stream:
            if self._hub.has(stream):
                self._hub.publish(stream, frame.render(now_ms))
            if isinstance(event, DepthDiff):
                self._play_diff(event, stream, frame.due_ns)
            elif isinstance(event, Trade):
                self._play_trade(event, frame.due_ns, now_ms)
        elif isinstance(event, DepthSnapshot):
            self._opened[event.instrument].set()
        self.frames_played += 1
        self._last_due_ns = frame.due_ns
        self._next = next(self._frames, None)

    def _play_diff(self, diff: DepthDiff, stream: str, due_ns: int) -> None:
        """Merge a change into the slower streams somebody has, and into every window begun.

        Who comes back before a window ends gets the whole of it: with the changes of the time in
        between left out, its ids joined the snapshot and its levels did not.
        """
        for name, (instrument, window) in self._depth_windows.items():
            if instrument != diff.instrument or name == stream:
                continue
            if window.is_open or self._hub.has(name):
                window.add(diff, due_ns)

    def _play_trade(self, trade: Trade, due_ns: int, now_ms: int) -> None:
        for name, (instrument, window) in self._trade_windows.items():
            if instrument == trade.instrument:
                self._publish_aggregate(name, instrument, window.add(trade, due_ns, now_ms))

    def _prepare(self, instrument: Instrument) -> None:
        index, prefix = instrument.index, stream_prefix(instrument)
        is_pair = is_spot(instrument.symbol)
        self._tapes[prefix] = self._venue.markets[index]
        intervals_ns = SPOT_DEPTH_INTERVALS_NS if is_pair else DEPTH_INTERVALS_NS
        depth_window = SpotDepthWindow if is_pair else DepthWindow
        trade_window = SpotTradeWindow if is_pair else TradeWindow
        for channel, interval_ns in intervals_ns.items():
            name = f"{prefix}@{channel}"
            self._depth_windows[name] = (index, depth_window(instrument, interval_ns))
        self._trade_windows[f"{prefix}@aggTrade"] = (index, trade_window(instrument))
        for channel, interval_ns in MARK_INTERVALS_NS.items():
            self._mark_due_ns[f"{prefix}@{channel}"] = (index, interval_ns, 0)

    def _close_windows(self, market_ns: int, now_ms: int) -> None:
        if market_ns < self._windows_due_ns:
            return
        self._windows_due_ns = market_ns + WINDOWS_CHECK_NS
        for name, (_, depth_window) in self._depth_windows.items():
            self._publish(name, depth_window.close(market_ns, now_ms))
        for name, (index, trade_window) in self._trade_windows.items():
            self._publish_aggregate(name, index, trade_window.close(market_ns, now_ms))
        if market_ns >= self._tapes_due_ns:
            self._tapes_due_ns = market_ns + TAPE_INTERVAL_NS
            self._publish_tapes(now_ms)
        for name, (index, interval_ns, due_ns) in self._mark_due_ns.items():
            if market_ns >= due_ns and self._venue.renew_mark(index):
                next_ns = (market_ns // interval_ns + 1) * interval_ns
                self._mark_due_ns[name] = (index, interval_ns, next_ns)
                market = self._venue.markets[index]
                self._publish(name, market_documents.mark_event(market, now_ms))

    def _publish_aggregate(
        self, stream: str, instrument: int, document: dict[str, object] | None
    ) -> None:
        if document is not None:
            self._venue.markets[instrument].tape.aggregates.append(document)
            self._publish(stream, document)

    def _publish_tapes(self, now_ms: int) -> None:
        """Send the minute's candle, the one before in its final state, and the day's figures."""
        for prefix, market in self._tapes.items():
            name = f"{prefix}@kline_1m"
            if self._hub.has(name):
                for candle in market.tape.unsent(now_ms):
                    self._publish(
                        name, tape_documents.kline_event(market.instrument, candle, now_ms)
                    )
            is_asked = self._hub.has(f"{prefix}@miniTicker")
            day = market.tape.whole_day(now_ms) if is_asked else None
            if day is not None:
                self._publish(
                    f"{prefix}@miniTicker",
                    tape_documents.mini_ticker_event(market.instrument, day, now_ms),
                )

    def _publish(self, stream: str, document: dict[str, object] | None) -> None:
        if document is not None and self._hub.has(stream):
            self._hub.publish(stream, orjson.dumps(document))
