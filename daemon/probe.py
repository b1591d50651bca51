"""The stopwatch that the shell hands into the core: it writes histograms and decides nothing."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.metrics import STAGES, Metrics

JUDGEMENT_STAGE = "decide"


class StageProbe:
    """Book the time between two points of the engine under a stage's name."""

    __slots__ = ("_last_ns", "_now_ns", "_recorders", "judgement_ns")

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        """Read that clock, write to those histograms."""
        self._now_ns = clock.monotonic_ns
        self._recorders = {stage: metrics.recorder(stage) for stage in STAGES}
        self._last_ns = 0
        self.judgement_ns: int | None = None
        """What the newest judgement of the models took; None before the first."""

    def begin(self) -> None:
        """Start the stopwatch."""
        self._last_ns = self._now_ns()

    def lap(self, stage: str) -> None:
        """Book the time since ``begin`` or the last lap under a stage."""
        now_ns = self._now_ns()
        self._recorders[stage](now_ns - self._last_ns)
        if stage == JUDGEMENT_STAGE:
            self.judgement_ns = now_ns - self._last_ns
        self._last_ns = now_ns


AWAITED_MAX = 256
"""Orders whose bytes are awaited; the oldest is given up beyond this, so that nothing grows."""


class SendWatch:
    """Tick to order: from the frame that led to an order to its bytes handed to the socket."""

    __slots__ = ("_metrics", "_origin_ns")

    def __init__(self, metrics: Metrics) -> None:
        """Write to those histograms."""
        self._metrics = metrics
        self._origin_ns: dict[str, int] = {}

    def begin(self, client_order_id: str, origin_ns: int) -> None:
        """Remember when the news behind an order was in hand, monotonic ns."""
        self._origin_ns[client_order_id] = origin_ns
        if len(self._origin_ns) > AWAITED_MAX:  # requests that failed before a byte went out
            del self._origin_ns[next(iter(self._origin_ns))]

    def sent(self, client_order_id: str, sent_ns: int) -> None:
        """Book the time until ``sent_ns``, monotonic; an order that is not awaited is ignored."""
        origin_ns = self._origin_ns.pop(client_order_id, None)
        if origin_ns is not None:
            self._metrics.record("tick_to_order", sent_ns - origin_ns)
