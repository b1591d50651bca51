"""How the ensemble did in each regime: labels as reported live, episodes, intervals.

An episode is a run of bars under one label; only episodes are independent enough to count, so a
regime with fewer than 30 of them says *insufficient*, and its mean has an interval over episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.evaluation.figures import EPISODES_MIN, INSUFFICIENT
from strategy.evaluation.inference import Interval, sharpe_interval
from strategy.regime_tracker import RegimeTracker

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

DRAWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeRow:
    """One regime. ``verdict`` is "insufficient" below 30 episodes, else empty.

    ``mean_bps`` is the net return per bar, with a 95 % interval from resampled episodes; None and
    no Sharpe where there are too few.
    """

    name: str
    bars: int
    share: float
    episodes: int
    verdict: str
    mean_bps: float | None
    low_bps: float | None
    high_bps: float | None
    win_frac: float | None
    sharpe: Interval | None


def reported_labels(
    regime_TK: NDArray[np.float32], meta: MetaLearningSettings, crisis_level: float = 1.0
) -> Labels:
    """Return the index of the regime that the daemon would have reported at every close (T)."""
    tracker = RegimeTracker(
        threshold=meta.regime_stability_threshold,
        window=meta.regime_history_window,
        crisis_level=crisis_level,
    )
    posterior_TK = np.asarray(regime_TK, np.float64)
    return np.array([tracker.update(posterior_K) for posterior_K in posterior_TK], np.int64)


def regime_table(
    net_T: Floats, label_T: Labels, year_bars: float, generator: np.random.Generator
) -> tuple[RegimeRow, ...]:
    """Return one row for each regime, in the order of their names."""
    starts = np.flatnonzero(np.diff(label_T, prepend=-1))
    lengths = np.diff(np.append(starts, len(label_T)))
    sums = np.add.reduceat(net_T, starts)
    rows = []
    for place, name in enumerate(REGIMES):
        is_own = label_T[starts] == place
        count, bars = int(is_own.sum()), int(lengths[is_own].sum())
        own_T = net_T[label_T == place]
        mean = low = high = sharpe = None
        if count >= EPISODES_MIN:
            mean = 1e4 * float(own_T.mean())
            low, high = _episode_interval(sums[is_own], lengths[is_own], generator)
            sharpe = sharpe_interval(own_T, year_bars, generator, DRAWS)
        moved_T = own_T[own_T != 0.0]
        rows.append(
            RegimeRow(
                name=name,
                bars=bars,
                share=bars / len(label_T),
                episodes=count,
                verdict="" if count >= EPISODES_MIN else INSUFFICIENT,
                mean_bps=mean,
                low_bps=low,
                high_bps=high,
                win_frac=float(np.mean(moved_T > 0.0)) if len(moved_T) else None,
                sharpe=sharpe,
            )
        )
    return tuple(rows)


def _episode_interval(
    sum_E: Floats, length_E: NDArray[np.int64], generator: np.random.Generator
) -> tuple[float, float]:
    """Resample whole episodes; return the 95 % interval of the mean per bar in basis points."""
    drawn_DE = generator.integers(0, len(sum_E), (DRAWS, len(sum_E)))
    mean_D = sum_E[drawn_DE].sum(axis=1) / length_E[drawn_DE].sum(axis=1)
    low, high = np.quantile(1e4 * mean_D, [0.025, 0.975])
    return float(low), float(high)
