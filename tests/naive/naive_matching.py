"""The matching engine one lot at a time: dictionaries, a list of orders, no cleverness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.naive.naive_book import NaiveBook

Fill = tuple[int, int, int, bool]
"""Order key, price ticks, lots, is maker."""

PARTS = 1024
"""Parts of a lot in which a queue is counted."""


@dataclass
class NaiveOrder:
    """One resting order; ``side`` is 1 for a bid, -1 for an ask."""

    key: int
    side: int
    price: int
    lots: int
    ahead_parts: int
    traded: int

    @property
    def ahead(self) -> int:
        """Return the queue ahead in whole lots, halves up."""
        return (self.ahead_parts + PARTS // 2) // PARTS

    def advance(self) -> None:
        """Let one lot ahead go."""
        self.ahead_parts = max(self.ahead_parts - PARTS, 0)


def merged(lots_of_one: Iterable[tuple[int, int, bool]]) -> list[Fill]:
    """Join neighbouring fills of one lot that differ in nothing."""
    fills: list[Fill] = []
    for key, price, is_maker in lots_of_one:
        if fills and fills[-1][:2] == (key, price):
            fills[-1] = (key, price, fills[-1][2] + 1, is_maker)
        else:
            fills.append((key, price, 1, is_maker))
    return fills


class NaiveMatcher:
    """Slow twin of ``kernels.matching.Matcher`` with unlimited room."""

    def __init__(self, is_proportional: bool) -> None:
        """Start with an empty book and no orders."""
        self.book = NaiveBook()
        self.is_proportional = is_proportional
        self.orders: list[NaiveOrder] = []
        self.consumed: dict[tuple[int, int], int] = {}

    def shown(self, side: int, price: int) -> int:
        """Return displayed lots of a level."""
        return (self.book.bids if side == 1 else self.book.asks).get(price, 0)

    def left(self, side: int, price: int) -> int:
        """Return displayed lots of a level that we have not taken."""
        return self.shown(side, price) - self.consumed.get((side, price), 0)

    def queue(self, side: int) -> list[NaiveOrder]:
        """Return our orders of a side by price, then time."""
        mine = [order for order in self.orders if order.side == side]
        return sorted(mine, key=lambda order: -side * order.price)  # stable: keeps time order

    def best_left(self, side: int) -> int | None:
        """Return the best price of a side that still has volume for us."""
        prices = self.book.bids if side == 1 else self.book.asks
        open_prices = [price for price in prices if self.left(side, price) > 0]
        if not open_prices:
            return None
        return max(open_prices, key=lambda price: side * price)

    def change(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> list[Fill]:
        """Apply a depth update."""
        touched = {(1, price) for price, _ in bids} | {(-1, price) for price, _ in asks}
        before = {level: self.shown(*level) for level in touched}
        self.book.apply(bids, asks)
        return self._changed(before)

    def replace(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> list[Fill]:
        """Take over a snapshot."""
        before = {(order.side, order.price): 0 for order in self.orders}
        before |= dict.fromkeys(self.consumed, 0)
        before = {level: self.shown(*level) for level in before}
        self.book = NaiveBook()
        self.book.apply(bids, asks)
        return self._changed(before)

    def _changed(self, before: dict[tuple[int, int], int]) -> list[Fill]:
        for order in self.orders:
            level = (order.side, order.price)
            if level in before:
                self._requeue(order, before[level], self.shown(*level))
        for level in before:
            self.consumed.pop(level, None)
        return self._crossed(1) + self._crossed(-1)

    def _requeue(self, order: NaiveOrder, before: int, after: int) -> None:
        taken = self.consumed.get((order.side, order.price), 0)
        cancelled = before - after - order.traded
        total = max((before - taken) * PARTS, order.ahead_parts)
        if self.is_proportional and cancelled > 0 and total > 0:
            order.ahead_parts -= min(cancelled * PARTS, total) * order.ahead_parts // total
        order.ahead_parts = min(order.ahead_parts, after * PARTS)
        order.traded = 0

    def _crossed(self, side: int) -> list[Fill]:
        singles = []
        while queue := self.queue(side):
            first = queue[0]
            price = self.best_left(-side)
            if price is None or side * price > side * first.price:
                break
            self._take(-side, price)
            singles.append((first.key, first.price, True))
            self._fill_one(first)
        return merged(singles)

    def _take(self, side: int, price: int) -> None:
        self.consumed[side, price] = self.consumed.get((side, price), 0) + 1

    def _fill_one(self, order: NaiveOrder) -> None:
        order.lots -= 1
        if order.lots == 0:
            self.orders.remove(order)

    def trade(self, price: int, lots: int, aggressor: int) -> list[Fill]:
        """Let a public trade through our orders, lot by lot."""
        side = -aggressor
        singles = []
        for _ in range(lots):
            queue = [order for order in self.queue(side) if side * order.price >= side * price]
            if not queue:
                break
            first = queue[0]
            if first.price == price and first.ahead > 0:
                for order in queue:
                    order.advance()
                continue
            singles.append((first.key, first.price, True))
            self._fill_one(first)
        for order in self.queue(side):
            if side * order.price > side * price:
                order.ahead_parts = 0
            elif order.price == price:
                order.traded += lots
        return merged(singles)

    def place(
        self, key: int, side: int, time_in_force: str, price: int | None, lots: int
    ) -> tuple[str, list[Fill], int]:
        """Match a new order lot by lot; ``price`` None is a market order."""
        singles, stopped = self._walk(side, price, lots)
        if time_in_force == "GTX" and (singles or stopped):
            return "REJECTED_GTX", [], 0
        if time_in_force == "FOK" and len(singles) < lots:
            return "EXPIRED", [], 0
        for level_price in singles:
            self._take(-side, level_price)
            for order in self.orders:
                if (order.side, order.price) == (-side, level_price):
                    order.advance()
        fills = merged((key, level_price, False) for level_price in singles)
        remaining = lots - len(singles)
        if not remaining:
            return "FILLED", fills, 0
        if stopped or time_in_force in ("IOC", "FOK"):
            return "EXPIRED", fills, 0
        assert price is not None
        ahead = max(self.left(side, price), 0)
        self.orders.append(NaiveOrder(key, side, price, remaining, ahead * PARTS, 0))
        return ("PARTIALLY_RESTING" if fills else "RESTING"), fills, remaining

    def _walk(self, side: int, price: int | None, lots: int) -> tuple[list[int], bool]:
        """Return the price of every lot that could be taken, and whether we met ourselves."""
        own = self.queue(-side)
        levels = self.book.asks if side == 1 else self.book.bids
        taken: list[int] = []
        marks = sorted({*levels, *(order.price for order in own)}, key=lambda p: side * p)
        for level_price in marks:
            if price is not None and side * level_price > side * price:
                break
            available = max(self.left(-side, level_price), 0)
            first = next((order for order in own if order.price == level_price), None)
            if first is not None:
                available = min(available, first.ahead)
            taken += [level_price] * min(available, lots - len(taken))
            if len(taken) == lots:
                return taken, False
            if first is not None:
                return taken, True
        return taken, False

    def cancel(self, key: int) -> int:
        """Remove an order; return its lots, -1 where there is none."""
        for order in self.orders:
            if order.key == key:
                self.orders.remove(order)
                return order.lots
        return -1
