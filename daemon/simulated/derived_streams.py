"""Streams made from others: slower depth, aggregated trades, mark prices. On the market's time.

Each keeps one open window; ``close(market_ns)`` renders it once the window has passed. Times given
are elapsed market nanoseconds, so that a faster replay makes faster windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from daemon.simulated.market_documents import level_rows
from daemon.simulated.wire_text import price_wire, quantity_wire
from kernels.events import DepthDiff, Side, Trade
from kernels.units import Instrument

Document = dict[str, object]

DEPTH_INTERVALS_NS = {
    "depth@100ms": 100_000_000,
    "depth": 250_000_000,
    "depth@500ms": 500_000_000,
}
AGGREGATION_NS = 100_000_000
MARK_INTERVALS_NS = {"markPrice@1s": 1_000_000_000, "markPrice": 3_000_000_000}


class DepthWindow:
    """Merges the changes of one interval into one event; the chain of ids stays whole."""

    def __init__(self, instrument: Instrument, interval_ns: int) -> None:
        """Start empty."""
        self._instrument = instrument
        self._interval_ns = interval_ns
        self._ends_ns = 0
        self._first: DepthDiff | None = None
        self._last_update_id = 0
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether changes are waiting for the end of their window."""
        return self._first is not None

    def add(self, diff: DepthDiff, market_ns: int) -> None:
        """Take one change into the open window; the caller closes windows that have passed.

        An open window must get every change until then: its ids promise that none is left out.
        """
        if self._first is None:
            self._first = diff
            self._ends_ns = (market_ns // self._interval_ns + 1) * self._interval_ns
        self._last_update_id = diff.last_update_id
        self._bids.update(_pairs(diff.bid_levels_n2))
        self._asks.update(_pairs(diff.ask_levels_n2))

    def close(self, market_ns: int, now_ms: int) -> Document | None:
        """Render and empty the window when its end has passed, else None."""
        if self._first is None or market_ns < self._ends_ns:
            return None
        document = self._render(self._first, now_ms)
        self._first = None
        self._bids.clear()
        self._asks.clear()
        return document

    def _render(self, first: DepthDiff, now_ms: int) -> Document:
        return {
            "e": "depthUpdate",
            "E": now_ms,
            "T": now_ms,
            "s": self._instrument.venue_id,
            "U": first.first_update_id,
            "u": self._last_update_id,
            "pu": first.previous_update_id,
            "b": level_rows(self._instrument, self._bid_rows()),
            "a": level_rows(self._instrument, self._ask_rows()),
        }

    def _bid_rows(self) -> NDArray[np.int64]:
        return _rows(self._bids)

    def _ask_rows(self) -> NDArray[np.int64]:
        return _rows(self._asks)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRun:
    """Consecutive trades of one price and side."""

    price_ticks: int
    aggressor: Side
    quantity_lots: int
    first_id: int
    last_id: int
    ends_ns: int


class TradeWindow:
    """Aggregates trades of one price and taker side within 100 ms."""

    def __init__(self, instrument: Instrument) -> None:
        """Start empty, aggregate ids from 1."""
        self._instrument = instrument
        self._run: TradeRun | None = None
        self._next_id = 1

    def add(self, trade: Trade, market_ns: int, now_ms: int) -> Document | None:
        """Take one trade; return the aggregate that it ended, if any."""
        run = self._run
        if (
            run is not None
            and market_ns < run.ends_ns
            and (run.price_ticks, run.aggressor) == (trade.price_ticks, trade.aggressor)
        ):
            self._run = replace(
                run,
                quantity_lots=run.quantity_lots + trade.quantity_lots,
                last_id=trade.trade_id,
            )
            return None
        self._run = TradeRun(
            price_ticks=trade.price_ticks,
            aggressor=trade.aggressor,
            quantity_lots=trade.quantity_lots,
            first_id=trade.trade_id,
            last_id=trade.trade_id,
            ends_ns=market_ns + AGGREGATION_NS,
        )
        return None if run is None else self._render(run, now_ms)

    def close(self, market_ns: int, now_ms: int) -> Document | None:
        """Render the open aggregate when its time has passed, else None."""
        run = self._run
        if run is None or market_ns < run.ends_ns:
            return None
        self._run = None
        return self._render(run, now_ms)

    def _render(self, run: TradeRun, now_ms: int) -> Document:
        aggregate_id = self._next_id
        self._next_id += 1
        return {
            "e": "aggTrade",
            "E": now_ms,
            "s": self._instrument.venue_id,
            "a": aggregate_id,
            "p": price_wire(self._instrument, run.price_ticks),
            "q": quantity_wire(self._instrument, run.quantity_lots),
            "f": run.first_id,
            "l": run.last_id,
            "T": now_ms,
            "m": run.aggressor is Side.SELL,
        }


def _pairs(levels_n2: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    return zip(levels_n2[:, 0].tolist(), levels_n2[:, 1].tolist(), strict=True)


def _rows(levels: dict[int, int]) -> NDArray[np.int64]:
    return np.array(sorted(levels.items()), dtype=np.int64).reshape(-1, 2)
