"""One decision: observation, agents, weights, target, order intents. Pure given a loaded bundle.

All instruments that are ready are judged in one call. Nothing here sends: intents go to the gate.
An ensemble that cannot form weights, or a model that raises, abstains in words: with
``emergency_fallback_enabled`` the position is then reduced to flat, unless the policy is ``hold``;
without it nothing is done, and either way an alert says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.effects import Decided, ModelMoved
from daemon.instrument_state import InstrumentState
from daemon.order_plans import Move, Planner
from daemon.order_table import OrderTable, TrackedOrder
from daemon.rollout import BundleName, Find, Rollout, RolloutState, Seat
from daemon.rollout import Judge as Judge
from daemon.rollout import Model as Model
from kernels.events import REGIMES, OrderIntent, Verdict
from kernels.ledger import Ledger
from risk.breaker import BreakerState
from risk.model_quality import ModelEvidence, model_verdict
from risk.sizing import SizingEvidence, target_lots
from risk.views import ModelVerdict
from strategy.campaigns import Campaign
from strategy.ensemble import attribute, combine, weigh
from strategy.learning.forecasts import step_forecast
from strategy.observation import CLIP, FLAT, FORECAST_NAMES, neutral_extras, write_observation
from strategy.regime_report import reported_regime
from strategy.runtime import Judgement

BPS_PER_UNIT = 10_000.0
UNNAMED = BundleName(name="", sha256="", path="")
"""A model that came without a bundle."""

Notes = list[tuple[str, int, str, Mapping[str, Any]]]
YEAR_MS = 365.25 * 86_400_000.0
VOLATILITY_FEATURE = "volatility_realised_long_bps"
"""Feature that the volatility target is held against, bps per bar; 0 until it is warm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the engine knows when a decision is due; ``ready`` lists instrument indices.

    ``armed_A`` tells which agents may ask for new risk, empty for all of them. ``judgement_ns`` is
    what the judgement before this one took, None where nobody timed it.
    """

    ready: tuple[int, ...]
    markets: tuple[InstrumentState, ...]
    ledger: Ledger
    orders: OrderTable
    breaker: BreakerState
    now_ns: int
    data_age_ns: int
    next_sequence: int
    armed_A: tuple[bool, ...] = ()
    judgement_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was decided; ``notes`` are (event, instrument, reason, fields).

    ``model`` is the verdict on the models for every instrument, ABSENT where none was asked;
    ``moves`` are steps of model bundles that this decision led to, ``quote_moves`` resting orders
    that follow the touch.
    """

    decided: tuple[Decided, ...]
    intents: tuple[OrderIntent, ...]
    cancels: tuple[TrackedOrder, ...]
    quote_moves: tuple[Move, ...]
    weights_A: NDArray[np.float64]
    notes: tuple[tuple[str, int, str, Mapping[str, Any]], ...]
    model: tuple[ModelVerdict, ...]
    moves: tuple[ModelMoved, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """One instrument's position as the ensemble sees it."""

    lots: int
    full_lots: int
    exposure: float
    evidence: SizingEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderState:
    """What the ensemble remembers between decisions.

    ``held_IA``: every agent's own positions; ``slow_I``: the forecast's exponential mean for each
    instrument, by the manifest hash of the bundle whose forecast it is.
    """

    reported: list[int]
    held_IA: NDArray[np.int64]
    slow_I: dict[str, list[float]]
    weights_A: NDArray[np.float64]
    rollout: RolloutState
    campaigns: list[Campaign]


class Decider:
    """The ensemble with its small memory: reported regimes and the agents' own positions."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        instrument_count: int,
        bundle: BundleName = UNNAMED,
        find: Find = lambda _: None,
    ) -> None:
        """Prepare the observation matrix for every instrument; ``find`` gives later models."""
        self.feature_names = model.feature_names
        self.agent_names = model.agent_names
        self.agent_count = len(model.agent_names)
        self.rollout = Rollout(Seat(bundle=bundle, model=model), settings.model, find)
        self.planner = Planner(instrument_count)
        self._settings = settings
        self._obs_BF = np.zeros(
            (instrument_count, model.normalisation.observation_count), np.float32
        )
        self.reported = [-1] * instrument_count
        self._shadow_BF = np.zeros_like(self._obs_BF)
        self._held_IA = np.full((instrument_count, self.agent_count), FLAT, np.int64)
        self._extras_E = neutral_extras()
        self._slow_I: dict[str, list[float]] = {}
        self._weights_A: NDArray[np.float64] = np.zeros(self.agent_count)

    def use(self, settings: Settings) -> None:
        """Take sizing, execution, limits and weighing from these settings from now on."""
        self._settings = settings

    def why_not_ready(self, market: InstrumentState, data_age_ns: int) -> str | None:
        """Say why no decision can be taken on this instrument now, or None."""
        if market.verdict is not Verdict.OK:
            return f"feed_{market.verdict.name.lower()}"
        if market.mid_ticks <= 0.0:
            return "no_quote"
        if market.mark_ticks <= 0:
            return "no_mark_price"
        if data_age_ns > self._settings.decision.data_age_ms_max * 1_000_000:
            return "data_too_old"
        if market.features.bar_count < self._settings.decision.warm_up_bars:
            return "features_warming"
        return None

    def decide(self, situation: Situation) -> Outcome:
        """Judge every ready instrument in one call and plan what leads to the targets."""
        equity_e8 = situation.ledger.equity_quote_e8
        positions = [
            self._position(situation.markets[index], situation.ledger, equity_e8)
            for index in situation.ready
        ]
        decided: list[Decided] = []
        intents: list[OrderIntent] = []
        cancels: list[TrackedOrder] = []
        quote_moves: list[Move] = []
        notes: list[tuple[str, int, str, Mapping[str, Any]]] = []
        model = [ModelVerdict.ABSENT] * len(self.reported)
        judgement, moves = self._judge(situation, equity_e8, notes)
        for row, index in enumerate(situation.ready):
            position = positions[row]
            entry, shares_A = self._judge_one(
                situation, judgement, row, index, position, equity_e8, notes
            )
            model[index] = self._verdict(judgement, row, entry, situation.judgement_ns)
            way = self.planner.plan(
                entry,
                market=situation.markets[index],
                orders=situation.orders,
                breaker=situation.breaker,
                full_lots=position.full_lots,
                shares_A=shares_A,
                settings=self._settings,
            )
            cancels.extend(way.cancels)
            quote_moves.extend(way.moves)
            if way.intent is not None:
                intents.append(way.intent)
            decided.append(replace(entry, outcome=way.outcome))
        # Reductions first: they free room under the limits for what opens.
        intents.sort(key=lambda intent: (not intent.reduce_only, intent.instrument))
        numbered = tuple(
            replace(intent, sequence=situation.next_sequence + place)
            for place, intent in enumerate(intents)
        )
        return Outcome(
            decided=tuple(decided),
            intents=numbered,
            cancels=tuple(cancels),
            quote_moves=tuple(
                (order, replace(intent, sequence=situation.next_sequence + len(numbered) + place))
                for place, (order, intent) in enumerate(quote_moves)
            ),
            weights_A=self._weights_A,
            notes=tuple(notes),
            moves=(*moves, *self.rollout.advance(equity_e8)),
            model=tuple(model),
        )

    @property
    def state(self) -> DeciderState:
        """Give all that is remembered between decisions; live objects, so write it out at once."""
        return DeciderState(
            reported=self.reported,
            held_IA=self._held_IA,
            slow_I=self._slow_I,
            weights_A=self._weights_A,
            rollout=self.rollout.state,
            campaigns=self.planner.campaigns,
        )

    def restore(self, state: DeciderState) -> None:
        """Take over what was remembered; ValueError for other instruments or agents."""
        if len(state.reported) != len(self.reported):
            raise ValueError("decider state of another number of instruments")
        if state.held_IA.shape != self._held_IA.shape:
            raise ValueError("decider state of another number of agents")
        self.reported = list(state.reported)
        self._held_IA = state.held_IA.copy()
        self._slow_I = {sha256: list(slow) for sha256, slow in state.slow_I.items()}
        self._weights_A = state.weights_A.copy()
        self.rollout.restore(state.rollout)
        self.planner.restore(state.campaigns)

    # inner ----------------------------------------------------------------------------------

    def _position(self, market: InstrumentState, ledger: Ledger, equity_e8: int) -> _Position:
        index = market.instrument.index
        lots = ledger.position_lots(index)
        evidence = self._evidence(market, ledger)
        full_lots = self._size(1.0, market, equity_e8, evidence, held_lots=0)
        return _Position(
            lots=lots,
            full_lots=full_lots,
            exposure=min(max(lots / full_lots, -1.0), 1.0) if full_lots > 0 else 0.0,
            evidence=evidence,
        )

    def _evidence(self, market: InstrumentState, ledger: Ledger) -> SizingEvidence:
        """Collect what is known for sizing; an edge and tail losses are not estimated yet."""
        volatility_frac: float | None = None
        if VOLATILITY_FEATURE in self.feature_names:
            at = self.feature_names.index(VOLATILITY_FEATURE)
            bar_frac = float(market.features.values_F[at]) / BPS_PER_UNIT
            year_bars = YEAR_MS / self._settings.decision.interval_ms
            volatility_frac = bar_frac * math.sqrt(year_bars) if bar_frac > 0.0 else None
        return SizingEvidence(drawdown_frac=ledger.drawdown_frac, volatility_frac=volatility_frac)

    def _verdict(
        self, judgement: Judgement, row: int, entry: Decided, judgement_ns: int | None
    ) -> ModelVerdict:
        """Judge the judgement itself; the gate takes no new risk on a bad one.

        The schema was proven when the bundle was loaded. No clock is read here: the time is that
        of the judgement before, so a model that turned slow is held back one decision later.
        """
        features_F = self._obs_BF[row, : len(self.feature_names)]
        evidence = ModelEvidence(
            has_schema=True,
            is_finite=entry.outcome != "abstained" and bool(judgement.regime_healthy_B[row]),
            expires_ns=self.rollout.active.model.expires_ns,
            latency_ns=judgement_ns,
            outlier_frac=float(np.count_nonzero(np.abs(features_F) >= CLIP)) / features_F.size,
            disagreement=entry.disagreement,
        )
        return model_verdict(evidence, self._settings.limits, entry.decided_ns)

    def _size(
        self,
        exposure: float,
        market: InstrumentState,
        equity_e8: int,
        evidence: SizingEvidence,
        held_lots: int,
    ) -> int:
        lots = target_lots(
            exposure=exposure,
            instrument=market.instrument,
            instrument_count=len(self.reported),
            mid_ticks=market.mid_ticks,
            equity_quote_e8=equity_e8,
            sizing=self._settings.sizing,
            limits=self._settings.limits,
            max_position_risk=self._settings.meta.max_position_risk,
            is_kelly_enabled=self._settings.meta.kelly_criterion_enabled,
            evidence=evidence,
        )
        return held_lots if lots is None else lots

    def _observe(self, seat: Seat, market: InstrumentState, out_F: NDArray[np.float32]) -> None:
        model = seat.model
        write_observation(model.normalisation, market.features.values_F, self._extras_E, out_F)
        if not market.features.is_warm:
            # the mean of the training data, not a raw 0: a feature that knows nothing is neutral
            out_F[: len(self.feature_names)][market.features.cold_F()] = 0.0

    def _judge(
        self, situation: Situation, equity_e8: int, notes: Notes
    ) -> tuple[Judgement, tuple[ModelMoved, ...]]:
        """Ask the model that decides; where it fails and a good one waits, that one's answer."""
        rollout, rows = self.rollout, len(situation.ready)
        obs_BF = self._obs_BF[:rows]
        judgement = self._ask_model(rollout.active, situation, obs_BF, notes)
        moves: tuple[ModelMoved, ...] = ()
        fault = rollout.fault_of(judgement, equity_e8)
        if fault is not None:
            moves = rollout.roll_back(fault)
            judgement = self._ask_model(rollout.active, situation, obs_BF, notes)
        if rollout.candidate is not None:
            shadow = self._ask_model(rollout.candidate, situation, self._shadow_BF[:rows], [])
            rollout.compare(judgement, shadow)
        self._hold(situation.ready, judgement)
        return judgement, moves

    def _ask_model(
        self,
        seat: Seat,
        situation: Situation,
        obs_BF: NDArray[np.float32],
        notes: Notes,
    ) -> Judgement:
        """Ask a model; one that raises is a model without a single healthy agent."""
        for row, index in enumerate(situation.ready):
            self._observe(seat, situation.markets[index], obs_BF[row])
            self._forecast(seat, index, obs_BF[row])
        try:
            return seat.model.judge.decide(obs_BF, self._held_IA[list(situation.ready)])
        except (RuntimeError, ValueError, ArithmeticError) as error:
            fields = {"error": type(error).__name__, "detail": str(error)[:200]}
            notes.append(("model_failed", situation.ready[0], type(error).__name__, fields))
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
        slow_I = self._slow_I.setdefault(seat.bundle.sha256, [0.0] * len(self.reported))
        seen_2 = np.zeros(len(FORECAST_NAMES))
        slow_I[index] = step_forecast(
            forecast.weight_F,
            forecast.scale,
            forecast.slow_scale,
            forecast.decay,
            row_F[: len(self.feature_names)].astype(np.float64),
            slow_I[index],
            seen_2,
        )
        row_F[-len(FORECAST_NAMES) :] = np.clip(seen_2, -CLIP, CLIP)

    def _hold(self, ready: Sequence[int], judgement: Judgement) -> None:
        """Book what every agent wants as its own position; one without a vote goes flat."""
        for row, index in enumerate(ready):
            action_A = judgement.action_BA[row]
            self._held_IA[index] = np.where(judgement.healthy_BA[row], action_A, FLAT)

    def _judge_one(
        self,
        situation: Situation,
        judgement: Judgement,
        row: int,
        index: int,
        position: _Position,
        equity_e8: int,
        notes: list[tuple[str, int, str, Mapping[str, Any]]],
    ) -> tuple[Decided, tuple[float, ...]]:
        market = situation.markets[index]
        action_A, healthy_A = judgement.action_BA[row], judgement.healthy_BA[row]
        regime = self._report_regime(index, judgement.regime_BK[row], notes)
        if not healthy_A.all():
            sick = [n for n, ok in zip(self.agent_names, healthy_A, strict=True) if not ok]
            fields = {"agents": sick, "error": judgement.error}
            notes.append(("agent_unhealthy", index, ",".join(sick), fields))
        may_ask_A = healthy_A & situation.armed_A if situation.armed_A else healthy_A
        weights_A = weigh(judgement.predicted_BA[row], may_ask_A, self._settings.meta)
        if weights_A is None:
            notes.append(("ensemble_abstained", index, "no feasible weights", {}))
            weights_A = np.zeros(self.agent_count)
            exposure, disagreement, outcome = 0.0, 1.0, "abstained"
            falls_back = self._settings.meta.emergency_fallback_enabled
            is_held = self._settings.breaker.model_failure_policy == "hold"
            wanted = 0 if falls_back and not is_held else position.lots
        else:
            target = combine(
                action_A,
                weights_A,
                judgement.confidence_BA[row],
                self.rollout.active.model.exposure_frac_max,
            )
            exposure = target.exposure * self.rollout.size_frac
            disagreement, outcome = target.disagreement, "decided"
            self._weights_A = weights_A
            wanted = self._size(exposure, market, equity_e8, position.evidence, position.lots)
        wanted = _within_breaker(wanted, position.lots, situation.breaker)
        side = 1 if wanted > position.lots else -1
        shares_A = attribute(action_A, weights_A, side, position.exposure)
        entry = Decided(
            decided_ns=situation.now_ns,
            instrument=index,
            regime=regime,
            regime_K=tuple(float(p) for p in judgement.regime_BK[row]),
            weights_A=tuple(float(w) for w in weights_A),
            action_A=tuple(int(a) for a in action_A),
            exposure=exposure,
            disagreement=disagreement,
            target_lots=wanted,
            position_lots=position.lots,
            mid_ticks=market.mid_ticks,
            data_age_ns=situation.data_age_ns,
            outcome=outcome,
        )
        return entry, shares_A

    def _report_regime(
        self,
        index: int,
        regime_K: NDArray[np.float64],
        notes: list[tuple[str, int, str, Mapping[str, Any]]],
    ) -> int:
        before = self.reported[index]
        regime = reported_regime(before, regime_K, self._settings.meta.regime_stability_threshold)
        self.reported[index] = regime
        if regime != before:
            name = REGIMES[regime]
            fields = {
                "before": REGIMES[before] if before >= 0 else None,
                "regime": name,
                "posterior": round(float(regime_K[regime]), 4),
            }
            notes.append(("regime_changed", index, name, fields))
        return regime


def _within_breaker(wanted: int, held: int, breaker: BreakerState) -> int:
    """Cut a target to what the breaker's state still permits."""
    if breaker is BreakerState.NORMAL:
        return wanted
    return min(max(wanted, min(held, 0)), max(held, 0))
