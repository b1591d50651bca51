"""The meta-learner of one instrument: what every agent earned in, weights and their reasons out.

A bar goes like this. ``weigh`` is asked with the regime posterior, the predicted scores and which
agents are fit; it forms every candidate weighting, each under the cap and above the common floor,
and mixes them by wealth. When the bar has closed, ``learn`` is told what every agent's own shadow
account earned in it, in standard deviations of a bar, costs included; skills, learners and the
wealth of each candidate move by what was *played*. Nothing looks ahead, every step is O(1).

Candidates: equal weight; mean-variance on the Kalman skills; softmax of the predicted scores;
AdaHedge; fixed share; and each agent alone, as far as the cap lets it be alone. The guarantee is
that of ``strategy.mixture``: after any bars the log wealth of what was played is behind no
candidate's by more than the log of its prior share.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from strategy.kalman import (
    SkillPrior,
    SkillState,
    learn_skills,
    mean_variance_step,
    open_skills,
    predict_skills,
)
from strategy.mixture import earn, mix_weights, mixture_shares, stake

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CORE_NAMES = ("equal", "kalman", "scores", "adahedge", "fixed_share")
CORE_PRIORS = (0.05, 0.70, 0.02, 0.13, 0.02)
"""Prior shares of wealth; what is left is spread over the agents alone. Most of it goes to what did
best where the truth is known (``tests.benchmarks.meta_bars``): with .20 on equal weight and .45 on
Kalman the mixture fell behind AdaHedge by .02 to .04 Sharpe where regimes explain little."""

EQUAL, KALMAN, SCORES, ADAHEDGE, FIXED_SHARE, SINGLES = range(6)
SHARE_FRAC = 5e-3
GRADIENT_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainShape:
    """What a chain is built for; ValueError where no weighting could obey it."""

    agent_names: tuple[str, ...]
    regime_count: int
    year_bars: float
    weight_cap: float
    active_min: int
    temperature: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a cap or a floor that leaves nothing."""
        count = len(self.agent_names)
        if not 1.0 / count - 1e-12 <= self.weight_cap <= 1.0:
            raise ValueError(f"cap {self.weight_cap} leaves no weights for {count} agents")
        if not 0 <= self.active_min <= count:
            raise ValueError(f"{self.active_min} active of {count} agents")
        if not self.temperature > 0.0:
            raise ValueError("temperature must be positive")
        stake(self.year_bars)

    @property
    def candidate_names(self) -> tuple[str, ...]:
        """Names of the candidates in their order."""
        return (*CORE_NAMES, *self.agent_names)


class Weighing(NamedTuple):  # a tuple is made in a fifth of the time of a frozen dataclass
    """Weights (N,) and why: each candidate's share (J,) and weights (J, N), each skill (N,)."""

    weight_N: Floats
    share_J: Floats
    candidate_JN: Floats
    skill_N: Floats


class ChainMemory(NamedTuple):
    """The live arrays and constants of a chain, in the words of its kernels."""

    mean_D: Floats
    cov_DD: Floats
    prior_D: Floats
    noise_NN: Floats
    posterior_K: Floats
    awake_N: Floats
    hedge_gain_N: Floats
    numbers_3: Floats
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
    kappa: float


class MetaChain:
    """Memory of one instrument between bars; see the module."""

    def __init__(self, shape: ChainShape, prior: SkillPrior | None = None) -> None:
        """Start without evidence."""
        count = len(shape.agent_names)
        self.shape = shape
        self._prior = prior or SkillPrior(year_bars=shape.year_bars)
        self._kappa = stake(shape.year_bars)
        self._decay = 0.5 ** (1.0 / self._prior.noise_half_life_bars)
        self._aversion = 2.0 / float(np.sqrt(shape.year_bars))
        self.skills: SkillState = open_skills(count, shape.regime_count, self._prior)
        singles = (1.0 - sum(CORE_PRIORS)) / count
        self.prior_J = np.array([*CORE_PRIORS, *([singles] * count)])
        self.log_wealth_J = np.log(self.prior_J)
        self._hedge_gain_N = np.zeros(count)
        self._numbers_3 = np.zeros(3)  # AdaHedge's gap, own log wealth, returns beyond the clip
        self._fixed_N = np.full(count, 1.0 / count)
        self._kalman_N = np.full(count, 1.0 / count)
        self._share_J = np.zeros(len(self.prior_J))
        self._followed_J = np.zeros(len(self.prior_J))
        self._played_JN = np.zeros((len(self.prior_J), count))
        self._awake_N = np.zeros(count)
        self._fixed_2N = np.full((2, count), -1.0)  # floors and sleepers of the plays kept below
        self._posterior_K = np.full(shape.regime_count, 1.0 / shape.regime_count)

    @property
    def log_wealth(self) -> float:
        """Log wealth of what was played since the start."""
        return float(self._numbers_3[1])

    @property
    def beyond_clip(self) -> float:
        """Deviations beyond the clip, summed over all returns: outside the guarantee."""
        return float(self._numbers_3[2])

    def weigh(self, posterior_K: Floats, score_N: Floats, awake_N: Flags) -> Weighing | None:
        """Return the weights for the coming bar, or None where the cap cannot be kept.

        ``posterior_K`` sums to 1; ``score_N`` are predictions in Sharpe units, finite where the
        agent is awake. None plays nothing: the bar is spent flat.
        """
        skill_N = np.empty(len(score_N))
        is_feasible = weigh_step(
            self.skills.mean_D,
            self.skills.cov_DD,
            self.skills.noise_NN,
            posterior_K,
            self._posterior_K,
            score_N,
            awake_N,
            self._awake_N,
            self._hedge_gain_N,
            self._numbers_3,
            self._fixed_N,
            self._kalman_N,
            self._fixed_2N,
            self.shape.weight_cap,
            self.shape.active_min,
            self.shape.temperature,
            self._aversion,
            skill_N,
            self._played_JN,
            self.log_wealth_J,
            self._followed_J,
            self._share_J,
        )
        return self.played(skill_N) if is_feasible else None

    def played(self, skill_N: Floats) -> Weighing:
        """Return the weighing that is in force, with the skills it was made of."""
        weight_N = np.empty(len(skill_N))
        mix_weights(self._share_J, self._played_JN, weight_N)
        return Weighing(
            weight_N=weight_N,
            share_J=self._share_J.copy(),
            candidate_JN=self._played_JN.copy(),
            skill_N=skill_N.copy(),
        )

    def learn(self, return_N: Floats) -> None:
        """Take in what every agent's own account earned in the bar that was weighed last.

        In standard deviations of a bar, after costs. A value that is not a number means that the
        agent showed nothing. What lies beyond the clip is counted and cut before it is mixed.
        """
        learn_step(
            self.skills.mean_D,
            self.skills.cov_DD,
            self.skills.prior_D,
            self.skills.noise_NN,
            self._posterior_K,
            return_N,
            self._awake_N,
            self._prior.forget_frac,
            self._decay,
            self._kappa,
            self.log_wealth_J,
            self._followed_J,
            self._share_J,
            self._played_JN,
            self._hedge_gain_N,
            self._numbers_3,
            self._fixed_N,
        )

    @property
    def memory(self) -> ChainMemory:
        """Live arrays and constants, for a kernel that walks many bars without coming back."""
        skills, shape = self.skills, self.shape
        return ChainMemory(
            *(skills.mean_D, skills.cov_DD, skills.prior_D, skills.noise_NN),
            *(self._posterior_K, self._awake_N, self._hedge_gain_N, self._numbers_3),
            *(self._fixed_N, self._kalman_N, self._fixed_2N, self._played_JN),
            *(self.log_wealth_J, self._followed_J, self._share_J),
            cap=shape.weight_cap,
            active_min=shape.active_min,
            temperature=shape.temperature,
            aversion=self._aversion,
            forget_frac=self._prior.forget_frac,
            noise_decay=self._decay,
            kappa=self._kappa,
        )

    @property
    def state(self) -> Floats:
        """All that is remembered, as one row of numbers."""
        return np.concatenate([part.ravel() for part in self._parts()])

    def restore(self, state: Floats) -> None:
        """Take over what ``state`` gave; ValueError for a chain of another shape."""
        parts = self._parts()
        if state.shape != (sum(part.size for part in parts),):
            raise ValueError("state of a meta-learner of another shape")
        start = 0
        for part in parts:
            part.ravel()[:] = state[start : start + part.size]
            start += part.size
        self._fixed_2N[:] = -1.0

    def use(self, shape: ChainShape) -> None:
        """Obey another cap, floor or temperature from the next weighing on; the evidence stays.

        ValueError for other agents, regimes or bars.
        """
        kept = ("agent_names", "regime_count", "year_bars")
        if any(getattr(shape, name) != getattr(self.shape, name) for name in kept):
            raise ValueError("a meta-learner of another shape")
        self.shape = shape
        self._fixed_2N[:] = -1.0

    def _parts(self) -> tuple[Floats, ...]:
        skills = self.skills
        return (
            *(skills.mean_D, skills.cov_DD, skills.noise_NN, self.log_wealth_J),
            *(self._hedge_gain_N, self._numbers_3, self._fixed_N, self._kalman_N),
            *(self._share_J, self._followed_J, self._played_JN, self._awake_N, self._posterior_K),
        )


@njit
def weigh_step(
    mean_D: Floats,
    cov_DD: Floats,
    noise_NN: Floats,
    posterior_K: Floats,
    kept_posterior_K: Floats,
    score_N: Floats,
    awake_N: Flags,
    kept_awake_N: Floats,
    hedge_gain_N: Floats,
    numbers_3: Floats,
    fixed_N: Floats,
    kalman_N: Floats,
    fixed_2N: Floats,
    cap: float,
    active_min: int,
    temperature: float,
    aversion: float,
    skill_N: Floats,
    played_JN: Floats,
    log_wealth_J: Floats,
    followed_J: Floats,
    share_J: Floats,
) -> bool:
    """Keep what the weighing saw, form all candidates, share wealth among those that are awake.

    An agent alone sleeps with its agent; what mixes several re-projects and stays awake.
    """
    kept_posterior_K[:] = posterior_K
    kept_awake_N[:] = awake_N
    followed_J[:] = 0.0
    if not _candidates(
        mean_D,
        cov_DD,
        noise_NN,
        posterior_K,
        score_N,
        awake_N,
        hedge_gain_N,
        numbers_3[0],
        fixed_N,
        kalman_N,
        fixed_2N,
        cap,
        active_min,
        temperature,
        aversion,
        skill_N,
        played_JN,
    ):
        return False
    followed_J[:SINGLES] = 1.0
    followed_J[SINGLES:] = awake_N
    mixture_shares(log_wealth_J, followed_J > 0.0, share_J)
    return True


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
def _candidates(
    mean_D: Floats,
    cov_DD: Floats,
    noise_NN: Floats,
    posterior_K: Floats,
    score_N: Floats,
    awake_N: Flags,
    hedge_gain_N: Floats,
    hedge_gap: float,
    fixed_N: Floats,
    kalman_N: Floats,
    fixed_2N: Floats,
    cap: float,
    active_min: int,
    temperature: float,
    aversion: float,
    skill_N: Floats,
    out_JN: Floats,
) -> bool:
    """Write every candidate's feasible weights; False where the cap cannot be kept.

    Equal weight and the agents alone depend on floors, cap and sleepers only: as long as those are
    those of ``fixed_2N``, their rows are left as they are.
    """
    count = score_N.shape[0]
    risk_NN, floor_N, point_N = np.empty((count, count)), np.empty(count), np.empty(count)
    predict_skills(mean_D, cov_DD, posterior_K, skill_N, risk_NN)
    _floors(skill_N, awake_N, active_min, cap, floor_N)
    if not _keeps(fixed_2N, floor_N, awake_N):
        fixed_2N[0, 0] = -1.0
        point_N[:] = 1.0 / max(1, awake_N.sum())
        if not _project_awake(point_N, floor_N, cap, awake_N, out_JN[EQUAL]):
            return False
        for i in range(count):
            point_N[:] = 0.0
            point_N[i] = 1.0
            _project_awake(point_N, floor_N, cap, awake_N, out_JN[SINGLES + i])
        fixed_2N[0], fixed_2N[1] = floor_N, awake_N
    for i in range(count):
        for j in range(count):
            risk_NN[i, j] += noise_NN[i, j]
    for _ in range(GRADIENT_STEPS):
        mean_variance_step(kalman_N, skill_N, risk_NN, aversion, point_N)
        _project_awake(point_N, floor_N, cap, awake_N, kalman_N)
    out_JN[KALMAN] = kalman_N
    softmax_weights(np.where(awake_N, score_N, -1e300), temperature, point_N)
    _project_awake(point_N, floor_N, cap, awake_N, out_JN[SCORES])
    adahedge_weights(hedge_gain_N, hedge_gap, point_N)
    _project_awake(point_N, floor_N, cap, awake_N, out_JN[ADAHEDGE])
    _project_awake(fixed_N, floor_N, cap, awake_N, out_JN[FIXED_SHARE])
    return True


@njit
def _keeps(fixed_2N: Floats, floor_N: Floats, awake_N: Flags) -> bool:
    """Say whether floors and sleepers are those of the rows that were kept."""
    for i in range(floor_N.shape[0]):
        if fixed_2N[0, i] != floor_N[i] or (fixed_2N[1, i] > 0.0) != awake_N[i]:
            return False
    return True


@njit
def learn_step(
    mean_D: Floats,
    cov_DD: Floats,
    prior_D: Floats,
    noise_NN: Floats,
    posterior_K: Floats,
    return_N: Floats,
    kept_awake_N: Floats,
    forget_frac: float,
    noise_decay: float,
    kappa: float,
    log_wealth_J: Floats,
    followed_J: Floats,
    share_J: Floats,
    played_JN: Floats,
    hedge_gain_N: Floats,
    numbers_3: Floats,
    fixed_N: Floats,
) -> None:
    """Clip, pay the candidates for what was played, once, then move every learner."""
    count = return_N.shape[0]
    paid_N, awake_N = np.zeros(count), np.zeros(count, np.bool_)
    for i in range(count):
        if kept_awake_N[i] > 0.0 and np.isfinite(return_N[i]):
            awake_N[i] = True
            paid_N[i] = min(max(return_N[i], -RETURN_CLIP), RETURN_CLIP)
            numbers_3[2] += abs(return_N[i] - paid_N[i])
    awake_J = followed_J > 0.0
    if awake_J.any():
        numbers_3[1] += earn(log_wealth_J, awake_J, share_J, played_JN, paid_N, kappa)
    followed_J[:] = 0.0
    learn_skills(
        mean_D,
        cov_DD,
        prior_D,
        noise_NN,
        posterior_K,
        paid_N,
        awake_N,
        forget_frac,
        noise_decay,
    )
    seen_N, factor_N = np.empty(count), np.empty(count)
    adahedge_weights(hedge_gain_N, numbers_3[0], seen_N)
    _credit_sleepers(seen_N, awake_N, paid_N, seen_N)
    numbers_3[0] = adahedge_step(hedge_gain_N, numbers_3[0], seen_N)
    _credit_sleepers(fixed_N, awake_N, paid_N, seen_N)
    for i in range(count):
        factor_N[i] = 1.0 + kappa * seen_N[i]
    fixed_share_step(fixed_N, factor_N, SHARE_FRAC)


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
