"""Reload the settings of a running daemon: read whole, compare, apply between two decisions.

All or nothing. What cannot be read, or differs in a key that shapes the run, is refused with the
reason and the old settings stay in force. What may change travels as one event through the lanes,
so that a replay changes at the same place. The asker gets the answer after the engine applied it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from config.changes import Change, changes
from config.load import ConfigError, settings_sha256
from config.settings import Settings
from daemon.assembly import Parts
from daemon.effects import Note
from kernels.events import SettingsChanged

APPLY_TIMEOUT_S = 5.0

Answer = dict[str, Any]


class Reload:
    """Answers SIGHUP and ``metaensemble reload``; one at a time."""

    def __init__(self, parts: Parts, reread: Callable[[], Settings]) -> None:
        """Take the running parts and what reads preset, file and overrides anew."""
        self._parts = parts
        self._reread = reread
        self._lock = asyncio.Lock()
        self._applied: asyncio.Future[None] | None = None

    async def reload(self, asked_by: str) -> Answer:
        """Read and apply the settings; the answer says what was applied, or why nothing was."""
        async with self._lock:
            parts = self._parts
            parts.health.reloading(parts.clock.monotonic_ns())
            answer = await self._reload(asked_by)
            parts.health.ready(answer["summary"])
            return answer

    def applied(self, event: SettingsChanged) -> None:
        """Take over what the engine has applied just now."""
        parts = self._parts
        parts.settings = parts.engine.settings
        parts.settings_sha256 = settings_sha256(parts.settings)
        parts.dispatcher.use(parts.settings)
        parts.gateway.use(parts.settings.execution)
        if self._applied is not None and not self._applied.done():
            self._applied.set_result(None)

    async def _reload(self, asked_by: str) -> Answer:
        parts = self._parts
        try:
            # another thread: parsing takes tens of milliseconds, and decisions go on meanwhile
            new = await asyncio.to_thread(self._reread)
        except ConfigError as error:
            return self._refuse(asked_by, str(error), ())
        found = changes(parts.engine.settings, new)
        cold = [change for change in found if not change.is_hot]
        if cold:
            keys = ", ".join(change.key for change in cold)
            return self._refuse(asked_by, f"needs a restart: {keys}", found)
        if not found:
            return {"ok": True, "applied": [], "summary": "reloaded, nothing changed"}
        self._applied = asyncio.get_running_loop().create_future()
        event = SettingsChanged(
            received_ns=parts.clock.now_ns(), settings_json=new.model_dump_json()
        )
        parts.lanes.put(event)
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                await self._applied
        except TimeoutError:
            return self._refuse(asked_by, "the engine did not take the settings in time", found)
        self._say("config_reloaded", asked_by=asked_by, changes=_listed(found))
        summary = f"reloaded, {len(found)} settings changed"
        return {"ok": True, "applied": _listed(found), "summary": summary}

    def _refuse(self, asked_by: str, reason: str, found: Sequence[Change]) -> Answer:
        self._say("config_refused", asked_by=asked_by, reason=reason, changes=_listed(found))
        summary = f"reload refused: {reason}"
        return {"ok": False, "error": reason, "refused": _listed(found), "summary": summary}

    def _say(self, event: str, **fields: Any) -> None:
        now_ns = self._parts.clock.now_ns()
        self._parts.dispatcher.note(Note(event=event, event_ns=now_ns, fields=fields))


def _listed(found: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {"key": change.key, "old": change.old, "new": change.new, "hot": change.is_hot}
        for change in found
    ]
