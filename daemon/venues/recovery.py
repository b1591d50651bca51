"""Settle what earlier runs left behind, before this one trades.

Our own open orders are cancelled and that is verified by query. Orders of others are adopted (that
is, cancelled too), ignored, or end trading until an operator looks, as ``recovery.foreign`` says.
Intents whose end the journal does not know are asked for under their client order id, unless the
engine tracks them on and asks itself. Only the venue's evidence closes one; "no such order" counts
as evidence once a request could no longer be under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.identity import is_foreign_id
from daemon.journal import Journal, OpenIntent
from daemon.venues.orders import NOT_FOUND_IS_FINAL_NS
from daemon.venues.outcomes import Outcome, VenueOrder, read_order, to_update
from daemon.venues.reconcile import ReconcileError, cancel_everything, fetch_open_orders
from daemon.venues.tap import TapBinanceUsdm, refusal_of
from kernels.events import OrderStatus, OrderUpdate
from kernels.units import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found: intents without an end, how many are proven, and the orders of others."""

    open_intent_count: int
    proven_count: int
    foreign: tuple[VenueOrder, ...]


async def recover(
    exchange: TapBinanceUsdm,
    instruments: Sequence[Instrument],
    journal: Journal,
    clock: Clock,
    generator: np.random.Generator,
    *,
    foreign: str = "adopt",
    asks: bool = True,
) -> Recovery:
    """Cancel what is ours and settle open intents; ReconcileError when an order stays open.

    ``foreign``: adopt, ignore or halt. ``asks`` False leaves the intents to the engine. Intents of
    instruments that are not traded now are left as they are.
    """
    others = [each for each in await fetch_open_orders(exchange, instruments) if is_foreign(each)]
    keeps = is_foreign if others and foreign != "adopt" else None
    remaining = await cancel_everything(exchange, instruments, generator=generator, keeps=keeps)
    if remaining:
        raise ReconcileError(f"{len(remaining)} orders stay open at the venue")
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    open_intents = journal.open_intents()
    proven_count = 0
    for left in open_intents if asks else ():
        instrument = by_symbol.get(left.symbol)
        if instrument is None:
            continue
        update = await _ask(exchange, instrument, left, clock)
        if update is not None:
            journal.record_update(update)
            proven_count += 1
    return Recovery(
        open_intent_count=len(open_intents), proven_count=proven_count, foreign=tuple(others)
    )


def is_foreign(order: VenueOrder) -> bool:
    """Say whether an order was made by somebody else: its id is none that we give."""
    return is_foreign_id(order.client_order_id)


async def _ask(
    exchange: TapBinanceUsdm, instrument: Instrument, left: OpenIntent, clock: Clock
) -> OrderUpdate | None:
    """Return the proven end of an intent, None where the venue gave no evidence."""
    asked_ns = clock.now_ns()
    request = {"symbol": instrument.venue_id, "origClientOrderId": left.client_order_id}
    try:
        answer = await exchange.fapiPrivateGetOrder(request)
    except BaseError as error:
        refusal = refusal_of(error)
        if refusal.outcome is not Outcome.NOT_FOUND:
            return None
        if asked_ns - left.approved_ns <= NOT_FOUND_IS_FINAL_NS:
            return None
        return OrderUpdate(
            instrument=instrument.index,
            event_ns=asked_ns,
            received_ns=asked_ns,
            client_order_id=left.client_order_id,
            status=OrderStatus.REJECTED,
            filled_lots=0,
            code=refusal.code,
            reason="the venue knows no such order",
        )
    order = read_order(answer, instrument)
    if order is None or order.client_order_id != left.client_order_id:
        return None
    return to_update(order, clock.now_ns(), "asked at start")
