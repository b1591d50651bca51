"""The feed: every market and account event of all instruments, proven before it is believed.

One public socket carries depth, trades and best bid/ask, one market socket the mark price where
there is one, one user socket our own orders. What a market does its own way is asked of its rules
(``market_rules``); all else is one for USD-M and spot. A book is trusted from the snapshot that
joins its updates until the first that does not join; whatever is wrong becomes a verdict in the
lanes, before the events after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from config.settings import FeedSettings
from daemon.clock import Clock
from daemon.effects import Note
from daemon.lanes import Lanes
from daemon.venues.backfill import TradeBackfill
from daemon.venues.books import BookLoader
from daemon.venues.feed_counters import FeedCounters, count
from daemon.venues.integrity import InstrumentTrack, Links, SkewEstimate
from daemon.venues.links import Link, LinkPlan, OnUserConnect
from daemon.venues.market_rules import market_streams, public_streams
from daemon.venues.normalize import ColdFrame, EmptyTrade, FrameRefusedError, warm_up
from daemon.venues.refusals import Refusals
from daemon.venues.supervision import Backoff, Supervisor
from daemon.venues.tap import Tap
from daemon.venues.user_stream import UserStream
from kernels.book import Continuity
from kernels.events import DepthDiff, DepthSnapshot, FeedStatus, MarkPrice, Quote, Trade, Verdict
from kernels.units import Instrument

WATCH_INTERVAL_S = 0.1
"""How often ages, clocks and full lanes are looked at: the bound on noticing a silence."""

SILENCE_NS_MAX = 30_000_000_000
"""A public socket that is open and answers pings but brings nothing this long is dialled anew."""

CROSSED_NS_MAX = 1_000_000_000
"""A book that stays crossed this long is wrong, and loaded anew."""

BACKFILL_MS_MIN, BACKFILL_MS_MAX = 50, 1_000
"""Pauses between two questions for the same missing trades."""

STAND_IN_MARK_NS = 1_000_000_000
"""How often the middle of the quote is told as the mark price of a market that streams none."""

_PUBLIC, _MARKET, _USER = "public", "market", "user"


class Feed:
    """All streams of all instruments into the lanes.

    ``record`` takes (stage, nanoseconds) per frame. ``on_user_connect`` is awaited after every
    connection of the user stream, before the verdict may become OK; without an API key there is no
    user stream and none is waited for. ``user_stream`` keeps the venue's last word on the account.
    """

    def __init__(
        self,
        exchange: Tap,
        instruments: Sequence[Instrument],
        lanes: Lanes,
        settings: FeedSettings,
        clock: Clock,
        note: Callable[[Note], None],
        *,
        generator: np.random.Generator,
        record: Callable[[str, int], None] | None = None,
        on_user_connect: OnUserConnect | None = None,
    ) -> None:
        """Prepare everything; nothing connects before ``start``."""
        self._exchange = exchange
        self._lanes = lanes
        self._settings = settings
        self._clock = clock
        self._note = note
        self._generator = generator
        self._record = record or _forget
        self._rules = rules = exchange.rules
        self._quotes_tell_time = rules.quotes_tell_time
        self._normalizer = rules.normalizer(instruments)
        self._tracks = tuple(
            InstrumentTrack(each, settings, clock.now_ns(), quotes_tell_time=rules.quotes_tell_time)
            for each in instruments
        )
        self._skew = SkewEstimate()
        self._supervisor = Supervisor(clock, note, generator)
        self._closed_ns = self._last_frame_ns = 0
        self._fillings: dict[int, asyncio.Task[None]] = {}
        self._depth_count = self._trade_count = self._quote_count = 0
        self._mark_count = self._overflow_lost_count = 0
        self._refusals = Refusals(self.say)
        self.user_stream = UserStream(
            exchange=exchange,
            normalizer=self._normalizer,
            instrument_count=len(self._tracks),
            lanes=lanes,
            clock=clock,
            supervisor=self._supervisor,
            on_connect=on_user_connect,
            on_refused=self.on_refused,
            say=self.say,
        )
        streams = public_streams(instruments, rules.depth_rate or settings.depth_rate)
        self._public = self._link(_PUBLIC, self.read_public, streams)
        self._market = self._link(_MARKET, self.read_public, market_streams(instruments))
        self._user = self._link(_USER, self.user_stream.read)
        self.user_stream.attach(self._user)
        self._has_user_stream = bool(exchange.account_id)
        self._public_once = asyncio.Event()
        self._links = Links(user=not self._has_user_stream)
        self._books = BookLoader(
            exchange=exchange,
            normalizer=self._normalizer,
            clock=clock,
            settings=settings,
            supervisor=self._supervisor,
            owner=self,
            make_backoff=self._backoff,
        )
        self._backfill = TradeBackfill(
            exchange,
            clock,
            make_backoff=lambda: Backoff(BACKFILL_MS_MIN, BACKFILL_MS_MAX, generator),
            emit=self._emit_trade,
            say=self.say,
        )

    # life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start connecting; returns at once, the verdicts tell when the feed is good."""
        warm_up(self._tracks[0].instrument)
        for track in self._tracks:
            self._emit_verdict(track)
        self._supervisor.spawn_forever("feed public", self._public.keep)
        if self._rules.has_marks:
            self._supervisor.spawn_forever("feed market", self._keep_market)
        if self._has_user_stream:
            self._supervisor.spawn_forever("feed user", self._user.keep)
            self._supervisor.spawn_forever("listen key", self.user_stream.keep_listen_key)
        self._supervisor.spawn_forever("feed watch", self._watch)
        self._supervisor.spawn_forever("feed audit", self._keep_auditing)

    async def _keep_market(self) -> None:
        """Connect marks after the first public connection: a replayed market starts with it."""
        await self._public_once.wait()
        await self._market.keep()

    async def close(self) -> None:
        """End all tasks and sockets of the feed: an orderly end is no outage."""
        self._closed_ns = self._closed_ns or self._clock.now_ns()
        await self._supervisor.close()

    async def reconnect(self, reason: str) -> None:
        """Drop the public socket; the feed comes back by itself."""
        await self._public.drop(reason)

    @property
    def counters(self) -> FeedCounters:
        """Return what came through so far."""
        now_ns = self._closed_ns or self._clock.now_ns()
        links = (self._public, self._market, self._user)
        return count(
            self._tracks,
            now_ns,
            depth_count=self._depth_count,
            trade_count=self._trade_count,
            quote_count=self._quote_count,
            mark_count=self._mark_count,
            user_count=self.user_stream.event_count,
            refused_count=self._refusals.count,
            overflow_lost_count=self._overflow_lost_count,
            reconnect_count=sum(link.reconnect_count for link in links),
            skew_ns=self._skew.lag_ns,
        )

    # frames ---------------------------------------------------------------------------------

    def read_public(self, frame_text: str) -> bool:
        """Take one raw frame of a public or market socket; True when ccxt need not see it."""
        received_ns = self._clock.now_ns()
        started_ns = self._clock.monotonic_ns()
        try:
            event = self._normalizer.market(frame_text, received_ns)
        except FrameRefusedError as refusal:
            self.on_refused(refusal, received_ns)
            return True
        self._record("decode", self._clock.monotonic_ns() - started_ns)
        kind = type(event)
        if kind is Quote:
            self._on_quote(event)  # type: ignore[arg-type]  # narrowed by kind, which costs less
        elif kind is Trade:
            self._on_trade(event)  # type: ignore[arg-type]  # the same
        elif kind is DepthDiff:
            self._on_diff(event)  # type: ignore[arg-type]  # the same
        elif kind is MarkPrice:
            self._on_mark(event)  # type: ignore[arg-type]  # the same
        elif isinstance(event, EmptyTrade):
            self._on_trade(event)
        else:
            assert isinstance(event, ColdFrame)
            return self._on_cold(event)
        return True

    def _on_quote(self, quote: Quote) -> None:
        track = self._tracks[quote.instrument]
        self._last_frame_ns = received_ns = quote.received_ns
        self._quote_count += 1
        if self._quotes_tell_time:
            lag_ns = received_ns - quote.event_ns
            self._skew.observe(lag_ns, received_ns)
            delay_ns = self._skew.delay_ns(lag_ns)
        else:
            delay_ns = track.depth_delay(received_ns)
        if track.is_late(quote):
            return
        if track.on_quote(quote, delay_ns):
            if track.audit_reason:
                self._distrust(track, track.audit_reason, received_ns)
            self._judge(track, received_ns)
        if not self._lanes.put(quote):
            self._on_overflow(track, received_ns)

    def _on_trade(self, trade: Trade | EmptyTrade) -> None:
        track = self._tracks[trade.instrument]
        if track.held_trades is not None:
            track.held_trades.append(trade)
            return
        missing_count = track.on_trade_id(trade.trade_id)
        if missing_count > 0:
            track.held_trades = [trade]
            self._fill(track)
            self._judge(track, self._clock.now_ns())
        elif missing_count == 0 and isinstance(trade, Trade):
            self._emit_trade(track, trade)

    def _emit_trade(self, track: InstrumentTrack, trade: Trade) -> None:
        self._last_frame_ns = trade.received_ns
        self._trade_count += 1
        if not self._lanes.put(trade):
            self._overflow_lost_count += 1
            self._on_overflow(track, trade.received_ns)

    def _fill(self, track: InstrumentTrack) -> None:
        """Fetch the trades that are missing; one job at a time for an instrument."""
        index = track.instrument.index
        running = self._fillings.pop(index, None)
        if running is not None:
            running.cancel()
        name = f"backfill {track.instrument.symbol}"
        self._fillings[index] = self._supervisor.spawn(name, self._backfill.fill(track))

    def _on_diff(self, diff: DepthDiff) -> None:
        track = self._tracks[diff.instrument]
        received_ns = diff.received_ns
        self._last_frame_ns = received_ns
        self._depth_count += 1
        was_synchronised = track.sequence.is_synchronised
        was_crossed = track.proof.is_crossed
        lag_ns = received_ns - diff.event_ns
        if not self._quotes_tell_time:
            self._skew.observe(lag_ns, received_ns)
        continuity = track.on_diff(diff, self._skew.delay_ns(lag_ns))
        if continuity is Continuity.NEXT or continuity is Continuity.BRIDGE:
            if track.audit_reason:
                self._distrust(track, track.audit_reason, received_ns)
            elif not self._lanes.put(diff):
                self._on_overflow(track, received_ns)
            elif not was_synchronised:
                self._resynced(track, received_ns)
            elif track.proof.is_crossed is not was_crossed:
                self._judge(track, received_ns)
        elif continuity is Continuity.GAP:
            symbol = track.instrument.symbol
            self.say("feed_gap", received_ns, instrument=symbol, first_id=diff.first_update_id)
            self._judge(track, received_ns)
            self._books.load(track)

    def _on_mark(self, mark: MarkPrice) -> None:
        track = self._tracks[mark.instrument]
        lag_ns = mark.received_ns - mark.event_ns
        track.mark_ns = mark.received_ns - self._skew.delay_ns(lag_ns)
        self._mark_count += 1
        if not self._lanes.put(mark):
            self._on_overflow(track, mark.received_ns)

    def _on_cold(self, frame: ColdFrame) -> bool:
        if frame.request_id is not None:
            for link in (self._public, self._market):
                link.on_answer(frame)
            return True
        if frame.event == "serverShutdown":
            for link in (self._public, self._market):
                self._supervisor.spawn(f"drop {link.name}", link.drop("venue shuts down"))
            return True
        return False

    def on_refused(self, refusal: FrameRefusedError, received_ns: int) -> None:
        """Count and note what could not be read; a book that lost an update is loaded anew."""
        self._refusals.add(refusal, received_ns)
        if refusal.kind != "depthUpdate":
            return  # a lost trade or depth update shows in the numbering of the next
        for track in self._tracks:
            if refusal.venue_id in ("", track.instrument.venue_id):
                track.gap_count += 1
                track.has_gap = True
                track.forget_book()
                self._judge(track, received_ns)
                self._books.load(track)

    # books ----------------------------------------------------------------------------------

    @property
    def is_public_up(self) -> bool:
        """Whether depth updates are coming in."""
        return self._links.public

    def take_snapshot(self, track: InstrumentTrack, snapshot: DepthSnapshot) -> bool:
        """Pass on a snapshot with the updates that follow it; False when it is too old."""
        following = track.on_snapshot(snapshot)
        if following is None:
            return False
        events: tuple[DepthSnapshot | DepthDiff, ...] = (snapshot, *following)
        for event in events:
            if not self._lanes.put(event):
                self._on_overflow(track, snapshot.received_ns)
                return True
        if following:
            self._resynced(track, snapshot.received_ns)
        return True

    def on_audit(self, track: InstrumentTrack, reason: str) -> None:
        """Take the answer of an audit, empty for a book that is right."""
        track.audit_count += 1
        if reason:
            self._distrust(track, reason, self._clock.now_ns())

    def _distrust(self, track: InstrumentTrack, reason: str, now_ns: int) -> None:
        """Say that a book is wrong and load it anew."""
        track.fail_audit(reason)
        self.say("feed_audit_failed", now_ns, instrument=track.instrument.symbol, reason=reason)
        self._judge(track, now_ns)
        self._books.load(track)

    async def _keep_auditing(self) -> None:
        """Hold one book after the other against the venue, each once per interval, for ever."""
        pause_s = self._settings.audit_interval_s / len(self._tracks)
        while True:
            for track in self._tracks:
                await asyncio.sleep(pause_s)
                if track.verdict is Verdict.OK:
                    await self._books.audit(track)

    def _resynced(self, track: InstrumentTrack, now_ns: int) -> None:
        track.resync_count += 1
        self.say("feed_resynced", now_ns, instrument=track.instrument.symbol)
        self._judge(track, now_ns)

    def _on_overflow(self, track: InstrumentTrack, now_ns: int) -> None:
        if track.is_overflowed:
            return
        track.is_overflowed = True
        track.forget_book()
        self.say("lane_overflow", now_ns, instrument=track.instrument.symbol)
        self._judge(track, now_ns)

    # verdicts -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Judge every instrument ten times a second: silence makes no event."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            now_ns = self._clock.now_ns()
            for track in self._tracks:
                if track.is_overflowed and self._lanes.can_reopen():
                    self._lanes.reopen(track.instrument.index)
                    track.is_overflowed = False
                    track.has_gap = True
                    track.forget_book()
                    self._books.load(track)
                if not self._rules.has_marks:
                    self._stand_in_mark(track, now_ns)
                self._watch_crossing(track, now_ns)
                self._judge(track, now_ns)
            heard_ns = max(self._last_frame_ns, self._public.opened_ns)
            if self._public.is_up and now_ns - heard_ns > SILENCE_NS_MAX:
                await self._public.drop("nothing came for too long")

    def _stand_in_mark(self, track: InstrumentTrack, now_ns: int) -> None:
        """Tell the middle of the quote as the mark price, as old as that quote is."""
        if track.quote_ns and not track.is_crossed and now_ns - track.mark_ns >= STAND_IN_MARK_NS:
            self._on_mark(track.middle(now_ns))
            track.mark_ns = track.quote_ns

    def _watch_crossing(self, track: InstrumentTrack, now_ns: int) -> None:
        if not track.proof.is_crossed:
            track.crossed_ns = 0
        elif not track.crossed_ns:
            track.crossed_ns = now_ns
        elif now_ns - track.crossed_ns > CROSSED_NS_MAX:
            track.crossed_ns = 0
            self._distrust(track, "the book stays crossed", now_ns)

    def _judge(self, track: InstrumentTrack, now_ns: int) -> None:
        verdict, reason = track.judge(now_ns, self._skew, self._links)
        before = track.verdict
        if not track.turn(verdict, reason, now_ns):
            return
        self._emit_verdict(track)
        self.say(
            "feed_verdict_changed",
            now_ns,
            instrument=track.instrument.symbol,
            before=before.name,
            verdict=verdict.name,
            reason=reason,
        )

    def _emit_verdict(self, track: InstrumentTrack) -> None:
        self._lanes.put(
            FeedStatus(
                instrument=track.instrument.index,
                received_ns=self._clock.now_ns(),
                verdict=track.verdict,
                reason=track.reason,
            )
        )

    # links ----------------------------------------------------------------------------------

    async def url_of(self, link: Link) -> str:
        """Return a link's address."""
        rules = self._rules
        return await rules.user_url() if link is self._user else rules.stream_url(link.name)

    async def on_link_up(self, link: Link) -> None:
        """Catch up: books after the public link, the account after the user link."""
        if link is self._public:
            self._links.public = True
            self._public_once.set()
            for track in self._tracks:
                self._books.load_afresh(track)
                if track.held_trades is not None:
                    self._fill(track)
        elif link is self._user:
            await self.user_stream.reconcile()
            self._links.user = True
        self._links.was_complete = self._links.was_complete or (
            self._links.public and self._links.user
        )
        self._judge_all()

    def on_link_down(self, link: Link, why: str) -> None:
        """Withdraw what depended on the link; the market link shows in the age of marks."""
        if link is self._public:
            self._links.public = False
            for track in self._tracks:
                track.forget_connection()
            for running in self._fillings.values():
                running.cancel()
        elif link is self._user:
            self._links.user = False
        self._judge_all()

    def _judge_all(self) -> None:
        now_ns = self._clock.now_ns()
        for track in self._tracks:
            self._judge(track, now_ns)

    def _link(self, name: str, read: Callable[[str], bool], streams: Sequence[str] = ()) -> Link:
        request = self._rules.user_request if name == _USER else None
        return Link(
            plan=LinkPlan(name=name, streams=streams, request=request),
            exchange=self._exchange,
            owner=self,
            read=read,
            backoff=self._backoff(),
            clock=self._clock,
            note=self._note,
        )

    def _backoff(self) -> Backoff:
        settings = self._settings
        return Backoff(settings.reconnect_ms_min, settings.reconnect_ms_max, self._generator)

    def say(self, event: str, now_ns: int = 0, **fields: object) -> None:
        """Note something about the feed; the time is now unless given."""
        stamp_ns = now_ns or self._clock.now_ns()
        self._note(Note(event=event, event_ns=stamp_ns, fields=fields))


def _forget(stage: str, spent_ns: int) -> None:
    """Record nothing."""
