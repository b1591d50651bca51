"""What the venue itself says of our account: wallet, positions, open orders.

Read at start, after every connection of the user stream and when something could not be read; the
venue's position is the truth. Errors are raised: the caller must not trade without the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.venues.normalize import settlement_asset
from daemon.venues.outcomes import VenueOrder, read_order
from daemon.venues.supervision import Backoff
from daemon.venues.tap import TapBinanceUsdm, refusal_of
from kernels.events import AccountState
from kernels.units import Instrument, to_e8

CANCEL_MS_MIN, CANCEL_MS_MAX = 100, 2_000


class ReconcileError(RuntimeError):
    """The venue did not say what we hold, or said it in words we do not understand."""


async def fetch_account(
    exchange: TapBinanceUsdm, instruments: Sequence[Instrument], clock: Clock
) -> AccountState:
    """Read wallet and positions in one answer; ReconcileError when that fails.

    The stamp is the time of the question: what happened after it may not be in the answer.
    """
    asked_ns = clock.now_ns()
    answer = await _ask(exchange.fapiPrivateV3GetAccount(), "account")
    try:
        return read_account(answer, instruments, asked_ns)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReconcileError(f"account: {type(error).__name__}: {str(error)[:200]}") from error


def read_account(answer: Any, instruments: Sequence[Instrument], asked_ns: int) -> AccountState:
    """Read the account answer; an instrument that is not listed has no position.

    Raises KeyError, TypeError or ValueError for anything that is no account in one-way mode.
    """
    by_venue_id = {each.venue_id: each for each in instruments}
    asset = settlement_asset(instruments[0])
    wallets = [row["walletBalance"] for row in answer["assets"] if row["asset"] == asset]
    if len(wallets) != 1:
        raise ValueError(f"{len(wallets)} wallets in {asset}")
    position_lots = [0] * len(instruments)
    for row in answer["positions"]:
        instrument = by_venue_id.get(row["symbol"])
        if instrument is None:
            continue
        lots = instrument.quantity_lots(row["positionAmt"])
        if lots and row.get("positionSide", "BOTH") != "BOTH":
            raise ValueError(f"{instrument.symbol} is in hedge mode, which is not supported")
        position_lots[instrument.index] += lots
    return AccountState(
        received_ns=asked_ns,
        wallet_quote_e8=to_e8(wallets[0]),
        position_lots=tuple(position_lots),
    )


async def fetch_open_orders(
    exchange: TapBinanceUsdm, instruments: Sequence[Instrument]
) -> list[VenueOrder]:
    """Read all open orders of the instruments, ours and others; ReconcileError when that fails."""
    orders: list[VenueOrder] = []
    for instrument in instruments:
        request = {"symbol": instrument.venue_id}
        rows = await _ask(exchange.fapiPrivateGetOpenOrders(request), "open orders")
        if not isinstance(rows, list):
            raise ReconcileError("open orders: the answer is no list")
        for row in rows:
            order = read_order(row, instrument)
            if order is None:
                raise ReconcileError(f"open orders: unreadable order of {instrument.symbol}")
            orders.append(order)
    return orders


async def cancel_everything(
    exchange: TapBinanceUsdm,
    instruments: Sequence[Instrument],
    *,
    generator: np.random.Generator,
    timeout_s: float = 10.0,
    keeps: Callable[[VenueOrder], bool] | None = None,
) -> list[VenueOrder]:
    """Cancel all open orders until the venue shows none; return what is still open at the end.

    With ``keeps`` orders are cancelled one by one, and those it says yes to stay and do not count.
    An empty list is the venue's own word. Raises ReconcileError when it gave none in time.
    """
    backoff = Backoff(CANCEL_MS_MIN, CANCEL_MS_MAX, generator)
    remaining: list[VenueOrder] | None = None
    failure = "no answer"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    if keeps is None:
                        await _cancel_all(exchange, instruments)
                        remaining = await fetch_open_orders(exchange, instruments)
                    else:
                        remaining = await _cancel_others(exchange, instruments, keeps)
                except ReconcileError as error:
                    failure = str(error)
                else:
                    if not remaining:
                        return []
                await asyncio.sleep(backoff.next_s())
    except TimeoutError:
        if remaining is None:
            raise ReconcileError(f"open orders are not known: {failure}") from None
        return remaining


async def _cancel_all(exchange: TapBinanceUsdm, instruments: Sequence[Instrument]) -> None:
    for instrument in instruments:
        request = {"symbol": instrument.venue_id}
        await _ask(exchange.fapiPrivateDeleteAllOpenOrders(request), "cancel all")


async def _cancel_others(
    exchange: TapBinanceUsdm,
    instruments: Sequence[Instrument],
    keeps: Callable[[VenueOrder], bool],
) -> list[VenueOrder]:
    """Cancel what is not kept and return what of it is still open afterwards."""
    venue_ids = {each.index: each.venue_id for each in instruments}
    for order in await fetch_open_orders(exchange, instruments):
        if not keeps(order):
            venue_id = venue_ids[order.instrument]
            request = {"symbol": venue_id, "orderId": order.venue_order_id}
            # "no such order" is no failure: it may have ended meanwhile, the list below tells
            with contextlib.suppress(ReconcileError):
                await _ask(exchange.fapiPrivateDeleteOrder(request), "cancel")
    return [each for each in await fetch_open_orders(exchange, instruments) if not keeps(each)]


async def _ask(call: Any, what: str) -> Any:
    try:
        return await call
    except BaseError as error:
        refusal = refusal_of(error)
        # not chained: the text of a ccxt error may hold a signed URL
        raise ReconcileError(f"{what}: {refusal.reason} (code {refusal.code})") from None
