"""Where the meta-learner's chain keeps what it remembers: one row of numbers, and names for it.

All of it lies in one flat float64 row: constants, evidence, scratch. A kernel that is called for a
decision then crosses the Python border with one array instead of nineteen (0.14 us each as fields
of a tuple), and what is stored with the journal is a copy of the middle part. Inside, kernels use
the names of ``ChainMemory``, views made by ``open_memory``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.kalman import Foretold

Floats = NDArray[np.float64]

EQUAL, KALMAN, SCORES, ADAHEDGE, FIXED_SHARE, SINGLES = range(6)
"""Places of the candidates; the agents alone begin at the last."""

HEDGE_GAP, LOG_WEALTH, BEYOND_CLIP, LOG_MOVING, LOG_ALIKE = range(5)
"""Slots of ``numbers_5``: AdaHedge's gap, own log wealth, deviations beyond the clip, and how much
likelier the returns were, as logs, if skills move with the regime, or if all agents are alike, than
if each has its own for ever."""

(
    COUNT,
    REGIME_COUNT,
    CAP,
    ACTIVE_MIN,
    TEMPERATURE,
    AVERSION,
    FORGET_FRAC,
    NOISE_DECAY,
    ODDS_DECAY,
    KAPPA,
    IS_FORETOLD,
    HEDGE_RATE,
    LOG_PRIORS,
    SKILL_VARIANCES,
    STEADY_VARIANCES,
) = (*range(13), 14, 16)
CONSTANTS = 24
"""Slots of ``constants``, the first part of the row; the last three hold two numbers each.

``IS_FORETOLD`` is above 0 while the scratch is what the evidence says under ``posterior_K``: from a
weighing until the bar is learned from. ``HEDGE_RATE`` belongs to it."""


YEARLY_AVERSION = 1.6
"""What the mean-variance candidate charges for variance, in annual Sharpe ratios (the record's
equations have 2). On 40 and 60 paths kept for choosing, 1.4 went .009 further toward the best agent
than 2 where labels are late, and lost .27 at the 95 % quantile instead of .23 where there is
nothing to learn; 1.6 lies between."""

LINE = 8
"""Numbers in a line of the processor's cache. The covariance and what is projected from it begin at
one: learning takes 1.3 us instead of 1.7 so, for 8 agents and 7 regimes."""


class ChainMemory(NamedTuple):
    """The parts of a chain's row, in the words of its kernels; all are views.

    The ``steady_`` ones are of a second Kalman filter, for which there is one regime only, the
    ``alike_`` ones of a third, for which there is one agent only; all see the same noise.
    From ``mean_D`` to ``fixed_2N`` it is evidence, in the order in which it is stored; what follows
    is scratch that a weighing leaves to the learning after it.
    """

    constants: Floats
    mean_D: Floats
    cov_DD: Floats
    noise_NN: Floats
    log_wealth_J: Floats
    steady_mean_D: Floats
    steady_cov_DD: Floats
    alike_mean_1: Floats
    alike_cov_11: Floats
    hedge_gain_N: Floats
    numbers_5: Floats
    fixed_N: Floats
    kalman_N: Floats
    share_J: Floats
    followed_J: Floats
    played_JN: Floats
    awake_N: Floats
    posterior_K: Floats
    fixed_2N: Floats
    foretold: Foretold
    steady_foretold: Foretold
    alike_foretold: Foretold
    hedge_N: Floats


def evidence_size(count: int, regimes: int) -> int:
    """Return how many numbers of the row are evidence."""
    size, candidates = count * regimes, SINGLES + count
    skills = size + size * size + count * count
    steadily = count + count * count + 2
    weights = count * (candidates + 6) + 3 * candidates
    return skills + steadily + weights + 5 + regimes


def row_size(count: int, regimes: int) -> int:
    """Return the length of the whole row."""
    scratch = count * (count * regimes + 1 + 4 * count + 4)
    return CONSTANTS + evidence_size(count, regimes) + LINE + scratch


def empty_row(count: int, regimes: int) -> Floats:
    """Return a row of zeros that begins with a line of the processor's cache."""
    size = row_size(count, regimes)
    spare = np.zeros(size + LINE)
    begin = -spare.ctypes.data % (8 * LINE) // 8
    return spare[begin : begin + size]


@njit
def open_memory(row: Floats) -> ChainMemory:
    """Return the names of a row's parts."""
    count, regimes = int(row[COUNT]), int(row[REGIME_COUNT])
    size, candidates = count * regimes, SINGLES + count
    cov = CONSTANTS + size
    noise = cov + size * size
    wealth = noise + count * count
    steady_mean = wealth + candidates
    steady_cov = steady_mean + count
    alike = steady_cov + count * count
    gain = alike + 2
    numbers = gain + count
    fixed = numbers + 5
    kalman = fixed + count
    share = kalman + count
    followed = share + candidates
    played = followed + candidates
    awake = played + candidates * count
    posterior = awake + count
    floors = posterior + regimes
    seen = -(-(floors + 2 * count) // LINE) * LINE
    steady_seen = seen + count * (size + count + 1)
    alike_seen = steady_seen + count * (2 * count + 1)
    hedge = alike_seen + count * (count + 2)
    return ChainMemory(
        row[:CONSTANTS],
        row[CONSTANTS:cov],
        row[cov:noise].reshape((size, size)),
        row[noise:wealth].reshape((count, count)),
        row[wealth:steady_mean],
        row[steady_mean:steady_cov],
        row[steady_cov:alike].reshape((count, count)),
        row[alike : alike + 1],
        row[alike + 1 : gain].reshape((1, 1)),
        row[gain:numbers],
        row[numbers:fixed],
        row[fixed:kalman],
        row[kalman:share],
        row[share:followed],
        row[followed:played],
        row[played:awake].reshape((candidates, count)),
        row[awake:posterior],
        row[posterior:floors],
        row[floors : floors + 2 * count].reshape((2, count)),
        _open_foretold(row[seen:steady_seen], count, size),
        _open_foretold(row[steady_seen:alike_seen], count, count),
        _open_foretold(row[alike_seen:hedge], count, 1),
        row[hedge : hedge + count],
    )


@njit
def _open_foretold(part: Floats, count: int, size: int) -> Foretold:
    mean = count * size
    cov = mean + count
    return Foretold(
        part[:mean].reshape((count, size)), part[mean:cov], part[cov:].reshape((count, count))
    )


@njit
def yearly_root(constants: Floats) -> float:
    """Return the root of the year's bars: an annual Sharpe ratio over that of one bar."""
    return float(YEARLY_AVERSION / constants[AVERSION])
