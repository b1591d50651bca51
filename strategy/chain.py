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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategy.chain_steps import (
    BEYOND_CLIP,
    LOG_WEALTH,
    ChainMemory,
    learn_step,
    weigh_step,
)
from strategy.kalman import SkillPrior, SkillState, open_skills
from strategy.mixture import mix_weights, stake

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CORE_NAMES = ("equal", "kalman", "scores", "adahedge", "fixed_share")
CORE_PRIORS = (0.22, 0.48, 0.03, 0.12, 0.03)
"""Prior shares of wealth; what is left is spread over the agents alone.

Equal weight bounds the harm where there is nothing to learn: with .05 on it the worst paths lost
.43 Sharpe (S5 of ``tests.benchmarks.meta_bars``), with .22 .28. What is taken from Kalman is lost
to AdaHedge where regimes explain little: .02 to .04."""

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


class Weighing(NamedTuple):  # a tuple is made in a fifth of the time of a frozen dataclass
    """Weights (N,) and why: each candidate's share (J,) and weights (J, N), each skill (N,)."""

    weight_N: Floats
    share_J: Floats
    candidate_JN: Floats
    skill_N: Floats


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
        steady = replace(self._prior, regime_sharpe_sd=STEADY_SHARPE_SD)
        self.steady: SkillState = open_skills(count, 1, steady)
        singles = (1.0 - sum(CORE_PRIORS)) / count
        self.prior_J = np.array([*CORE_PRIORS, *([singles] * count)])
        self.log_wealth_J = np.log(self.prior_J)
        self._hedge_gain_N = np.zeros(count)
        self._numbers_4 = np.zeros(4)
        self._fixed_N = np.full(count, 1.0 / count)
        self._kalman_N = np.full(count, 1.0 / count)
        self._share_J = np.zeros(len(self.prior_J))
        self._followed_J = np.zeros(len(self.prior_J))
        self._played_JN = np.zeros((len(self.prior_J), count))
        self._awake_N = np.zeros(count)
        self._fixed_2N = np.full((2, count), -1.0)  # floors and sleepers of the plays kept below
        self._posterior_K = np.full(shape.regime_count, 1.0 / shape.regime_count)
        self.memory = self._memory()
        self.learned_bars = 0  # since this object was made: a counter, no part of the state

    @property
    def log_wealth(self) -> float:
        """Log wealth of what was played since the start."""
        return float(self._numbers_4[LOG_WEALTH])

    @property
    def beyond_clip(self) -> float:
        """Deviations beyond the clip, summed over all returns: outside the guarantee."""
        return float(self._numbers_4[BEYOND_CLIP])

    def weigh(self, posterior_K: Floats, score_N: Floats, awake_N: Flags) -> Weighing | None:
        """Return the weights for the coming bar, or None where the cap cannot be kept.

        ``posterior_K`` sums to 1; ``score_N`` is what is predicted beyond the skills, as annual
        Sharpe ratios, finite where the agent is awake. None plays nothing: the bar is spent flat.
        """
        skill_N = np.empty(len(score_N))
        is_feasible = weigh_step(self.memory, posterior_K, score_N, awake_N, skill_N)
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
        learn_step(self.memory, return_N)
        self.learned_bars += 1

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

    def use(self, shape: ChainShape) -> None:
        """Obey another cap, floor or temperature from the next weighing on; the evidence stays.

        ValueError for other agents, regimes or bars.
        """
        kept = ("agent_names", "regime_count", "year_bars")
        if any(getattr(shape, name) != getattr(self.shape, name) for name in kept):
            raise ValueError("a meta-learner of another shape")
        self.shape = shape
        self._fixed_2N[:] = -1.0
        self.memory = self._memory()

    def _memory(self) -> ChainMemory:
        """Return the live arrays and constants, as the kernels take them."""
        skills, steady, shape = self.skills, self.steady, self.shape
        return ChainMemory(
            *(skills.mean_D, skills.cov_DD, skills.prior_D, skills.noise_NN),
            *(steady.mean_D, steady.cov_DD, steady.prior_D, steady.noise_NN),
            *(self._posterior_K, self._awake_N, self._hedge_gain_N, self._numbers_4),
            *(self._fixed_N, self._kalman_N, self._fixed_2N, self._played_JN),
            *(self.log_wealth_J, self._followed_J, self._share_J),
            cap=shape.weight_cap,
            active_min=shape.active_min,
            temperature=shape.temperature,
            aversion=self._aversion,
            forget_frac=self._prior.forget_frac,
            noise_decay=self._decay,
            odds_decay=1.0 - 1.0 / shape.year_bars,
            kappa=self._kappa,
        )

    def _parts(self) -> tuple[Floats, ...]:
        skills, steady = self.skills, self.steady
        return (
            *(skills.mean_D, skills.cov_DD, skills.noise_NN, self.log_wealth_J),
            *(steady.mean_D, steady.cov_DD, steady.noise_NN),
            *(self._hedge_gain_N, self._numbers_4, self._fixed_N, self._kalman_N),
            *(self._share_J, self._followed_J, self._played_JN, self._awake_N, self._posterior_K),
            self._fixed_2N,
        )
