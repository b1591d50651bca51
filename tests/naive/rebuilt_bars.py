"""Bars from trades, the way anyone would count them."""

from __future__ import annotations

from collections.abc import Iterable

from kernels.events import Trade


def rebuild(trades: Iterable[Trade], open_ns: list[int], interval_ns: int) -> list[list[int]]:
    """Return open, high, low, close and volume of each bar; five zeros where nothing traded."""
    inside: dict[int, list[Trade]] = {at_ns: [] for at_ns in open_ns}
    for trade in trades:
        started_ns = max(at_ns for at_ns in open_ns if at_ns <= trade.event_ns)
        assert trade.event_ns < started_ns + interval_ns
        inside[started_ns].append(trade)
    bars = []
    for at_ns in open_ns:
        prices = [trade.price_ticks for trade in inside[at_ns]]
        lots = sum(trade.quantity_lots for trade in inside[at_ns])
        bars.append(
            [prices[0], max(prices), min(prices), prices[-1], lots] if prices else [0, 0, 0, 0, 0]
        )
    return bars
