"""The order desk of the core: ledger, orders, gate and breaker, folded together.

Everything that concerns our own money passes here: fills move the ledger once, news of orders moves
the table, losses and rejections move the breaker, intents pass the gate. Pure: effects come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon import foreign_orders
from daemon.effects import (
    AmendOrder,
    AskAccount,
    CallGuard,
    CancelAll,
    CancelOrder,
    Effect,
    QueryOrder,
    SendOrder,
)
from daemon.identity import client_order_id
from daemon.ladder import Ladder, LadderState
from daemon.loss_watch import LossWatch
from daemon.notes import NoteBook
from daemon.order_patience import (
    EXPECTED_REJECTIONS,
    NOTES_BY_STATUS,
    TRIGGERS_BY_COMMAND,
    wants_query,
)
from daemon.order_table import Applied, OrderTable, TableState, TrackedOrder
from kernels.attribution import AgentLedger
from kernels.events import (
    AGENTS,
    AccountState,
    Alarm,
    Command,
    CommandName,
    Fill,
    Funding,
    MarkPrice,
    OrderIntent,
    OrderStatus,
    OrderUpdate,
)
from kernels.ledger import Ledger
from kernels.units import Instrument, from_e8
from risk.agent_latches import DisarmCause
from risk.breaker import Breaker, BreakerState, Trigger
from risk.closing import closing_intent
from risk.gate import Approved, Denied, Gate, GateState, MarketView
from risk.views import ModelVerdict

NS_PER_MS = 1_000_000
SETTLE_NS = 1_000_000_000
"""An account is compared only when no order of ours moved for this long before it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskState:
    """All that the desk remembers; live objects inside, so write it out at once."""

    ledger: NDArray[np.int64]
    agents: tuple[NDArray[np.int64], NDArray[np.int64]]
    gate: GateState
    orders: TableState
    ladder: LadderState
    approved_count: int
    denied_counts: dict[str, int]
    last_order_ns: int
    mismatch_count: int
    has_loss_news: bool = True


class Desk:
    """Our side of the account: what we hold, what works, what may still be sent."""

    def __init__(
        self,
        *,
        instruments: tuple[Instrument, ...],
        settings: Settings,
        run_id: str,
        opening: AccountState,
        notes: NoteBook,
        agent_names: tuple[str, ...] = AGENTS,
    ) -> None:
        """Start from the venue's own account."""
        self.ledger = Ledger(instruments, opening.wallet_quote_e8)
        self.ledger.adopt(opening)
        self.agents = AgentLedger(instruments, len(agent_names))
        self.agents.adopt(self.ledger)
        self.gate = Gate(instruments, settings.limits, len(agent_names))
        self._losses = LossWatch(self.ledger, self.agents, self.gate.agents)
        self.orders = OrderTable(len(instruments))
        self.ladder = Ladder(len(instruments), settings, notes)
        self.approved_count = 0
        self.denied_counts: Counter[str] = Counter()
        self._instruments = instruments
        self._agent_names = agent_names
        self.use(settings)
        self._run_id = run_id
        self._notes = notes
        self._last_order_ns = 0
        self._mismatch_count = 0

    def use(self, settings: Settings) -> None:
        """Take limits and execution from these settings from now on."""
        self.gate.set_limits(settings.limits)
        self._limits, self._recovery = settings.limits, settings.recovery
        self._losses.moved()
        self._query_ns = settings.execution.unknown_query_ms * NS_PER_MS
        self._working_ns = settings.execution.working_ms_max * NS_PER_MS

    @property
    def breaker(self) -> Breaker:
        """What may be sent now, and why."""
        return self.ladder.breaker

    # what the venue says --------------------------------------------------------------------

    def on_fill(self, fill: Fill) -> tuple[Effect, ...]:
        """Book an execution once, whoever the order belongs to: it moved our account."""
        applied = self.orders.apply_fill(fill)
        if applied is Applied.REPEATED:
            return ()
        self.ledger.apply_fill(fill)
        self._losses.moved()
        order = self.orders.get(fill.client_order_id)
        self.agents.apply_fill(fill, () if order is None else order.intent.agent_share_A)
        self._last_order_ns = fill.received_ns
        instrument = self._instruments[fill.instrument]
        filled = self._notes.note(
            "order_filled",
            fill.instrument,
            client_order_id=fill.client_order_id,
            trade_id=fill.trade_id,
            side=fill.side.name,
            price=instrument.price_text(fill.price_ticks),
            quantity=instrument.quantity_text(fill.quantity_lots),
            fee_quote=from_e8(fill.fee_quote_e8),
            is_maker=fill.is_maker,
            position_lots=self.ledger.position_lots(fill.instrument),
        )
        if applied is Applied.CHANGED:
            return (filled,)
        why = "filled beyond its quantity"
        if applied is Applied.FOREIGN:
            why = "fill of an order that is not ours"
        name = fill.client_order_id
        surprise = self._notes.note(
            "order_illegal_transition", fill.instrument, client_order_id=name, reason=why
        )
        return (filled, surprise, *self.trip(Trigger.POSITION_MISMATCH, why))

    def on_update(self, update: OrderUpdate) -> tuple[Effect, ...]:
        """Book news of an order's status."""
        applied = self.orders.apply_update(update)
        if applied is Applied.REPEATED:
            return ()
        if applied is Applied.FOREIGN:
            return foreign_orders.answer(update, self._recovery, self._notes, self.trip)
        self._last_order_ns = update.received_ns
        if applied is Applied.ILLEGAL:
            return (
                self._notes.note(
                    "order_illegal_transition",
                    update.instrument,
                    client_order_id=update.client_order_id,
                    reason=f"news of {update.status.name} after a terminal status",
                ),
            )
        effects: list[Effect] = []
        if update.status in NOTES_BY_STATUS:
            effects.append(
                self._notes.note(
                    NOTES_BY_STATUS[update.status],
                    update.instrument,
                    client_order_id=update.client_order_id,
                    filled_lots=update.filled_lots,
                    venue_code=update.code,
                    reason=update.reason,
                )
            )
        if update.status is OrderStatus.REJECTED and update.code not in EXPECTED_REJECTIONS:
            effects.extend(self.ladder.count_rejection(update.received_ns))
        return tuple(effects)

    def on_account(self, account: AccountState) -> tuple[Effect, ...]:
        """Hold the ledger against the venue; if they differ twice at rest, the venue is right."""
        quiet = account.received_ns - self._last_order_ns >= SETTLE_NS
        if open_orders := self.orders.open_orders():
            return self._ask_about(open_orders, account.received_ns)
        if not quiet:
            return ()
        ours = tuple(self.ledger.position_lots(i) for i in range(len(self._instruments)))
        if ours == account.position_lots:
            self._mismatch_count = 0
            if self.ladder.is_closing and not any(ours):
                return self.trip(Trigger.FLAT, "the venue says that we are flat")
            return ()
        self._mismatch_count += 1
        if self._mismatch_count < 2:
            return ()
        self._mismatch_count = 0
        self.ledger.adopt(account)
        self.agents.adopt(self.ledger)
        self._losses.moved()
        return (
            self._notes.note(
                "position_mismatch", ours=list(ours), venue=list(account.position_lots)
            ),
            *self.trip(Trigger.POSITION_MISMATCH, "position differs from the venue's"),
        )

    def on_mark(self, mark: MarkPrice) -> None:
        """Value an instrument in the account and for every agent."""
        self.ledger.mark(mark.instrument, mark.mark_ticks, mark.received_ns)
        self.agents.mark(mark.instrument, mark.mark_ticks)
        self._losses.moved()

    def on_funding(self, funding: Funding) -> None:
        """Book a funding payment for the account and its holders."""
        self.ledger.apply_funding(funding)
        self.agents.apply_funding(funding)
        self._losses.moved()

    def roll_day(self, now_ns: int) -> None:
        """Measure the day's losses from now on once 00:00 UTC has passed."""
        self._losses.roll_day(now_ns)

    def on_command(self, command: Command) -> tuple[Effect, ...]:
        """Obey an operator; the stops are remembered by the engine."""
        heard = self._notes.note(
            "command_received", command=command.name.name, reason=command.reason
        )
        if command.name in (CommandName.STOP, CommandName.STOP_CLOSING):
            return (heard, *self._cancel_everything("stop"))
        if command.name is CommandName.STOP_LEAVING:
            return (heard,)
        if command.name is CommandName.RESUME:
            self.gate.agents.rearm()
            self.forget_losses()
        return (heard, *self.trip(TRIGGERS_BY_COMMAND[command.name], command.reason))

    def on_alarm(self, alarm: Alarm) -> tuple[Effect, ...]:
        """Trip for what the shell found; a code that is no trigger counts as the gravest."""
        known = {trigger.value: trigger for trigger in Trigger}
        return self.trip(known.get(alarm.code, Trigger.GUARD), alarm.reason)

    # what we do -----------------------------------------------------------------------------

    def review(
        self,
        intents: Sequence[OrderIntent],
        market: MarketView,
        now_ns: int,
        model: Sequence[ModelVerdict] | None = None,
    ) -> list[Effect]:
        """Pass intents through the gate; what is approved counts as working from here on.

        Without ``model``, the verdict on the models by instrument, only reductions can pass.
        """
        effects: list[Effect] = []
        disarmed_before = self.gate.agents.causes
        verdicts = self.gate.review(
            intents,
            ledger=self.ledger,
            market=market,
            working=self.orders.working_view(),
            breaker=self.breaker.state,
            model=model,
            now_ns=now_ns,
        )
        for verdict in verdicts:
            if isinstance(verdict, Approved):
                self.approved_count += 1
                identity = client_order_id(self._run_id, verdict.intent.sequence)
                self.orders.add(identity, verdict.intent, now_ns)
                self._last_order_ns = now_ns
                self._notes.over("order_denied", verdict.intent.instrument)
                effects.append(SendOrder(client_order_id=identity, approved=verdict))
            else:
                effects.extend(self._denied(verdict))
        effects.extend(self._newly_disarmed(disarmed_before))
        return effects

    @property
    def armed_agents(self) -> tuple[bool, ...]:
        """Which agents may ask for new risk."""
        return tuple(cause is None for cause in self.gate.agents.causes)

    def tend(self, now_ns: int) -> list[Effect]:
        """Ask about what is not proven and cancel what has rested too long."""
        effects: list[Effect] = []
        for order in self.orders.open_orders():
            rests = order.status in (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)
            is_ending = self.breaker.state >= BreakerState.CANCEL
            if rests and not is_ending and now_ns - order.sent_ns < self._working_ns:
                continue
            if rests:
                reason = f"breaker {self.breaker.state.name}" if is_ending else "worked too long"
                effects.extend(self.cancel(order, reason, now_ns))
            elif wants_query(order, now_ns, self._query_ns):
                if order.status is OrderStatus.PENDING_CANCEL:
                    effects.extend(self.cancel(order, "no proof of its end yet", now_ns))
                order.queried_ns = now_ns
                effects.append(
                    QueryOrder(
                        client_order_id=order.client_order_id, instrument=order.intent.instrument
                    )
                )
        return effects

    def close_positions(
        self, market: MarketView, now_ns: int, next_sequence: int
    ) -> tuple[list[Effect], int]:
        """Close what is still open, wider with every attempt; return effects and orders planned.

        Orders under way are waited for: what they fill is not closed twice. When all is flat the
        venue is asked, and only its own word ends FLATTEN.
        """
        effects: list[Effect] = []
        intents: list[OrderIntent] = []
        is_flat = True
        for instrument in self._instruments:
            index = instrument.index
            position_lots = self.ledger.position_lots(index)
            if self.orders.open_orders(index):
                is_flat = False
                continue
            if position_lots == 0:
                continue
            is_flat = False
            attempt = self.ladder.may_close(index, now_ns)
            if attempt is None:
                continue
            intent = closing_intent(
                sequence=next_sequence + len(intents),
                instrument=instrument,
                position_lots=position_lots,
                bid_ticks=market[index].bid_ticks,
                ask_ticks=market[index].ask_ticks,
                mark_ticks=market[index].mark_ticks,
                price_collar_bps=self._limits.price_collar_bps,
                attempt=attempt,
                decided_ns=now_ns,
            )
            if intent is not None:
                intents.append(intent)
        effects.extend(self.review(intents, market, now_ns))
        if is_flat and self.ladder.wants_proof(now_ns):
            effects.append(AskAccount(reason="flat by our books"))
        elif not is_flat and self.ladder.wants_guard(now_ns):
            effects.append(CallGuard(reason="positions are not closed by orders of our own"))
        return effects, len(intents)

    def cancel(self, order: TrackedOrder, reason: str, now_ns: int) -> tuple[Effect, ...]:
        """Cancel one order, at most once per query interval and within the message budget."""
        asked_lately = now_ns - order.cancel_requested_ns < self._query_ns
        if asked_lately or not self.gate.allow_cancel(now_ns):
            return ()
        self.orders.begin_cancel(order, now_ns)
        return (
            CancelOrder(
                client_order_id=order.client_order_id,
                instrument=order.intent.instrument,
                reason=reason,
            ),
        )

    def amend(
        self,
        order: TrackedOrder,
        intent: OrderIntent,
        market: MarketView,
        now_ns: int,
        model: Sequence[ModelVerdict],
    ) -> tuple[Effect, ...]:
        """Move a resting order to the price of ``intent``, judged like any new order.

        What the gate does not let through is cancelled: a quote that may not move must not stay.
        """
        self.orders.lift(order)
        (verdict,) = self.gate.review(
            (intent,),
            ledger=self.ledger,
            market=market,
            working=self.orders.working_view(),
            breaker=self.breaker.state,
            model=model,
            now_ns=now_ns,
        )
        if isinstance(verdict, Denied):
            self.orders.put_back(order, None, now_ns)
            return (*self._denied(verdict), *self.cancel(order, "may not be moved", now_ns))
        self.orders.put_back(order, intent.price_ticks, now_ns)
        return (
            AmendOrder(
                client_order_id=order.client_order_id,
                quantity_lots=order.intent.quantity_lots,
                approved=verdict,
            ),
        )

    def check_losses(self) -> tuple[Effect, ...]:
        """Move the breaker where a loss limit is reached, disarm agents that lost too much."""
        if not self._losses.has_moved:
            return ()
        before = self.gate.agents.causes
        flattens = self.ladder.settings.drawdown_policy == "flatten"
        trigger = self._losses.judge(self._limits, flattens=flattens)
        reason = "drawdown" if trigger is Trigger.DRAWDOWN_FLATTEN else trigger
        tripped = () if trigger is None else self.trip(trigger, f"{reason} limit")
        return (*self._newly_disarmed(before), *tripped)

    def trip(self, trigger: Trigger, reason: str) -> tuple[Effect, ...]:
        """Apply a trigger to the breaker."""
        return self.ladder.trip(trigger, reason)

    @property
    def state(self) -> DeskState:
        """Give all that the desk remembers."""
        return DeskState(
            ledger=self.ledger.state,
            agents=self.agents.state,
            gate=self.gate.state,
            orders=self.orders.state,
            ladder=self.ladder.state,
            approved_count=self.approved_count,
            denied_counts=dict(self.denied_counts),
            last_order_ns=self._last_order_ns,
            mismatch_count=self._mismatch_count,
            has_loss_news=self._losses.has_moved,
        )

    def restore(self, state: DeskState) -> None:
        """Take over what was remembered; ValueError when it belongs to other instruments."""
        self.ledger.restore(state.ledger)
        self.agents.restore(state.agents)
        self.gate.restore(state.gate)
        self.orders.restore(state.orders)
        self.ladder.restore(state.ladder)
        self.approved_count = state.approved_count
        self.denied_counts = Counter(state.denied_counts)
        self._last_order_ns = state.last_order_ns
        self._mismatch_count = state.mismatch_count
        self._losses.moved()
        self._losses.has_moved = state.has_loss_news

    def forget_losses(self) -> None:
        """Measure losses from now on; an operator has looked at the past ones."""
        self._losses.forget()

    # inner ----------------------------------------------------------------------------------

    def _newly_disarmed(self, before: Sequence[DisarmCause | None]) -> tuple[Effect, ...]:
        after = self.gate.agents.causes
        return tuple(
            self._notes.note("agent_disarmed", agent=self._agent_names[agent], reason=cause.value)
            for agent, cause in enumerate(after)
            if cause is not None and before[agent] is None
        )

    def _ask_about(self, orders: Sequence[TrackedOrder], now_ns: int) -> tuple[Effect, ...]:
        """Ask about orders that have been silent: what a stream lost while it was down."""
        effects: list[Effect] = []
        for order in orders:
            if now_ns - max(order.status_ns, order.queried_ns) >= self._query_ns:
                order.queried_ns = now_ns
                query = QueryOrder(
                    client_order_id=order.client_order_id, instrument=order.intent.instrument
                )
                effects.append(query)
        return tuple(effects)

    def _denied(self, denied: Denied) -> tuple[Effect, ...]:
        self.denied_counts[denied.code.value] += 1
        return self._notes.seldom(
            "order_denied",
            denied.intent.instrument,
            denied.code.value,
            limit=denied.limit,
            observed=denied.observed,
            detail=denied.detail,
        )

    def _cancel_everything(self, reason: str) -> tuple[Effect, ...]:
        return tuple(
            CancelAll(instrument=index, reason=reason) for index in range(len(self._instruments))
        )
