"""The book against ccxt's, and the matcher against a book without orders of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.bench.bench_frames import FrameSet
from daemon.bench.feed_stage import FeedRig
from daemon.bench.stopwatch import Form, Goal, Stage
from kernels.book import Book
from kernels.events import DepthDiff, Side, Trade
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine
from kernels.matching import Matcher, PlacementStatus, TimeInForce

BAR_NS = 1_000_000_000
WIRE_DECIMALS = 8
RESTING_ORDERS = 16
APPLY = "book, one depth update applied"
DEPTH_FEATURES = "book, one depth update and its features"
CCXT_BOOK = "ccxt order book, the same update stored"
MATCH = f"matcher, one depth update beside {RESTING_ORDERS} orders"
MATCH_TRADE = f"matcher, one trade beside {RESTING_ORDERS} orders"


class BookRig:
    """The first instrument's book in three forms, all at the snapshot when a round begins."""

    def __init__(self, frames: FrameSet, rig: FeedRig) -> None:
        """Take the first instrument's snapshot."""
        self.instrument = frames.instruments[0]
        self._rig = rig
        self._snapshot = next(s for s in frames.snapshots if s.instrument == 0)
        self.engine = FeatureEngine(DEFAULT_FEATURE_NAMES, BAR_NS, 0.1, 0.001)
        self.reset()

    def reset(self) -> None:
        """Load the snapshot everywhere and place our orders on both sides of the touch."""
        self.book = Book()
        self.book.load(self._snapshot)
        self._rig.reset()
        self._theirs: Any = self._rig.venue.exchange.orderbooks[self.instrument.symbol]
        self.matcher = Matcher(Book())
        self.matcher.load(self._snapshot)
        bid_ticks, _, ask_ticks, _ = self.book.best()
        for key in range(RESTING_ORDERS):
            is_buy = key % 2 == 0
            away = 1 + 3 * (key // 2)
            placed = self.matcher.place(
                key,
                Side.BUY if is_buy else Side.SELL,
                TimeInForce.GTX,
                bid_ticks - away if is_buy else ask_ticks + away,
                10**9,
            )
            assert placed.status is PlacementStatus.RESTING, placed

    def apply(self, diff: DepthDiff) -> None:
        """Change our book."""
        self.book.apply(diff)

    def apply_and_read(self, diff: DepthDiff) -> None:
        """Change our book and read the depth features off it."""
        self.book.apply(diff)
        self.engine.on_book(self.book)

    def store(self, bids: Sequence[list[float]], asks: Sequence[list[float]]) -> None:
        """Change ccxt's book and bring it in order, as its handlers do."""
        book = self._theirs
        for level in bids:
            book["bids"].storeArray(level)
        for level in asks:
            book["asks"].storeArray(level)

    def match(self, diff: DepthDiff) -> None:
        """Let our resting orders meet a change of the book."""
        self.matcher.on_diff(diff)

    def match_trade(self, trade: Trade) -> None:
        """Let our resting orders meet a print."""
        self.matcher.on_trade(trade.price_ticks, trade.quantity_lots, trade.aggressor)


def book_stage(frames: FrameSet, rig: FeedRig) -> Stage:
    """Build the stage of depth updates; AssertionError when the books end apart."""
    books = BookRig(frames, rig)
    diffs = [f.event for f in frames.of_kind(DepthDiff) if f.event.instrument == 0]
    steps = np.array([books.instrument.tick_size, books.instrument.lot_size])
    rows: list[tuple[DepthDiff]] = []
    theirs: list[tuple[list[list[float]], list[list[float]]]] = []
    for diff in diffs:
        assert isinstance(diff, DepthDiff)
        rows.append((diff,))
        sides = (diff.bid_levels_n2, diff.ask_levels_n2)
        bids, asks = (np.round(levels_n2 * steps, WIRE_DECIMALS).tolist() for levels_n2 in sides)
        theirs.append((bids, asks))
        books.apply(diff)
        books.store(*theirs[-1])
    bid_ticks, _, ask_ticks, _ = books.book.best()
    ours = (bid_ticks * steps[0], ask_ticks * steps[0])
    assert np.allclose(ours, rig.venue.best_of_book(books.instrument.symbol), rtol=1e-12)
    sizes = [len(d.bid_levels_n2) + len(d.ask_levels_n2) for (d,) in rows]
    forms = [
        Form(name=APPLY, function=books.apply, rows=rows, before_round=books.reset),
        Form(
            name=DEPTH_FEATURES,
            function=books.apply_and_read,
            rows=rows,
            before_round=books.reset,
        ),
        Form(name=CCXT_BOOK, function=books.store, rows=theirs, before_round=books.reset),
    ]
    facts = {"updates": len(rows), "levels per update, median": float(np.median(sizes))}
    goals = [Goal(form=APPLY, base=CCXT_BOOK)]
    return Stage(name="book", forms=forms, goals=goals, facts=facts)


def matching_stage(frames: FrameSet, rig: FeedRig) -> Stage:
    """Build the stage of the fill model, against a book in which nothing of ours rests."""
    books = BookRig(frames, rig)
    diffs = [(f.event,) for f in frames.of_kind(DepthDiff) if f.event.instrument == 0]
    trades = [(f.event,) for f in frames.of_kind(Trade) if f.event.instrument == 0]
    forms = [
        Form(name=APPLY, function=books.apply, rows=diffs, before_round=books.reset),
        Form(name=MATCH, function=books.match, rows=diffs, before_round=books.reset),
        Form(name=MATCH_TRADE, function=books.match_trade, rows=trades, before_round=books.reset),
    ]
    return Stage(name="matching", forms=forms, goals=[Goal(form=APPLY, base=MATCH)])
