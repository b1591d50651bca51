"""The grade of the specification, corrected: nothing for agreement, nothing for holding nothing.

Published: clip(20 Sharpe, 0, 30) + 25 win rate + max(0, 25 - 100 drawdown) + 10 (confidence +
agreement). Agents that never act kept 40 of those points. Here agreement earns none, as diversity
is the aim; the other 90 points are stretched to 100; and without a position or a Sharpe it is 0.
"""

from __future__ import annotations

POINTS_MAX = 90.0
GRADES = ((85.0, "A"), (70.0, "B"), (55.0, "C"), (40.0, "D"))


def score(
    *,
    sharpe: float | None,
    win_frac: float | None,
    drawdown_frac_max: float,
    confidence_frac: float,
    exposure_frac: float,
) -> float:
    """Return points in [0, 100]; ``sharpe`` is annual, fractions lie in [0, 1], else ValueError."""
    fractions = (drawdown_frac_max, confidence_frac, 0.0 if win_frac is None else win_frac)
    if not all(0.0 <= value <= 1.0 for value in fractions) or not exposure_frac >= 0.0:
        raise ValueError("win rate, drawdown and confidence lie in [0, 1], exposure is positive")
    if exposure_frac == 0.0 or sharpe is None or win_frac is None:
        return 0.0
    points = min(max(20.0 * sharpe, 0.0), 30.0) + 25.0 * win_frac
    points += max(0.0, 25.0 - 100.0 * drawdown_frac_max) + 10.0 * confidence_frac
    return points * 100.0 / POINTS_MAX


def grade(points: float) -> str:
    """Return the letter of so many points, A to D from 85, 70, 55 and 40 on, else F."""
    return next((letter for least, letter in GRADES if points >= least), "F")
