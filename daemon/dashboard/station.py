"""Keeps the views of one run: samples the past, serves the page, brings the present to it.

Everything here only reads, but for the commands of an operator, which go the way of all commands.
A view that cannot be opened is said in the log and stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from daemon.assembly import Parts
from daemon.control import COMMANDS, RefusedError
from daemon.dashboard.access_token import FILE_NAME, TokenError, open_token
from daemon.dashboard.history import History
from daemon.dashboard.live import snapshot
from daemon.dashboard.page_server import PageServer
from daemon.metric_families import collect
from daemon.metrics import StageSummary, expose, expose_process
from daemon.note import Note
from kernels.events import Verdict

SAMPLE_INTERVAL_NS = 1_000_000_000
REFRESH_S = 0.5
LATENCY_EVERY = 4
"""Refreshes between two looks at the latency, which cost more than the rest together."""

Words = dict[str, Any]
Obey = Callable[[Words], Awaitable[Words]]


class Station:
    """The views of one run; ``obey`` carries out an operator's command once it is applied."""

    def __init__(
        self,
        parts: Parts,
        *,
        began_ns: int,
        duration_ns: int | None,
        deliveries: Callable[[], Mapping[str, int]],
        obey: Obey,
    ) -> None:
        """Prepare; nobody can look before ``start``. ``began_ns`` is monotonic."""
        self.address = ""
        self._parts = parts
        self._began_ns = began_ns
        self._duration_ns = duration_ns
        self._deliveries = deliveries
        self._obey = obey
        self._sampled_ns = 0
        self._latency: dict[str, StageSummary] = {}
        self._spread: dict[str, list[tuple[int, int]]] = {}
        self._server: PageServer | None = None
        self._task: asyncio.Task[None] | None = None
        agents = parts.engine.decider.expert_names
        samples_max = parts.settings.views.history_samples
        self._history = History(parts.instruments, agents, samples_max)

    async def start(self) -> None:
        """Open the page, unless the settings want none."""
        parts = self._parts
        if not parts.settings.meta.real_time_monitoring:
            return
        parts.dispatcher.on_fill = self._history.add_fill
        port = parts.settings.views.port
        try:
            token = open_token(parts.journal.path.parent)
            server = PageServer(
                port=port,
                token=token,
                metrics=self._metrics,
                opening=self._opening,
                obey=self._command,
            )
            # the library is loaded now, not at the first scrape: it took 0.16 s of the loop
            await asyncio.to_thread(lambda: list(expose_process()))
            self.address = await server.start()
        except (OSError, TokenError) as error:
            self._note("views_unavailable", port=port, reason=str(error))
            return
        parts.log.hide(token)
        self._server = server
        self._task = asyncio.create_task(self._refresh(server), name="views")
        where = str(parts.journal.path.parent / FILE_NAME)
        self._note("views_opened", address=self.address, token_file=where)

    def tend(self) -> None:
        """Take a sample where it is time; called from the main loop."""
        now_ns = self._parts.clock.monotonic_ns()
        if self._server is None or now_ns - self._sampled_ns < SAMPLE_INTERVAL_NS:
            return
        self._sampled_ns = now_ns
        self._history.add(self._parts.engine, self._parts.clock.now_ns())

    async def close(self) -> None:
        """Stop serving."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._server is not None:
            await self._server.close()

    def view(self, latency: Mapping[str, StageSummary]) -> Words:
        """Give everything a view shows of now, as plain JSON values."""
        parts = self._parts
        elapsed_ns = parts.clock.monotonic_ns() - self._began_ns
        words = asdict(snapshot(parts, elapsed_ns, self._duration_ns, latency))
        for instrument in words["instruments"]:
            instrument["verdict"] = Verdict(instrument["verdict"]).name
        words["log_lines"] = list(words["log_lines"])
        words["orders"] = dict(words["orders"])
        return words

    # to the pages -----------------------------------------------------------------------------

    async def _refresh(self, server: PageServer) -> None:
        sent_ms, sent_fills, turn = 0, 0, 0
        while True:
            await asyncio.sleep(REFRESH_S)
            if not server.client_count:
                sent_ms, sent_fills = self._history.newest_ms(), self._history.fill_count
                turn = 0
                continue
            message: Words = {"kind": "now"}
            if turn % LATENCY_EVERY == 0:
                await self._look_at_latency()
                message["spread"] = self._spread
            turn += 1
            message["view"] = self.view(self._latency)
            message["history"] = self._history.words(after_ms=sent_ms, after_fill=sent_fills)
            sent_ms, sent_fills = self._history.newest_ms(), self._history.fill_count
            await server.send(self._redacted(message))

    async def _look_at_latency(self) -> None:
        metrics = self._parts.metrics
        for stage in metrics.stages:
            self._latency[stage] = metrics.histogram(stage).summary()
            self._spread[stage] = metrics.histogram(stage).spread()
            await asyncio.sleep(0)  # orders go first

    def _opening(self) -> Words:
        return self._redacted(
            {
                "kind": "opening",
                "names": self._history.names(),
                "view": self.view(self._latency),
                "history": self._history.words(),
                "spread": self._spread,
            }
        )

    def _redacted(self, message: Words) -> Words:
        """Take the values of secrets out of what alerts say; log lines are free of them already."""
        for alert in message["view"]["alerts"]:
            alert["fields"] = {k: self._parts.log.redact(v) for k, v in alert["fields"].items()}
        return message

    async def _metrics(self) -> AsyncIterator[bytes]:
        uptime_ns = self._parts.clock.monotonic_ns() - self._began_ns
        seen = ""
        for family in collect(self._parts, uptime_ns=uptime_ns, deliveries=self._deliveries()):
            text = expose(family)
            if family.spec.name == seen:  # one stage after the other, under one heading
                text = b"".join(
                    line for line in text.splitlines(keepends=True) if not line.startswith(b"#")
                )
            seen = family.spec.name
            yield text
            await asyncio.sleep(0)
        for text in expose_process():
            yield text
            await asyncio.sleep(0)

    # from the pages ---------------------------------------------------------------------------

    async def _command(self, words: Words) -> Words:
        name = words.get("command")
        if name not in COMMANDS:
            raise RefusedError(f"unknown command {name!r}; known are {', '.join(COMMANDS)}")
        reason = " ".join(str(words.get("reason") or "").split())
        if name == "resume" and not reason:
            raise RefusedError("resume needs a reason")
        return await self._obey(
            {"command": name, "reason": f"{reason or 'no reason given'}, by the live page"}
        )

    def _note(self, event: str, **fields: Any) -> None:
        now_ns = self._parts.clock.now_ns()
        self._parts.dispatcher.note(Note(event=event, event_ns=now_ns, fields=fields))
