"""One port for REST and streams: read a request's head, then hand the connection over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

HEAD_BYTES_MAX = 16 * 1024
HEAD_TIMEOUT_S = 10.0
HEAD_END = b"\r\n\r\n"


class Switchboard(asyncio.Protocol):
    """Reads a connection's first HTTP head; REST passes through here, a websocket takes over.

    A client may upgrade a connection that carried REST before: it then starts a read with the
    upgrade request, as nothing can be pending behind an answered request.
    """

    def __init__(
        self,
        make_rest: Callable[[], asyncio.Protocol],
        make_stream: Callable[[bytes], asyncio.Protocol],
    ) -> None:
        """Take the two factories of the protocols that may take over.

        ``make_stream`` is given the request's head: path and host tell which websocket is meant.
        """
        self._make_rest = make_rest
        self._make_stream = make_stream
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._rest: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client a limited time for its head."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Pass REST on; otherwise collect the head and choose who goes on with it."""
        if self._rest is not None:
            if not _is_upgrade(data):
                self._rest.data_received(data)
                return
            cast(Any, self._rest).transport = None  # aiohttp would close what it is told is lost
            self._rest.connection_lost(None)
            self._rest = None
        self._head += data
        if HEAD_END not in self._head:
            if len(self._head) > HEAD_BYTES_MAX:
                self._transport.abort()
            return
        self._stop_timer()
        head = bytes(self._head)
        self._head.clear()
        if _is_upgrade(head):
            stream = self._make_stream(head)
            self._transport.set_protocol(stream)
            stream.connection_made(self._transport)
            stream.data_received(head)
        else:
            self._rest = self._make_rest()
            self._rest.connection_made(self._transport)
            self._rest.data_received(head)

    def eof_received(self) -> bool | None:
        """Pass the client's end of sending on."""
        return self._rest.eof_received() if self._rest is not None else None

    def pause_writing(self) -> None:
        """Pass back-pressure on."""
        if self._rest is not None:
            self._rest.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of back-pressure on."""
        if self._rest is not None:
            self._rest.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Stop waiting, and tell who is behind."""
        self._stop_timer()
        if self._rest is not None:
            self._rest.connection_lost(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_upgrade(head: bytes) -> bool:
    """Tell whether these bytes begin with a request to speak websocket."""
    if not head.startswith(b"GET "):
        return False
    for line in head.partition(HEAD_END)[0].lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip() == b"upgrade" and b"websocket" in value:
            return True
    return False
