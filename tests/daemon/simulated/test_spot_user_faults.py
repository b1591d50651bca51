"""Faults of spot's user stream, orders and balance, seen by a ws-api client on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.fakes.fault_rig import Answer, FaultRig, Stream, fault_rig
from tests.fakes.recording import NAMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAIR = "BTC/USDT"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange with a pair and contracts."""
    async with fault_rig((*NAMES, PAIR)) as running:
        yield running


async def bid(rig: FaultRig) -> float:
    """Return the pair's best bid."""
    words = {"symbol": "BTCUSDT"}
    answer = await rig.call("GET", "/api/v3/ticker/bookTicker", words, is_signed=False)
    return float(answer.document["bidPrice"])


async def place(rig: FaultRig, name: str, **words: Any) -> Answer:
    """Buy 0.01 BTC by a market order, unless the words say otherwise."""
    order: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}
    order |= {"quantity": "0.01", "newClientOrderId": name, **words}
    return await rig.call("POST", "/api/v3/order", order)


async def order(rig: FaultRig, name: str) -> dict[str, Any]:
    """Query an order by its client id."""
    words = {"symbol": "BTCUSDT", "origClientOrderId": name}
    document: dict[str, Any] = (await rig.call("GET", "/api/v3/order", words)).document
    return document


async def free(rig: FaultRig, asset: str) -> float:
    """Return the free amount of an asset."""
    rows = (await rig.call("GET", "/api/v3/account")).document["balances"]
    return float(next(row["free"] for row in rows if row["asset"] == asset))


async def reports(users: Stream, count: int) -> list[tuple[str, int]]:
    """Return execution type and trade id of the next order events."""
    found: list[tuple[str, int]] = []
    while len(found) < count:
        event = (await users.event())["event"]
        if event["e"] == "executionReport":
            found.append((event["x"], event["t"]))
    return found


async def test_spot_duplicate_fill(rig: FaultRig) -> None:
    """One trade id arrives twice; the balance has it once."""
    before = await free(rig, "BTC")
    async with rig.spot_user_stream() as users, rig.armed("duplicate_fill", target="twice"):
        await place(rig, "twice")
        (new, _), first, second = await reports(users, 3)
    assert (new, first[0]) == ("NEW", "TRADE")
    assert first == second
    assert await free(rig, "BTC") - before == pytest.approx(0.01, rel=0.01)


async def test_spot_fill_before_acknowledgement(rig: FaultRig) -> None:
    """The fill is told before NEW."""
    async with rig.spot_user_stream() as users, rig.armed("fill_before_ack", target="hasty"):
        await place(rig, "hasty")
        assert [kind for kind, _ in await reports(users, 2)] == ["TRADE", "NEW"]


async def test_spot_fill_after_cancel(rig: FaultRig) -> None:
    """REST and stream say cancelled, then the order is filled and the coin is there."""
    price = f"{await bid(rig) * 0.97:.2f}"
    before = await free(rig, "BTC")
    async with rig.spot_user_stream() as users, rig.armed("fill_after_cancel", target="undead"):
        await place(rig, "undead", type="LIMIT", timeInForce="GTC", price=price)
        words = {"symbol": "BTCUSDT", "origClientOrderId": "undead"}
        answer = await rig.call("DELETE", "/api/v3/order", words)
        assert answer.document["status"] == "CANCELED"
        kinds = [kind for kind, _ in await reports(users, 3)]
        assert kinds == ["NEW", "CANCELED", "TRADE"]
    assert (await order(rig, "undead"))["status"] == "FILLED"
    assert await free(rig, "BTC") - before == pytest.approx(0.01, rel=0.01)
    account = (await rig.call("GET", "/api/v3/account")).document["balances"]
    assert all(float(row["locked"]) == 0.0 for row in account)


async def test_spot_overfill(rig: FaultRig) -> None:
    """A second fill goes beyond the quantity, once; the history agrees with it."""
    async with (
        rig.spot_user_stream() as users,
        rig.armed("overfill", target="greedy", lots=300, count=0),
    ):
        await place(rig, "greedy")
        assert [kind for kind, _ in await reports(users, 3)] == ["NEW", "TRADE", "TRADE"]
    found = await order(rig, "greedy")
    assert (float(found["origQty"]), float(found["executedQty"])) == (0.01, 0.013)


async def spoken(users: Stream) -> tuple[str, str]:
    """Return kind and execution type of the next user event."""
    event = (await users.event())["event"]
    return event["e"], event.get("x", "")


NEW, TRADE = ("executionReport", "NEW"), ("executionReport", "TRADE")
HELD = ("outboundAccountPosition", "")
"""What a market order makes the user stream say: NEW, HELD, TRADE, HELD."""


@pytest.mark.parametrize(
    ("kind", "skip", "heard"),
    [
        ("drop_frames", 2, [NEW, HELD, HELD]),
        ("duplicate_frames", 2, [NEW, HELD, TRADE, TRADE, HELD]),
        ("reorder_frames", 1, [NEW, TRADE, HELD, HELD]),
        ("delay_frames", 0, [HELD, TRADE, HELD, NEW]),
        ("stall_stream", 1, [NEW]),
    ],
)
async def test_spot_user_events_are_lost_repeated_and_late(
    rig: FaultRig, kind: str, skip: int, heard: list[tuple[str, str]]
) -> None:
    """An event of spot's user stream meets what a frame of any other stream meets."""
    async with (
        rig.spot_user_stream() as users,
        rig.armed(kind, target="spot/user", skip=skip),
    ):
        await place(rig, f"frames-{kind}")
        assert [await spoken(users) for _ in heard] == heard
        assert await users.is_silent(0.1)
    assert (await order(rig, f"frames-{kind}"))["status"] == "FILLED"


async def test_spot_user_event_is_corrupt(rig: FaultRig) -> None:
    """The report cannot be read; what follows on the same socket can."""
    async with rig.spot_user_stream() as users, rig.armed("corrupt_frames", target="spot/user"):
        await place(rig, "corrupt")
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(await users.text())
        assert [await spoken(users) for _ in range(3)] == [HELD, TRADE, HELD]


@pytest.mark.parametrize("is_told", [True, False])
async def test_spot_balance_changed_from_outside(rig: FaultRig, is_told: bool) -> None:
    """Money leaves the spot wallet alone; the user stream says so or does not."""
    before = await free(rig, "USDT")
    futures_before = float((await rig.account())["totalWalletBalance"])
    async with (
        rig.spot_user_stream() as users,
        rig.armed("change_balance", target="spot", amount_quote=-250.0, is_told=is_told),
    ):
        if is_told:
            event = (await users.event())["event"]
            assert (event["e"], event["a"], event["d"]) == (
                "balanceUpdate",
                "USDT",
                "-250.00000000",
            )
            assert (await users.event())["event"]["e"] == "outboundAccountPosition"
        else:
            assert await users.is_silent(0.2)
    assert await free(rig, "USDT") == pytest.approx(before - 250.0)
    assert float((await rig.account())["totalWalletBalance"]) == futures_before


async def test_spot_orders_are_refused(rig: FaultRig) -> None:
    """Takers are refused with the fault's code as often as they come; makers pass."""
    async with rig.armed("refuse_takers", target="*taker*"):
        for number in range(2):
            refused = await place(rig, f"taker-{number}")
            assert refused.document["code"] == -4131
        price = f"{await bid(rig) * 0.97:.2f}"
        resting = await place(rig, "taker-not", type="LIMIT_MAKER", price=price)
        assert resting.status == 200
    await rig.call("DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"})
