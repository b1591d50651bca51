"""An event loop whose time jumps: hours of waiting pass in the time that the work takes."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

BASE_NS = 1_700_000_000_000_000_000


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for a socket let time pass; real sockets are looked at, never awaited."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now_s = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is scheduled: the test waits for ever")
        if timeout > 0:
            self.now_s += timeout
            return []
        return self._real.select(0)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that sleeps by setting its clock forward."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        """Start at time zero."""
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds slept so far."""
        return self._jumping.now_s

    def skip(self, seconds: float) -> bool:
        """Let time pass in which nothing is due; False, and no time passed, where something is.

        Half of a replay was spent on going round the loop to find nothing.
        """
        until_s = self._jumping.now_s + seconds
        if self._ready or (self._scheduled and self._scheduled[0].when() <= until_s):
            return False
        self._jumping.now_s = until_s
        return True


class VirtualClock:
    """A clock for the daemon's code, driven by the running virtual loop."""

    def __init__(self, base_ns: int = BASE_NS) -> None:
        """Start at UNIX time ``base_ns``; needs the running loop."""
        self._loop = asyncio.get_running_loop()
        self._base_ns = base_ns

    def now_ns(self) -> int:
        """Return virtual UNIX time."""
        return self._base_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Return virtual time since the loop began."""
        return round(self._loop.time() * 1e9)


def run_virtual(job: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(job)
