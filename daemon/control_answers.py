"""What the daemon answers when it is asked how it stands: plain JSON, read from the live engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from daemon.control import Question, RefusedError
from daemon.decision_words import words_of
from daemon.journal_reader import JournalUnreadableError, UnknownOrderError, explain
from kernels.units import from_e8

if TYPE_CHECKING:
    from daemon.assembly import Parts
    from daemon.metrics import StageSummary

Words = dict[str, Any]
NS_PER_S = 1_000_000_000
ORDERS_SHOWN_MAX = 200
FLUSH_S = 1.0
"""How long an explanation waits for the newest rows to reach the disk."""


class Watched(Protocol):
    """The views of a run, as far as an answer needs them."""

    @property
    def address(self) -> str:
        """Where the live page is served, empty where it is not."""
        ...

    def view(self, latency: Mapping[str, StageSummary]) -> Words:
        """Give everything a view shows of now."""
        ...


def questions(parts: Parts, began_ns: int, watched: Watched) -> dict[str, Question]:
    """Return what answers each question of an operator; ``began_ns`` is monotonic."""

    async def answer_status(_: Words) -> Words:
        guard = parts.guard.describe() if parts.guard is not None else {"state": "none"}
        told = status(parts, parts.clock.monotonic_ns() - began_ns, guard)
        return {**told, "page": watched.address}

    async def answer_view(_: Words) -> Words:
        return watched.view(parts.metrics.summary())

    async def answer_positions(_: Words) -> Words:
        return positions(parts)

    async def answer_weights(_: Words) -> Words:
        return weights(parts)

    async def answer_why(request: Words) -> Words:
        return await why(parts, str(request.get("order", "")))

    return {
        "status": answer_status,
        "view": answer_view,
        "positions": answer_positions,
        "weights": answer_weights,
        "why": answer_why,
    }


def status(parts: Parts, uptime_ns: int, guard: Words) -> Words:
    """Say in one object how the daemon stands."""
    engine = parts.engine
    desk = engine.desk
    breaker = desk.breaker
    last = engine.history[-1] if engine.history else None
    return {
        "schema": 1,
        "run_id": parts.run_id,
        "mode": parts.settings.mode,
        "venue": parts.settings.venue,
        "preset": parts.settings.preset,
        "pid": os.getpid(),
        "uptime_s": round(uptime_ns / NS_PER_S, 3),
        "is_stopping": engine.is_stopping,
        "breaker": {
            "state": breaker.state.name,
            "trigger": breaker.trigger.value if breaker.trigger else None,
            "since_ns": breaker.since_ns,
            "reason": breaker.reason,
        },
        "verdicts": {
            market.instrument.symbol: market.verdict.name.lower() for market in engine.markets
        },
        "decisions": engine.decision_count,
        "last_decision_ns": last.decided_ns if last else None,
        "orders": {
            **desk.orders.counts,
            "open": len(desk.orders.open_orders()),
            "denied": dict(desk.denied_counts),
        },
        "equity_quote": from_e8(desk.ledger.equity_quote_e8),
        "drawdown_frac": desk.ledger.drawdown_frac,
        "day_loss_frac": desk.ledger.day_loss_frac,
        "alerts": parts.log.alert_counts(),
        "guard": guard,
    }


def positions(parts: Parts) -> Words:
    """List what is held and what works."""
    desk = parts.engine.desk
    held = []
    for market in parts.engine.markets:
        instrument = market.instrument
        lots = desk.ledger.position_lots(instrument.index)
        cost_e8 = desk.ledger.entry_quote_e8(instrument.index)
        value_e8 = instrument.notional_quote_e8(market.mark_ticks, lots)
        held.append(
            {
                "instrument": instrument.symbol,
                "position_lots": lots,
                "quantity": _signed(lots, instrument.quantity_text),
                "entry_price": _entry_price(cost_e8, lots * instrument.lot_size_e8),
                "mark_price": instrument.price_text(market.mark_ticks),
                "notional_quote": from_e8(value_e8),
                "unrealised_quote": from_e8(value_e8 - cost_e8 if lots else 0),
            }
        )
    orders = [
        {
            "client_order_id": order.client_order_id,
            "instrument": parts.instruments[order.intent.instrument].symbol,
            "side": order.intent.side.name,
            "status": order.status.name,
            "lots": order.intent.quantity_lots,
            "at_stake_lots": order.at_stake_lots,
            "reduce_only": order.intent.reduce_only,
        }
        for order in desk.orders.open_orders()[:ORDERS_SHOWN_MAX]
    ]
    return {
        "positions": held,
        "open_orders": orders,
        "equity_quote": from_e8(desk.ledger.equity_quote_e8),
        "gross_notional_quote": from_e8(desk.ledger.gross_notional_quote_e8),
    }


def weights(parts: Parts) -> Words:
    """Say who decides now, and in which regimes."""
    engine = parts.engine
    newest: dict[str, Words] = {}
    for decided in reversed(engine.history):
        symbol = parts.instruments[decided.instrument].symbol
        if symbol in newest:
            continue
        words = words_of(decided, engine.decider.expert_names)
        newest[symbol] = {"decided_ns": decided.decided_ns, **words}
        if len(newest) == len(parts.instruments):
            break
    return {
        "weights": engine.named_weights,
        "tracked": parts.dispatcher.tracker.summary(),
        "instruments": newest,
        "bundle": parts.bundle.name,
    }


async def why(parts: Parts, client_order_id: str) -> Words:
    """Explain one order from the journal; RefusedError for one that it does not hold."""
    path = parts.journal.path
    values = {each.symbol: each.tick_lot_quote_e8 for each in parts.instruments}

    def read() -> Words:
        parts.journal.flush(FLUSH_S)
        return explain(path, client_order_id, values)

    try:
        return await asyncio.to_thread(read)
    except (UnknownOrderError, JournalUnreadableError) as error:
        raise RefusedError(str(error)) from None


def _signed(lots: int, text_of: Callable[[int], str]) -> str:
    return f"-{text_of(-lots)}" if lots < 0 else text_of(lots) if lots else "0"


def _entry_price(cost_e8: int, quantity_e8: int) -> str | None:
    return f"{cost_e8 / quantity_e8:.8g}" if quantity_e8 else None
