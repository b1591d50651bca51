"""Is the daemon still doing its work? A heartbeat counts only when it shows progress. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from config.safety import GuardSettings

NS_PER_MS = 1_000_000


class WatchState(IntEnum):
    """What the guard believes of the daemon."""

    IDLE = 0
    WATCHING = 1
    STOPPING = 2
    LOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why the guard must act; ``may_flatten`` is False where only orders are in doubt."""

    reason: str
    may_flatten: bool


class Watch:
    """One daemon's heartbeat; every call is handed monotonic time."""

    def __init__(self, settings: GuardSettings) -> None:
        """Watch nobody yet."""
        self.state = WatchState.IDLE
        self._settings = settings
        self._turn_count = -1
        self._progress_ns = 0
        self._stopping_ns = 0
        self._silence_ms = 0
        self._silence_told = False

    @property
    def is_healthy(self) -> bool:
        """Whether somebody is watched and, as far as known, well."""
        return self.state in (WatchState.WATCHING, WatchState.STOPPING)

    def on_hello(self, now_ns: int) -> None:
        """Begin to watch."""
        self.state = WatchState.WATCHING
        self._turn_count = -1
        self._progress_ns = now_ns
        self._silence_ms = 0
        self._silence_told = False

    def on_beat(self, turn_count: int, silence_ms: int, now_ns: int) -> None:
        """Take a heartbeat: how often the engine has turned, for how long the venue was silent."""
        if turn_count != self._turn_count:
            self._turn_count = turn_count
            self._progress_ns = now_ns
        self._silence_ms = silence_ms
        if silence_ms <= self._settings.venue_silence_ms_max:
            self._silence_told = False

    def on_stopping(self, now_ns: int) -> None:
        """Let an orderly stop take its time."""
        if self.state is WatchState.WATCHING:
            self.state = WatchState.STOPPING
            self._stopping_ns = now_ns

    def on_goodbye(self, is_clean: bool) -> Loss | None:
        """End the watch; a stop that left something unproven is a loss."""
        was_healthy = self.is_healthy
        self.state = WatchState.IDLE
        if is_clean or not was_healthy:
            return None
        self.state = WatchState.LOST
        return Loss(reason="the daemon could not prove that no order is open", may_flatten=False)

    def on_gone(self) -> Loss | None:
        """Take the end of the connection without a goodbye: the process is gone."""
        if not self.is_healthy:
            return None
        self.state = WatchState.LOST
        return Loss(reason="the daemon is gone", may_flatten=True)

    def check(self, now_ns: int) -> Loss | None:
        """Return a loss once, when it is noticed."""
        if self.state is WatchState.WATCHING:
            still_ns = now_ns - self._progress_ns
            if still_ns > self._settings.timeout_ms * NS_PER_MS:
                self.state = WatchState.LOST
                reason = f"no progress for {still_ns / 1e9:.1f} s"
                return Loss(reason=reason, may_flatten=True)
            if self._silence_ms > self._settings.venue_silence_ms_max and not self._silence_told:
                self._silence_told = True
                reason = f"the daemon has not heard of the venue for {self._silence_ms / 1e3:.0f} s"
                return Loss(reason=reason, may_flatten=False)
        elif self.state is WatchState.STOPPING:
            took_ns = now_ns - self._stopping_ns
            if took_ns > self._settings.stop_ms_max * NS_PER_MS:
                self.state = WatchState.LOST
                return Loss(reason=f"stopping for {took_ns / 1e9:.0f} s", may_flatten=False)
        return None
