"""A loopback proxy that drops a connection after a chosen byte of a request or of its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

Direction = Literal["request", "answer"]


@dataclass(slots=True, kw_only=True)
class Cut:
    """Where the next connection to carry bytes is cut; ``passed`` counts what got through."""

    direction: Direction
    after_bytes: int
    passed: int = 0
    is_done: bool = False


class CuttingProxy:
    """Forwards TCP to one port; while ``cut`` is set, bytes count from the moment it was set."""

    def __init__(self, host: str, port: int) -> None:
        """Know where to forward to."""
        self._host = host
        self._upstream_port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.cut: Cut | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection and wait until its sockets are closed."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:  # of tasks that were cancelled before their first step too
            writer.transport.abort()
        await asyncio.gather(*(w.wait_closed() for w in self._writers), return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self._host, self._upstream_port)
        except OSError:  # the venue is gone: so is this connection
            writer.transport.abort()
            return
        self._writers.append(up_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, "request")),
            asyncio.create_task(self._pump(up_reader, writer, "answer")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in (writer, up_writer):
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        while block := await reader.read(65_536):
            cut = self.cut
            if cut is not None and cut.direction == direction and not cut.is_done:
                room = cut.after_bytes - cut.passed
                cut.passed += min(len(block), room)
                if len(block) >= room:
                    cut.is_done = True
                    writer.write(block[:room])
                    await writer.drain()
                    await asyncio.sleep(0.005)  # let what was passed arrive before the end does
                    return
            writer.write(block)
            await writer.drain()
