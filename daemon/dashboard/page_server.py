"""The live page and the metrics over HTTP, on loopback only.

Looking needs no token; acting does. A browser elsewhere cannot be led here: the Host must be
loopback's own, a WebSocket's Origin must be this page's, and the page runs nothing but its own
script. Serving never stands in the way of trading: what is printed is printed piece by piece, a
reader that is too slow is parted from.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from daemon.control import RefusedError
from daemon.dashboard.access_token import is_same

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
LIVE_CLIENTS_MAX = 16
SEND_TIMEOUT_S = 2.0
REQUEST_BYTES_MAX = 4_096
PAUSE_AFTER_WRONG_TOKEN_S = 0.5
CLOSE_S = 1.0

FILES = {
    "/": ("live.html", "text/html"),
    "/live.css": ("live.css", "text/css"),
    "/live.js": ("live.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),  # the chart library sets styles of its own on the elements that it draws
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Words = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """One open port: page, live stream, metrics, and commands for whoever has the token."""

    def __init__(
        self,
        *,
        port: int,
        token: str,
        metrics: Callable[[], AsyncIterator[bytes]],
        opening: Callable[[], Words],
        obey: Callable[[Words], Awaitable[Words]],
    ) -> None:
        """Prepare; ``opening`` is the first message to a page, ``obey`` raises RefusedError."""
        self.client_count = 0
        self._port = port
        self._token = token
        self._metrics = metrics
        self._opening = opening
        self._obey = obey
        self._clients: dict[web.WebSocketResponse, asyncio.Transport | None] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen and return the address; OSError where the port is taken."""
        app = web.Application(middlewares=[_own_host_only], client_max_size=REQUEST_BYTES_MAX)
        for path in FILES:
            app.router.add_get(path, _file)
        app.router.add_get("/plotly.js", _chart_library)
        app.router.add_get("/live", self._live)
        app.router.add_get("/metrics", self._expose)
        app.router.add_post("/command", self._command)
        app.on_response_prepare.append(_guarded)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        port = runner.addresses[0][1]
        return f"http://{HOST}:{port}"

    async def close(self) -> None:
        """Part from every client and stop listening."""
        for client in tuple(self._clients):
            with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
                async with asyncio.timeout(CLOSE_S):
                    await client.close(code=WSCloseCode.GOING_AWAY)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def send(self, words: Words) -> None:
        """Bring a message to every page; who does not take it in time is parted from."""
        if not self._clients:
            return
        text = orjson.dumps(words).decode()
        await asyncio.gather(*(self._deliver(client, text) for client in tuple(self._clients)))

    async def _deliver(self, client: web.WebSocketResponse, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await client.send_str(text)
        except (TimeoutError, ConnectionError, RuntimeError):  # too slow, or gone
            transport = self._clients.pop(client, None)
            self.client_count = len(self._clients)
            if transport is not None:
                transport.abort()  # a farewell would wait behind what it did not read

    async def _live(self, request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin", "")
        if origin.removeprefix("http://") != request.host:
            raise web.HTTPForbidden(text="the live stream is for this page only\n")
        if len(self._clients) >= LIVE_CLIENTS_MAX:
            raise web.HTTPServiceUnavailable(text="too many pages are open\n")
        client = web.WebSocketResponse(heartbeat=20.0, max_msg_size=REQUEST_BYTES_MAX)
        await client.prepare(request)
        await client.send_str(orjson.dumps(self._opening()).decode())
        self._clients[client] = request.transport
        self.client_count = len(self._clients)
        try:
            async for _ in client:  # a page has nothing to say here; reading answers its pings
                continue
        finally:
            self._clients.pop(client, None)
            self.client_count = len(self._clients)
        return client

    async def _expose(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        async for piece in self._metrics():
            await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _command(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not is_same(given, self._token):
            await asyncio.sleep(PAUSE_AFTER_WRONG_TOKEN_S)
            return web.json_response({"ok": False, "error": "wrong token"}, status=401)
        try:
            words = orjson.loads(await request.read())
            if not isinstance(words, dict):
                raise RefusedError("a command is a JSON object")
            answer = await self._obey(words)
        except orjson.JSONDecodeError:
            return web.json_response({"ok": False, "error": "no JSON"}, status=400)
        except RefusedError as refused:
            return web.json_response({"ok": False, "error": str(refused)}, status=409)
        except TimeoutError:
            error = "the engine did not take the command in time"
            return web.json_response({"ok": False, "error": error}, status=504)
        return web.Response(
            body=orjson.dumps({"ok": True, **answer}, default=str), content_type="application/json"
        )


@web.middleware
async def _own_host_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request that some other site's name led here (DNS rebinding)."""
    name = request.host.rsplit(":", 1)[0]
    if name not in {HOST, "localhost"}:
        raise web.HTTPForbidden(text="this is not the host you asked for\n")
    return await handler(request)


async def _guarded(_: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(HEADERS)


async def _file(request: web.Request) -> web.StreamResponse:
    name, kind = FILES[request.path]
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "no-cache"}
    return web.FileResponse(PAGE / name, headers=headers)


async def _chart_library(_: web.Request) -> web.StreamResponse:
    found = importlib.util.find_spec("plotly")  # finds without importing: only its script is used
    places: Iterable[str] = (found.submodule_search_locations if found else None) or ()
    for place in places:
        script = Path(place) / "package_data" / "plotly.min.js"
        if script.is_file():
            headers = {"Content-Type": "text/javascript", "Cache-Control": "max-age=86400"}
            return web.FileResponse(script, headers=headers)
    raise web.HTTPNotFound(text="plotly is not installed\n")
