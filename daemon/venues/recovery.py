"""Settle what earlier runs left behind, before this one trades.

Our own open orders are cancelled and that is verified by query. Orders of others are adopted (that
is, cancelled too), ignored, or end trading until an operator looks, as ``recovery.foreign`` says.
Intents whose end the journal does not know are asked for under their client order id until each is
proven, unless the engine tracks them on and asks itself. Only the venue's evidence closes one; "no
such order" counts as evidence once a request could no longer be under way. So whoever reads the
account afterwards reads all that those orders did, and must not count their fills once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.identity import is_foreign_id
from daemon.journal import Journal, OpenIntent
from daemon.venues.orders import NOT_FOUND_IS_FINAL_NS
from daemon.venues.outcomes import Outcome, VenueOrder, read_fill, read_order, to_update
from daemon.venues.reconcile import ReconcileError, cancel_everything, fetch_open_orders
from daemon.venues.supervision import Backoff
from daemon.venues.tap import TapBinanceUsdm, refusal_of
from kernels.events import TERMINAL_STATUSES, Fill, OrderStatus, OrderUpdate
from kernels.units import Instrument

SETTLE_S = 30.0
"""Longer than a request can be under way (seven seconds) and a venue stumbles."""

ASK_MS_MIN, ASK_MS_MAX = 250, 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found: intents without an end, how many are proven, and the orders of others.

    ``untold_lots`` filled by the venue's own word, but it does not tell their trades (any more:
    Binance tells those of seven days). The account has them, the journal's fills have not.
    """

    open_intent_count: int
    proven_count: int
    untold_lots: int
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
    """Cancel what is ours and settle open intents.

    ``foreign``: adopt, ignore or halt. ``asks`` False leaves the intents to the engine. Intents of
    instruments that are not traded now are left as they are. Raises ReconcileError when an order
    stays open, or the end of an intent unproven.
    """
    others = [each for each in await fetch_open_orders(exchange, instruments) if is_foreign(each)]
    keeps = is_foreign if others and foreign != "adopt" else None
    await _cancel(exchange, instruments, generator, keeps)
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    open_intents = journal.open_intents()
    ours = [(by_symbol[each.symbol], each) for each in open_intents if each.symbol in by_symbol]
    waiting = ours if asks else []
    proven_count = untold_lots = 0
    backoff = Backoff(ASK_MS_MIN, ASK_MS_MAX, generator)
    deadline_ns = clock.monotonic_ns() + int(SETTLE_S * 1e9)
    while waiting:
        is_late = clock.monotonic_ns() > deadline_ns
        again = []
        for instrument, left in waiting:
            untold = await _settle(exchange, instrument, left, journal, clock, is_late=is_late)
            if untold is None or (untold > 0 and not is_late):
                again.append((instrument, left))
            else:
                proven_count += 1
                untold_lots += untold
        waiting = again
        if waiting and is_late:
            names = ", ".join(left.client_order_id for _, left in waiting[:5])
            raise ReconcileError(f"{len(waiting)} orders have no proven end: {names}")
        if waiting:
            await asyncio.sleep(backoff.next_s())  # the venue needs time to know, we to ask fairly
            await _cancel(exchange, instruments, generator, keeps)  # one may have arrived meanwhile
    return Recovery(
        open_intent_count=len(open_intents),
        proven_count=proven_count,
        untold_lots=untold_lots,
        foreign=tuple(others),
    )


def is_foreign(order: VenueOrder) -> bool:
    """Say whether an order was made by somebody else: its id is none that we give."""
    return is_foreign_id(order.client_order_id)


async def _cancel(
    exchange: TapBinanceUsdm,
    instruments: Sequence[Instrument],
    generator: np.random.Generator,
    keeps: Callable[[VenueOrder], bool] | None,
) -> None:
    remaining = await cancel_everything(exchange, instruments, generator=generator, keeps=keeps)
    if remaining:
        raise ReconcileError(f"{len(remaining)} orders stay open at the venue")


async def _settle(
    exchange: TapBinanceUsdm,
    instrument: Instrument,
    left: OpenIntent,
    journal: Journal,
    clock: Clock,
    *,
    is_late: bool,
) -> int | None:
    """Write the fills and the end of an intent down; None while its end is not proven.

    Returns the lots whose trades the venue does not tell. The end is written with the last of them,
    or, ``is_late``, without: the venue's word proves it, and its account has what they did.
    """
    asked = await _ask(exchange, instrument, left, clock)
    if asked is None or asked[0].status not in TERMINAL_STATUSES:
        return None
    update, venue_order_id = asked
    untold = max(update.filled_lots, 0)
    if untold:
        for fill in await _fills_of(exchange, instrument, left, venue_order_id, clock):
            journal.record_fill(fill)  # one that is there already is not entered twice
            untold -= fill.quantity_lots
    if untold == 0 or is_late:
        journal.record_update(update)
    return untold


async def _fills_of(
    exchange: TapBinanceUsdm,
    instrument: Instrument,
    left: OpenIntent,
    venue_order_id: int,
    clock: Clock,
) -> list[Fill]:
    """Return the executions of an order as far as the venue tells them now."""
    request = {"symbol": instrument.venue_id, "orderId": venue_order_id, "limit": 1000}
    try:
        rows = await exchange.fapiPrivateGetUserTrades(request)
        received_ns = clock.now_ns()
        read = [
            read_fill(row, instrument, left.client_order_id, received_ns)
            for row in (rows if isinstance(rows, list) else ())
        ]
    except (BaseError, ValueError):
        return []  # asked again
    return [fill for order_id, fill in read if order_id == venue_order_id]


async def _ask(
    exchange: TapBinanceUsdm, instrument: Instrument, left: OpenIntent, clock: Clock
) -> tuple[OrderUpdate, int] | None:
    """Return what the venue says of an intent and its id there; None where it gave no evidence."""
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
        unknown = OrderUpdate(
            instrument=instrument.index,
            event_ns=asked_ns,
            received_ns=asked_ns,
            client_order_id=left.client_order_id,
            status=OrderStatus.REJECTED,
            filled_lots=0,
            code=refusal.code,
            reason="the venue knows no such order",
        )
        return unknown, 0
    order = read_order(answer, instrument)
    if order is None or order.client_order_id != left.client_order_id:
        return None
    return to_update(order, clock.now_ns(), "asked at start"), order.venue_order_id
