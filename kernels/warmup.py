"""Compile every kernel of this room before the first tick."""

from __future__ import annotations

import numpy as np

from kernels import book as books
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine


def warm_up() -> None:
    """Run every path of book and features once on dummies, with the types of real events.

    Compiles on a first start (seconds), loads machine code from the disk afterwards.
    """
    book = Book(capacity=64)
    bids_n2 = np.array([[100 - i, 5 + i] for i in range(30)], dtype=np.int64)
    asks_n2 = np.array([[102 + i, 7 + i] for i in range(30)], dtype=np.int64)
    book.load(
        DepthSnapshot(
            instrument=0,
            event_ns=0,
            received_ns=0,
            last_update_id=1,
            bid_levels_n2=bids_n2,
            ask_levels_n2=asks_n2,
        )
    )
    book.apply(
        DepthDiff(
            instrument=0,
            event_ns=0,
            received_ns=0,
            first_update_id=2,
            last_update_id=2,
            previous_update_id=1,
            bid_levels_n2=bids_n2[:2],
            ask_levels_n2=asks_n2[:2],
        )
    )
    best = book.best()
    book.is_crossed()
    book.levels(Side.BUY, 5)
    book.level_lots(Side.SELL, 102)
    book.imbalance_frac(5)
    books.mid_ticks(best[0], best[2])
    books.microprice_ticks(*best)
    books.order_flow_lots(*best, *best)
    interval_ns = 1_000_000_000
    engine = FeatureEngine(DEFAULT_FEATURE_NAMES, interval_ns, 0.1, 0.001, window_bars=10)
    for step in range(engine.bars_needed + 1):
        now_ns = step * interval_ns
        engine.on_quote(now_ns, 100 + step % 3, 5, 102 + step % 3, 7)
        engine.on_trade(now_ns, 101, 3, 1 if step % 2 else -1)
        engine.on_book(book)
        engine.on_mark(101, 0.0001)
        engine.close_bars(now_ns + interval_ns)
    if not (engine.is_warm and bool(np.isfinite(engine.values_F).all())):
        raise RuntimeError("features are not warm after their warm-up: a defect of the kernels")
