"""What faults do to requests: errors before and after the deed, silence, cuts, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from config.fault_specs import FaultSpec, Site
from daemon.simulated.faults import FaultBoard
from daemon.simulated.venue_errors import VenueError

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SILENCE_S_MAX = 600.0
AFTER_KINDS = frozenset({"rest_error_after", "unknown_status", "no_answer", "drop_connection"})
HTTP_ONLY = frozenset({"truncate_answer", "drop_connection"})
"""Kinds that spoil an HTTP answer or its connection; ws-api knows the faults of sockets."""

SILENCE_CHECK_S = 0.05
MAINTENANCE_PAGE = "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"


class RestFaults:
    """Stands before the REST calls; every request passes."""

    def __init__(self, board: FaultBoard, handler: Handler, now_s: Callable[[], float]) -> None:
        """Hand unharmed requests on to ``handler``."""
        self._board = board
        self._handler = handler
        self._now_s = now_s

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or do whatever the fault says that strikes it."""
        target = f"{request.method} {request.path}"
        fault = self._board.strike(Site.REST, target, self._now_s())
        if fault is None:
            return await self._handler(request)
        spec = fault.spec
        match spec.kind:
            case "rest_error" | "rate_limited" | "banned":
                return _error(spec)
            case "maintenance":
                return web.Response(
                    text=MAINTENANCE_PAGE, status=spec.status, content_type="text/html"
                )
            case "slow_answer":
                answer = await self._handler(request)
                await asyncio.sleep(spec.delay_ms / 1000)
                return answer
            case "truncate_answer":
                return _cut(await self._handler(request))
        if spec.kind in AFTER_KINDS and spec.accepted:
            await self._handler(request)
        else:
            await request.read()
        if spec.kind == "drop_connection" and request.transport is not None:
            request.transport.abort()
        elif spec.kind == "no_answer":
            await self._stay_silent(request)
        return _error(spec)

    async def perform(self, target: str, deed: Callable[[], Awaitable[object]]) -> object:
        """Do the deed of a ws-api request (``WS method``), or what a fault makes of it."""
        fault = self._board.strike(Site.REST, target, self._now_s(), HTTP_ONLY)
        if fault is None:
            return await deed()
        spec = fault.spec
        if spec.kind == "slow_answer":
            result = await deed()
            await asyncio.sleep(spec.delay_ms / 1000)
            return result
        if spec.kind in AFTER_KINDS and spec.accepted:
            await deed()
        if spec.kind == "no_answer":
            await asyncio.sleep(SILENCE_S_MAX)
        raise VenueError(spec.code, spec.message, spec.status)

    async def _stay_silent(self, request: web.BaseRequest) -> None:
        """Hold the request until its client has gone."""
        until_s = self._now_s() + SILENCE_S_MAX
        while self._now_s() < until_s:
            if request.transport is None or request.transport.is_closing():
                return
            await asyncio.sleep(SILENCE_CHECK_S)


def _error(spec: FaultSpec) -> web.Response:
    headers = {"Retry-After": str(spec.retry_after_s)} if spec.retry_after_s else {}
    return web.Response(
        body=orjson.dumps({"code": spec.code, "msg": spec.message}),
        status=spec.status,
        headers=headers,
        content_type="application/json",
    )


def _cut(answer: web.StreamResponse) -> web.StreamResponse:
    """Keep the first half of an answer; its length is said as it is."""
    if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
        return answer
    return web.Response(
        body=answer.body[: len(answer.body) // 2],
        status=answer.status,
        content_type=answer.content_type,
    )
