"""Is what was believed beforehand what came? Slopes of outcomes on predictions; 1 is honest.

A slope below 1 means that predictions were too bold, 0 that they said nothing. Both sides are in
standard deviations of a bar, as known before it, and of the same bar: what a forecast promises over
its whole life is many times as much. Around every forecast lies the band that adaptive conformal
inference learns (``strategy.quality.AdaptiveInterval``); nine bars in ten are to end inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.backtest import Backtest
from strategy.evaluation.inference import stationary_statistic
from strategy.quality import AdaptiveInterval

Floats = NDArray[np.float64]

PIECES_MAX = 3_000
DRAWS = 500
COVERAGE_FRAC = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A regression through the origin with its 95 % interval; None where nothing was predicted."""

    name: str
    slope: float | None
    low: float | None
    high: float | None
    bars: int


def calibration(
    run: Backtest, foreseen_T: Floats, training_bars: int, generator: np.random.Generator
) -> tuple[Slope, ...]:
    """Return the slopes of the experts' believed skill and of the model's forecast of a bar."""
    followed = run.followed
    rows = np.arange(training_bars, len(run))
    rows = rows[followed.is_learned_T[rows + 1]]
    believed_TN, paid_TN = followed.skill_TN[rows], followed.paid_TN[rows + 1]
    scale_T = followed.scale_T[rows]
    known = scale_T > 0.0
    realised_T = run.return_T[rows][known] / scale_T[known]
    believed_T = foreseen_T[rows][known]
    return (
        _slope(
            "believed skill of experts",
            np.sum(believed_TN * paid_TN, axis=1),
            np.sum(believed_TN**2, axis=1),
            generator,
        ),
        _slope("forecast of the next bar", believed_T * realised_T, believed_T**2, generator),
    )


def band_coverage(run: Backtest, foreseen_T: Floats, training_bars: int) -> float | None:
    """Return the share of test bars inside the band around their forecast; None without a scale.

    The band of a bar knows the errors before it only; what came before the test teaches it.
    """
    scale_T = run.followed.scale_T[: len(run)]
    known_T = scale_T > 0.0
    scored_T = np.abs(run.return_T / np.where(known_T, scale_T, 1.0) - foreseen_T[: len(run)])
    band, inside, judged = AdaptiveInterval(COVERAGE_FRAC), 0, 0
    for t in np.flatnonzero(known_T).tolist():
        is_inside = band.update(float(scored_T[t]))
        if t >= training_bars:
            judged += 1
            inside += is_inside
    return inside / judged if judged else None


def _slope(name: str, both_T: Floats, square_T: Floats, generator: np.random.Generator) -> Slope:
    bars = len(both_T)
    if bars < 2 or not float(square_T.sum()) > 0.0:
        return Slope(name=name, slope=None, low=None, high=None, bars=bars)
    piece = max(1, -(-bars // PIECES_MAX))
    begins = np.arange(0, bars // piece * piece, piece)
    kept = slice(0, bars // piece * piece)
    pieces_T2 = np.column_stack(
        (np.add.reduceat(both_T[kept], begins), np.add.reduceat(square_T[kept], begins))
    )

    def ratio(drawn_T2: Floats) -> float:
        both, square = drawn_T2.sum(axis=0).tolist()
        return both / square if square > 0.0 else 0.0

    drawn_D = stationary_statistic(pieces_T2, ratio, generator, DRAWS)
    low, high = np.quantile(drawn_D, [0.025, 0.975])
    return Slope(
        name=name,
        slope=float(both_T.sum() / square_T.sum()),
        low=float(low),
        high=float(high),
        bars=bars,
    )
