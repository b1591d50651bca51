"""Turnover-matched random: what the same trading earns when only its timing is chance.

A thousand times the ensemble's wishes are shifted round by a random number of bars, then sized,
traded and paid for like every rival. What lies between their Sharpe ratios and the ensemble's own
is what its timing is worth; a place in the middle of them says: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.backtest import Backtest
from strategy.evaluation.figures import sharpe
from strategy.evaluation.inference import drawer
from strategy.evaluation.rivals import Stage, random_paths

Floats = NDArray[np.float64]

NAME = "turnover-matched random"
DRAWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomTiming:
    """Sums over the test bars of D random paths: net returns, their squares, what was traded.

    ``log_D`` is the logarithm of what became of one unit of equity.
    """

    bars: int
    sum_D: Floats
    square_D: Floats
    log_D: Floats
    turnover_D: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomStanding:
    """The ensemble among random paths; ``low`` to ``high`` hold 95 % of them.

    ``percentile_frac`` of the paths have a lower annual Sharpe than the ensemble, equal ones count
    half. Sharpe figures are None where they are undefined: nothing was held. ``draws`` were made;
    ``turnover_per_year`` and ``total_return`` are their medians.
    """

    name: str
    draws: int
    median: float | None
    low: float | None
    high: float | None
    percentile_frac: float | None
    total_return: float
    turnover_per_year: float


def random_timing(run: Backtest, stage: Stage, seed: int, draws: int = DRAWS) -> RandomTiming:
    """Play the wishes of the test bars in random order of time, ``draws`` times."""
    test = slice(stage.training_bars, len(run))
    most = run.plan.exposure_frac_max
    wanted_T = np.clip(run.followed.exposure_T[test], -most, most) * run.trust_T[test]
    sums_D4 = np.array(
        [
            (
                path.net_T.sum(),
                path.net_T @ path.net_T,
                np.log1p(np.maximum(path.net_T, -1.0 + 1e-12)).sum(),
                np.abs(np.diff(path.position_T, prepend=0.0)).sum(),
            )
            for path in random_paths(wanted_T, stage, draws, drawer(seed, NAME))
        ]
    )
    return RandomTiming(
        bars=len(wanted_T),
        sum_D=sums_D4[:, 0],
        square_D=sums_D4[:, 1],
        log_D=sums_D4[:, 2],
        turnover_D=sums_D4[:, 3],
    )


def joined(parts: Sequence[RandomTiming]) -> RandomTiming:
    """Put the n-th draws of consecutive tests behind each other; ValueError for unequal counts."""
    if len({len(part.sum_D) for part in parts}) != 1:
        raise ValueError("tests with different numbers of random paths")
    return RandomTiming(
        bars=sum(part.bars for part in parts),
        sum_D=np.sum([part.sum_D for part in parts], axis=0),
        square_D=np.sum([part.square_D for part in parts], axis=0),
        log_D=np.sum([part.log_D for part in parts], axis=0),
        turnover_D=np.sum([part.turnover_D for part in parts], axis=0),
    )


def stand(drawn: RandomTiming, own_T: Floats, year_bars: float) -> RandomStanding:
    """Say where the ensemble's net returns stand among the random paths of the same bars."""
    mean_D = drawn.sum_D / drawn.bars
    variance_D = (drawn.square_D - drawn.bars * mean_D**2) / (drawn.bars - 1)
    is_known_D = variance_D > 1e-28
    median = low = high = percentile = None
    if is_known_D.all():
        sharpe_D = mean_D / np.sqrt(variance_D) * year_bars**0.5
        low, median, high = (float(x) for x in np.quantile(sharpe_D, (0.025, 0.5, 0.975)))
        own = sharpe(own_T, year_bars)
        if own is not None:
            percentile = float(np.mean(sharpe_D < own) + 0.5 * np.mean(sharpe_D == own))
    return RandomStanding(
        name=NAME,
        draws=len(mean_D),
        median=median,
        low=low,
        high=high,
        percentile_frac=percentile,
        total_return=float(np.expm1(np.median(drawn.log_D))),
        turnover_per_year=float(np.median(drawn.turnover_D)) * year_bars / drawn.bars,
    )
