"""One model's meta-learner on one instrument: regimes, shadow accounts, weights and their reasons.

    watch -> (the model is asked) -> weigh -> book          at every decision

``watch`` folds the bars that closed since: the regime filter moves on, every expert is paid on its
own account, the chain learns from it. ``weigh`` says who is followed until the next bar closes;
``book`` takes what everybody wants now as their positions. Experts are the model's agents, then the
controllers of ``strategy.controllers``. Pure: everything arrives as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from kernels.features import FeatureEngine
from strategy.chain import ChainShape, MetaChain, Weighing, weighing_size
from strategy.controllers import CONTROLLER_NAMES
from strategy.ensemble import weigh as weigh_equally
from strategy.learner_steps import (
    CRISIS,
    IS_NEW_BAR,
    IS_SCORED,
    RULES,
    THRESHOLD,
    Given,
    follow_step,
    watch_step,
)
from strategy.regime_filter import RegimeFilter
from strategy.regime_tracker import RegimeTracker
from strategy.residual_model import Residual, ResidualModel
from strategy.shadow_accounts import ShadowAccounts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

CONTROLLERS = len(CONTROLLER_NAMES)
NO_SCORE = -1e300
"""Prediction of an expert that nobody predicts: the softmax of predictions leaves it out."""

BARS_AT_ONCE = 1_024
"""Bars that may have closed since the last decision; of more the oldest teach nothing."""

YEAR_NS = 365.25 * 86_400e9


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerState:
    """All that one meta-learner remembers: rows of numbers, live, so write them out at once."""

    regime_filter: Floats
    tracker: Floats
    chain: Floats
    accounts: Floats
    posterior_K: Floats
    awake_N: Floats
    skill_N: Floats
    bars: int
    is_new_bar: bool
    residual: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the model's own forecast says now.

    ``gain`` is the expected return of being long over the forecast's life, in standard deviations
    of a bar; ``cost_frac`` what a change of position by one unit costs, as a share of its value.
    """

    gain: float
    cost_frac: float


class MetaLearner:
    """Memory between decisions; see the module."""

    def __init__(
        self,
        agent_names: Sequence[str],
        regime_filter: RegimeFilter,
        settings: MetaLearningSettings,
        bar_ns: int,
        crisis_level: float = 1.0,
        residual: ResidualModel | None = None,
        regimes: Sequence[str] = REGIMES,
    ) -> None:
        """Start without evidence; ValueError for bars too long or caps that leave no weights.

        ``regimes`` names what the filter's posterior is over; ValueError for another number.
        ``residual`` adds to what the Kalman filter believes of the agents; None adds nothing.
        """
        self.agent_count = len(agent_names)
        self.names = (*agent_names, *CONTROLLER_NAMES)
        if len(regimes) != regime_filter.regime_count:
            raise ValueError(f"{len(regimes)} names of {regime_filter.regime_count} regimes")
        self.filter = regime_filter
        self.tracker = RegimeTracker(
            threshold=settings.regime_stability_threshold,
            window=settings.regime_history_window,
            crisis_level=crisis_level,
            names=regimes,
        )
        self.chain = MetaChain(
            ChainShape(
                agent_names=self.names,
                regime_count=len(regimes),
                year_bars=YEAR_NS / bar_ns,
                weight_cap=settings.max_agent_weight,
                active_min=settings.min_diversification_agents,
                temperature=settings.weight_temperature,
            )
        )
        self.accounts = ShadowAccounts(len(self.names))
        self.weighing: Weighing | None = None
        self.last_earned_N = np.zeros(len(self.names))
        self._settings = settings
        self._filter_state = regime_filter.opening_state()
        self._posterior_K = np.full(len(regimes), 1.0 / len(regimes))
        self._awake_N = np.zeros(len(self.names), np.bool_)
        self._score_N = np.full(len(self.names), NO_SCORE)
        self._seen_K = self._posterior_K.copy()
        self._bars_M3 = np.empty((BARS_AT_ONCE, 3))
        self._bars = 0
        self._yearly = float(np.sqrt(self.chain.shape.year_bars))
        self.residual: Residual | None = None
        self.use_residual(residual)
        self._rules = np.zeros(RULES)
        self._obey(settings)

    def use(self, settings: MetaLearningSettings) -> None:
        """Take cap, diversification, temperature and thresholds from these settings from now on."""
        self._settings = settings
        self.chain.use(
            replace(
                self.chain.shape,
                weight_cap=settings.max_agent_weight,
                active_min=settings.min_diversification_agents,
                temperature=settings.weight_temperature,
            )
        )
        self.tracker.use(
            threshold=settings.regime_stability_threshold,
            window=settings.regime_history_window,
        )
        self._obey(settings)

    def _obey(self, settings: MetaLearningSettings) -> None:
        """Write the rules of the next weighing, which is due whatever closes."""
        self._rules[IS_NEW_BAR] = 1.0
        self._rules[IS_SCORED] = settings.performance_prediction_enabled
        self._rules[THRESHOLD : CRISIS + 1] = self.tracker.rules

    def use_residual(self, model: ResidualModel | None) -> None:
        """Begin with this network, which has seen nothing; ValueError for other experts."""
        self.residual = None
        if model is not None:
            model.check(len(self.names), len(self.tracker.names))
            year_bars = self.chain.shape.year_bars
            self.residual = Residual(model, len(self.names), self.agent_count, year_bars)

    def watch(self, features: FeatureEngine, mid: float) -> Floats:
        """Fold the bars closed since the last call; return the regime filter's posterior (K,).

        ``mid`` is the middle price now, in any unit that stays the same.
        """
        closed, written = features.read_closed_since(self._bars, self._bars_M3)
        if written == 0:
            self.accounts.mark(mid)
            return self._posterior_K
        paid_N = np.empty(len(self.names))
        if watch_step(
            self.chain.row,
            *self.accounts.arrays,
            *self.filter.arrays,
            self._filter_state,
            self._bars_M3[:written],
            mid,
            self._posterior_K,
            paid_N,
        ):
            self.last_earned_N = paid_N
            self.chain.learned_bars += 1
            if self.residual is not None:
                self.residual.remember(paid_N)
        self._bars += closed
        self._rules[IS_NEW_BAR] = 1.0
        return self._posterior_K

    def weigh(self, posterior_K: Given, score_A: Given, may_ask_N: Flags) -> Floats | None:
        """Return the experts' weights (N,), or None where too few agents may ask.

        ``posterior_K`` is what the model made of the filter's posterior, ``score_A`` what it
        predicts of its agents, in Sharpe units; ``may_ask_N`` covers the agents or all experts, who
        is left out may ask. Within a bar weights move only when somebody falls
        asleep or wakes: evidence comes with bars.
        """
        settings, count, residual = self._settings, len(self.names), self.residual
        if residual is not None:
            if self._rules[IS_NEW_BAR]:
                residual.foretell(self._posterior_K)
            score_A = score_A + residual.score_A
        out = np.empty(weighing_size(count))
        is_weighed, is_feasible, awake_agents = follow_step(
            self.chain.row,
            self._rules,
            posterior_K,
            score_A,
            may_ask_N,
            self._posterior_K,
            self._seen_K,
            self._score_N,
            self._awake_N,
            *self.tracker.arrays,
            out,
        )
        if is_weighed and residual is not None:
            residual.believe(out[count : 2 * count], self._yearly)
        if is_weighed:
            self.weighing = Weighing(out, count) if is_feasible else None
        if awake_agents < settings.min_diversification_agents:
            return None
        if settings.meta_learning_enabled:
            return None if self.weighing is None else self.weighing.weight_N
        equal_A = weigh_equally(score_A, may_ask_N[: self.agent_count], settings)
        return None if equal_A is None else np.concatenate((equal_A, np.zeros(CONTROLLERS)))

    def book(self, action_A: Ints, healthy_A: Flags, outlook: Outlook) -> Ints:
        """Take everybody's wishes as their positions; return all actions (N,) in {0, 1, 2}.

        An agent that is not healthy is flat from here on, and keeps its invalid action.
        """
        return self.accounts.book(action_A, healthy_A, outlook.gain, outlook.cost_frac)

    def skills(self, weighing: Weighing) -> tuple[float, ...]:
        """Return what every expert is believed to earn in the bar to come, as an annual Sharpe."""
        return tuple((weighing.skill_N * self._yearly).tolist())

    @property
    def posterior_K(self) -> Floats:  # noqa: N802 - K is the shape suffix
        """The regime filter's posterior after the last closed bar (K,)."""
        return self._posterior_K

    def restore_regimes(self, regime_filter: Floats, tracker: Floats) -> None:
        """Take over what filter and tracker remembered; ValueError for another shape."""
        if regime_filter.shape != self._filter_state.shape:
            raise ValueError("regime filter of another shape")
        self._filter_state[:] = regime_filter
        self.tracker.restore(tracker)

    @property
    def state(self) -> LearnerState:
        """All that is remembered between decisions."""
        return LearnerState(
            regime_filter=self._filter_state,
            tracker=self.tracker.state,
            chain=self.chain.state,
            accounts=self.accounts.state,
            posterior_K=self._posterior_K,
            awake_N=self._awake_N.astype(np.float64),
            skill_N=np.zeros(0) if self.weighing is None else self.weighing.skill_N,
            bars=self._bars,
            is_new_bar=bool(self._rules[IS_NEW_BAR]),
            residual=self._residual_row(),
        )

    def _residual_row(self) -> Floats:
        """Return all that the network remembers, its last answer included; empty without one."""
        residual = self.residual
        return np.zeros(0) if residual is None else np.concatenate((residual.row, residual.score_A))

    def restore(self, state: LearnerState) -> None:
        """Take over what another learner of the same shape remembered; ValueError otherwise."""
        if state.regime_filter.shape != self._filter_state.shape:
            raise ValueError("regime filter of another shape")
        if state.awake_N.shape != self._awake_N.shape:
            raise ValueError("meta-learner of another number of experts")
        if len(state.residual) != len(self._residual_row()):
            raise ValueError("meta-learner with another residual network")
        self._filter_state[:] = state.regime_filter
        self.tracker.restore(state.tracker)
        self.chain.restore(state.chain)
        self.accounts.restore(state.accounts)
        self._posterior_K[:] = state.posterior_K
        self._awake_N[:] = state.awake_N > 0.0
        self._bars = state.bars
        self._rules[IS_NEW_BAR] = state.is_new_bar
        if self.residual is not None:
            self.residual.row[:] = state.residual[: len(self.residual.row)]
            self.residual.score_A[:] = state.residual[len(self.residual.row) :]
        self.weighing = self.chain.played(state.skill_N) if len(state.skill_N) else None
