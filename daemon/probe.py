"""The stopwatch that the shell hands into the core: it writes histograms and decides nothing."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.metrics import Metrics


class StageProbe:
    """Book the time between two points of the engine under a stage's name."""

    __slots__ = ("_last_ns", "_metrics", "_now_ns")

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        """Read that clock, write to those histograms."""
        self._now_ns = clock.monotonic_ns
        self._metrics = metrics
        self._last_ns = 0

    def begin(self) -> None:
        """Start the stopwatch."""
        self._last_ns = self._now_ns()

    def lap(self, stage: str) -> None:
        """Book the time since ``begin`` or the last lap under a stage."""
        now_ns = self._now_ns()
        self._metrics.record(stage, now_ns - self._last_ns)
        self._last_ns = now_ns
