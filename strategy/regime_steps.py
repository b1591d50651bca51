"""The compiled steps of the regime filter; ``strategy.regime_filter`` has the model and its source.

Every kernel works on the flat state and the tables of a filter and knows no more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import borrow, njit

Floats = NDArray[np.float64]

# columns of state_KP
MEAN, ECHO, SIGMA, VOLUME_MEAN, ADVANCE, REGIME = range(6)
STATE_COLUMNS = 6

# slots of numbers_N
(
    PHASES,
    TAU,
    DEGREES,
    VARIANCE_BASE,
    VARIANCE_SHOCK,
    VARIANCE_MEMORY,
    VOLUME_MEMORY,
    VOLUME_SD,
    RANGE_CENTRE,
    RANGE_SD,
    SCALE,
    VOLUME_CENTRE,
    SLOW_DECAY,
    CALM_BARS,
    LOG_NORM,
) = range(15)
NUMBERS = 15
"""``SCALE`` and ``VOLUME_CENTRE`` are the root mean square return and the mean log volume of the
path it was fitted on. ``RANGE_SD`` 0: that path had no ranges, they are not read. ``SLOW_DECAY`` 0:
inputs are in that path's units. Above 0: both are measured on the instrument itself with this
memory per bar, and the filter waits for ``CALM_BARS`` bars."""

# slots of state, before the variances (K, M) and the probabilities (K, P, M, O)
BARS, LAST_RETURN, LAST_VOLUME, SLOW_WEIGHT, SLOW_SQUARE, SLOW_VOLUME, SURPRISE = range(7)
HEAD = 7
"""``SURPRISE`` is minus the log likelihood of the last bar, for drift alarms."""

VOLUME_Z_MAX = 5.0
SHOCK_MAX = 9.0
MASS_MIN = 1e-300
LOG_NEGLIGIBLE = -80.0
RETURN_MAX = 60.0
"""Returns beyond so many slow standard deviations are cut: one bad print must not be infinite."""


@njit
def _scaled(numbers_N: Floats, state: Floats, bar_3: Floats, y_3: Floats) -> bool:
    """Write the bar in the fitted path's units; False while the instrument's own are unknown."""
    decay = numbers_N[SLOW_DECAY]
    y_3[:] = bar_3
    if decay > 0.0:
        is_known = state[BARS] > numbers_N[CALM_BARS] and state[SLOW_SQUARE] > 0.0
        if is_known:
            rms = np.sqrt(state[SLOW_SQUARE])
            cut = min(max(bar_3[0] / rms, -RETURN_MAX), RETURN_MAX)
            y_3[0] = cut * numbers_N[SCALE]
            y_3[1] = bar_3[1] - state[SLOW_VOLUME] + numbers_N[VOLUME_CENTRE]
            y_3[2] = bar_3[2] + np.log(numbers_N[SCALE] / rms)
        if np.isfinite(bar_3[0]) and np.isfinite(bar_3[1]):
            state[SLOW_WEIGHT] = decay * state[SLOW_WEIGHT] + 1.0
            gain = 1.0 / state[SLOW_WEIGHT]
            square = bar_3[0] * bar_3[0]
            if is_known:
                square = min(square, 100.0 * state[SLOW_SQUARE])
            state[SLOW_SQUARE] += gain * (square - state[SLOW_SQUARE])
            state[SLOW_VOLUME] += gain * (bar_3[1] - state[SLOW_VOLUME])
        return bool(is_known)
    return True


@njit
def _predict(
    phases: int,
    state_KP: Floats,
    next_KK: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    variance_KM: Floats,
    pi_KPMO: Floats,
    enter_K: Floats,
    entered_variance_K: Floats,
) -> float:
    """Advance the phases in place; write what enters each state and the variance it brings.

    Returns the mean volume level of the bar before, which entering bars remember.
    """
    states, levels, offsets = pi_KPMO.shape[0], pi_KPMO.shape[2], pi_KPMO.shape[3]
    enter_K[:] = 0.0
    entered_variance_K[:] = 0.0
    level_before = 0.0
    for k in range(states):
        advance = state_KP[k, ADVANCE]
        left, left_variance = 0.0, 0.0
        for m in range(levels):
            for o in range(offsets):
                moved = 0.0
                for p in range(phases):
                    mass = pi_KPMO[k, p, m, o]
                    level_before += mass * (state_KP[k, VOLUME_MEAN] + offset_O2[o, 0])
                    pi_KPMO[k, p, m, o] = mass * (1.0 - advance) + moved
                    moved = mass * advance
                left += moved
                left_variance += moved * variance_KM[k, m]
        for n in range(states):
            enter_K[n] += left * next_KK[k, n]
            entered_variance_K[n] += left_variance * next_KK[k, n]
    for k in range(states):
        if enter_K[k] > MASS_MIN:
            entered_variance_K[k] /= enter_K[k]
        else:
            entered_variance_K[k] = 1.0
    return float(level_before)


@njit
def _log_move(
    apart_square: float,
    width_square: float,
    tails: float,
    degrees: float,
    is_known: float,
    span: float,
    range_gain: float,
) -> float:
    """Return the log density of return and range at one volatility, less the return's constant.

    Unknown returns come with 0 for ``is_known`` and ``tails``, unknown ranges with a gain of 0.
    Plain numbers only: with arrays as arguments the calls cost as much as the logarithms.
    """
    log_width = 0.5 * np.log(width_square)
    shape = np.log(1.0 + apart_square / (width_square * (degrees - 2.0)))
    z = span - log_width
    reach = min(z * z * range_gain, VOLUME_Z_MAX * VOLUME_Z_MAX)
    return float(-is_known * log_width - tails * shape - 0.5 * reach)


@njit
def _log_volume(apart: float, gain: float) -> float:
    """Return the log density of a volume so far from its mean; unknown ones come with gain 0."""
    return float(-0.5 * min(apart * apart * gain, VOLUME_Z_MAX * VOLUME_Z_MAX))


@njit
def _next_variance(numbers_N: Floats, z: float, variance: float) -> float:
    shock = min(z * z, SHOCK_MAX) if np.isfinite(z) else variance
    kept = numbers_N[VARIANCE_MEMORY] * variance
    return float(numbers_N[VARIANCE_BASE] + numbers_N[VARIANCE_SHOCK] * shock + kept)


@njit
def _likelihoods(
    numbers_N: Floats,
    state_KP: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    state: Floats,
    y_3: Floats,
    level_before: float,
    variance_KM: Floats,
    entered_variance_K: Floats,
    move_2KM: Floats,
    volume_2KO: Floats,
) -> float:
    """Write tempered likelihoods, relative to the best, of staying (0) and entering (1)."""
    tau, memory, degrees = numbers_N[TAU], numbers_N[VOLUME_MEMORY], numbers_N[DEGREES]
    has_last = state[BARS] > 0.0 and np.isfinite(state[LAST_VOLUME])
    kept, last = (memory, state[LAST_VOLUME]) if has_last else (0.0, 0.0)
    is_known = 1.0 if np.isfinite(y_3[0]) else 0.0
    moved, tails = (y_3[0], 0.5 * (degrees + 1.0)) if is_known > 0.0 else (0.0, 0.0)
    has_range = np.isfinite(y_3[2]) and numbers_N[RANGE_SD] > 0.0
    span = y_3[2] - numbers_N[RANGE_CENTRE] if has_range else 0.0
    range_gain = 1.0 / numbers_N[RANGE_SD] ** 2 if has_range else 0.0
    has_volume = np.isfinite(y_3[1])
    volume, gain = (y_3[1], 1.0 / numbers_N[VOLUME_SD] ** 2) if has_volume else (0.0, 0.0)
    best_move, best_volume = -np.inf, -np.inf
    for k in range(state_KP.shape[0]):
        apart = moved - state_KP[k, MEAN] - state_KP[k, ECHO] * state[LAST_RETURN]
        square, entered = apart * apart, entered_variance_K[k]
        for m in range(level_M2.shape[0]):
            sigma = state_KP[k, SIGMA] * level_M2[m, 0]
            usual = sigma * sigma
            width = usual * variance_KM[k, m]
            stay = _log_move(square, width, tails, degrees, is_known, span, range_gain)
            width = usual * entered
            enter = _log_move(square, width, tails, degrees, is_known, span, range_gain)
            move_2KM[0, k, m], move_2KM[1, k, m] = stay, enter
            best_move = max(best_move, stay, enter)
        for o in range(offset_O2.shape[0]):
            level = state_KP[k, VOLUME_MEAN] + offset_O2[o, 0]
            stay = _log_volume(volume - level - kept * (last - level), gain)
            enter = _log_volume(volume - level - kept * (last - level_before), gain)
            volume_2KO[0, k, o], volume_2KO[1, k, o] = stay, enter
            best_volume = max(best_volume, stay, enter)
    _exponentiate(move_2KM.ravel(), tau, best_move)
    _exponentiate(volume_2KO.ravel(), tau, best_volume)
    return float(tau * (best_move + best_volume + is_known * numbers_N[LOG_NORM]))


@njit
def _exponentiate(logged_n: Floats, tau: float, best: float) -> None:
    """Write exp(tau (x - best)) in place; what is below e^-80 of the best is 0."""
    for n in range(logged_n.shape[0]):
        apart = tau * (logged_n[n] - best)
        logged_n[n] = np.exp(apart) if apart > LOG_NEGLIGIBLE else 0.0


@njit
def _update(
    phases: int,
    level_M2: Floats,
    offset_O2: Floats,
    enter_K: Floats,
    move_2KM: Floats,
    volume_2KO: Floats,
    pi_KPMO: Floats,
    entered_KM: Floats,
    total_KM: Floats,
) -> float:
    """Multiply by the likelihoods; write per (k, m) the mass that entered and all of it."""
    total = 0.0
    entered_KM[:] = 0.0
    total_KM[:] = 0.0
    for k in range(pi_KPMO.shape[0]):
        for m in range(level_M2.shape[0]):
            for o in range(offset_O2.shape[0]):
                stay = move_2KM[0, k, m] * volume_2KO[0, k, o]
                for p in range(phases):
                    pi_KPMO[k, p, m, o] *= stay
                    total_KM[k, m] += pi_KPMO[k, p, m, o]
                prior = enter_K[k] * level_M2[m, 1] * offset_O2[o, 1]
                entered = prior * move_2KM[1, k, m] * volume_2KO[1, k, o]
                pi_KPMO[k, 0, m, o] += entered
                entered_KM[k, m] += entered
            total_KM[k, m] += entered_KM[k, m]
            total += total_KM[k, m]
    return float(total)


@njit
def _update_variances(
    numbers_N: Floats,
    state_KP: Floats,
    level_M2: Floats,
    state: Floats,
    y_3: Floats,
    entered_variance_K: Floats,
    entered_KM: Floats,
    total_KM: Floats,
    variance_KM: Floats,
) -> None:
    """Carry h on, mixed over those who stayed and those who entered."""
    for k in range(variance_KM.shape[0]):
        mean = state_KP[k, MEAN] + state_KP[k, ECHO] * state[LAST_RETURN]
        for m in range(variance_KM.shape[1]):
            z = (y_3[0] - mean) / (state_KP[k, SIGMA] * level_M2[m, 0])
            stayed = _next_variance(numbers_N, z, variance_KM[k, m])
            entered = _next_variance(numbers_N, z, entered_variance_K[k])
            share = entered_KM[k, m] / total_KM[k, m] if total_KM[k, m] > MASS_MIN else 1.0
            variance_KM[k, m] = (1.0 - share) * stayed + share * entered


@njit
def _absorb(
    numbers_N: Floats,
    state_KP: Floats,
    next_KK: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    state: Floats,
    y_3: Floats,
    variance_KM: Floats,
    pi_KPMO: Floats,
) -> None:
    """Move every probability and variance on by one scaled bar."""
    states, phases = state_KP.shape[0], int(numbers_N[PHASES])
    levels, offsets = level_M2.shape[0], offset_O2.shape[0]
    enter_K, entered_variance_K = np.empty(states), np.empty(states)
    move_2KM, volume_2KO = np.empty((2, states, levels)), np.empty((2, states, offsets))
    entered_KM, total_KM = np.empty((states, levels)), np.empty((states, levels))
    level_before = _predict(
        phases,
        state_KP,
        next_KK,
        level_M2,
        offset_O2,
        variance_KM,
        pi_KPMO,
        enter_K,
        entered_variance_K,
    )
    best = _likelihoods(
        numbers_N,
        state_KP,
        level_M2,
        offset_O2,
        state,
        y_3,
        level_before,
        variance_KM,
        entered_variance_K,
        move_2KM,
        volume_2KO,
    )
    total = _update(
        phases,
        level_M2,
        offset_O2,
        enter_K,
        move_2KM,
        volume_2KO,
        pi_KPMO,
        entered_KM,
        total_KM,
    )
    pi_KPMO *= 1.0 / total
    _update_variances(
        numbers_N,
        state_KP,
        level_M2,
        state,
        y_3,
        entered_variance_K,
        entered_KM,
        total_KM,
        variance_KM,
    )
    state[SURPRISE] = -(np.log(total) + best)
    state[LAST_RETURN] = y_3[0] if np.isfinite(y_3[0]) else 0.0
    state[LAST_VOLUME] = y_3[1]


@njit
def filter_step(
    numbers_N: Floats,
    state_KP: Floats,
    next_KK: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    state: Floats,
    bar_3: Floats,
    posterior_R: Floats,
) -> None:
    """Take one closed bar; change ``state`` in place and write the posterior over the regimes."""
    state, state_KP, next_KK = borrow(state), borrow(state_KP), borrow(next_KK)
    states, phases = state_KP.shape[0], int(numbers_N[PHASES])
    levels, offsets = level_M2.shape[0], offset_O2.shape[0]
    middle = HEAD + states * levels
    variance_KM = state[HEAD:middle].reshape((states, levels))
    pi_KPMO = state[middle:].reshape((states, phases, levels, offsets))
    y_3 = np.empty(3)
    if _scaled(numbers_N, state, bar_3, y_3):
        _absorb(numbers_N, state_KP, next_KK, level_M2, offset_O2, state, y_3, variance_KM, pi_KPMO)
    state[BARS] += 1.0
    posterior_R[:] = 0.0
    for k in range(states):
        posterior_R[int(state_KP[k, REGIME])] += pi_KPMO[k].sum()


@njit
def filter_series(
    numbers_N: Floats,
    state_KP: Floats,
    next_KK: Floats,
    level_M2: Floats,
    offset_O2: Floats,
    state: Floats,
    bars_T3: Floats,
    posterior_TR: Floats,
) -> None:
    """Take many bars one after the other; row t of the result is known at the close of bar t."""
    for t in range(bars_T3.shape[0]):
        filter_step(
            numbers_N,
            state_KP,
            next_KK,
            level_M2,
            offset_O2,
            state,
            bars_T3[t],
            posterior_TR[t],
        )
