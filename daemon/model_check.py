"""Verify one bundle as the daemon would before it may judge anything: all that ``load`` proves,
then whether it fits this run, and how long it takes to answer on this machine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.clock import Clock
from daemon.model_loading import WARM_ROWS_MAX, load_model
from daemon.rollout import Judge, Model
from kernels.events import REGIMES
from strategy.bundle import Bundle, BundleError
from strategy.observation import FLAT
from strategy.runtime import Judgement, Runtime

LATENCY_CALLS = 51
COLD_CALLS, COLD_FACTOR = 5, 20.0
"""A bundle whose typical first answer takes this many times the limit is not even warmed."""
RECENT_CALLS = 8
SLOW_CALLS = 5
"""Of the last ``RECENT_CALLS``, so many beyond the limit are too many: one alone is the machine."""
NS_PER_US = 1_000


class TimedJudge:
    """A judge whose latest answers were timed; changes nothing else."""

    def __init__(self, judge: Judge, clock: Clock) -> None:
        """Time every call with this clock."""
        self._judge = judge
        self._clock = clock
        self.recent_ns: deque[int] = deque(maxlen=RECENT_CALLS)

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        """Judge B market rows in one call."""
        began_ns = self._clock.monotonic_ns()
        judgement = self._judge.decide(obs_BF, held_BA)
        self.recent_ns.append(self._clock.monotonic_ns() - began_ns)
        return judgement

    def slow_ns(self, limit_ns: int) -> int | None:
        """Return the median of the latest calls when too many were beyond the limit, else None."""
        if sum(took_ns > limit_ns for took_ns in self.recent_ns) < SLOW_CALLS:
            return None
        return int(median(self.recent_ns))


def verify(
    path: Path, settings: Settings, agents: tuple[str, ...] | None, clock: Clock
) -> tuple[Model, Bundle]:
    """Load, warm and time the bundle at ``path`` for these settings; raises BundleError.

    ``agents`` are those of the run, None where there is no run to fit. Takes about a second; the
    model that comes back times its answers.
    """
    named = settings.model_copy(
        update={"model": settings.model.model_copy(update={"bundle": str(path)})}
    )
    limit_us = settings.model.latency_us_max
    rows = min(len(settings.instruments), WARM_ROWS_MAX)

    def try_out(bundle: Bundle, runtime: Runtime) -> None:
        if agents is not None and bundle.agents != agents:
            raise BundleError(path, f"agents {list(bundle.agents)}, this run has {list(agents)}")
        if bundle.regimes != REGIMES:
            raise BundleError(path, f"regimes {list(bundle.regimes)}, wanted {list(REGIMES)}")
        cold_us = _typical_us(TimedJudge(runtime, clock), bundle, rows, COLD_CALLS)
        if cold_us > limit_us * COLD_FACTOR:
            raise BundleError(path, f"first answers in {cold_us:.0f} us, allowed {limit_us} warm")

    model, bundle = load_model(named, clock, try_out)
    timed = TimedJudge(model.judge, clock)
    typical_us = _typical_us(timed, bundle, rows, LATENCY_CALLS)
    if typical_us > limit_us:
        raise BundleError(path, f"answers in {typical_us:.0f} us, allowed {limit_us}")
    timed.recent_ns.clear()
    return replace(model, judge=timed), bundle


def _typical_us(timed: TimedJudge, bundle: Bundle, rows: int, calls: int) -> float:
    """Return the median time of so many answers."""
    obs_BF = np.zeros((rows, bundle.observation_count), np.float32)
    held_BA = np.full((rows, len(bundle.agents)), FLAT, np.int64)
    took_ns = []
    for _ in range(calls):
        timed.decide(obs_BF, held_BA)
        took_ns.append(timed.recent_ns[-1])
    return median(took_ns) / NS_PER_US
