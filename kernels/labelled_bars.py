"""Bars whose hidden state is known: what regime filters are fitted on and judged by.

``textbook`` and ``realistic`` are hidden Markov chains with Student-t returns and Gaussian log
volume. In ``misspecified`` durations have memory, drift, volatility and volume are drawn anew in
every episode, drifts ramp up, variance clusters and volume is autoregressive. One bar reads as an
hour: 0.6 % is an ordinary standard deviation of its return. States, transitions, durations and
volatilities are those of ``kernels.market_worlds``.

Columns of a path (T, 4): return (a fraction), log volume ratio, log of the range's ratio to its
usual size (NaN: this world has no range), hidden state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from kernels.market_worlds import (
    DRIFT_SIGMAS,
    LOW_VOL,
    MEAN_BARS,
    NEXT_STATE,
    REALISTIC_DRIFT,
    SIGMA_BPS,
    STATE_REGIMES,
    TEXTBOOK_DRIFT,
)

Floats = NDArray[np.float64]

RETURN, VOLUME, RANGE, STATE = range(4)

HOUR_ROOT_S = 60.0
"""Square root of an hour in root seconds: what a second's volatility becomes in an hour."""

VOLUME_MEAN = (0.0, 0.1, 0.2, -0.4, 0.7, 0.7, 0.5, 0.5, 1.0)
"""Mean of the log volume ratio in every hidden state."""

SIGMA_MEAN, DRIFT, ECHO, VOLUME_LEVEL, DURATION = range(5)
"""Columns of ``state_K5``."""

SHAPE, DRIFT_SD, VOLATILITY_SD, VOLUME_OFFSET_SD, RAMP = range(5)
BASE, SHOCK, MEMORY, DEGREES, KEPT, NOISE = range(5, 11)
"""Slots of ``world_11``, as ``LabelledWorld`` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledWorld:
    """One kind of labelled market; ``duration_shape`` 0 is a geometric length, without memory."""

    drift_sigmas: float = REALISTIC_DRIFT
    echo: float = -0.075
    duration_shape: float = 0.0
    episode_drift_sd: float = 0.0
    episode_volatility_sd: float = 0.0
    episode_volume_sd: float = 0.0
    ramp_bars: float = 1.0
    variance_base: float = 1.0
    variance_shock: float = 0.0
    variance_memory: float = 0.0
    tail_degrees: float = 5.0
    volume_memory: float = 0.0
    volume_sd: float = 0.6


WORLDS: dict[str, LabelledWorld] = {
    "textbook": LabelledWorld(drift_sigmas=TEXTBOOK_DRIFT, echo=-0.15),
    "realistic": LabelledWorld(),
    "misspecified": LabelledWorld(
        duration_shape=4.0,
        episode_drift_sd=0.4,
        episode_volatility_sd=0.25,
        episode_volume_sd=0.3,
        ramp_bars=6.0,
        variance_base=0.05,
        variance_shock=0.10,
        variance_memory=0.85,
        tail_degrees=4.0,
        volume_memory=0.5,
        volume_sd=0.52,
    ),
}


def state_numbers(world: LabelledWorld) -> Floats:
    """Return sigma, drift, echo of the last return, volume level and mean length per state."""
    sigma_K = np.array(SIGMA_BPS) * 1e-4 * HOUR_ROOT_S
    echo_K = np.zeros(len(STATE_REGIMES))
    echo_K[2:4] = world.echo
    drift_K = np.array(DRIFT_SIGMAS) * world.drift_sigmas * sigma_K
    return np.column_stack((sigma_K, drift_K, echo_K, VOLUME_MEAN, MEAN_BARS))


def world_slots(world: LabelledWorld) -> Floats:
    """Return the numbers of a world in the order of the slots above."""
    return np.array(
        [
            world.duration_shape,
            world.episode_drift_sd,
            world.episode_volatility_sd,
            world.episode_volume_sd,
            world.ramp_bars,
            world.variance_base,
            world.variance_shock,
            world.variance_memory,
            world.tail_degrees,
            world.volume_memory,
            world.volume_sd,
        ]
    )


def draw_labelled(world: str | LabelledWorld, bars: int, generator: np.random.Generator) -> Floats:
    """Draw a path (T, 4) from the low-volatility state on; KeyError for an unknown name."""
    chosen = WORLDS[world] if isinstance(world, str) else world
    path_T4 = np.empty((bars, 4))
    next_KK = np.array(NEXT_STATE)
    _draw(generator, state_numbers(chosen), next_KK, world_slots(chosen), path_T4)
    return path_T4


@njit
def _length(rng: np.random.Generator, mean_bars: float, shape: float) -> int:
    if shape > 0.0:
        return 2 + int(rng.gamma(shape, mean_bars / shape))
    return int(rng.geometric(1.0 / mean_bars))


@njit
def _draw(
    rng: np.random.Generator,
    state_K5: Floats,
    next_KK: Floats,
    world_11: Floats,
    path_T4: Floats,
) -> None:
    state, left, age = LOW_VOL, 0, 0
    drift_factor, volatility_factor, offset = 1.0, 1.0, 0.0
    variance, volume, before = 1.0, 0.0, 0.0
    degrees = world_11[DEGREES]
    for t in range(path_T4.shape[0]):
        if left == 0:
            if t > 0:
                draw, reached = rng.random(), 0.0
                row, last = next_KK[state], 0
                for candidate in range(row.shape[0]):
                    if row[candidate] > 0.0:
                        last = candidate
                        reached += row[candidate]
                        if draw < reached:
                            break
                state = last
            left, age = _length(rng, state_K5[state, DURATION], world_11[SHAPE]), 0
            drift_factor = np.exp(world_11[DRIFT_SD] * rng.standard_normal())
            volatility_factor = np.exp(world_11[VOLATILITY_SD] * rng.standard_normal())
            offset = world_11[VOLUME_OFFSET_SD] * rng.standard_normal()
        left -= 1
        unit = rng.standard_normal() * np.sqrt((degrees - 2.0) / rng.chisquare(degrees))
        shock = np.sqrt(variance) * unit
        ramp = min(1.0, (age + 1) / world_11[RAMP])
        age += 1
        drift = state_K5[state, DRIFT] * drift_factor * ramp
        moved = state_K5[state, SIGMA_MEAN] * volatility_factor * shock
        path_T4[t, RETURN] = drift + state_K5[state, ECHO] * before + moved
        before = path_T4[t, RETURN]
        kept = world_11[MEMORY] * variance
        variance = world_11[BASE] + world_11[SHOCK] * min(shock * shock, 9.0) + kept
        volume = world_11[KEPT] * volume + world_11[NOISE] * rng.standard_normal()
        path_T4[t, VOLUME] = state_K5[state, VOLUME_LEVEL] + offset + volume
        path_T4[t, RANGE] = np.nan
        path_T4[t, STATE] = state
