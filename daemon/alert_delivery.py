"""Brings alerts to people: to a webhook, to a command, by mail, each within five seconds.

The log has every alert; here the same one goes out once in a window, with the number of those that
were held back. Delivery never stands in the way of trading: tasks of their own, bounded in number,
and what does not get through is said in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self

import aiohttp

from config.safety import AlertSettings
from daemon.alert_words import mail, webhook_text
from daemon.clock import Clock
from daemon.log_events import EventSpec
from daemon.log_lines import render_fields
from daemon.mail_way import send_mail
from daemon.note import Note

ATTEMPTS = 3
PAUSE_S = 0.1
UNDER_WAY_MAX = 64
KEYS_MAX = 1024
DRAIN_S = 5.0
NS_PER_MS = 1_000_000
MAIL_ATTEMPTS = 2
TELLING_FIELDS = (
    *("alert_event", "unit", "instrument", "trigger", "state", "task", "agents", "source"),
    "reason",
)
"""What tells two alerts of one code apart; the first of them that is there counts."""


class AlertDelivery:
    """One process's way out for alerts; enter it inside the running loop.

    ``offer`` may be called from any thread, also before and after; it then delivers nothing.
    """

    def __init__(
        self,
        settings: AlertSettings,
        clock: Clock,
        *,
        run_id: str,
        redact: Callable[[str], str],
        note: Callable[[Note], None],
        smtp_password: str = "",
    ) -> None:
        """Prepare; ``redact`` takes secrets out of the finished text."""
        self.delivered_count = 0
        self.undelivered_count = 0
        self.held_back_count = 0
        self._settings = settings
        self._clock = clock
        self._run_id = run_id
        self._redact = redact
        self._note = note
        self._smtp_password = smtp_password
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_ns: dict[str, int] = {}
        self._held_back: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Open what delivery needs."""
        self._loop = asyncio.get_running_loop()
        if self._settings.webhook_url:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_ms / 1000),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let what is under way arrive, for a bounded time."""
        await asyncio.sleep(0)  # what was offered a moment ago becomes a task
        self._loop = None
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    def counts(self) -> dict[str, int]:
        """Count alerts by what became of them."""
        return {
            "delivered": self.delivered_count,
            "undelivered": self.undelivered_count,
            "held_back": self.held_back_count,
        }

    def offer(self, spec: EventSpec, event_ns: int, fields: Mapping[str, Any]) -> None:
        """Take an alert; ``fields`` are already free of secrets by name."""
        loop, settings = self._loop, self._settings
        if loop is None or not (settings.webhook_url or settings.command or settings.email_to):
            return
        with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: the log has it
            loop.call_soon_threadsafe(self._take, spec, event_ns, dict(fields))

    def _take(self, spec: EventSpec, event_ns: int, fields: dict[str, Any]) -> None:
        if self._loop is None:
            return
        key = f"{spec.code} {next((fields[n] for n in TELLING_FIELDS if n in fields), '')}"
        now_ns = self._clock.monotonic_ns()
        last_ns = self._last_ns.get(key)
        if last_ns is not None and now_ns - last_ns < self._settings.dedupe_ms * NS_PER_MS:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            self.held_back_count += 1
            return
        self._remember(key, now_ns)
        words = {
            "schema": 1,
            "event": spec.name,
            "code": spec.code,
            "severity": spec.severity,
            "meaning": spec.sentence,
            "event_ns": event_ns,
            "run_id": self._run_id,
            "held_back": self._held_back.pop(key, 0),
            "fields": fields,
        }
        settings = self._settings
        ways: list[Coroutine[Any, Any, None]] = []
        if self._session is not None:
            text = self._redact(webhook_text(settings.webhook_format, words))
            ways.append(self._post(spec.name, text.encode()))
        if settings.command:
            ways.append(self._call(spec.name, self._redact(render_fields(words)).encode()))
        if settings.email_to:
            clean = {**words, "fields": {n: self._redact(str(v)) for n, v in fields.items()}}
            ways.append(self._mail(spec.name, clean))
        for way in ways:
            if len(self._tasks) >= UNDER_WAY_MAX:
                way.close()
                self._failed(spec.name, "too many alerts are under way")
                continue
            task = self._loop.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _remember(self, key: str, now_ns: int) -> None:
        self._last_ns.pop(key, None)
        self._last_ns[key] = now_ns
        while len(self._last_ns) > KEYS_MAX:
            oldest = next(iter(self._last_ns))
            del self._last_ns[oldest]
            self._held_back.pop(oldest, None)

    async def _post(self, event: str, body: bytes) -> None:
        assert self._session is not None
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            try:
                async with self._session.post(
                    self._settings.webhook_url,
                    data=body,
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                ) as answer:
                    if 200 <= answer.status < 300:
                        self.delivered_count += 1
                        return
                    reason = f"the webhook answers {answer.status}"
                    if 400 <= answer.status < 500 and answer.status != 429:
                        break  # it will not like it better the second time
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = f"the webhook: {type(error).__name__}"
        self._failed(event, reason)

    async def _mail(self, event: str, words: Mapping[str, Any]) -> None:
        settings = self._settings
        message = mail(words, settings.email_from, settings.email_to)
        reason = ""
        for attempt in range(MAIL_ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            try:
                await asyncio.to_thread(send_mail, settings, self._smtp_password, message)
            except smtplib.SMTPAuthenticationError:
                reason = "the mail server refuses the login"
                break
            except smtplib.SMTPResponseException as error:
                reason = f"the mail server answers {error.smtp_code}"
            except (OSError, smtplib.SMTPException) as error:
                reason = f"the mail server: {type(error).__name__}"
            else:
                self.delivered_count += 1
                return
        self._failed(event, reason)

    async def _call(self, event: str, body: bytes) -> None:
        environ = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        try:
            child = await asyncio.create_subprocess_exec(
                *self._settings.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=environ,
            )
        except (OSError, ValueError) as error:
            self._failed(event, f"the command cannot be run: {type(error).__name__}")
            return
        try:
            async with asyncio.timeout(ATTEMPTS * self._settings.timeout_ms / 1000):
                await child.communicate(body + b"\n")
        except TimeoutError:
            self._failed(event, "the command took too long")
        else:
            if child.returncode == 0:
                self.delivered_count += 1
            else:
                self._failed(event, f"the command ended with {child.returncode}")
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()

    def _failed(self, event: str, reason: str) -> None:
        self.undelivered_count += 1
        fields = {"alert_event": event, "reason": reason}
        now_ns = self._clock.now_ns()
        self._note(Note(event="alert_undelivered", event_ns=now_ns, fields=fields))
