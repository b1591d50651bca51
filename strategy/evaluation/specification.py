"""The figures that the product's specification names, over episodes, with their definitions.

An episode is a piece of consecutive bars; the path is cut into pieces of equal length, in order.

    mean_return             mean of the episodes' total returns
    mean_sharpe_ratio       mean of their annual Sharpe ratios, where defined
    mean_max_drawdown       mean of their deepest falls
    mean_win_rate           mean share of bars with a gain among bars that were not flat
    success_rate            share of episodes with a return above 0
    profit_factor, calmar_ratio   of the whole path
    mean_confidence         mean of the followed experts' own confidence
    mean_agreement_rate     1 less the weighted deviation of the agents' votes, mean over bars
    regime_adaptability     share of regime changes after which the ensemble earned at least what
                            equal weight did, over the next 20 bars
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.figures import measure
from strategy.evaluation.grade import grade, score

Floats = NDArray[np.float64]

ADAPTATION_BARS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecifiedMetrics:
    """As the module defines them; None where nothing defines a figure."""

    episodes: int
    episode_bars: int
    mean_return: float
    mean_sharpe_ratio: float | None
    mean_max_drawdown: float
    mean_win_rate: float | None
    success_rate: float
    profit_factor: float | None
    calmar_ratio: float | None
    mean_confidence: float
    mean_agreement_rate: float
    regime_adaptability: float | None
    score: float
    grade: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathFacts:
    """What the figures are made of, per bar: net returns of ensemble and equal weight, and more.

    ``label_T`` is the reported regime, ``exposure_frac`` the mean absolute position.
    """

    net_T: Floats
    equal_net_T: Floats
    confidence_T: Floats
    disagreement_T: Floats
    label_T: NDArray[np.int64]
    exposure_frac: float


def specified_metrics(
    facts: PathFacts, year_bars: float, *, episodes: int, bars_max: int
) -> SpecifiedMetrics:
    """Cut the first bars into at most ``episodes`` pieces of at most ``bars_max``; ValueError: 0.

    A path shorter than that is cut into pieces of equal length.
    """
    if episodes < 1 or bars_max < 2 or len(facts.net_T) < 2:
        raise ValueError(f"{episodes} episodes of {bars_max} bars out of {len(facts.net_T)}")
    count = min(episodes, len(facts.net_T) // 2)
    length = min(bars_max, len(facts.net_T) // count)
    pieces = [measure(facts.net_T[n * length : (n + 1) * length], year_bars) for n in range(count)]
    whole = measure(facts.net_T[: count * length], year_bars)
    used = slice(0, count * length)
    confidence = float(np.clip(facts.confidence_T[used].mean(), 0.0, 1.0))
    points = score(
        sharpe=whole.sharpe,
        win_frac=whole.win_frac,
        drawdown_frac_max=whole.drawdown_frac_max,
        confidence_frac=confidence,
        exposure_frac=facts.exposure_frac,
    )
    return SpecifiedMetrics(
        episodes=count,
        episode_bars=length,
        mean_return=float(np.mean([piece.total_return for piece in pieces])),
        mean_sharpe_ratio=_mean([piece.sharpe for piece in pieces]),
        mean_max_drawdown=float(np.mean([piece.drawdown_frac_max for piece in pieces])),
        mean_win_rate=_mean([piece.win_frac for piece in pieces]),
        success_rate=float(np.mean([piece.total_return > 0.0 for piece in pieces])),
        profit_factor=whole.profit_factor,
        calmar_ratio=whole.calmar,
        mean_confidence=confidence,
        mean_agreement_rate=float(1.0 - facts.disagreement_T[used].mean()),
        regime_adaptability=adaptability(
            facts.net_T[used], facts.equal_net_T[used], facts.label_T[used]
        ),
        score=points,
        grade=grade(points),
    )


def adaptability(net_T: Floats, equal_net_T: Floats, label_T: NDArray[np.int64]) -> float | None:
    """Return the share of regime changes that the ensemble took at least as well; None: none."""
    lead_T = np.concatenate(([0.0], np.cumsum(net_T - equal_net_T)))
    changes = np.flatnonzero(np.diff(label_T)) + 1
    changes = changes[changes + ADAPTATION_BARS < len(lead_T)]
    if not len(changes):
        return None
    return float(np.mean(lead_T[changes + ADAPTATION_BARS] >= lead_T[changes]))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
