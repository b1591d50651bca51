"""Faults of requests, seen by a client on the wire: what the answer says and what was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ccxt
import pytest
import pytest_asyncio

from tests.fakes.exchange_client import production_client
from tests.fakes.fault_rig import FaultRig, fault_rig
from tests.fakes.recording import NAMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC = NAMES[0]
ORDERS = "POST /fapi/v1/order"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange for all tests of this file."""
    async with fault_rig() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(rig: FaultRig) -> AsyncIterator[Any]:
    """The unmodified ccxt client."""
    async with production_client(rig.exchange.access) as (opened, _):
        await opened.load_markets()
        yield opened


async def buy(client: Any, name: str) -> Any:
    """Buy by a market order through ccxt."""
    return await client.create_order(BTC, "market", "buy", 0.01, None, {"newClientOrderId": name})


async def test_server_error_before_acceptance(rig: FaultRig, client: Any) -> None:
    """A 503 that did nothing: the order is unknown to the venue."""
    async with rig.armed("rest_error", target=ORDERS):
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await buy(client, "before")
    assert (await rig.order("before")).document["code"] == -2013
    assert (await rig.place("before")).status == 200


async def test_server_error_after_acceptance(rig: FaultRig, client: Any) -> None:
    """A 503 although the order was filled; sent again it is a duplicate."""
    async with rig.armed("rest_error_after", target=ORDERS, status=502):
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await buy(client, "after")
    assert (await rig.order("after")).document["status"] == "FILLED"
    assert (await rig.place("after")).document["code"] == -4116


@pytest.mark.parametrize("accepted", [True, False])
async def test_unknown_status(rig: FaultRig, client: Any, accepted: bool) -> None:
    """-1007 says nothing about the order, which exists or does not."""
    name = f"unknown-{accepted}"
    async with rig.armed("unknown_status", target=ORDERS, accepted=accepted):
        with pytest.raises(ccxt.RequestTimeout, match="-1007"):
            await buy(client, name)
    assert ((await rig.order(name)).status == 200) is accepted


async def test_no_answer(rig: FaultRig, client: Any) -> None:
    """The venue is silent; the client gives up, the order stands; the exchange lets go."""
    client.timeout = 400
    try:
        async with rig.armed("no_answer", target=ORDERS):
            with pytest.raises(ccxt.RequestTimeout):
                await buy(client, "silent")
    finally:
        client.timeout = 10_000
    assert (await rig.order("silent")).document["status"] == "FILLED"


@pytest.mark.parametrize("accepted", [True, False])
async def test_connection_dropped_after_the_request(rig: FaultRig, accepted: bool) -> None:
    """The socket is cut instead of an answer, with or without the deed."""
    name = f"dropped-{accepted}"
    async with rig.armed("drop_connection", target=ORDERS, accepted=accepted):
        with pytest.raises(aiohttp.ClientConnectionError):
            await rig.place(name)
    assert ((await rig.order(name)).status == 200) is accepted


async def test_truncated_answer(rig: FaultRig, client: Any) -> None:
    """ccxt reads half an answer as an order without an id; the venue has the order."""
    async with rig.armed("truncate_answer", target=ORDERS):
        order = await buy(client, "cut")
    assert order["id"] is None
    assert order["clientOrderId"] is None
    assert (await rig.order("cut")).document["status"] == "FILLED"


async def test_slow_answer(rig: FaultRig) -> None:
    """The answer comes, late; others are not held up."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with rig.armed("slow_answer", target="GET /fapi/v1/time", delay_ms=1_000.0):
        slow = asyncio.create_task(rig.call("GET", "/fapi/v1/time", is_signed=False))
        await asyncio.sleep(0.05)
        await rig.call("GET", "/fapi/v1/ping", is_signed=False)
        assert not slow.done()
        assert (await slow).status == 200
    assert loop.time() - began_s >= 1.0


@pytest.mark.parametrize(("kind", "status"), [("rate_limited", 429), ("banned", 418)])
async def test_limits_come_with_retry_after(
    rig: FaultRig, client: Any, kind: str, status: int
) -> None:
    """429 and 418 carry -1003 and the seconds to wait; ccxt calls both DDoSProtection."""
    async with rig.armed(kind, target="GET *", count=2, retry_after_s=7):
        answer = await rig.call("GET", "/fapi/v1/time", is_signed=False)
        assert (answer.status, answer.document["code"]) == (status, -1003)
        assert answer.headers["Retry-After"] == "7"
        with pytest.raises(ccxt.DDoSProtection):
            await client.fetch_balance()
        assert (await rig.call("GET", "/fapi/v1/time", is_signed=False)).status == 200


async def test_maintenance_closes_everything_until_it_ends(rig: FaultRig, client: Any) -> None:
    """503 pages, streams closed with 1001, handshakes refused; afterwards all is well."""
    async with rig.stream("/public/ws/btcusdt@bookTicker") as stream, rig.armed("maintenance"):
        message = await stream.websocket.receive(timeout=5)
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await stream.websocket.receive(timeout=5)
        assert stream.websocket.close_code == 1001
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await client.fetch_time()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await rig.http.ws_connect(f"{rig.base}/public/ws/btcusdt@trade")
        assert refused.value.status == 503
    async with rig.stream("/public/ws/btcusdt@bookTicker") as stream:
        await stream.next_of("bookTicker")
    assert await client.fetch_time() > 0


async def test_order_refused_though_sent_twice(rig: FaultRig, client: Any) -> None:
    """The same order is refused each time it is sent, and leaves no trace."""
    async with rig.armed("refuse_orders", target="* stubborn"):
        for _ in range(2):
            with pytest.raises(ccxt.ExchangeError, match="-2010"):
                await buy(client, "stubborn")
        assert (await rig.place("other")).status == 200
    assert (await rig.order("stubborn")).document["code"] == -2013
    assert (await rig.place("stubborn")).status == 200


async def test_takers_refused(rig: FaultRig) -> None:
    """Market, IOC and FOK orders are refused with -4131, resting ones are taken."""
    bid = await rig.bid()
    async with rig.armed("refuse_takers"):
        assert (await rig.place("market")).document["code"] == -4131
        for kind in ("IOC", "FOK"):
            words = {"type": "LIMIT", "timeInForce": kind, "price": f"{bid:.1f}"}
            assert (await rig.place(kind, **words)).document["code"] == -4131
        assert (await rig.rest_far("maker")).status == 200
    await rig.flatten()


async def test_clock_jumps_and_runs_wrong(rig: FaultRig, client: Any) -> None:
    """Requests of an honest clock are refused with -1021 and stream times are off."""

    async def ahead_ms() -> float:
        answer = await rig.call("GET", "/fapi/v1/time", is_signed=False)
        return float(answer.document["serverTime"] - client.milliseconds())

    async with rig.stream("/public/ws/btcusdt@bookTicker") as stream:
        async with rig.armed("jump_clock", offset_ms=20_000.0):
            assert abs(await ahead_ms() - 20_000) < 500
            assert (await rig.call("GET", "/fapi/v3/account")).document["code"] == -1021
            with pytest.raises(ccxt.InvalidNonce):
                await client.fetch_balance()
            quotes = [await stream.next_of("bookTicker") for _ in range(5)]
            assert quotes[-1]["E"] - client.milliseconds() > 15_000
        assert abs(await ahead_ms()) < 500
    async with rig.armed("jump_clock", offset_ms=-20_000.0):
        assert abs(await ahead_ms() + 20_000) < 500
    async with rig.armed("skew_clock", drift_ppm=500_000.0):
        first = await ahead_ms()
        await asyncio.sleep(0.4)
        assert 100 < await ahead_ms() - first < 1_000
    assert (await rig.call("GET", "/fapi/v3/account")).status == 200


async def test_requests_over_ws_api_fail_too(rig: FaultRig, client: Any) -> None:
    """Unknown status and silence reach orders sent over the websocket; the orders stand."""

    async def order_over_socket(name: str) -> Any:
        price = round(await rig.bid() * 0.97, 1)
        words = {"newClientOrderId": name}
        return await client.create_order_ws(BTC, "limit", "buy", 0.01, price, words)

    async with rig.armed("unknown_status", target="WS order.place"):
        with pytest.raises(ccxt.RequestTimeout, match="-1007"):
            await order_over_socket("ws-unknown")
    assert (await rig.order("ws-unknown")).document["status"] == "NEW"
    async with rig.armed("rest_error", target="WS order.place", code=-1000):
        with pytest.raises(ccxt.BaseError, match="-1000"):
            await order_over_socket("ws-error")
    assert (await rig.order("ws-error")).document["code"] == -2013
    async with rig.armed("no_answer", target="WS order.place"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(order_over_socket("ws-silent"), 0.5)
    assert (await rig.order("ws-silent")).document["status"] == "NEW"
    await rig.flatten()
