"""The compiled steps of the meta-learner's chain; ``strategy.chain`` says what they are for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.ensemble import DIVERSIFICATION_FLOOR, project_box_simplex
from strategy.experts import (
    RETURN_CLIP,
    adahedge_step,
    adahedge_weights,
    fixed_share_step,
    softmax_weights,
)
from strategy.kalman import learn_skills, mean_variance_step, predict_skills
from strategy.mixture import earn, mixture_shares

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

EQUAL, KALMAN, SCORES, ADAHEDGE, FIXED_SHARE, SINGLES = range(6)
HEDGE_GAP, LOG_WEALTH, BEYOND_CLIP, LOG_ODDS = range(4)
"""Slots of ``numbers_4``: AdaHedge's gap, own log wealth, deviations beyond the clip, and the log
odds that skills move with the regime against that they do not."""

SHARE_FRAC = 5e-3
GRADIENT_STEPS = 3
LOG_ODDS_MAX = 30.0


class ChainMemory(NamedTuple):
    """The live arrays and constants of a chain, in the words of its kernels.

    The ``steady_`` ones are those of a second Kalman filter, for which there is one regime only.
    """

    mean_D: Floats
    cov_DD: Floats
    prior_D: Floats
    noise_NN: Floats
    steady_mean_D: Floats
    steady_cov_DD: Floats
    steady_prior_D: Floats
    steady_noise_NN: Floats
    posterior_K: Floats
    awake_N: Floats
    hedge_gain_N: Floats
    numbers_4: Floats
    fixed_N: Floats
    kalman_N: Floats
    fixed_2N: Floats
    played_JN: Floats
    log_wealth_J: Floats
    followed_J: Floats
    share_J: Floats
    cap: float
    active_min: int
    temperature: float
    aversion: float
    forget_frac: float
    noise_decay: float
    odds_decay: float
    kappa: float


@njit
def weigh_step(
    memory: ChainMemory, posterior_K: Floats, score_N: Floats, awake_N: Flags, skill_N: Floats
) -> bool:
    """Keep what the weighing saw, form all candidates, share wealth among those that are awake.

    Writes the skills. An agent alone sleeps with its agent; what mixes several re-projects and
    stays awake. False where the cap cannot be kept: nobody is followed then.
    """
    memory.posterior_K[:] = posterior_K
    memory.awake_N[:] = awake_N
    memory.followed_J[:] = 0.0
    if not _candidates(memory, score_N, awake_N, skill_N):
        return False
    memory.followed_J[:SINGLES] = 1.0
    memory.followed_J[SINGLES:] = awake_N
    mixture_shares(memory.log_wealth_J, memory.followed_J > 0.0, memory.share_J)
    return True


@njit
def _beliefs(memory: ChainMemory, skill_N: Floats, risk_NN: Floats) -> None:
    """Write skills and their covariance: two beliefs mixed by the odds of what each foretold.

    One holds that skills move with the regime, the other that they do not. Where nothing moves with
    regimes the first only adds noise. The covariance of a mixture holds what its parts disagree on.
    """
    count = skill_N.shape[0]
    steady_N, steady_NN = np.empty(count), np.empty((count, count))
    predict_skills(memory.mean_D, memory.cov_DD, memory.posterior_K, skill_N, risk_NN)
    predict_skills(memory.steady_mean_D, memory.steady_cov_DD, np.ones(1), steady_N, steady_NN)
    share = 1.0 / (1.0 + np.exp(-memory.numbers_4[LOG_ODDS]))
    for i in range(count):
        for j in range(count):
            apart = (skill_N[i] - steady_N[i]) * (skill_N[j] - steady_N[j])
            mixed = share * risk_NN[i, j] + (1.0 - share) * steady_NN[i, j]
            risk_NN[i, j] = mixed + share * (1.0 - share) * apart
    for i in range(count):
        skill_N[i] = share * skill_N[i] + (1.0 - share) * steady_N[i]


@njit
def _project_awake(
    point_N: Floats, floor_N: Floats, cap: float, awake_N: Flags, out_N: Floats
) -> bool:
    """Project onto the capped simplex over the agents that are awake; the others get 0."""
    index = np.flatnonzero(awake_N)
    inner = np.empty(len(index))
    out_N[:] = 0.0
    if not project_box_simplex(point_N[index], floor_N[index], cap, inner):
        return False
    for place in range(len(index)):
        out_N[index[place]] = inner[place]
    return True


@njit
def _floors(skill_N: Floats, awake_N: Flags, active_min: int, cap: float, out_N: Floats) -> None:
    """Write the floor of the awake agents of highest skill: one set for all candidates."""
    out_N[:] = 0.0
    floor = min(DIVERSIFICATION_FLOOR, cap)
    for _ in range(min(active_min, awake_N.sum())):
        best = -1
        for i in range(len(skill_N)):
            if awake_N[i] and out_N[i] == 0.0 and (best < 0 or skill_N[i] > skill_N[best]):
                best = i
        out_N[best] = floor


@njit
def _candidates(memory: ChainMemory, score_N: Floats, awake_N: Flags, skill_N: Floats) -> bool:
    """Write every candidate's feasible weights; False where the cap cannot be kept.

    Equal weight and the agents alone depend on floors, cap and sleepers only: as long as those are
    those of ``fixed_2N``, their rows are left as they are.
    """
    count, cap, out_JN = score_N.shape[0], memory.cap, memory.played_JN
    risk_NN, floor_N, point_N = np.empty((count, count)), np.empty(count), np.empty(count)
    _beliefs(memory, skill_N, risk_NN)
    _floors(skill_N, awake_N, memory.active_min, cap, floor_N)
    if not _keeps(memory.fixed_2N, floor_N, awake_N):
        memory.fixed_2N[0, 0] = -1.0
        point_N[:] = 1.0 / max(1, awake_N.sum())
        if not _project_awake(point_N, floor_N, cap, awake_N, out_JN[EQUAL]):
            return False
        for i in range(count):
            point_N[:] = 0.0
            point_N[i] = 1.0
            _project_awake(point_N, floor_N, cap, awake_N, out_JN[SINGLES + i])
        memory.fixed_2N[0], memory.fixed_2N[1] = floor_N, awake_N
    for i in range(count):
        for j in range(count):
            risk_NN[i, j] += memory.noise_NN[i, j]
    for _ in range(GRADIENT_STEPS):
        mean_variance_step(memory.kalman_N, skill_N, risk_NN, memory.aversion, point_N)
        _project_awake(point_N, floor_N, cap, awake_N, memory.kalman_N)
    out_JN[KALMAN] = memory.kalman_N
    yearly = 2.0 / memory.aversion  # the root of the year's bars
    expected_N = np.where(awake_N, skill_N * yearly + score_N, -1e300)
    softmax_weights(expected_N, memory.temperature, point_N)
    _project_awake(point_N, floor_N, cap, awake_N, out_JN[SCORES])
    adahedge_weights(memory.hedge_gain_N, memory.numbers_4[HEDGE_GAP], point_N)
    _project_awake(point_N, floor_N, cap, awake_N, out_JN[ADAHEDGE])
    _project_awake(memory.fixed_N, floor_N, cap, awake_N, out_JN[FIXED_SHARE])
    return True


@njit
def _keeps(fixed_2N: Floats, floor_N: Floats, awake_N: Flags) -> bool:
    """Say whether floors and sleepers are those of the rows that were kept."""
    for i in range(floor_N.shape[0]):
        if fixed_2N[0, i] != floor_N[i] or (fixed_2N[1, i] > 0.0) != awake_N[i]:
            return False
    return True


@njit
def learn_step(memory: ChainMemory, return_N: Floats) -> None:
    """Clip, pay the candidates for what was played, once, then move every learner."""
    count, numbers_4 = return_N.shape[0], memory.numbers_4
    paid_N, awake_N = np.zeros(count), np.zeros(count, np.bool_)
    for i in range(count):
        if memory.awake_N[i] > 0.0 and np.isfinite(return_N[i]):
            awake_N[i] = True
            paid_N[i] = min(max(return_N[i], -RETURN_CLIP), RETURN_CLIP)
            numbers_4[BEYOND_CLIP] += abs(return_N[i] - paid_N[i])
    awake_J = memory.followed_J > 0.0
    if awake_J.any():
        numbers_4[LOG_WEALTH] += earn(
            memory.log_wealth_J, awake_J, memory.share_J, memory.played_JN, paid_N, memory.kappa
        )
    memory.followed_J[:] = 0.0
    _learn_beliefs(memory, paid_N, awake_N)
    seen_N, factor_N = np.empty(count), np.empty(count)
    adahedge_weights(memory.hedge_gain_N, numbers_4[HEDGE_GAP], seen_N)
    _credit_sleepers(seen_N, awake_N, paid_N, seen_N)
    numbers_4[HEDGE_GAP] = adahedge_step(memory.hedge_gain_N, numbers_4[HEDGE_GAP], seen_N)
    _credit_sleepers(memory.fixed_N, awake_N, paid_N, seen_N)
    for i in range(count):
        factor_N[i] = 1.0 + memory.kappa * seen_N[i]
    fixed_share_step(memory.fixed_N, factor_N, SHARE_FRAC)


@njit
def _learn_beliefs(memory: ChainMemory, paid_N: Floats, awake_N: Flags) -> None:
    """Let both Kalman filters learn, and move their odds by what each had foretold."""
    by_regime = learn_skills(
        memory.mean_D,
        memory.cov_DD,
        memory.prior_D,
        memory.noise_NN,
        memory.posterior_K,
        paid_N,
        awake_N,
        memory.forget_frac,
        memory.noise_decay,
    )
    steadily = learn_skills(
        memory.steady_mean_D,
        memory.steady_cov_DD,
        memory.steady_prior_D,
        memory.steady_noise_NN,
        np.ones(1),
        paid_N,
        awake_N,
        memory.forget_frac,
        memory.noise_decay,
    )
    odds = memory.odds_decay * memory.numbers_4[LOG_ODDS] + by_regime - steadily
    memory.numbers_4[LOG_ODDS] = min(max(odds, -LOG_ODDS_MAX), LOG_ODDS_MAX)


@njit
def _credit_sleepers(weight_N: Floats, awake_N: Flags, paid_N: Floats, out_N: Floats) -> None:
    """Write returns in which a sleeper earned what the awake did under these weights."""
    total, earned = 0.0, 0.0
    for i in range(len(paid_N)):
        if awake_N[i]:
            total += weight_N[i]
            earned += weight_N[i] * paid_N[i]
    mean = earned / total if total > 0.0 else 0.0
    for i in range(len(paid_N)):
        out_N[i] = paid_N[i] if awake_N[i] else mean
