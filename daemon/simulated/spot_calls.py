"""The spot calls: market, account and orders. REST and ws-api lead here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from daemon.simulated import (
    spot_documents,
    spot_market_documents,
    tape_documents,
    venue_errors,
)
from daemon.simulated.order_request import boolean, find_instrument, integer
from daemon.simulated.player import Player
from daemon.simulated.private_calls import ROWS_DEFAULT, ROWS_MAX
from daemon.simulated.rest import (
    BOOK_WAIT_S,
    TRADES_LIMIT_DEFAULT,
    TRADES_LIMIT_MAX,
    Access,
    Call,
    Route,
    RouteKey,
)
from daemon.simulated.spot_errors import CancelReplaceError
from daemon.simulated.spot_order import SpotOrder
from daemon.simulated.spot_request import parse_spot_order
from daemon.simulated.spot_venue import SpotVenue
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_market import VenueMarket
from kernels.units import Instrument

Parameters = Mapping[str, str]
DEPTH_LIMIT_DEFAULT = 100
DEPTH_LIMIT_MAX = 5_000
STOP_ON_FAILURE, ALLOW_FAILURE = "STOP_ON_FAILURE", "ALLOW_FAILURE"


class SpotCalls:
    """One method per call; each takes the parameters and the venue's time."""

    def __init__(
        self, venue: SpotVenue, player: Player, rate_limits: list[dict[str, object]]
    ) -> None:
        """Answer for one venue, whose books the player opens; ``rate_limits`` are only told."""
        self._rate_limits = rate_limits
        self._venue = venue
        self._player = player

    def routes(self) -> dict[RouteKey, Route]:
        """List every call by method and path."""

        def signed(call: Call) -> Route:
            return Route(call, Access.SIGNED)

        def order(call: Call) -> Route:
            return Route(call, Access.SIGNED, is_order=True)

        return {
            ("GET", "/api/v3/ping"): Route(self.ping),
            ("GET", "/api/v3/time"): Route(self.time),
            ("GET", "/api/v3/exchangeInfo"): Route(self.exchange_information),
            ("GET", "/api/v3/depth"): Route(self.depth),
            ("GET", "/api/v3/trades"): Route(self.trades),
            ("GET", "/api/v3/historicalTrades"): Route(self.historical_trades),
            ("GET", "/api/v3/aggTrades"): Route(self.aggregates),
            ("GET", "/api/v3/klines"): Route(self.klines),
            ("GET", "/api/v3/ticker/24hr"): Route(self.day_ticker),
            ("GET", "/sapi/v1/asset/tradeFee"): signed(self.trade_fee),
            ("GET", "/api/v3/avgPrice"): Route(self.average_price),
            ("GET", "/api/v3/ticker/bookTicker"): Route(self.book_ticker),
            ("GET", "/api/v3/ticker/price"): Route(self.price_ticker),
            ("GET", "/api/v3/account"): signed(self.account),
            ("GET", "/api/v3/account/commission"): signed(self.commission),
            ("GET", "/api/v3/myTrades"): signed(self.own_trades),
            ("POST", "/api/v3/order"): order(self.place_order),
            ("POST", "/api/v3/order/test"): order(self.test_order),
            ("POST", "/api/v3/order/cancelReplace"): order(self.cancel_replace),
            ("GET", "/api/v3/order"): order(self.query_order),
            ("DELETE", "/api/v3/order"): order(self.cancel_order),
            ("GET", "/api/v3/openOrders"): order(self.open_orders),
            ("DELETE", "/api/v3/openOrders"): order(self.cancel_all),
            ("GET", "/api/v3/allOrders"): order(self.all_orders),
        }

    async def ping(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/ping."""
        return {}

    async def time(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/time."""
        return {"serverTime": now_ms}

    async def exchange_information(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/exchangeInfo, of every pair, of one ``symbol`` or of ``symbols``."""
        chosen = self._venue.instruments
        if parameters.get("symbols"):
            names = spot_market_documents.symbol_names(parameters["symbols"])
            chosen = tuple(find_instrument({"symbol": name}, chosen) for name in names)
        elif parameters.get("symbol"):
            chosen = (self._instrument(parameters),)
        return spot_market_documents.exchange_document(chosen, now_ms, self._rate_limits)

    async def depth(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/depth: waits for a recorded book that has not come yet."""
        market = self._market(parameters)
        limit = integer(parameters, "limit", DEPTH_LIMIT_DEFAULT)
        if not limit:
            raise venue_errors.malformed_value("limit")
        if not await self._player.opened(market.instrument.index, BOOK_WAIT_S):
            raise venue_errors.unavailable()
        return spot_market_documents.depth_document(market, min(limit, DEPTH_LIMIT_MAX))

    async def trades(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/trades."""
        limit = min(integer(parameters, "limit", TRADES_LIMIT_DEFAULT), TRADES_LIMIT_MAX)
        return spot_market_documents.trades_document(self._market(parameters), limit)

    async def historical_trades(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/historicalTrades: the newest, or from ``fromId`` on."""
        limit = min(integer(parameters, "limit", TRADES_LIMIT_DEFAULT), TRADES_LIMIT_MAX)
        from_id = integer(parameters, "fromId", -1)
        chosen = None if from_id < 0 else from_id
        return spot_market_documents.trades_document(self._market(parameters), limit, chosen)

    async def aggregates(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/aggTrades: the newest."""
        return tape_documents.aggregates_document(self._market(parameters), parameters)

    async def klines(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/klines."""
        return tape_documents.klines_document(self._market(parameters), parameters)

    async def day_ticker(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/ticker/24hr, of one pair or of all."""
        if parameters.get("symbol"):
            return tape_documents.day_document(self._market(parameters), now_ms)
        markets = self._venue.markets.values()
        return [tape_documents.day_document(market, now_ms) for market in markets]

    async def trade_fee(self, parameters: Parameters, now_ms: int) -> object:
        """GET /sapi/v1/asset/tradeFee, of one pair or of all."""
        chosen = self._venue.instruments
        if parameters.get("symbol"):
            chosen = (self._instrument(parameters),)
        return [
            {
                "symbol": item.venue_id,
                "makerCommission": f"{item.maker_fee_frac:.8f}",
                "takerCommission": f"{item.taker_fee_frac:.8f}",
            }
            for item in chosen
        ]

    async def average_price(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/avgPrice: the price that PERCENT_PRICE_BY_SIDE measures from."""
        return spot_market_documents.average_document(self._market(parameters), now_ms)

    async def book_ticker(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/ticker/bookTicker, of one pair or of all."""
        if parameters.get("symbol"):
            return spot_market_documents.book_ticker_document(self._market(parameters))
        markets = self._venue.markets.values()
        return [spot_market_documents.book_ticker_document(market) for market in markets]

    async def price_ticker(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/ticker/price, of one pair or of all."""
        if parameters.get("symbol"):
            return spot_market_documents.price_document(self._market(parameters))
        return [spot_market_documents.price_document(m) for m in self._venue.markets.values()]

    async def account(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/account."""
        return spot_documents.account_document(
            self._venue.holdings,
            self._venue.instruments,
            omit_zero=boolean(parameters, "omitZeroBalances"),
        )

    async def commission(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/account/commission."""
        return spot_documents.commission_document(self._instrument(parameters))

    async def own_trades(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/myTrades: newest ``limit``, or from ``fromId`` or ``startTime`` on."""
        instrument = self._instrument(parameters)
        order_id = integer(parameters, "orderId", 0)
        from_id = integer(parameters, "fromId", 0)
        start_ms = integer(parameters, "startTime", 0)
        end_ms = integer(parameters, "endTime", now_ms)
        limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
        rows = [
            fill
            for fill in self._venue.desk.fills
            if fill.instrument == instrument.index
            and order_id in (0, fill.order_id)
            and fill.trade_id >= from_id
            and start_ms <= fill.time_ms <= end_ms
        ]
        chosen = rows[:limit] if from_id or start_ms else rows[max(0, len(rows) - limit) :]
        return [spot_documents.trade_document(fill, instrument) for fill in chosen]

    async def place_order(self, parameters: Parameters, now_ms: int) -> object:
        """POST /api/v3/order."""
        request = parse_spot_order(parameters, self._venue.instruments, _generated_id())
        order = self._venue.desk.place(request, now_ms)
        return spot_documents.placed_document(order, self._instrument_of(order))

    async def test_order(self, parameters: Parameters, now_ms: int) -> object:
        """POST /api/v3/order/test: judge the order and leave it."""
        request = parse_spot_order(parameters, self._venue.instruments, _generated_id())
        self._venue.desk.admit(request)
        return {}

    async def query_order(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/order."""
        order = self._find(parameters, "orderId", "origClientOrderId")
        if order is None:
            raise venue_errors.no_such_order()
        return self._document(order)

    async def cancel_order(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /api/v3/order."""
        order = self._find(parameters, "orderId", "origClientOrderId")
        cancel_id = parameters.get("newClientOrderId", "") or _generated_id()
        return self._cancel(order, cancel_id, now_ms)

    async def cancel_replace(self, parameters: Parameters, now_ms: int) -> object:
        """POST /api/v3/order/cancelReplace: not atomic, and the place in the queue is lost."""
        mode = parameters.get("cancelReplaceMode", "")
        if mode not in (STOP_ON_FAILURE, ALLOW_FAILURE):
            raise venue_errors.missing("cancelReplaceMode")
        request = parse_spot_order(parameters, self._venue.instruments, _generated_id())
        old = self._find(parameters, "cancelOrderId", "cancelOrigClientOrderId")
        cancel_id = parameters.get("cancelNewClientOrderId", "") or _generated_id()
        cancelled: object
        placed: object = None
        try:
            cancelled = self._cancel(old, cancel_id, now_ms)
        except VenueError as error:
            cancelled = error
        is_cancelled = not isinstance(cancelled, VenueError)
        is_attempted = is_cancelled or mode == ALLOW_FAILURE
        if is_attempted:
            try:
                order = self._venue.desk.place(request, now_ms)
                placed = spot_documents.placed_document(order, self._instrument_of(order))
            except VenueError as error:
                placed = error
        if not is_cancelled or isinstance(placed, VenueError):
            raise CancelReplaceError(
                cancelled, placed, is_cancelled=is_cancelled, is_attempted=is_attempted
            )
        return {
            "cancelResult": "SUCCESS",
            "newOrderResult": "SUCCESS",
            "cancelResponse": cancelled,
            "newOrderResponse": placed,
        }

    async def open_orders(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/openOrders, of one pair or of all."""
        index = self._instrument(parameters).index if parameters.get("symbol") else None
        return [self._document(order) for order in self._venue.desk.working_orders(index)]

    async def cancel_all(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /api/v3/openOrders: -2011 when none is open."""
        orders = self._venue.desk.working_orders(self._instrument(parameters).index)
        if not orders:
            raise venue_errors.nothing_to_cancel()
        return [self._cancel(order, _generated_id(), now_ms) for order in orders]

    async def all_orders(self, parameters: Parameters, now_ms: int) -> object:
        """GET /api/v3/allOrders: newest ``limit``, or from ``orderId`` or ``startTime`` on."""
        instrument = self._instrument(parameters)
        from_id = integer(parameters, "orderId", 0)
        start_ms = integer(parameters, "startTime", 0)
        end_ms = integer(parameters, "endTime", now_ms)
        limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
        orders = [
            order
            for order in self._venue.desk.orders()
            if order.request.instrument == instrument.index
            and order.order_id >= from_id
            and start_ms <= order.created_ms <= end_ms
        ]
        chosen = orders[:limit] if from_id or start_ms else orders[max(0, len(orders) - limit) :]
        return [self._document(order) for order in chosen]

    def _cancel(self, order: SpotOrder | None, cancel_id: str, now_ms: int) -> object:
        if order is None:
            raise venue_errors.nothing_to_cancel()
        self._venue.desk.cancel(order, cancel_id, now_ms)
        return spot_documents.cancelled_document(order, self._instrument_of(order))

    def _instrument(self, parameters: Parameters) -> Instrument:
        return find_instrument(parameters, self._venue.instruments)

    def _market(self, parameters: Parameters) -> VenueMarket:
        return self._venue.markets[self._instrument(parameters).index]

    def _instrument_of(self, order: SpotOrder) -> Instrument:
        return self._venue.markets[order.request.instrument].instrument

    def _find(self, parameters: Parameters, id_name: str, client_name: str) -> SpotOrder | None:
        instrument = self._instrument(parameters)
        order_id = integer(parameters, id_name, 0)
        client_order_id = parameters.get(client_name, "")
        if not (order_id or client_order_id):
            raise venue_errors.either_missing(client_name, id_name)
        return self._venue.desk.find(instrument.index, order_id, client_order_id)

    def _document(self, order: SpotOrder) -> object:
        return spot_documents.order_document(order, self._instrument_of(order))


def _generated_id() -> str:
    return secrets.token_urlsafe(16)[:22]
