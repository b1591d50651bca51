"""One port for REST and streams: read a request's head, then hand the connection over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

HEAD_BYTES_MAX = 16 * 1024
HEAD_TIMEOUT_S = 10.0
HEAD_END = b"\r\n\r\n"


class Switchboard(asyncio.Protocol):
    """Waits for one HTTP head; websocket upgrades go one way, everything else the other."""

    def __init__(
        self,
        make_rest: Callable[[], asyncio.Protocol],
        make_stream: Callable[[], asyncio.Protocol],
    ) -> None:
        """Take the two factories of the protocols that may take over."""
        self._make_rest = make_rest
        self._make_stream = make_stream
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client a limited time for its head."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Collect the head, then hand over with every byte read so far."""
        self._head += data
        end = self._head.find(HEAD_END)
        if end < 0:
            if len(self._head) > HEAD_BYTES_MAX:
                self._transport.abort()
            return
        self._stop_timer()
        chosen = self._make_stream() if _is_upgrade(self._head[:end]) else self._make_rest()
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        chosen.data_received(bytes(self._head))

    def connection_lost(self, error: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_upgrade(head: bytes | bytearray) -> bool:
    for line in bytes(head).lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip() == b"upgrade" and b"websocket" in value:
            return True
    return False
