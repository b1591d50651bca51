"""The models that are asked: the one that decides, a candidate in shadow, and their memories. Pure.

A model sees one row a market: features, its regime filter's posterior, its own forecast. Beside
every model stands its meta-learner (``strategy.meta_learner``), which learns from what the model's
agents would have earned, also in shadow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.effects import ModelMoved
from daemon.instrument_state import InstrumentState
from daemon.meta_memory import MetaMemory
from daemon.rollout import BundleName, Find, Model, Rollout, RolloutState, Seat
from kernels.events import REGIMES
from kernels.fast_values import positional_maker
from kernels.jit import njit
from strategy.learning.forecasts import step_into_row
from strategy.meta_learner import LearnerState, MetaLearner, Outlook
from strategy.observation import CLIP, FLAT, FORECAST_NAMES, neutral_extras, write_observation
from strategy.runtime import Judgement

Notes = list[tuple[str, int, str, Mapping[str, Any]]]
Markets = Sequence[InstrumentState]


class ModelPanel:
    """Asks models about the instruments that are ready, and remembers for them.

    ``obs_BF`` holds the rows of the last question to the deciding model, in the order of
    ``ready``; ``held_IA`` every agent's own position.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        instrument_count: int,
        bundle: BundleName,
        find: Find,
    ) -> None:
        """Prepare the observation matrix for every instrument; ``find`` gives later models."""
        self.rollout = Rollout(Seat(bundle=bundle, model=model), settings.model, find)
        self.agent_count = len(model.agent_names)
        self.feature_count = len(model.feature_names)
        self.obs_BF = np.zeros(
            (instrument_count, model.normalisation.observation_count), np.float32
        )
        self.held_IA = np.full((instrument_count, self.agent_count), FLAT, np.int64)
        self._shadow_BF = np.zeros_like(self.obs_BF)
        self._extras_E = neutral_extras()
        self._slow_I: dict[str, list[float]] = {}
        self._memory = MetaMemory(settings, instrument_count)

    def use(self, settings: Settings) -> None:
        """Weigh by these settings from now on."""
        self._memory.use(settings)

    def learner(self, index: int) -> MetaLearner:
        """Return the deciding model's meta-learner on one instrument."""
        return self._memory.learner(self.rollout.active, index)

    def judge(
        self, ready: Sequence[int], markets: Markets, equity_e8: int, notes: Notes
    ) -> tuple[Judgement, tuple[ModelMoved, ...]]:
        """Ask the model that decides; where it fails and a good one waits, that one's answer."""
        rollout, rows = self.rollout, len(ready)
        obs_BF = self.obs_BF[:rows]
        judgement = self._ask_model(rollout.active, ready, markets, obs_BF, notes)
        moves: tuple[ModelMoved, ...] = ()
        fault = rollout.fault_of(judgement, equity_e8)
        if fault is not None:
            moves = rollout.roll_back(fault)
            judgement = self._ask_model(rollout.active, ready, markets, obs_BF, notes)
        if rollout.candidate is not None:
            shadow = self._ask_model(rollout.candidate, ready, markets, self._shadow_BF[:rows], [])
            rollout.compare(judgement, shadow)
            self._learn_in_shadow(rollout.candidate, ready, markets, shadow)
        self._hold(ready, judgement)
        return judgement, moves

    def weigh(
        self,
        row: int,
        index: int,
        market: InstrumentState,
        judgement: Judgement,
        armed_N: tuple[bool, ...],
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.int64]]:
        """Ask the meta-learner who is followed, then book what everybody wants from here on."""
        learner, healthy_A = self.learner(index), judgement.healthy_BA[row]
        may_ask_N = healthy_A
        if not all(armed_N):
            may_ask_N = np.array(armed_N)
            may_ask_N[: self.agent_count] &= healthy_A
        regime_K, score_A = judgement.regime_BK[row], judgement.predicted_BA[row]
        weights_N = learner.weigh(regime_K, score_A, may_ask_N)
        outlook = outlook_of(self.rollout.active.model, self.obs_BF[row], market)
        return weights_N, learner.book(judgement.action_BA[row], healthy_A, outlook)

    def advance(self, moves: tuple[ModelMoved, ...], equity_e8: int) -> tuple[ModelMoved, ...]:
        """Let the bundles take the step that is due; forget what belongs to none of them."""
        moves = (*moves, *self.rollout.advance(equity_e8))
        self._memory.keep(self._seats)
        return moves

    @property
    def learner_states(self) -> dict[str, list[LearnerState]]:
        """What the meta-learners remember, by the manifest hash of their bundle; live rows."""
        return self._memory.state

    @property
    def slow_I(self) -> dict[str, list[float]]:  # noqa: N802 - I is the shape suffix
        """Every forecast's exponential mean by instrument, by the manifest hash of its bundle."""
        return self._slow_I

    def restore(
        self,
        rollout: RolloutState,
        held_IA: NDArray[np.int64],
        slow_I: Mapping[str, Sequence[float]],
        learners: dict[str, list[LearnerState]],
    ) -> None:
        """Take over what another panel remembered; ValueError for other agents or instruments."""
        if held_IA.shape != self.held_IA.shape:
            raise ValueError("decider state of another number of agents or instruments")
        self.held_IA = held_IA.copy()
        self._slow_I = {sha256: list(slow) for sha256, slow in slow_I.items()}
        self.rollout.restore(rollout)
        self._memory.restore(learners, self._seats)

    # inner ----------------------------------------------------------------------------------

    @property
    def _seats(self) -> tuple[Seat | None, ...]:
        rollout = self.rollout
        return rollout.active, rollout.previous, rollout.candidate

    def _observe(
        self, seat: Seat, index: int, market: InstrumentState, out_F: NDArray[np.float32]
    ) -> None:
        """Write the row that a model sees; its meta-learner takes in the bars that closed."""
        model = seat.model
        learner = self._memory.learner(seat, index)
        self._extras_E[: len(REGIMES)] = learner.watch(market.features, market.mid_ticks)
        write_observation(model.normalisation, market.features.values_F, self._extras_E, out_F)
        if not market.features.is_warm:
            # the mean of the training data, not a raw 0: a feature that knows nothing is neutral
            out_F[: self.feature_count][market.features.cold_F()] = 0.0

    def _ask_model(
        self,
        seat: Seat,
        ready: Sequence[int],
        markets: Markets,
        obs_BF: NDArray[np.float32],
        notes: Notes,
    ) -> Judgement:
        """Ask a model; one that raises is a model without a single healthy agent."""
        for row, index in enumerate(ready):
            self._observe(seat, index, markets[index], obs_BF[row])
            self._forecast(seat, index, obs_BF[row])
        try:
            is_all = len(ready) == len(self.held_IA)
            held_BA = self.held_IA if is_all else self.held_IA[list(ready)]
            return seat.model.judge.decide(obs_BF, held_BA)
        except (RuntimeError, ValueError, ArithmeticError) as error:
            fields = {"error": type(error).__name__, "detail": str(error)[:200]}
            notes.append(("model_failed", ready[0], type(error).__name__, fields))
        rows, agents, regimes = len(obs_BF), self.agent_count, len(REGIMES)
        return Judgement(
            preference_BA3=np.zeros((rows, agents, 3), np.float32),
            action_BA=np.full((rows, agents), -1, np.int64),
            confidence_BA=np.zeros((rows, agents), np.float32),
            regime_BK=np.full((rows, regimes), 1.0 / regimes, np.float32),
            predicted_BA=np.zeros((rows, agents), np.float32),
            healthy_BA=np.zeros((rows, agents), np.bool_),
            regime_healthy_B=np.zeros(rows, np.bool_),
        )

    def _forecast(self, seat: Seat, index: int, row_F: NDArray[np.float32]) -> None:
        """Step a bundle's own forecast by one bar and write it into the row's last columns."""
        forecast = seat.model.forecast
        if forecast is None:
            return
        slow_I = self._slow_I.setdefault(seat.bundle.sha256, [0.0] * len(self.held_IA))
        slow_I[index] = step_into_row(
            forecast.weight_F,
            forecast.scale,
            forecast.slow_scale,
            forecast.decay,
            slow_I[index],
            CLIP,
            row_F,
        )

    def _learn_in_shadow(
        self, seat: Seat, ready: Sequence[int], markets: Markets, judgement: Judgement
    ) -> None:
        """Let a candidate's meta-learner collect evidence as if its agents were followed."""
        for row, index in enumerate(ready):
            learner = self._memory.learner(seat, index)
            healthy_A = judgement.healthy_BA[row]
            learner.weigh(judgement.regime_BK[row], judgement.predicted_BA[row], healthy_A)
            outlook = outlook_of(seat.model, self._shadow_BF[row], markets[index])
            learner.book(judgement.action_BA[row], healthy_A, outlook)

    def _hold(self, ready: Sequence[int], judgement: Judgement) -> None:
        """Book what every agent wants as its own position; one without a vote goes flat."""
        for row, index in enumerate(ready):
            hold(judgement.action_BA[row], judgement.healthy_BA[row], self.held_IA[index])


@njit
def hold(
    action_A: NDArray[np.int64], healthy_A: NDArray[np.bool_], held_A: NDArray[np.int64]
) -> None:
    """Write every agent's wish as its position; FLAT for one that is not healthy."""
    for a in range(held_A.shape[0]):
        held_A[a] = action_A[a] if healthy_A[a] else FLAT


def outlook_of(model: Model, row_F: NDArray[np.float32], market: InstrumentState) -> Outlook:
    """Say what a model's forecast promises and what a trade costs: fee and half the spread."""
    forecast, gain = model.forecast, 0.0
    if forecast is not None:
        gain = forecast.gain(row_F[-len(FORECAST_NAMES) :])
    half_spread_frac = 0.5 * (market.ask_ticks - market.bid_ticks) / market.mid_ticks
    fee_frac = market.instrument.taker_fee_frac
    return _make_outlook(gain, fee_frac + max(half_spread_frac, 0.0))


_make_outlook = positional_maker(Outlook)
