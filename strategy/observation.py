"""One observation row: the market features, normalised, and what we hold.

The features' mean and scale are frozen in the bundle: they are part of the model, fitted where it
was trained. A number that is not finite stays NaN all the way, so that the agents that read it are
reported as unhealthy instead of trading on a masked value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

OBSERVATION_EXTRA_NAMES: tuple[str, ...] = ("exposure", "unrealised_return", "bars_since_change")
"""Inputs about the account, after the features: exposure in [-1, 1] of a full position, unrealised
return since entry in units of 50 bps, log(1 + bars since the position changed) / log(1 + 1000)."""

CLIP = 5.0
"""Every input lies in [-CLIP, CLIP]."""

UNREALISED_UNIT_BPS = 50.0
BARS_UNIT = 1000.0


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
        """Width of one observation row."""
        return int(self.mean_F.shape[0]) + len(OBSERVATION_EXTRA_NAMES)


def write_observation(
    normalisation: Normalisation,
    features_F: NDArray[np.float64],
    *,
    exposure: float,
    unrealised_bps: float,
    bars_since_change: int,
    out_F: NDArray[np.float32],
) -> bool:
    """Write one row into ``out_F`` (float32, features then extras); say whether all is finite.

    Raises ValueError when the number of features or the row's width is not the bundle's.
    """
    feature_count = normalisation.mean_F.shape[0]
    if features_F.shape != (feature_count,) or out_F.shape != (normalisation.observation_count,):
        raise ValueError(
            f"{features_F.shape} features into {out_F.shape}, bundle has {feature_count}"
        )
    return _write(
        normalisation.mean_F,
        normalisation.scale_F,
        features_F,
        exposure,
        unrealised_bps / UNREALISED_UNIT_BPS,
        np.log1p(max(bars_since_change, 0)) / np.log1p(BARS_UNIT),
        out_F,
    )


@njit
def _write(
    mean_F: NDArray[np.float64],
    scale_F: NDArray[np.float64],
    features_F: NDArray[np.float64],
    exposure: float,
    unrealised: float,
    bars: float,
    out_F: NDArray[np.float32],
) -> bool:
    count = mean_F.shape[0]
    is_finite = True
    for i in range(count + 3):
        if i < count:
            raw = (features_F[i] - mean_F[i]) / scale_F[i]
        elif i == count:
            raw = exposure
        elif i == count + 1:
            raw = unrealised
        else:
            raw = bars
        if np.isfinite(raw):
            out_F[i] = min(max(raw, -CLIP), CLIP)
        else:
            out_F[i] = np.nan
            is_finite = False
    return is_finite


def warm_up() -> None:
    """Compile the kernel of this file."""
    frozen = Normalisation(mean_F=np.zeros(1), scale_F=np.ones(1))
    out_F = np.empty(frozen.observation_count, np.float32)
    write_observation(
        frozen, np.zeros(1), exposure=0.0, unrealised_bps=0.0, bars_since_change=0, out_F=out_F
    )
