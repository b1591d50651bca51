"""One decision: observation, agents, weights, target, order intents. Pure given a loaded bundle.

All instruments that are ready are judged in one call. Nothing here sends: intents go to the gate.
An ensemble that cannot form weights, or a model that raises, abstains in words: with
``emergency_fallback_enabled`` the position is then reduced to flat, unless the policy is ``hold``;
without it nothing is done, and either way an alert says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.effects import Decided, ModelMoved, make_decided, with_outcome
from daemon.instrument_state import InstrumentState
from daemon.meta_memory import expert_names
from daemon.model_panel import ModelPanel, Notes
from daemon.order_plans import Move, Planner
from daemon.order_table import OrderTable, TrackedOrder
from daemon.rollout import BundleName, Find, RolloutState
from daemon.rollout import Judge as Judge
from daemon.rollout import Model as Model
from kernels.events import REGIMES, OrderIntent, Verdict
from kernels.fast_values import positional_maker
from kernels.ledger import Ledger
from kernels.units import E8
from risk.breaker import BreakerState
from risk.model_quality import ModelEvidence, model_verdict
from risk.sizing import SizingEvidence, full_notional_quote, lots_of
from risk.views import ModelVerdict
from strategy.campaigns import Campaign
from strategy.ensemble import attribute, combine
from strategy.intents import numbered
from strategy.meta_learner import LearnerState
from strategy.observation import clipped_frac
from strategy.quality import size_factor
from strategy.runtime import Judgement

BPS_PER_UNIT = 10_000.0
UNNAMED = BundleName(name="", sha256="", path="")
"""A model that came without a bundle."""

YEAR_MS = 365.25 * 86_400_000.0
VOLATILITY_FEATURE = "volatility_realised_long_bps"
"""Feature that the volatility target is held against, bps per bar; 0 until it is warm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the engine knows when a decision is due; ``ready`` lists instrument indices.

    ``armed_N`` tells which experts may ask for new risk, empty for all of them. ``judgement_ns`` is
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
    armed_N: tuple[bool, ...] = ()
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
    weights_N: NDArray[np.float64]
    notes: tuple[tuple[str, int, str, Mapping[str, Any]], ...]
    model: tuple[ModelVerdict, ...]
    moves: tuple[ModelMoved, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """One instrument's position as the ensemble sees it."""

    lots: int
    full_lots: int
    full_quote: float
    lot_quote: float
    exposure: float

    def lots_at(self, exposure: float) -> int:
        """Give the lots of a share of the full position; what is held where it is no number."""
        wanted = lots_of(exposure, self.full_quote, self.lot_quote)
        return self.lots if wanted is None else wanted


_make_position = positional_maker(_Position)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderState:
    """What the ensemble remembers between decisions.

    ``held_IA``: every agent's own positions. ``slow_I``: the forecast's exponential mean for each
    instrument, ``learners`` its meta-learners, both by the manifest hash of the bundle they serve.
    """

    reported: list[int]
    learners: dict[str, list[LearnerState]]
    held_IA: NDArray[np.int64]
    slow_I: dict[str, list[float]]
    weights_N: NDArray[np.float64]
    rollout: RolloutState
    campaigns: list[Campaign]


class Decider:
    """The ensemble with its memory: reported regimes, own positions, what the experts earned.

    Experts (axis N of weights and actions) are the agents and the controllers beside them.
    """

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
        self.expert_names = expert_names(model.agent_names)
        self.panel = ModelPanel(model, settings, instrument_count, bundle, find)
        self.rollout = self.panel.rollout
        self.planner = Planner(instrument_count)
        self._settings = settings
        names = model.feature_names
        self._volatility_at = (
            names.index(VOLATILITY_FEATURE) if VOLATILITY_FEATURE in names else None
        )
        # controllers are certain: rules do not doubt
        self._confidence_N = np.ones(len(self.expert_names), np.float32)
        self.reported = [-1] * instrument_count
        self._weights_N: NDArray[np.float64] = np.zeros(len(self.expert_names))

    def use(self, settings: Settings) -> None:
        """Take sizing, execution, limits and weighing from these settings from now on."""
        self._settings = settings
        self.panel.use(settings)

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
        judgement, moves = self.panel.judge(situation.ready, situation.markets, equity_e8, notes)
        for row, index in enumerate(situation.ready):
            position = positions[row]
            entry, shares_A = self._judge_one(situation, judgement, row, index, position, notes)
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
            decided.append(with_outcome(entry, way.outcome))
        # Reductions first: they free room under the limits for what opens.
        intents.sort(key=lambda intent: (not intent.reduce_only, intent.instrument))
        sent = tuple(
            numbered(intent, situation.next_sequence + place)
            for place, intent in enumerate(intents)
        )
        return Outcome(
            decided=tuple(decided),
            intents=sent,
            cancels=tuple(cancels),
            quote_moves=tuple(
                (order, numbered(intent, situation.next_sequence + len(sent) + place))
                for place, (order, intent) in enumerate(quote_moves)
            ),
            weights_N=self._weights_N,
            notes=tuple(notes),
            moves=self.panel.advance(moves, equity_e8),
            model=tuple(model),
        )

    @property
    def state(self) -> DeciderState:
        """Give all that is remembered between decisions; live objects, so write it out at once."""
        return DeciderState(
            reported=self.reported,
            learners=self.panel.learner_states,
            held_IA=self.panel.held_IA,
            slow_I=self.panel.slow_I,
            weights_N=self._weights_N,
            rollout=self.rollout.state,
            campaigns=self.planner.campaigns,
        )

    def restore(self, state: DeciderState) -> None:
        """Take over what was remembered; ValueError for other instruments or agents."""
        if len(state.reported) != len(self.reported):
            raise ValueError("decider state of another number of instruments")
        self.panel.restore(state.rollout, state.held_IA, state.slow_I, state.learners)
        self.reported = list(state.reported)
        self._weights_N = state.weights_N.copy()
        self.planner.restore(state.campaigns)

    # inner ----------------------------------------------------------------------------------

    def _position(self, market: InstrumentState, ledger: Ledger, equity_e8: int) -> _Position:
        index = market.instrument.index
        lots = ledger.position_lots(index)
        full_quote = self._full_quote(market, ledger, equity_e8)
        lot_quote = market.mid_ticks * market.instrument.tick_lot_quote_e8 / E8
        full_lots = lots_of(1.0, full_quote, lot_quote) or 0
        exposure = min(max(lots / full_lots, -1.0), 1.0) if full_lots > 0 else 0.0
        return _make_position(lots, full_lots, full_quote, lot_quote, exposure)

    def _full_quote(self, market: InstrumentState, ledger: Ledger, equity_e8: int) -> float:
        """Give a full position from what is known; no edge or tail loss is estimated yet."""
        settings, at = self._settings, self._volatility_at
        volatility_frac: float | None = None
        if at is not None:
            bar_frac = market.features.values_F.item(at) / BPS_PER_UNIT
            year_bars = YEAR_MS / settings.decision.interval_ms
            volatility_frac = bar_frac * math.sqrt(year_bars) if bar_frac > 0.0 else None
        return full_notional_quote(
            equity_quote_e8=equity_e8,
            instrument_count=len(self.reported),
            sizing=settings.sizing,
            limits=settings.limits,
            max_position_risk=settings.meta.max_position_risk,
            is_kelly_enabled=settings.meta.kelly_criterion_enabled,
            evidence=SizingEvidence(
                drawdown_frac=ledger.drawdown_frac, volatility_frac=volatility_frac
            ),
        )

    def _verdict(
        self, judgement: Judgement, row: int, entry: Decided, judgement_ns: int | None
    ) -> ModelVerdict:
        """Judge the judgement itself; the gate takes no new risk on a bad one.

        The schema was proven when the bundle was loaded. No clock is read here: the time is that
        of the judgement before, so a model that turned slow is held back one decision later.
        """
        features_F = self.panel.obs_BF[row, : len(self.feature_names)]
        evidence = ModelEvidence(
            has_schema=True,
            is_finite=entry.outcome != "abstained" and bool(judgement.regime_healthy_B[row]),
            expires_ns=self.rollout.active.model.expires_ns,
            latency_ns=judgement_ns,
            outlier_frac=clipped_frac(features_F),
            disagreement=entry.disagreement,
        )
        return model_verdict(evidence, self._settings.limits, entry.decided_ns)

    def _judge_one(
        self,
        situation: Situation,
        judgement: Judgement,
        row: int,
        index: int,
        position: _Position,
        notes: list[tuple[str, int, str, Mapping[str, Any]]],
    ) -> tuple[Decided, tuple[float, ...]]:
        market = situation.markets[index]
        healthy_A = judgement.healthy_BA[row]
        if not all(healthy_A.tolist()):  # a tenth of what numpy takes for five flags
            sick = [n for n, ok in zip(self.agent_names, healthy_A, strict=True) if not ok]
            fields = {"agents": sick, "error": judgement.error}
            notes.append(("agent_unhealthy", index, ",".join(sick), fields))
        learner = self.panel.learner(index)
        weights_N, action_N = self.panel.weigh(row, index, market, judgement, situation.armed_N)
        regime = self._report_regime(learner.tracker.current, index, judgement, row, notes)
        size_frac, disagreement = 0.0, 1.0
        if weights_N is None:
            notes.append(("ensemble_abstained", index, "no feasible weights", {}))
            weights_N = np.zeros(len(self.expert_names))
            exposure, outcome = 0.0, "abstained"
            falls_back = self._settings.meta.emergency_fallback_enabled
            is_held = self._settings.breaker.model_failure_policy == "hold"
            wanted = 0 if falls_back and not is_held else position.lots
        else:
            self._confidence_N[: self.agent_count] = judgement.confidence_BA[row]
            target = combine(
                action_N,
                weights_N,
                self._confidence_N,
                self.rollout.active.model.exposure_frac_max,
                self.agent_count,
            )
            disagreement, outcome = target.disagreement, "decided"
            size_frac = size_factor(
                self.rollout.active.model.strangeness,
                self.panel.obs_BF[row, : len(self.feature_names)],
                disagreement,
            )
            size_frac *= learner.accounts.calibration_frac
            exposure = target.exposure * self.rollout.size_frac * size_frac
            self._weights_N = weights_N
            wanted = position.lots_at(exposure)
        wanted = _within_breaker(wanted, position.lots, situation.breaker)
        side = 1 if wanted > position.lots else -1
        shares_A = attribute(action_N, weights_N, side, position.exposure)
        reasons = learner.weighing
        entry = make_decided(
            situation.now_ns,
            index,
            regime,
            tuple(judgement.regime_BK[row].tolist()),
            tuple(weights_N.tolist()),
            tuple(action_N.tolist()),
            exposure,
            disagreement,
            wanted,
            position.lots,
            market.mid_ticks,
            situation.data_age_ns,
            outcome,
            size_frac,
            learner.tracker.stability,
            () if reasons is None else learner.skills(reasons),
            () if reasons is None else tuple(reasons.share_J.tolist()),
        )
        return entry, shares_A

    def _report_regime(
        self, regime: int, index: int, judgement: Judgement, row: int, notes: Notes
    ) -> int:
        before = self.reported[index]
        self.reported[index] = regime
        if regime != before:
            name = REGIMES[regime]
            fields = {
                "before": REGIMES[before] if before >= 0 else None,
                "regime": name,
                "posterior": round(float(judgement.regime_BK[row, regime]), 4),
            }
            notes.append(("regime_changed", index, name, fields))
        return regime


def _within_breaker(wanted: int, held: int, breaker: BreakerState) -> int:
    """Cut a target to what the breaker's state still permits."""
    if breaker is BreakerState.NORMAL:
        return wanted
    return min(max(wanted, min(held, 0)), max(held, 0))
