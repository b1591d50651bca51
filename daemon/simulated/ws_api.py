"""ws-api: requests and answers over one websocket, and spot's user data stream on the same.

A request is another way to a REST call, with its own signature rule: the parameters sorted by name,
``k=v`` joined. Answers carry the request's id; several requests may be under way at once.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote_plus, urlsplit

import msgspec
import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN

from daemon.simulated import signing, spot_errors, venue_errors
from daemon.simulated.rest import Access, RestApi, Route, RouteKey
from daemon.simulated.spot_weights import SESSION
from daemon.simulated.stream_connection import POLICY_VIOLATION, StreamConnection
from daemon.simulated.streams import SPOT_USER_STREAM, StreamHub, text_frame
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.weight_guard import WeightGuard
from daemon.simulated.ws_methods import (
    FUTURES_METHODS,
    FUTURES_PATH,
    SPOT_METHODS,
    SPOT_PATH,
    SUBSCRIBE,
    SUBSCRIPTIONS,
    UNSUBSCRIBE,
)

UNDER_WAY_MAX = 500
"""Requests of one connection between arrival and answer."""

PARAMETERS_MAX = 64

Document = dict[str, Any]
Parameters = dict[str, str]


class _Call(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: dict[str, Any] = {}


_CALL = msgspec.json.Decoder(_Call, float_hook=str)  # keeps decimals as the client signed them


Tamper = Callable[[str, bytes], Sequence[bytes]]


class SpotUsers:
    """Connections with a user data stream; takes what ``UserLine`` delivers."""

    def __init__(self) -> None:
        """Start without connections."""
        self._subscriptions: dict[ApiConnection, int] = {}
        self.sent_count = 0
        self.tamper: Tamper | None = None
        """What leaves instead of an event, while faults are at work."""

    def subscribe(self, connection: ApiConnection, subscription_id: int) -> None:
        """Open the stream of a connection (-2035 when it has one)."""
        if connection in self._subscriptions:
            raise spot_errors.subscription_active()
        self._subscriptions[connection] = subscription_id

    def subscription_id(self, connection: ApiConnection) -> int | None:
        """Return the id of a connection's stream, None without one."""
        return self._subscriptions.get(connection)

    def drop(self, connection: ApiConnection) -> None:
        """Forget a connection."""
        self._subscriptions.pop(connection, None)

    def publish_user(self, payload: bytes) -> None:
        """Send one event to every stream, wrapped with the subscription's id."""
        passed = [payload] if self.tamper is None else self.tamper(SPOT_USER_STREAM, payload)
        for each in passed:
            self.put_user(each)

    def put_user(self, payload: bytes) -> None:
        """Send one event past all faults."""
        for connection, subscription_id in list(self._subscriptions.items()):
            connection.send(b'{"subscriptionId":%d,"event":%b}' % (subscription_id, payload))
            self.sent_count += 1

    def end_user_streams(self, listen_key: str, payload: bytes) -> None:
        """Send the last event to every stream; spot has no listen keys, so it ends them all."""
        self.publish_user(payload)
        self._subscriptions.clear()


Meddler = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Takes ``WS method`` and the deed, and may leave it undone or fail after it."""


Limits = Callable[[], list[dict[str, object]]]


class ApiDesk:
    """What every ws-api connection shares: the calls, the key, the user streams."""

    def __init__(
        self,
        rest: RestApi,
        users: SpotUsers,
        guard: WeightGuard,
        now_ms: Callable[[], int],
        *,
        api_key: str,
        api_secret: str,
    ) -> None:
        """Answer for one account under one key."""
        self.users = users
        self.guard = guard
        self.now_ms = now_ms
        self.requests: Counter[str] = Counter()
        self._rest = rest
        self._api_key = api_key
        self._api_secret = api_secret
        self.meddle: Meddler | None = None

    def admit(self, access: Access, parameters: Parameters) -> None:
        """Check key, time and signature as far as a call asks for them."""
        if access is Access.OPEN:
            return
        api_key = parameters.pop("apiKey", "")
        if not api_key:
            raise venue_errors.bad_api_key()
        if api_key != self._api_key:
            raise venue_errors.rejected_api_key()
        if access is Access.KEYED:
            return
        signature = parameters.pop("signature", "")
        if not signature:
            raise venue_errors.missing("signature")
        signing.check_timing(parameters, self.now_ms())
        signed = {**parameters, "apiKey": api_key}
        # the venue's samples join values as they are, its own SDK escapes them
        plain = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
        escaped = "&".join(f"{name}={quote_plus(signed[name])}" for name in sorted(signed))
        given = signature.lower().encode()
        for payload in (plain, escaped):
            if hmac.compare_digest(signing.sign(self._api_secret, payload).encode(), given):
                return
        raise venue_errors.bad_signature()

    async def call(self, key: RouteKey, parameters: Parameters, method: str) -> object:
        """Run the REST call behind a method; ``meddle`` may do worse, as faults do."""
        route = self._rest.route(key)
        if route is None:
            raise spot_errors.unknown_method(method)
        deed = partial(self.guard.perform, key, parameters, partial(self._do, route, parameters))
        return await (self.meddle(f"WS {method}", deed) if self.meddle else deed())

    async def _do(self, route: Route, parameters: Parameters) -> object:
        self.admit(route.access, parameters)
        return await self._rest.perform(route, parameters)


class ApiConnection(StreamConnection):
    """The server's side of one ws-api websocket."""

    def __init__(
        self,
        desk: ApiDesk,
        hub: StreamHub,
        connections: set[StreamConnection],
        now_s: Callable[[], float],
    ) -> None:
        """Join ``connections`` while connected; ``hub`` counts clients that do not read."""
        super().__init__(hub, lambda key: False, connections, now_s)
        self._desk = desk
        self._is_spot = False
        self._are_limits_told = True
        self._methods: Mapping[str, RouteKey] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._next_subscription_id = 0

    def send(self, payload: bytes) -> None:
        """Send one text message at once; nothing once the connection is closing."""
        self.enqueue(text_frame(payload))
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Leave; what is under way still happens, as at a venue, only its answer is lost."""
        self._desk.users.drop(self)
        super().connection_lost(error)

    def _handshake(self, request: Request) -> None:
        address = urlsplit(request.path)
        path = address.path.rstrip("/")
        self._are_limits_told = "returnRateLimits=false" not in address.query.split("&")
        if path in (FUTURES_PATH, SPOT_PATH):
            self._is_spot = path == SPOT_PATH
            self._methods = SPOT_METHODS if self._is_spot else FUTURES_METHODS
            response = self._websocket.accept(request)
        else:
            response = self._websocket.reject(404, "no such websocket API\n")
        self._websocket.send_response(response)
        self._send_protocol_bytes()

    def _frame(self, frame: Frame) -> None:
        if self._websocket.state is not OPEN:
            return
        if frame.opcode is Opcode.PONG:
            self._last_pong_s = self._now_s()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._message(frame)

    def _message(self, frame: Frame) -> None:
        if len(self._under_way) >= UNDER_WAY_MAX:
            self.close(POLICY_VIOLATION, "Too many requests")
            return
        try:
            if not frame.fin or frame.opcode is not Opcode.TEXT:
                raise spot_errors.invalid_json()
            call = _CALL.decode(bytes(frame.data))
            parameters = _texts(call.params)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._refuse(None, spot_errors.invalid_json())
            return
        except VenueError as error:
            self._refuse(None, error)
            return
        task = asyncio.get_running_loop().create_task(self._answer_call(call, parameters))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _answer_call(self, call: _Call, parameters: Parameters) -> None:
        default = "true" if self._are_limits_told else "false"
        are_told = parameters.get("returnRateLimits", default) != "false"
        key = self._key(call.method)
        limits = partial(self._desk.guard.told, key) if key and are_told else None
        try:
            result = await self._result(call.method, key, parameters)
        except VenueError as error:
            self._refuse(call.id, error, limits)
            return
        self._reply({"id": call.id, "status": 200, "result": result}, limits)

    def _key(self, method: str) -> RouteKey | None:
        if self._is_spot and method in (SUBSCRIBE, UNSUBSCRIBE, SUBSCRIPTIONS):
            return SESSION
        return self._methods.get(method)

    async def _result(self, method: str, key: RouteKey | None, parameters: Parameters) -> object:
        if key is None:
            raise spot_errors.unknown_method(method)
        self._desk.requests[f"ws {method}"] += 1
        if key == SESSION:
            deed = partial(self._session, method, parameters)
            return await self._desk.guard.perform(key, parameters, deed)
        return await self._desk.call(key, parameters, method)

    async def _session(self, method: str, parameters: Parameters) -> object:
        users = self._desk.users
        if method == SUBSCRIBE:
            self._desk.admit(Access.SIGNED, parameters)
            subscription_id = self._next_subscription_id
            users.subscribe(self, subscription_id)
            self._next_subscription_id += 1
            return {"subscriptionId": subscription_id}
        open_id = users.subscription_id(self)
        if method == SUBSCRIPTIONS:
            return [] if open_id is None else [{"subscriptionId": open_id}]
        if open_id is None or parameters.get("subscriptionId", str(open_id)) != str(open_id):
            raise spot_errors.no_subscription()
        users.drop(self)
        return {}

    def _refuse(
        self, request_id: int | str | None, error: VenueError, limits: Limits | None = None
    ) -> None:
        document = {"id": request_id, "status": error.status, "error": error.document()}
        self._reply(document, limits)

    def _reply(self, document: Document, limits: Limits | None) -> None:
        """Send an answer, with what is used up of the limits where the client wants to know."""
        self.send(orjson.dumps(document | {"rateLimits": limits()} if limits else document))


def _texts(parameters: Mapping[str, Any]) -> Parameters:
    """Print parameters as they are signed; absent values vanish, lists stay JSON."""
    if len(parameters) > PARAMETERS_MAX:
        raise venue_errors.malformed_value("params")
    return {name: _text(value) for name, value in parameters.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return orjson.dumps(value).decode()
