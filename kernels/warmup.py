"""Compile every kernel the daemon calls before the first tick."""

from __future__ import annotations

import numpy as np

from kernels import book as books
from kernels.book import Book
from kernels.events import AccountState, DepthDiff, DepthSnapshot, Fill, Funding, Side
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine
from kernels.ledger import Ledger
from kernels.units import Instrument

INTERVAL_NS = 1_000_000_000


def warm_up() -> None:
    """Run every path of book, features and ledger on dummies, with the types of real events.

    Compiles on a first start (seconds), loads machine code from the disk afterwards.
    """
    book = _warm_book()
    _warm_features(book)
    _warm_ledger()


def _warm_book() -> Book:
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
    books.depth_lots(book.state, books.BID, 20)
    books.mid_ticks(best[0], best[2])
    books.microprice_ticks(*best)
    books.order_flow_lots(*best, *best)
    return book


def _warm_features(book: Book) -> None:
    engine = FeatureEngine(DEFAULT_FEATURE_NAMES, INTERVAL_NS, 0.1, 0.001, window_bars=10)
    for step in range(engine.bars_needed + 1):
        now_ns = step * INTERVAL_NS
        engine.on_quote(now_ns, 100 + step % 3, 5, 102 + step % 3, 7)
        engine.on_trade(now_ns, 101, 3, 1 if step % 2 else -1)
        engine.on_book(book)
        engine.on_mark(101, 0.0001)
        engine.close_bars(now_ns + INTERVAL_NS)
    if not (engine.is_warm and bool(np.isfinite(engine.values_F).all())):
        raise RuntimeError("features are not warm after their warm-up: a defect of the kernels")


def _warm_ledger() -> None:
    instrument = Instrument(
        index=0,
        symbol="WARM/UP:UP",
        venue_id="WARMUP",
        tick_size_e8=10_000_000,
        lot_size_e8=100_000,
        lots_min=1,
        lots_max=1_000,
        notional_min_quote_e8=0,
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )
    ledger = Ledger((instrument,), 10**12)
    ledger.roll_day(0)
    ledger.adopt(AccountState(received_ns=0, wallet_quote_e8=10**12, position_lots=(1,)))
    ledger.mark(0, 1_000)
    ledger.adopt(AccountState(received_ns=0, wallet_quote_e8=10**12, position_lots=(3,)))
    for sequence, side in enumerate((Side.BUY, Side.SELL, Side.SELL)):
        ledger.apply_fill(
            Fill(
                instrument=0,
                event_ns=0,
                received_ns=0,
                client_order_id="",
                trade_id=sequence,
                side=side,
                price_ticks=1_000 + sequence,
                quantity_lots=4,
                fee_quote_e8=10,
                is_maker=False,
            )
        )
    ledger.apply_funding(Funding(instrument=0, event_ns=0, received_ns=0, amount_quote_e8=-5))
    ledger.mark(0, 1_001)
    ledger.roll_day(86_400 * INTERVAL_NS)
    ledger.read()
    if ledger.position_lots(0) != -1 or not ledger.equity_quote_e8 > 0:
        raise RuntimeError("the ledger's warm-up did not end where its fills lead: a defect")
