"""What the daemon finds wrong with its machine: journal, event log, disk. Each is said once.

Each finding becomes an ``Alarm`` for the engine, which trips the breaker, and a note.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from daemon.clock import Clock
from daemon.effects import Note
from kernels.events import Alarm
from risk.breaker import Trigger

MB = 1024 * 1024
INTERVAL_NS = 1_000_000_000


class SelfWatch:
    """Looks once a second; ``errors`` name their source and say why it failed, None while well."""

    def __init__(
        self,
        *,
        directory: Path,
        disk_free_mb_min: int,
        errors: dict[str, Callable[[], str | None]],
        alarm: Callable[[Alarm], object],
        note: Callable[[Note], None],
        clock: Clock,
    ) -> None:
        """Watch the disk of ``directory`` and every source of errors."""
        self._directory = directory
        self._free_bytes_min = disk_free_mb_min * MB
        self._errors = errors
        self._alarm = alarm
        self._note = note
        self._clock = clock
        self._checked_ns = 0
        self._found: dict[str, str] = {}

    def look(self) -> None:
        """Look if it is time; what is well again is forgotten and would be said anew."""
        now_ns = self._clock.monotonic_ns()
        if self._checked_ns and now_ns - self._checked_ns < INTERVAL_NS:
            return
        self._checked_ns = now_ns
        for source, error_of in self._errors.items():
            self._tell(source, error_of(), "journal_error", Trigger.JOURNAL_ERROR)
        self._tell("disk", self._disk_problem(), "disk_full", Trigger.DISK_FULL)

    def _disk_problem(self) -> str | None:
        try:
            found = os.statvfs(self._directory)
        except OSError as error:
            return f"{self._directory}: {error.strerror}"
        free_bytes = found.f_bavail * found.f_frsize
        if free_bytes >= self._free_bytes_min:
            return None
        return f"less than {self._free_bytes_min // MB} MB are free for {self._directory}"

    def _tell(self, source: str, reason: str | None, event: str, trigger: Trigger) -> None:
        if reason is None:
            self._found.pop(source, None)
            return
        if source in self._found:
            return
        self._found[source] = reason
        now_ns = self._clock.now_ns()
        fields = {"source": source, "reason": reason}
        self._note(Note(event=event, event_ns=now_ns, fields=fields))
        self._alarm(
            Alarm(received_ns=now_ns, code=trigger.value, reason=f"{source}: {reason[:200]}")
        )
