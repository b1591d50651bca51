"""Faults of sockets, of the user stream and of the account, seen by a client on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ccxt
import pytest
import pytest_asyncio

from tests.fakes.exchange_client import production_client
from tests.fakes.fault_rig import FaultRig, Stream, fault_rig
from tests.fakes.recording import NAMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC = NAMES[0]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange for all tests of this file."""
    async with fault_rig() as running:
        async with running.stream("/public/ws/btcusdt@bookTicker") as stream:
            await stream.next_of("bookTicker")
        yield running


async def kinds(user: Stream, count: int) -> list[str]:
    """Return kind and execution type of the next events."""
    events = await user.events(count)
    return [event["o"]["x"] if "o" in event else event["a"]["m"] for event in events]


async def test_clean_close(rig: FaultRig) -> None:
    """Public sockets are closed with the code asked for; private ones stay."""
    async with rig.stream("/public/ws/0") as public, rig.user_stream() as private:
        async with rig.armed("close_streams", target="public", close_code=1012):
            assert (await public.websocket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
            assert public.websocket.close_code == 1012
        assert await private.is_silent(0.1)


async def test_reset(rig: FaultRig) -> None:
    """A reset arrives as such: the read of a raw socket fails with ECONNRESET."""
    access = rig.exchange.access
    reader, writer = await asyncio.open_connection(access.host, access.plain_port)
    writer.write(
        b"GET /public/ws/0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    async with rig.armed("reset_streams", target="public"):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)
    writer.close()


async def watch_for_ever(client: Any) -> None:
    """Watch quotes until something is raised."""
    while True:
        await client.watch_bids_asks([BTC])


async def test_reset_reaches_the_ccxt_client_over_tls(rig: FaultRig) -> None:
    """A watching ccxt client gets a NetworkError, and a new socket at its next call."""
    async with production_client(rig.exchange.access) as (client, _):
        await client.load_markets()
        await client.watch_bids_asks([BTC])
        async with rig.armed("reset_streams"):
            with pytest.raises(ccxt.NetworkError):
                await asyncio.wait_for(watch_for_ever(client), 10)
        assert (await asyncio.wait_for(client.watch_bids_asks([BTC]), 5))[BTC]["bid"] > 0


async def test_half_open_socket(rig: FaultRig) -> None:
    """Nothing moves on the socket, pings stay unanswered, and it is never closed."""
    async with rig.stream("/public/ws/btcusdt@bookTicker") as stream:
        await stream.next_of("bookTicker")
        async with rig.armed("mute_streams", target="public"):
            async with asyncio.timeout(5):
                while not await stream.is_silent(0.2):
                    pass
            await stream.websocket.ping()
            await stream.websocket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":9}')
            assert await stream.is_silent(0.5)
        assert not stream.websocket.closed
        assert await stream.is_silent(0.3)
        async with rig.stream("/public/ws/btcusdt@bookTicker") as fresh:
            await fresh.next_of("bookTicker")


async def test_listen_key_expires(rig: FaultRig) -> None:
    """The stream says so and falls silent; the key opens nothing any more."""
    async with rig.user_stream() as user:
        async with rig.armed("expire_listen_key"):
            expired = await user.next_of("listenKeyExpired")
        await rig.place("after-expiry")
        assert await user.is_silent(0.2)
        path = f"{rig.base}/private/ws?listenKey={expired['listenKey']}"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await rig.http.ws_connect(path)
        assert (await rig.call("PUT", "/fapi/v1/listenKey")).document["code"] == -1125
    await rig.flatten()


async def test_duplicate_fill(rig: FaultRig) -> None:
    """One trade id arrives twice; the account has it once."""
    async with rig.user_stream() as user, rig.armed("duplicate_fill", target="twice"):
        await rig.place("twice")
        assert await kinds(user, 4) == ["NEW", "ORDER", "TRADE", "TRADE"]
    assert await rig.position() == 0.01
    await rig.flatten()


async def test_lost_and_repeated_user_events(rig: FaultRig) -> None:
    """Stream faults reach the user stream under its own name."""
    async with rig.user_stream() as user, rig.armed("drop_frames", target="user"):
        await rig.place("unheard")
        assert await kinds(user, 2) == ["ORDER", "TRADE"]
    await rig.flatten()


async def test_fill_before_acknowledgement(rig: FaultRig) -> None:
    """The fill is told before NEW."""
    async with rig.user_stream() as user, rig.armed("fill_before_ack", target="hasty"):
        await rig.place("hasty")
        assert await kinds(user, 3) == ["ORDER", "TRADE", "NEW"]
    await rig.flatten()


async def test_fill_after_cancel(rig: FaultRig) -> None:
    """REST and stream say cancelled, then the order is filled and the position is real."""
    async with rig.user_stream() as user, rig.armed("fill_after_cancel", target="undead"):
        await rig.rest_far("undead")
        words = {"symbol": "BTCUSDT", "origClientOrderId": "undead"}
        answer = await rig.call("DELETE", "/fapi/v1/order", words)
        assert answer.document["status"] == "CANCELED"
        assert await kinds(user, 4) == ["NEW", "CANCELED", "ORDER", "TRADE"]
    assert (await rig.order("undead")).document["status"] == "FILLED"
    assert await rig.position() == 0.01
    await rig.flatten()


async def test_overfill(rig: FaultRig) -> None:
    """A second fill goes beyond the quantity, once; position and history agree with it."""
    async with rig.user_stream() as user, rig.armed("overfill", target="greedy", lots=3, count=0):
        await rig.place("greedy")
        assert await kinds(user, 5) == ["NEW", "ORDER", "TRADE", "ORDER", "TRADE"]
        assert await user.is_silent(0.2)
    order = (await rig.order("greedy")).document
    assert (order["origQty"], order["executedQty"]) == ("0.010", "0.013")
    assert await rig.position() == 0.013
    await rig.flatten()


@pytest.mark.parametrize("is_told", [True, False])
async def test_balance_changed_from_outside(rig: FaultRig, is_told: bool) -> None:
    """Money goes; the user stream says so or does not."""
    before = float((await rig.account())["totalWalletBalance"])
    async with (
        rig.user_stream() as user,
        rig.armed("change_balance", amount_quote=-250.0, is_told=is_told),
    ):
        if is_told:
            event = await user.next_of("ACCOUNT_UPDATE")
            assert (event["a"]["m"], event["a"]["B"][0]["bc"]) == ("WITHDRAW", "-250.00000000")
        else:
            assert await user.is_silent(0.2)
    after = float((await rig.account())["totalWalletBalance"])
    assert after == pytest.approx(before - 250.0)


@pytest.mark.parametrize("is_told", [True, False])
async def test_position_changed_from_outside(rig: FaultRig, is_told: bool) -> None:
    """Somebody sells on our account under an id that is not ours, seen or unseen."""
    async with (
        rig.user_stream() as user,
        rig.armed("change_position", target="BTCUSDT", lots=-20, is_told=is_told),
    ):
        if is_told:
            event = await user.next_of("ORDER_TRADE_UPDATE")
            assert event["o"]["c"].startswith("web-")
            assert (event["o"]["S"], event["o"]["l"]) == ("SELL", "0.020")
        else:
            assert await user.is_silent(0.2)
    assert await rig.position() == -0.02
    await rig.flatten()


async def test_liquidation_cancels_and_closes(rig: FaultRig) -> None:
    """Orders go first, then the position, by an order whose id begins with autoclose."""
    await rig.place("doomed")
    await rig.rest_far("resting")
    async with rig.user_stream() as user, rig.armed("liquidate", target="BTCUSDT"):
        assert await kinds(user, 3) == ["CANCELED", "ORDER", "CALCULATED"]
    assert await rig.position() == 0.0
    trades = await rig.call("GET", "/fapi/v1/userTrades", {"symbol": "BTCUSDT"})
    newest: dict[str, Any] = trades.document[-1]
    assert (newest["side"], newest["qty"]) == ("SELL", "0.010")


async def test_deleveraging_closes_a_share(rig: FaultRig) -> None:
    """Half of the position goes, under the id adl_autoclose."""
    await rig.place("lucky", quantity="0.040")
    async with rig.user_stream() as user, rig.armed("deleverage", target="BTCUSDT", share=0.5):
        event = await user.next_of("ORDER_TRADE_UPDATE")
    assert event["o"]["c"].startswith("adl_autoclose")
    assert await rig.position() == 0.02
    await rig.flatten()


async def test_funding_is_charged(rig: FaultRig) -> None:
    """A long pays the rate of its value, and the stream says FUNDING_FEE."""
    await rig.place("long", quantity="0.100")
    async with (
        rig.user_stream() as user,
        rig.armed("charge_funding", target="BTCUSDT", rate_bps=10.0),
    ):
        event = await user.next_of("ACCOUNT_UPDATE")
    assert event["a"]["m"] == "FUNDING_FEE"
    assert float(event["a"]["B"][0]["bc"]) == pytest.approx(
        -0.001 * 0.1 * await rig.bid(), rel=0.01
    )
    await rig.flatten()


async def test_timed_faults_repeat(rig: FaultRig) -> None:
    """A timed fault strikes as often as it says, that far apart, not before its time."""
    before = float((await rig.account())["totalWalletBalance"])
    words = {"amount_quote": -1.0, "count": 3, "every_s": 0.1, "after_s": 0.2}
    async with rig.armed("change_balance", **words) as name:
        assert (await rig.fault(name))["fired"] == 0
        await asyncio.sleep(0.8)
        assert (await rig.fault(name))["fired"] == 3
    assert float((await rig.account())["totalWalletBalance"]) == pytest.approx(before - 3.0)


async def test_control_port_refuses_nonsense(rig: FaultRig) -> None:
    """Wrong kinds, foreign parameters, bad JSON, no JSON and unknown names have their answers."""
    url = f"{rig.control}/faults"
    for document, words in (
        ({"kind": "drop_framse"}, "did you mean drop_frames"),
        ({"kind": "drop_frames", "status": 500}, "status is no parameter of drop_frames"),
        ({"kind": "rest_error", "status": 5}, "status"),
        ([], "valid dictionary"),
    ):
        async with rig.http.post(url, json=document) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["error"]
    async with rig.http.post(url, data=b"{", headers={"Content-Type": "application/json"}) as bad:
        assert bad.status == 400
    async with rig.http.post(url, data=b'{"kind":"liquidate"}') as plain:
        assert plain.status == 415
    async with rig.http.delete(f"{url}/nobody") as unknown:
        assert unknown.status == 404
    async with (
        rig.armed("slow_answer", name="mine"),
        rig.http.post(url, json={"kind": "slow_answer", "name": "mine"}) as twice,
    ):
        assert twice.status == 400
    async with rig.http.get(f"{rig.control}/kinds") as known:
        assert len(await known.json()) > 30
    async with rig.http.get(f"{rig.control}/report") as report:
        assert (await report.json())["faults_fired"]["overfill"] == 1
