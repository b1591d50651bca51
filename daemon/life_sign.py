"""Tells somebody outside this machine that the daemon lives, so that silence wakes them.

The address is one of a service that expects a request now and then (healthchecks.io and its like).
It is called only while the engine makes progress: a daemon that hangs falls silent as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from config.safety import AlertSettings
from daemon.clock import Clock
from daemon.note import Note

MS_PER_S = 1000


class LifeSign:
    """Calls ``alerts.heartbeat_url`` at intervals; says once when that fails, and once when not."""

    def __init__(
        self,
        settings: AlertSettings,
        clock: Clock,
        *,
        progress: Callable[[], int],
        note: Callable[[Note], None],
    ) -> None:
        """Prepare; ``progress`` must rise while the engine works."""
        self.sent_count = 0
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._note = note
        self._told: str | None = None

    async def run(self) -> None:
        """Call until cancelled."""
        settings = self._settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_ms / MS_PER_S)
        last = -1
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while True:
                now = self._progress()
                if now != last:
                    last = now
                    self._tell(await self._call(session))
                await asyncio.sleep(settings.heartbeat_interval_ms / MS_PER_S)

    async def _call(self, session: aiohttp.ClientSession) -> str:
        """Return why the call failed, else nothing; never the address, which is a secret."""
        try:
            async with session.get(self._settings.heartbeat_url, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    self.sent_count += 1
                    return ""
                return f"it answers {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return type(error).__name__

    def _tell(self, reason: str) -> None:
        if reason == self._told:
            return
        event = "life_sign_failed" if reason else "life_sign_sent"
        self._told = reason
        fields = {"reason": reason} if reason else {}
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))
