"""The worlds of the synthetic markets: which regimes they visit, and what they are made of.

Nine hidden states stand behind the seven regimes (breakout and reversal have a direction each).
Durations, transitions, volatilities and drifts per state are those of the project's test markets,
one bar read as one second. Jumps, spread, depth, activity and trade rate per state are chosen to
look like a liquid perpetual.

``matched`` is the market that a hidden Markov filter with Student-t returns assumes. In
``misspecified`` every one of its assumptions is wrong on purpose: durations with memory, drift,
volatility and volume drawn per episode, drifts that ramp up, variance that clusters, jumps, volume
with memory, spread and depth that follow the volatility. ``regimes`` and its three selections lie
between. In ``martingale`` nothing can be earned: the efficient price is its own expectation.
``flash_crash`` falls by several percent within a minute or two, now and then, and recovers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels import market_chain as chain

STATE_REGIMES: tuple[int, ...] = (0, 1, 2, 3, 4, 4, 5, 5, 6)
"""Index into ``REGIMES`` of each hidden state: bull, bear, high and low volatility range,
breakout up and down, reversal up and down, crisis."""

BULL, BEAR, HIGH_VOL, LOW_VOL, BREAK_UP, BREAK_DOWN, REVERSE_UP, REVERSE_DOWN, CRISIS = range(9)

MEAN_BARS = (240.0, 180.0, 120.0, 200.0, 24.0, 24.0, 36.0, 36.0, 24.0)
SIGMA_BPS = tuple(
    s * 1e4 / 60.0 for s in (0.006, 0.007, 0.010, 0.003, 0.009, 0.010, 0.009, 0.010, 0.022)
)
DRIFT_SIGMAS = (1.0, -1.0, 0.0, 0.0, 1.6, -1.6, 1.3, -1.3, -1.2)
AUTOREGRESSION = (0.0, 0.0, -0.075, -0.075, 0.0, 0.0, 0.0, 0.0, 0.0)
JUMPS_PER_S = (0.002, 0.003, 0.005, 0.0005, 0.02, 0.02, 0.01, 0.01, 0.05)
ACTIVITY_FRAC = (0.75, 0.8, 0.85, 0.55, 1.0, 1.0, 0.9, 0.9, 1.0)
SPREAD_BPS = (0.03, 0.04, 0.10, 0.02, 0.12, 0.15, 0.10, 0.12, 0.6)
DEPTH_FACTOR = (1.0, 0.9, 0.7, 1.4, 0.6, 0.6, 0.7, 0.7, 0.35)
TRADES_PER_S = (8.0, 9.0, 12.0, 5.0, 20.0, 20.0, 15.0, 15.0, 30.0)
DOWN_JUMP_FRAC = (0.4, 0.6, 0.5, 0.5, 0.1, 0.9, 0.2, 0.8, 0.75)

NEXT_STATE = (
    (0.00, 0.03, 0.27, 0.40, 0.02, 0.03, 0.00, 0.20, 0.05),
    (0.03, 0.00, 0.30, 0.27, 0.03, 0.02, 0.20, 0.00, 0.15),
    (0.20, 0.20, 0.00, 0.30, 0.10, 0.10, 0.00, 0.00, 0.10),
    (0.10, 0.10, 0.20, 0.00, 0.30, 0.25, 0.00, 0.00, 0.05),
    (0.60, 0.00, 0.20, 0.05, 0.00, 0.00, 0.00, 0.15, 0.00),
    (0.00, 0.50, 0.20, 0.05, 0.00, 0.00, 0.10, 0.00, 0.15),
    (0.70, 0.00, 0.20, 0.10, 0.00, 0.00, 0.00, 0.00, 0.00),
    (0.00, 0.65, 0.20, 0.05, 0.00, 0.00, 0.00, 0.00, 0.10),
    (0.00, 0.30, 0.40, 0.00, 0.00, 0.00, 0.30, 0.00, 0.00),
)

REALISTIC_DRIFT = 0.05
TEXTBOOK_DRIFT = 0.20
"""Drift of a bar in standard deviations of a bar: barely there, and plain to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One named kind of market: which hidden states it visits, and the world they live in.

    ``drift_sigmas`` scales the drifts and ``autoregression`` the echo of the last bar's return;
    the rest is described at the slots of ``market_chain.world_W``.
    """

    states: tuple[int, ...] = tuple(range(9))
    drift_sigmas: float = REALISTIC_DRIFT
    volatility_factor: float = 1.0
    autoregression: float = 1.0
    jump_factor: float = 1.0
    has_even_jumps: bool = False
    duration_shape: float = 4.0
    episode_drift_sd: float = 0.4
    episode_volatility_sd: float = 0.25
    episode_volume_sd: float = 0.0
    ramp_bars: float = 6.0
    variance_base: float = 0.05
    variance_shock: float = 0.10
    variance_memory: float = 0.85
    tail_degrees: float = 4.0
    volume_memory: float = 0.0
    volume_sd: float = 0.0
    stress_power: float = 0.0
    is_martingale: bool = False
    crash_every_s: float = 0.0
    crash_fall_frac: float = 0.0


VARIANTS: dict[str, Variant] = {
    "regimes": Variant(),
    "trending": Variant(states=(BULL, BEAR, BREAK_UP, BREAK_DOWN), drift_sigmas=TEXTBOOK_DRIFT),
    "calm": Variant(states=(BULL, BEAR, LOW_VOL), volatility_factor=0.6),
    "volatile": Variant(
        states=(HIGH_VOL, BREAK_UP, BREAK_DOWN, REVERSE_UP, REVERSE_DOWN, CRISIS),
        volatility_factor=1.5,
    ),
    "matched": Variant(
        jump_factor=0.0,
        duration_shape=0.0,
        episode_drift_sd=0.0,
        episode_volatility_sd=0.0,
        ramp_bars=1.0,
        variance_base=1.0,
        variance_shock=0.0,
        variance_memory=0.0,
        tail_degrees=5.0,
        volume_sd=0.6,
    ),
    "misspecified": Variant(
        episode_volume_sd=0.3, volume_memory=0.5, volume_sd=0.52, stress_power=0.7
    ),
    "martingale": Variant(
        drift_sigmas=0.0,
        autoregression=0.0,
        has_even_jumps=True,
        episode_volume_sd=0.3,
        volume_memory=0.5,
        volume_sd=0.52,
        stress_power=0.7,
        is_martingale=True,
    ),
    "flash_crash": Variant(
        states=(BULL, BEAR, HIGH_VOL, LOW_VOL),
        volume_memory=0.5,
        volume_sd=0.52,
        stress_power=0.7,
        crash_every_s=900.0,
        crash_fall_frac=0.06,
    ),
}
"""The markets by name, as ``SimulatedSettings.market`` lists them."""


def state_table(variant: Variant) -> NDArray[np.float64]:
    """Return the parameters of every hidden state in the columns of ``market_chain``."""
    sigma_bps = np.array(SIGMA_BPS) * variant.volatility_factor
    return np.ascontiguousarray(
        np.column_stack(
            [
                MEAN_BARS,
                sigma_bps,
                np.array(DRIFT_SIGMAS) * variant.drift_sigmas * sigma_bps,
                np.array(AUTOREGRESSION) * variant.autoregression,
                np.array(JUMPS_PER_S) * variant.jump_factor,
                ACTIVITY_FRAC,
                SPREAD_BPS,
                DEPTH_FACTOR,
                TRADES_PER_S,
                np.full(9, 0.5) if variant.has_even_jumps else DOWN_JUMP_FRAC,
            ]
        )
    )


def transition_table(variant: Variant) -> NDArray[np.float64]:
    """Return next-state probabilities within the variant's states.

    A state whose successors are all left out goes to any other state of the variant alike. Rows
    of states outside lead into the variant, so that a chain may start anywhere.
    """
    allowed = np.zeros(len(STATE_REGIMES))
    allowed[list(variant.states)] = 1.0
    table_KK = np.array(NEXT_STATE) * allowed
    for state, row in enumerate(table_KK):
        if row.sum() == 0.0:
            row[:] = allowed
            row[state] = 0.0
    table_KK /= table_KK.sum(axis=1, keepdims=True)
    return table_KK


def world_numbers(variant: Variant) -> NDArray[np.float64]:
    """Return the numbers of a world in the slots of ``market_chain.world_W``."""
    world_W = np.zeros(chain.WORLD_NUMBERS)
    world_W[chain.DURATION_SHAPE] = variant.duration_shape
    world_W[chain.EPISODE_DRIFT_SD] = variant.episode_drift_sd
    world_W[chain.EPISODE_VOLATILITY_SD] = variant.episode_volatility_sd
    world_W[chain.EPISODE_VOLUME_SD] = variant.episode_volume_sd
    world_W[chain.RAMP_BARS] = variant.ramp_bars
    world_W[chain.VARIANCE_BASE] = variant.variance_base
    world_W[chain.VARIANCE_SHOCK] = variant.variance_shock
    world_W[chain.VARIANCE_MEMORY] = variant.variance_memory
    world_W[chain.TAIL_DEGREES] = variant.tail_degrees
    world_W[chain.VOLUME_MEMORY] = variant.volume_memory
    world_W[chain.VOLUME_SD] = variant.volume_sd
    world_W[chain.STRESS_POWER] = variant.stress_power
    world_W[chain.IS_MARTINGALE] = variant.is_martingale
    world_W[chain.CRASH_EVERY_S] = variant.crash_every_s
    world_W[chain.CRASH_FALL_FRAC] = variant.crash_fall_frac
    return world_W


def opening_chain(
    variant: Variant, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return ``chain_i`` and ``chain_f`` of a new market: an episode is about to start."""
    chain_i = np.zeros(chain.CHAIN_INTEGERS, dtype=np.int64)
    chain_i[chain.HIDDEN] = generator.choice(variant.states)
    chain_i[chain.BARS_LEFT] = 1
    if variant.crash_every_s > 0.0:
        span = generator.integers(0, chain.FIRST_CRASH_SPAN_S)
        chain_i[chain.CRASH_BARS] = chain.FIRST_CRASH_S + span
    chain_f = np.zeros(chain.CHAIN_FLOATS)
    chain_f[chain.VARIANCE] = 1.0
    return chain_i, chain_f
