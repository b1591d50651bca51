"""The only reader of time: everything else is handed a ``Clock`` or a stamp.

Wall time answers "when did it happen" and is compared with the venue's; monotonic time answers "how
long did it take". ``SystemClock`` derives the first from the second, so that neither runs back.
"""

from __future__ import annotations

import time
from typing import Protocol

REANCHOR_INTERVAL_NS = 1_000_000_000
"""Monotonic time between two comparisons with the machine's wall clock."""

SLEW_PPM_MAX = 50_000
"""Fastest correction: 5 % of elapsed time, so a second that passed is never shorter than 0.95 s."""

STEP_AHEAD_NS = 1_000_000_000
"""A wall clock this far ahead of ours is believed at once: the machine slept."""

_PPM = 1_000_000

stopwatch_ns = time.perf_counter_ns
"""The finest counter of the machine, for benchmarks: no method of ours around it."""


class Clock(Protocol):
    """Where stamps come from."""

    def now_ns(self) -> int:
        """Return UNIX time in nanoseconds; never less than an earlier answer."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an arbitrary origin, for durations."""
        ...


class SystemClock:
    """The machine's wall clock, made monotonic.

    Time advances with CLOCK_MONOTONIC from an anchor; once a second the distance to the wall clock
    is measured and removed by running up to 5 % faster or slower. A wall clock that was set back
    therefore makes ours slow for a while, never repeat itself.
    """

    __slots__ = ("_anchor_monotonic_ns", "_anchor_wall_ns", "_slew_ppm")

    def __init__(self) -> None:
        """Anchor to the wall clock as it stands."""
        self._anchor_wall_ns = time.time_ns()
        self._anchor_monotonic_ns = time.monotonic_ns()
        self._slew_ppm = 0

    def now_ns(self) -> int:
        """Return UNIX time in nanoseconds; never less than an earlier answer."""
        elapsed_ns = time.monotonic_ns() - self._anchor_monotonic_ns
        if elapsed_ns < REANCHOR_INTERVAL_NS:
            if self._slew_ppm:
                return self._anchor_wall_ns + elapsed_ns + elapsed_ns * self._slew_ppm // _PPM
            return self._anchor_wall_ns + elapsed_ns
        return self._reanchor(elapsed_ns)

    monotonic_ns = staticmethod(time.monotonic_ns)
    """Nanoseconds since an arbitrary origin, for durations; read four times per frame."""

    def _reanchor(self, elapsed_ns: int) -> int:
        # The slew was chosen for one interval: after a longer pause it must not go on correcting.
        corrected_ns = REANCHOR_INTERVAL_NS * self._slew_ppm // _PPM
        now_ns = self._anchor_wall_ns + elapsed_ns + corrected_ns
        behind_ns = time.time_ns() - now_ns
        if behind_ns > STEP_AHEAD_NS:
            now_ns += behind_ns
            behind_ns = 0
        ppm = behind_ns * _PPM // REANCHOR_INTERVAL_NS
        self._slew_ppm = max(-SLEW_PPM_MAX, min(SLEW_PPM_MAX, ppm))
        self._anchor_wall_ns = now_ns
        self._anchor_monotonic_ns += elapsed_ns
        return now_ns


class ManualClock:
    """A clock that stands still until it is told otherwise, for tests and replays."""

    __slots__ = ("_monotonic_ns", "_now_ns")

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        """Start at the given UNIX time in nanoseconds, with monotonic time 0."""
        self._now_ns = now_ns
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        """Return the time last set, UNIX nanoseconds."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """Return the nanoseconds advanced so far."""
        return self._monotonic_ns

    def advance(self, step_ns: int) -> None:
        """Let time pass; ValueError for a step backwards."""
        if step_ns < 0:
            raise ValueError("time does not run back")
        self._now_ns += step_ns
        self._monotonic_ns += step_ns
