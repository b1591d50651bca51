"""Tasks that cannot die silently, and pauses that do not hammer a venue.

A background task either runs for ever, and is restarted with a note when it fails, or does one job,
and says so when it fails. Nothing is left to the event loop's complaint at garbage collection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np

from daemon.clock import Clock
from daemon.note import Note

GROWTH = 2.0
RESTART_MS_MIN, RESTART_MS_MAX = 100, 10_000
CANCEL_INTERVAL_S = 1.0


class Backoff:
    """Pauses that double from ``ms_min`` to ``ms_max``, each drawn from its upper half."""

    def __init__(self, ms_min: int, ms_max: int, generator: np.random.Generator) -> None:
        """Start with the shortest pause; ``generator`` supplies the jitter."""
        self._ms_min = float(ms_min)
        self._ms_max = float(max(ms_min, ms_max))
        self._generator = generator
        self.attempt_count = 0

    def next_s(self) -> float:
        """Draw the next pause in seconds."""
        growth = GROWTH ** min(self.attempt_count, 30)
        pause_ms = min(self._ms_min * growth, self._ms_max)
        self.attempt_count += 1
        return pause_ms * (0.5 + 0.5 * self._generator.random()) / 1000.0

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self.attempt_count = 0


class Supervisor:
    """Owner of background tasks; every failure becomes a ``task_failed`` note."""

    def __init__(
        self, clock: Clock, note: Callable[[Note], None], generator: np.random.Generator
    ) -> None:
        """Own no task yet."""
        self._clock = clock
        self._note = note
        self._generator = generator
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed_count = 0

    @property
    def task_count(self) -> int:
        """Tasks still running."""
        return len(self._tasks)

    def spawn(self, name: str, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a job once; a failure is noted."""
        task = asyncio.get_running_loop().create_task(self._once(name, job), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: job.close())  # cancelled before its first step
        return task

    def spawn_forever(self, name: str, job: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run a job that should not end; when it ends or fails, note it, pause and run it again."""
        return self.spawn(name, self._forever(name, job))

    async def drain(self, timeout_s: float) -> bool:
        """Wait for all tasks, and those they spawn, to end; False when some still run."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while self._tasks and loop.time() < deadline_s:
            await asyncio.wait(set(self._tasks), timeout=deadline_s - loop.time())
        return not self._tasks

    async def close(self) -> None:
        """Cancel every task until each has ended: a library may swallow one cancellation."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=CANCEL_INTERVAL_S)

    async def _once(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception as error:
            self._failed(name, error)

    async def _forever(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(RESTART_MS_MIN, RESTART_MS_MAX, self._generator)
        while True:
            try:
                await job()
                self._failed(name, RuntimeError("ended by itself"))
            except Exception as error:
                self._failed(name, error)
            await asyncio.sleep(backoff.next_s())

    def _failed(self, name: str, error: Exception) -> None:
        self.failed_count += 1
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        # no text of a ccxt error: it may hold a signed URL
        text = "" if type(error).__module__.startswith("ccxt") else str(error)[:200]
        fields = {
            "task": name,
            "error": type(error).__name__,
            "detail": text,
            "line": where.tb_lineno if where is not None else 0,
            "file": where.tb_frame.f_code.co_filename if where is not None else "",
        }
        self._note(Note(event="task_failed", event_ns=self._clock.now_ns(), fields=fields))
