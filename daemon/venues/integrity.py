"""What one instrument's streams prove: continuity, age, order and clock, as one verdict.

No I/O and no clock: stamps come in, a verdict comes out. ``feeds`` owns the sockets and asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from config.settings import FeedSettings
from daemon.venues.audit import BookProof, Top
from daemon.venues.normalize import EmptyTrade
from kernels.book import Continuity, DepthSequence
from kernels.events import DepthDiff, DepthSnapshot, MarkPrice, Quote, Trade, Verdict
from kernels.units import Instrument

NS_PER_MS = 1_000_000

BUFFERED_DIFFS_MAX = 5_000
"""Depth events kept while a snapshot is on its way; beyond, the oldest go and it is asked anew."""

HELD_TRADES_MAX = 20_000
"""Live trades kept back while older ones are fetched; beyond, the missing ones are given up."""

RENUMBERED_QUOTES = 3
"""Ascending ids in a row, all below the newest, that make the newest the misread one."""

DEPTH_DELAY_VALID_NS = 1_000_000_000
"""How long the delay of a depth update tells that of the quotes beside it."""

SKEW_WINDOW_NS = 5_000_000_000
"""The clock estimate is the smallest lag of the last one to two windows."""


class SkewEstimate:
    """Bounds the difference of two clocks by the fastest frame of a sliding window.

    ``received - event`` is transport time plus clock difference; its minimum over a window comes
    closest to the difference alone. Negative: the venue's clock is ahead of ours.
    """

    __slots__ = ("_current_ns", "_previous_ns", "_window_end_ns", "has_sample")

    def __init__(self) -> None:
        """Start without an estimate."""
        self.has_sample = False
        self._current_ns = 0
        self._previous_ns = 0
        self._window_end_ns = 0

    def observe(self, lag_ns: int, now_ns: int) -> None:
        """Take one frame's ``received_ns - event_ns``."""
        if now_ns >= self._window_end_ns:
            fresh = now_ns < self._window_end_ns + SKEW_WINDOW_NS
            self._previous_ns = self._current_ns if self.has_sample and fresh else lag_ns
            self._current_ns = lag_ns
            self._window_end_ns = now_ns + SKEW_WINDOW_NS
            self.has_sample = True
        elif lag_ns < self._current_ns:
            self._current_ns = lag_ns

    @property
    def lag_ns(self) -> int:
        """Smallest lag of the last one to two windows; 0 before the first frame."""
        return min(self._current_ns, self._previous_ns)

    def delay_ns(self, lag_ns: int) -> int:
        """Return how much longer than the fastest one a frame with this lag was under way."""
        if not self.has_sample:
            return 0
        current_ns, previous_ns = self._current_ns, self._previous_ns
        fastest_ns = current_ns if current_ns < previous_ns else previous_ns  # once per frame
        return lag_ns - fastest_ns if lag_ns > fastest_ns else 0


@dataclass(slots=True, kw_only=True)
class Links:
    """Which connections are up; a link that is not needed counts as up."""

    public: bool = False
    user: bool = False
    was_complete: bool = False


class InstrumentTrack:
    """Running proof of one instrument's feed.

    ``quote_ns``, ``depth_ns`` and ``mark_ns`` are when the newest of each left the venue, in our
    clock: a frame that was under way for long is as old as it is. ``held_trades`` is None while
    trades pass; while some are missing it keeps the later ones back, so that ids stay in order.

    Public counters: ``lost_trade_count`` (missing and not recovered), ``recovered_trade_count``,
    ``repeated_trade_count``, ``late_quote_count``, ``gap_count``, ``resync_count``,
    ``audit_count``, ``audit_failed_count``, ``not_ok_ns`` (time per verdict other than OK).
    """

    def __init__(
        self,
        instrument: Instrument,
        settings: FeedSettings,
        now_ns: int,
        *,
        quotes_tell_time: bool = True,
    ) -> None:
        """Start WARMING at ``now_ns``."""
        self.instrument = instrument
        self.sequence = DepthSequence()
        self.proof = BookProof(settings.snapshot_levels)
        self.buffered: deque[DepthDiff] = deque(maxlen=BUFFERED_DIFFS_MAX)
        self.verdict = Verdict.WARMING
        self.reason = "starting"
        self.is_crossed = False
        self.has_gap = False
        self.is_overflowed = False
        self.quote_ns = self.depth_ns = self.mark_ns = 0
        self.audit_reason = ""
        self.crossed_ns = 0
        self.last_trade_id = -1
        self.held_trades: list[Trade | EmptyTrade] | None = None
        self.is_link_fresh = False
        self._quote_id = -1
        self._quote_event_ns = self._depth_event_ns = 0
        self._quotes_tell_time = quotes_tell_time
        self._low_quote_id, self._low_quote_count = -1, 0
        self._depth_delay_ns = self._depth_delay_at_ns = 0
        self._quote_top: Top = (0, 0, 0, 0)
        self._snapshot_id = -1
        self.lost_trade_count = self.recovered_trade_count = self.repeated_trade_count = 0
        self.gap_count = self.resync_count = self.late_quote_count = 0
        self.audit_count = self.audit_failed_count = 0
        self.not_ok_ns: dict[Verdict, int] = {}
        self._since_ns = now_ns
        self._quote_stale_ns = settings.quote_stale_ms * NS_PER_MS
        self._depth_stale_ns = settings.depth_stale_ms * NS_PER_MS
        self._skew_ns_max = settings.skew_ms_max * NS_PER_MS

    def is_late(self, quote: Quote) -> bool:
        """Say whether a newer quote came before this one; it is counted and must not pass.

        Ids that step back while the venue's time goes on are a new numbering, not a late frame;
        without a time of the venue, ids that go on rising below the newest one are.
        """
        if quote.update_id >= self._quote_id:
            return False
        if self._quotes_tell_time:
            if quote.event_ns > self._quote_event_ns:
                return False
        elif self._is_renumbered(quote.update_id):
            return False
        self.late_quote_count += 1
        return True

    def _is_renumbered(self, update_id: int) -> bool:
        """Count ascending ids below the newest; True when there are too many to be late ones."""
        is_rising = update_id > self._low_quote_id
        self._low_quote_count = self._low_quote_count + 1 if is_rising else 1
        self._low_quote_id = update_id
        return self._low_quote_count >= RENUMBERED_QUOTES

    def depth_delay(self, now_ns: int) -> int:
        """Return how long the newest depth update was under way, 0 where that was too long ago."""
        is_fresh = now_ns - self._depth_delay_at_ns <= DEPTH_DELAY_VALID_NS
        return self._depth_delay_ns if is_fresh else 0

    def middle(self, now_ns: int) -> MarkPrice:
        """Return the middle of the newest quote as a mark price, rounded up to a tick."""
        bid_ticks, _, ask_ticks, _ = self._quote_top
        return MarkPrice(
            instrument=self.instrument.index,
            event_ns=self._quote_event_ns,
            received_ns=now_ns,
            mark_ticks=(bid_ticks + ask_ticks + 1) // 2,
            funding_rate_frac=0.0,
        )

    def on_quote(self, quote: Quote, delay_ns: int = 0) -> bool:
        """Note a best bid and ask; True when the verdict must be judged anew."""
        self.quote_ns = quote.received_ns - delay_ns
        self._quote_id, self._quote_event_ns = quote.update_id, quote.event_ns
        self._low_quote_count = 0
        self._quote_top = (quote.bid_ticks, quote.bid_lots, quote.ask_ticks, quote.ask_lots)
        is_crossed = 0 < quote.ask_ticks <= quote.bid_ticks
        has_changed = is_crossed is not self.is_crossed
        self.is_crossed = is_crossed
        if quote.update_id == self.proof.update_id and self.sequence.is_synchronised:
            return self._check_top() or has_changed
        return has_changed

    def on_trade_id(self, trade_id: int) -> int:
        """Check the numbering: 0 when it continues, -1 for a repeat, n when n are missing.

        Only 0 moves the numbering on.
        """
        last_id = self.last_trade_id
        if last_id < 0 or trade_id == last_id + 1:
            self.last_trade_id = trade_id
            return 0
        if trade_id <= last_id:
            self.repeated_trade_count += 1
            return -1
        return trade_id - last_id - 1

    def on_diff(self, diff: DepthDiff, delay_ns: int = 0) -> Continuity:
        """Judge a depth event; BUFFER and GAP keep it for the next snapshot.

        A book that contradicts the quote of the same id sets ``audit_reason``.
        """
        was_synchronised = self.sequence.is_synchronised
        self._depth_delay_ns, self._depth_delay_at_ns = delay_ns, diff.received_ns
        continuity = self._check(diff)
        is_later = diff.event_ns > self._depth_event_ns
        if continuity is Continuity.OLD and was_synchronised and is_later:
            continuity = Continuity.GAP  # an id below ours of later time: ours was misread
        if continuity is Continuity.NEXT or continuity is Continuity.BRIDGE:
            self.depth_ns = diff.received_ns - delay_ns
            self._depth_event_ns = diff.event_ns
            self.proof.apply(diff)
            if not was_synchronised:
                self.audit_reason = ""
            if diff.last_update_id == self._quote_id:
                self._check_top()
        elif continuity is Continuity.BUFFER:
            self.buffered.append(diff)
        elif continuity is Continuity.GAP:
            if was_synchronised:  # else the snapshot was too old, and nothing is missing
                self.gap_count += 1
                self.has_gap = True
            self.forget_book()
            self.buffered.append(diff)
        return continuity

    def on_snapshot(self, snapshot: DepthSnapshot) -> list[DepthDiff] | None:
        """Take a snapshot; return the buffered events that follow it, None when it is too old.

        Not bridged yet is fine: the next live event decides. After None the buffer still holds what
        a later snapshot can use.
        """
        self.sequence.snapshot(snapshot.last_update_id)
        self._snapshot_id = snapshot.last_update_id
        following: list[DepthDiff] = []
        while self.buffered:
            diff = self.buffered[0]
            continuity = self._check(diff)
            if continuity is Continuity.GAP:
                self.sequence.reset()
                self._snapshot_id = -1
                self.buffered.extendleft(reversed(following))
                return None
            self.buffered.popleft()
            if continuity is not Continuity.OLD:
                following.append(diff)
        self.proof.load(snapshot)
        for diff in following:
            self.proof.apply(diff)
            self._depth_event_ns = diff.event_ns
        if following:
            self.depth_ns = snapshot.received_ns
            self.audit_reason = ""
        return following

    def fail_audit(self, reason: str) -> None:
        """Take it that the book is wrong: it is forgotten, only a new snapshot helps."""
        self.audit_failed_count += 1
        self.audit_reason = reason
        self.forget_book()

    def _check_top(self) -> bool:
        """Hold the book's top against the quote of the same update id; True when it differs."""
        if self.proof.best() == self._quote_top:
            return False
        self.audit_reason = "the book's top contradicts the quote of the same update"
        return True

    def _check(self, diff: DepthDiff) -> Continuity:
        first_id, last_id = diff.first_update_id, diff.last_update_id
        continuity = self.sequence.check(first_id, last_id, diff.previous_update_id)
        if (
            continuity is Continuity.GAP
            and not self.sequence.is_synchronised
            and diff.previous_update_id == self._snapshot_id
        ):
            # the snapshot ends exactly where this event begins, as in a quiet market: its pu proves
            # the joint, though the venue's rule asks for an overlap that cannot come any more
            self.sequence.snapshot(first_id)
            continuity = self.sequence.check(first_id, last_id, diff.previous_update_id)
        return continuity

    def forget_book(self) -> None:
        """Drop what is known of the book: only a new snapshot helps."""
        self._snapshot_id = -1
        self.sequence.reset()
        self.buffered.clear()
        self.proof.clear()

    def forget_connection(self) -> None:
        """Drop what held for one connection; trades are kept back until it is known which went."""
        self.has_gap = False
        self.audit_reason = ""
        self.is_crossed = False
        self.quote_ns = 0
        self._quote_id = -1
        self.forget_book()
        if self.last_trade_id >= 0 and self.held_trades is None:
            self.held_trades = []
        self.is_link_fresh = True

    def judge(self, now_ns: int, skew: SkewEstimate, links: Links) -> tuple[Verdict, str]:
        """Say what the feed is worth now, worst cause first."""
        if not (links.public and links.user):
            verdict = Verdict.RECONNECTING if links.was_complete else Verdict.WARMING
            return verdict, "user stream is down" if links.public else "public stream is down"
        if self.is_overflowed:
            return Verdict.GAP, "the engine does not keep up"
        if not self.sequence.is_synchronised:
            if self.audit_reason:
                return Verdict.AUDIT_FAILED, self.audit_reason
            if self.has_gap:
                return Verdict.GAP, "depth updates are missing"
            return Verdict.WARMING, "waiting for a book"
        if not self.quote_ns:
            return Verdict.WARMING, "waiting for a quote"
        if not self.mark_ns:
            return Verdict.WARMING, "waiting for a mark price"
        if self.held_trades is not None:
            verdict = Verdict.WARMING if self.is_link_fresh else Verdict.GAP
            return verdict, "missing trades are being fetched"
        if self.is_crossed:
            return Verdict.CROSSED, "best bid is not below best ask"
        if self.proof.is_crossed:
            return Verdict.CROSSED, "the book is crossed"
        if skew.has_sample and abs(skew.lag_ns) > self._skew_ns_max:
            return Verdict.SKEWED, f"clocks differ by {skew.lag_ns // NS_PER_MS} ms"
        if now_ns - self.quote_ns > self._quote_stale_ns:
            return Verdict.STALE, "no fresh quote"
        if now_ns - self.depth_ns > self._depth_stale_ns:
            return Verdict.STALE, "no fresh depth update"
        if now_ns - self.mark_ns > self._depth_stale_ns:
            return Verdict.STALE, "no fresh mark price"
        return Verdict.OK, ""

    def turn(self, verdict: Verdict, reason: str, now_ns: int) -> bool:
        """Take over a verdict, account for the time under the old one; True when it changed."""
        self._account(now_ns)
        self.reason = reason
        if verdict is self.verdict:
            return False
        self.verdict = verdict
        if verdict is Verdict.OK:
            self.has_gap = self.is_link_fresh = False
        return True

    def not_ok_until(self, now_ns: int) -> dict[str, int]:
        """Return nanoseconds spent under each verdict other than OK, up to ``now_ns``."""
        self._account(now_ns)
        return {verdict.name: spent_ns for verdict, spent_ns in sorted(self.not_ok_ns.items())}

    def _account(self, now_ns: int) -> None:
        spent_ns = max(now_ns - self._since_ns, 0)
        self._since_ns = now_ns
        if spent_ns and self.verdict is not Verdict.OK:
            self.not_ok_ns[self.verdict] = self.not_ok_ns.get(self.verdict, 0) + spent_ns
