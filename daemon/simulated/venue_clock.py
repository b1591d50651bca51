"""The venue's own clock: the machine's, until a fault lets it jump or run differently."""

from __future__ import annotations

from daemon.clock import Clock

NS_PER_MS = 1_000_000
PPM = 1_000_000


class VenueClock:
    """A wall clock with an offset and a drift over a true one; monotonic time stays true."""

    def __init__(self, clock: Clock) -> None:
        """Agree with ``clock`` for now."""
        self._clock = clock
        self._offset_ns = 0
        self._drift_ppm = 0.0
        self._drift_began_ns = 0

    def now_ns(self) -> int:
        """Return the venue's wall time, nanoseconds since 1970."""
        return self._clock.now_ns() + self._offset_ns + self._drifted_ns()

    def monotonic_ns(self) -> int:
        """Return the true monotonic time."""
        return self._clock.monotonic_ns()

    def jump(self, offset_ms: float) -> None:
        """Set the clock forward, or back with a negative number."""
        self._offset_ns += int(offset_ms * NS_PER_MS)

    def run_at(self, drift_ppm: float) -> None:
        """Run fast from now on by millionths, slow with a negative number."""
        self._offset_ns += self._drifted_ns()
        self._drift_began_ns = self._clock.monotonic_ns()
        self._drift_ppm = drift_ppm

    def set_right(self) -> None:
        """Agree with the true clock again."""
        self._offset_ns = 0
        self._drift_ppm = 0.0

    def _drifted_ns(self) -> int:
        if not self._drift_ppm:
            return 0
        return int((self._clock.monotonic_ns() - self._drift_began_ns) * self._drift_ppm / PPM)
