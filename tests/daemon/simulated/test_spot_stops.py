"""Spot's stop orders: what they lock and release on the desk, what ccxt makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt
import pytest
import pytest_asyncio

from daemon.simulated.spot_documents import order_document
from daemon.simulated.spot_stops import STOP_ORDERS_MAX
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_market import RESTING_ORDERS_MAX
from kernels.events import Side
from kernels.units import E8
from tests.fakes.exchange_client import production_client
from tests.fakes.fault_rig import FaultRig, Stream, fault_rig
from tests.fakes.spot_floor import ASK, BID, NOW_MS, OPENING_QUOTE_E8, Floor, price

BTC = "BTC/USDT"
WAIT_S = 20.0
LOT_E8 = 1_000
TICK_LOT_E8 = 10


def told(floor: Floor) -> list[tuple[str, str, bool, bool]]:
    """Return execution type, status, on-the-book flag and whether a working time was told."""
    return [
        (event["x"], event["X"], event["w"], "W" in event)
        for event in floor.events
        if event["e"] == "executionReport"
    ]


@pytest.mark.parametrize(
    ("side", "kind", "offset"),
    [
        ("BUY", "STOP_LOSS", 5),
        ("BUY", "TAKE_PROFIT", -5),
        ("SELL", "STOP_LOSS", -5),
        ("SELL", "TAKE_PROFIT", 5),
    ],
)
def test_only_a_trade_at_the_stop_price_releases(side: str, kind: str, offset: int) -> None:
    """A trade one tick short leaves the order waiting; at the price it fills at the market."""
    floor = Floor()
    if side == "SELL":
        floor.place("BUY", "MARKET", quantity="0.2")
        floor.events.clear()
    order = floor.place(side, kind, quantity="0.1", stopPrice=price(BID + offset))
    short = BID + offset + (1 if offset < 0 else -1)
    floor.trade(short, 1, Side.BUY)
    assert (order.status, order.working_ms) == ("NEW", 0)
    waiting = order_document(order, floor.instrument)
    assert (waiting["isWorking"], waiting["workingTime"], waiting["type"]) == (False, -1, kind)
    floor.trade(BID + offset, 1, Side.BUY)
    assert (order.status, order.filled_lots) == ("FILLED", 10_000)
    assert order_document(order, floor.instrument)["isWorking"] is True
    assert told(floor) == [
        ("NEW", "NEW", False, False),
        ("NEW", "NEW", True, True),
        ("TRADE", "FILLED", False, True),
    ]
    assert set(floor.venue.holdings.locked_e8.values()) == {0}


def test_waiting_orders_lock_what_they_need() -> None:
    """To buy: the limit's amount, or the quantity at the last price; to sell: the coin itself."""
    floor = Floor()
    floor.place("BUY", "MARKET", quantity="0.5")
    holdings, desk = floor.venue.holdings, floor.venue.desk
    terms = {"quantity": "0.1", "stopPrice": price(ASK + 5)}
    limit = floor.place("BUY", "STOP_LOSS_LIMIT", price=price(ASK + 9), timeInForce="GTC", **terms)
    assert holdings.locked_e8["USDT"] == 10_000 * (ASK + 9) * TICK_LOT_E8
    floor.trade(ASK, 1, Side.BUY)
    market = floor.place("BUY", "STOP_LOSS", **terms)
    assert holdings.locked_e8["USDT"] == 10_000 * (ASK + 9 + ASK) * TICK_LOT_E8
    sale = floor.place("SELL", "TAKE_PROFIT", **terms)
    assert holdings.locked_e8["BTC"] == 10_000 * LOT_E8
    assert desk.working_orders() == [floor.venue.desk.order(1 + n) for n in (1, 2, 3)]
    for order in (limit, market, sale):
        desk.cancel(order, "gone", NOW_MS)
        assert order_document(order, floor.instrument)["isWorking"] is False
    assert set(holdings.locked_e8.values()) == {0}
    floor.trade(ASK + 50, 1, Side.BUY)
    assert [order.status for order in (limit, market, sale)] == ["CANCELED"] * 3


def test_released_limit_rests_at_its_price() -> None:
    """A stop limit whose price is away from the market works on the book, under the same id."""
    floor = Floor()
    terms = {"quantity": "0.1", "stopPrice": price(ASK + 5), "timeInForce": "GTC"}
    order = floor.place("BUY", "STOP_LOSS_LIMIT", price=price(BID - 3), **terms)
    floor.trade(ASK + 5, 1, Side.BUY)
    assert told(floor)[-1] == ("NEW", "NEW", True, True)
    assert floor.venue.desk.find(0, order.order_id, "") is order
    assert floor.venue.holdings.locked_e8["USDT"] == 10_000 * (BID - 3) * TICK_LOT_E8
    floor.venue.desk.cancel(order, "gone", NOW_MS)
    assert floor.venue.holdings.free_e8["USDT"] == OPENING_QUOTE_E8


def test_immediate_limit_expires_where_nothing_matches() -> None:
    """IOC counts from the release: no match then, and the order expires."""
    floor = Floor()
    terms = {"quantity": "0.1", "stopPrice": price(ASK + 5), "timeInForce": "IOC"}
    order = floor.place(
        "BUY", "TAKE_PROFIT_LIMIT", price=price(BID - 3), **terms | {"stopPrice": price(BID - 5)}
    )
    floor.trade(BID - 5, 1, Side.SELL)
    assert order.status == "EXPIRED"
    assert [kind for kind, *_ in told(floor)] == ["NEW", "NEW", "EXPIRED"]
    assert floor.venue.holdings.free_e8["USDT"] == OPENING_QUOTE_E8


def test_release_that_cannot_be_paid_expires_with_its_reason() -> None:
    """What was set aside at the last price no longer buys the quantity at the market."""
    floor = Floor()
    floor.trade(ASK - 1_000_000, 1, Side.SELL)
    order = floor.place("BUY", "STOP_LOSS", quantity="1.66667", stopPrice=price(ASK))
    assert floor.venue.holdings.free_e8["USDT"] > 0
    floor.trade(ASK, 1, Side.BUY)
    assert (order.status, order.filled_lots, order.working_ms) == ("EXPIRED", 0, 0)
    assert floor.events[-2]["r"] == "INSUFFICIENT_BALANCES"
    assert floor.venue.holdings.free_e8["USDT"] == OPENING_QUOTE_E8


def test_no_more_than_five_wait_on_a_pair() -> None:
    """The sixth is refused by MAX_NUM_ALGO_ORDERS, until one has gone."""
    floor = Floor()
    terms = {"quantity": "0.01", "stopPrice": price(ASK + 5)}
    orders = [floor.place("BUY", "STOP_LOSS", **terms) for _ in range(STOP_ORDERS_MAX)]
    with pytest.raises(VenueError, match="MAX_NUM_ALGO_ORDERS"):
        floor.place("BUY", "STOP_LOSS", **terms)
    floor.venue.desk.cancel(orders[0], "gone", NOW_MS)
    floor.place("BUY", "STOP_LOSS", **terms)
    assert floor.venue.holdings.locked_e8["USDT"] < 6_000 * E8


def test_full_book_refuses_a_stop_and_expires_one_that_comes_too_late() -> None:
    """Waiting orders count among MAX_NUM_ORDERS; a limit released onto a full book expires."""
    floor = Floor()
    stop = {"quantity": "0.001", "stopPrice": price(ASK + 5), "timeInForce": "GTC"}
    late = floor.place("BUY", "STOP_LOSS_LIMIT", price=price(BID - 9), **stop)
    for _ in range(RESTING_ORDERS_MAX):
        floor.place("BUY", "LIMIT", quantity="0.0001", price=price(BID - 50))
    with pytest.raises(VenueError, match="MAX_NUM_ORDERS"):
        floor.place("BUY", "STOP_LOSS_LIMIT", price=price(BID - 9), **stop)
    locked_e8 = floor.venue.holdings.locked_e8["USDT"]
    floor.trade(ASK + 5, 1, Side.BUY)
    assert (late.status, late.working_ms) == ("EXPIRED", 0)
    assert locked_e8 - floor.venue.holdings.locked_e8["USDT"] == 100 * (BID - 9) * TICK_LOT_E8


def test_released_stop_does_not_trade_with_our_own_order() -> None:
    """It expires in match, as an order sent then would, and gives back what it had set aside."""
    floor = Floor()
    floor.place("BUY", "MARKET", quantity="0.1")
    own = floor.place("SELL", "LIMIT", quantity="0.05", price=price(ASK))
    terms = {"quantity": "1", "stopPrice": price(ASK + 5), "timeInForce": "GTC"}
    stop = floor.place("BUY", "STOP_LOSS_LIMIT", price=price(ASK + 9), **terms)
    floor.trade(ASK + 5, 1, Side.SELL)
    assert (stop.status, own.status) == ("EXPIRED_IN_MATCH", "NEW")
    assert floor.venue.holdings.locked_e8["USDT"] == 0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange on a moving market for all tests on the wire."""
    async with fault_rig((BTC,), market="volatile") as running:
        async with running.stream("/ws/btcusdt@trade") as stream:
            await stream.next_of("trade")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(rig: FaultRig) -> AsyncIterator[Any]:
    """The unmodified ccxt client."""
    options = {"fetchMarkets": {"types": ["spot"]}}
    async with production_client(rig.exchange.access, options, "binance") as (opened, _):
        await opened.load_markets()
        yield opened


async def last(client: Any) -> float:
    """Return the price of the newest trade."""
    return float((await client.publicGetTickerPrice({"symbol": "BTCUSDT"}))["price"])


async def reports_of(users: Stream, name: str, status: str) -> list[dict[str, Any]]:
    """Return an order's reports up to the one of this status."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(WAIT_S):
        while not found or found[-1]["X"] != status:
            event = (await users.event())["event"]
            if event["e"] == "executionReport" and name in (event["c"], event["C"]):
                found.append(event)
    return found


async def stop_close(client: Any, side: str, kind: str, name: str, **words: Any) -> Any:
    """Place a stop as near to the market as the venue takes it."""
    is_above = (kind in ("STOP_LOSS", "STOP_LOSS_LIMIT")) == (side == "buy")
    for distance in (0.5, 1.0, 2.0, 4.0, 8.0):
        trigger = round(await last(client) + (distance if is_above else -distance), 2)
        limit = round(trigger * (1.02 if side == "buy" else 0.98), 2)
        is_limit = kind.endswith("LIMIT")
        try:
            return await client.create_order(
                BTC,
                kind,
                side,
                0.01,
                limit if is_limit else None,
                {"stopPrice": trigger, "newClientOrderId": name, **words},
            )
        except ccxt.OrderImmediatelyFillable:
            continue
    raise AssertionError("the market runs away")


@pytest.mark.asyncio(loop_scope="module")
async def test_ccxt_places_finds_replaces_and_cancels_a_stop(rig: FaultRig, client: Any) -> None:
    """Every call that knows an order knows a waiting one; cancelReplace takes it as any other."""
    listed = client.markets[BTC]["info"]["orderTypes"]
    assert {"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"} <= set(listed)
    price_now = await last(client)
    below, above = round(price_now * 0.9, 2), round(price_now * 1.1, 2)
    async with rig.spot_user_stream() as users:
        order = await client.create_order(
            BTC, "limit", "buy", 0.01, above, {"triggerPrice": above, "newClientOrderId": "wait"}
        )
        assert (order["status"], order["type"], order["triggerPrice"]) == ("open", "limit", above)
        assert order["info"]["workingTime"] == -1
        found = await client.fetch_order(order["id"], BTC)
        assert (found["info"]["isWorking"], found["info"]["type"]) == (False, "STOP_LOSS_LIMIT")
        assert [each["id"] for each in await client.fetch_open_orders(BTC)] == [order["id"]]
        assert (await client.fetch_balance())["USDT"]["used"] == pytest.approx(above * 0.01)
        edited = await client.edit_order(
            order["id"], BTC, "limit", "buy", 0.02, above, {"stopPrice": above}
        )
        reports = await reports_of(users, "wait", "CANCELED")
        assert [(each["x"], each["w"], each["P"]) for each in reports] == [
            ("NEW", False, f"{above:.8f}"),
            ("CANCELED", False, f"{above:.8f}"),
        ]
    replaced = await client.fetch_order(edited["id"], BTC)
    assert (replaced["status"], replaced["amount"]) == ("open", 0.02)
    plain = round(price_now * 0.95, 2)
    resting = await client.edit_order(edited["id"], BTC, "limit", "buy", 0.02, plain)
    assert (await client.fetch_order(resting["id"], BTC))["info"]["isWorking"] is True
    assert (await client.fetch_order(edited["id"], BTC))["status"] == "canceled"
    over = await client.create_order_ws(
        BTC, "TAKE_PROFIT_LIMIT", "buy", 0.01, below, {"stopPrice": below}
    )
    asked = await client.fetch_order_ws(over["id"], BTC)
    assert (asked["info"]["isWorking"], asked["triggerPrice"]) == (False, below)
    assert len(await client.cancel_all_orders(BTC)) == 2
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(over["id"], BTC)
    assert (await client.fetch_balance())["USDT"]["used"] == 0.0


@pytest.mark.asyncio(loop_scope="module")
async def test_ccxt_raises_its_own_classes(rig: FaultRig, client: Any) -> None:
    """Reached already: -2010 in the words by which ccxt knows it; -1102 and -1106 by code."""
    above = round(await last(client) * 1.1, 2)
    with pytest.raises(ccxt.OrderImmediatelyFillable, match="Stop price would trigger"):
        await client.create_order(BTC, "market", "buy", 0.01, None, {"takeProfitPrice": above})
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await client.create_order_ws(BTC, "TAKE_PROFIT", "buy", 0.01, None, {"stopPrice": above})
    raw = {"symbol": "BTCUSDT", "side": "BUY", "type": "STOP_LOSS", "quantity": "0.01"}
    for words, code in (({}, "-1102"), ({"stopPrice": above, "price": above}, "-1106")):
        with pytest.raises(ccxt.BadRequest, match=code):
            await client.privatePostOrder({**raw, **words})
    assert await client.fetch_open_orders(BTC) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ["STOP_LOSS", "TAKE_PROFIT_LIMIT"])
async def test_market_releases_a_stop_and_the_stream_tells(
    rig: FaultRig, client: Any, kind: str
) -> None:
    """Of two stops around the market one works first: NEW twice under one id, then its trade."""
    await client.create_order(BTC, "market", "buy", 0.02)
    async with rig.spot_user_stream() as users:
        name = f"buy-{kind}"
        placed = await stop_close(client, "buy", kind, name, newOrderRespType="RESULT")
        assert placed["status"] == "open"
        reports = await reports_of(users, name, "FILLED")
    assert {each["i"] for each in reports} == {int(placed["id"])}
    assert [(each["x"], each["w"]) for each in reports[:2]] == [("NEW", False), ("NEW", True)]
    assert {each["x"] for each in reports[2:]} == {"TRADE"}
    order = await client.fetch_order(placed["id"], BTC)
    assert (order["status"], order["filled"], order["info"]["type"]) == ("closed", 0.01, kind)
    await client.create_order(BTC, "market", "sell", 0.02)
