"""Feed the terminal view from a running daemon, twice a second, off the event loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from daemon.assembly import Parts
from daemon.dashboard.terminal import (
    AlertView,
    InstrumentView,
    OrderView,
    RunView,
    TerminalView,
)
from daemon.metrics import StageSummary
from daemon.order_table import TrackedOrder
from kernels.units import E8

REFRESH_S = 0.5
LOG_LINES = 8
ALERTS = 20
ORDERS = 50
NS_PER_S = 1_000_000_000


async def show(parts: Parts, duration_ns: int | None) -> None:
    """Draw until cancelled, then give the terminal back."""
    began_ns = parts.clock.monotonic_ns()
    with TerminalView() as terminal:
        while True:
            elapsed_ns = parts.clock.monotonic_ns() - began_ns
            view = snapshot(parts, elapsed_ns, duration_ns, parts.metrics.summary())
            await asyncio.to_thread(terminal.update, view)
            await asyncio.sleep(REFRESH_S)


def snapshot(
    parts: Parts,
    elapsed_ns: int,
    duration_ns: int | None,
    latency: Mapping[str, StageSummary],
) -> RunView:
    """Copy what the views show out of the running daemon."""
    engine = parts.engine
    ledger = engine.desk.ledger
    counters = parts.feed.counters
    remaining_s = None
    if duration_ns is not None:
        remaining_s = max(duration_ns - elapsed_ns, 0) / NS_PER_S
    newest = engine.history[-1] if engine.history else None
    return RunView(
        run_id=parts.run_id,
        mode=parts.settings.mode,
        venue=parts.settings.venue,
        preset=parts.settings.preset,
        breaker=engine.desk.breaker.state.name,
        elapsed_s=elapsed_ns / NS_PER_S,
        remaining_s=remaining_s,
        equity_quote=ledger.equity_quote_e8 / E8,
        drawdown_frac=ledger.drawdown_frac,
        day_loss_frac=ledger.day_loss_frac,
        fees_quote=ledger.fees_quote_e8 / E8,
        decision_count=engine.decision_count,
        event_count=counters.depth_count + counters.trade_count + counters.quote_count,
        lost_count=counters.lost_count,
        alert_count=sum(parts.log.alert_counts().values()),
        instruments=[_instrument(parts, index) for index in range(len(parts.instruments))],
        regime_K=newest.regime_K if newest else (),
        expert_names=engine.decider.expert_names,
        weights_N=newest.weights_N if newest else (),
        orders={
            **engine.desk.orders.counts,
            "denied": sum(engine.desk.denied_counts.values()),
        },
        latency=latency,
        log_lines=parts.log.recent(LOG_LINES),
        open_orders=[_order(parts, each) for each in engine.desk.orders.open_orders()[:ORDERS]],
        alerts=[AlertView(**words) for words in parts.log.recent_alerts(ALERTS)],
        breaker_reason=engine.desk.breaker.reason,
        guard=parts.guard.state if parts.guard is not None else "none",
        bundle=engine.decider.rollout.active.bundle.name,
        model_stage=str(engine.decider.rollout.stage),
    )


def _order(parts: Parts, order: TrackedOrder) -> OrderView:
    instrument, intent = parts.instruments[order.intent.instrument], order.intent
    return OrderView(
        client_order_id=order.client_order_id,
        symbol=instrument.symbol,
        side=intent.side.name,
        status=order.status.name,
        price_quote=intent.price_ticks * instrument.tick_size,
        quantity_base=intent.quantity_lots * instrument.lot_size,
        filled_base=order.seen_lots * instrument.lot_size,
        reduce_only=intent.reduce_only,
    )


def _instrument(parts: Parts, index: int) -> InstrumentView:
    engine = parts.engine
    market = engine.markets[index]
    tick_size, lot_size = market.instrument.tick_size, market.instrument.lot_size
    lots = engine.desk.ledger.position_lots(index)
    newest = next((each for each in reversed(engine.history) if each.instrument == index), None)
    fields = {}
    if market.bid_ticks > 0 and market.ask_ticks > 0:
        fields["bid_quote"] = market.bid_ticks * tick_size
        fields["ask_quote"] = market.ask_ticks * tick_size
    if market.mark_ticks > 0:
        fields["mark_quote"] = market.mark_ticks * tick_size
    if newest is not None:
        fields["target_frac"] = newest.exposure
    return InstrumentView(
        symbol=market.instrument.symbol,
        verdict=market.verdict,
        position_base=lots * lot_size,
        notional_quote=market.instrument.notional_quote_e8(market.mark_ticks, lots) / E8,
        open_order_count=len(engine.desk.orders.open_orders(index)),
        **fields,
    )
