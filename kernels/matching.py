"""The one fill model: our orders against a recorded or synthetic book, in price-time priority.

The book holds everybody else's volume and is moved by the market's events alone; our orders live
beside it. What a fill means:

*Taking.* A marketable order walks the displayed levels best first and gets each level's own price.
What it takes stays in the displayed book, which does not know of us, so it is remembered as
consumed until the next change of that level: one level is never eaten twice.

*Resting.* An order at a price where volume is displayed queues behind that volume (``ahead``).
Trades at the price eat the queue from its head, ours in turn. A trade through the price, or
opposite volume displayed at or through the price, would have met us first: it fills us at our
limit, never for more lots than were traded or shown. Our orders at one price keep their time order.

*Queue model* (``QueueModel``). A level that shrinks by more than was traded there had cancels, and
nobody tells where in the queue. RISK_AVERSE: behind us, only trades bring us forward. PROPORTIONAL:
evenly over the queue, so the part ahead shrinks by its share ahead / (ahead + behind), kept to
1/1024 of a lot. Both bound ahead by what is displayed. These are the RiskAverseQueueModel and, with
the identity as its function, the ProbQueueModel of the hftbacktest documentation ("Queue Models";
after R. Rigtorp's estimator); tests/benchmarks/compare_hftbacktest.py holds them against it. As
there, a trade reported after the level's change that it caused is counted in both, and is set off
against the next change.

*Liquidity* (``Liquidity``). PRINTED, as told so far, is the rule. WHOLE is the usual assumption of
a small order that nobody notices: once reached it is filled whole, and what it takes leaves no
trace. It exists to be compared with engines that assume so, and for studies of what that is worth.

*Self-trade.* An incoming order that reaches one of our own expires from there on (EXPIRE_TAKER).

Not in here: fees, margin, latency, reduce-only. Pure and deterministic; all int64.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from kernels import match_queue, match_steps
from kernels.book import ASK, BID, CAPACITY, Book, as_levels
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.match_queue import (
    AHEAD,
    CONSUMED_COUNT,
    LIQUIDITY,
    LOTS,
    ORDER_COLUMNS,
    ORDER_COUNT,
    PRICE_KEY,
    ahead_lots,
    consumed_lots,
    key_position,
    side_index,
)
from kernels.match_steps import (
    NO_ORDER,
    apply_diff,
    fill_crossed,
    find_order,
    note_shown,
    place_order,
    requeue,
    trade_printed,
)

MARKET_PRICE_TICKS = match_steps.MARKET_PRICE_TICKS
"""As the limit of an IOC or FOK order: any price."""


class TimeInForce(IntEnum):
    """How long an order may live, in the venue's words."""

    GTC = match_steps.GTC
    IOC = match_steps.IOC
    FOK = match_steps.FOK
    GTX = match_steps.GTX
    """Post only: refused where it would take."""


class QueueModel(IntEnum):
    """Where in the queue unexplained decreases of a level are taken to happen."""

    RISK_AVERSE = match_queue.RISK_AVERSE
    PROPORTIONAL = match_queue.PROPORTIONAL


class Liquidity(IntEnum):
    """How much there is for us in what was traded or shown."""

    PRINTED = match_queue.PRINTED
    """Never more lots than were traded or displayed, and those only once."""
    WHOLE = match_queue.WHOLE
    """All of a resting order as soon as it is reached; takers leave no trace."""


class PlacementStatus(IntEnum):
    """What became of a new order at once."""

    RESTING = match_steps.RESTING
    FILLED = match_steps.FILLED
    PARTIALLY_RESTING = match_steps.PARTIALLY_RESTING
    EXPIRED = match_steps.EXPIRED
    """Nothing of it rests: IOC remainder, FOK not coverable, or it met our own order."""
    REJECTED_GTX = match_steps.REJECTED_GTX
    REJECTED_FULL = match_steps.REJECTED_FULL
    """No room for another resting order; nothing was matched."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One match of one of our orders, in ticks and lots; a maker's price is its own limit."""

    order_key: int
    price_ticks: int
    quantity_lots: int
    is_maker: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Fate of a new order; ``is_self_trade`` where it expired on meeting our own order."""

    status: PlacementStatus
    executions: tuple[Execution, ...]
    resting_lots: int
    is_self_trade: bool = False


class Matcher:
    """Our orders on one instrument, matched against its displayed book.

    The book given is owned from then on: move it only through ``load`` and ``on_diff``.
    ``orders_max`` bounds the resting orders of both sides together.
    """

    __slots__ = ("_consumed", "_counts", "_orders", "_out_n4", "_queue_model", "book")

    def __init__(
        self,
        book: Book,
        orders_max: int = 1024,
        queue_model: QueueModel = QueueModel.PROPORTIONAL,
        liquidity: Liquidity = Liquidity.PRINTED,
    ) -> None:
        """Start without orders; the book may be empty or loaded."""
        capacity = int(book.state[CAPACITY])
        self.book = book
        self._queue_model = int(queue_model)
        self._orders = np.zeros((2, orders_max, ORDER_COLUMNS), dtype=np.int64)
        self._consumed = np.zeros((2, capacity, 2), dtype=np.int64)
        self._counts = np.zeros(5, dtype=np.int64)
        self._counts[LIQUIDITY] = int(liquidity)
        self._out_n4 = np.zeros((capacity + orders_max, 4), dtype=np.int64)

    def load(self, snapshot: DepthSnapshot) -> tuple[Execution, ...]:
        """Replace the displayed book; queues move as for a change of their level.

        ValueError, and nothing changed, for a bad level.
        """
        for side in (BID, ASK):
            for key in self._price_keys(side):
                note_shown(self.book.state, self._orders, self._counts, side, *self._at(side, key))
        self.book.load(snapshot)
        for side in (BID, ASK):
            for key in self._price_keys(side):
                requeue(
                    self.book.state,
                    self._orders,
                    self._consumed,
                    self._counts,
                    side,
                    *self._at(side, key),
                    self._queue_model,
                )
        self._counts[CONSUMED_COUNT : CONSUMED_COUNT + 2] = 0
        return self._executions(
            fill_crossed(self.book.state, self._orders, self._consumed, self._counts, self._out_n4)
        )

    def on_diff(self, diff: DepthDiff) -> tuple[Execution, ...]:
        """Apply a depth update; return what it filled. ValueError, nothing changed, if bad."""
        written = apply_diff(
            self.book.state,
            self._orders,
            self._consumed,
            self._counts,
            as_levels(diff.bid_levels_n2),
            as_levels(diff.ask_levels_n2),
            diff.last_update_id,
            self._queue_model,
            self._out_n4,
        )
        if written < 0:
            raise ValueError(
                f"depth update {diff.last_update_id}: price must be positive, quantity not negative"
            )
        return self._executions(written) if written else ()

    def on_trade(
        self, price_ticks: int, quantity_lots: int, aggressor: Side
    ) -> tuple[Execution, ...]:
        """Let a public trade consume the queue and fill what stands first; return our fills."""
        if self._counts[ORDER_COUNT + (0 if aggressor == Side.SELL else 1)] == 0:
            return ()
        written = trade_printed(
            self._orders, self._counts, price_ticks, quantity_lots, int(aggressor), self._out_n4
        )
        return self._executions(written)

    def place(
        self,
        order_key: int,
        side: Side,
        time_in_force: TimeInForce,
        price_ticks: int,
        quantity_lots: int,
    ) -> Placement:
        """Match a new order, and rest what is left of a GTC or GTX.

        ``order_key`` is any non-negative number not resting now. ``MARKET_PRICE_TICKS`` as the
        price of an IOC or FOK is a market order. ValueError for anything else out of range.
        """
        is_market = price_ticks == MARKET_PRICE_TICKS and time_in_force in (
            TimeInForce.IOC,
            TimeInForce.FOK,
        )
        if quantity_lots <= 0 or (price_ticks <= 0 and not is_market):
            raise ValueError(f"order {order_key}: {quantity_lots} lots at {price_ticks} ticks")
        if order_key < 0 or find_order(self._orders, self._counts, order_key)[1] != NO_ORDER:
            raise ValueError(f"order key {order_key} is negative or already resting")
        status, resting_lots, is_self_trade, written = place_order(
            self.book.state,
            self._orders,
            self._consumed,
            self._counts,
            order_key,
            int(side),
            int(time_in_force),
            price_ticks,
            quantity_lots,
            self._out_n4,
        )
        return Placement(
            PlacementStatus(status), self._executions(written), resting_lots, bool(is_self_trade)
        )

    def cancel(self, order_key: int) -> int:
        """Remove a resting order; return the lots it still had, -1 where there is none."""
        s, at = find_order(self._orders, self._counts, order_key)
        if at == NO_ORDER:
            return -1
        remaining_lots = int(self._orders[s, at, LOTS])
        count = int(self._counts[ORDER_COUNT + s])
        self._orders[s, at : count - 1] = self._orders[s, at + 1 : count]
        self._counts[ORDER_COUNT + s] = count - 1
        return remaining_lots

    def resting_lots(self, order_key: int) -> int:
        """Return the open lots of a resting order, -1 where there is none."""
        s, at = find_order(self._orders, self._counts, order_key)
        return -1 if at == NO_ORDER else int(self._orders[s, at, LOTS])

    def ahead_lots(self, order_key: int) -> int:
        """Return the displayed lots ahead of a resting order, to the nearest; -1: no such order."""
        s, at = find_order(self._orders, self._counts, order_key)
        return -1 if at == NO_ORDER else ahead_lots(int(self._orders[s, at, AHEAD]))

    def consumed_lots(self, side: Side, price_ticks: int) -> int:
        """Return what we took of a displayed level (``Side.BUY``: bids) since it last changed."""
        return consumed_lots(self._consumed, self._counts, int(side), int(side) * price_ticks)

    @property
    def order_count(self) -> int:
        """Resting orders of both sides."""
        return int(self._counts[ORDER_COUNT] + self._counts[ORDER_COUNT + 1])

    def _price_keys(self, side: int) -> list[int]:
        s = side_index(side)
        keys = self._orders[s, : self._counts[ORDER_COUNT + s], PRICE_KEY]
        return [int(key) for key in np.unique(keys)]

    def _at(self, side: int, price_key: int) -> tuple[int, int]:
        s = side_index(side)
        count = int(self._counts[ORDER_COUNT + s])
        return key_position(self._orders[s], count, PRICE_KEY, price_key), price_key

    def _executions(self, written: int) -> tuple[Execution, ...]:
        return tuple(
            Execution(key, ticks, lots, bool(maker))
            for key, ticks, lots, maker in self._out_n4[:written].tolist()
        )
