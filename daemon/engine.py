"""The pure heart: ``step(event) -> effects``, a fold over everything that happens.

No clock, socket, file or randomness is read here: time arrives in events, and the only time the
engine knows is the newest stamp among them. So live trading, paper trading and a replay are the
same code over the same events. ``DrainEnd`` closes a drained batch: losses are checked, orders
tended and, where a decision is due, one is taken on the newest state.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.decisions import Decider, DeciderState, Situation
from daemon.desk import Desk, DeskState
from daemon.effects import Decided, Effect
from daemon.instrument_state import InstrumentState, MarketState
from daemon.notes import NoteBook, NoteState
from kernels.events import (
    REGIMES,
    AccountState,
    Alarm,
    BundleOffered,
    BundleWithdrawn,
    Command,
    CommandName,
    DayVolume,
    DepthDiff,
    DepthSnapshot,
    DrainEnd,
    Event,
    FeedStatus,
    Fill,
    Funding,
    MarkPrice,
    OrderUpdate,
    Quote,
    SettingsChanged,
    Trade,
)
from kernels.units import Instrument

NS_PER_MS = 1_000_000

STOPS = (CommandName.STOP, CommandName.STOP_LEAVING, CommandName.STOP_CLOSING)
"""Commands after which no decision is taken any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """All that a decision can depend on; live objects inside, so write it out at once.

    Left out is ``Engine.history``, which only views read. ``numbers`` are decision_count,
    intent_count, next_decision_ns, last_decision_ns, newest_market_ns.
    """

    notes: NoteState
    desk: DeskState
    markets: list[MarketState]
    decider: DeciderState
    is_stopping: bool
    closes_down: bool
    market_moved: bool
    numbers: tuple[int, int, int, int, int]
    skip_counts: dict[str, int]
    regime_counts: list[int]
    weights_N: NDArray[np.float64]


class Probe(Protocol):
    """Stage timing handed in by the shell; it sees the engine pass by and changes nothing."""

    def begin(self) -> None:
        """Start the stopwatch."""

    def lap(self, stage: str) -> None:
        """Book the time since ``begin`` or the last lap under a stage."""


class NullProbe:
    """A probe that measures nothing, for replay and tests."""

    def begin(self) -> None:
        """Do nothing."""

    def lap(self, stage: str) -> None:
        """Do nothing."""


class Engine:
    """One account on one venue, N instruments, one ensemble behind one gate."""

    def __init__(
        self,
        *,
        instruments: tuple[Instrument, ...],
        settings: Settings,
        run_id: str,
        decider: Decider,
        opening: AccountState,
        probe: Probe | None = None,
    ) -> None:
        """Build the state of a run that starts from the venue's own account."""
        self.settings = settings
        self.decider = decider
        self.notes = NoteBook(instruments, opening.received_ns)
        self.desk = Desk(
            instruments=instruments,
            settings=settings,
            run_id=run_id,
            opening=opening,
            notes=self.notes,
            agent_names=decider.expert_names,
        )
        bar_ns = settings.decision.interval_ms * NS_PER_MS
        self.markets = tuple(
            InstrumentState(instrument, decider.feature_names, bar_ns) for instrument in instruments
        )
        self.is_stopping = False
        self.closes_down = False
        self.decision_count = 0
        self.intent_count = 0
        self.skip_counts: Counter[str] = Counter()
        self.regime_counts = [0] * len(REGIMES)
        self.weights_N: NDArray[np.float64] = np.zeros(len(decider.expert_names))
        self.history: deque[Decided] = deque(maxlen=settings.meta.decision_history_size)
        self._probe = probe or NullProbe()
        self._next_decision_ns = 0
        self._last_decision_ns = 0
        self._market_moved = False
        self._newest_market_ns = 0
        self._handlers: dict[type[Any], Callable[[Any], tuple[Effect, ...]]] = {
            Quote: self._on_quote,
            Trade: self._on_trade,
            DepthDiff: self._on_diff,
            DepthSnapshot: self._on_snapshot,
            MarkPrice: self._on_mark,
            DayVolume: self._on_day_volume,
            FeedStatus: self._on_status,
            Fill: self.desk.on_fill,
            OrderUpdate: self.desk.on_update,
            AccountState: self.desk.on_account,
            Funding: self._on_funding,
            Command: self._on_command,
            Alarm: self.desk.on_alarm,
            SettingsChanged: self._on_settings,
            BundleOffered: self._on_offer,
            BundleWithdrawn: self._on_withdrawal,
            DrainEnd: self._on_drain_end,
        }

    def step(self, event: Event) -> tuple[Effect, ...]:
        """Fold one event and return what the shell must do, in order."""
        if event.received_ns > self.notes.now_ns:
            self.notes.now_ns = event.received_ns
        return self._handlers[type(event)](event)

    @property
    def now_ns(self) -> int:
        """Newest time that any event brought, UNIX ns."""
        return self.notes.now_ns

    @property
    def named_weights(self) -> dict[str, float]:
        """Weights of the newest decision by the experts' names; zeros before the first."""
        return dict(zip(self.decider.expert_names, self.weights_N.tolist(), strict=True))

    @property
    def state(self) -> EngineState:
        """Give all that the next step depends on."""
        return EngineState(
            notes=self.notes.state,
            desk=self.desk.state,
            markets=[market.state for market in self.markets],
            decider=self.decider.state,
            is_stopping=self.is_stopping,
            closes_down=self.closes_down,
            market_moved=self._market_moved,
            numbers=(
                self.decision_count,
                self.intent_count,
                self._next_decision_ns,
                self._last_decision_ns,
                self._newest_market_ns,
            ),
            skip_counts=dict(self.skip_counts),
            regime_counts=self.regime_counts,
            weights_N=self.weights_N,
        )

    def restore(self, state: EngineState) -> None:
        """Continue where another engine stood; ValueError when it traded something else.

        After an error the engine is in no defined state and must be made anew.
        """
        for market, known in zip(self.markets, state.markets, strict=True):
            market.restore(known)
        self.notes.restore(state.notes)
        self.desk.restore(state.desk)
        self.decider.restore(state.decider)
        self.is_stopping = state.is_stopping
        self.closes_down = state.closes_down
        self._market_moved = state.market_moved
        (
            self.decision_count,
            self.intent_count,
            self._next_decision_ns,
            self._last_decision_ns,
            self._newest_market_ns,
        ) = state.numbers
        self.skip_counts = Counter(state.skip_counts)
        self.regime_counts = list(state.regime_counts)
        self.weights_N = state.weights_N.copy()

    # market -----------------------------------------------------------------------------------

    def _on_quote(self, event: Quote) -> tuple[Effect, ...]:
        self._probe.begin()
        self.markets[event.instrument].on_quote(event)
        self._moved(event.received_ns)
        self._probe.lap("features")
        return ()

    def _on_trade(self, event: Trade) -> tuple[Effect, ...]:
        self._probe.begin()
        self.markets[event.instrument].on_trade(event)
        self._moved(event.received_ns)
        self._probe.lap("features")
        return ()

    def _on_diff(self, event: DepthDiff) -> tuple[Effect, ...]:
        self._probe.begin()
        agrees = self.markets[event.instrument].on_diff(event)
        self._moved(event.received_ns)
        self._probe.lap("book")
        if agrees:
            return ()
        return self.notes.seldom("book_top_differs", event.instrument, "same update id")

    def _on_snapshot(self, event: DepthSnapshot) -> tuple[Effect, ...]:
        self.markets[event.instrument].on_snapshot(event)
        self._moved(event.received_ns)
        return ()

    def _moved(self, received_ns: int) -> None:
        self._market_moved = True
        self._newest_market_ns = received_ns

    def _on_mark(self, event: MarkPrice) -> tuple[Effect, ...]:
        self.markets[event.instrument].on_mark(event)
        self.desk.on_mark(event)
        return ()

    def _on_day_volume(self, event: DayVolume) -> tuple[Effect, ...]:
        self.markets[event.instrument].on_day_volume(event)
        return ()

    def _on_status(self, event: FeedStatus) -> tuple[Effect, ...]:
        self.markets[event.instrument].on_status(event)
        return ()

    # account ----------------------------------------------------------------------------------

    def _on_funding(self, event: Funding) -> tuple[Effect, ...]:
        self.desk.on_funding(event)
        return ()

    def _on_command(self, event: Command) -> tuple[Effect, ...]:
        if event.name in STOPS:
            self.is_stopping = True
            self.closes_down = event.name is CommandName.STOP_CLOSING
        return self.desk.on_command(event)

    def _on_settings(self, event: SettingsChanged) -> tuple[Effect, ...]:
        settings = Settings.model_validate_json(event.settings_json)
        self.settings = settings
        self.desk.use(settings)
        self.decider.use(settings)
        return ()

    def _on_offer(self, event: BundleOffered) -> tuple[Effect, ...]:
        return self.decider.rollout.offer(event, self.desk.ledger.equity_quote_e8)

    def _on_withdrawal(self, event: BundleWithdrawn) -> tuple[Effect, ...]:
        return self.decider.rollout.withdraw(event)

    # the end of a batch -----------------------------------------------------------------------

    def _on_drain_end(self, event: DrainEnd) -> tuple[Effect, ...]:
        now_ns = event.received_ns
        self.desk.roll_day(now_ns)
        effects: list[Effect] = [*self.desk.check_losses(), *self.desk.tend(now_ns)]
        verdicts = [market.verdict for market in self.markets]
        effects.extend(self.desk.ladder.watch_feeds(verdicts, now_ns))
        if self.closes_down or (self.desk.ladder.is_closing and not self.is_stopping):
            closing, planned = self.desk.close_positions(self.markets, now_ns, self.intent_count)
            self.intent_count += planned
            effects.extend(closing)
        if self._is_due(now_ns):
            effects.extend(self._decide(now_ns, event.judgement_ns))
        self._market_moved = False
        return tuple(effects)

    def _is_due(self, now_ns: int) -> bool:
        if self.is_stopping:
            return False
        knobs = self.settings.decision
        if knobs.trigger == "event":
            gap_ns = now_ns - self._last_decision_ns
            return self._market_moved and gap_ns >= knobs.min_gap_ms * NS_PER_MS
        if now_ns < self._next_decision_ns:
            return False
        is_first = self._next_decision_ns == 0
        interval_ns = knobs.interval_ms * NS_PER_MS
        self._next_decision_ns = (now_ns // interval_ns + 1) * interval_ns
        return not is_first

    def _decide(self, now_ns: int, judgement_ns: int | None) -> list[Effect]:
        self._last_decision_ns = now_ns
        data_age_ns = now_ns - self._newest_market_ns if self._market_moved else 0
        self._probe.begin()
        for market in self.markets:
            market.features.close_bars(now_ns)
        self._probe.lap("features")
        effects: list[Effect] = []
        ready: list[int] = []
        for index, market in enumerate(self.markets):
            why_not = self.decider.why_not_ready(market, data_age_ns)
            if why_not is None:
                self.notes.over("decision_skipped", index)
                ready.append(index)
            else:
                self.skip_counts[why_not] += 1
                effects.extend(self.notes.seldom("decision_skipped", index, why_not))
        if not ready:
            return effects
        outcome = self.decider.decide(
            Situation(
                ready=tuple(ready),
                markets=self.markets,
                ledger=self.desk.ledger,
                orders=self.desk.orders,
                breaker=self.desk.breaker.state,
                now_ns=now_ns,
                data_age_ns=data_age_ns,
                next_sequence=self.intent_count,
                armed_N=self.desk.armed_agents,
                judgement_ns=judgement_ns,
            )
        )
        self._probe.lap("decide")
        self.intent_count += len(outcome.intents) + len(outcome.quote_moves)
        self.decision_count += len(outcome.decided)
        self.weights_N = outcome.weights_N
        for decided in outcome.decided:
            self.regime_counts[decided.regime] += 1
            self.history.append(decided)
            effects.extend(self._watch_model(decided))
        for order in outcome.cancels:
            effects.extend(self.desk.cancel(order, "target moved", now_ns))
        if outcome.intents:
            self._probe.begin()
            effects.extend(self.desk.review(outcome.intents, self.markets, now_ns, outcome.model))
            self._probe.lap("gate")
        for order, intent in outcome.quote_moves:
            effects.extend(self.desk.amend(order, intent, self.markets, now_ns, outcome.model))
        effects.extend(outcome.decided)
        effects.extend(outcome.moves)
        for name, instrument, reason, fields in outcome.notes:
            effects.extend(self.notes.seldom(name, instrument, reason, **fields))
        return effects

    def _watch_model(self, decided: Decided) -> tuple[Effect, ...]:
        """Trip where models fail, as the policy says; an ensemble that abstained has no weights."""
        ladder = self.desk.ladder
        if any(decided.weights_N):
            ladder.model_worked(decided.instrument)
            return ()
        is_flatten = (
            self.settings.breaker.model_failure_policy == "flatten"
            and self.settings.meta.emergency_fallback_enabled
        )
        return ladder.model_failed(decided.instrument, is_flatten)
