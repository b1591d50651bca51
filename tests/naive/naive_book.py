"""The order book as a pair of dictionaries, and order flow written out as in the paper."""

from __future__ import annotations

from collections.abc import Iterable


class NaiveBook:
    """Slow twin of ``kernels.book.Book`` with unlimited room: price to quantity, per side."""

    def __init__(self) -> None:
        """Start empty."""
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def apply(
        self, bid_levels: Iterable[tuple[int, int]], ask_levels: Iterable[tuple[int, int]]
    ) -> None:
        """Set every (price, quantity) in turn; quantity 0 removes the price."""
        for side, levels in ((self.bids, bid_levels), (self.asks, ask_levels)):
            for ticks, lots in levels:
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)

    def bid_levels(self, count: int) -> list[tuple[int, int]]:
        """Return the bids, highest price first."""
        return sorted(self.bids.items(), reverse=True)[:count]

    def ask_levels(self, count: int) -> list[tuple[int, int]]:
        """Return the asks, lowest price first."""
        return sorted(self.asks.items())[:count]

    def imbalance_frac(self, depth: int) -> float:
        """Return (bids - asks) / (bids + asks) over the best levels."""
        bid_lots = sum(lots for _, lots in self.bid_levels(depth))
        ask_lots = sum(lots for _, lots in self.ask_levels(depth))
        return (bid_lots - ask_lots) / (bid_lots + ask_lots) if bid_lots + ask_lots else 0.0


def naive_order_flow_lots(
    before: tuple[int, int, int, int], after: tuple[int, int, int, int]
) -> int:
    """Return e_n of Cont, Kukanov, Stoikov: demand change less supply change at the touch."""
    bid_ticks_before, bid_lots_before, ask_ticks_before, ask_lots_before = before
    bid_ticks, bid_lots, ask_ticks, ask_lots = after
    demand = bid_lots * (bid_ticks >= bid_ticks_before) - bid_lots_before * (
        bid_ticks <= bid_ticks_before
    )
    supply = ask_lots * (ask_ticks <= ask_ticks_before) - ask_lots_before * (
        ask_ticks >= ask_ticks_before
    )
    return demand - supply
