"""What the gate may look at besides the ledger: prices and the orders that are still alive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernels.events import Side, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """Newest prices, every field indexed by instrument; UNIX ns, ticks and lots.

    ``mark_ticks`` is 0 while unknown. ``quote_received_ns`` and ``mark_received_ns`` are our own
    stamps of the newest quote and mark, 0 for never. Prices stay when they grow old: the gate
    judges their age, and a reduction may still use the last known one.
    """

    verdict: Sequence[Verdict]
    bid_ticks: Sequence[int]
    ask_ticks: Sequence[int]
    bid_lots: Sequence[int]
    ask_lots: Sequence[int]
    mark_ticks: Sequence[int]
    quote_received_ns: Sequence[int]
    mark_received_ns: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingView:
    """Remaining lots of every order that is not terminal (SENT and UNKNOWN too), by instrument.

    ``buy_lots`` and ``sell_lots`` count ALL of them; ``reduce_buy_lots`` and ``reduce_sell_lots``
    are the reduce-only part of the same lots, never more. ``tally`` builds it.
    """

    buy_lots: Sequence[int]
    sell_lots: Sequence[int]
    reduce_buy_lots: Sequence[int]
    reduce_sell_lots: Sequence[int]
    has_unknown: Sequence[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingOrder:
    """What ``tally`` needs of one living order; ``remaining_lots`` is never negative."""

    instrument: int
    side: Side
    remaining_lots: int
    reduce_only: bool
    is_unknown: bool


def tally(instrument_count: int, orders: Iterable[WorkingOrder]) -> WorkingView:
    """Sum living orders into the view of the gate."""
    buy, sell, reduce_buy, reduce_sell = ([0] * instrument_count for _ in range(4))
    has_unknown = [False] * instrument_count
    for order in orders:
        total, reducing = (buy, reduce_buy) if order.side is Side.BUY else (sell, reduce_sell)
        total[order.instrument] += order.remaining_lots
        if order.reduce_only:
            reducing[order.instrument] += order.remaining_lots
        has_unknown[order.instrument] |= order.is_unknown
    return WorkingView(
        buy_lots=buy,
        sell_lots=sell,
        reduce_buy_lots=reduce_buy,
        reduce_sell_lots=reduce_sell,
        has_unknown=has_unknown,
    )
