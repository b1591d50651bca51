"""From a decision to orders: what to cancel, what to move and what to send. Pure.

``Planner`` remembers one campaign per instrument, so that an execution style can take several
decisions: a quote that follows the touch, a time-out to aggressive, slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.settings import Settings
from daemon.effects import Decided
from daemon.instrument_state import InstrumentState
from daemon.order_table import OrderTable, TrackedOrder
from kernels.events import OrderIntent, OrderStatus, OrderType, Side
from risk.breaker import BreakerState
from risk.sizing import order_lots_max
from strategy.campaigns import (
    NO_CAMPAIGN,
    NS_PER_MS,
    Campaign,
    advance,
    aim,
    is_under_way,
    sent_slice,
    slice_lots,
    style_now,
)
from strategy.intents import limit_ticks, opposes, plan

RESTING = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)

Move = tuple[TrackedOrder, OrderIntent]
"""A resting order and the intent to have it at another price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What leads one instrument towards its target now; ``outcome`` says it in a word."""

    outcome: str
    intent: OrderIntent | None = None
    cancels: tuple[TrackedOrder, ...] = ()
    moves: tuple[Move, ...] = ()


class Planner:
    """Plan orders instrument by instrument."""

    def __init__(self, instrument_count: int) -> None:
        """Begin without campaigns."""
        self.campaigns = [NO_CAMPAIGN] * instrument_count

    def plan(
        self,
        entry: Decided,
        *,
        market: InstrumentState,
        orders: OrderTable,
        breaker: BreakerState,
        full_lots: int,
        shares_A: tuple[float, ...],
        settings: Settings,
    ) -> Plan:
        """Plan for one decision; sequences are numbered by the caller, 0 here."""
        if breaker >= BreakerState.CANCEL:
            self.campaigns[entry.instrument] = NO_CAMPAIGN
            return Plan(outcome="breaker")  # the desk cancels, and closes what is to be closed
        working, buys, sells = orders.open_orders(entry.instrument), 0, 0
        if working:
            buys, sells = _at_stake(working, Side.BUY), _at_stake(working, Side.SELL)
            if _oppose(entry, buys, sells):
                return Plan(outcome="cancelling", cancels=_resting(working))
            if any(order.status not in RESTING for order in working):
                return Plan(outcome="in_flight")  # one at a time: its answer changes what is left
        knobs = settings.execution
        campaign = advance(
            self.campaigns[entry.instrument],
            target_lots=entry.target_lots,
            position_lots=entry.position_lots,
            full_lots=full_lots,
            is_working=bool(working),
            settings=knobs,
            now_ns=entry.decided_ns,
        )
        self.campaigns[entry.instrument] = campaign
        style = style_now(campaign, knobs, entry.decided_ns)
        if working and style != "passive":
            return Plan(outcome="crossing", cancels=_resting(working))
        if working and (moves := self._moves(working, market, settings, entry.decided_ns)):
            return Plan(outcome="requoting", moves=moves)
        lead_lots = abs(aim(entry.target_lots, entry.position_lots) - entry.position_lots)
        due_lots = slice_lots(campaign, lead_lots, knobs, entry.decided_ns)
        if due_lots == 0:
            return Plan(outcome="between_slices")
        intent = plan(
            sequence=0,
            instrument=market.instrument,
            target_lots=entry.target_lots,
            position_lots=entry.position_lots,
            full_lots=full_lots,
            working_buy_lots=buys,
            working_sell_lots=sells,
            bid_ticks=market.bid_ticks,
            ask_ticks=market.ask_ticks,
            mark_ticks=market.mark_ticks,
            price_collar_bps=settings.limits.price_collar_bps,
            settings=knobs,
            decided_ns=entry.decided_ns,
            reason=entry.outcome,
            agent_share_A=shares_A,
            style=style,
            slice_lots=due_lots,
            is_under_way=is_under_way(campaign, knobs),
        )
        if intent is None:
            return Plan(outcome="abstained" if entry.outcome == "abstained" else "hold")
        if due_lots is not None:
            self.campaigns[entry.instrument] = sent_slice(campaign)
        return Plan(outcome="intent", intent=_cut(intent, market, settings))

    def restore(self, campaigns: list[Campaign]) -> None:
        """Take over campaigns; ValueError for another number of instruments."""
        if len(campaigns) != len(self.campaigns):
            raise ValueError("campaigns of another number of instruments")
        self.campaigns = list(campaigns)

    def _moves(
        self,
        working: list[TrackedOrder],
        market: InstrumentState,
        settings: Settings,
        now_ns: int,
    ) -> tuple[Move, ...]:
        """List the quotes that the touch has left, with where they should be."""
        moves: list[Move] = []
        for order in working:
            rested_ns = now_ns - max(order.sent_ns, order.amended_ns)
            is_quote = order.intent.order_type is OrderType.POST_ONLY
            if not is_quote or rested_ns < settings.execution.requote_ms * NS_PER_MS:
                continue
            if not 0 < market.bid_ticks < market.ask_ticks:
                continue
            price_ticks = limit_ticks(
                order.intent.side,
                "passive",
                bid_ticks=market.bid_ticks,
                ask_ticks=market.ask_ticks,
                mark_ticks=market.mark_ticks,
                price_collar_bps=settings.limits.price_collar_bps,
                taker_offset_bps=settings.execution.taker_offset_bps,
            )
            if price_ticks is None or price_ticks == order.intent.price_ticks:
                continue
            intent = replace(
                order.intent,
                price_ticks=price_ticks,
                quantity_lots=order.at_stake_lots,
                decided_ns=now_ns,
                reason="requote",
            )
            moves.append((order, intent))
        return tuple(moves)


def _at_stake(working: list[TrackedOrder], side: Side) -> int:
    return sum(order.at_stake_lots for order in working if order.intent.side is side)


def _oppose(entry: Decided, buys: int, sells: int) -> bool:
    return opposes(
        target_lots=entry.target_lots,
        position_lots=entry.position_lots,
        working_buy_lots=buys,
        working_sell_lots=sells,
    )


def _resting(working: list[TrackedOrder]) -> tuple[TrackedOrder, ...]:
    return tuple(order for order in working if order.status in RESTING)


def _cut(intent: OrderIntent, market: InstrumentState, settings: Settings) -> OrderIntent:
    """Cut new risk to what one order may carry; the rest follows with the next decision."""
    is_buy = intent.side is Side.BUY
    depth_lots = market.ask_depth_lots if is_buy else market.bid_depth_lots
    lots_max = order_lots_max(
        market.instrument,
        intent.price_ticks,
        settings.limits,
        depth_lots,
        market.day_volume_lots,
    )
    if intent.reduce_only or intent.quantity_lots <= lots_max:
        return intent
    return replace(intent, quantity_lots=max(lots_max, market.instrument.lots_min))
