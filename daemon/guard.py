"""The guard: a small process of its own that cancels and closes when the daemon cannot.

It holds its own session with the venue, watches a heartbeat that proves progress, keeps the venue's
dead-man switch renewed while all is well, and takes the operator's ``kill`` when the daemon hangs.
Neither torch, numba nor ccxt is loaded. Started by ``run`` it ends with its daemon; as a service it
waits for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from config.settings import Settings
from daemon import latch
from daemon.clock import Clock
from daemon.guard_launch import Launch
from daemon.guard_watch import Loss, Watch, WatchState
from daemon.note import Note
from daemon.rescue import Rescue, Rescued
from daemon.socket_lines import listen, parse, peer_of
from daemon.venues.emergency import EmergencyClient, EmergencyError
from daemon.venues.supervision import Backoff
from kernels.units import Instrument
from risk.breaker import Trigger

TICK_S = 0.05
SIM_SILENT_S = 5.0
"""A simulated exchange that is silent for so long has ended; a real venue is never given up."""
COUNTDOWN_SHARE = 3
COUNTDOWN_S_PER_INSTRUMENT = 0.5
"""The switch costs request weight per instrument: many instruments are renewed less often."""
TELL_NS = 300_000_000_000
FIRST_LINE_TIMEOUT_S = 5.0
ANSWER_S = 0.2
"""The answer to a kill goes out before the guard ends."""

Words = dict[str, Any]


class Guard:
    """One guard: its socket, its session, the daemon it watches."""

    def __init__(
        self,
        launch: Launch,
        settings: Settings,
        *,
        client: EmergencyClient,
        note: Callable[[Note], None],
        clock: Clock,
        generator: np.random.Generator,
    ) -> None:
        """Prepare; nothing is served before ``serve``."""
        self.exit_code = 0
        self.tick_count = 0
        self._launch = launch
        self._settings = settings
        self._client = client
        self._note = note
        self._clock = clock
        self._generator = generator
        self._watch = Watch(settings.guard)
        self._instruments: tuple[Instrument, ...] = ()
        self._daemon: asyncio.StreamWriter | None = None
        self._daemon_pid = 0
        self._rescuing = asyncio.Lock()
        self._busy_count = 0
        self._waiting: tuple[Loss, bool] | None = None
        self._acts: set[asyncio.Task[None]] = set()
        self._visits: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._is_over = False
        self._ended = asyncio.Event()
        self._told_ns = 0

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until the daemon is gone and all is proven, or, as a service, until told to end."""
        path = Path(self._launch.socket_path)
        server = await asyncio.start_unix_server(self._on_connect, sock=listen(path))
        await self._load_instruments()
        ready()
        tasks = [
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._renew_for_ever()),
            asyncio.create_task(self._wait_ended()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.close()
            path.unlink(missing_ok=True)
            for task in (*tasks, *self._acts):
                task.cancel()
            await asyncio.gather(*tasks, *self._acts, return_exceptions=True)
            await self._dismiss()

    def on_parent_gone(self) -> None:
        """Take the end of the pipe from our parent; whoever never said hello left nothing."""
        self._lose(self._watch.on_gone())
        self.on_terminate()

    def on_terminate(self) -> None:
        """End on request, but never while somebody is watched or something is being rescued."""
        if not (self._busy_count or self._watch.is_healthy):
            self._ended.set()

    async def _dismiss(self) -> None:
        """Break off every conversation; nothing follows from that any more."""
        self._is_over = True
        for writer in self._visits.values():
            writer.transport.abort()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _wait_ended(self) -> None:
        await self._ended.wait()

    # the daemon -----------------------------------------------------------------------------

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits[visit] = writer
        visit.add_done_callback(self._visits.pop)
        try:
            async with asyncio.timeout(FIRST_LINE_TIMEOUT_S):
                request = parse(await reader.readline()) or {}
            if request.get("command") == "hello":
                await self._on_hello(request, reader, writer)
                return
            answer = await self._on_operator(request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # whoever asked is gone or speaks no words of ours
        finally:
            writer.close()

    async def _on_hello(
        self, request: Words, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._daemon is not None or self._busy_count:
            self._tell(writer, refused="another daemon is watched, or being cleaned up after")
            return
        if request.get("mode") != self._settings.mode:
            self._tell(writer, refused=f"this guard is for mode {self._settings.mode}")
            return
        self._daemon = writer
        self._daemon_pid, _ = peer_of(writer.get_extra_info("socket"))
        self._watch.on_hello(self._clock.monotonic_ns())
        self._tell(writer, armed=True, pid=os.getpid(), on_loss=self._settings.guard.on_loss)
        is_goodbye = False
        try:
            while line := await reader.readline():
                is_goodbye = self._on_line(parse(line) or {}) or is_goodbye
        except (OSError, ValueError):
            is_goodbye = False  # the daemon broke off in the middle of a line
        finally:
            self._daemon = None
        if self._is_over:
            return
        if not is_goodbye:
            self._lose(self._watch.on_gone())
        if not self._busy_count:
            await self._disarm()
        self._end_with_daemon()

    def _on_line(self, words: Words) -> bool:
        """Take one line of the daemon; True for its goodbye."""
        now_ns = self._clock.monotonic_ns()
        match words.get("command"):
            case "beat":
                self._on_beat(int(words["turns"]), int(words["silence_ms"]), now_ns)
            case "stopping":
                self._watch.on_stopping(now_ns)
            case "flatten":
                loss = Loss(reason=str(words.get("reason", "")), may_flatten=True)
                self._lose(loss, is_flatten=True)
            case "goodbye":
                self._lose(self._watch.on_goodbye(bool(words.get("is_clean"))))
                return True
        return False

    def _on_beat(self, turn_count: int, silence_ms: int, now_ns: int) -> None:
        """Take a heartbeat; one that comes back after a loss is told, and watched again."""
        if self._watch.state is WatchState.LOST and not self._busy_count:
            self._watch.on_hello(now_ns)
        self._watch.on_beat(turn_count, silence_ms, now_ns)

    # losses ---------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick_count += 1
            self._lose(self._watch.check(self._clock.monotonic_ns()))

    def _lose(self, loss: Loss | None, *, is_flatten: bool | None = None) -> None:
        """Begin a rescue; while one is under way the next waits for it."""
        if loss is None:
            return
        if is_flatten is None:
            is_flatten = loss.may_flatten and self._settings.guard.on_loss == "flatten"
        if self._busy_count:
            is_flatten |= self._waiting is not None and self._waiting[1]
            self._waiting = (loss, is_flatten)
            return
        self._busy_count += 1
        task = asyncio.create_task(self._act(loss, is_flatten))
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)

    async def _act(self, loss: Loss, is_flatten: bool) -> None:
        try:
            self._say("daemon_lost", reason=loss.reason, pid=self._daemon_pid)
            rescued = await self._rescue(loss.reason, is_flatten, Trigger.GUARD)
        finally:
            self._busy_count -= 1
        if self._daemon is not None:
            self._tell(
                self._daemon, acted=loss.reason, is_flatten=is_flatten, is_clean=rescued.is_clean
            )
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._lose(waiting[0], is_flatten=waiting[1])
        self._end_with_daemon()

    def _end_with_daemon(self) -> None:
        """End a guard whose daemon is gone and that has nothing left to do."""
        if self._launch.is_child and self._daemon is None and not self._busy_count:
            self._ended.set()

    async def _rescue(self, reason: str, is_flatten: bool, trigger: Trigger) -> Rescued:
        async with self._rescuing:
            self._say("guard_acting", reason=reason, flatten=is_flatten)
            if is_flatten or trigger is not Trigger.GUARD:
                self._latch(trigger, reason)
            rescue = Rescue(
                self._client,
                self._instruments,
                self._settings.guard,
                note=self._note,
                clock=self._clock,
                generator=self._generator,
            )
            silent_s_max = SIM_SILENT_S if self._settings.mode == "sim" else float("inf")
            rescued = await rescue.run(is_flatten=is_flatten, silent_s_max=silent_s_max)
            await self._disarm()
        symbols = [instrument.symbol for instrument in self._instruments]
        self._say(
            "guard_done" if rescued.is_clean else "guard_failed",
            reason=rescued.reason or reason,
            open_orders=rescued.open_order_count,
            position_lots=dict(zip(symbols, rescued.position_lots, strict=True)),
            passes=rescued.pass_count,
            took_s=rescued.took_s,
        )
        self.exit_code = 0 if rescued.is_clean else 1
        return rescued

    def _latch(self, trigger: Trigger, reason: str) -> None:
        """Stop the next start as well; the rescue goes on where that fails."""
        directory, now_ns = Path(self._launch.state_directory), self._clock.now_ns()
        try:
            breaker = latch.read(directory, now_ns).apply(trigger, now_ns, reason)
            latch.write(directory, breaker, "guard")
        except latch.LatchError as error:
            self._say("latch_error", reason=str(error))

    # the operator ---------------------------------------------------------------------------

    async def _on_operator(self, request: Words) -> Words:
        name = request.get("command")
        if name == "status":
            return {
                "ok": True,
                "mode": self._settings.mode,
                "state": self._watch.state.name.lower(),
                "pid": os.getpid(),
                "daemon_pid": self._daemon_pid,
                "is_rescuing": self._rescuing.locked(),
            }
        if name != "kill":
            return {"ok": False, "error": f"the guard does not know {name!r}"}
        return await self._kill(request)

    async def _kill(self, request: Words) -> Words:
        """End the daemon so that it sends nothing more, then clean up and say what is left."""
        reason = f"kill: {' '.join(str(request.get('reason') or 'no reason given').split())}"[:300]
        is_flatten = bool(request.get("flatten")) or self._settings.guard.on_loss == "flatten"
        killed_pid = self._daemon_pid if self._daemon is not None else 0
        self._busy_count += 1
        self._watch.state = WatchState.IDLE  # its end is no news any more
        try:
            if killed_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed_pid, signal.SIGKILL)
            rescued = await self._rescue(reason, is_flatten, Trigger.OPERATOR_HALT)
        finally:
            self._busy_count -= 1
        asyncio.get_running_loop().call_later(ANSWER_S, self._end_with_daemon)
        symbols = [instrument.symbol for instrument in self._instruments]
        return {
            "ok": rescued.is_clean,
            "error": rescued.reason,
            "killed_pid": killed_pid,
            "open_orders": rescued.open_order_count,
            "position_lots": dict(zip(symbols, rescued.position_lots, strict=True))
            if is_flatten
            else "not asked for",
            "took_s": rescued.took_s,
            "latched": "HALTED",
        }

    # the venue ------------------------------------------------------------------------------

    async def _load_instruments(self) -> None:
        """Learn the grids before anything happens; try for as long as it takes."""
        backoff = Backoff(100, 5_000, self._generator)
        while not self._instruments:
            try:
                self._instruments = await self._client.load_instruments(self._settings.instruments)
            except EmergencyError as error:
                self._say("guard_retrying", reason=str(error))
                await asyncio.sleep(error.retry_after_s or backoff.next_s())

    async def _renew_for_ever(self) -> None:
        """Keep the venue's own dead-man switch from firing while the daemon is well."""
        count = len(self._instruments)
        wanted_s = self._settings.guard.countdown_ms / 1000
        interval_s = max(wanted_s / COUNTDOWN_SHARE, count * COUNTDOWN_S_PER_INSTRUMENT)
        countdown_ms = round(max(wanted_s, COUNTDOWN_SHARE * interval_s) * 1000)
        while True:
            if self._watch.state is WatchState.WATCHING:
                await self._set_countdowns(countdown_ms)
                await asyncio.sleep(interval_s)
            else:
                await asyncio.sleep(TICK_S)

    async def _disarm(self) -> None:
        await self._set_countdowns(0)

    async def _set_countdowns(self, countdown_ms: int) -> None:
        answers = await asyncio.gather(
            *(self._client.set_countdown(each, countdown_ms) for each in self._instruments),
            return_exceptions=True,
        )
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        now_ns = self._clock.monotonic_ns()
        if failed and countdown_ms and (not self._told_ns or now_ns - self._told_ns > TELL_NS):
            self._told_ns = now_ns
            self._say("countdown_failed", reason=str(failed[0]), instruments=len(failed))

    def _tell(self, writer: asyncio.StreamWriter, **words: Any) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(words).encode() + b"\n")

    def _say(self, event: str, **fields: object) -> None:
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))
