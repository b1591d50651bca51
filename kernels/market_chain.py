"""The hidden part of the synthetic markets, compiled: regime chain, variance, efficient prices.

Source: a semi-Markov market with drift ramps, a GARCH-like variance that runs through the episodes
and Student-t bars, where one bar is one second here; the drift and volatility of a bar follow
hourly crypto returns (60 bps an hour is 1 bps a root second). Which of these a world has, and how
much, stands in ``world_W``; ``kernels.market_worlds`` fills it. All randomness is drawn from the
numpy Generator handed in, in a fixed order, so a seed gives one market.

``chain_i`` and ``chain_f`` hold the state, changed in place; ``table_KP`` one row of parameters per
hidden state, ``asset_IC`` one row per instrument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

STEP_NS = 25_000_000
STEPS_PER_BAR = 40
STEP_ROOT_S = 0.15811388300841897
"""Square root of the 25 ms of a step, in root seconds: volatility scales with it."""
STEP_S = 0.025

# chain_i
STEP = 0
HIDDEN = 1
BARS_LEFT = 2
BARS_SINCE = 3
CRASH_PHASE = 4
CRASH_BARS = 5
"""Bars until the next crash, or left of the phase of this one."""
CHAIN_INTEGERS = 6
# chain_f
VARIANCE = 0
BAR_SCALE = 1
BAR_FACTOR = 2
DRIFT_FACTOR = 3
VOLATILITY_FACTOR = 4
BAR_RETURN_BPS = 5
LAST_BAR_RETURN_BPS = 6
VOLUME = 7
"""Logarithm of the activity of a bar, beside what the regime means for it."""
VOLUME_OFFSET = 8
CRASH_BPS = 9
"""Drift of a second while crashing or recovering."""
CRASH_FALL = 10
"""Logarithm of the price's fall, positive."""
CHAIN_FLOATS = 11
# table_KP
MEAN_BARS = 0
SIGMA_BPS = 1
DRIFT_BPS = 2
AUTOREGRESSION = 3
JUMPS_PER_S = 4
ACTIVITY_FRAC = 5
SPREAD_BPS = 6
DEPTH_FACTOR = 7
TRADES_PER_S = 8
DOWN_JUMP_FRAC = 9
# world_W
DURATION_SHAPE = 0
"""Shape of the Gamma of an episode's length; 0 for a geometric one, which has no memory."""
EPISODE_DRIFT_SD = 1
EPISODE_VOLATILITY_SD = 2
EPISODE_VOLUME_SD = 3
"""Standard deviations of the logarithm of what an episode multiplies its state's values by."""
RAMP_BARS = 4
VARIANCE_BASE = 5
VARIANCE_SHOCK = 6
VARIANCE_MEMORY = 7
TAIL_DEGREES = 8
VOLUME_MEMORY = 9
VOLUME_SD = 10
STRESS_POWER = 11
"""How strongly the spread follows the volatility of the moment; depth falls by half of it."""
IS_MARTINGALE = 12
"""1: prices move by simple returns of mean zero, so that their expectation is the price."""
CRASH_EVERY_S = 13
CRASH_FALL_FRAC = 14
WORLD_NUMBERS = 15
# asset_IC
CENTRE_TICKS = 0
BETA = 1
LEVEL_LOTS = 2
SPREAD_TICKS = 3

COMMON_SHARE = 0.75
"""Share of variance that instruments have in common: their correlation."""
CENTRE_TICKS_MIN = 1000.0
BAR_SCALE_MAX = 5.0
STRESS_MIN, STRESS_MAX = 0.3, 6.0

CRISIS_STATE = 8
RECOVERY_STATE = 6
NO_CRASH, FALLING, RECOVERING = 0, 1, 2
CRASH_SPREAD = 20.0
CRASH_DEPTH = 0.15
CRASH_TRADES = 4.0
FIRST_CRASH_S = 60
FIRST_CRASH_SPAN_S = 180


@njit
def start_episode(
    rng: np.random.Generator,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    table_KP: NDArray[np.float64],
    next_KK: NDArray[np.float64],
    world_W: NDArray[np.float64],
) -> None:
    """Leave the hidden state for the next, and draw the episode's length and character.

    Length in bars: 2 + floor(Gamma(4, mean / 4)), or geometric with the mean.
    """
    draw = rng.random()
    row = next_KK[chain_i[HIDDEN]]
    hidden = 0
    cumulated = row[0]
    while draw >= cumulated and hidden < row.shape[0] - 1:
        hidden += 1
        cumulated += row[hidden]
    chain_i[HIDDEN] = hidden
    mean_bars, shape = table_KP[hidden, MEAN_BARS], world_W[DURATION_SHAPE]
    if shape > 0.0:
        chain_i[BARS_LEFT] = 2 + int(rng.gamma(shape, mean_bars / shape))
    else:
        chain_i[BARS_LEFT] = rng.geometric(1.0 / mean_bars)
    chain_i[BARS_SINCE] = 0
    chain_f[DRIFT_FACTOR] = np.exp(world_W[EPISODE_DRIFT_SD] * rng.standard_normal())
    chain_f[VOLATILITY_FACTOR] = np.exp(world_W[EPISODE_VOLATILITY_SD] * rng.standard_normal())
    if world_W[EPISODE_VOLUME_SD] > 0.0:
        chain_f[VOLUME_OFFSET] = world_W[EPISODE_VOLUME_SD] * rng.standard_normal()


@njit
def step_crash(
    rng: np.random.Generator,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    world_W: NDArray[np.float64],
) -> None:
    """Advance the crash clock by one bar: wait, fall within a minute or so, recover most of it.

    A fall is crisis and a recovery is reversal, whatever the chain was about to do.
    """
    chain_i[CRASH_BARS] -= 1
    if chain_i[CRASH_BARS] > 0:
        return
    if chain_i[CRASH_PHASE] == NO_CRASH:
        bars = 20 + min(int(rng.exponential(20.0)), 100)
        fall_frac = world_W[CRASH_FALL_FRAC] * (0.5 + rng.random())
        chain_f[CRASH_FALL] = -np.log(1.0 - fall_frac)
        chain_f[CRASH_BPS] = -1e4 * chain_f[CRASH_FALL] / bars
        chain_i[CRASH_PHASE] = FALLING
        chain_i[HIDDEN] = CRISIS_STATE
    elif chain_i[CRASH_PHASE] == FALLING:
        bars = 40 + min(int(rng.exponential(60.0)), 300)
        back_frac = 0.5 + 0.4 * rng.random()
        chain_f[CRASH_BPS] = 1e4 * back_frac * chain_f[CRASH_FALL] / bars
        chain_i[CRASH_PHASE] = RECOVERING
        chain_i[HIDDEN] = RECOVERY_STATE
    else:
        bars = 60 + int(rng.exponential(world_W[CRASH_EVERY_S]))
        chain_i[CRASH_PHASE] = NO_CRASH
        chain_i[BARS_LEFT] = 0
    chain_i[CRASH_BARS] = bars
    chain_i[BARS_SINCE] = 0
    if chain_i[CRASH_PHASE] != NO_CRASH:
        chain_i[BARS_LEFT] = bars + 1


@njit
def start_bar(
    rng: np.random.Generator,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    table_KP: NDArray[np.float64],
    next_KK: NDArray[np.float64],
    world_W: NDArray[np.float64],
) -> None:
    """Close the bar: variance follows its shock; draw the next bar's scale (Student t), volume."""
    shock = chain_f[VARIANCE] * (chain_f[BAR_SCALE] * chain_f[BAR_FACTOR]) ** 2
    kept = world_W[VARIANCE_MEMORY] * chain_f[VARIANCE]
    chain_f[VARIANCE] = world_W[VARIANCE_BASE] + world_W[VARIANCE_SHOCK] * min(shock, 9.0) + kept
    degrees = world_W[TAIL_DEGREES]
    chain_f[BAR_SCALE] = min(np.sqrt((degrees - 2.0) / rng.chisquare(degrees)), BAR_SCALE_MAX)
    if world_W[VOLUME_SD] > 0.0:
        drawn = world_W[VOLUME_SD] * rng.standard_normal()
        chain_f[VOLUME] = world_W[VOLUME_MEMORY] * chain_f[VOLUME] + drawn
    if world_W[CRASH_EVERY_S] > 0.0:
        step_crash(rng, chain_i, chain_f, world_W)
    chain_f[BAR_FACTOR] = 0.0
    chain_f[LAST_BAR_RETURN_BPS] = chain_f[BAR_RETURN_BPS]
    chain_f[BAR_RETURN_BPS] = 0.0
    chain_i[BARS_LEFT] -= 1
    chain_i[BARS_SINCE] += 1
    if chain_i[BARS_LEFT] <= 0:
        start_episode(rng, chain_i, chain_f, table_KP, next_KK, world_W)


@njit
def conditions(
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    table_KP: NDArray[np.float64],
    world_W: NDArray[np.float64],
    row_P: NDArray[np.float64],
) -> None:
    """Write the parameters of this bar: the state's, moved by volume, stress and a crash."""
    row_P[:] = table_KP[chain_i[HIDDEN]]
    row_P[TRADES_PER_S] *= np.exp(chain_f[VOLUME] + chain_f[VOLUME_OFFSET])
    moment = chain_f[VOLATILITY_FACTOR] * np.sqrt(chain_f[VARIANCE]) * chain_f[BAR_SCALE]
    stress = min(max(moment, STRESS_MIN), STRESS_MAX) ** world_W[STRESS_POWER]
    row_P[SPREAD_BPS] *= stress
    row_P[DEPTH_FACTOR] /= np.sqrt(stress)
    if chain_i[CRASH_PHASE] == FALLING:
        row_P[SPREAD_BPS] *= CRASH_SPREAD
        row_P[DEPTH_FACTOR] *= CRASH_DEPTH
        row_P[TRADES_PER_S] *= CRASH_TRADES


@njit
def move_centres(
    rng: np.random.Generator,
    chain_i: NDArray[np.int64],
    chain_f: NDArray[np.float64],
    hidden: NDArray[np.float64],
    world_W: NDArray[np.float64],
    asset_IC: NDArray[np.float64],
) -> float:
    """Move every efficient price by one step; return the step's volatility in bps."""
    sigma_bps = hidden[SIGMA_BPS] * chain_f[VOLATILITY_FACTOR]
    step_bps = sigma_bps * np.sqrt(chain_f[VARIANCE]) * chain_f[BAR_SCALE] * STEP_ROOT_S
    ramp = min(1.0, (chain_i[BARS_SINCE] + 1) / world_W[RAMP_BARS])
    drift_bps = hidden[DRIFT_BPS] * chain_f[DRIFT_FACTOR] * ramp
    drift_bps += hidden[AUTOREGRESSION] * chain_f[LAST_BAR_RETURN_BPS]
    if chain_i[CRASH_PHASE] != NO_CRASH:
        drift_bps = chain_f[CRASH_BPS]
    factor = rng.standard_normal()
    chain_f[BAR_FACTOR] += factor * STEP_ROOT_S
    common_bps = drift_bps * STEP_S
    if rng.random() < hidden[JUMPS_PER_S] * STEP_S:
        size_bps = sigma_bps * (3.0 + rng.exponential(2.0))
        common_bps += -size_bps if rng.random() < hidden[DOWN_JUMP_FRAC] else size_bps
    chain_f[BAR_RETURN_BPS] += common_bps + step_bps * factor * np.sqrt(COMMON_SHARE)
    for i in range(asset_IC.shape[0]):
        own = np.sqrt(1.0 - COMMON_SHARE) * rng.standard_normal()
        shared = np.sqrt(COMMON_SHARE) * factor
        move_bps = asset_IC[i, BETA] * (common_bps + step_bps * (shared + own))
        growth = np.exp(move_bps * 1e-4)
        if world_W[IS_MARTINGALE] > 0.0:
            growth = 1.0 + move_bps * 1e-4
        centre = asset_IC[i, CENTRE_TICKS] * growth
        asset_IC[i, CENTRE_TICKS] = max(centre, CENTRE_TICKS_MIN)
    return float(step_bps)
