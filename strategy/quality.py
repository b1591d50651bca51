"""How much to trust the model now: strangeness of its input, disagreement, honest confidence.

Three numbers, each a factor in [0, 1] on size, none of them a switch:

- *strangeness*: Mahalanobis distance of the normalised row to the training rows, with covariance
  shrunk towards its diagonal; 1 up to the training rows' 99 % point, 0 from three times it on,
  straight in between. Source: Ledoit and Wolf (2004) for shrinking; the weight here is fixed.
- *disagreement*: spread of the agents' targets in [-1, 1] around their weighted mean, as
  ``strategy.ensemble`` finds it; 0 when all want the same, 1 when half want long and half short.
- *confidence*: an interval that must hold 90 % of the outcomes: a multiple of the recent mean
  score, moved after every outcome (q <- q + step (miss - 0.1)), so that long-run coverage is
  right on any stream on which q stays bounded. Where bars move further than the deviation that was
  foretold for them, size falls as the bound widens. Source: Gibbs and Candes (2021);
  Angelopoulos et al. (2023).

A number that is not finite is full distrust: factor 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]

PREFIX = "quality."
ORDINARY_FRAC = 0.99
STRANGE_FACTOR = 3.0
SHRINK = 0.1
FOLD_BLOCKS = 20
VARIANCE_MIN = 1e-6
SCORE_DECAY = 0.95
SCALE_MIN = 1e-12
CONFORMAL_STEP = 0.1
FIRST_MULTIPLE = 2.0
MISS_FRAC = 0.1
NORMAL_BOUND = 1.645
"""Nine in ten errors of a normal law are smaller than so many standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrangenessScale:
    """Where the training rows lie: mean (F,), inverse covariance (F, F), their 99 % distance."""

    mean_F: Floats
    precision_FF: Floats
    ordinary: float

    def __post_init__(self) -> None:
        """Refuse shapes that differ and a distance that is not positive; ValueError."""
        count = len(self.mean_F)
        if self.precision_FF.shape != (count, count) or not self.ordinary > 0.0:
            raise ValueError(
                f"mean {count}, precision {self.precision_FF.shape}, ordinary {self.ordinary}"
            )
        self.factor(np.zeros(count, np.float32))  # compile now: no decision waits for it

    def distance(self, row_F: NDArray[np.float32] | Floats) -> float:
        """Return the Mahalanobis distance of a row per root feature; NaN where the row has one."""
        return float(distance_step(row_F, self.mean_F, self.precision_FF))

    def factor(self, row_F: NDArray[np.float32] | Floats) -> float:
        """Return what the row's strangeness leaves of the size, in [0, 1].

        One call, 1.2 us for 50 features, 12.9 through numpy.
        """
        return float(factor_step(row_F, self.mean_F, self.precision_FF, self.ordinary))

    def factors(self, rows_TF: NDArray[np.float32] | Floats) -> Floats:
        """Return ``factor`` of every row (T,)."""
        out_T = np.empty(len(rows_TF))
        whole_TF: Any = np.ascontiguousarray(rows_TF)  # its stubs forget one of the two types
        _write_factors(whole_TF, self.mean_F, self.precision_FF, self.ordinary, out_T)
        return out_T

    def to_tables(self) -> dict[str, Floats]:
        """Return the tables of a bundle that hold this scale."""
        return {
            f"{PREFIX}mean": self.mean_F,
            f"{PREFIX}precision": self.precision_FF,
            f"{PREFIX}ordinary": np.array([self.ordinary]),
        }

    @classmethod
    def from_tables(cls, tables: Mapping[str, Floats]) -> StrangenessScale | None:
        """Read a bundle's tables; None where it has none: nothing is known to be strange."""
        if f"{PREFIX}mean" not in tables:
            return None
        for name in ("precision", "ordinary"):
            if f"{PREFIX}{name}" not in tables:
                raise ValueError(f"table {PREFIX}{name} is missing")
        return cls(
            mean_F=tables[f"{PREFIX}mean"],
            precision_FF=tables[f"{PREFIX}precision"],
            ordinary=float(tables[f"{PREFIX}ordinary"][0]),
        )


@njit
def distance_step(
    row_F: NDArray[np.float32] | Floats, mean_F: Floats, precision_FF: Floats
) -> float:
    """Return ``StrangenessScale.distance``; NaN where the row has a number that is not finite."""
    count = row_F.shape[0]
    leaned_F = np.zeros(count)
    for i in range(count):
        away = float(row_F[i]) - mean_F[i]
        if not np.isfinite(away):
            return float(np.nan)
        precision_F = precision_FF[i]
        for j in range(count):
            leaned_F[j] += away * precision_F[j]
    square = 0.0
    for j in range(count):
        square += leaned_F[j] * (float(row_F[j]) - mean_F[j])
    return float(np.sqrt(max(square, 0.0) / count))


@njit
def factor_step(
    row_F: NDArray[np.float32] | Floats, mean_F: Floats, precision_FF: Floats, ordinary: float
) -> float:
    """Return ``StrangenessScale.factor``."""
    distance = distance_step(row_F, mean_F, precision_FF)
    if not np.isfinite(distance):
        return 0.0
    left = 1.0 - (distance / ordinary - 1.0) / (STRANGE_FACTOR - 1.0)
    return float(min(max(left, 0.0), 1.0))


@njit
def _write_factors(
    rows_TF: NDArray[np.float32] | Floats,
    mean_F: Floats,
    precision_FF: Floats,
    ordinary: float,
    out_T: Floats,
) -> None:
    for t in range(rows_TF.shape[0]):
        out_T[t] = factor_step(rows_TF[t], mean_F, precision_FF, ordinary)


def fit_strangeness(rows_TF: NDArray[np.float32] | Floats) -> StrangenessScale:
    """Fit to normalised training rows (T, F), all finite, at least two a feature; ValueError."""
    if len(rows_TF) < 2 * rows_TF.shape[1] or not bool(np.isfinite(rows_TF).all()):
        raise ValueError(f"{rows_TF.shape} rows are too few or not finite")
    seen_TF = np.ascontiguousarray(rows_TF, np.float64)
    mean_F = seen_TF.mean(axis=0)
    covariance_FF = np.cov(seen_TF, rowvar=False).reshape((len(mean_F), len(mean_F)))
    diagonal_FF = np.diag(np.maximum(np.diag(covariance_FF), VARIANCE_MIN))
    shrunk_FF = (1.0 - SHRINK) * covariance_FF + SHRINK * diagonal_FF
    precision_FF: Floats = np.linalg.inv(shrunk_FF).astype(np.float64)
    scale = StrangenessScale(mean_F=mean_F, precision_FF=precision_FF, ordinary=1.0)
    distance_T = np.array([scale.distance(row_F) for row_F in seen_TF])
    ordinary = max(float(np.quantile(distance_T, ORDINARY_FRAC)), 1e-9)
    return StrangenessScale(mean_F=mean_F, precision_FF=precision_FF, ordinary=ordinary)


def false_positive_frac(scale: StrangenessScale, rows_TF: NDArray[np.float32] | Floats) -> float:
    """Return the share of ordinary rows (T, F) whose size would be cut at all."""
    return float(np.mean(scale.factors(rows_TF) < 1.0))


def unseen_false_positive_frac(rows_TF: NDArray[np.float32] | Floats) -> float:
    """Return that share among rows of the training's own kind that the scale has not seen.

    ``FOLD_BLOCKS`` stretches of time; a scale fitted to every other one judges the rest. NaN for
    rows too few to fit to.
    """
    block_T = np.arange(len(rows_TF)) * FOLD_BLOCKS // max(len(rows_TF), 1)
    fitted_TF, judged_TF = rows_TF[block_T % 2 == 0], rows_TF[block_T % 2 == 1]
    if len(fitted_TF) < 2 * rows_TF.shape[1]:
        return float("nan")
    return false_positive_frac(fit_strangeness(fitted_TF), judged_TF)


class AdaptiveInterval:
    """A bound on the next score that holds in a given share of bars, whatever the stream does.

    Scores are absolute errors in any unit. ``bound`` is said before the score is seen.
    """

    def __init__(self, coverage_frac: float = 0.9, first_bound: float = 1.65) -> None:
        """Take the wanted coverage in (0, 1) and the first bound; ValueError outside."""
        if not 0.0 < coverage_frac < 1.0 or not first_bound > 0.0:
            raise ValueError(f"coverage {coverage_frac}, first bound {first_bound}")
        self._state_2 = np.array([FIRST_MULTIPLE, first_bound / FIRST_MULTIPLE])
        self._miss_frac = 1.0 - coverage_frac

    @property
    def bound(self) -> float:
        """The bound on the next score, in its unit."""
        return float(interval_bound(self._state_2))

    def update(self, score: float) -> bool:
        """Take the score of the bar that the bound was for; say whether it was inside.

        A score that is not finite counts as a miss.
        """
        return bool(interval_step(self._state_2, score, self._miss_frac))


@njit
def interval_bound(state_2: Floats) -> float:
    """Return the bound on the next score of a state (multiple, scale)."""
    return float(max(state_2[0], 0.0) * state_2[1])


@njit
def interval_step(state_2: Floats, score: float, miss_frac: float) -> bool:
    """Take one score in; say whether it was inside the bound."""
    is_inside = score <= interval_bound(state_2)
    missed = 0.0 if is_inside else 1.0
    state_2[0] += CONFORMAL_STEP * (missed - miss_frac)
    if np.isfinite(score):
        kept = SCORE_DECAY * state_2[1]
        state_2[1] = kept + (1.0 - SCORE_DECAY) * min(score, 10.0 * state_2[1])
    state_2[1] = max(state_2[1], SCALE_MIN)
    return bool(is_inside)


@njit
def calibration_factor(state_2: Floats) -> float:
    """Return what is left of the size where bars outgrow what was foretold of them, in [0, 1].

    Scores are returns in foretold standard deviations. As long as the bound that holds nine in ten
    is no wider than the normal law's, nothing is taken; twice as wide leaves a half.
    """
    bound = interval_bound(state_2)
    return float(min(1.0, NORMAL_BOUND / bound)) if bound > 0.0 else 1.0


def calibrated_confidence(predicted: float, interval: AdaptiveInterval) -> float:
    """Return the size of a prediction relative to its honest error bound, in [0, 1]."""
    if not np.isfinite(predicted) or not interval.bound > 0.0:
        return 0.0
    return float(min(abs(predicted) / interval.bound, 1.0))


def size_factor(
    scale: StrangenessScale | None, row_F: NDArray[np.float32] | Floats, disagreement: float
) -> float:
    """Return the product of the strangeness and agreement factors, in [0, 1].

    ``disagreement`` in [0, 1] is that of ``strategy.ensemble.Target``; ``scale`` is None for a
    bundle without one.
    """
    if not isfinite(disagreement):
        return 0.0
    known = 1.0 if scale is None else scale.factor(row_F)
    return known * (1.0 - min(disagreement, 1.0))
