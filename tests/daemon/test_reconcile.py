"""The venue's word on our account: exact when given, an error when not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from config.settings import Settings
from daemon.clock import ManualClock
from daemon.venues.connect import connect, load_instruments
from daemon.venues.reconcile import (
    ReconcileError,
    cancel_everything,
    fetch_account,
    fetch_open_orders,
)
from daemon.venues.tap import TapBinanceUsdm
from kernels.events import OrderStatus
from kernels.units import Instrument
from tests.fakes.scripted_venue import ScriptedVenue, answer, answer_text, refuse, serve

ACCOUNT, OPEN = "GET /fapi/v3/account", "GET /fapi/v1/openOrders"
CANCEL_ALL = "DELETE /fapi/v1/allOpenOrders"


@asynccontextmanager
async def _open(
    directory: Path,
) -> AsyncIterator[tuple[ScriptedVenue, TapBinanceUsdm, tuple[Instrument, ...]]]:
    async with serve(directory) as venue:
        exchange = await connect(Settings(), None, venue)
        try:
            yield venue, exchange, load_instruments(exchange, ("BTC/USDT:USDT", "ETH/USDT:USDT"))
        finally:
            await exchange.close()


def _account(**changes: Any) -> dict[str, Any]:
    words: dict[str, Any] = {
        "assets": [
            {"asset": "BNB", "walletBalance": "1"},
            {"asset": "USDT", "walletBalance": "100000.12345678"},
        ],
        "positions": [
            {"symbol": "ETHUSDT", "positionSide": "BOTH", "positionAmt": "-1.005"},
            {"symbol": "XRPUSDT", "positionSide": "LONG", "positionAmt": "7"},
        ],
    }
    return words | changes


def _order(symbol: str) -> dict[str, Any]:
    return {
        "orderId": 1,
        "symbol": symbol,
        "status": "NEW",
        "clientOrderId": "someone-else",
        "price": "60000.1",
        "origQty": "0.010",
        "executedQty": "0",
        "updateTime": 1,
    }


async def test_account_is_exact(tmp_path: Path) -> None:
    """Wallet to the last decimal, signed positions, zero for what is not listed."""
    async with _open(tmp_path) as (venue, exchange, instruments):
        venue.handlers[ACCOUNT] = answer(_account())
        account = await fetch_account(exchange, instruments, ManualClock(5))
        assert account.wallet_quote_e8 == 10_000_012_345_678
        assert account.position_lots == (0, -1005)
        assert account.received_ns == 5


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"assets": [], "positions": []},
        _account(positions=[{"symbol": "BTCUSDT", "positionSide": "LONG", "positionAmt": "1"}]),
        _account(positions=[{"symbol": "BTCUSDT", "positionAmt": "0.00001"}]),
        _account(positions=None),
        [],
    ],
)
async def test_an_account_that_is_none(tmp_path: Path, words: object) -> None:
    """An account we cannot read, or in hedge mode, is an error and never an empty account."""
    async with _open(tmp_path) as (venue, exchange, instruments):
        venue.handlers[ACCOUNT] = answer(words)
        with pytest.raises(ReconcileError, match="account"):
            await fetch_account(exchange, instruments, ManualClock())


async def test_errors_name_the_code_and_leak_nothing(tmp_path: Path) -> None:
    """A refused question is an error with the venue's code, without the signed address."""
    async with _open(tmp_path) as (venue, exchange, instruments):
        venue.handlers[ACCOUNT] = refuse(-2015, 401)
        with pytest.raises(ReconcileError, match="-2015") as refusal:
            await fetch_account(exchange, instruments, ManualClock())
        assert "signature" not in str(refusal.value)
        assert refusal.value.__cause__ is None


async def test_open_orders(tmp_path: Path) -> None:
    """Orders of every instrument are read, ours or not; an unreadable one is an error."""
    async with _open(tmp_path) as (venue, exchange, instruments):

        async def rows(request: web.Request) -> web.StreamResponse:
            symbol = request.query["symbol"]
            return web.json_response([_order(symbol)] if symbol == "BTCUSDT" else [])

        venue.handlers[OPEN] = rows
        (order,) = await fetch_open_orders(exchange, instruments)
        assert (order.status, order.quantity_lots) == (OrderStatus.WORKING, 10)
        assert order.price_ticks == 600_001
        venue.handlers[OPEN] = answer([{"orderId": 1}])
        with pytest.raises(ReconcileError, match="unreadable"):
            await fetch_open_orders(exchange, instruments)
        venue.handlers[OPEN] = answer_text("{}")
        with pytest.raises(ReconcileError, match="no list"):
            await fetch_open_orders(exchange, instruments)


async def test_cancel_everything_believes_the_open_orders_only(tmp_path: Path) -> None:
    """It ends when the venue shows no order, not when the cancel was answered."""
    async with _open(tmp_path) as (venue, exchange, instruments):
        venue.handlers[CANCEL_ALL] = answer({"code": 200, "msg": "done"})

        async def gone_after_two(request: web.Request) -> web.StreamResponse:
            asked = len(venue.asked(OPEN))
            return web.json_response([_order(request.query["symbol"])] if asked < 4 else [])

        venue.handlers[OPEN] = gone_after_two
        generator = np.random.default_rng(1)
        assert await cancel_everything(exchange, instruments, generator=generator) == []
        assert len(venue.asked(CANCEL_ALL)) > len(instruments)


async def test_cancel_everything_tells_what_remains(tmp_path: Path) -> None:
    """Orders that do not go are returned; a venue that never answers is an error."""
    async with _open(tmp_path) as (venue, exchange, instruments):
        venue.handlers[CANCEL_ALL] = answer({"code": 200, "msg": "done"})
        venue.handlers[OPEN] = answer([_order("BTCUSDT")])
        generator = np.random.default_rng(1)
        btc = instruments[:1]
        remaining = await cancel_everything(exchange, btc, generator=generator, timeout_s=0.3)
        assert [order.client_order_id for order in remaining] == ["someone-else"]
        venue.handlers[OPEN] = refuse(-1001, 500)
        with pytest.raises(ReconcileError, match="not known"):
            await cancel_everything(exchange, btc, generator=generator, timeout_s=0.3)
