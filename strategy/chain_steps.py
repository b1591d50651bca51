"""The compiled steps of the meta-learner's chain; ``strategy.chain`` says what they are for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.chain_memory import (
    ACTIVE_MIN,
    ADAHEDGE,
    AVERSION,
    BEYOND_CLIP,
    CAP,
    EQUAL,
    FIXED_SHARE,
    FORGET_FRAC,
    HEDGE_GAP,
    HEDGE_RATE,
    IS_FORETOLD,
    KALMAN,
    KAPPA,
    LOG_ALIKE,
    LOG_MOVING,
    LOG_PRIORS,
    LOG_WEALTH,
    NOISE_DECAY,
    ODDS_DECAY,
    SCORES,
    SINGLES,
    SKILL_VARIANCES,
    STEADY_VARIANCES,
    TEMPERATURE,
    ChainMemory,
    yearly_root,
)
from strategy.ensemble import DIVERSIFICATION_FLOOR, project_awake
from strategy.experts import (
    RETURN_CLIP,
    adahedge_move,
    adahedge_weights,
    fixed_share_step,
    softmax_weights,
)
from strategy.kalman import (
    learn_noise,
    learn_skills,
    mean_variance_step,
    predict_skills,
    shrink_noise,
)
from strategy.mixture import earn, mix_weights, mixture_shares

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHARE_FRAC = 5e-3
GRADIENT_STEPS = 3
LOG_ODDS_MAX = 30.0


@njit
def weigh_step(
    memory: ChainMemory, posterior_K: Floats, score_N: Floats, awake_N: Flags, skill_N: Floats
) -> bool:
    """Keep what the weighing saw, form all candidates, share wealth among those that are awake.

    Writes the skills. An agent alone sleeps with its agent; what mixes several re-projects and
    stays awake. False where the cap cannot be kept: nobody is followed then.
    """
    memory.posterior_K[:] = posterior_K
    memory.followed_J[:] = 0.0
    for i in range(awake_N.shape[0]):
        memory.awake_N[i] = awake_N[i]
    if not _candidates(memory, score_N, awake_N, skill_N):
        return False
    memory.followed_J[:SINGLES] = 1.0
    for i in range(awake_N.shape[0]):
        memory.followed_J[SINGLES + i] = awake_N[i]
    mixture_shares(memory.log_wealth_J, memory.followed_J, memory.share_J)
    return True


@njit
def write_weighing(memory: ChainMemory, out: Floats) -> None:
    """Write weights, shares and candidates that are in force; the skills are there already."""
    candidates, count = memory.played_JN.shape
    mix_weights(memory.share_J, memory.played_JN, out[:count])
    out[2 * count : 2 * count + candidates] = memory.share_J
    for j in range(candidates):
        for i in range(count):
            out[2 * count + candidates + j * count + i] = memory.played_JN[j, i]


@njit
def _foretell(memory: ChainMemory) -> None:
    """Write what the Kalman filters and AdaHedge say of the bar to come, unless it is there."""
    constants, alike = memory.constants, memory.alike_foretold
    if constants[IS_FORETOLD] > 0.0:
        return
    steady = memory.steady_foretold
    predict_skills(memory.mean_D, memory.cov_DD, memory.posterior_K, memory.foretold)
    predict_skills(memory.steady_mean_D, memory.steady_cov_DD, np.ones(1), steady)
    alike.mean_N[:] = memory.alike_mean_1[0]
    alike.seen_ND[:] = memory.alike_cov_11[0, 0]
    alike.cov_NN[:] = memory.alike_cov_11[0, 0]
    gap = memory.numbers_5[HEDGE_GAP]
    constants[HEDGE_RATE] = adahedge_weights(memory.hedge_gain_N, gap, memory.hedge_N)
    constants[IS_FORETOLD] = 1.0


@njit
def belief_shares(memory: ChainMemory) -> tuple[float, float, float]:
    """Return how likely it is that skills move with the regime, are each one's own, are alike."""
    constants, numbers_5 = memory.constants, memory.numbers_5
    move = constants[LOG_PRIORS] + numbers_5[LOG_MOVING]
    like = constants[LOG_PRIORS + 1] + numbers_5[LOG_ALIKE]
    best = max(move, like, 0.0)
    by_move, by_own, by_like = np.exp(move - best), np.exp(-best), np.exp(like - best)
    total = by_move + by_own + by_like
    return by_move / total, by_own / total, by_like / total


@njit
def _beliefs(memory: ChainMemory, skill_N: Floats, risk_NN: Floats) -> None:
    """Write skills and their covariance: three beliefs mixed by the odds of what each foretold.

    Skills move with the regime; each agent has its own for ever; all agents are alike. Where the
    first or second are not so they only add noise: weights apart, for nothing. The covariance of a
    mixture holds what its parts disagree on.
    """
    count = skill_N.shape[0]
    memory.constants[IS_FORETOLD] = 0.0
    _foretell(memory)
    moving, steady, alike = memory.foretold, memory.steady_foretold, memory.alike_foretold
    by_move, by_own, by_like = belief_shares(memory)
    for i in range(count):
        mean = by_move * moving.mean_N[i] + by_own * steady.mean_N[i] + by_like * alike.mean_N[i]
        skill_N[i] = mean
    for i in range(count):
        move, own = moving.mean_N[i] - skill_N[i], steady.mean_N[i] - skill_N[i]
        like = alike.mean_N[i] - skill_N[i]
        for j in range(count):
            moved = moving.cov_NN[i, j] + move * (moving.mean_N[j] - skill_N[j])
            owned = steady.cov_NN[i, j] + own * (steady.mean_N[j] - skill_N[j])
            liked = alike.cov_NN[i, j] + like * (alike.mean_N[j] - skill_N[j])
            risk_NN[i, j] = by_move * moved + by_own * owned + by_like * liked


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
    """Write every candidate's feasible weights; False where the cap cannot be kept."""
    count, out_JN, constants = score_N.shape[0], memory.played_JN, memory.constants
    cap, aversion = constants[CAP], constants[AVERSION]
    risk_NN, floor_N, point_N = np.empty((count, count)), np.empty(count), np.empty(count)
    kinks_2N = np.empty(2 * count)
    _beliefs(memory, skill_N, risk_NN)
    _floors(skill_N, awake_N, int(constants[ACTIVE_MIN]), cap, floor_N)
    if not _fixed_candidates(memory.fixed_2N, out_JN, floor_N, cap, awake_N, kinks_2N):
        return False
    for i in range(count):
        for j in range(count):
            risk_NN[i, j] += memory.noise_NN[i, j]
    for _ in range(GRADIENT_STEPS):
        mean_variance_step(memory.kalman_N, skill_N, risk_NN, aversion, point_N)
        project_awake(point_N, floor_N, cap, awake_N, kinks_2N, memory.kalman_N)
    for i in range(count):
        out_JN[KALMAN, i] = memory.kalman_N[i]
    yearly = yearly_root(constants)
    for i in range(count):
        risk_NN[0, i] = skill_N[i] * yearly + score_N[i] if awake_N[i] else -1e300
    softmax_weights(risk_NN[0], constants[TEMPERATURE], point_N)
    project_awake(point_N, floor_N, cap, awake_N, kinks_2N, out_JN[SCORES])
    project_awake(memory.hedge_N, floor_N, cap, awake_N, kinks_2N, out_JN[ADAHEDGE])
    project_awake(memory.fixed_N, floor_N, cap, awake_N, kinks_2N, out_JN[FIXED_SHARE])
    return True


@njit
def _fixed_candidates(
    fixed_2N: Floats,
    out_JN: Floats,
    floor_N: Floats,
    cap: float,
    awake_N: Flags,
    kinks_2N: Floats,
) -> bool:
    """Write equal weight and the agents alone; False where the cap cannot be kept.

    They depend on floors, cap and sleepers only: as long as those are the ones of ``fixed_2N``
    their rows are left as they are.
    """
    count, is_kept = floor_N.shape[0], True
    for i in range(count):
        is_same = fixed_2N[0, i] == floor_N[i] and (fixed_2N[1, i] > 0.0) == awake_N[i]
        is_kept = is_kept and is_same
    if is_kept:
        return True
    fixed_2N[0, 0] = -1.0
    point_N = np.empty(count)
    point_N[:] = 1.0 / max(1, awake_N.sum())
    if not project_awake(point_N, floor_N, cap, awake_N, kinks_2N, out_JN[EQUAL]):
        return False
    for i in range(count):
        point_N[:] = 0.0
        point_N[i] = 1.0
        project_awake(point_N, floor_N, cap, awake_N, kinks_2N, out_JN[SINGLES + i])
    for i in range(count):
        fixed_2N[0, i], fixed_2N[1, i] = floor_N[i], awake_N[i]
    return True


@njit
def learn_step(memory: ChainMemory, return_N: Floats) -> None:
    """Clip, pay the candidates for what was played, once, then move every learner."""
    count, numbers_5, constants = return_N.shape[0], memory.numbers_5, memory.constants
    paid_N, awake_N, is_followed = np.zeros(count), np.zeros(count, np.bool_), False
    for i in range(count):
        if memory.awake_N[i] > 0.0 and np.isfinite(return_N[i]):
            awake_N[i] = True
            paid_N[i] = min(max(return_N[i], -RETURN_CLIP), RETURN_CLIP)
            numbers_5[BEYOND_CLIP] += abs(return_N[i] - paid_N[i])
    for j in range(memory.followed_J.shape[0]):
        is_followed = is_followed or memory.followed_J[j] > 0.0
    if is_followed:
        numbers_5[LOG_WEALTH] += earn(
            memory.log_wealth_J,
            memory.followed_J,
            memory.share_J,
            memory.played_JN,
            paid_N,
            constants[KAPPA],
        )
    memory.followed_J[:] = 0.0
    _learn_beliefs(memory, paid_N, awake_N)
    seen_N, factor_N = np.empty(count), np.empty(count)
    _credit_sleepers(memory.hedge_N, awake_N, paid_N, seen_N)
    numbers_5[HEDGE_GAP] += adahedge_move(
        memory.hedge_gain_N, memory.hedge_N, constants[HEDGE_RATE], seen_N
    )
    _credit_sleepers(memory.fixed_N, awake_N, paid_N, seen_N)
    for i in range(count):
        factor_N[i] = 1.0 + constants[KAPPA] * seen_N[i]
    fixed_share_step(memory.fixed_N, factor_N, SHARE_FRAC)


@njit
def _learn_beliefs(memory: ChainMemory, paid_N: Floats, awake_N: Flags) -> None:
    """Let all Kalman filters learn, and move their odds by what each had foretold."""
    constants, count = memory.constants, paid_N.shape[0]
    noisy_NN = np.empty((count, count))
    shrink_noise(memory.noise_NN, awake_N, noisy_NN)
    _foretell(memory)
    constants[IS_FORETOLD] = 0.0
    by_regime, wild = learn_skills(
        memory.mean_D,
        memory.cov_DD,
        memory.foretold,
        noisy_NN,
        paid_N,
        awake_N,
        constants[SKILL_VARIANCES : SKILL_VARIANCES + 2],
        constants[FORGET_FRAC],
    )
    steadily, _ = learn_skills(
        memory.steady_mean_D,
        memory.steady_cov_DD,
        memory.steady_foretold,
        noisy_NN,
        paid_N,
        awake_N,
        constants[STEADY_VARIANCES : STEADY_VARIANCES + 2],
        constants[FORGET_FRAC],
    )
    alike, _ = learn_skills(
        memory.alike_mean_1,
        memory.alike_cov_11,
        memory.alike_foretold,
        noisy_NN,
        paid_N,
        awake_N,
        constants[STEADY_VARIANCES : STEADY_VARIANCES + 2],
        constants[FORGET_FRAC],
    )
    learn_noise(memory.noise_NN, paid_N, awake_N, constants[NOISE_DECAY], wild)
    for slot, likelihood in ((LOG_MOVING, by_regime), (LOG_ALIKE, alike)):
        odds = constants[ODDS_DECAY] * memory.numbers_5[slot] + likelihood - steadily
        memory.numbers_5[slot] = min(max(odds, -LOG_ODDS_MAX), LOG_ODDS_MAX)


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
