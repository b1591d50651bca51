"""The unmodified ccxt.pro client in production configuration trades on the exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from typing import Any

import ccxt
import pytest
import pytest_asyncio

from config.settings import SimulatedSettings
from daemon.simulated.process import SimulatedExchange, start
from tests.fakes.exchange_client import production_client
from tests.fakes.recording import NAMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC, ETH = NAMES
WAIT_S = 20.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """One exchange process for all tests of this file."""
    running = await start(SimulatedSettings(seed=11, latency_ms=2.0), NAMES)
    yield running
    await running.stop()
    report = running.report()
    assert running.exit_code == 0
    assert report["slow_clients_cut"] == 0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(exchange: SimulatedExchange) -> AsyncIterator[Any]:
    """One client that has loaded its markets."""
    async with production_client(exchange.access) as (opened, resolver):
        await opened.load_markets()
        yield opened
        assert resolver.hosts_seen == {
            "api.binance.com",
            "fapi.binance.com",
            "fstream.binance.com",
        }


async def within(awaitable: Awaitable[Any]) -> Any:
    """Wait, but not for ever."""
    return await asyncio.wait_for(awaitable, WAIT_S)


async def touch(client: Any) -> tuple[float, float]:
    """Return best bid and ask of BTC."""
    ticker = (await client.fapiPublicGetTickerBookTicker({"symbol": "BTCUSDT"})) or {}
    return float(ticker["bidPrice"]), float(ticker["askPrice"])


async def flatten(client: Any) -> None:
    """Cancel everything of BTC and close the position."""
    await client.cancel_all_orders(BTC)
    for position in await client.fetch_positions([BTC]):
        side = "sell" if position["side"] == "long" else "buy"
        await client.create_order(
            BTC, "market", side, position["contracts"], None, {"reduceOnly": True}
        )


async def test_markets_carry_the_grid(client: Any) -> None:
    """Ticks, lots and minimum notional arrive as the listing states them."""
    assert sorted(client.markets) == sorted(NAMES)
    market = client.markets[BTC]
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.001)
    assert market["limits"]["cost"]["min"] == 100.0
    assert market["linear"]
    assert market["swap"]
    drift_ms = await client.load_time_difference()
    assert abs(drift_ms) < 1_000


async def test_order_book_follows_and_agrees_with_rest(client: Any) -> None:
    """ccxt's own sequence check accepts the depth stream, and the book is sane."""
    for _ in range(12):
        book = await within(client.watch_order_book(BTC))
        assert book["bids"][0][0] < book["asks"][0][0]
        assert len(book["bids"]) >= 10
    snapshot = await client.fetch_order_book(BTC, 5)
    assert len(snapshot["bids"]) == 5
    assert snapshot["nonce"] > 0


async def test_every_watched_stream_delivers(client: Any) -> None:
    """Trades, aggregated trades, best quotes and mark price come with present times."""
    trades = await within(client.watch_trades(BTC))
    assert abs(trades[-1]["timestamp"] - client.milliseconds()) < 2_000
    aggregates = await within(client.watch_trades(ETH, params={"name": "aggTrade"}))
    assert aggregates[-1]["symbol"] == ETH
    quotes = await within(client.watch_bids_asks([BTC]))
    assert 0 < quotes[BTC]["bid"] < quotes[BTC]["ask"]
    mark = await within(client.watch_mark_price(BTC))
    bid, ask = await touch(client)
    assert float(mark["markPrice"]) == pytest.approx((bid + ask) / 2, rel=0.005)


async def test_orders_fills_and_user_stream_tell_one_story(client: Any) -> None:
    """REST answers, watched orders, own trades, position and balance agree to the last digit."""
    await client.fetch_balance()
    seen: list[tuple[str, str, float]] = []

    async def listen() -> None:
        while True:
            for order in await client.watch_orders(BTC):
                seen.append((order["clientOrderId"], order["status"], order["filled"]))

    listener = asyncio.create_task(listen())
    try:
        await asyncio.sleep(0.5)
        bid, ask = await touch(client)
        before = (await client.fetch_balance())["USDT"]["total"]
        taken = await client.create_order(
            BTC,
            "limit",
            "buy",
            0.01,
            round(ask * 1.01, 1),
            {"timeInForce": "IOC", "newClientOrderId": "story-1"},
        )
        assert (taken["status"], taken["filled"]) == ("closed", 0.01)
        resting = await client.create_order(
            BTC,
            "limit",
            "buy",
            0.01,
            round(bid * 0.97, 1),
            {"postOnly": True, "newClientOrderId": "story-2"},
        )
        assert resting["status"] == "open"
        assert [o["clientOrderId"] for o in await client.fetch_open_orders(BTC)] == ["story-2"]
        found = await client.fetch_order(None, BTC, {"clientOrderId": "story-2"})
        assert found["id"] == resting["id"]
        assert (await client.cancel_order(resting["id"], BTC))["status"] == "canceled"
        position = (await client.fetch_positions([BTC]))[0]
        assert (position["side"], position["contracts"]) == ("long", 0.01)
        assert position["entryPrice"] == taken["average"]
        trades = [t for t in await client.fetch_my_trades(BTC) if t["order"] == taken["id"]]
        fee = sum(Decimal(str(trade["fee"]["cost"])) for trade in trades)
        cost = Decimal(str(taken["average"])) * Decimal("0.01")
        assert fee == cost * Decimal("0.0005")
        await asyncio.sleep(0.3)
    finally:
        listener.cancel()
    assert ("story-1", "closed", 0.01) in seen
    assert [each[1] for each in seen if each[0] == "story-2"] == ["open", "canceled"]
    wallet = client.balance["linear"]["USDT"]["total"]
    assert Decimal(str(wallet)) == Decimal(str(before)) - fee
    await flatten(client)
    assert await client.fetch_positions([BTC]) == []


async def test_refusals_reach_the_client_as_its_own_exceptions(client: Any) -> None:
    """Each Binance code arrives in the class that ccxt gives it in production."""
    bid, _ = await touch(client)
    deep = round(bid * 0.97, 1)
    await client.create_order(BTC, "limit", "buy", 0.01, deep, {"newClientOrderId": "dup"})
    cases = [
        (("limit", "buy", 0.01, deep, {"newClientOrderId": "dup"}), ccxt.InvalidOrder, -4116),
        (("limit", "buy", 900, deep), ccxt.InsufficientFunds, -2019),
        (("limit", "buy", 0.001, deep), ccxt.InvalidOrder, -4164),
        (("limit", "sell", 0.01, deep, {"postOnly": True}), ccxt.OrderNotFillable, -5022),
        (("limit", "buy", 0.01, deep, {"reduceOnly": True}), ccxt.InvalidOrder, -2022),
        (("limit", "sell", 0.01, round(bid * 0.9, 1)), ccxt.ExchangeError, -4024),
    ]
    for arguments, kind, code in cases:
        with pytest.raises(kind) as caught:
            await client.create_order(BTC, *arguments)
        assert f'"code":{code}' in str(caught.value)
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("123456789", BTC)
    with pytest.raises(ccxt.OrderNotFound):
        await client.fetch_order(None, BTC, {"clientOrderId": "never"})
    await flatten(client)


async def test_account_settings_calls(client: Any) -> None:
    """Leverage, dead-man's switch, brackets, fees and position mode answer."""
    assert (await client.set_leverage(10, BTC))["leverage"] == 10
    await client.create_order(BTC, "market", "buy", 0.01)
    positions = await client.fetch_positions([BTC], {"useV2": True})
    assert positions[0]["leverage"] == 10.0
    answer = await client.fapiPrivatePostCountdownCancelAll(
        {"symbol": "BTCUSDT", "countdownTime": 60_000}
    )
    assert answer["countdownTime"] == "60000"
    await client.fapiPrivatePostCountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 0})
    assert (await client.fetch_trading_fee(BTC))["taker"] == 0.0005
    assert (await client.fetch_position_mode(BTC))["hedged"] is False
    assert (await client.fetch_leverage_tiers([BTC]))[BTC][0]["maxLeverage"] == 125
    await flatten(client)


async def test_concurrent_orders_are_all_answered(client: Any) -> None:
    """Forty orders at once: each has its own id, the venue holds exactly them."""
    bid, _ = await touch(client)
    price = round(bid * 0.97, 1)
    placed = await asyncio.gather(
        *(client.create_order(BTC, "limit", "buy", 0.002, price) for _ in range(40))
    )
    assert len({order["id"] for order in placed}) == 40
    working = await client.fetch_open_orders(BTC)
    assert {order["id"] for order in working} == {order["id"] for order in placed}
    await client.cancel_all_orders(BTC)
    assert await client.fetch_open_orders(BTC) == []


@pytest.mark.parametrize("mode", ["demo", "sandbox"])
async def test_demo_and_sandbox_clients_reach_the_same_exchange(
    exchange: SimulatedExchange, mode: str
) -> None:
    """The certificate covers the hosts of the other modes; their routed streams are served."""
    options = {"disableFuturesSandboxWarning": True}
    async with production_client(exchange.access, options) as (client, resolver):
        if mode == "demo":
            client.enable_demo_trading(True)
        else:
            client.set_sandbox_mode(True)
        await client.load_markets()
        assert (await client.fetch_balance())["USDT"]["total"] > 0
        quotes = await within(client.watch_bids_asks([BTC]))
        assert quotes[BTC]["bid"] > 0
        assert "fapi.binance.com" not in resolver.hosts_seen
