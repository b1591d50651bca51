"""Spot orders: placing, matching, cancelling, moving balances, and telling the user stream.

No I/O and no clock: every call is handed the venue's time. Events leave through ``publish`` in the
order in which the venue saw them happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from daemon.simulated import spot_account, spot_documents, spot_errors, venue_errors
from daemon.simulated.order_desk import FILLS_KEPT, ORDERS_KEPT, DeskCounts, Publish
from daemon.simulated.spot_account import Holdings, fee_asset, lock_of
from daemon.simulated.spot_listings import (
    NOTIONAL_MAX_QUOTE,
    PRICE_FACTOR_MAX,
    QUOTE_ASSET,
    base_asset,
)
from daemon.simulated.spot_order import (
    EXPIRED_IN_MATCH,
    INSUFFICIENT_BALANCES,
    SpotFill,
    SpotOrder,
)
from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.spot_stops import STOP_ORDERS_MAX, WaitingStops, lock_ticks_of, stop_needs
from daemon.simulated.venue_market import RESTING_ORDERS_MAX, VenueMarket
from daemon.simulated.venue_order import CANCELED, EXPIRED, FILLED, PARTIALLY_FILLED, WORKING
from kernels.events import Side
from kernels.matching import MARKET_PRICE_TICKS, Execution, Placement, PlacementStatus
from kernels.units import to_e8

WALK_LEVELS_MAX = 5_000


class SpotDesk:
    """All spot orders of the one account."""

    def __init__(
        self, markets: Mapping[int, VenueMarket], holdings: Holdings, publish: Publish
    ) -> None:
        """Start without orders; ``markets`` are keyed by instrument index."""
        self._markets = markets
        self._holdings = holdings
        self._publish = publish
        self._by_id: dict[int, SpotOrder] = {}
        self._by_client_id: dict[str, SpotOrder] = {}
        self._working: dict[int, SpotOrder] = {}
        self._finished: deque[int] = deque()
        self._stops = WaitingStops(markets)
        self.fills: deque[SpotFill] = deque(maxlen=FILLS_KEPT)
        self.counts = DeskCounts()
        self._next_order_id = 1
        self._next_trade_id = 1
        self.gate: Callable[[SpotRequest], None] | None = None

    def admit(self, request: SpotRequest) -> int:
        """Judge id, filters and balance of an order; return its lots, or raise VenueError."""
        known = self._by_client_id.get(request.client_order_id)
        if known is not None and known.status in WORKING:
            raise spot_errors.duplicate_order()
        market = self._markets[request.instrument]
        if not market.mark_ticks:
            raise venue_errors.unavailable()
        instrument, side, ticks = market.instrument, request.side, request.price_ticks
        lots = request.quantity_lots
        if ticks:
            if (
                not market.mark_ticks
                <= ticks * PRICE_FACTOR_MAX
                <= (market.mark_ticks * PRICE_FACTOR_MAX**2)
            ):
                raise spot_errors.filter_failure("PERCENT_PRICE_BY_SIDE")
            notional_e8 = instrument.notional_quote_e8(ticks, lots)
            if notional_e8 > to_e8(NOTIONAL_MAX_QUOTE):
                raise spot_errors.filter_failure("NOTIONAL")
            asset, needed_e8 = lock_of(instrument, side, ticks, lots)
        elif request.stop_ticks:
            notional_e8 = instrument.notional_quote_e8(market.mark_ticks, lots)
            asset, needed_e8 = stop_needs(request, market)
        else:
            lots, asset, needed_e8 = self._market_needs(request, market)
            if request.spend_quote_e8 and not instrument.lots_min <= lots <= instrument.lots_max:
                raise spot_errors.filter_failure("LOT_SIZE")
            notional_e8 = request.spend_quote_e8 or instrument.notional_quote_e8(
                market.mark_ticks, lots
            )
        if notional_e8 < instrument.notional_min_quote_e8:
            raise spot_errors.filter_failure("NOTIONAL")
        if request.stop_ticks:
            self._admit_stop(request, market)
        if needed_e8 > self._holdings.free_e8[asset]:
            raise spot_errors.insufficient_balance()
        return lots

    def place(self, request: SpotRequest, now_ms: int) -> SpotOrder:
        """Accept and match an order, or raise VenueError without a trace in the history.

        A ``gate`` may refuse it first, by raising. A stop order is only accepted here.
        """
        if self.gate is not None:
            self.gate(request)
        lots = self.admit(request)
        market = self._markets[request.instrument]
        order = SpotOrder(
            order_id=self._next_order_id,
            request=request,
            quantity_lots=lots,
            created_ms=now_ms,
            updated_ms=now_ms,
            lock_ticks=lock_ticks_of(request, market),
            working_ms=0 if request.stop_ticks else now_ms,
        )
        placement = None if request.stop_ticks else self._match(order, market)
        if placement is not None:
            if placement.status is PlacementStatus.REJECTED_GTX:
                raise spot_errors.would_match()
            if placement.status is PlacementStatus.REJECTED_FULL:
                raise spot_errors.filter_failure("MAX_NUM_ORDERS")
        self._next_order_id += 1
        self._by_id[order.order_id] = order
        self._by_client_id[request.client_order_id] = order
        self._working[order.order_id] = order
        if order.lock_ticks:
            self._holdings.lock(*self._lock(order, lots))
        self.counts.accepted += 1
        self._tell(order, market, "NEW", now_ms)
        if placement is None:
            self._stops.add(order)
        else:
            self._book_placement(order, placement, market, now_ms)
        return order

    def release_stops(self, instrument: int, now_ms: int) -> None:
        """Let the stop orders work that the newest trade's price has reached, oldest first."""
        if not self._stops.count(instrument):
            return
        market = self._markets[instrument]
        for order in self._stops.reached(instrument, market.last_ticks):
            self._stops.drop(order)
            self._release(order, market, now_ms)

    def settle(self, instrument: int, executions: Iterable[Execution], now_ms: int) -> None:
        """Book what a market event filled of the resting orders."""
        self._execute(executions, self._markets[instrument], now_ms)

    def cancel(self, order: SpotOrder, cancel_id: str, now_ms: int) -> SpotOrder:
        """Take a working order out of the book; -2011 when it no longer works."""
        if order.status not in WORKING:
            raise venue_errors.nothing_to_cancel()
        market = self._markets[order.request.instrument]
        self._stops.drop(order)
        market.matcher.cancel(order.order_id)
        order.cancel_id = cancel_id
        self._finish(order, market, CANCELED, now_ms)
        return order

    def find(self, instrument: int, order_id: int, client_order_id: str) -> SpotOrder | None:
        """Look an order up by venue id, or by client id (the newest) when that is 0."""
        order = self._by_id.get(order_id) if order_id else self._by_client_id.get(client_order_id)
        if order is None or order.request.instrument != instrument:
            return None
        return order

    def working_orders(self, instrument: int | None = None) -> list[SpotOrder]:
        """List working orders, oldest first, of one pair or of all."""
        return [
            order
            for order in self._working.values()
            if instrument is None or order.request.instrument == instrument
        ]

    def order(self, order_id: int) -> SpotOrder | None:
        """Look an order up by venue id alone."""
        return self._by_id.get(order_id)

    def orders(self) -> Iterable[SpotOrder]:
        """Give every remembered order, oldest first."""
        return self._by_id.values()

    def _admit_stop(self, request: SpotRequest, market: VenueMarket) -> None:
        if self._stops.count(request.instrument) >= STOP_ORDERS_MAX:
            raise spot_errors.filter_failure("MAX_NUM_ALGO_ORDERS")
        if len(self.working_orders(request.instrument)) >= RESTING_ORDERS_MAX:
            raise spot_errors.filter_failure("MAX_NUM_ORDERS")
        if request.is_released(market.last_ticks):
            raise spot_errors.stop_would_trigger()

    def _match(self, order: SpotOrder, market: VenueMarket) -> Placement:
        request = order.request
        price_ticks = request.price_ticks or MARKET_PRICE_TICKS
        return market.matcher.place(
            order.order_id, request.side, request.time_in_force, price_ticks, order.quantity_lots
        )

    def _book_placement(
        self, order: SpotOrder, placement: Placement, market: VenueMarket, now_ms: int
    ) -> None:
        self._execute(placement.executions, market, now_ms)
        if order.status in WORKING and placement.resting_lots == 0:
            status = EXPIRED_IN_MATCH if placement.is_self_trade else EXPIRED
            self._finish(order, market, status, now_ms)

    def _release(self, order: SpotOrder, market: VenueMarket, now_ms: int) -> None:
        """Match a stop order; one that cannot be paid or finds no room expires whole."""
        if not order.request.price_ticks:
            self._holdings.unlock(*self._lock(order, order.open_lots))
            order.lock_ticks = 0
            _, asset, needed_e8 = self._market_needs(order.request, market)
            if needed_e8 > self._holdings.free_e8[asset]:
                order.reason = INSUFFICIENT_BALANCES
                self._finish(order, market, EXPIRED, now_ms)
                return
        placement = self._match(order, market)
        if placement.status is PlacementStatus.REJECTED_FULL:
            self._finish(order, market, EXPIRED, now_ms)
            return
        order.working_ms = order.updated_ms = now_ms
        self._tell(order, market, "NEW", now_ms)
        self._book_placement(order, placement, market, now_ms)

    def _market_needs(self, request: SpotRequest, market: VenueMarket) -> tuple[int, str, int]:
        """Return the lots of a market order, and the asset and amount in 1e-8 that pay for it."""
        instrument, side = market.instrument, request.side
        lots, cost_e8 = self._walk(market, side, request.quantity_lots, request.spend_quote_e8)
        if side is Side.SELL:
            return lots, base_asset(instrument), lots * instrument.lot_size_e8
        return lots, QUOTE_ASSET, cost_e8

    def _walk(
        self, market: VenueMarket, side: Side, lots_max: int, spend_quote_e8: int
    ) -> tuple[int, int]:
        """Return lots and quote amount that a market order would reach in the displayed book.

        With ``spend_quote_e8`` it stops where that is spent, else at ``lots_max``, which it
        returns even where the book ends before.
        """
        worth_e8 = market.instrument.tick_lot_quote_e8
        opposite = Side.SELL if side is Side.BUY else Side.BUY
        lots = cost_e8 = 0
        for ticks, shown in market.book.levels(opposite, WALK_LEVELS_MAX).tolist():
            open_lots = shown - market.matcher.consumed_lots(opposite, ticks)
            if spend_quote_e8:
                taken = min(open_lots, (spend_quote_e8 - cost_e8) // (ticks * worth_e8))
            else:
                taken = min(open_lots, lots_max - lots)
            lots += taken
            cost_e8 += taken * ticks * worth_e8
            if taken < open_lots:
                break
        return (lots if spend_quote_e8 else lots_max), cost_e8

    def _lock(self, order: SpotOrder, lots: int) -> tuple[str, int]:
        instrument = self._markets[order.request.instrument].instrument
        return lock_of(instrument, order.request.side, order.lock_ticks, lots)

    def _execute(self, executions: Iterable[Execution], market: VenueMarket, now_ms: int) -> None:
        for execution in executions:
            order = self._working[execution.order_key]
            lots = execution.quantity_lots
            self._book(order, market, execution.price_ticks, lots, execution.is_maker, now_ms)

    def book_fill(self, order: SpotOrder, price_ticks: int, lots: int, now_ms: int) -> None:
        """Book an execution that no market event led to, as maker; the order may be over."""
        self._book(order, self._markets[order.request.instrument], price_ticks, lots, True, now_ms)

    def _book(
        self,
        order: SpotOrder,
        market: VenueMarket,
        price_ticks: int,
        lots: int,
        is_maker: bool,
        now_ms: int,
    ) -> None:
        instrument, side = market.instrument, order.request.side
        quote_e8 = instrument.notional_quote_e8(price_ticks, lots)
        fill = SpotFill(
            instrument=instrument.index,
            order_id=order.order_id,
            trade_id=self._next_trade_id,
            is_buy=side is Side.BUY,
            price_ticks=price_ticks,
            quantity_lots=lots,
            quote_e8=quote_e8,
            fee_e8=spot_account.fee_e8(instrument, side, lots, quote_e8, is_maker=is_maker),
            fee_asset=fee_asset(instrument, side),
            is_maker=is_maker,
            time_ms=now_ms,
        )
        self._next_trade_id += 1
        is_working = order.order_id in self._working
        if order.lock_ticks and is_working:
            self._holdings.unlock(*self._lock(order, lots))
        self._holdings.exchange(instrument, side, lots, quote_e8, fill.fee_e8, now_ms)
        order.filled_lots += lots
        order.filled_quote_e8 += quote_e8
        order.updated_ms = now_ms
        order.status = PARTIALLY_FILLED if order.open_lots > 0 else FILLED
        order.fills.append(fill)
        self.fills.append(fill)
        self.counts.fills += 1
        if order.status == FILLED and is_working:
            self.counts.filled += 1
            self._forget(order)
        self._tell(order, market, "TRADE", now_ms, fill)

    def _finish(self, order: SpotOrder, market: VenueMarket, status: str, now_ms: int) -> None:
        order.status = status
        order.updated_ms = now_ms
        if order.lock_ticks:
            self._holdings.unlock(*self._lock(order, order.open_lots))
        if status == CANCELED:
            self.counts.cancelled += 1
        else:
            self.counts.expired += 1
        self._forget(order)
        execution_type = "TRADE_PREVENTION" if status == EXPIRED_IN_MATCH else status
        self._tell(order, market, execution_type, now_ms)

    def _tell(
        self,
        order: SpotOrder,
        market: VenueMarket,
        execution_type: str,
        now_ms: int,
        fill: SpotFill | None = None,
    ) -> None:
        instrument = market.instrument
        self._publish(
            spot_documents.execution_report(order, instrument, execution_type, now_ms, fill)
        )
        assets = (base_asset(instrument), QUOTE_ASSET)
        self._publish(spot_documents.position_event(self._holdings, assets, now_ms))

    def _forget(self, order: SpotOrder) -> None:
        """Move an order to the history, which keeps the newest ``ORDERS_KEPT``."""
        del self._working[order.order_id]
        self._finished.append(order.order_id)
        if len(self._finished) > ORDERS_KEPT:
            oldest = self._by_id.pop(self._finished.popleft())
            if self._by_client_id.get(oldest.request.client_order_id) is oldest:
                del self._by_client_id[oldest.request.client_order_id]
