"""The REST calls: routes, authentication, latency. Rendering and rules live in other files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import orjson
from aiohttp import web

from daemon.clock import Clock
from daemon.simulated import (
    account_documents,
    market_documents,
    signing,
    tape_documents,
    venue_errors,
)
from daemon.simulated.conditional_calls import ConditionalCalls
from daemon.simulated.market_documents import DEPTH_LIMIT_DEFAULT, DEPTH_LIMITS
from daemon.simulated.order_request import find_instrument, integer
from daemon.simulated.player import Player
from daemon.simulated.private_calls import PrivateCalls
from daemon.simulated.venue import Venue
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_market import VenueMarket
from kernels.latencies import OrderLatency, Way

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
BOOK_WAIT_S = 10.0
"""How long the depth call waits for a recorded book that has not come yet."""

TRADES_LIMIT_DEFAULT = 500
TRADES_LIMIT_MAX = 1_000
HISTORICAL_LIMIT_DEFAULT = 100
HISTORICAL_LIMIT_MAX = 500
API_KEY_HEADER = "X-MBX-APIKEY"

Parameters = Mapping[str, str]
RouteKey = tuple[str, str]
"""HTTP method and path."""

Call = Callable[[Parameters, int], Awaitable[object]]


class Access(Enum):
    """What a call asks of its caller."""

    OPEN = 0
    KEYED = 1
    SIGNED = 2


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint; ``is_order`` calls take the simulated way to the matching engine and back."""

    call: Call
    access: Access = Access.OPEN
    is_order: bool = False


class RestApi:
    """Answers every REST request of the exchange."""

    def __init__(
        self,
        venue: Venue,
        player: Player,
        clock: Clock,
        *,
        api_key: str,
        api_secret: str,
        latency: OrderLatency,
        rate_limits: list[dict[str, object]],
        more_routes: Mapping[RouteKey, Route] | None = None,
        key_can_withdraw: bool = False,
    ) -> None:
        """Serve one account under one key; ``rate_limits`` and its rights are only told.

        ``more_routes`` are the calls of another dialect under the same key.
        """
        self._venue = venue
        self._player = player
        self._clock = clock
        self._api_key = api_key
        self._api_secret = api_secret
        self._latency = latency
        self._rate_limits = rate_limits
        self._key_can_withdraw = key_can_withdraw
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._routes = self._public_routes() | private_routes(PrivateCalls(venue))
        self._routes |= self._conditional_routes(ConditionalCalls(venue))
        self._routes |= more_routes or {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request; refusals become Binance error documents."""
        path, _, query = request.raw_path.partition("?")
        try:
            document = await self._dispatch(request, path, query)
        except VenueError as error:
            self.refused[str(error.code)] += 1
            return _respond(error.document(), error.status)
        return _respond(document, 200)

    async def _dispatch(self, request: web.BaseRequest, path: str, query: str) -> object:
        route = self._routes.get((request.method, path))
        if route is None:
            raise venue_errors.unknown_path(request.method, path)
        self.requests[f"{request.method} {path}"] += 1
        body = await self._body(request)
        parameters = signing.parse_parameters(query, body)
        if route.access is not Access.OPEN:
            self._check_key(request.headers.get(API_KEY_HEADER, ""))
        if route.access is Access.SIGNED:
            signing.check_signed(query, body, parameters, self._api_secret, self._now_ms())
        return await self.perform(route, parameters)

    def route(self, key: RouteKey) -> Route | None:
        """Look a call up; ws-api methods are other names of REST calls."""
        return self._routes.get(key)

    async def perform(self, route: Route, parameters: Parameters) -> object:
        """Run a call for a caller who has been let in; orders take their simulated way."""
        if not route.is_order:
            return await route.call(parameters, self._now_ms())
        await self._travel(self._latency.inward)
        try:
            return await route.call(parameters, self._now_ms())
        finally:
            await self._travel(self._latency.outward)

    async def _travel(self, way: Way) -> None:
        now_ns = self._clock.monotonic_ns()
        wait_ns = way.arrival_ns(now_ns) - now_ns
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / NS_PER_S)

    @staticmethod
    async def _body(request: web.BaseRequest) -> str:
        try:
            return (await request.read()).decode("utf-8")
        except UnicodeDecodeError:
            raise venue_errors.illegal_characters("body", "UTF-8") from None

    def _check_key(self, api_key: str) -> None:
        if not api_key:
            raise venue_errors.bad_api_key()
        if api_key != self._api_key:
            raise venue_errors.rejected_api_key()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS

    def _public_routes(self) -> dict[RouteKey, Route]:
        return {
            ("GET", "/fapi/v1/ping"): Route(self._ping),
            ("GET", "/fapi/v1/time"): Route(self._time),
            ("GET", "/fapi/v1/exchangeInfo"): Route(self._exchange_information),
            ("GET", "/fapi/v1/depth"): Route(self._depth),
            ("GET", "/fapi/v1/ticker/bookTicker"): Route(self._book_ticker),
            ("GET", "/fapi/v1/premiumIndex"): Route(self._premium_index),
            ("GET", "/fapi/v1/trades"): Route(self._trades),
            ("GET", "/fapi/v1/aggTrades"): Route(self._aggregates),
            ("GET", "/fapi/v1/klines"): Route(self._klines),
            ("GET", "/fapi/v1/ticker/24hr"): Route(self._day_ticker),
            ("GET", "/fapi/v1/ticker/price"): Route(self._price_ticker),
            ("GET", "/fapi/v2/ticker/price"): Route(self._price_ticker),
            ("GET", "/fapi/v1/historicalTrades"): Route(self._historical_trades, Access.KEYED),
            ("GET", "/sapi/v1/account/apiRestrictions"): Route(self._rights, Access.SIGNED),
            ("GET", "/sapi/v1/capital/config/getall"): Route(self._currencies, Access.SIGNED),
            ("GET", "/sapi/v1/margin/allPairs"): Route(self._margin_pairs, Access.SIGNED),
            ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(self._margin_pairs, Access.SIGNED),
            ("GET", "/dapi/v1/exchangeInfo"): Route(self._no_coin_contracts),
        }

    @staticmethod
    def _conditional_routes(calls: ConditionalCalls) -> dict[RouteKey, Route]:
        def order(call: Call) -> Route:
            return Route(call, Access.SIGNED, is_order=True)

        return {
            ("POST", "/fapi/v1/algoOrder"): order(calls.place),
            ("GET", "/fapi/v1/algoOrder"): order(calls.query),
            ("DELETE", "/fapi/v1/algoOrder"): order(calls.cancel),
            ("GET", "/fapi/v1/openAlgoOrders"): order(calls.list_open),
            ("GET", "/fapi/v1/allAlgoOrders"): order(calls.list_all),
            ("DELETE", "/fapi/v1/algoOpenOrders"): order(calls.cancel_all),
        }

    async def _ping(self, parameters: Parameters, now_ms: int) -> object:
        return {}

    async def _time(self, parameters: Parameters, now_ms: int) -> object:
        return {"serverTime": now_ms}

    async def _exchange_information(self, parameters: Parameters, now_ms: int) -> object:
        return market_documents.exchange_document(
            self._venue.instruments, now_ms, self._rate_limits
        )

    async def _rights(self, parameters: Parameters, now_ms: int) -> object:
        """GET /sapi/v1/account/apiRestrictions."""
        return account_documents.rights_document(now_ms, self._key_can_withdraw)

    async def _currencies(self, parameters: Parameters, now_ms: int) -> object:
        return market_documents.currencies_document()

    async def _margin_pairs(self, parameters: Parameters, now_ms: int) -> object:
        """Answer that no spot pair is traded on margin."""
        return []

    async def _no_coin_contracts(self, parameters: Parameters, now_ms: int) -> object:
        """Answer that no coin-margined contract is listed, which a client of all markets asks."""
        return market_documents.exchange_document((), now_ms, self._rate_limits) | {
            "futuresType": "COIN_MARGINED"
        }

    async def _depth(self, parameters: Parameters, now_ms: int) -> object:
        instrument = find_instrument(parameters, self._venue.instruments)
        limit = integer(parameters, "limit", DEPTH_LIMIT_DEFAULT)
        if limit not in DEPTH_LIMITS:
            raise venue_errors.depth_limit_invalid()
        if not await self._player.opened(instrument.index, BOOK_WAIT_S):
            raise venue_errors.unavailable()
        market = self._venue.markets[instrument.index]
        return market_documents.depth_document(market, limit, self._now_ms())

    async def _book_ticker(self, parameters: Parameters, now_ms: int) -> object:
        if parameters.get("symbol"):
            instrument = find_instrument(parameters, self._venue.instruments)
            market = self._venue.markets[instrument.index]
            return market_documents.book_ticker_document(market, now_ms)
        return [market_documents.book_ticker_document(m, now_ms) for m in self._venue.markets]

    async def _premium_index(self, parameters: Parameters, now_ms: int) -> object:
        if parameters.get("symbol"):
            instrument = find_instrument(parameters, self._venue.instruments)
            market = self._venue.markets[instrument.index]
            return market_documents.premium_document(market, now_ms)
        return [market_documents.premium_document(m, now_ms) for m in self._venue.markets]

    async def _trades(self, parameters: Parameters, now_ms: int) -> object:
        instrument = find_instrument(parameters, self._venue.instruments)
        limit = min(integer(parameters, "limit", TRADES_LIMIT_DEFAULT), TRADES_LIMIT_MAX)
        return market_documents.trades_document(self._venue.markets[instrument.index], limit)

    async def _historical_trades(self, parameters: Parameters, now_ms: int) -> object:
        instrument = find_instrument(parameters, self._venue.instruments)
        limit = integer(parameters, "limit", HISTORICAL_LIMIT_DEFAULT)
        from_id = integer(parameters, "fromId", -1)
        market = self._venue.markets[instrument.index]
        limit = min(limit, HISTORICAL_LIMIT_MAX)
        return market_documents.trades_document(market, limit, None if from_id < 0 else from_id)

    async def _aggregates(self, parameters: Parameters, now_ms: int) -> object:
        return tape_documents.aggregates_document(self._market(parameters), parameters)

    async def _klines(self, parameters: Parameters, now_ms: int) -> object:
        return tape_documents.klines_document(self._market(parameters), parameters)

    async def _day_ticker(self, parameters: Parameters, now_ms: int) -> object:
        if parameters.get("symbol"):
            return tape_documents.day_document(self._market(parameters), now_ms)
        return [tape_documents.day_document(m, now_ms) for m in self._venue.markets]

    async def _price_ticker(self, parameters: Parameters, now_ms: int) -> object:
        if parameters.get("symbol"):
            return market_documents.price_document(self._market(parameters), now_ms)
        return [market_documents.price_document(m, now_ms) for m in self._venue.markets]

    def _market(self, parameters: Parameters) -> VenueMarket:
        return self._venue.markets[find_instrument(parameters, self._venue.instruments).index]


def private_routes(calls: PrivateCalls) -> dict[RouteKey, Route]:
    """Map the calls about the account and its orders; also those of a venue without sockets."""

    def signed(call: Call) -> Route:
        return Route(call, Access.SIGNED)

    def order(call: Call) -> Route:
        return Route(call, Access.SIGNED, is_order=True)

    def keyed(call: Call) -> Route:
        return Route(call, Access.KEYED)

    return {
        ("GET", "/fapi/v2/account"): signed(calls.account_v2),
        ("GET", "/fapi/v3/account"): signed(calls.account_v3),
        ("GET", "/fapi/v2/balance"): signed(calls.balance),
        ("GET", "/fapi/v3/balance"): signed(calls.balance),
        ("GET", "/fapi/v2/positionRisk"): signed(calls.position_risk_v2),
        ("GET", "/fapi/v3/positionRisk"): signed(calls.position_risk_v3),
        ("GET", "/fapi/v1/leverageBracket"): signed(calls.leverage_brackets),
        ("GET", "/fapi/v1/commissionRate"): signed(calls.commission_rate),
        ("GET", "/fapi/v1/positionSide/dual"): signed(calls.position_side),
        ("POST", "/fapi/v1/positionSide/dual"): signed(calls.set_position_side),
        ("POST", "/fapi/v1/marginType"): signed(calls.set_margin_type),
        ("POST", "/fapi/v1/leverage"): signed(calls.set_leverage),
        ("POST", "/fapi/v1/countdownCancelAll"): signed(calls.countdown),
        ("GET", "/fapi/v1/userTrades"): signed(calls.user_trades),
        ("POST", "/fapi/v1/listenKey"): keyed(calls.open_listen_key),
        ("PUT", "/fapi/v1/listenKey"): keyed(calls.extend_listen_key),
        ("DELETE", "/fapi/v1/listenKey"): keyed(calls.close_listen_key),
        ("POST", "/fapi/v1/order"): order(calls.place_order),
        ("PUT", "/fapi/v1/order"): order(calls.amend_order),
        ("GET", "/fapi/v1/order"): order(calls.query_order),
        ("DELETE", "/fapi/v1/order"): order(calls.cancel_order),
        ("GET", "/fapi/v1/openOrder"): order(calls.query_open_order),
        ("GET", "/fapi/v1/openOrders"): order(calls.open_orders),
        ("GET", "/fapi/v1/allOrders"): order(calls.all_orders),
        ("DELETE", "/fapi/v1/allOpenOrders"): order(calls.cancel_all),
    }


def _respond(document: object, status: int) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")
