"""ws-api for futures by ccxt, and what either dialect answers to requests that are wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import SimulatedSettings
from daemon.simulated import signing
from daemon.simulated.process import SimulatedExchange, start
from tests.fakes.exchange_client import production_client
from tests.fakes.sdk_answers import websocket_url

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAIR, CONTRACT = "BTC/USDT", "BTC/USDT:USDT"
PATHS = {"spot": "/ws-api/v3", "futures": "/ws-fapi/v1"}
WAIT_S = 10.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """One exchange with a pair and a contract, also in plain text."""
    running = await start(SimulatedSettings(seed=3), (CONTRACT, PAIR), is_plain=True)
    yield running
    await running.stop()
    assert running.exit_code == 0


@asynccontextmanager
async def line(
    exchange: SimulatedExchange, dialect: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a bare websocket to ws-api."""
    async with aiohttp.ClientSession() as session:
        url = websocket_url(exchange.access, PATHS[dialect])
        async with session.ws_connect(url) as socket:
            yield socket


async def answer(socket: aiohttp.ClientWebSocketResponse, text: str | bytes) -> Any:
    """Send one message and return the document that answers it."""
    await (socket.send_str(text) if isinstance(text, str) else socket.send_bytes(text))
    return json.loads((await socket.receive(WAIT_S)).data)


def signed(exchange: SimulatedExchange, **parameters: Any) -> dict[str, Any]:
    """Add time, key and signature; an ``apiKey`` or ``timestamp`` given stays."""
    access = exchange.access
    full = {"timestamp": now_ms(), "apiKey": access.api_key, **parameters}
    payload = "&".join(f"{name}={full[name]}" for name in sorted(full))
    return {**full, "signature": signing.sign(access.api_secret, payload)}


def now_ms() -> int:
    """Return the time of day; the exchange's process has the same clock."""
    return int(ccxt.Exchange.milliseconds())


async def test_futures_orders_over_ws(exchange: SimulatedExchange) -> None:
    """ccxt places, modifies, asks and cancels USD-M orders over ws-api; REST agrees."""
    async with production_client(exchange.access) as (client, resolver):
        await client.load_markets()
        ticker = await client.fapiPublicGetTickerBookTicker({"symbol": "BTCUSDT"})
        bid = float(ticker["bidPrice"])
        placed = await client.create_order_ws(
            CONTRACT, "limit", "buy", 0.01, round(bid * 0.98, 1), {"newClientOrderId": "ws-1"}
        )
        assert (placed["clientOrderId"], placed["status"]) == ("ws-1", "open")
        changed = await client.edit_order_ws(
            placed["id"], CONTRACT, "limit", "buy", 0.02, round(bid * 0.97, 1)
        )
        assert (changed["id"], changed["amount"]) == (placed["id"], 0.02)
        asked = await client.fetch_order_ws(placed["id"], CONTRACT)
        assert asked["price"] == round(bid * 0.97, 1)
        by_rest = await client.edit_order(
            placed["id"], CONTRACT, "limit", "buy", 0.01, round(bid * 0.96, 1)
        )
        assert (by_rest["id"], by_rest["amount"]) == (placed["id"], 0.01)
        gone = await client.cancel_order_ws(placed["id"], CONTRACT)
        assert gone["status"] == "canceled"
        bought = await client.create_order_ws(CONTRACT, "market", "buy", 0.01)
        assert bought["status"] == "closed"
        assert (await client.fetch_positions_ws([CONTRACT]))[0]["contracts"] == 0.01
        assert (await client.fetch_balance_ws())["USDT"]["total"] > 0
        book = await client.fetch_order_book_ws(CONTRACT, 5)
        assert len(book["bids"]) == 5
        with pytest.raises(ccxt.ExchangeError, match="-2019"):
            await client.create_order_ws(CONTRACT, "limit", "buy", 900, round(bid * 0.98, 1))
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order_ws("123456789", CONTRACT)
        await client.create_order(CONTRACT, "market", "sell", 0.01, None, {"reduceOnly": True})
        assert "ws-fapi.binance.com" in resolver.hosts_seen


async def test_futures_tickers_and_candles(exchange: SimulatedExchange) -> None:
    """ccxt's ticker and candle streams of USD-M arrive, and REST knows the same minutes."""
    async with production_client(exchange.access) as (client, _):
        await client.load_markets()
        ticker = await asyncio.wait_for(client.watch_ticker(CONTRACT), WAIT_S)
        assert ticker["low"] <= ticker["last"] <= ticker["high"]
        candle = (await asyncio.wait_for(client.watch_ohlcv(CONTRACT, "1m"), WAIT_S))[-1]
        rows = await client.fetch_ohlcv(CONTRACT, "1m")
        assert candle[0] in [row[0] for row in rows]
        assert (await client.fetch_ticker(CONTRACT))["last"] > 0
        assert len(await client.fetch_trades(CONTRACT, limit=3)) == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"apiKey": "wrong"}, -2015),
        ({"apiKey": ""}, -2014),
        ({"timestamp": 1_700_000_000_000}, -1021),
        ({"timestamp": now_ms() + 3_600_000}, -1021),
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"symbol": None}, -1102),
    ],
)
@pytest.mark.parametrize("dialect", ["spot", "futures"])
async def test_refusals(
    exchange: SimulatedExchange, dialect: str, change: dict[str, Any], code: int
) -> None:
    """Key, clock and symbol are checked; the answer carries the request's id."""
    parameters = {"symbol": "BTCUSDT", "orderId": 1, **change}
    present = {name: value for name, value in parameters.items() if value is not None}
    request = {"id": 7, "method": "order.status", "params": signed(exchange, **present)}
    async with line(exchange, dialect) as socket:
        document = await answer(socket, json.dumps(request))
    assert (document["id"], document["error"]["code"]) == (7, code)
    assert document["status"] >= 400


@pytest.mark.parametrize("dialect", ["spot", "futures"])
async def test_signature_covers_every_parameter(exchange: SimulatedExchange, dialect: str) -> None:
    """A parameter changed after signing is refused; as signed the call goes through."""
    parameters = signed(exchange, symbol="BTCUSDT", orderId=998)
    async with line(exchange, dialect) as socket:
        request = {"id": "a", "method": "order.status", "params": parameters}
        assert (await answer(socket, json.dumps(request)))["error"]["code"] == -2013
        request["params"] = {**parameters, "orderId": 999}
        assert (await answer(socket, json.dumps(request)))["error"]["code"] == -1022
        del parameters["signature"]
        request["params"] = parameters
        assert (await answer(socket, json.dumps(request)))["error"]["code"] == -1102


async def test_user_stream_subscription_rules(exchange: SimulatedExchange) -> None:
    """One subscription a connection; it can be listed, ended and opened again."""
    async with line(exchange, "spot") as socket:

        async def call(method: str, **parameters: Any) -> Any:
            request = {"id": 1, "method": method, "params": parameters}
            return await answer(socket, json.dumps(request))

        subscribe = "userDataStream.subscribe.signature"
        assert (await call(subscribe, **signed(exchange)))["result"] == {"subscriptionId": 0}
        assert (await call(subscribe, **signed(exchange)))["error"]["code"] == -2035
        assert (await call("session.subscriptions"))["result"] == [{"subscriptionId": 0}]
        gone = await call("userDataStream.unsubscribe", subscriptionId=4)
        assert gone["error"]["code"] == -2036
        assert (await call("userDataStream.unsubscribe", subscriptionId=0))["result"] == {}
        assert (await call(subscribe, **signed(exchange)))["result"] == {"subscriptionId": 1}
        assert (await call("order.nonsense"))["error"]["code"] == -1020
    async with line(exchange, "futures") as socket:
        document = await answer(socket, json.dumps({"id": 1, "method": subscribe, "params": {}}))
        assert document["error"]["code"] == -1020


@settings(max_examples=30, deadline=None)
@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=60),
            st.binary(max_size=60),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["id", "method", "params", "symbol", "apiKey"]), inner
                    )
                ),
                max_leaves=8,
            ).map(json.dumps),
        ),
        min_size=1,
        max_size=12,
    ),
    dialect=st.sampled_from(["spot", "futures"]),
)
async def test_anything_is_answered(
    exchange: SimulatedExchange, messages: list[str | bytes], dialect: str
) -> None:
    """Every message is answered by an error document, and the exchange goes on."""
    async with line(exchange, dialect) as socket:
        for message in messages:
            document = await answer(socket, message)
            assert document["status"] >= 400
            assert document["error"]["code"] < 0
        alive = await answer(socket, json.dumps({"id": 1, "method": "ping"}))
        assert alive["result"] == {}


async def test_no_such_endpoint(exchange: SimulatedExchange) -> None:
    """A neighbour of the two paths is no ws-api."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(websocket_url(exchange.access, "/ws-api/v2"))
    assert caught.value.status == 404
