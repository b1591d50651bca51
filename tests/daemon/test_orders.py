"""Orders: what leaves, and what each answer, error or silence makes of the order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from config.settings import Settings
from daemon.clock import ManualClock
from daemon.effects import CancelOrder, Note, SendOrder
from daemon.lanes import Lanes
from daemon.venues.connect import connect, load_instruments
from daemon.venues.orders import NOT_FOUND_IS_FINAL_NS, OrderGateway, order_request
from daemon.venues.tap import TapBinanceUsdm
from kernels.events import Event, Fill, OrderIntent, OrderStatus, OrderType, OrderUpdate, Side
from kernels.units import Instrument
from tests.fakes.approving import approve
from tests.fakes.scripted_venue import (
    Handler,
    ScriptedVenue,
    answer,
    answer_text,
    hang_up,
    refuse,
    serve,
)

CREATE, QUERY = "POST /fapi/v1/order", "GET /fapi/v1/order"
CANCEL, CANCEL_ALL = "DELETE /fapi/v1/order", "DELETE /fapi/v1/allOpenOrders"
TRADES = "GET /fapi/v1/userTrades"
IDENTITY = "me-run-1"


def _intent(**changes: Any) -> OrderIntent:
    words: dict[str, Any] = {
        "sequence": 1,
        "instrument": 0,
        "side": Side.BUY,
        "quantity_lots": 10,
        "price_ticks": 600_001,
        "order_type": OrderType.IOC,
        "reduce_only": False,
        "decided_ns": 1,
        "reason": "test",
    }
    return OrderIntent(**(words | changes))


def _order(**changes: Any) -> dict[str, Any]:
    words: dict[str, Any] = {
        "orderId": 22,
        "symbol": "BTCUSDT",
        "status": "FILLED",
        "clientOrderId": IDENTITY,
        "price": "60000.10",
        "origQty": "0.010",
        "executedQty": "0.010",
        "updateTime": 1_700_000_000_000,
    }
    return words | changes


@dataclass(slots=True, kw_only=True)
class _Rig:
    venue: ScriptedVenue
    exchange: TapBinanceUsdm
    instruments: tuple[Instrument, ...]
    gateway: OrderGateway
    lanes: Lanes
    clock: ManualClock
    notes: list[Note]
    stages: list[tuple[str, int]]
    sent: list[str]

    def submit(self, **changes: Any) -> None:
        """Send an approved order."""
        approved = approve(_intent(**changes), self.instruments)
        self.gateway.submit(SendOrder(client_order_id=IDENTITY, approved=approved))

    async def settled(self) -> list[Event]:
        """Wait for all requests and return what came of them."""
        assert await self.gateway.drain(15.0)
        return self.lanes.drain(100)

    async def only_update(self) -> OrderUpdate:
        """Wait and return the one update that came."""
        (event,) = await self.settled()
        assert isinstance(event, OrderUpdate)
        assert event.client_order_id == IDENTITY
        return event


@asynccontextmanager
async def _rig(directory: Path) -> AsyncIterator[_Rig]:
    async with serve(directory) as venue:
        exchange = await connect(Settings(), None, venue)
        instruments = load_instruments(exchange, ("BTC/USDT:USDT", "ETH/USDT:USDT"))
        lanes, clock = Lanes(2, 1000), ManualClock()
        notes: list[Note] = []
        stages: list[tuple[str, int]] = []
        sent: list[str] = []
        gateway = OrderGateway(
            exchange,
            instruments,
            lanes,
            clock,
            notes.append,
            lambda stage, spent_ns: stages.append((stage, spent_ns)),
            generator=np.random.default_rng(3),
            on_sent=lambda identity, at_ns: sent.append(identity),
        )
        try:
            yield _Rig(
                venue=venue,
                exchange=exchange,
                instruments=instruments,
                gateway=gateway,
                lanes=lanes,
                clock=clock,
                notes=notes,
                stages=stages,
                sent=sent,
            )
        finally:
            await gateway.close()
            await exchange.close()
        assert not [note for note in notes if note.event == "task_failed"], notes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, {"timeInForce": "IOC", "side": "BUY", "quantity": "0.01", "price": "60000.1"}),
        ({"order_type": OrderType.GTC, "side": Side.SELL}, {"timeInForce": "GTC", "side": "SELL"}),
        ({"order_type": OrderType.POST_ONLY}, {"timeInForce": "GTX", "type": "LIMIT"}),
        ({"reduce_only": True}, {"reduceOnly": "true"}),
    ],
)
def test_an_intent_in_the_venues_words(changes: dict[str, Any], words: dict[str, str]) -> None:
    """Every order is a limit order under our own id, exact to the last decimal."""
    instrument = Instrument(
        index=0,
        symbol="BTC/USDT:USDT",
        venue_id="BTCUSDT",
        tick_size_e8=10_000_000,
        lot_size_e8=100_000,
        lots_min=1,
        lots_max=1000,
        notional_min_quote_e8=1,
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )
    request = order_request(IDENTITY, _intent(**changes), instrument)
    assert words.items() <= request.items()
    assert request["newClientOrderId"] == IDENTITY
    assert ("reduceOnly" in request) is bool(changes.get("reduce_only"))


async def test_a_filled_order(tmp_path: Path) -> None:
    """The answer becomes an update, the sending is timed when its bytes go out."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CREATE] = answer(_order())
        rig.submit()
        update = await rig.only_update()
        assert (update.status, update.filled_lots) == (OrderStatus.FILLED, 10)
        (words,) = rig.venue.asked(CREATE)
        assert words["newClientOrderId"] == IDENTITY
        assert words["recvWindow"] == "5000"
        assert [stage for stage, _ in rig.stages] == ["send", "answer_rest"]
        assert rig.sent == [IDENTITY]


@pytest.mark.parametrize(
    ("handler", "status", "code"),
    [
        (refuse(-2019), OrderStatus.REJECTED, -2019),
        (refuse(-1021), OrderStatus.REJECTED, -1021),
        (refuse(-5022), OrderStatus.REJECTED, -5022),
        (refuse(-1003, 429), OrderStatus.REJECTED, -1003),
        (refuse(-1008, 503), OrderStatus.REJECTED, -1008),
        (answer_text("firewall", 403), OrderStatus.REJECTED, 0),
        (refuse(-1007, 504), OrderStatus.UNKNOWN, -1007),
        (refuse(-1006), OrderStatus.UNKNOWN, -1006),
        (refuse(-1000), OrderStatus.UNKNOWN, -1000),
        (refuse(-4116), OrderStatus.UNKNOWN, -4116),
        (answer_text("bad gateway", 502), OrderStatus.UNKNOWN, 0),
        (answer_text('{"code":0,"msg":"?"}', 503), OrderStatus.UNKNOWN, 0),
        (answer_text('{"orderId": 22, "symb'), OrderStatus.UNKNOWN, 0),
        (answer_text(""), OrderStatus.UNKNOWN, 0),
        (answer({}), OrderStatus.UNKNOWN, 0),
        (answer(_order(clientOrderId="another")), OrderStatus.UNKNOWN, 0),
        (hang_up, OrderStatus.UNKNOWN, 0),
    ],
)
async def test_what_an_answer_proves(
    tmp_path: Path, handler: Handler, status: OrderStatus, code: int
) -> None:
    """Refused only on the venue's own evidence; sent once, whatever happens."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CREATE] = handler
        rig.submit()
        update = await rig.only_update()
        assert (update.status, update.code, update.filled_lots) == (status, code, -1)
        assert len(rig.venue.asked(CREATE)) == 1
        assert "signature" not in update.reason


async def test_no_answer_in_time_is_unknown(tmp_path: Path) -> None:
    """A venue that stays silent leaves the order unknown, it never hangs."""

    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.0)
        return web.Response()

    async with _rig(tmp_path) as rig:
        rig.exchange.timeout = 150
        rig.venue.handlers[CREATE] = silence
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.UNKNOWN


async def test_nobody_listening_is_unknown_and_leaks_nothing(tmp_path: Path) -> None:
    """A refused connection proves nothing, and its reason holds no address and no signature."""
    async with _rig(tmp_path) as rig:
        rig.exchange.urls["api"]["fapiPrivate"] = "https://fapi.binance.com:1/fapi/v1"
        rig.venue.handlers[CREATE] = hang_up
        rig.submit()
        update = await rig.only_update()
        assert update.status is OrderStatus.UNKNOWN
        assert "http" not in update.reason


async def test_a_forbidden_host_is_refused_before_a_byte(tmp_path: Path) -> None:
    """An address outside the mode's list is never contacted: the order is proven not sent."""
    async with _rig(tmp_path) as rig:
        rig.exchange.urls["api"]["fapiPrivate"] = "https://dapi.binance.com/fapi/v1"
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.REJECTED
        assert rig.venue.asked(CREATE) == []


TRADE_ROW = {
    "symbol": "BTCUSDT",
    "id": 7,
    "orderId": 22,
    "side": "BUY",
    "price": "60000.1",
    "qty": "0.010",
    "commission": "0.3",
    "commissionAsset": "USDT",
    "time": 1_700_000_000_000,
    "maker": False,
}


async def test_a_query_brings_status_and_fills(tmp_path: Path) -> None:
    """An unknown order is settled by the venue's word and its executions, those of others aside."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[QUERY] = answer(_order())
        rig.venue.handlers[TRADES] = answer([TRADE_ROW, TRADE_ROW | {"orderId": 9}, {"bad": 1}])
        rig.gateway.query_unknown(IDENTITY, 0)
        rig.gateway.query_unknown(IDENTITY, 0)
        update, fill = await rig.settled()
        assert isinstance(update, OrderUpdate)
        assert isinstance(fill, Fill)
        assert (update.status, update.filled_lots) == (OrderStatus.FILLED, 10)
        assert (fill.trade_id, fill.client_order_id) == (7, IDENTITY)
        assert len(rig.venue.asked(QUERY)) == 1
        assert rig.venue.asked(TRADES)[0]["orderId"] == "22"


async def test_not_found_is_final_only_when_nothing_can_arrive_any_more(tmp_path: Path) -> None:
    """A request still on its way may execute: until its window has passed it stays unknown."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CREATE] = hang_up
        rig.venue.handlers[QUERY] = refuse(-2013)
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.UNKNOWN
        rig.gateway.query_unknown(IDENTITY, 0)
        assert await rig.settled() == []
        rig.clock.advance(NOT_FOUND_IS_FINAL_NS + 1)
        rig.gateway.query_unknown(IDENTITY, 0)
        update = await rig.only_update()
        assert (update.status, update.code) == (OrderStatus.REJECTED, -2013)


@pytest.mark.parametrize(
    "handler", [refuse(-1001, 500), refuse(-1003, 429), answer({}), answer_text("?"), hang_up]
)
async def test_a_query_that_proves_nothing(tmp_path: Path, handler: Handler) -> None:
    """An unreadable or failed answer to a question changes nothing; it can be asked again."""
    async with _rig(tmp_path) as rig:
        rig.clock.advance(NOT_FOUND_IS_FINAL_NS + 1)
        for _ in range(2):
            rig.venue.handlers[QUERY] = handler
            rig.gateway.query_unknown(IDENTITY, 0)
            assert await rig.settled() == []


async def test_cancel(tmp_path: Path) -> None:
    """A cancelled order keeps what it had filled."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CANCEL] = answer(_order(status="CANCELED", executedQty="0.004"))
        rig.gateway.cancel(CancelOrder(client_order_id=IDENTITY, instrument=0, reason="test"))
        update = await rig.only_update()
        assert (update.status, update.filled_lots) == (OrderStatus.CANCELLED, 4)


@pytest.mark.parametrize("handler", [refuse(-2011), refuse(-1007, 504), answer({}), hang_up])
async def test_a_cancel_that_did_not_say_asks(tmp_path: Path, handler: Handler) -> None:
    """Not found, silence or nonsense: the venue is asked what the order has become."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CANCEL] = handler
        rig.venue.handlers[QUERY] = answer(_order(status="EXPIRED", executedQty="0"))
        rig.gateway.cancel(CancelOrder(client_order_id=IDENTITY, instrument=0, reason="test"))
        assert (await rig.only_update()).status is OrderStatus.EXPIRED


async def test_a_refused_cancel_is_noted(tmp_path: Path) -> None:
    """A cancel turned away by the rate limit is noted and leaves the order as it is."""
    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CANCEL] = refuse(-1003, 429)
        rig.gateway.cancel(CancelOrder(client_order_id=IDENTITY, instrument=0, reason="test"))
        assert await rig.settled() == []
        assert [note.event for note in rig.notes] == ["cancel_sent", "cancel_failed"]


async def test_cancel_all_is_repeated_until_heard(tmp_path: Path) -> None:
    """Cancelling everything is harmless to repeat, so it is repeated after an error."""
    async with _rig(tmp_path) as rig:

        async def first_fails(request: web.Request) -> web.StreamResponse:
            if len(rig.venue.asked(CANCEL_ALL)) < 2:
                return web.json_response({"code": -1001, "msg": "?"}, status=500)
            return web.json_response({"code": 200, "msg": "done"})

        rig.venue.handlers[CANCEL_ALL] = first_fails
        rig.gateway.cancel_all(1)
        await rig.settled()
        assert [words["symbol"] for words in rig.venue.asked(CANCEL_ALL)] == ["ETHUSDT"] * 2


async def test_drain_gives_up_in_time(tmp_path: Path) -> None:
    """Draining tells when an answer is still missing."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.json_response(_order())

    async with _rig(tmp_path) as rig:
        rig.venue.handlers[CREATE] = slow
        rig.submit()
        assert not await rig.gateway.drain(0.05)
        assert rig.gateway.in_flight_count == 1
        assert await rig.gateway.drain(5.0)
