"""The latency contract: every stage has a budget for its p99, and a breach wakes somebody.

What is over budget is shed by construction: a drain applies everything that waits and decides once,
on the newest state, and data older than ``decision.data_age_ms_max`` is not traded on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from config.latency import LatencySettings
from daemon.alerts import NS_PER_MS, Finding
from daemon.metrics import Histogram, Metrics

SAMPLES_MIN = 100
"""A p99 of fewer durations is one of their largest: no verdict."""

P99 = 0.99


class LatencyWatch:
    """Holds the durations since the last look against the budgets."""

    def __init__(self, settings: LatencySettings, metrics: Metrics, interval_ms: int) -> None:
        """Look every ``interval_ms``; the first window begins with the first look."""
        self._budget_us = {stage: getattr(settings, stage) for stage in settings.stages()}
        self._metrics = metrics
        self._interval_ns = interval_ms * NS_PER_MS
        self._looked_ns: int | None = None
        self._before: dict[str, Histogram] = {}
        self._found: list[Finding] = []

    def look(self, now_ns: int) -> list[Finding]:
        """Return the stages that were over budget in the last whole window."""
        if self._looked_ns is not None and now_ns - self._looked_ns < self._interval_ns:
            return self._found
        if self._looked_ns is not None:
            self._found = list(self._judge())
        self._looked_ns = now_ns
        self._before = {stage: self._metrics.histogram(stage).copy() for stage in self._budget_us}
        return self._found

    def _judge(self) -> Iterable[Finding]:
        for stage, budget_us in self._budget_us.items():
            recent = self._metrics.histogram(stage).since(self._before[stage])
            if recent.count < SAMPLES_MIN:
                continue
            p99_us = recent.quantiles((P99,))[0] / 1_000
            if p99_us > budget_us:
                fields = {"stage": stage, "p99_us": round(p99_us, 1), "limit": budget_us}
                yield Finding(event="latency_high", fields={**fields, "samples": recent.count})


def keep_to_cores(cores: tuple[int, ...]) -> None:
    """Let this thread run on these cores only; none given: wherever it may. ValueError if not."""
    if not cores:
        return
    usable = os.sched_getaffinity(0)
    strange = sorted(set(cores) - usable)
    if strange:
        raise ValueError(
            f"latency.cpu_affinity: core {strange[0]} is not among the usable {sorted(usable)}"
        )
    os.sched_setaffinity(0, set(cores))
