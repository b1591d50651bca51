"""One observation row of the market: features, the regime's posterior, the forecast.

The row is the same for all agents. What an agent holds on its own account is handed over beside it
(``held_BA``), because each agent is trained, judged and booked on its own position; with prices
that do not depend on us, market and own position are the whole state of its control problem.

The features' mean and scale are frozen in the bundle: they are part of the model, fitted where it
was trained. A number that is not finite stays NaN all the way, so that the agents that read it are
reported as unhealthy instead of trading on a masked value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from kernels.jit import njit

FORECAST_NAMES: tuple[str, ...] = ("forecast", "forecast_slow")
"""Predicted return of the next bar and its exponential mean, in their own standard deviations."""

OBSERVATION_EXTRA_NAMES: tuple[str, ...] = (
    *(f"posterior_{name}" for name in REGIMES),
    *FORECAST_NAMES,
)
"""Inputs after the features: the regime filter's posterior in [0, 1], then the forecasts."""

EXTRA_COUNT = len(OBSERVATION_EXTRA_NAMES)

HELD_COUNT = 3
"""An agent's own position as it sees it: short, flat, long; one-hot, after the market row."""

FLAT = 1
"""The code of no position in ``held_BA``; equal to the action that leads there."""

CLIP = 5.0
"""Every input lies in [-CLIP, CLIP]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalisation:
    """Frozen location and scale of the features, float64 (F,); scales are positive."""

    mean_F: NDArray[np.float64]
    scale_F: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse shapes that differ, numbers that are not finite and scales not above zero."""
        if self.mean_F.ndim != 1 or self.mean_F.shape != self.scale_F.shape:
            raise ValueError(f"shapes {self.mean_F.shape} and {self.scale_F.shape} do not match")
        if not (np.all(np.isfinite(self.mean_F)) and np.all(np.isfinite(self.scale_F))):
            raise ValueError("mean or scale is not finite")
        if not np.all(self.scale_F > 0.0):
            raise ValueError("scale is not positive")

    @property
    def observation_count(self) -> int:
        """Width of one market row."""
        return int(self.mean_F.shape[0]) + EXTRA_COUNT

    @property
    def input_count(self) -> int:
        """Width of what one agent sees: the market row and its own position."""
        return self.observation_count + HELD_COUNT


def neutral_extras() -> NDArray[np.float64]:
    """Return the extras of somebody who knows nothing: every regime alike, no forecast."""
    extras_E = np.zeros(EXTRA_COUNT)
    extras_E[: len(REGIMES)] = 1.0 / len(REGIMES)
    return extras_E


def write_observation(
    normalisation: Normalisation,
    features_F: NDArray[np.float64],
    extras_E: NDArray[np.float64],
    out_F: NDArray[np.float32],
) -> bool:
    """Write one row into ``out_F`` (float32, features then extras); say whether all is finite.

    Raises ValueError when the number of features or the row's width is not the bundle's.
    """
    feature_count = normalisation.mean_F.shape[0]
    if (
        features_F.shape != (feature_count,)
        or extras_E.shape != (EXTRA_COUNT,)
        or out_F.shape != (normalisation.observation_count,)
    ):
        raise ValueError(
            f"{features_F.shape} features and {extras_E.shape} extras into {out_F.shape}, "
            f"bundle has {feature_count} and {EXTRA_COUNT}"
        )
    return write_row(normalisation.mean_F, normalisation.scale_F, features_F, extras_E, out_F)


@njit
def write_row(
    mean_F: NDArray[np.float64],
    scale_F: NDArray[np.float64],
    features_F: NDArray[np.float64],
    extras_E: NDArray[np.float64],
    out_F: NDArray[np.float32],
) -> bool:
    """Write one row as ``write_observation`` does, without looking at shapes."""
    count = mean_F.shape[0]
    is_finite = True
    for i in range(count + extras_E.shape[0]):
        raw = (features_F[i] - mean_F[i]) / scale_F[i] if i < count else extras_E[i - count]
        if np.isfinite(raw):
            out_F[i] = min(max(raw, -CLIP), CLIP)
        else:
            out_F[i] = np.nan
            is_finite = False
    return is_finite


@njit
def clipped_frac(row_F: NDArray[np.float32]) -> float:
    """Return the share of inputs that had to be cut to [-CLIP, CLIP]; NaN counts as none."""
    count = 0
    for i in range(row_F.shape[0]):
        count += abs(row_F[i]) >= CLIP
    return float(count / row_F.shape[0])


def warm_up() -> None:
    """Compile the kernel of this file."""
    frozen = Normalisation(mean_F=np.zeros(1), scale_F=np.ones(1))
    out_F = np.empty(frozen.observation_count, np.float32)
    write_observation(frozen, np.zeros(1), neutral_extras(), out_F)
    clipped_frac(out_F)
