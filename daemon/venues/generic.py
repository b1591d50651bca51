"""Any exchange of ccxt.pro through its ``watch_*`` calls, into the same lanes.

ccxt.pro is a cache of state, not a record of events, so this path promises less than ``feeds``:

- Books are what the cache shows when we look: changes between two looks are merged, each look is
  passed on as a whole book, and no sequence of ours proves that the cache is right.
- Quotes are the newest at the moment of looking; the ones between are gone.
- Trades beyond ccxt's cache (1,000 per instrument between two looks) are gone without a trace:
  ``lost_count`` stays 0 because nothing can be counted. Repeats are dropped by id.
- Ages count from our receipt where the exchange gives no time of its own; then there is no estimate
  of its clock, and SKEWED cannot be said.
- Without a stream of mark prices the middle of the book stands in for it.
- There is no user stream, no backfill, no audit: **no order is sent over this path.**
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ccxt.base.errors import BaseError
from numpy.typing import NDArray

from config.settings import FeedSettings
from daemon.clock import Clock
from daemon.effects import Note
from daemon.lanes import Lanes
from daemon.venues.feed_counters import FeedCounters
from daemon.venues.integrity import SkewEstimate
from daemon.venues.supervision import Backoff, Supervisor
from kernels.events import DepthSnapshot, FeedStatus, MarkPrice, Quote, Side, Trade, Verdict
from kernels.units import Instrument

NS_PER_MS = 1_000_000
LEVELS = 50
"""Levels a side of every book that is passed on."""

IDS_REMEMBERED = 4_000
WATCH_INTERVAL_S = 0.1
WATCH_TIMEOUT_S = 30.0
"""A watch call that brings nothing this long is given up and made again."""


class OffGridError(ValueError):
    """A price or quantity that is no whole number of the market's steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedMarket:
    """An instrument, the unit in which its exchange counts amounts, and whether it has marks."""

    instrument: Instrument
    amount_step: float
    has_mark: bool


class GenericTrack:
    """What is known of one instrument: times of its newest events, and its verdict."""

    def __init__(self, market: WatchedMarket, now_ns: int) -> None:
        """Start WARMING."""
        self.instrument = market.instrument
        self.amount_step = market.amount_step
        self.has_mark = market.has_mark
        self.verdict, self.reason = Verdict.WARMING, "starting"
        self.failing: set[str] = set()
        self.was_ok = self.is_crossed = False
        self.quote_ns = self.book_ns = self.mark_ns = 0
        self.update_id = 0
        self.trade_ids: OrderedDict[str, None] = OrderedDict()
        self.trade_count = self.repeated_count = 0
        self.not_ok_ns: dict[str, int] = {}
        self.since_ns = now_ns

    def judge(self, now_ns: int, settings: FeedSettings, skew: SkewEstimate) -> tuple[Verdict, str]:
        """Say what the feed is worth now, worst cause first."""
        if self.failing:
            verdict = Verdict.RECONNECTING if self.was_ok else Verdict.WARMING
            return verdict, f"{min(self.failing)} fails"
        for name, at_ns in (("book", self.book_ns), ("quote", self.quote_ns)):
            if not at_ns:
                return Verdict.WARMING, f"waiting for a {name}"
        if self.is_crossed:
            return Verdict.CROSSED, "best bid is not below best ask"
        if skew.has_sample and abs(skew.lag_ns) > settings.skew_ms_max * NS_PER_MS:
            return Verdict.SKEWED, f"clocks differ by {skew.lag_ns // NS_PER_MS} ms"
        if now_ns - self.quote_ns > settings.quote_stale_ms * NS_PER_MS:
            return Verdict.STALE, "no fresh quote"
        if now_ns - self.book_ns > settings.depth_stale_ms * NS_PER_MS:
            return Verdict.STALE, "no fresh book"
        return Verdict.OK, ""

    def spend(self, now_ns: int) -> None:
        """Account for the time under the verdict so far."""
        if self.verdict is not Verdict.OK:
            spent_ns = self.not_ok_ns.get(self.verdict.name, 0) + now_ns - self.since_ns
            self.not_ok_ns[self.verdict.name] = spent_ns
        self.since_ns = now_ns

    def is_repeat(self, trade_id: str) -> bool:
        """Remember a trade's id; True when it was seen lately."""
        if trade_id in self.trade_ids:
            self.repeated_count += 1
            return True
        self.trade_ids[trade_id] = None
        if len(self.trade_ids) > IDS_REMEMBERED:
            self.trade_ids.popitem(last=False)
        return False

    def ticks(self, price: float) -> int:
        """Convert a price; OffGridError off the grid."""
        return _steps(price, self.instrument.tick_size)

    def lots(self, amount: float) -> int:
        """Convert an amount in the exchange's own unit; OffGridError off the grid."""
        return _steps(amount, self.amount_step)

    def levels(self, rows: Sequence[Sequence[float]]) -> NDArray[np.int64]:
        """Convert the best levels of one side of a cached book."""
        pairs = [(self.ticks(row[0]), self.lots(row[1])) for row in rows[:LEVELS]]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)


class GenericFeed:
    """``watch_*`` of all instruments into the lanes; same start, close and counters as ``Feed``."""

    def __init__(
        self,
        exchange: Any,
        markets: Sequence[WatchedMarket],
        lanes: Lanes,
        settings: FeedSettings,
        clock: Clock,
        note: Callable[[Note], None],
        *,
        generator: np.random.Generator,
    ) -> None:
        """Prepare; nothing connects before ``start``."""
        self._exchange = exchange
        self._lanes = lanes
        self._settings = settings
        self._clock = clock
        self._note = note
        self._generator = generator
        self._supervisor = Supervisor(clock, note, generator)
        self._skew = SkewEstimate()
        now_ns = clock.now_ns()
        self._tracks = tuple(GenericTrack(each, now_ns) for each in markets)
        self._closed_ns = 0
        self._depth_count = self._trade_count = self._quote_count = self._mark_count = 0
        self._refused_count = self._overflow_count = self._failure_count = 0

    async def start(self) -> None:
        """Start watching; returns at once."""
        has = self._exchange.has
        for track in self._tracks:
            self._emit_verdict(track)
            jobs: list[tuple[str, Callable[[GenericTrack], Awaitable[None]]]] = [
                ("book", self._watch_book),
                ("trades", self._watch_trades),
            ]
            if has.get("watchBidsAsks"):
                jobs.append(("quotes", self._watch_quotes))
            if track.has_mark:
                jobs.append(("mark", self._watch_mark))
            for name, job in jobs:
                title = f"{name} {track.instrument.symbol}"
                self._supervisor.spawn_forever(title, self._keep(name, track, job))
        self._supervisor.spawn_forever("feed watch", self._watch)

    async def close(self) -> None:
        """End all tasks; the exchange belongs to the caller."""
        self._closed_ns = self._closed_ns or self._clock.now_ns()
        await self._supervisor.close()

    @property
    def counters(self) -> FeedCounters:
        """Return what came through; what ccxt swallowed is not in any number."""
        now_ns = self._closed_ns or self._clock.now_ns()
        for track in self._tracks:
            track.spend(now_ns)
        return FeedCounters(
            depth_count=self._depth_count,
            trade_count=self._trade_count,
            quote_count=self._quote_count,
            mark_count=self._mark_count,
            user_count=0,
            lost_count=self._overflow_count,
            recovered_count=0,
            repeated_count=sum(track.repeated_count for track in self._tracks),
            late_count=0,
            refused_count=self._refused_count,
            gap_count=0,
            resync_count=0,
            audit_count=0,
            audit_failed_count=0,
            reconnect_count=self._failure_count,
            skew_ns=self._skew.lag_ns,
            not_ok_ns={each.instrument.symbol: dict(each.not_ok_ns) for each in self._tracks},
        )

    # watching -------------------------------------------------------------------------------

    def _keep(
        self, name: str, track: GenericTrack, job: Callable[[GenericTrack], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Repeat one watch call for ever; what fails is said, waited out and tried again."""
        settings = self._settings
        backoff = Backoff(settings.reconnect_ms_min, settings.reconnect_ms_max, self._generator)

        async def keep() -> None:
            while True:
                try:
                    async with asyncio.timeout(WATCH_TIMEOUT_S):
                        await job(track)
                except (BaseError, TimeoutError) as error:
                    self._failure_count += 1
                    track.failing.add(name)
                    pause_s = backoff.next_s()
                    self._say("feed_reconnecting", link=name, reason=type(error).__name__)
                    await asyncio.sleep(pause_s)
                except OffGridError as error:
                    self._refused_count += 1
                    self._say("feed_frame_refused", kind=name, reason=str(error))
                else:
                    backoff.reset()
                    track.failing.discard(name)

        return keep

    async def _watch_book(self, track: GenericTrack) -> None:
        book = await self._exchange.watch_order_book(track.instrument.symbol)
        now_ns = self._clock.now_ns()
        track.update_id += 1
        snapshot = DepthSnapshot(
            instrument=track.instrument.index,
            event_ns=self._event_ns(book.get("timestamp"), now_ns),
            received_ns=now_ns,
            last_update_id=int(book.get("nonce") or track.update_id),
            bid_levels_n2=track.levels(book["bids"]),
            ask_levels_n2=track.levels(book["asks"]),
        )
        track.book_ns = now_ns
        self._depth_count += 1
        self._put(snapshot)
        if not (len(snapshot.bid_levels_n2) and len(snapshot.ask_levels_n2)):
            return
        bid_ticks, bid_lots = snapshot.bid_levels_n2[0].tolist()
        ask_ticks, ask_lots = snapshot.ask_levels_n2[0].tolist()
        if not self._exchange.has.get("watchBidsAsks"):
            self._quote(
                track, now_ns, snapshot.event_ns, (bid_ticks, bid_lots, ask_ticks, ask_lots)
            )
        if not track.has_mark:
            self._mark(track, now_ns, snapshot.event_ns, (bid_ticks + ask_ticks + 1) // 2)

    async def _watch_trades(self, track: GenericTrack) -> None:
        for row in await self._exchange.watch_trades(track.instrument.symbol):
            identity = str(row.get("id") or (row["timestamp"], row["price"], row["amount"]))
            if track.is_repeat(identity):
                continue
            track.trade_count += 1
            now_ns = self._clock.now_ns()
            trade = Trade(
                instrument=track.instrument.index,
                event_ns=self._event_ns(row.get("timestamp"), now_ns),
                received_ns=now_ns,
                trade_id=int(identity) if identity.isdigit() else track.trade_count,
                price_ticks=track.ticks(row["price"]),
                quantity_lots=track.lots(row["amount"]),
                aggressor=Side.SELL if row.get("side") == "sell" else Side.BUY,
            )
            self._trade_count += 1
            self._put(trade)

    async def _watch_quotes(self, track: GenericTrack) -> None:
        symbol = track.instrument.symbol
        ticker = (await self._exchange.watch_bids_asks([symbol])).get(symbol)
        if ticker is None or not (ticker.get("bid") and ticker.get("ask")):
            return
        now_ns = self._clock.now_ns()
        top = (
            track.ticks(ticker["bid"]),
            track.lots(ticker.get("bidVolume") or 0.0),
            track.ticks(ticker["ask"]),
            track.lots(ticker.get("askVolume") or 0.0),
        )
        self._quote(track, now_ns, self._event_ns(ticker.get("timestamp"), now_ns), top)

    async def _watch_mark(self, track: GenericTrack) -> None:
        ticker = await self._exchange.watch_mark_price(track.instrument.symbol)
        now_ns = self._clock.now_ns()
        price = ticker.get("markPrice")
        if price:
            mark_ticks = round(price / track.instrument.tick_size)
            self._mark(track, now_ns, self._event_ns(ticker.get("timestamp"), now_ns), mark_ticks)

    # events ---------------------------------------------------------------------------------

    def _quote(
        self, track: GenericTrack, now_ns: int, event_ns: int, top: tuple[int, int, int, int]
    ) -> None:
        bid_ticks, bid_lots, ask_ticks, ask_lots = top
        track.quote_ns = now_ns
        track.is_crossed = 0 < ask_ticks <= bid_ticks
        self._quote_count += 1
        quote = Quote(
            instrument=track.instrument.index,
            event_ns=event_ns,
            received_ns=now_ns,
            update_id=-1,
            bid_ticks=bid_ticks,
            bid_lots=bid_lots,
            ask_ticks=ask_ticks,
            ask_lots=ask_lots,
        )
        self._put(quote)
        if track.is_crossed:
            self._judge(track)

    def _mark(self, track: GenericTrack, now_ns: int, event_ns: int, mark_ticks: int) -> None:
        track.mark_ns = now_ns
        self._mark_count += 1
        mark = MarkPrice(
            instrument=track.instrument.index,
            event_ns=event_ns,
            received_ns=now_ns,
            mark_ticks=mark_ticks,
            funding_rate_frac=0.0,
        )
        self._put(mark)

    def _event_ns(self, timestamp_ms: int | None, now_ns: int) -> int:
        """Read the exchange's own time; ours where it gives none."""
        if not timestamp_ms:
            return now_ns
        event_ns = int(timestamp_ms) * NS_PER_MS
        self._skew.observe(now_ns - event_ns, now_ns)
        return event_ns

    def _put(self, event: Quote | Trade | DepthSnapshot | MarkPrice) -> None:
        if not self._lanes.put(event):
            self._overflow_count += 1

    # verdicts -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            for track in self._tracks:
                index = track.instrument.index
                if self._lanes.is_closed(index) and self._lanes.can_reopen():
                    self._lanes.reopen(index)
                self._judge(track)

    def _judge(self, track: GenericTrack) -> None:
        now_ns = self._clock.now_ns()
        verdict, reason = track.judge(now_ns, self._settings, self._skew)
        if self._lanes.is_closed(track.instrument.index):
            verdict, reason = Verdict.GAP, "the engine does not keep up"
        track.spend(now_ns)
        if verdict is track.verdict:
            return
        before = track.verdict
        track.verdict, track.reason = verdict, reason
        track.was_ok = track.was_ok or verdict is Verdict.OK
        self._emit_verdict(track)
        symbol = track.instrument.symbol
        words = {"instrument": symbol, "before": before.name, "verdict": verdict.name}
        self._say("feed_verdict_changed", **words, reason=reason)

    def _emit_verdict(self, track: GenericTrack) -> None:
        status = FeedStatus(
            instrument=track.instrument.index,
            received_ns=self._clock.now_ns(),
            verdict=track.verdict,
            reason=track.reason,
        )
        self._lanes.put(status)

    def _say(self, event: str, **fields: object) -> None:
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


def _steps(value: float, step: float) -> int:
    steps = round(value / step)
    if abs(value / step - steps) > 1e-4 or steps < 0:
        raise OffGridError(f"{value} is no multiple of {step}")
    return steps
