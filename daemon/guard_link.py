"""The daemon's side of the guard: start it, show it progress, hear what it did.

The heartbeat is a lease: a daemon that could not renew it in time takes for granted that the guard
has acted, and trips its own breaker before it folds another event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.safety import GuardSettings
from daemon.clock import Clock
from daemon.effects import Note
from daemon.guard_launch import Launch
from daemon.socket_lines import connect, parse
from daemon.venues.supervision import Backoff
from kernels.events import Alarm
from risk.breaker import Trigger

READY_TIMEOUT_S = 60.0
HELLO_TIMEOUT_S = 5.0
END_TIMEOUT_S = 30.0
BUFFER_BYTES_MAX = 65_536
RESTART_MS_MIN, RESTART_MS_MAX = 200, 10_000
NS_PER_MS = 1_000_000
ROOT = Path(__file__).resolve().parent.parent
HIDDEN_FROM_CHILD = ("METAENSEMBLE_", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY")


@dataclass(slots=True)
class Progress:
    """What a heartbeat shows: turns of the engine, when the venue was last heard, monotonic."""

    turn_count: int = 0
    heard_ns: int = 0


Words = dict[str, Any]
Spawn = Callable[[], Awaitable[asyncio.subprocess.Process]]


class GuardError(Exception):
    """There is no guard; the message is for the operator."""


class GuardLink:
    """The connection to the one guard of this run; ``spawn`` None: it runs as a service."""

    def __init__(
        self,
        settings: GuardSettings,
        *,
        mode: str,
        path: Path,
        spawn: Spawn | None,
        progress: Progress,
        alarm: Callable[[Alarm], object],
        note: Callable[[Note], None],
        clock: Clock,
        generator: np.random.Generator,
    ) -> None:
        """Prepare; turns must rise while the engine works, also on a quiet market."""
        self.state = "starting"
        self.restart_count = 0
        self._settings = settings
        self._mode = mode
        self._path = path
        self._spawn = spawn
        self._progress = progress
        self._alarm = alarm
        self._note = note
        self._clock = clock
        self._generator = generator
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._task: asyncio.Task[None] | None = None
        self._pid = 0
        self._beaten_ns = 0
        self._overdue_ns = 0
        self._is_ending = False

    async def launch(self) -> None:
        """Start the guard's process, if it is ours to start; GuardError when that fails."""
        if self._spawn is None:
            return
        try:
            self._child = await self._spawn()
        except OSError as error:
            raise GuardError(f"the guard cannot be started: {error.strerror}") from error

    async def start(self) -> None:
        """Wait for the guard, introduce ourselves and begin to beat; GuardError without it."""
        await self._await_ready()
        await self._hello()
        self._task = asyncio.create_task(self._keep(), name="guard link")

    def overdue(self) -> Alarm | None:
        """Return an alarm, once, when the lease ran out since the last turn."""
        if not self._beaten_ns:
            return None
        still_ns = max(self._overdue_ns, self._clock.monotonic_ns() - self._beaten_ns)
        if still_ns <= self._settings.timeout_ms * NS_PER_MS:
            return None
        self._beaten_ns, self._overdue_ns = self._clock.monotonic_ns(), 0
        return self._made_alarm(Trigger.HEARTBEAT, f"stood still for {still_ns / 1e9:.1f} s")

    def describe(self) -> Words:
        """Say how the guard stands, for ``status``."""
        return {"state": self.state, "pid": self._pid, "restarts": self.restart_count}

    def flatten(self, reason: str) -> None:
        """Ask the guard to close every position in our place."""
        if not self._tell(command="flatten", reason=reason):
            self._say("guard_lost", reason=f"{reason}; and the guard cannot be reached")

    def stopping(self) -> None:
        """Announce an orderly stop, which may take its time."""
        self._tell(command="stopping")

    def goodbye(self, is_clean: bool) -> None:
        """End the watch; what is not proven to be closed is the guard's from here on."""
        self._is_ending = True
        self._tell(command="goodbye", is_clean=is_clean)

    async def close(self) -> None:
        """Let go; without a goodbye the guard cleans up, and it is waited for."""
        self._is_ending = True
        self._beaten_ns = 0
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(HELLO_TIMEOUT_S):
                    await self._writer.drain()
            self._writer.close()
        child = self._child
        if child is not None:
            if child.stdin is not None:
                child.stdin.close()
            with contextlib.suppress(TimeoutError):  # it goes on without us: that is what it is for
                await asyncio.wait_for(child.wait(), END_TIMEOUT_S)
        self.state = "ended"

    # inner ----------------------------------------------------------------------------------

    async def _await_ready(self) -> None:
        if self._child is None:
            return
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self._child.stdout.readline()
        except TimeoutError:
            raise GuardError(f"the guard is not ready after {READY_TIMEOUT_S:g} s") from None
        if not (parse(line) or {}).get("ready"):
            code = await self._child.wait()
            raise GuardError(f"the guard did not start (exit {code})")

    async def _hello(self) -> None:
        try:
            stream = await asyncio.to_thread(connect, self._path, HELLO_TIMEOUT_S)
            stream.setblocking(False)
            self._reader, self._writer = await asyncio.open_unix_connection(sock=stream)
            self._tell(command="hello", mode=self._mode)
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                answer = parse(await self._reader.readline()) or {}
        except (OSError, TimeoutError) as error:
            raise GuardError(f"no guard at {self._path}: {type(error).__name__}") from None
        if not answer.get("armed"):
            raise GuardError(f"the guard refuses: {answer.get('refused', 'without a word')}")
        self._pid = int(answer["pid"])
        self.state = "armed"
        self._beaten_ns = self._clock.monotonic_ns()
        self._say("guard_started", pid=self._pid, on_loss=answer["on_loss"])

    async def _keep(self) -> None:
        """Beat for ever; bring the guard back when it goes."""
        while not self._is_ending:
            beating = asyncio.create_task(self._beat())
            reading = asyncio.create_task(self._read())
            try:
                await asyncio.wait((beating, reading), return_when=asyncio.FIRST_COMPLETED)
            finally:
                beating.cancel()
                reading.cancel()
                await asyncio.gather(beating, reading, return_exceptions=True)
            if not self._is_ending:
                await self._bring_back()

    async def _beat(self) -> None:
        assert self._writer is not None
        while not self._writer.is_closing():
            if self._writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
                return  # it no longer reads: as good as gone
            now_ns = self._clock.monotonic_ns()
            still_ns = now_ns - self._beaten_ns
            if still_ns > self._settings.timeout_ms * NS_PER_MS:
                self._overdue_ns = still_ns  # before the next event, not after it
            self._beaten_ns = now_ns
            progress = self._progress
            silence_ms = (now_ns - progress.heard_ns) // NS_PER_MS if progress.heard_ns else 0
            self._tell(command="beat", turns=progress.turn_count, silence_ms=silence_ms)
            await asyncio.sleep(self._settings.heartbeat_ms / 1000)

    async def _read(self) -> None:
        assert self._reader is not None
        with contextlib.suppress(OSError):
            while line := await self._reader.readline():
                words = parse(line) or {}
                if "acted" in words:
                    trigger = Trigger.GUARD if words.get("is_flatten") else Trigger.HEARTBEAT
                    self._alarm(self._made_alarm(trigger, f"the guard acted: {words['acted']}"))

    async def _bring_back(self) -> None:
        """Start or find the guard again; while there is none no new risk is taken."""
        self.state = "lost"
        self._pid = 0
        self._say("guard_lost", reason="the connection to the guard ended")
        if self._writer is not None:
            self._writer.close()
        backoff = Backoff(RESTART_MS_MIN, RESTART_MS_MAX, self._generator)
        while not self._is_ending:
            try:
                await self._end_child()
                await self.launch()
                await self._await_ready()
                await self._hello()
            except GuardError as error:
                self._alarm(self._made_alarm(Trigger.HEARTBEAT, str(error)))
                self._beaten_ns = 0  # no lease without a guard
                await asyncio.sleep(backoff.next_s())
            else:
                self.restart_count += 1
                return

    async def _end_child(self) -> None:
        """Make sure that a guard we lost does not linger beside its successor."""
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    def _made_alarm(self, trigger: Trigger, reason: str) -> Alarm:
        return Alarm(received_ns=self._clock.now_ns(), code=trigger.value, reason=reason[:300])

    def _tell(self, **words: Any) -> bool:
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(json.dumps(words).encode() + b"\n")
        return True

    def _say(self, event: str, **fields: object) -> None:
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


def child_spawner(launch: Launch, lifeline: Callable[[], int]) -> Spawn:
    """Return what starts a guard of our own; keys go through its stdin and nowhere else.

    ``lifeline`` gives the descriptor that keeps a simulated exchange alive, -1 for none: so the
    exchange outlives its daemon for as long as the guard has work there.
    """

    async def spawn() -> asyncio.subprocess.Process:
        kept_open = lifeline()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "daemon.guard_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith(HIDDEN_FROM_CHILD)
            },
            pass_fds=(kept_open,) if kept_open >= 0 else (),
            start_new_session=True,
        )
        assert child.stdin is not None
        child.stdin.write(launch.to_line())
        with contextlib.suppress(ConnectionError):  # its exit code says more
            await child.stdin.drain()
        return child

    return spawn
