"""What the gate may look at besides the ledger: prices, living orders, the model's own health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.events import Side, Verdict


class ModelVerdict(IntEnum):
    """Quality of what the models said of one instrument; only OK allows new risk."""

    OK = 0
    ABSENT = 1
    WRONG_SCHEMA = 2
    NOT_FINITE = 3
    EXPIRED = 4
    SLOW = 5
    OUT_OF_DISTRIBUTION = 6
    DISAGREEMENT = 7


class MarketRow(Protocol):
    """Newest prices of one instrument; UNIX ns, ticks and lots.

    ``*_depth_lots`` is what the best levels of one side display together. ``mark_ticks`` is 0 while
    unknown; the stamps are our own of the newest quote, mark and day's volume, 0 for never. Prices
    stay when they grow old: the gate judges their age, and a reduction may use the last known one.
    """

    @property
    def verdict(self) -> Verdict:
        """Integrity of the feed."""

    @property
    def bid_ticks(self) -> int:
        """Best bid."""

    @property
    def ask_ticks(self) -> int:
        """Best ask."""

    @property
    def bid_lots(self) -> int:
        """Displayed at the best bid."""

    @property
    def ask_lots(self) -> int:
        """Displayed at the best ask."""

    @property
    def bid_depth_lots(self) -> int:
        """Displayed at the best bids together."""

    @property
    def ask_depth_lots(self) -> int:
        """Displayed at the best asks together."""

    @property
    def mark_ticks(self) -> int:
        """Mark price."""

    @property
    def day_volume_lots(self) -> int:
        """Traded in the last 24 hours."""

    @property
    def day_volume_received_ns(self) -> int:
        """When the venue said so."""

    @property
    def quote_received_ns(self) -> int:
        """When the quote came."""

    @property
    def mark_received_ns(self) -> int:
        """When the mark came."""


MarketView = Sequence[MarketRow]
"""Prices by instrument; whoever holds an instrument's state hands it in as it is, uncopied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StillMarket:
    """A ``MarketRow`` that does not move: for tests, and for whoever keeps a copy."""

    verdict: Verdict
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int
    bid_depth_lots: int
    ask_depth_lots: int
    mark_ticks: int
    quote_received_ns: int
    mark_received_ns: int
    day_volume_lots: int
    day_volume_received_ns: int


BUY_LOTS = 0
SELL_LOTS = 1
REDUCE_BUY_LOTS = 2
REDUCE_SELL_LOTS = 3
UNKNOWN_COUNT = 4
RESTING_BUY_TICKS = 5
RESTING_SELL_TICKS = 6
WORKING_COLUMNS = 7
"""Columns of ``WorkingView.table_NC``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkingView:
    """Every order that is not terminal (SENT and UNKNOWN too), summed by instrument.

    ``table_NC`` is int64, one row an instrument. BUY_LOTS and SELL_LOTS count the remaining lots of
    ALL orders, the REDUCE columns the reduce-only part of the same lots. RESTING_BUY_TICKS is the
    highest price at which a buy order of ours is known to rest, RESTING_SELL_TICKS the lowest of a
    sell order, 0 for none. ``risk.working_tally`` builds it; it may live on between reviews.
    """

    table_NC: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse another type or shape: the gate reads it without asking again."""
        table = self.table_NC
        if table.dtype != np.int64 or table.ndim != 2 or table.shape[1] != WORKING_COLUMNS:
            raise ValueError(f"working orders have type {table.dtype}, shape {table.shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingOrder:
    """What counts of one living order; ``remaining_lots`` is never negative.

    ``resting_ticks`` is its price where it is known to rest in the book, 0 where it cannot (IOC) or
    where its fate is UNKNOWN.
    """

    instrument: int
    side: Side
    remaining_lots: int
    reduce_only: bool
    is_unknown: bool
    resting_ticks: int = 0
