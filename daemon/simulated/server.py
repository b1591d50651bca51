"""The exchange on its port: builds everything once, serves, keeps time, and reports at the end."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

import orjson
from aiohttp import web

from config.settings import SimulatedSettings
from daemon.clock import Clock
from daemon.simulated.control_port import ControlPort
from daemon.simulated.dialects import is_api_request, split_instruments, unrouted_streams
from daemon.simulated.fault_shell import FaultShell
from daemon.simulated.http_log import http_logger
from daemon.simulated.market_source import MarketSource
from daemon.simulated.player import Player
from daemon.simulated.request_weights import PER_DAY, WeightMeter
from daemon.simulated.rest import RestApi
from daemon.simulated.rest_faults import RestFaults
from daemon.simulated.spot_calls import SpotCalls
from daemon.simulated.spot_venue import SpotVenue, TradingFloor
from daemon.simulated.stream_connection import GOING_AWAY, StreamConnection
from daemon.simulated.streams import StreamHub
from daemon.simulated.switchboard import Switchboard
from daemon.simulated.venue import Venue
from daemon.simulated.venue_clock import VenueClock
from daemon.simulated.weight_guard import WeightGuard
from daemon.simulated.ws_api import ApiConnection, ApiDesk, SpotUsers
from kernels.latencies import OrderLatency, Way
from kernels.units import E8, from_e8

HOST = "127.0.0.1"
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
ORDER_SEED, STREAM_SEED, SPOT_SEED = 1, 2, 3
"""What tells the latencies of the connections apart."""

HOUSEKEEPING_S = 0.05
SHUTDOWN_S = 2.0
CLOSING_S = 0.2
"""How long stream clients get to join in the closing handshake."""

Document = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """The key pair that opens the exchange's one account."""

    api_key: str
    api_secret: str


def _latency(settings: SimulatedSettings, connection: int) -> OrderLatency:
    return OrderLatency(
        settings.latency_kind,
        settings.latency_ms,
        settings.latency_sigma,
        (settings.seed + connection) % 2**63,
    )


def _meters(settings: SimulatedSettings) -> tuple[WeightMeter, WeightMeter]:
    """Return the counts of futures and of spot."""
    futures = WeightMeter(settings.weight_1m_max, settings.orders_10s_max, settings.orders_1m_max)
    spot = WeightMeter(
        settings.spot_weight_1m_max,
        settings.spot_orders_10s_max,
        settings.spot_orders_1d_max,
        PER_DAY,
    )
    return futures, spot


class UserLine:
    """The way of user events to the client: one latency long, never out of order."""

    def __init__(self, hub: StreamHub | SpotUsers, way: Way, clock: Clock) -> None:
        """Deliver to the hub's user streams after the time that the ``way`` takes."""
        self._hub = hub
        self._way = way
        self._clock = clock
        self._waiting: deque[tuple[bytes, str]] = deque()

    def send(self, document: Document) -> None:
        """Put one event on its way."""
        self._put(orjson.dumps(document), "")

    def send_last(self, listen_key: str, document: Document) -> None:
        """Put the last event of a listen key on its way."""
        self._put(orjson.dumps(document), listen_key)

    def _put(self, payload: bytes, listen_key: str) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.append((payload, listen_key))
        now_ns = self._clock.monotonic_ns()
        delay_s = (self._way.arrival_ns(now_ns) - now_ns) / NS_PER_S
        loop.call_later(delay_s, self._deliver)

    def _deliver(self) -> None:
        """Deliver the oldest event: there is one timer per event, so none is left behind."""
        payload, listen_key = self._waiting.popleft()
        if listen_key:
            self._hub.end_user_streams(listen_key, payload)
        else:
            self._hub.publish_user(payload)


class ExchangeServer:
    """The whole exchange inside one event loop."""

    def __init__(
        self,
        settings: SimulatedSettings,
        source: MarketSource,
        keys: ApiKeys,
        clock: Clock,
    ) -> None:
        """Build everything; nothing is served yet. Needs a running loop."""
        self._clock = clock = VenueClock(clock)
        self._hub = StreamHub(self._start_market)
        self._connections: set[StreamConnection] = set()
        line = UserLine(self._hub, _latency(settings, STREAM_SEED).outward, clock)
        self._users = SpotUsers()
        spot_line = UserLine(self._users, _latency(settings, SPOT_SEED).outward, clock)
        contracts, pairs = split_instruments(source.instruments)
        self.spot = SpotVenue(
            pairs,
            round(settings.wallet_quote * E8),
            lambda document: self.faults.publish_spot_user(document),
        )
        self.venue = Venue(
            contracts,
            round(settings.wallet_quote * E8),
            clock.now_ns() // NS_PER_MS,
            lambda document: self.faults.publish_user(document),
            line.send_last,
        )
        self.faults = FaultShell(
            self.venue,
            self.spot,
            self._hub,
            self._users,
            clock,
            self._connections,
            line.send,
            spot_line.send,
        )
        floor = TradingFloor(self.venue, self.spot)
        self.player = Player(source, floor, self._hub, clock, settings.speed)
        meter, spot_meter = _meters(settings)
        self._rest = RestApi(
            self.venue,
            self.player,
            clock,
            api_key=keys.api_key,
            api_secret=keys.api_secret,
            latency=_latency(settings, ORDER_SEED),
            rate_limits=meter.limits(),
            more_routes=SpotCalls(self.spot, self.player, spot_meter.limits()).routes(),
            key_can_withdraw=settings.key_can_withdraw,
        )
        guard = WeightGuard(meter, spot_meter, self._rest.handle, clock)
        self._api = ApiDesk(
            self._rest,
            self._users,
            guard,
            lambda: clock.now_ns() // NS_PER_MS,
            api_key=keys.api_key,
            api_secret=keys.api_secret,
        )
        faulty = RestFaults(self.faults.board, guard.handle, self.faults.now_s)
        self._api.meddle = faulty.perform
        self._http = web.Server(faulty.handle, access_log=None, logger=http_logger())
        self._control = web.Server(ControlPort(self.faults, self.report).handle, access_log=None)
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self, port: int, context: ssl.SSLContext | None) -> int:
        """Serve on loopback, in plain text without a context; port 0 is any; return the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._switchboard, HOST, port, ssl=context)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def listen_for_control(self) -> int:
        """Serve the control port in plain text on loopback; return it."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._control, HOST, 0)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def start(self) -> None:
        """Start the market's clockwork; the market itself waits for its first subscriber."""
        self._tasks = [
            asyncio.create_task(self.player.run(), name="player"),
            asyncio.create_task(self._keep_house(), name="housekeeping"),
        ]

    async def wait_failed(self) -> None:
        """Return only by raising what broke one of the exchange's own tasks."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Close listeners, tell the clients, end the tasks."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.close(GOING_AWAY, "the exchange is closing")
        deadline_s = asyncio.get_running_loop().time() + CLOSING_S
        while self._connections and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(CLOSING_S / 20)
        await self._http.shutdown(SHUTDOWN_S)
        await self._control.shutdown(SHUTDOWN_S)

    def report(self) -> Document:
        """Sum up what was served and what the account holds."""
        account = self.venue.account
        ledger = account.ledger
        return {
            "frames_played": self.player.frames_played,
            "source_finished": self.player.is_finished,
            "late_ms_max": self.player.late_ns_max / NS_PER_MS,
            "frames_sent": dict(self._hub.sent),
            "slow_clients_cut": self._hub.slow_count,
            "faults_fired": self.faults.board.fired_counts(),
            "requests": dict(self._rest.requests + self._api.requests),
            "refused": dict(self._rest.refused),
            **self.venue.desk.counts.words(len(self.venue.desk.working_orders())),
            "liquidations": self.faults.margin.liquidated_count,
            "position_lots": {
                instrument.symbol: account.position_lots(instrument.index)
                for instrument in self.venue.instruments
            },
            "wallet_quote": from_e8(ledger.wallet_quote_e8),
            "equity_quote": from_e8(ledger.equity_quote_e8),
            "fees_quote": from_e8(ledger.fees_quote_e8),
            "funding_quote": from_e8(ledger.funding_quote_e8),
            "spot": self.spot.report(),
        }

    def _start_market(self) -> None:
        self.faults.board.start_market(self.faults.now_s())
        self.player.start()

    def _switchboard(self) -> Switchboard:
        return Switchboard(self._http, self._stream_connection)

    def _stream_connection(self, head: bytes) -> StreamConnection:
        now_s = asyncio.get_running_loop().time
        if is_api_request(head):
            return ApiConnection(self._api, self._hub, self._connections, now_s)
        unrouted = unrouted_streams(head, has_spot=bool(self.spot.instruments))
        return StreamConnection(self._hub, self._is_listen_key, self._connections, now_s, unrouted)

    def _is_listen_key(self, key: str) -> bool:
        return self.venue.listen_key.is_valid(key, self._clock.now_ns() // NS_PER_MS)

    async def _keep_house(self) -> None:
        while True:
            now_ms = self._clock.now_ns() // NS_PER_MS
            self.venue.tick(now_ms)
            self.faults.margin.look(now_ms)
            self.faults.tick()
            for connection in list(self._connections):
                connection.keep_alive()
            await asyncio.sleep(HOUSEKEEPING_S)
