"""Seeded event streams for feature tests: quotes, trades, books and marks of one instrument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kernels.book import Book
from kernels.events import DepthSnapshot
from kernels.features import FeatureEngine

Levels = list[tuple[int, int]]
START_NS = 1_763_650_000_123_456_789


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStep:
    """One event; only the fields of its kind count."""

    kind: Literal["quote", "trade", "book", "mark", "time"]
    now_ns: int
    quote: tuple[int, int, int, int] = (0, 0, 0, 0)
    trade: tuple[int, int, int] = (0, 0, 0)
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    mark: tuple[int, float] = (0, 0.0)


def random_market(
    seed: int, bars: int, interval_ns: int, step_ticks: float = 4.0, events_per_bar: float = 5.0
) -> Iterator[MarketStep]:
    """Yield events over about so many bars; some bars stay without a quote."""
    rng = np.random.default_rng(seed)
    mid, now_ns = 30_000.0, START_NS
    end_ns = START_NS + bars * interval_ns
    while now_ns < end_ns:
        now_ns += 1 + int(rng.exponential(interval_ns / events_per_bar))
        kind = rng.choice(["quote", "quote", "trade", "book", "mark", "time"])
        mid = max(100.0, mid + step_ticks * float(rng.standard_normal()))
        half = int(rng.integers(0, 3))
        bid, ask = int(mid) - half, int(mid) + 1 + half
        if kind == "quote":
            lots = rng.integers(1, 500, size=2)
            yield MarketStep(
                kind="quote", now_ns=now_ns, quote=(bid, int(lots[0]), ask, int(lots[1]))
            )
        elif kind == "trade":
            sign = 1 if rng.random() < 0.5 else -1
            price = ask if sign > 0 else bid
            yield MarketStep(
                kind="trade", now_ns=now_ns, trade=(price, int(rng.integers(1, 90)), sign)
            )
        elif kind == "book":
            counts = rng.integers(1, 26, size=2)
            yield MarketStep(
                kind="book",
                now_ns=now_ns,
                bids=tuple((bid - 2 * i, int(rng.integers(1, 99))) for i in range(counts[0])),
                asks=tuple((ask + 3 * i, int(rng.integers(1, 99))) for i in range(counts[1])),
            )
        elif kind == "mark":
            rate = float(rng.normal(0.0, 1e-4))
            yield MarketStep(kind="mark", now_ns=now_ns, mark=(bid - 3, rate))
        else:
            yield MarketStep(kind="time", now_ns=now_ns)


def feed_engine(engine: FeatureEngine, step: MarketStep) -> None:
    """Apply one step to an engine."""
    if step.kind == "quote":
        engine.on_quote(step.now_ns, *step.quote)
    elif step.kind == "trade":
        engine.on_trade(step.now_ns, *step.trade)
    elif step.kind == "mark":
        engine.on_mark(*step.mark)
    elif step.kind == "book":
        book = Book(capacity=64)
        book.load(
            DepthSnapshot(
                instrument=0,
                event_ns=step.now_ns,
                received_ns=step.now_ns,
                last_update_id=1,
                bid_levels_n2=np.array(step.bids, dtype=np.int64),
                ask_levels_n2=np.array(step.asks, dtype=np.int64),
            )
        )
        engine.on_book(book)
    else:
        engine.close_bars(step.now_ns)
