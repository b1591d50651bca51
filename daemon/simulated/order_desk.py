"""Orders of the exchange: placing, matching, cancelling, and telling the user stream about it.

No I/O and no clock: every call is handed the venue's time. Events leave through ``publish`` in the
order in which the venue saw them happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from daemon.simulated import account_documents, order_documents, venue_errors
from daemon.simulated.accounts import Account
from daemon.simulated.order_request import OrderRequest
from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.venue_order import (
    CANCELED,
    EXPIRED,
    FILLED,
    PARTIALLY_FILLED,
    WORKING,
    VenueFill,
    VenueOrder,
)
from kernels.events import Fill, Side
from kernels.matching import Execution, PlacementStatus, TimeInForce
from kernels.units import from_e8

NS_PER_MS = 1_000_000
ORDERS_KEPT = 50_000
FILLS_KEPT = 50_000
COLLAR_PERCENT = 5
"""PERCENT_PRICE: a limit may lie this far beyond the mark price; a market order stops there."""

Publish = Callable[[dict[str, object]], None]


@dataclass(slots=True)
class DeskCounts:
    """What happened at the desk since the start."""

    accepted: int = 0
    cancelled: int = 0
    expired: int = 0
    filled: int = 0
    fills: int = 0

    def words(self, open_count: int) -> dict[str, object]:
        """Say it under the names of every report; ``open_count`` orders still work."""
        orders = {
            "accepted": self.accepted,
            "filled": self.filled,
            "cancelled": self.cancelled,
            "expired": self.expired,
            "open": open_count,
        }
        return {"orders": orders, "fills": self.fills}


class OrderDesk:
    """All orders of the one account."""

    def __init__(
        self, markets: tuple[VenueMarket, ...], account: Account, publish: Publish
    ) -> None:
        """Start without orders; ``publish`` takes user-stream events as JSON documents."""
        self._markets = markets
        self._account = account
        self._publish = publish
        self._by_id: dict[int, VenueOrder] = {}
        self._by_client_id: dict[str, VenueOrder] = {}
        self._working: dict[int, VenueOrder] = {}
        self._finished: deque[int] = deque()
        self.fills: deque[VenueFill] = deque(maxlen=FILLS_KEPT)
        self.counts = DeskCounts()
        self.gate: Callable[[OrderRequest], None] | None = None
        self._next_order_id = 1
        self._next_trade_id = 1

    def place(self, request: OrderRequest, now_ms: int) -> VenueOrder:
        """Accept and match an order, or raise VenueError without a trace in the history.

        A ``gate`` may refuse it first, by raising.
        """
        if self.gate is not None:
            self.gate(request)
        if request.client_order_id in self._by_client_id:
            raise venue_errors.duplicate_client_order_id()
        market = self._markets[request.instrument]
        if not market.mark_ticks:
            raise venue_errors.unavailable()
        quantity_lots = self._admissible_lots(request, market)
        limit_ticks = request.price_ticks or self._collar_ticks(request.side, market)
        order_id = self._next_order_id
        placement = market.matcher.place(
            order_id, request.side, request.time_in_force, limit_ticks, quantity_lots
        )
        match placement.status:
            case PlacementStatus.REJECTED_GTX:
                raise venue_errors.post_only_rejected()
            case PlacementStatus.REJECTED_FULL:
                raise venue_errors.too_many_open_orders()
            case PlacementStatus.EXPIRED if request.time_in_force is TimeInForce.FOK:
                raise venue_errors.fok_rejected()
        self._next_order_id += 1
        order = VenueOrder(
            order_id=order_id,
            request=request,
            quantity_lots=quantity_lots,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self._by_id[order_id] = order
        self._by_client_id[request.client_order_id] = order
        self._working[order_id] = order
        self._account.working[request.instrument].add(request.side, quantity_lots)
        self.counts.accepted += 1
        self._publish(order_documents.order_event(order, market, "NEW", now_ms))
        self._execute(placement.executions, market, now_ms)
        if order.status in WORKING and placement.resting_lots == 0:
            self._finish(order, market, EXPIRED, now_ms)
        self._expire_reducers(market, now_ms)
        return order

    def settle(self, instrument: int, executions: Iterable[Execution], now_ms: int) -> None:
        """Book what a market event filled of the resting orders."""
        market = self._markets[instrument]
        self._execute(executions, market, now_ms)
        self._expire_reducers(market, now_ms)

    def cancel(self, order: VenueOrder, now_ms: int) -> VenueOrder:
        """Take a working order out of the book; -2011 when it no longer works."""
        if order.status not in WORKING:
            raise venue_errors.nothing_to_cancel()
        market = self._markets[order.request.instrument]
        market.matcher.cancel(order.order_id)
        self._finish(order, market, CANCELED, now_ms)
        return order

    def amend(
        self, order: VenueOrder, price_ticks: int, quantity_lots: int, now_ms: int
    ) -> VenueOrder:
        """Change price and quantity of a working limit order; it keeps its id, not its place.

        VenueError, and the order as it was, where the change breaks a filter or the margin. The
        order is cancelled where nothing is left of it or a post-only one would take.
        """
        if order.status not in WORKING:
            raise venue_errors.no_such_order()
        market = self._markets[order.request.instrument]
        side = order.request.side
        changed = replace(order.request, price_ticks=price_ticks, quantity_lots=quantity_lots)
        working = self._account.working[order.request.instrument]
        working.add(side, -order.open_lots)
        try:
            if not changed.reduce_only:
                self._admissible_lots(changed, market)
        finally:
            working.add(side, order.open_lots)
        if quantity_lots <= order.filled_lots:
            return self.cancel(order, now_ms)
        market.matcher.cancel(order.order_id)
        working.add(side, quantity_lots - order.quantity_lots)
        order.request, order.quantity_lots, order.updated_ms = changed, quantity_lots, now_ms
        placement = market.matcher.place(
            order.order_id, side, changed.time_in_force, price_ticks, order.open_lots
        )
        if placement.status is PlacementStatus.REJECTED_GTX:
            self._finish(order, market, CANCELED, now_ms)
            return order
        self._publish(order_documents.order_event(order, market, "AMENDMENT", now_ms))
        self._execute(placement.executions, market, now_ms)
        if order.status in WORKING and placement.resting_lots == 0:
            self._finish(order, market, EXPIRED, now_ms)
        self._expire_reducers(market, now_ms)
        return order

    def cancel_all(self, instrument: int, now_ms: int) -> int:
        """Cancel every working order of one instrument; return how many there were."""
        orders = self.working_orders(instrument)
        for order in orders:
            self.cancel(order, now_ms)
        return len(orders)

    def find(self, instrument: int, order_id: int, client_order_id: str) -> VenueOrder | None:
        """Look an order up by venue id, or by client id when that is 0."""
        order = self._by_id.get(order_id) if order_id else self._by_client_id.get(client_order_id)
        if order is None or order.request.instrument != instrument:
            return None
        return order

    def order(self, order_id: int) -> VenueOrder | None:
        """Look an order up by its venue id."""
        return self._by_id.get(order_id)

    def working_orders(self, instrument: int | None = None) -> list[VenueOrder]:
        """List working orders, oldest first, of one instrument or of all."""
        return [
            order
            for order in self._working.values()
            if instrument is None or order.request.instrument == instrument
        ]

    def orders(self) -> Iterable[VenueOrder]:
        """Give every remembered order, oldest first."""
        return self._by_id.values()

    def _admissible_lots(self, request: OrderRequest, market: VenueMarket) -> int:
        """Judge collar, reduce-only, notional and margin; return the lots that may be placed."""
        instrument = market.instrument
        side = request.side
        collar_ticks = self._collar_ticks(side, market)
        if request.price_ticks and (collar_ticks - request.price_ticks) * side < 0:
            limit = instrument.price_text(collar_ticks)
            raise (
                venue_errors.price_too_high(limit)
                if side is Side.BUY
                else venue_errors.price_too_low(limit)
            )
        if request.reduce_only:
            room_lots = -self._account.position_lots(instrument.index) * side
            room_lots -= sum(order.open_lots for order in self._reducers(instrument.index, side))
            if room_lots <= 0:
                raise venue_errors.reduce_only_rejected()
            return min(request.quantity_lots, room_lots)
        valuation_ticks = request.price_ticks or market.mark_ticks
        notional_e8 = instrument.notional_quote_e8(valuation_ticks, request.quantity_lots)
        if notional_e8 < instrument.notional_min_quote_e8:
            minimum = from_e8(instrument.notional_min_quote_e8).rstrip("0").rstrip(".")
            raise venue_errors.notional_too_small(minimum)
        if not self._account.carries(instrument.index, side, request.quantity_lots):
            raise venue_errors.margin_insufficient()
        return request.quantity_lots

    @staticmethod
    def _collar_ticks(side: Side, market: VenueMarket) -> int:
        if side is Side.BUY:
            return market.mark_ticks * (100 + COLLAR_PERCENT) // 100
        return -(-market.mark_ticks * (100 - COLLAR_PERCENT) // 100)

    def _execute(self, executions: Iterable[Execution], market: VenueMarket, now_ms: int) -> None:
        for execution in executions:
            order = self._working[execution.order_key]
            self.book_fill(
                order, execution.price_ticks, execution.quantity_lots, execution.is_maker, now_ms
            )

    def book_fill(
        self,
        order: VenueOrder,
        price_ticks: int,
        lots: int,
        is_maker: bool,
        now_ms: int,
        execution_type: str = "TRADE",
        is_told: bool = True,
    ) -> None:
        """Book one execution of an order, working or not, and tell the user stream about it."""
        market = self._markets[order.request.instrument]
        instrument = market.instrument
        fill = Fill(
            instrument=instrument.index,
            event_ns=now_ms * NS_PER_MS,
            received_ns=now_ms * NS_PER_MS,
            client_order_id=order.request.client_order_id,
            trade_id=self._next_trade_id,
            side=order.request.side,
            price_ticks=price_ticks,
            quantity_lots=lots,
            fee_quote_e8=self._account.fee_e8(instrument, price_ticks, lots, is_maker),
            is_maker=is_maker,
        )
        self._next_trade_id += 1
        is_working = order.order_id in self._working
        if is_working:
            self._account.working[instrument.index].add(order.request.side, -lots)
        realised_e8 = self._account.book_fill(fill, now_ms)
        order.filled_lots += lots
        order.filled_notional_e8 += instrument.notional_quote_e8(price_ticks, lots)
        order.updated_ms = now_ms
        order.status = PARTIALLY_FILLED if order.open_lots > 0 else FILLED
        record = VenueFill(
            fill=fill, order_id=order.order_id, realised_e8=realised_e8, time_ms=now_ms
        )
        self.fills.append(record)
        self.counts.fills += 1
        if order.status == FILLED and is_working:
            self.counts.filled += 1
            self._forget(order)
        if is_told:
            self._publish(
                account_documents.account_event(self._account, (market,), "ORDER", now_ms)
            )
            self._publish(
                order_documents.order_event(order, market, execution_type, now_ms, record)
            )

    def record_outside_order(self, request: OrderRequest, now_ms: int) -> VenueOrder:
        """Remember an order that never came over the wire: the account's owner's, or the venue's.

        It is not matched and holds no margin; ``book_fill`` says what came of it.
        """
        order = VenueOrder(
            order_id=self._next_order_id,
            request=request,
            quantity_lots=request.quantity_lots,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self._next_order_id += 1
        self._by_id[order.order_id] = order
        self._by_client_id[request.client_order_id] = order
        self._retire(order)
        return order

    def remember(self, order: VenueOrder) -> None:
        """Take an order of an earlier life, ended or to be ended, into the history."""
        if order.order_id not in self._by_id:
            self._by_id[order.order_id] = order
            self._by_client_id[order.request.client_order_id] = order
            self._retire(order)
        self._next_order_id = max(self._next_order_id, order.order_id + 1)

    def remember_fill(self, record: VenueFill) -> None:
        """Take an execution of an earlier life into the history; nothing is booked."""
        self.fills.append(record)
        self._next_trade_id = max(self._next_trade_id, record.fill.trade_id + 1)

    def _reducers(self, instrument: int, side: Side) -> list[VenueOrder]:
        return [
            order
            for order in self.working_orders(instrument)
            if order.request.reduce_only and order.request.side is side
        ]

    def _expire_reducers(self, market: VenueMarket, now_ms: int) -> None:
        """Expire the newest reduce-only orders that together could open or flip a position."""
        position_lots = self._account.position_lots(market.instrument.index)
        for side in Side:
            room_lots = -position_lots * side
            for order in self._reducers(market.instrument.index, side):
                if order.open_lots <= room_lots:
                    room_lots -= order.open_lots
                    continue
                market.matcher.cancel(order.order_id)
                self._finish(order, market, EXPIRED, now_ms)

    def _finish(self, order: VenueOrder, market: VenueMarket, status: str, now_ms: int) -> None:
        order.status = status
        order.updated_ms = now_ms
        if status == CANCELED:
            self.counts.cancelled += 1
        else:
            self.counts.expired += 1
        self._account.working[market.instrument.index].add(order.request.side, -order.open_lots)
        self._forget(order)
        self._publish(order_documents.order_event(order, market, status, now_ms))

    def _forget(self, order: VenueOrder) -> None:
        """Move an order to the history."""
        del self._working[order.order_id]
        self._retire(order)

    def _retire(self, order: VenueOrder) -> None:
        """Keep the newest ``ORDERS_KEPT`` of the history."""
        self._finished.append(order.order_id)
        if len(self._finished) > ORDERS_KEPT:
            oldest = self._by_id.pop(self._finished.popleft())
            del self._by_client_id[oldest.request.client_order_id]
