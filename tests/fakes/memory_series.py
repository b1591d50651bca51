"""The resident memory of a process over time, and what can be said of its slope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STRETCHES = 8
T_95 = 2.365
"""Student's t for 7 degrees of freedom, two-sided 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A slope with its 95 % interval; ``level_mb`` is the mean."""

    mb_per_hour: float
    low: float
    high: float
    level_mb: float

    @property
    def is_distinguishable(self) -> bool:
        """Tell whether 0 lies outside the interval."""
        return not self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        """Write estimate, interval and method."""
        return (
            f"{self.mb_per_hour:+.2f} MB/h [{self.low:+.2f}, {self.high:+.2f}] at "
            f"{self.level_mb:.0f} MB (95 %, t over the slopes of {STRETCHES} stretches)"
        )


def resident_mb(pid: int) -> float:
    """Return what a process holds in memory now; OSError when it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def parts_of(pid: int) -> str:
    """Say what the resident memory of a process is made of: own pages, files, shared."""
    found = []
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in {"RssAnon", "RssFile", "RssShmem"}:
            found.append(f"{name[3:].lower()} {int(value.split()[0]) / 1024:.1f}")
    return ", ".join(found)


Series = Sequence[float] | NDArray[np.float64]


def slope_of(at_s: Series, held_mb: Series) -> Slope:
    """Estimate a slope without trusting neighbouring samples to be independent.

    A resident set moves in steps and remembers them, so the error of one regression means nothing.
    The series is cut into stretches, each gives a least-squares slope, and Student's t is taken
    over those (Ibragimov and Mueller 2010): valid under any dependence within a stretch.
    """
    slopes = [
        float(np.polyfit(np.asarray(t_s) / 3_600.0, stretch_mb, 1)[0])
        for t_s, stretch_mb in zip(
            np.array_split(np.asarray(at_s), STRETCHES),
            np.array_split(np.asarray(held_mb), STRETCHES),
            strict=True,
        )
    ]
    centre = float(np.mean(slopes))
    half = T_95 * float(np.std(slopes, ddof=1)) / math.sqrt(STRETCHES)
    return Slope(
        mb_per_hour=centre,
        low=centre - half,
        high=centre + half,
        level_mb=float(np.mean(held_mb)),
    )
