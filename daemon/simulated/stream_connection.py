"""One websocket client: handshake, SUBSCRIBE and its answers, pings, and a bound on what it owes.

The protocol work is done by ``websockets`` without I/O; market messages go past it, framed by the
hub, because they are the same bytes for everybody. Compression is never negotiated.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from daemon.simulated.spot_listings import STREAM_PREFIX
from daemon.simulated.streams import CHANNELS, Route, StreamHub

MESSAGE_BYTES_MAX = 64 * 1024
WRITE_BUFFER_BYTES_MAX = 8 * 1024 * 1024
"""A client that lets this much pile up is disconnected."""

INBOUND_PER_S_MAX = 10
STREAMS_MAX = 1_024
PING_INTERVAL_S = 20.0
PONG_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
MUTED_S_MAX = 600.0
"""A client that does not notice a dead connection for this long is cut off after all."""

LIFETIME_S = 24 * 3600.0
POLICY_VIOLATION = 1008
GOING_AWAY = 1001

CODE_UNKNOWN_VARIANT = 2
CODE_INVALID_JSON = 3
CODE_TOO_MANY_STREAMS = 4


class _Command(msgspec.Struct):
    method: str
    params: list[str] = []
    id: int | str | None = None


_COMMAND = msgspec.json.Decoder(_Command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a stream URL asks for."""

    route: Route
    is_combined: bool
    names: tuple[str, ...]
    listen_key: str


def parse_target(path: str, unrouted: Route = Route.PUBLIC) -> Target | None:
    """Read a websocket URL's path and query; None when no such endpoint exists.

    ``unrouted`` is what URLs without a route carry: public futures streams, or spot's. A first
    path element without ``@`` is the client's own connection number, except on private URLs, where
    it is a listen key; a private URL without one is served its user stream by SUBSCRIBE.
    """
    parts = urlsplit(path)
    elements = [element for element in parts.path.split("/") if element]
    query = parse_qs(parts.query)
    route = unrouted
    if elements and elements[0] in (Route.PUBLIC, Route.MARKET, Route.PRIVATE):
        route = Route(elements.pop(0))
    if not elements or elements[0] not in ("ws", "stream"):
        return None
    is_combined = elements[0] == "stream"
    names = [name for text in query.get("streams", []) for name in text.split("/") if name]
    names += [element for element in elements[1:] if "@" in element]
    listen_key = ""
    if route is Route.PRIVATE:
        listen_key = query.get("listenKey", elements[1:2] or [""])[0]
    return Target(route=route, is_combined=is_combined, names=tuple(names), listen_key=listen_key)


class StreamConnection(asyncio.Protocol):
    """The server's side of one websocket; also the hub's ``Subscriber``."""

    def __init__(
        self,
        hub: StreamHub,
        is_listen_key: Callable[[str], bool],
        connections: set[StreamConnection],
        now_s: Callable[[], float],
        unrouted: Route = Route.PUBLIC,
    ) -> None:
        """Join ``connections`` while connected; ``is_listen_key`` opens private URLs.

        ``now_s`` is the loop's clock, which paces pings and bounds the client's commands;
        ``unrouted`` is what a URL without a route carries.
        """
        self.is_combined = False
        self._hub = hub
        self._is_listen_key = is_listen_key
        self._connections = connections
        self._websocket = ServerProtocol(max_size=MESSAGE_BYTES_MAX)
        self._transport: asyncio.Transport
        self._unrouted = unrouted
        self._target = Target(route=unrouted, is_combined=False, names=(), listen_key="")
        self._streams: dict[str, None] = {}
        self._pending: list[bytes] = []
        self._now_s = now_s
        self._opened_s = self._last_ping_s = self._last_pong_s = self._now_s()
        self._window_s = 0.0
        self._window_count = 0
        self._muted_s: float | None = None

    @property
    def route(self) -> Route:
        """What its URL chose."""
        return self._target.route

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed bytes from the client; answer what they ask."""
        if self._muted_s is not None:
            return
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._send_protocol_bytes()

    def eof_received(self) -> None:
        """Let the closing handshake finish."""
        self._websocket.receive_eof()
        self._send_protocol_bytes()

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the hub."""
        self._hub.drop(self)
        self._connections.discard(self)
        self._pending.clear()

    def enqueue(self, framed: bytes) -> None:
        """Keep a framed message for the next flush."""
        self._pending.append(framed)

    def flush(self) -> None:
        """Write what is pending; a client too far behind is cut off instead."""
        is_dead = self._muted_s is not None or self._transport.is_closing()
        if self._websocket.state is not OPEN or is_dead:
            self._pending.clear()
        if not self._pending:
            return
        if self._transport.get_write_buffer_size() > WRITE_BUFFER_BYTES_MAX:
            self._hub.slow_count += 1
            self._hub.drop(self)
            self._transport.abort()
            return
        self._transport.write(b"".join(self._pending))
        self._pending.clear()

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; a peer that does not join in is cut off.

        Closing the socket at once would reset it under what the peer is still sending, and the
        peer would lose the reason together with the last answers.
        """
        if self._websocket.state is not OPEN or self._muted_s is not None:
            return
        self._hub.drop(self)
        self._websocket.send_close(code, reason)
        self._send_protocol_bytes()
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self._hub.drop(self)
        own = self._transport.get_extra_info("socket")
        if own is None or own.fileno() < 0:
            return  # closed meanwhile, say with its listen key: nothing is left to cut
        with socket.socket(fileno=os.dup(own.fileno())) as twin:  # the loop's own cannot be set
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def mute(self) -> None:
        """Stay connected and never send or heed anything again, as behind a dead network path."""
        self._muted_s = self._now_s()

    def keep_alive(self) -> None:
        """Ping when due; drop a peer without a pong, and one whose day is over."""
        now_s = self._now_s()
        if self._muted_s is not None:
            if now_s - self._muted_s > MUTED_S_MAX:
                self._transport.abort()
            return
        if now_s - self._opened_s > LIFETIME_S:
            self.close(GOING_AWAY, "connection lifetime is over")
        elif now_s - self._last_pong_s > PONG_TIMEOUT_S:
            self.close(POLICY_VIOLATION, "Pong timeout")
        elif now_s - self._last_ping_s > PING_INTERVAL_S and self._websocket.state is OPEN:
            self._last_ping_s = now_s
            self._websocket.send_ping(str(int(now_s * 1000)).encode())
            self._send_protocol_bytes()

    def _handshake(self, request: Request) -> None:
        target = parse_target(request.path, self._unrouted)
        if self._hub.is_shut:
            response = self._websocket.reject(503, "system maintenance\n")
        elif target is None:
            response = self._websocket.reject(404, "no such stream endpoint\n")
        elif target.listen_key and not self._is_listen_key(target.listen_key):
            response = self._websocket.reject(400, "unknown listenKey\n")
        else:
            response = self._websocket.accept(request)
            self._target = target
            self.is_combined = target.is_combined
        self._websocket.send_response(response)
        self._send_protocol_bytes()
        if self._websocket.state is not OPEN:
            return
        if self._target.listen_key:
            self._hub.add_user(self, self._target.listen_key)
        self._subscribe(self._target.names)

    def _frame(self, frame: Frame) -> None:
        if self._websocket.state is not OPEN:
            return
        if frame.opcode is Opcode.PONG:
            self._last_pong_s = self._now_s()
        if frame.opcode in (Opcode.TEXT, Opcode.PING, Opcode.PONG) and not self._within_rate():
            self.close(POLICY_VIOLATION, "Too many requests")
        elif frame.opcode is Opcode.TEXT:
            self._answer(self._command(frame))

    def _within_rate(self) -> bool:
        now_s = self._now_s()
        if now_s - self._window_s >= 1.0:
            self._window_s = now_s
            self._window_count = 0
        self._window_count += 1
        return self._window_count <= INBOUND_PER_S_MAX

    def _command(self, frame: Frame) -> dict[str, Any]:
        if not frame.fin:
            return _error(CODE_INVALID_JSON, "Invalid JSON: fragmented messages are not served")
        try:
            command = _COMMAND.decode(bytes(frame.data))
        except msgspec.ValidationError as error:
            return _error(CODE_UNKNOWN_VARIANT, f"Invalid request: {error}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(CODE_INVALID_JSON, f"Invalid JSON: {error}")
        match command.method:
            case "SUBSCRIBE":
                if len(self._streams) + len(command.params) > STREAMS_MAX:
                    return _error(CODE_TOO_MANY_STREAMS, "Too many streams", command.id)
                self._subscribe(tuple(command.params))
                return {"result": None, "id": command.id}
            case "UNSUBSCRIBE":
                for name in command.params:
                    self._streams.pop(name, None)
                    self._hub.unsubscribe(self, self._inside(name))
                return {"result": None, "id": command.id}
            case "LIST_SUBSCRIPTIONS":
                return {"result": list(self._streams), "id": command.id}
            case _:
                text = (
                    f"Invalid request: unknown variant `{command.method[:40]}`, expected one of "
                    "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`"
                )
                return _error(CODE_UNKNOWN_VARIANT, text, command.id)

    def _subscribe(self, names: tuple[str, ...]) -> None:
        """Subscribe; names that this route does not carry are accepted and stay silent."""
        for name in names:
            self._streams[name] = None
            if self._target.route is Route.PRIVATE and self._is_listen_key(name):
                self._hub.add_user(self, name)
            elif name.partition("@")[2] in CHANNELS[self._target.route]:
                self._hub.subscribe(self, self._inside(name))

    def _inside(self, name: str) -> str:
        """Return what a stream is called inside the exchange."""
        return STREAM_PREFIX + name if self._target.route is Route.SPOT else name

    def _answer(self, document: dict[str, Any]) -> None:
        if self._websocket.state is OPEN:
            self._websocket.send_text(orjson.dumps(document))

    def _send_protocol_bytes(self) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():
                self._transport.close()  # waits for a peer that may never read again
                asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)


def _error(code: int, message: str, request_id: int | str | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": request_id}
