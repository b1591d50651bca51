"""Alerts that need a look back: recent Sharpe and drawdown, regime stability, memory, CPU. Pure.

Everything else that wakes somebody is a log event with ``alert``, the breaker's triggers first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from config.safety import AlertSettings

YEAR_NS = 31_557_600 * 1_000_000_000
MB = 1024 * 1024
NS_PER_MS = 1_000_000
LABELS_MIN = 10
"""No verdict on stability from fewer regime labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth waking somebody for; ``event`` is a name of ``daemon.log_events``."""

    event: str
    fields: Mapping[str, Any]


class Standing:
    """Which findings stand, so that each is said when it comes, now and then, and when it goes."""

    def __init__(self, repeat_ns: int) -> None:
        """Nothing stands; what goes on is said again after ``repeat_ns``."""
        self._repeat_ns = repeat_ns
        self._said_ns: dict[tuple[str, str, str], int] = {}

    def news(self, found: Sequence[Finding], now_ns: int) -> list[Finding]:
        """Return what is to be said now: new findings, old ones due again, and those that ended."""
        said: list[Finding] = []
        standing = {(each.event, *_where(each)): each for each in found}
        for key, finding in standing.items():
            last_ns = self._said_ns.get(key)
            if last_ns is None or now_ns - last_ns >= self._repeat_ns:
                self._said_ns[key] = now_ns
                said.append(finding)
        for key in [key for key in self._said_ns if key not in standing]:
            del self._said_ns[key]
            event, kind, name = key
            where = {kind: name} if name else {}
            said.append(Finding(event="alert_recovered", fields={"alert_event": event, **where}))
        return said


def _where(finding: Finding) -> tuple[str, str]:
    """Say what a finding is about, kind and name: one of several that may stand side by side."""
    for kind in ("instrument", "stage"):
        if kind in finding.fields:
            return kind, str(finding.fields[kind])
    return "", ""


class RecentEquity:
    """The newest samples of equity, evenly spaced, and what they say."""

    def __init__(self, settings: AlertSettings) -> None:
        """Hold no sample."""
        self._samples: deque[int] = deque(maxlen=settings.samples_max + 1)
        self._periods_per_year = YEAR_NS / (settings.sample_interval_ms * NS_PER_MS)

    def add(self, equity_quote_e8: int) -> None:
        """Add the equity of now."""
        self._samples.append(equity_quote_e8)

    @property
    def return_count(self) -> int:
        """Returns between the samples at hand."""
        return max(len(self._samples) - 1, 0)

    def sharpe(self) -> float | None:
        """Annualise mean over deviation of the returns; None where it is not defined."""
        samples = self._samples
        if len(samples) < 3 or min(samples) <= 0:
            return None
        returns = [b / a - 1.0 for a, b in pairwise(samples)]
        mean = math.fsum(returns) / len(returns)
        variance = math.fsum((r - mean) ** 2 for r in returns) / (len(returns) - 1)
        if variance <= 0.0:
            return None
        return mean / math.sqrt(variance) * math.sqrt(self._periods_per_year)

    def drawdown_frac(self) -> float:
        """Return the fall from the highest recent equity to the newest, as a share."""
        highest = max(self._samples, default=0)
        if highest <= 0:
            return 0.0
        return max(0.0, 1.0 - self._samples[-1] / highest)


def regime_stability(labels: Sequence[int]) -> float | None:
    """Return the share of decisions that kept the regime before; None for too few labels."""
    if len(labels) < LABELS_MIN:
        return None
    kept = sum(a == b for a, b in pairwise(labels))
    return kept / (len(labels) - 1)


def look_back(
    settings: AlertSettings,
    equity: RecentEquity,
    labels_by_symbol: Mapping[str, Sequence[int]],
    memory_bytes: int,
    cpu_frac: float = 0.0,
) -> list[Finding]:
    """Return everything that is worth an alert now; ``cpu_frac`` is 1.0 for one whole core."""
    found: list[Finding] = []
    sharpe = equity.sharpe()
    if (
        sharpe is not None
        and equity.return_count >= settings.sharpe_samples_min
        and sharpe < settings.sharpe_min
    ):
        fields = {"sharpe": round(sharpe, 3), "limit": settings.sharpe_min}
        found.append(Finding(event="sharpe_low", fields={**fields, "samples": equity.return_count}))
    drawdown_frac = equity.drawdown_frac()
    if drawdown_frac > settings.drawdown_frac_max:
        fields = {"drawdown_frac": round(drawdown_frac, 4), "limit": settings.drawdown_frac_max}
        found.append(Finding(event="drawdown_recent", fields=fields))
    for symbol, labels in labels_by_symbol.items():
        stability = regime_stability(labels)
        if stability is not None and stability < settings.stability_min:
            about = {"stability": round(stability, 3), "limit": settings.stability_min}
            found.append(Finding(event="regime_unstable", fields={"instrument": symbol, **about}))
    if memory_bytes > settings.memory_mb_max * MB:
        fields = {"memory_mb": memory_bytes // MB, "limit": settings.memory_mb_max}
        found.append(Finding(event="memory_high", fields=fields))
    if cpu_frac > settings.cpu_frac_max:
        shares = {"cpu_frac": round(cpu_frac, 3), "limit": settings.cpu_frac_max}
        found.append(Finding(event="cpu_high", fields=shares))
    return found
