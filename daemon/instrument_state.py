"""What the engine holds of one instrument: book, features, last prices and the feed's verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, FeedStatus, MarkPrice, Quote, Trade, Verdict
from kernels.features import FeatureEngine
from kernels.units import Instrument

RECENT_QUOTES = 4096
"""Quotes remembered by update id, to hold the depth book against them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """All that is remembered of one market; arrays are the live ones, so write it out at once.

    ``numbers`` are bid_ticks, bid_lots, ask_ticks, ask_lots, quote_received_ns, mark_ticks,
    mark_received_ns, last_trade_ticks, top_checked_count, top_mismatch_count, recent_next.
    """

    book: NDArray[np.int64]
    features: NDArray[np.float64]
    verdict: Verdict
    reason: str
    numbers: tuple[int, ...]
    recent_update_id: NDArray[np.int64]
    recent_top: NDArray[np.int64]


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
        self.last_trade_ticks = 0
        self.top_checked_count = 0
        self.top_mismatch_count = 0
        self._recent_update_id = np.zeros(RECENT_QUOTES, np.int64)
        self._recent_top = np.zeros((RECENT_QUOTES, 4), np.int64)
        self._recent_next = 0

    @property
    def mid_ticks(self) -> float:
        """Middle of the best bid and ask in ticks, 0 where a side is missing."""
        if self.bid_ticks <= 0 or self.ask_ticks <= 0:
            return 0.0
        return 0.5 * (self.bid_ticks + self.ask_ticks)

    def on_quote(self, quote: Quote) -> None:
        """Take over a best bid and ask."""
        self.bid_ticks = quote.bid_ticks
        self.bid_lots = quote.bid_lots
        self.ask_ticks = quote.ask_ticks
        self.ask_lots = quote.ask_lots
        self.quote_received_ns = quote.received_ns
        row = self._recent_next
        self._recent_update_id[row] = quote.update_id
        self._recent_top[row] = (quote.bid_ticks, quote.bid_lots, quote.ask_ticks, quote.ask_lots)
        self._recent_next = (row + 1) % RECENT_QUOTES
        self.features.on_quote(
            quote.received_ns, quote.bid_ticks, quote.bid_lots, quote.ask_ticks, quote.ask_lots
        )

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
        rows = np.flatnonzero(self._recent_update_id == diff.last_update_id)
        if rows.size == 0:
            return True
        self.top_checked_count += 1
        if tuple(self._recent_top[rows[0]]) == self.book.best():
            return True
        self.top_mismatch_count += 1
        return False

    def on_mark(self, mark: MarkPrice) -> None:
        """Take over the venue's valuation price."""
        self.mark_ticks = mark.mark_ticks
        self.mark_received_ns = mark.received_ns
        self.features.on_mark(mark.mark_ticks, mark.funding_rate_frac)

    def on_status(self, status: FeedStatus) -> None:
        """Take over the feed's verdict."""
        self.verdict = status.verdict
        self.reason = status.reason

    @property
    def state(self) -> MarketState:
        """Give all that is remembered of this market."""
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
                self.last_trade_ticks,
                self.top_checked_count,
                self.top_mismatch_count,
                self._recent_next,
            ),
            recent_update_id=self._recent_update_id,
            recent_top=self._recent_top,
        )

    def restore(self, state: MarketState) -> None:
        """Take over what was remembered; ValueError when it belongs to another market or schema."""
        if state.book.shape != self.book.state.shape:
            raise ValueError("book state of another capacity")
        if state.recent_top.shape != self._recent_top.shape:
            raise ValueError("another number of recent quotes")
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
            self.last_trade_ticks,
            self.top_checked_count,
            self.top_mismatch_count,
            self._recent_next,
        ) = state.numbers
        self._recent_update_id[:] = state.recent_update_id
        self._recent_top[:] = state.recent_top
