"""Conditional orders of the one account: kept until a price releases them as plain orders.

No I/O and no clock: every call is handed the venue's time. The contract price is that of the last
public trade, the mark price the venue's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from daemon.simulated import conditional_documents, venue_errors
from daemon.simulated.accounts import Account
from daemon.simulated.conditional_orders import (
    CONDITIONAL_ORDERS_MAX,
    ConditionalOrder,
    ConditionalRequest,
    ConditionalStatus,
    PriceSource,
)
from daemon.simulated.order_desk import OrderDesk, Publish
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.venue_order import WORKING

ORDERS_KEPT = 10_000
PROTECTION_PERCENT = 5
"""A price-protected order waits while contract and mark price are further apart than this."""


class ConditionalDesk:
    """All conditional orders."""

    def __init__(
        self,
        markets: tuple[VenueMarket, ...],
        account: Account,
        desk: OrderDesk,
        publish: Publish,
    ) -> None:
        """Start without orders; released ones go to ``desk``."""
        self._markets = markets
        self._account = account
        self._desk = desk
        self._publish = publish
        self._by_id: dict[int, ConditionalOrder] = {}
        self._by_client_id: dict[str, ConditionalOrder] = {}
        self._waiting: list[dict[int, ConditionalOrder]] = [{} for _ in markets]
        self._released: dict[int, ConditionalOrder] = {}
        self._over: deque[int] = deque()
        self._next_id = 1

    def place(self, request: ConditionalRequest, now_ms: int) -> ConditionalOrder:
        """Accept a conditional order or raise VenueError (-4116, -2021, -4045)."""
        if request.order.client_order_id in self._by_client_id:
            raise venue_errors.duplicate_client_order_id()
        index = request.order.instrument
        market = self._markets[index]
        if not market.mark_ticks:
            raise venue_errors.unavailable()
        if request.is_released(self._price_ticks(market, request.price_source)):
            raise venue_errors.would_trigger()
        if len(self._waiting[index]) >= CONDITIONAL_ORDERS_MAX:
            raise venue_errors.too_many_stop_orders()
        order = ConditionalOrder(
            algo_id=self._next_id, request=request, created_ms=now_ms, updated_ms=now_ms
        )
        self._next_id += 1
        self._by_id[order.algo_id] = order
        self._by_client_id[request.order.client_order_id] = order
        self._waiting[index][order.algo_id] = order
        self._tell(order, now_ms)
        return order

    def cancel(self, order: ConditionalOrder, now_ms: int) -> None:
        """Take a waiting order away; -2011 when it no longer waits."""
        if order.status is not ConditionalStatus.NEW:
            raise venue_errors.nothing_to_cancel()
        self._end(order, ConditionalStatus.CANCELED, now_ms)

    def cancel_all(self, instrument: int, now_ms: int) -> int:
        """Take every waiting order of an instrument away; return how many there were."""
        orders = list(self._waiting[instrument].values())
        for order in orders:
            self.cancel(order, now_ms)
        return len(orders)

    def find(self, algo_id: int, client_id: str) -> ConditionalOrder | None:
        """Look an order up by its id, or by client id when that is 0."""
        return self._by_id.get(algo_id) if algo_id else self._by_client_id.get(client_id)

    def waiting(self, instrument: int | None = None) -> list[ConditionalOrder]:
        """List waiting orders of one instrument or of all, oldest first by instrument."""
        chosen = self._waiting if instrument is None else [self._waiting[instrument]]
        return [order for orders in chosen for order in orders.values()]

    def orders(self) -> Iterable[ConditionalOrder]:
        """Give every remembered order, oldest first."""
        return self._by_id.values()

    def judge(self, instrument: int, source: PriceSource, now_ms: int) -> None:
        """Release what the present price of one kind releases, oldest first."""
        waiting = self._waiting[instrument]
        if not waiting:
            return
        market = self._markets[instrument]
        price_ticks = self._price_ticks(market, source)
        for order in list(waiting.values()):
            request = order.request
            if request.price_source is not source or not request.is_released(price_ticks):
                continue
            if request.is_price_protected and self._is_apart(market):
                continue
            self._release(order, now_ms)

    def tick(self, now_ms: int) -> None:
        """Tell of released orders that have come to their end."""
        for order in list(self._released.values()):
            assert order.released is not None
            if order.released.status not in WORKING:
                del self._released[order.algo_id]
                self._end(order, ConditionalStatus.FINISHED, now_ms)

    def _release(self, order: ConditionalOrder, now_ms: int) -> None:
        del self._waiting[order.request.order.instrument][order.algo_id]
        order.triggered_ms = now_ms
        plain = order.request.order
        if order.request.is_close:
            lots = -self._account.position_lots(plain.instrument) * plain.side
            if lots <= 0:
                self._end(order, ConditionalStatus.EXPIRED, now_ms)
                return
            plain = replace(plain, quantity_lots=lots, reduce_only=True)
        try:
            order.released = self._desk.place(plain, now_ms)
        except VenueError as error:
            order.reason = error.message
            self._end(order, ConditionalStatus.REJECTED, now_ms)
            return
        order.status = ConditionalStatus.TRIGGERED
        order.updated_ms = now_ms
        self._released[order.algo_id] = order
        self._tell(order, now_ms)

    def _end(self, order: ConditionalOrder, status: ConditionalStatus, now_ms: int) -> None:
        order.status = status
        order.updated_ms = now_ms
        self._waiting[order.request.order.instrument].pop(order.algo_id, None)
        self._over.append(order.algo_id)
        if len(self._over) > ORDERS_KEPT:
            oldest = self._by_id.pop(self._over.popleft())
            del self._by_client_id[oldest.request.order.client_order_id]
        self._tell(order, now_ms)

    def _tell(self, order: ConditionalOrder, now_ms: int) -> None:
        market = self._markets[order.request.order.instrument]
        self._publish(conditional_documents.conditional_event(order, market.instrument, now_ms))

    @staticmethod
    def _price_ticks(market: VenueMarket, source: PriceSource) -> int:
        return market.mark_ticks if source is PriceSource.MARK_PRICE else market.last_ticks

    def _is_apart(self, market: VenueMarket) -> bool:
        gap_ticks = abs(self._price_ticks(market, PriceSource.CONTRACT_PRICE) - market.mark_ticks)
        return gap_ticks * 100 > market.mark_ticks * PROTECTION_PERCENT
