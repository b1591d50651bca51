"""The unmodified ccxt.pro spot client in production configuration trades on the exchange."""

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

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC, ETH, CONTRACT = "BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"
WAIT_S = 20.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """One exchange process that lists pairs and a contract of the same venue id."""
    running = await start(SimulatedSettings(seed=11, latency_ms=2.0), (BTC, CONTRACT, ETH))
    yield running
    await running.stop()
    report = running.report()
    assert running.exit_code == 0
    assert report["slow_clients_cut"] == 0
    assert report["spot"]["orders"]["open"] == 0
    assert report["position_lots"] == {CONTRACT: 0}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(exchange: SimulatedExchange) -> AsyncIterator[Any]:
    """One client of every market that has loaded them all."""
    async with production_client(exchange.access, kind="binance") as (opened, resolver):
        await opened.load_markets()
        yield opened
        assert resolver.hosts_seen == {
            "api.binance.com",
            "dapi.binance.com",
            "fapi.binance.com",
            "stream.binance.com",
            "ws-api.binance.com",
        }


async def within(awaitable: Awaitable[Any]) -> Any:
    """Wait, but not for ever."""
    return await asyncio.wait_for(awaitable, WAIT_S)


async def touch(client: Any) -> tuple[float, float]:
    """Return best bid and ask of BTC."""
    ticker = await client.publicGetTickerBookTicker({"symbol": "BTCUSDT"})
    return float(ticker["bidPrice"]), float(ticker["askPrice"])


async def held(client: Any, asset: str) -> Decimal:
    """Return the total of one asset, exact."""
    account = await client.privateGetAccount()
    row = next(row for row in account["balances"] if row["asset"] == asset)
    return Decimal(row["free"]) + Decimal(row["locked"])


async def test_markets_of_both_dialects_are_told_apart(client: Any) -> None:
    """The pair and the contract share a venue id and nothing else."""
    assert sorted(client.markets) == sorted([BTC, ETH, CONTRACT])
    pair, contract = client.markets[BTC], client.markets[CONTRACT]
    assert (pair["id"], contract["id"]) == ("BTCUSDT", "BTCUSDT")
    assert pair["spot"]
    assert contract["swap"]
    assert (pair["precision"]["price"], pair["precision"]["amount"]) == (0.01, 1e-05)
    assert pair["limits"]["cost"] == {"min": 5.0, "max": 9_000_000.0}
    assert abs(await client.fetch_time() - client.milliseconds()) < 1_000


async def test_order_book_follows_without_a_gap(client: Any) -> None:
    """ccxt's own check U == previous u + 1 accepts the depth stream; REST agrees."""
    last_id = 0
    for _ in range(15):
        book = await within(client.watch_order_book(BTC))
        assert book["bids"][0][0] < book["asks"][0][0]
        assert book["nonce"] >= last_id
        last_id = book["nonce"]
    snapshot = await client.fetch_order_book(BTC, 5)
    assert len(snapshot["bids"]) == 5
    assert snapshot["nonce"] >= last_id


async def test_every_watched_stream_delivers(client: Any) -> None:
    """Trades, aggregates, quotes, ticker and candles arrive, with present times or none."""
    trades = await within(client.watch_trades(BTC))
    assert abs(trades[-1]["timestamp"] - client.milliseconds()) < 2_000
    aggregates = await within(client.watch_trades(ETH, params={"name": "aggTrade"}))
    assert aggregates[-1]["symbol"] == ETH
    quotes = await within(client.watch_bids_asks([BTC]))
    assert 0 < quotes[BTC]["bid"] < quotes[BTC]["ask"]
    assert set(quotes[BTC]["info"]) == {"u", "s", "b", "B", "a", "A"}
    ticker = await within(client.watch_ticker(BTC))
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    candle = (await within(client.watch_ohlcv(BTC, "1m")))[-1]
    assert candle[3] <= candle[4] <= candle[2]


async def test_public_calls(client: Any) -> None:
    """Tickers, trades and candles of REST parse into ccxt's unified forms."""
    bid, ask = await touch(client)
    assert (await client.fetch_bids_asks([BTC]))[BTC]["bid"] == pytest.approx(bid, rel=0.01)
    ticker = await client.fetch_ticker(BTC)
    assert ticker["last"] == pytest.approx(ask, rel=0.01)
    assert (await client.fetch_last_prices([BTC]))[BTC]["price"] > 0
    for method in ("publicGetAggTrades", "publicGetTrades"):
        options = {"fetchTradesMethod": method}
        trades = await client.fetch_trades(BTC, limit=5, params=options)
        assert len(trades) == 5
        assert trades[0]["timestamp"] <= trades[-1]["timestamp"]
    assert (await client.fetch_ohlcv(BTC, "1m"))[-1][5] > 0
    fee = await client.fetch_trading_fee(BTC)
    assert (fee["maker"], fee["taker"]) == (0.001, 0.001)
    average = await client.publicGetAvgPrice({"symbol": "BTCUSDT"})
    assert float(average["price"]) == pytest.approx(bid, rel=0.01)


async def test_orders_fills_balances_and_user_stream_tell_one_story(client: Any) -> None:
    """A purchase pays its fee in base, a sale in quote; every channel shows the same amounts."""
    await client.fetch_balance()
    seen: list[tuple[str, str, float]] = []

    async def listen() -> None:
        while True:
            for order in await client.watch_orders(BTC):
                seen.append((order["clientOrderId"], order["status"], order["filled"]))

    listener = asyncio.create_task(listen())
    try:
        await asyncio.sleep(0.5)
        _, ask = await touch(client)
        base, quote = await held(client, "BTC"), await held(client, "USDT")
        bought = await client.create_order(
            BTC,
            "limit",
            "buy",
            0.02,
            round(ask * 1.01, 2),
            {"timeInForce": "IOC", "newClientOrderId": "story-1"},
        )
        assert (bought["status"], bought["filled"]) == ("closed", 0.02)
        cost = Decimal(bought["info"]["cummulativeQuoteQty"])
        fees = [Decimal(fill["commission"]) for fill in bought["info"]["fills"]]
        assert {fill["commissionAsset"] for fill in bought["info"]["fills"]} == {"BTC"}
        assert sum(fees) == Decimal("0.00002")
        assert await held(client, "BTC") == base + Decimal("0.02") - sum(fees)
        assert await held(client, "USDT") == quote - cost
        resting = await client.create_order(
            BTC, "limit", "sell", 0.01, round(ask * 1.03, 2), {"newClientOrderId": "story-2"}
        )
        assert (await client.fetch_balance())["BTC"]["used"] == 0.01
        assert [o["clientOrderId"] for o in await client.fetch_open_orders(BTC)] == ["story-2"]
        found = await client.fetch_order(None, BTC, {"clientOrderId": "story-2"})
        assert found["id"] == resting["id"]
        assert (await client.cancel_order(resting["id"], BTC))["status"] == "canceled"
        sold = await client.create_order(BTC, "market", "sell", 0.01)
        trades = [t for t in await client.fetch_my_trades(BTC) if t["order"] == sold["id"]]
        assert {trade["fee"]["currency"] for trade in trades} == {"USDT"}
        await asyncio.sleep(0.3)
        assert Decimal(str(client.balance["spot"]["BTC"]["free"])) == await held(client, "BTC")
        assert Decimal(str(client.balance["spot"]["USDT"]["free"])) == await held(client, "USDT")
    finally:
        listener.cancel()
    assert ("story-1", "closed", 0.02) in seen
    assert [each[1] for each in seen if each[0] == "story-2"] == ["open", "canceled"]
    assert client.myTrades[-1]["order"] == sold["id"]


async def test_order_types(client: Any) -> None:
    """Maker only, immediate, fill or kill, and a purchase by amount behave as spot's."""
    bid, _ = await touch(client)
    deep = round(bid * 0.97, 2)
    maker = await client.create_order(BTC, "limit", "buy", 0.01, deep, {"postOnly": True})
    assert (await client.fetch_order(maker["id"], BTC))["info"]["type"] == "LIMIT_MAKER"
    for time_in_force in ("IOC", "FOK"):
        order = await client.create_order(
            BTC, "limit", "buy", 0.01, deep, {"timeInForce": time_in_force}
        )
        assert (order["status"], order["filled"]) == ("expired", 0.0)
    bought = await client.create_market_buy_order_with_cost(BTC, 100)
    assert 99 < bought["cost"] <= 100
    await client.cancel_all_orders(BTC)


async def test_edit_is_a_cancel_and_a_new_order(client: Any) -> None:
    """cancelReplace gives a new id; one that finds nothing to cancel places nothing."""
    bid, _ = await touch(client)
    first = await client.create_order(BTC, "limit", "buy", 0.01, round(bid * 0.97, 2))
    second = await client.edit_order(first["id"], BTC, "limit", "buy", 0.02, round(bid * 0.96, 2))
    assert second["id"] != first["id"]
    assert (await client.fetch_order(first["id"], BTC))["status"] == "canceled"
    assert [(o["id"], o["amount"]) for o in await client.fetch_open_orders(BTC)] == [
        (second["id"], 0.02)
    ]
    with pytest.raises(ccxt.BaseError, match="-2022"):
        await client.edit_order(first["id"], BTC, "limit", "buy", 0.02, round(bid * 0.96, 2))
    with pytest.raises(ccxt.BaseError, match="-2021"):  # cancelled, and the new one cannot be paid
        await client.edit_order(second["id"], BTC, "limit", "buy", 90, round(bid * 0.96, 2))
    assert await client.fetch_open_orders(BTC) == []
    orders = await client.fetch_orders(BTC)
    assert [o["status"] for o in orders[-2:]] == ["canceled", "canceled"]


async def test_refusals_reach_the_client_as_its_own_exceptions(client: Any) -> None:
    """Each code arrives in the class that ccxt gives it in production."""
    bid, _ = await touch(client)
    deep = round(bid * 0.97, 2)
    await client.create_order(BTC, "limit", "buy", 0.01, deep, {"newClientOrderId": "dup"})
    cases: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        (("buy", 0.01, deep, {"newClientOrderId": "dup"}), ccxt.InvalidOrder, "Duplicate order"),
        (("buy", 90, deep), ccxt.InsufficientFunds, "insufficient balance"),
        (("sell", 5, bid * 1.1), ccxt.InsufficientFunds, "insufficient balance"),
        (("buy", 0.00005, deep), ccxt.BadRequest, "NOTIONAL"),
        (("buy", 0.01, round(bid / 6, 2)), ccxt.InvalidOrder, "PERCENT_PRICE_BY_SIDE"),
        (("sell", 0.001, deep, {"postOnly": True}), ccxt.OrderImmediatelyFillable, "immediately"),
    ]
    await client.create_order(BTC, "market", "buy", 0.01)
    for arguments, kind, words in cases:
        with pytest.raises(kind, match=words):
            await client.create_order(BTC, "limit", *arguments)
    raw = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    for price, quantity, name in (
        (str(deep), "0.000015", "LOT_SIZE"),
        ("50000.001", "0.01", "PRICE_FILTER"),
    ):
        with pytest.raises(ccxt.InvalidOrder, match=name):
            await client.privatePostOrder({**raw, "price": price, "quantity": quantity})
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("123456789", BTC)
    with pytest.raises(ccxt.OrderNotFound):
        await client.fetch_order(None, BTC, {"clientOrderId": "never"})
    await client.cancel_all_orders(BTC)
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_all_orders(BTC)
    again = await client.create_order(BTC, "limit", "buy", 0.01, deep, {"newClientOrderId": "dup"})
    await client.cancel_order(again["id"], BTC)


async def test_ws_api_orders(client: Any) -> None:
    """Placing, replacing, asking and cancelling over ws-api match what REST says."""
    bid, _ = await touch(client)
    deep = round(bid * 0.97, 2)
    placed = await within(
        client.create_order_ws(BTC, "limit", "buy", 0.01, deep, {"newClientOrderId": "ws-1"})
    )
    assert (await client.fetch_order(placed["id"], BTC))["clientOrderId"] == "ws-1"
    edited = await within(
        client.edit_order_ws(placed["id"], BTC, "limit", "buy", 0.02, round(bid * 0.96, 2))
    )
    asked = await within(client.fetch_order_ws(edited["id"], BTC))
    assert (asked["status"], asked["amount"]) == ("open", 0.02)
    assert [o["id"] for o in await within(client.fetch_open_orders_ws(BTC))] == [edited["id"]]
    gone = await within(client.cancel_order_ws(edited["id"], BTC))
    assert gone["status"] == "canceled"
    await within(client.create_order_ws(BTC, "limit", "buy", 0.01, deep))
    await within(client.cancel_all_orders_ws(BTC))
    assert await client.fetch_open_orders(BTC) == []
    bought = await within(client.create_order_ws(BTC, "market", "buy", 0.01))
    assert bought["status"] == "closed"
    # ccxt's own parser drops spot balances of ws-api; its answer is kept raw
    told = (await within(client.fetch_balance_ws()))["info"]["balances"]
    assert {row["asset"] for row in told} == {"USDT", "BTC", "ETH"}
    assert (await within(client.fetch_my_trades_ws(BTC)))[-1]["order"] == bought["id"]
    assert (await within(client.fetch_orders_ws(BTC)))[-1]["id"] == bought["id"]
    with pytest.raises(ccxt.InsufficientFunds):
        await within(client.create_order_ws(BTC, "limit", "buy", 90, deep))
    with pytest.raises(ccxt.OrderNotFound):
        await within(client.cancel_order_ws("123456789", BTC))


async def test_concurrent_ws_orders_are_all_answered(client: Any) -> None:
    """Forty requests at once on one socket: each answer finds its own request."""
    bid, _ = await touch(client)
    names = [f"many-{number}" for number in range(40)]
    placed = await within(
        asyncio.gather(
            *(
                client.create_order_ws(
                    BTC, "limit", "buy", 0.001, round(bid * 0.97, 2), {"newClientOrderId": name}
                )
                for name in names
            )
        )
    )
    assert [order["clientOrderId"] for order in placed] == names
    assert len({order["id"] for order in placed}) == 40
    await client.cancel_all_orders(BTC)


@pytest.mark.parametrize("mode", ["demo", "sandbox"])
async def test_demo_and_sandbox_clients_reach_the_same_exchange(
    exchange: SimulatedExchange, mode: str
) -> None:
    """REST, streams, user stream and ws-api of the other modes' hosts are the same exchange."""
    options = {"fetchMarkets": {"types": ["spot"]}}
    async with production_client(exchange.access, options, "binance") as (client, resolver):
        if mode == "demo":
            client.enable_demo_trading(True)
        else:
            client.set_sandbox_mode(True)
        await client.load_markets()
        quotes = await within(client.watch_bids_asks([BTC]))
        watched = asyncio.create_task(client.watch_orders(BTC))
        await asyncio.sleep(0.3)
        order = await within(
            client.create_order_ws(BTC, "limit", "buy", 0.01, round(quotes[BTC]["bid"] * 0.97, 2))
        )
        assert (await within(watched))[-1]["id"] == order["id"]
        await client.cancel_order(order["id"], BTC)
        hosts = {
            "demo": {"demo-api.binance.com", "demo-stream.binance.com", "demo-ws-api.binance.com"},
            "sandbox": {
                "testnet.binance.vision",
                "stream.testnet.binance.vision",
                "ws-api.testnet.binance.vision",
            },
        }
        assert resolver.hosts_seen == hosts[mode]
