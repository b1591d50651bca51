"""What the daemon tells systemd: ready, alive, stopping (sd_notify(3), no library needed).

The watchdog is fed only while the engine makes progress: a loop that turns but decides nothing is
as dead as one that hangs. A message that cannot be delivered is counted and never in the way.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

_WATCHDOG_SHARE = 0.5  # sd_watchdog_enabled(3): notify every half of the time
_STATUS_LENGTH_MAX = 500


class Health:
    """The channel to the service manager; every call is harmless where there is none.

    ``environ`` is the process environment: NOTIFY_SOCKET (path or abstract), WATCHDOG_USEC and
    WATCHDOG_PID. An address of another kind (vsock) counts as none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Open the socket; nothing is sent yet."""
        self.failed_count = 0
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        if self._address:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)
        self._watchdog_us = _watchdog_us(environ) if self._address else 0
        self._progress_count: int | None = None

    @property
    def is_supervised(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often the watchdog wants to be fed, None when there is none."""
        return self._watchdog_us * _WATCHDOG_SHARE / 1e6 if self._watchdog_us else None

    def ready(self, status: str) -> bool:
        """Say that start-up or a reload is finished; True when the message went out."""
        return self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, status: str) -> bool:
        """Set the line that ``systemctl status`` shows."""
        return self._send(f"STATUS={_one_line(status)}")

    def reloading(self, monotonic_ns: int) -> bool:
        """Say that a reload begins at this CLOCK_MONOTONIC time; ``ready`` must follow."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")

    def extend_start(self, timeout_s: float) -> bool:
        """Ask for so much more time before start-up counts as failed, such as for compilation."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(timeout_s * 1e6)}")

    def stopping(self, status: str) -> bool:
        """Say that the stop has begun."""
        return self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def watchdog(self, progress_count: int) -> bool:
        """Feed the watchdog if the count has moved since it was last fed; True when it was."""
        if not self._watchdog_us or progress_count == self._progress_count:
            return False
        if not self._send("WATCHDOG=1"):
            return False
        self._progress_count = progress_count
        return True

    async def feed_watchdog(self, progress_count: Callable[[], int]) -> None:
        """Feed the watchdog until cancelled; returns at once when there is none.

        ``progress_count`` must rise while the engine works, also on a quiet market.
        """
        interval_s = self.watchdog_interval_s
        while interval_s is not None:
            self.watchdog(progress_count())
            await asyncio.sleep(interval_s)

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:  # nobody there, or the queue is full: the next message may get through
            self.failed_count += 1
            return False
        return True


def _address(text: str) -> str:
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog_us(environ: Mapping[str, str]) -> int:
    """Return the watchdog time, 0 when there is none or it is meant for another process."""
    pid = environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _one_line(text: str) -> str:
    """Keep a status from becoming further messages: no line ends, bounded length."""
    return " ".join(text.split())[:_STATUS_LENGTH_MAX]
