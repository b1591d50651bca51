"""What the engine holds of one instrument: book, features, last prices and the feed's verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.book import ASK, BID, Book, depth_lots
from kernels.events import (
    DayVolume,
    DepthDiff,
    DepthSnapshot,
    FeedStatus,
    MarkPrice,
    Quote,
    Trade,
    Verdict,
)
from kernels.features import FeatureEngine
from kernels.units import Instrument

VISIBLE_LEVELS = 20
"""Best levels of a side that count as its visible depth."""

RECENT_QUOTES = 4096
"""Quotes remembered by update id, to hold the depth book against them."""

NO_UPDATE = -1
"""Stands where no quote is remembered yet."""

Top = tuple[int, int, int, int]
"""Best bid ticks and lots, best ask ticks and lots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """All that is remembered of one market; book and features are live, so write it out at once.

    ``numbers`` are bid_ticks, bid_lots, ask_ticks, ask_lots, quote_received_ns, mark_ticks,
    mark_received_ns, day_volume_lots, day_volume_received_ns, last_trade_ticks, top_checked_count,
    top_mismatch_count, recent_next.
    """

    book: NDArray[np.int64]
    features: NDArray[np.float64]
    verdict: Verdict
    reason: str
    numbers: tuple[int, ...]
    recent_update_id: NDArray[np.int64]
    recent_top: NDArray[np.int64]


class RecentTops:
    """The newest quotes by update id: a ring of ids, and what each of them said; O(1) per call."""

    __slots__ = ("_next", "_top_by_id", "_update_ids")

    def __init__(self) -> None:
        """Start with none."""
        self._update_ids = [NO_UPDATE] * RECENT_QUOTES
        self._top_by_id: dict[int, Top] = {}
        self._next = 0

    def put(self, update_id: int, top: Top) -> None:
        """Remember a quote in the place of the oldest; the last word on an id counts."""
        if update_id not in self._top_by_id:
            at = self._next
            self._top_by_id.pop(self._update_ids[at], None)
            self._update_ids[at] = update_id
            self._next = (at + 1) % RECENT_QUOTES
        self._top_by_id[update_id] = top

    def get(self, update_id: int) -> Top | None:
        """Return what the quote of this id said, None when it is not remembered."""
        return self._top_by_id.get(update_id)

    @property
    def state(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Give update ids (N,), tops (N, 4) and the next place, copied; N = RECENT_QUOTES."""
        nothing: Top = (0, 0, 0, 0)
        tops = [self._top_by_id.get(update_id, nothing) for update_id in self._update_ids]
        return np.array(self._update_ids, np.int64), np.array(tops, np.int64), self._next

    def restore(
        self, update_id_n: NDArray[np.int64], top_n4: NDArray[np.int64], following: int
    ) -> None:
        """Take over what ``state`` gave; ValueError for another number of quotes."""
        if update_id_n.shape != (RECENT_QUOTES,) or top_n4.shape != (RECENT_QUOTES, 4):
            raise ValueError("another number of recent quotes")
        self._update_ids = update_id_n.tolist()
        pairs = zip(self._update_ids, map(tuple, top_n4.tolist()), strict=True)
        self._top_by_id = {update_id: top for update_id, top in pairs if update_id != NO_UPDATE}
        self._next = following


class InstrumentState:
    """One instrument's market as far as the folded events tell."""

    def __init__(
        self, instrument: Instrument, feature_names: tuple[str, ...], bar_interval_ns: int
    ) -> None:
        """Start with nothing known: the verdict is WARMING until the feed says otherwise."""
        self.instrument = instrument
        self.book = Book()
        self.features = FeatureEngine(
            feature_names, bar_interval_ns, instrument.tick_size, instrument.lot_size
        )
        self.verdict = Verdict.WARMING
        self.reason = "no market data yet"
        self.bid_ticks = 0
        self.bid_lots = 0
        self.ask_ticks = 0
        self.ask_lots = 0
        self.quote_received_ns = 0
        self.mark_ticks = 0
        self.mark_received_ns = 0
        self.day_volume_lots = 0
        self.day_volume_received_ns = 0
        self.last_trade_ticks = 0
        self.top_checked_count = 0
        self.top_mismatch_count = 0
        self._recent = RecentTops()

    @property
    def mid_ticks(self) -> float:
        """Middle of the best bid and ask in ticks, 0 where a side is missing."""
        if self.bid_ticks <= 0 or self.ask_ticks <= 0:
            return 0.0
        return 0.5 * (self.bid_ticks + self.ask_ticks)

    @property
    def bid_depth_lots(self) -> int:
        """What the best bids display together, by the book or by the newest quote."""
        return max(self.bid_lots, int(depth_lots(self.book.state, BID, VISIBLE_LEVELS)))

    @property
    def ask_depth_lots(self) -> int:
        """What the best asks display together, by the book or by the newest quote."""
        return max(self.ask_lots, int(depth_lots(self.book.state, ASK, VISIBLE_LEVELS)))

    def on_quote(self, quote: Quote) -> None:
        """Take over a best bid and ask."""
        self.bid_ticks = bid_ticks = quote.bid_ticks
        self.bid_lots = bid_lots = quote.bid_lots
        self.ask_ticks = ask_ticks = quote.ask_ticks
        self.ask_lots = ask_lots = quote.ask_lots
        self.quote_received_ns = received_ns = quote.received_ns
        self._recent.put(quote.update_id, (bid_ticks, bid_lots, ask_ticks, ask_lots))
        self.features.on_quote(received_ns, bid_ticks, bid_lots, ask_ticks, ask_lots)

    def on_trade(self, trade: Trade) -> None:
        """Take over a public print."""
        self.last_trade_ticks = trade.price_ticks
        self.features.on_trade(
            trade.received_ns, trade.price_ticks, trade.quantity_lots, int(trade.aggressor)
        )

    def on_snapshot(self, snapshot: DepthSnapshot) -> None:
        """Replace the book."""
        self.book.load(snapshot)
        self.features.on_book(self.book)

    def on_diff(self, diff: DepthDiff) -> bool:
        """Change the book; False when its top contradicts the quote of the same update id."""
        self.book.apply(diff)
        self.features.on_book(self.book)
        top = self._recent.get(diff.last_update_id)
        if top is None:
            return True
        self.top_checked_count += 1
        if top == self.book.best():
            return True
        self.top_mismatch_count += 1
        return False

    def on_mark(self, mark: MarkPrice) -> None:
        """Take over the venue's valuation price."""
        self.mark_ticks = mark.mark_ticks
        self.mark_received_ns = mark.received_ns
        self.features.on_mark(mark.mark_ticks, mark.funding_rate_frac)

    def on_day_volume(self, volume: DayVolume) -> None:
        """Take over what was traded in a day."""
        self.day_volume_lots = volume.volume_lots
        self.day_volume_received_ns = volume.received_ns

    def on_status(self, status: FeedStatus) -> None:
        """Take over the feed's verdict."""
        self.verdict = status.verdict
        self.reason = status.reason

    @property
    def state(self) -> MarketState:
        """Give all that is remembered of this market."""
        recent_update_id, recent_top, recent_next = self._recent.state
        return MarketState(
            book=self.book.state,
            features=self.features.state,
            verdict=self.verdict,
            reason=self.reason,
            numbers=(
                self.bid_ticks,
                self.bid_lots,
                self.ask_ticks,
                self.ask_lots,
                self.quote_received_ns,
                self.mark_ticks,
                self.mark_received_ns,
                self.day_volume_lots,
                self.day_volume_received_ns,
                self.last_trade_ticks,
                self.top_checked_count,
                self.top_mismatch_count,
                recent_next,
            ),
            recent_update_id=recent_update_id,
            recent_top=recent_top,
        )

    def restore(self, state: MarketState) -> None:
        """Take over what was remembered; ValueError when it belongs to another market or schema."""
        if state.book.shape != self.book.state.shape:
            raise ValueError("book state of another capacity")
        self._recent.restore(state.recent_update_id, state.recent_top, state.numbers[-1])
        self.features.restore(state.features)
        self.book.state[:] = state.book
        self.verdict = state.verdict
        self.reason = state.reason
        (
            self.bid_ticks,
            self.bid_lots,
            self.ask_ticks,
            self.ask_lots,
            self.quote_received_ns,
            self.mark_ticks,
            self.mark_received_ns,
            self.day_volume_lots,
            self.day_volume_received_ns,
            self.last_trade_ticks,
            self.top_checked_count,
            self.top_mismatch_count,
            _,
        ) = state.numbers
