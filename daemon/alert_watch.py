"""Looks back regularly for ``daemon.alerts``: samples equity, reads memory and CPU, notes alerts.

With every sample it looks whether something has changed; what stands is said again at every
``alerts.check_interval_ms``, and once more when it is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from config.settings import Settings
from daemon.alerts import NS_PER_MS, RecentEquity, Standing, look_back
from daemon.clock import Clock
from daemon.effects import Note
from daemon.engine import Engine
from daemon.latency_watch import LatencyWatch
from daemon.metrics import Metrics
from kernels.units import Instrument

NS_PER_S = 1_000_000_000
STATM = Path("/proc/self/statm")


class AlertWatch:
    """The timer behind the alerts; ``look`` is called from the main loop and is cheap."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        instruments: tuple[Instrument, ...],
        *,
        metrics: Metrics,
        note: Callable[[Note], None],
        clock: Clock,
        memory_bytes: Callable[[], int] | None = None,
        cpu_s: Callable[[], float] | None = None,
    ) -> None:
        """Watch one engine; the first look comes with the first sample."""
        self._settings = settings.alerts
        self._window = settings.meta.regime_history_window
        self._engine = engine
        self._symbols = tuple(instrument.symbol for instrument in instruments)
        self._note = note
        self._clock = clock
        self._memory_bytes = memory_bytes or resident_bytes
        self._cpu_s = cpu_s or used_cpu_s
        self._equity = RecentEquity(settings.alerts)
        self._check_ns = settings.alerts.check_interval_ms * NS_PER_MS
        self._standing = Standing(self._check_ns)
        interval_ms = settings.alerts.check_interval_ms
        self._latency = LatencyWatch(settings.latency, metrics, interval_ms)
        self._sampled_ns = self._cpu_read_ns = clock.monotonic_ns()
        self._cpu_read_s = self._cpu_s()
        self._cpu_frac = 0.0

    def look(self) -> None:
        """Sample, and look back, where it is time."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._sampled_ns < self._settings.sample_interval_ms * NS_PER_MS:
            return
        self._sampled_ns = now_ns
        self._equity.add(self._engine.desk.ledger.equity_quote_e8)
        self._read_cpu(now_ns)
        memory_bytes = self._memory_bytes()
        found = look_back(
            self._settings, self._equity, self._labels(), memory_bytes, self._cpu_frac
        )
        found.extend(self._latency.look(now_ns))
        for each in self._standing.news(found, now_ns):
            event_ns = self._clock.now_ns()
            self._note(Note(event=each.event, event_ns=event_ns, fields=each.fields))

    def _read_cpu(self, now_ns: int) -> None:
        """Measure over whole check intervals: a start or a reload is no alert."""
        elapsed_ns = now_ns - self._cpu_read_ns
        if elapsed_ns < self._check_ns:
            return
        used_s = self._cpu_s()
        self._cpu_frac = (used_s - self._cpu_read_s) * NS_PER_S / elapsed_ns
        self._cpu_read_ns, self._cpu_read_s = now_ns, used_s

    def _labels(self) -> dict[str, list[int]]:
        """Collect the newest regimes of every instrument, oldest first."""
        labels: dict[str, list[int]] = {symbol: [] for symbol in self._symbols}
        for decided in reversed(self._engine.history):
            of_one = labels[self._symbols[decided.instrument]]
            if len(of_one) < self._window:
                of_one.append(decided.regime)
        return {symbol: of_one[::-1] for symbol, of_one in labels.items()}


def resident_bytes() -> int:
    """Return the memory this process holds now, 0 where the system does not say."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return 0


def used_cpu_s() -> float:
    """Return the time that cores have spent for this process, in seconds."""
    times = os.times()
    return times.user + times.system
