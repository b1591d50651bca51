"""Orders over ws-api: what each answer proves, and which way is taken while one is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import ExecutionSettings, Settings
from daemon.clock import SystemClock
from daemon.effects import AmendOrder, CancelOrder, Note, SendOrder
from daemon.lanes import Lanes
from daemon.venues import order_socket
from daemon.venues.connect import connect, load_instruments
from daemon.venues.order_socket import OrderSocket
from daemon.venues.orders import OrderGateway
from daemon.venues.supervision import Supervisor
from kernels.events import Event, OrderIntent, OrderStatus, OrderType, OrderUpdate, Side
from kernels.units import Instrument
from tests.fakes.approving import approve
from tests.fakes.scripted_venue import ScriptedVenue, answer, hang_up, serve

CREATE, CANCEL, QUERY = (f"{verb} /fapi/v1/order" for verb in ("POST", "DELETE", "GET"))
IDENTITY = "me-run-1"
INTENT = OrderIntent(
    sequence=1,
    instrument=0,
    side=Side.BUY,
    quantity_lots=10,
    price_ticks=600_001,
    order_type=OrderType.POST_ONLY,
    reduce_only=False,
    decided_ns=1,
    reason="test",
)


def _order(**changes: Any) -> dict[str, Any]:
    words: dict[str, Any] = {
        "orderId": 22,
        "symbol": "BTCUSDT",
        "status": "NEW",
        "clientOrderId": IDENTITY,
        "price": "60000.10",
        "origQty": "0.010",
        "executedQty": "0.000",
        "updateTime": 1_700_000_000_000,
    }
    return words | changes


def _error(status: int, code: int) -> dict[str, Any]:
    return {"status": status, "error": {"code": code, "msg": f"scripted {code}"}}


@dataclass(slots=True, kw_only=True)
class _Rig:
    venue: ScriptedVenue
    instruments: tuple[Instrument, ...]
    gateway: OrderGateway
    socket: OrderSocket
    lanes: Lanes
    stages: list[str]

    def submit(self) -> None:
        approved = approve(INTENT, self.instruments)
        self.gateway.submit(SendOrder(client_order_id=IDENTITY, approved=approved))

    def amend(self) -> None:
        approved = approve(INTENT, self.instruments)
        amend = AmendOrder(client_order_id=IDENTITY, quantity_lots=25, approved=approved)
        self.gateway.amend(amend)

    def cancel(self) -> None:
        self.gateway.cancel(CancelOrder(client_order_id=IDENTITY, instrument=0, reason="test"))

    async def updates(self) -> list[Event]:
        assert await self.gateway.drain(15.0)
        return self.lanes.drain(100)

    async def only_update(self) -> OrderUpdate:
        (event,) = await self.updates()
        assert isinstance(event, OrderUpdate)
        return event

    async def up(self) -> None:
        async with asyncio.timeout(10):
            while not self.socket.is_up:
                await asyncio.sleep(0.005)

    async def down(self) -> None:
        async with asyncio.timeout(10):
            while self.socket.is_up:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def _rig(
    directory: Path, on_call: Callable[[dict[str, Any]], Any], *, opens: bool = True
) -> AsyncIterator[_Rig]:
    async with serve(directory) as venue:
        venue.on_call = on_call
        exchange = await connect(Settings(), None, venue)
        instruments = load_instruments(exchange, ("BTC/USDT:USDT",))
        lanes, clock, notes, stages = Lanes(1, 1000), SystemClock(), list[Note](), list[str]()
        generator = np.random.default_rng(3)
        socket = OrderSocket(exchange, clock, notes.append, generator=generator)
        gateway = OrderGateway(
            *(exchange, instruments, lanes, clock, notes.append),
            lambda stage, spent_ns: stages.append(stage),
            generator=generator,
            socket=socket,
        )
        keeper = Supervisor(clock, notes.append, generator)
        rig = _Rig(
            venue=venue,
            instruments=instruments,
            gateway=gateway,
            socket=socket,
            lanes=lanes,
            stages=stages,
        )
        try:
            if opens:
                keeper.spawn_forever("order socket", socket.keep)
                await rig.up()
            yield rig
        finally:
            await gateway.close()
            await keeper.close()
            await exchange.close()
        assert not [note for note in notes if note.event == "task_failed"], notes


async def test_an_order_goes_over_the_socket_as_the_venue_wants_it(tmp_path: Path) -> None:
    """order.place with our id, post-only, signed; nothing by REST; both times are recorded."""
    async with _rig(tmp_path, lambda call: {"status": 200, "result": _order()}) as rig:
        rig.submit()
        update = await rig.only_update()
        assert update.status is OrderStatus.WORKING
        (call,) = rig.venue.calls
        assert call["method"] == "order.place"
        words = call["params"]
        assert words["newClientOrderId"] == IDENTITY
        assert (words["timeInForce"], words["price"]) == ("GTX", "60000.1")
        assert words["recvWindow"] == 5000
        assert len(words["signature"]) == 64
        assert not rig.venue.asked(CREATE)
        assert rig.stages == ["send", "answer_ws"]


@pytest.mark.parametrize(
    ("answers", "status", "code"),
    [
        (_error(400, -2019), OrderStatus.REJECTED, -2019),
        (_error(400, -5022), OrderStatus.REJECTED, -5022),
        (_error(429, -1003), OrderStatus.REJECTED, -1003),
        (_error(503, -1008), OrderStatus.REJECTED, -1008),
        (_error(400, -1000), OrderStatus.UNKNOWN, -1000),
        (_error(400, -1006), OrderStatus.UNKNOWN, -1006),
        (_error(504, -1007), OrderStatus.UNKNOWN, -1007),
        (_error(400, -4116), OrderStatus.UNKNOWN, -4116),
        (_error(502, 0), OrderStatus.UNKNOWN, 0),
        ({"status": 200, "result": None}, OrderStatus.UNKNOWN, 0),
        ({"status": 200, "result": _order(orderId=None)}, OrderStatus.UNKNOWN, 0),
        ({"status": 200, "result": _order(clientOrderId="another")}, OrderStatus.UNKNOWN, 0),
        ({"status": 200}, OrderStatus.UNKNOWN, 0),
        (ConnectionError(), OrderStatus.UNKNOWN, 0),
    ],
)
async def test_what_an_answer_over_the_socket_proves(
    tmp_path: Path, answers: Any, status: OrderStatus, code: int
) -> None:
    """The same evidence as over REST, and never a second send of a create over either way."""
    async with _rig(tmp_path, lambda call: answers) as rig:
        rig.submit()
        update = await rig.only_update()
        assert (update.status, update.code) == (status, code)
        assert len(rig.venue.calls) == 1
        assert not rig.venue.asked(CREATE)


async def test_a_silent_socket_is_given_up_and_the_order_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ccxt would wait for ever; we wait so long, then the next order finds another connection."""
    monkeypatch.setattr(order_socket, "ANSWER_TIMEOUT_S", 0.2)
    async with _rig(tmp_path, lambda call: None) as rig:
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.UNKNOWN
        await rig.down()
        await rig.up()
        assert rig.socket.connect_count == 2
        assert not rig.venue.asked(CREATE)
        assert "answer_ws" not in rig.stages, "a silence is no round trip"


async def test_orders_go_by_rest_while_the_socket_is_down(tmp_path: Path) -> None:
    """Nothing left over the socket, so the other way is free to take."""
    async with _rig(tmp_path, lambda call: None, opens=False) as rig:
        rig.venue.handlers[CREATE] = answer(_order())
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.WORKING
        assert len(rig.venue.asked(CREATE)) == 1
        assert rig.stages == ["send", "answer_rest"]


async def test_a_cancel_that_proves_nothing_goes_the_other_way(tmp_path: Path) -> None:
    """Cancelling twice does no harm, so the socket's silence is followed by REST at once."""
    async with _rig(tmp_path, lambda call: ConnectionError()) as rig:
        rig.venue.handlers[CANCEL] = answer(_order(status="CANCELED"))
        rig.cancel()
        assert (await rig.only_update()).status is OrderStatus.CANCELLED
        assert [call["method"] for call in rig.venue.calls] == ["order.cancel"]
        assert len(rig.venue.asked(CANCEL)) == 1


async def test_rest_first_and_the_socket_once_rest_is_silent(tmp_path: Path) -> None:
    """With order_entry rest an order whose fate is unknown is not sent again; the next one is
    sent over the socket, and answers of REST bring it back.
    """
    result = {"status": 200, "result": _order()}
    async with _rig(tmp_path, lambda call: result) as rig:
        rig.gateway.use(ExecutionSettings(order_entry="rest"))
        rig.venue.handlers[CREATE] = hang_up
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.UNKNOWN
        assert not rig.venue.calls
        rig.submit()
        assert (await rig.only_update()).status is OrderStatus.WORKING
        assert [call["method"] for call in rig.venue.calls] == ["order.place"]


async def test_a_resting_order_is_moved_in_one_message(tmp_path: Path) -> None:
    """order.modify names our id, side, whole size and new price; its answer is news."""
    result = {"status": 200, "result": _order(price="59000.00")}
    async with _rig(tmp_path, lambda call: result) as rig:
        rig.amend()
        update = await rig.only_update()
        assert (update.status, update.reason) == (OrderStatus.WORKING, "amended")
        (call,) = rig.venue.calls
        assert call["method"] == "order.modify"
        words = call["params"]
        assert (words["origClientOrderId"], words["side"]) == (IDENTITY, "BUY")
        assert (words["quantity"], words["price"]) == ("0.025", "60000.1")


@pytest.mark.parametrize("failure", [_error(400, -5027), _error(504, -1007), {"status": 200}])
async def test_what_cannot_be_moved_is_cancelled(tmp_path: Path, failure: Any) -> None:
    """Refused or unknown: nobody knows at which price it rests, so it goes."""

    def on_call(call: dict[str, Any]) -> Any:
        is_amend = call["method"] == "order.modify"
        return failure if is_amend else {"status": 200, "result": _order(status="CANCELED")}

    async with _rig(tmp_path, on_call) as rig:
        rig.amend()
        assert (await rig.only_update()).status is OrderStatus.CANCELLED
        assert [call["method"] for call in rig.venue.calls] == ["order.modify", "order.cancel"]


async def test_a_query_asks_over_the_socket_too(tmp_path: Path) -> None:
    """What REST cannot tell, the socket may: an unknown order is settled by either."""
    result = {"status": 200, "result": _order(status="CANCELED")}
    async with _rig(tmp_path, lambda call: result) as rig:
        rig.gateway.use(ExecutionSettings(order_entry="rest"))
        rig.venue.handlers[QUERY] = hang_up
        rig.gateway.query_unknown(IDENTITY, 0)
        assert (await rig.only_update()).status is OrderStatus.CANCELLED


async def test_frames_that_answer_nothing_harm_nothing(tmp_path: Path) -> None:
    """Rubbish and answers to nobody are passed over; the real answer still arrives."""
    sent: list[dict[str, Any]] = []

    def on_call(call: dict[str, Any]) -> Any:
        sent.append(call)
        return '{"id": "99999999", "status": 200, "result": {}}' if len(sent) == 1 else None

    async with _rig(tmp_path, on_call) as rig:
        rig.submit()
        await asyncio.sleep(0.1)
        assert rig.gateway.in_flight_count == 1
        await rig.venue.send("ws-fapi", "no json")
        await rig.venue.send("ws-fapi", {"id": sent[0]["id"], "status": 200, "result": _order()})
        assert (await rig.only_update()).status is OrderStatus.WORKING
