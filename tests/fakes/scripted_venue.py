"""A loopback venue that does exactly what a test tells it, including everything a venue must not.

TLS under a throw-away authority, REST and websockets on one port, Binance USD-M paths. Nothing is
simulated: books, orders and errors are what the test scripted. The real simulated exchange is
``daemon.simulated``; this one exists for its misbehaviour.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from aiohttp import WSMsgType, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EXCHANGE_INFORMATION: dict[str, Any] = {
    "timezone": "UTC",
    "serverTime": 1,
    "rateLimits": [],
    "exchangeFilters": [],
    "assets": [],
    "symbols": [
        {
            "symbol": f"{base}USDT",
            "pair": f"{base}USDT",
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000,
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "pricePrecision": 2,
            "quantityPrecision": 3,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.05",
            "liquidationFee": "0.01",
            "marketTakeBound": "0.05",
            "orderTypes": ["LIMIT", "MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": tick,
                    "maxPrice": "1000000",
                    "tickSize": tick,
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": "0.001",
                    "maxQty": "1000",
                    "stepSize": "0.001",
                },
                {"filterType": "MIN_NOTIONAL", "notional": "100"},
            ],
        }
        for base, tick in (("BTC", "0.10"), ("ETH", "0.01"))
    ],
}


def refuse(code: int, status: int = 400) -> Handler:
    """Answer with a venue error."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": code, "msg": f"scripted {code}"}, status=status)

    return handler


def answer(words: Any) -> Handler:
    """Answer with JSON."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(words)

    return handler


def answer_text(text: str, status: int = 200) -> Handler:
    """Answer with any text that claims to be JSON."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, content_type="application/json")

    return handler


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Read the request, then cut the connection without an answer."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass(slots=True, kw_only=True)
class ScriptedVenue:
    """The running venue: handlers to replace, sockets to speak through, requests as they came."""

    host: str
    port: int
    ca_pem_path: str
    api_key: str = "key"
    api_secret: str = "secret"
    handlers: dict[str, Handler] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sockets: dict[str, list[web.WebSocketResponse]] = field(
        default_factory=lambda: defaultdict(list)
    )
    connected_counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: list[dict[str, Any]] = field(default_factory=list)
    on_call: Callable[[dict[str, Any]], Any] = lambda call: None
    answers_pings: bool = True
    acknowledges: bool = True

    async def send(self, kind: str, words: Any) -> None:
        """Send JSON, or raw text, to every open socket of a kind: public, market or private."""
        text = words if isinstance(words, str) else json.dumps(words)
        for socket in list(self.sockets[kind]):
            if not socket.closed:
                await socket.send_str(text)

    async def close_sockets(self, kind: str) -> None:
        """Close all sockets of a kind, politely."""
        for socket in list(self.sockets[kind]):
            await socket.close()

    async def connected(self, kind: str, count: int = 1) -> None:
        """Wait until that many connections of a kind have been made and subscribed in total."""
        async with asyncio.timeout(10):
            while self.connected_counts[kind] < count:
                await asyncio.sleep(0.005)

    def asked(self, what: str) -> list[dict[str, str]]:
        """List the parameters of every request to ``METHOD /path``."""
        return [words for name, words in self.requests if name == what]

    async def on_request(self, request: web.Request) -> web.StreamResponse:
        """Route a request: websocket, or the scripted handler."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "ws-fapi":
            return await self._on_calls(request)
        if parts[0] in ("public", "market", "private"):
            return await self._on_socket(request, parts[0])
        name = f"{request.method} {request.path}"
        words = {**request.query, **{k: str(v) for k, v in (await request.post()).items()}}
        self.requests.append((name, words))
        handler = self.handlers.get(name, refuse(-1000, 404))
        return await handler(request)

    async def _on_calls(self, request: web.Request) -> web.StreamResponse:
        """Serve ws-api: ``on_call`` gives the answer, None for silence, bytes for raw, or hangs up.

        An answer without an id gets the request's; ``ConnectionError`` as answer cuts the socket.
        """
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets["ws-fapi"].append(socket)
        self.connected_counts["ws-fapi"] += 1
        try:
            async for message in socket:
                call = json.loads(message.data)
                self.calls.append(call)
                words = self.on_call(call)
                if isinstance(words, ConnectionError):
                    assert request.transport is not None
                    request.transport.abort()
                elif isinstance(words, str):
                    await socket.send_str(words)
                elif words is not None:
                    await socket.send_str(json.dumps({"id": call["id"], **words}))
        finally:
            self.sockets["ws-fapi"].remove(socket)
        return socket

    async def _on_socket(self, request: web.Request, kind: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, timeout=0.2)
        await socket.prepare(request)
        self.sockets[kind].append(socket)
        if kind == "private":
            self.connected_counts[kind] += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.PING and self.answers_pings:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT and self.acknowledges:
                    request_id = json.loads(message.data)["id"]
                    await socket.send_str(json.dumps({"result": None, "id": request_id}))
                    self.connected_counts[kind] += 1
        finally:
            self.sockets[kind].remove(socket)
        return socket


@asynccontextmanager
async def serve(directory: Path) -> AsyncIterator[ScriptedVenue]:
    """Run a venue on a free loopback port; certificates go into ``directory``."""
    authority = trustme.CA()
    certificate = authority.issue_cert("*.binance.com", "*.binancefuture.com")
    ca_pem_path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_pem_path))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    venue = ScriptedVenue(host="127.0.0.1", port=0, ca_pem_path=str(ca_pem_path))
    venue.handlers = {
        "GET /fapi/v1/exchangeInfo": answer(EXCHANGE_INFORMATION),
        "GET /fapi/v1/time": answer({"serverTime": 1_700_000_000_000}),
        "POST /fapi/v1/listenKey": answer({"listenKey": "abc"}),
        "PUT /fapi/v1/listenKey": answer({}),
    }
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.on_request)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, venue.host, 0, ssl_context=context)
    await site.start()
    venue.port = runner.addresses[0][1]
    try:
        yield venue
    finally:
        for kind in ("public", "market", "private", "ws-fapi"):
            for socket in list(venue.sockets[kind]):
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
        await runner.cleanup()
