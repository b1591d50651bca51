"""A webhook on loopback that answers as a test tells it and keeps what it got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

FIVE_SECONDS = 5.0


class Receiver:
    """A webhook that answers as told and keeps what it got."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[dict[str, Any]] = []
        self.attempts = 0
        self.hangs = False
        self.alive_count = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.attempts += 1
        if self.hangs:
            await asyncio.sleep(30)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.got.append({**await request.json(), "arrived_ns": time.time_ns()})
        return web.Response(status=status)

    async def alive(self, _: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.alive_count += status == 200
        return web.Response(status=status)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(FIVE_SECONDS):
            while len(self.got) < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def webhook() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    application.router.add_get("/alive", receiver.alive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # asyncio's own
    try:
        yield receiver, f"http://127.0.0.1:{port}/hook"
    finally:
        await runner.cleanup()
