"""The meta-learner of one instrument: what every agent earned in, weights and their reasons out.

A bar goes like this. ``weigh`` is asked with the regime posterior, the predicted scores and which
agents are fit; it forms every candidate weighting, each under the cap and above the common floor,
and mixes them by wealth. When the bar has closed, ``learn`` is told what every agent's own shadow
account earned in it, in standard deviations of a bar, costs included; skills, learners and the
wealth of each candidate move by what was *played*. Nothing looks ahead, every step is O(1).

Candidates: equal weight; mean-variance on the Kalman skills; softmax of the predicted Sharpe
ratios, skill plus what a model adds; AdaHedge; fixed share; and each agent alone, as far as the cap
lets it be alone. The guarantee is that of ``strategy.mixture``: after any bars the log wealth of
what was played is behind no candidate's by more than the log of its prior share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.jit import borrow, njit
from strategy.chain_memory import (
    ACTIVE_MIN,
    AVERSION,
    BEYOND_CLIP,
    CAP,
    CONSTANTS,
    COUNT,
    FORGET_FRAC,
    IS_FORETOLD,
    KAPPA,
    LOG_PRIORS,
    LOG_WEALTH,
    NOISE_DECAY,
    ODDS_DECAY,
    REGIME_COUNT,
    SINGLES,
    SKILL_VARIANCES,
    STEADY_VARIANCES,
    TEMPERATURE,
    YEARLY_AVERSION,
    empty_row,
    evidence_size,
    open_memory,
)
from strategy.chain_steps import belief_shares, learn_step, weigh_step, write_weighing
from strategy.kalman import SkillPrior, SkillState, open_skills
from strategy.mixture import stake

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CORE_NAMES = ("equal", "kalman", "scores", "adahedge", "fixed_share")
CORE_PRIORS = (0.15, 0.57, 0.02, 0.12, 0.02)
"""Prior shares of wealth; what is left is spread over the agents alone.

Equal weight, and the Kalman candidate's belief that all agents are alike, bound the harm where
there is nothing to learn (S5 of ``tests.benchmarks.meta_bars``): on 110 paths kept for choosing,
the 95 % quantile of the loss was .34 with .22 on equal weight and no such belief, .31 with .10 and
the belief as likely as the others, .23 so."""

BELIEF_PRIORS = (1.0, 1.0, 2.0)
"""Prior weights of the beliefs: skills move with the regime, each agent has its own, all alike.

With 4 on the last the way to the best agent was .02 shorter where skills drift."""

STEADY_SHARPE_SD = 0.5
"""How far skills lie apart, beside the base, for who believes that no regime moves them."""


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


class Weighing:
    """Weights and why, as one row: ``row`` holds them one after the other, parts are views."""

    __slots__ = ("_count", "row")

    def __init__(self, row: Floats, count: int) -> None:
        """Take a row of N weights, N skills, J shares and J times N candidate weights."""
        self.row = row
        self._count = count

    @property
    def weight_N(self) -> Floats:  # noqa: N802 - N is the shape suffix
        """Weights (N,), sum 1."""
        return self.row[: self._count]

    @property
    def skill_N(self) -> Floats:  # noqa: N802 - N is the shape suffix
        """What each is believed to earn in the coming bar (N,), in deviations of a bar."""
        return self.row[self._count : 2 * self._count]

    @property
    def share_J(self) -> Floats:  # noqa: N802 - J is the shape suffix
        """Each candidate's share of the wealth (J,)."""
        return self.row[2 * self._count : 3 * self._count + SINGLES]

    @property
    def candidate_JN(self) -> Floats:  # noqa: N802 - JN is the shape suffix
        """What each candidate would weigh (J, N)."""
        return self.row[3 * self._count + SINGLES :].reshape((-1, self._count))


def weighing_size(count: int) -> int:
    """Return the length of a weighing's row."""
    return 2 * count + (SINGLES + count) * (1 + count)


class MetaChain:
    """Memory of one instrument between bars; see the module.

    ``row`` is all of it, as ``strategy.chain_memory`` lays it out; ``memory`` has names for parts.
    """

    def __init__(self, shape: ChainShape, prior: SkillPrior | None = None) -> None:
        """Start without evidence."""
        count, regimes = len(shape.agent_names), shape.regime_count
        self.shape = shape
        prior = prior or SkillPrior(year_bars=shape.year_bars)
        self.row = empty_row(count, regimes)
        self.row[COUNT], self.row[REGIME_COUNT] = count, regimes
        self.row[AVERSION] = YEARLY_AVERSION / float(np.sqrt(shape.year_bars))
        self.row[FORGET_FRAC] = prior.forget_frac
        self.row[NOISE_DECAY] = 0.5 ** (1.0 / prior.noise_half_life_bars)
        self.row[ODDS_DECAY] = 1.0 - 1.0 / shape.year_bars
        self.row[KAPPA] = stake(shape.year_bars)
        steady_prior = replace(prior, regime_sharpe_sd=STEADY_SHARPE_SD)
        for at, each in ((SKILL_VARIANCES, prior), (STEADY_VARIANCES, steady_prior)):
            self.row[at : at + 2] = each.base_variance, each.regime_variance
        moving, own, alike = BELIEF_PRIORS
        self.row[LOG_PRIORS : LOG_PRIORS + 2] = np.log((moving / own, alike / own))
        self._obey()
        self.memory = memory = open_memory(self.row)
        skills = open_skills(count, regimes, prior)
        steady = open_skills(count, 1, steady_prior)
        memory.cov_DD[:], memory.steady_cov_DD[:] = skills.cov_DD, steady.cov_DD
        memory.alike_cov_11[0, 0] = steady_prior.base_variance + steady_prior.regime_variance
        memory.noise_NN[:] = skills.noise_NN
        singles = (1.0 - sum(CORE_PRIORS)) / count
        self.prior_J = np.array([*CORE_PRIORS, *([singles] * count)])
        memory.log_wealth_J[:] = np.log(self.prior_J)
        memory.fixed_N[:] = memory.kalman_N[:] = 1.0 / count
        memory.fixed_2N[:] = -1.0
        memory.posterior_K[:] = 1.0 / regimes
        self._evidence = self.row[CONSTANTS : CONSTANTS + evidence_size(count, regimes)]
        self.learned_bars = 0  # since this object was made: a counter, no part of the state

    @property
    def skills(self) -> SkillState:
        """What is believed of skills that move with the regime; views."""
        memory = self.memory
        return SkillState(
            mean_D=memory.mean_D,
            cov_DD=memory.cov_DD,
            noise_NN=memory.noise_NN,
        )

    @property
    def log_wealth_J(self) -> Floats:  # noqa: N802 - J is the shape suffix
        """Log wealth of every candidate, its prior share included (J,); a view."""
        return self.memory.log_wealth_J

    @property
    def log_wealth(self) -> float:
        """Log wealth of what was played since the start."""
        return float(self.memory.numbers_5[LOG_WEALTH])

    @property
    def beyond_clip(self) -> float:
        """Deviations beyond the clip, summed over all returns: outside the guarantee."""
        return float(self.memory.numbers_5[BEYOND_CLIP])

    @property
    def belief_shares(self) -> tuple[float, float, float]:
        """How likely now: skills move with the regime, each agent has its own, all are alike."""
        return belief_shares(self.memory)

    def weigh(self, posterior_K: Floats, score_N: Floats, awake_N: Flags) -> Weighing | None:
        """Return the weights for the coming bar, or None where the cap cannot be kept.

        ``posterior_K`` sums to 1; ``score_N`` is what is predicted beyond the skills, as annual
        Sharpe ratios, finite where the agent is awake. None plays nothing: the bar is spent flat.
        """
        count = len(score_N)
        out = np.empty(weighing_size(count))
        if not _weigh(self.row, posterior_K, score_N, awake_N, out):
            return None
        return Weighing(out, count)

    def played(self, skill_N: Floats) -> Weighing:
        """Return the weighing that is in force, with the skills it was made of."""
        count = len(skill_N)
        out = np.empty(weighing_size(count))
        out[count : 2 * count] = skill_N
        write_weighing(self.memory, out)
        return Weighing(out, count)

    def learn(self, return_N: Floats) -> None:
        """Take in what every agent's own account earned in the bar that was weighed last.

        In standard deviations of a bar, after costs. A value that is not a number means that the
        agent showed nothing. What lies beyond the clip is counted and cut before it is mixed.
        """
        _learn(self.row, return_N)
        self.learned_bars += 1

    @property
    def state(self) -> Floats:
        """All that is remembered, as one row of numbers."""
        return self._evidence.copy()

    def restore(self, state: Floats) -> None:
        """Take over what ``state`` gave; ValueError for a chain of another shape."""
        if state.shape != self._evidence.shape:
            raise ValueError("state of a meta-learner of another shape")
        self._evidence[:] = state
        self.row[IS_FORETOLD] = 0.0

    def use(self, shape: ChainShape) -> None:
        """Obey another cap, floor or temperature from the next weighing on; the evidence stays.

        ValueError for other agents, regimes or bars.
        """
        kept = ("agent_names", "regime_count", "year_bars")
        if any(getattr(shape, name) != getattr(self.shape, name) for name in kept):
            raise ValueError("a meta-learner of another shape")
        self.shape = shape
        self.memory.fixed_2N[:] = -1.0
        self._obey()

    def _obey(self) -> None:
        shape = self.shape
        self.row[CAP], self.row[ACTIVE_MIN] = shape.weight_cap, shape.active_min
        self.row[TEMPERATURE] = shape.temperature


@njit
def _weigh(row: Floats, posterior_K: Floats, score_N: Floats, awake_N: Flags, out: Floats) -> bool:
    memory, count = open_memory(borrow(row)), score_N.shape[0]
    posterior_K, score_N, awake_N = borrow(posterior_K), borrow(score_N), borrow(awake_N)
    is_feasible = weigh_step(memory, posterior_K, score_N, awake_N, out[count : 2 * count])
    if is_feasible:
        write_weighing(memory, out)
    return bool(is_feasible)


@njit
def _learn(row: Floats, return_N: Floats) -> None:
    learn_step(open_memory(borrow(row)), borrow(return_N))
