"""Conditional orders on the wire, through the unmodified ccxt client and plain REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt
import pytest
import pytest_asyncio

from tests.fakes.exchange_client import production_client
from tests.fakes.fault_rig import FaultRig, fault_rig
from tests.fakes.recording import NAMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC = NAMES[0]
WAIT_S = 10.0
WORDS = {
    "symbol": "BTCUSDT",
    "algoType": "CONDITIONAL",
    "side": "SELL",
    "type": "STOP_MARKET",
    "quantity": "0.010",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange on a moving market for all tests of this file."""
    async with fault_rig(market="volatile") as running:
        async with running.stream("/public/ws/btcusdt@trade") as stream:
            await stream.next_of("trade")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(rig: FaultRig) -> AsyncIterator[Any]:
    """The unmodified ccxt client."""
    async with production_client(rig.exchange.access) as (opened, _):
        await opened.load_markets()
        yield opened


async def stop(client: Any, side: str, trigger: float, name: str, **words: Any) -> Any:
    """Place a stop through ccxt's unified call."""
    parameters = {"triggerPrice": trigger, "clientAlgoId": name, **words}
    return await client.create_order(BTC, "market", side, 0.01, None, parameters)


async def stop_close(rig: FaultRig, side: str, **words: Any) -> dict[str, Any]:
    """Place a stop as near to the market as the venue takes it."""
    for distance in (2.0, 4.0, 8.0, 16.0, 32.0):
        trigger = await rig.bid() + (distance if side == "BUY" else -distance)
        asked = {**WORDS, "side": side, "triggerPrice": f"{trigger:.1f}", **words}
        answer = await rig.call("POST", "/fapi/v1/algoOrder", asked)
        if answer.status == 200:
            document: dict[str, Any] = answer.document
            return document
        assert answer.document["code"] == -2021
    raise AssertionError("the market runs away")


async def test_create_query_list_cancel(rig: FaultRig, client: Any) -> None:
    """The life of a stop that is never reached, each step as ccxt asks for it."""
    bid = await rig.bid()
    order = await stop(client, "sell", bid * 0.9, "resting")
    assert (order["status"], order["type"], order["clientOrderId"]) == ("open", "market", "resting")
    assert order["triggerPrice"] == pytest.approx(bid * 0.9, abs=0.1)
    found = await client.fetch_order(order["id"], BTC, {"trigger": True})
    assert (found["id"], found["status"]) == (order["id"], "open")
    by_name = await client.fetch_order(None, BTC, {"trigger": True, "clientOrderId": "resting"})
    assert by_name["id"] == order["id"]
    listed = await client.fetch_open_orders(BTC, params={"trigger": True})
    assert [each["id"] for each in listed] == [order["id"]]
    assert await client.fetch_open_orders(BTC) == []
    await client.cancel_order(order["id"], BTC, {"trigger": True})
    assert (await client.fetch_order(order["id"], BTC, {"trigger": True}))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(order["id"], BTC, {"trigger": True})
    await stop(client, "sell", bid * 0.9, "one")
    await stop(client, "buy", bid * 1.1, "two")
    await client.cancel_all_orders(BTC, {"trigger": True})
    assert await client.fetch_open_orders(BTC, params={"trigger": True}) == []
    assert len(await client.fetch_orders(BTC, params={"trigger": True})) == 3


async def test_refusals(rig: FaultRig, client: Any) -> None:
    """Reached already, used twice, sent to the wrong call: each has its own code."""
    bid = await rig.bid()
    with pytest.raises(ccxt.OrderImmediatelyFillable, match="-2021"):
        await stop(client, "sell", bid * 1.05, "reached")
    await stop(client, "sell", bid * 0.9, "single")
    with pytest.raises(ccxt.ExchangeError, match="-4116"):
        await stop(client, "sell", bid * 0.9, "single")
    answer = await rig.place("wrong", type="STOP_MARKET", stopPrice=f"{bid * 0.9:.1f}")
    assert answer.document["code"] == -4120
    await client.cancel_all_orders(BTC, {"trigger": True})


@pytest.mark.parametrize("source", ["CONTRACT_PRICE", "MARK_PRICE"])
async def test_stop_is_released_and_told(rig: FaultRig, client: Any, source: str) -> None:
    """Of two stops around the market one is released, fills, and every step is told."""
    async with rig.user_stream() as user:
        placed = {
            side: await stop_close(rig, side, workingType=source, clientAlgoId=f"{side}-{source}")
            for side in ("SELL", "BUY")
        }
        fill = (await user.next_of("ORDER_TRADE_UPDATE", x="TRADE"))["o"]
        assert fill["c"] == f"{fill['S']}-{source}"
        told = (await user.next_of("ALGO_UPDATE", X="TRIGGERED"))["o"]
        assert (told["caid"], told["ai"]) == (fill["c"], str(fill["i"]))
        finished = (await user.next_of("ALGO_UPDATE", X="FINISHED"))["o"]
        assert finished["aid"] == told["aid"]
    order = await client.fetch_order(placed[fill["S"]]["algoId"], BTC, {"trigger": True})
    assert order["info"]["algoStatus"] == "FINISHED"
    await client.cancel_all_orders(BTC, {"trigger": True})
    await rig.flatten()


async def test_close_position_and_take_profit(rig: FaultRig, client: Any) -> None:
    """closePosition takes the whole position; a take-profit limit rests at its price."""
    await rig.flatten()
    await rig.place("to-close", quantity="0.030")
    await stop_close(rig, "SELL", quantity="", closePosition="true")
    words = {"quantity": "", "closePosition": "true", "type": "TAKE_PROFIT_MARKET"}
    upper = {"triggerPrice": f"{await rig.bid() + 8:.1f}", "side": "SELL"}
    assert (await rig.call("POST", "/fapi/v1/algoOrder", {**WORDS, **words, **upper})).status == 200
    async with asyncio.timeout(2 * WAIT_S):
        while await rig.position():
            await asyncio.sleep(0.05)
    await client.cancel_all_orders(BTC, {"trigger": True})
    bid = await rig.bid()
    for name, trigger in (("takeProfitPrice", bid + 4), ("stopLossPrice", bid - 4)):
        await client.create_order(BTC, "limit", "sell", 0.01, round(bid * 1.03, 1), {name: trigger})
    async with asyncio.timeout(2 * WAIT_S):
        while not (resting := await client.fetch_open_orders(BTC)):
            await asyncio.sleep(0.05)
    assert resting[0]["price"] == round(bid * 1.03, 1)
    await client.cancel_all_orders(BTC, {"trigger": True})
    await rig.flatten()


async def test_watch_orders_reads_conditional_updates(rig: FaultRig, client: Any) -> None:
    """ccxt.pro's own handler takes the event."""

    async def watched() -> Any:
        while True:
            for order in await client.watch_orders(BTC):
                if order["clientOrderId"] == "watched":
                    return order

    watching = asyncio.create_task(watched())
    await asyncio.sleep(0.3)
    await stop(client, "sell", await rig.bid() * 0.9, "watched")
    assert (await asyncio.wait_for(watching, WAIT_S))["status"] == "open"
    await client.cancel_all_orders(BTC, {"trigger": True})
