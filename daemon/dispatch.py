"""Carry out effects: journal first, then the wire, then everything that can wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from config.settings import Settings
from daemon import latch
from daemon.clock import Clock
from daemon.decision_words import words_of
from daemon.effects import (
    AmendOrder,
    AskAccount,
    CallGuard,
    CancelAll,
    CancelOrder,
    Decided,
    Effect,
    LatchBreaker,
    ModelMoved,
    Note,
    QueryOrder,
    SendOrder,
)
from daemon.journal import Journal, JournalError
from daemon.lanes import Lanes
from daemon.log_events import EVENTS
from daemon.logs import Log
from daemon.metrics import Metrics
from daemon.probe import SendWatch
from daemon.venues.orders import OrderGateway
from daemon.venues.recovery import is_foreign
from kernels.events import Action, Alarm, Event, Fill, OrderStatus, OrderUpdate
from kernels.units import Instrument
from risk.breaker import Breaker, Trigger
from strategy.meta_tracker import MetaLearningTracker


class Dispatcher:
    """The hands of the engine; one method per kind of effect.

    ``account_wanted`` is set when the venue's account is to be read now; ``call_guard`` takes the
    reason when the guard is to close positions, and is set once there is a guard;
    ``on_model_moved`` takes the steps of model bundles; ``on_fill`` is told of our executions.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        instruments: tuple[Instrument, ...],
        expert_names: tuple[str, ...],
        journal: Journal,
        gateway: OrderGateway,
        lanes: Lanes,
        log: Log,
        metrics: Metrics,
        clock: Clock,
        send_watch: SendWatch,
        after_sends: Callable[[Callable[[], None]], object],
    ) -> None:
        """Know every place an effect can go to; ``after_sends`` calls once requests have begun."""
        self.use(settings)
        self._instruments = instruments
        self._expert_names = expert_names
        self._journal = journal
        self._gateway = gateway
        self._lanes = lanes
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._send_watch = send_watch
        self._after_sends = after_sends
        self.tracker = MetaLearningTracker()
        self.account_wanted = asyncio.Event()
        self.call_guard: Callable[[str], None] | None = None
        self.on_model_moved: Callable[[ModelMoved], None] | None = None
        self.on_fill: Callable[[Fill], None] | None = None

    def use(self, settings: Settings) -> None:
        """Take what is logged from these settings from now on."""
        self._detailed = settings.meta.detailed_logging
        self._shows_weights = settings.meta.meta_learning_debug

    def carry_out(self, effects: Sequence[Effect], origin_ns: int) -> None:
        """Carry out effects in order; ``origin_ns`` is when the news behind them was received.

        Beside orders to send, what is only told (decisions, notes) waits until their bytes are
        out: the loop runs the requests first.
        """
        sends = [effect for effect in effects if isinstance(effect, SendOrder)]
        if not sends:
            for effect in effects:
                self._act(effect)
            return
        told: list[Effect] = []
        stored = self._store(sends)
        for effect in effects:
            if isinstance(effect, SendOrder):
                if stored:
                    self._send(effect, origin_ns)
                    told.append(effect)
            elif isinstance(effect, Decided | Note):
                told.append(effect)
            else:
                self._act(effect)
        self._after_sends(partial(self._follow_up, told, stored))

    def _follow_up(self, told: Sequence[Effect], is_stored: bool) -> None:
        """Write down what went out, now that it is out."""
        for effect in told:
            if isinstance(effect, SendOrder):
                self._tell_sent(effect)
            else:
                self._act(effect)
        if is_stored:
            self._journal.follow_up()

    def _act(self, effect: Effect) -> None:
        """Carry out one effect that is no new order."""
        if isinstance(effect, Decided):
            self._keep_decision(effect)
        elif isinstance(effect, Note):
            self.note(effect)
        elif isinstance(effect, CancelOrder):
            self._gateway.cancel(effect)
        elif isinstance(effect, AmendOrder):
            self._amend(effect)
        elif isinstance(effect, CancelAll):
            self._gateway.cancel_all(effect.instrument)
        elif isinstance(effect, QueryOrder):
            self._gateway.query_unknown(effect.client_order_id, effect.instrument)
        elif isinstance(effect, LatchBreaker):
            self._latch(effect.breaker)
        elif isinstance(effect, AskAccount):
            self.account_wanted.set()
        elif isinstance(effect, CallGuard):
            self._call_guard(effect.reason)
        elif isinstance(effect, ModelMoved):
            assert self.on_model_moved is not None, "only a hot swap offers bundles"
            self.on_model_moved(effect)

    def note(self, note: Note) -> None:
        """Log a note; alerts are kept in the journal as well."""
        if note.event == "order_foreign" and note.fields.get("policy") == "halt":
            self._gateway.spares = is_foreign  # until an operator has looked, they are not touched
        self._log.note(note)
        if self.is_alert(note):
            self._journal.record_note(note)

    def is_alert(self, note: Note) -> bool:
        """Say whether a note wakes somebody."""
        return EVENTS[note.event].alert

    def keep(self, event: Event) -> None:
        """Put news of our own orders into the journal."""
        if isinstance(event, Fill):
            self._journal.record_fill(event)
            if self.on_fill is not None:
                self.on_fill(event)
        elif isinstance(event, OrderUpdate):
            self._journal.record_update(event)

    def _latch(self, breaker: Breaker) -> None:
        try:
            latch.write(self._journal.path.parent, breaker, "daemon")
        except latch.LatchError as error:
            fields = {"state": breaker.state.name, "reason": str(error)}
            self.note(Note(event="latch_error", event_ns=self._clock.now_ns(), fields=fields))

    def _call_guard(self, reason: str) -> None:
        if self.call_guard is not None:
            self.call_guard(reason)
            return
        fields = {"reason": f"{reason}; and there is no guard"}
        self.note(Note(event="guard_lost", event_ns=self._clock.now_ns(), fields=fields))

    def _store(self, sends: Sequence[SendOrder]) -> bool:
        """Store all that leave together, at the price of one sync; False when nothing may leave."""
        started_ns = self._clock.monotonic_ns()
        try:
            self._journal.record_intents(
                [
                    (send.client_order_id, send.approved.intent, send.approved.approved_ns)
                    for send in sends
                ]
            )
        except JournalError as error:
            for send in sends:
                self._refuse(send, error)
            return False
        self._metrics.record("journal", self._clock.monotonic_ns() - started_ns)
        return True

    def _send(self, send: SendOrder, origin_ns: int) -> None:
        waited_ns = self._clock.now_ns() - origin_ns
        self._send_watch.begin(send.client_order_id, self._clock.monotonic_ns() - waited_ns)
        self._gateway.submit(send)

    def _tell_sent(self, send: SendOrder) -> None:
        intent = send.approved.intent
        instrument = self._instruments[intent.instrument]
        fields = {
            "instrument": instrument.symbol,
            "client_order_id": send.client_order_id,
            "side": intent.side.name,
            "quantity": instrument.quantity_text(intent.quantity_lots),
            "price": instrument.price_text(intent.price_ticks),
            "order_type": intent.order_type.name,
            "reduce_only": intent.reduce_only,
        }
        self._log.note(Note(event="order_sent", event_ns=self._clock.now_ns(), fields=fields))

    def _amend(self, amend: AmendOrder) -> None:
        """Write down where an order goes, then move it; size and side stay as they were stored."""
        intent = amend.approved.intent
        instrument = self._instruments[intent.instrument]
        fields = {
            "instrument": instrument.symbol,
            "client_order_id": amend.client_order_id,
            "price": instrument.price_text(intent.price_ticks),
            "remaining": instrument.quantity_text(intent.quantity_lots),
        }
        note = Note(event="order_amended", event_ns=self._clock.now_ns(), fields=fields)
        self._journal.record_note(note)
        self._gateway.amend(amend)
        self._log.note(note)

    def _refuse(self, send: SendOrder, error: JournalError) -> None:
        """An order that cannot be written down is not sent, and neither is the next one."""
        now_ns = self._clock.now_ns()
        intent = send.approved.intent
        self._lanes.put(
            OrderUpdate(
                instrument=intent.instrument,
                event_ns=now_ns,
                received_ns=now_ns,
                client_order_id=send.client_order_id,
                status=OrderStatus.REJECTED,
                filled_lots=0,
                code=0,
                reason="not sent: the journal failed",
            )
        )
        self._lanes.put(
            Alarm(received_ns=now_ns, code=Trigger.JOURNAL_ERROR.value, reason="the journal failed")
        )
        self._log.note(Note(event="journal_error", event_ns=now_ns, fields={"reason": str(error)}))

    def _keep_decision(self, decided: Decided) -> None:
        self._metrics.record("data_age", decided.data_age_ns)
        self.tracker.track(
            regime=decided.regime,
            weights_N=decided.weights_N,
            action=side_of(decided.target_lots),
            instrument=decided.instrument,
        )
        words = partial(words_of, decided, self._expert_names)
        self._journal.record_decision(decided.decided_ns, decided.instrument, words)
        if not (self._shows_weights or self._detailed):
            return
        fields = words()
        if self._shows_weights:
            shown = {name: fields[name] for name in ("regime", "posterior", "weights", "actions")}
            shown["instrument"] = self._instruments[decided.instrument].symbol
            self._log.note(Note(event="weights_updated", event_ns=decided.decided_ns, fields=shown))
        if self._detailed:
            fields["instrument"] = self._instruments[decided.instrument].symbol
            self._log.note(Note(event="decision", event_ns=decided.decided_ns, fields=fields))


def side_of(position_lots: int) -> Action:
    """Return the action whose wanted position has this sign."""
    if position_lots == 0:
        return Action.HOLD
    return Action.BUY if position_lots > 0 else Action.SELL
