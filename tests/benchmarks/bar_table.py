"""Prints figures with their intervals beside the bars they must hold, and remembers what broke."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2_000


def mean_interval(value_n: Floats) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval under the normal law."""
    mean = float(np.mean(value_n))
    half = 1.96 * float(np.std(value_n, ddof=1)) / len(value_n) ** 0.5 if len(value_n) > 1 else 0.0
    return mean, mean - half, mean + half


def ratio_interval(over_n: Floats, under_n: Floats) -> tuple[float, float, float]:
    """Return the ratio of two means over the same paths, with a bootstrap interval over paths."""
    drawn = np.random.default_rng(1).integers(0, len(over_n), (RESAMPLES, len(over_n)))
    ratios = over_n[drawn].mean(axis=1) / under_n[drawn].mean(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(over_n.mean() / under_n.mean()), float(low), float(high)


def median_interval(value_n: Floats) -> tuple[float, float, float]:
    """Return the median and a bootstrap interval."""
    drawn = np.random.default_rng(1).choice(value_n, (RESAMPLES, len(value_n)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(np.median(value_n)), float(low), float(high)


class BarTable:
    """One line for each figure; ``is_good`` stays True while every bar holds."""

    def __init__(self) -> None:
        """Start with nothing broken."""
        self.is_good = True

    def mean(self, what: str, value_n: Floats, bar: float, goal: float | None, *, up: bool) -> None:
        """Judge a mean of values on the side of its interval that hurts."""
        self.judge(what, mean_interval(np.asarray(value_n, float)), bar, goal, up=up)

    def judge(
        self,
        what: str,
        estimate: tuple[float, float, float],
        bar: float,
        goal: float | None = None,
        *,
        up: bool = True,
    ) -> None:
        """Judge estimate, low and high: ``up`` wants low at or above the bar, else high below."""
        middle, low, high = estimate
        holds = low >= bar if up else high <= bar
        self.is_good = self.is_good and holds
        told = "" if goal is None else f"  goal {goal:g}"
        if goal is not None and (low >= goal if up else high <= goal):
            told += " reached"
        print(
            f"  {what:<46} {middle:8.4f}  [{low:.4f}, {high:.4f}]  "
            f"{'>=' if up else '<='} {bar:g}: {'holds' if holds else 'BROKEN'}{told}",
            flush=True,
        )

    def end(self) -> int:
        """Print the verdict; return the exit code."""
        print("all bars hold" if self.is_good else "a bar is broken")
        return 0 if self.is_good else 1
