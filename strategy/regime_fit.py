"""Fit a regime filter to labelled paths: moments first, then what labels alone can say.

Means, echoes, volatilities, volume levels, mean lengths and transitions are moments of the bars of
each state. What moments cannot tell apart (clustering variance from a volatility per episode, the
number of duration phases, tails, the tempering tau) is chosen by coordinate descent on the mean
log loss of the true label under the filter's own posterior: on the labelled path, through the
filter that will run. Everything is a function of (paths, names of the states' regimes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.labelled_bars import RANGE, RETURN, STATE, VOLUME, draw_labelled
from kernels.market_worlds import STATE_REGIMES
from strategy.regime_filter import RegimeFilter, student_log_norm
from strategy.regime_steps import (
    ADVANCE,
    CALM_BARS,
    DEGREES,
    ECHO,
    LOG_NORM,
    MEAN,
    NUMBERS,
    PHASES,
    RANGE_CENTRE,
    RANGE_SD,
    REGIME,
    SCALE,
    SIGMA,
    SLOW_DECAY,
    STATE_COLUMNS,
    TAU,
    VARIANCE_BASE,
    VARIANCE_MEMORY,
    VARIANCE_SHOCK,
    VOLUME_CENTRE,
    VOLUME_MEAN,
    VOLUME_MEMORY,
    VOLUME_SD,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIT_BARS = 60_000
BURN_BARS = 500
TRANSITION_PRIOR = 0.01
LOG_LOSS_FLOOR = 1e-4
GAIN_MIN = 2e-4
"""An effect is taken in only for this much of log loss: simpler filters are cheaper per bar."""

CALM_BARS_LIVE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterShape:
    """What coordinate descent chooses; the defaults are a hidden Markov model's."""

    phases: int = 1
    level_sd: float = 0.0
    offset_sd: float = 0.0
    volume_memory: float = 0.0
    shock: float = 0.0
    memory: float = 0.0
    degrees: float = 5.0
    tau: float = 1.0


CHOICES: tuple[tuple[dict[str, float], ...], ...] = (
    tuple({"phases": n} for n in (1, 2, 3, 4)),
    (
        {"shock": 0.0, "memory": 0.0},
        {"shock": 0.10, "memory": 0.85},
        {"shock": 0.08, "memory": 0.9},
    ),
    tuple({"volume_memory": rho} for rho in (0.0, 0.3, 0.5, 0.7)),
    tuple({"offset_sd": sd} for sd in (0.0, 0.2, 0.3, 0.4)),
    tuple({"level_sd": sd} for sd in (0.0, 0.15, 0.25, 0.35)),
    tuple({"degrees": degrees} for degrees in (3.5, 4.0, 5.0, 8.0)),
    tuple({"tau": tau} for tau in (0.4, 0.6, 0.8, 0.9, 1.0)),
)


def runs_of(state_T: Ints) -> tuple[Ints, Ints]:
    """Return the first bar of every episode, and the states of the episodes."""
    starts = np.flatnonzero(np.r_[True, state_T[1:] != state_T[:-1]])
    return starts.astype(np.int64), state_T[starts]


def spread_points(sd: float) -> Floats:
    """Return three points and weights (3, 2) that stand for N(0, sd); one point for sd 0."""
    if sd == 0.0:
        return np.array([[0.0, 1.0]])
    points, weights = np.polynomial.hermite_e.hermegauss(3)
    return np.column_stack((sd * points, weights / weights.sum()))


def build_filter(path_T4: Floats, regime_of_K: Sequence[int], shape: FilterShape) -> RegimeFilter:
    """Fit the moments of a labelled path (T, 4) under a given shape."""
    state_T = path_T4[:, STATE].astype(np.int64)
    states = len(regime_of_K)
    starts, episode_states = runs_of(state_T)
    lengths = np.diff(np.r_[starts, len(state_T)])
    numbers_N = np.zeros(NUMBERS)
    numbers_N[[PHASES, TAU, DEGREES]] = shape.phases, shape.tau, shape.degrees
    numbers_N[LOG_NORM] = student_log_norm(shape.degrees)
    numbers_N[[VARIANCE_SHOCK, VARIANCE_MEMORY]] = shape.shock, shape.memory
    numbers_N[VARIANCE_BASE] = 1.0 - shape.shock - shape.memory
    numbers_N[SCALE] = np.sqrt(np.mean(path_T4[:, RETURN] ** 2))
    numbers_N[VOLUME_CENTRE] = path_T4[:, VOLUME].mean()
    numbers_N[VOLUME_MEMORY] = shape.volume_memory
    level_M2 = spread_points(shape.level_sd)
    level_M2[:, 0] = np.exp(level_M2[:, 0])
    spread = np.sqrt(np.sum(level_M2[:, 0] ** 2 * level_M2[:, 1]))
    state_KP = np.zeros((states, STATE_COLUMNS))
    state_KP[:, REGIME] = regime_of_K
    residual_T = np.empty(len(path_T4))
    before_T = np.r_[0.0, path_T4[:-1, RETURN]]
    for k in range(states):
        mine = state_T == k
        if mine.sum() < 30:
            raise ValueError(f"only {mine.sum()} bars of state {k}, wanted 30")
        mean, echo = _line(path_T4[mine, RETURN], before_T[mine])
        residual_T[mine] = path_T4[mine, RETURN] - mean - echo * before_T[mine]
        state_KP[k, [MEAN, ECHO]] = mean, echo
        state_KP[k, SIGMA] = np.sqrt(np.mean(residual_T[mine] ** 2)) / spread
        state_KP[k, VOLUME_MEAN] = path_T4[mine, VOLUME].mean()
        length = lengths[episode_states == k].mean()
        state_KP[k, ADVANCE] = min(1.0, shape.phases / length)
    numbers_N[VOLUME_SD] = _volume_noise(path_T4, state_T, state_KP, shape)
    numbers_N[[RANGE_CENTRE, RANGE_SD]] = _range_fit(path_T4, state_T, state_KP)
    next_KK = np.full((states, states), TRANSITION_PRIOR)
    np.add.at(next_KK, (episode_states[:-1], episode_states[1:]), 1.0)
    np.fill_diagonal(next_KK, 0.0)
    return RegimeFilter(
        numbers_N=numbers_N,
        state_KP=state_KP,
        next_KK=next_KK / next_KK.sum(axis=1, keepdims=True),
        level_M2=level_M2,
        offset_O2=spread_points(shape.offset_sd),
    )


def _line(moved_n: Floats, before_n: Floats) -> tuple[float, float]:
    """Return mean and echo by least squares; an echo within two standard errors is none."""
    centred_n = before_n - before_n.mean()
    square = float(centred_n @ centred_n)
    echo = float(centred_n @ moved_n) / square
    noise_n = moved_n - moved_n.mean() - echo * centred_n
    error2 = float(noise_n @ noise_n) / len(moved_n) / square
    echo = echo if echo * echo > 4.0 * error2 else 0.0
    return float(moved_n.mean() - echo * before_n.mean()), echo


def _volume_noise(path_T4: Floats, state_T: Ints, state_KP: Floats, shape: FilterShape) -> float:
    """Return the standard deviation of what volume memory and offsets leave unexplained."""
    level_T = state_KP[state_T, VOLUME_MEAN]
    rest_T = path_T4[:, VOLUME] - level_T
    variance = rest_T.var() - shape.offset_sd**2
    return float(np.sqrt(max(variance * (1.0 - shape.volume_memory**2), 0.01)))


def _range_fit(path_T4: Floats, state_T: Ints, state_KP: Floats) -> tuple[float, float]:
    seen = np.isfinite(path_T4[:, RANGE])
    if not seen.any():
        return 0.0, 0.0
    rest_n = path_T4[seen, RANGE] - np.log(state_KP[state_T[seen], SIGMA])
    return float(rest_n.mean()), float(rest_n.std())


def label_loss(fitted: RegimeFilter, path_T4: Floats) -> float:
    """Return the mean log loss of the true regime under the filtered posterior, in nats."""
    posterior_TR = fitted.run(path_T4)[BURN_BARS:]
    label_T = fitted.state_KP[path_T4[BURN_BARS:, STATE].astype(np.int64), REGIME].astype(np.int64)
    chosen_T = posterior_TR[np.arange(len(label_T)), label_T]
    return float(-np.log(chosen_T + LOG_LOSS_FLOOR).mean())


def fit_path(
    path_T4: Floats,
    regime_of_K: Sequence[int] = STATE_REGIMES,
    *,
    rounds: int = 2,
    opening: FilterShape | None = None,
) -> tuple[RegimeFilter, FilterShape]:
    """Fit a filter to one labelled path (T, 4); return it with the shape that was chosen."""
    shape = opening or FilterShape()
    best = label_loss(build_filter(path_T4, regime_of_K, shape), path_T4)
    for _ in range(rounds):
        began = best
        for choices in CHOICES:
            for change in choices:
                tried = replace(shape, **change)  # type: ignore[arg-type]  # phases are integers
                if tried == shape:
                    continue
                loss = label_loss(build_filter(path_T4, regime_of_K, tried), path_T4)
                if loss < best - GAIN_MIN:
                    best, shape = loss, tried
        if began - best < GAIN_MIN:
            break
    return build_filter(path_T4, regime_of_K, shape), shape


def fit_filter(worlds: Sequence[str], seed: int, bars: int = FIT_BARS) -> RegimeFilter:
    """Fit the filter of a bundle to the labelled worlds named, joined into one path.

    A pure function of its arguments. The filter measures an instrument's own slow volatility and
    volume, so that bars of any length and any market reach it in the fitted units.
    """
    generator = np.random.default_rng(seed)
    share = bars // len(worlds)
    path_T4 = np.concatenate([draw_labelled(world, share, generator) for world in worlds])
    fitted, _ = fit_path(path_T4, rounds=1)
    return for_any_instrument(fitted)


def for_any_instrument(fitted: RegimeFilter, half_life_bars: float = 20_000.0) -> RegimeFilter:
    """Return the filter with its own measure of slow volatility and volume."""
    numbers_N = fitted.numbers_N.copy()
    numbers_N[SLOW_DECAY] = 0.5 ** (1.0 / half_life_bars)
    numbers_N[CALM_BARS] = CALM_BARS_LIVE
    return replace(fitted, numbers_N=numbers_N)
