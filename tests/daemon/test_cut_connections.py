"""The connection is cut inside a create or a cancel: exactly one venue order or none, never two.

Real ccxt, real TLS, the simulated exchange in its own process; a proxy between them passes so many
bytes of the request or of the answer and then drops the connection. Afterwards the gateway may only
ask. Over REST and over ws-api. The default run takes a sample of the bytes, the nightly run every
one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest

from config.settings import Settings, SimulatedSettings
from daemon.clock import SystemClock
from daemon.desk import Desk
from daemon.effects import CancelOrder, Note, SendOrder
from daemon.identity import client_order_id
from daemon.lanes import Lanes
from daemon.notes import NoteBook
from daemon.simulated import process
from daemon.venues import order_socket
from daemon.venues import orders as orders_module
from daemon.venues.connect import connect, load_instruments
from daemon.venues.order_socket import OrderSocket
from daemon.venues.orders import OrderGateway
from daemon.venues.reconcile import fetch_account, fetch_open_orders
from daemon.venues.supervision import Supervisor
from daemon.venues.tap import TapBinanceUsdm
from kernels.events import Fill, OrderIntent, OrderStatus, OrderType, OrderUpdate, Side
from kernels.units import Instrument
from tests.fakes.approving import approve
from tests.fakes.cutting_proxy import Cut, CuttingProxy, Direction

Way = Literal["rest", "ws-api"]
WAYS: tuple[Way, ...] = ("rest", "ws-api")

SYMBOLS = ("BTC/USDT:USDT",)
RUN = "0000000000cc"
LOTS = 2
PLACES_PER_VENUE = 100
"""The venue limits the weight of requests per minute; a new one begins with none."""

FINAL_NS = 400_000_000
"""How long "no such order" proves nothing, shortened: the venue is on this machine."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A desk, its gateway behind the proxy, and a second client that looks past it."""

    proxy: CuttingProxy
    cut_exchange: TapBinanceUsdm
    exchange: TapBinanceUsdm
    instrument: Instrument
    lanes: Lanes
    gateway: OrderGateway
    desk: Desk
    clock: SystemClock
    sequence: int = 0

    def drain(self) -> None:
        """Fold what came in, ask what the desk wants to ask."""
        for event in self.lanes.drain(10_000):
            if isinstance(event, OrderUpdate):
                self.desk.on_update(event)
            elif isinstance(event, Fill):
                self.desk.on_fill(event)

    async def settle(self) -> None:
        """Ask until every order is proven, as the desk's own schedule does."""
        async with asyncio.timeout(20):
            while True:
                await self.gateway.drain(10)
                self.drain()
                open_orders = self.desk.orders.open_orders()
                if all(order.status is OrderStatus.WORKING for order in open_orders):
                    return
                for order in open_orders:
                    self.gateway.query_unknown(order.client_order_id, 0)
                await asyncio.sleep(0.05)

    async def send(self, order_type: OrderType, price_ticks: int) -> str:
        """Approve and submit an order; wait for whatever comes of it."""
        self.sequence += 1
        intent = OrderIntent(
            sequence=self.sequence,
            instrument=0,
            side=Side.BUY,
            quantity_lots=LOTS,
            price_ticks=price_ticks,
            order_type=order_type,
            reduce_only=False,
            decided_ns=self.clock.now_ns(),
            reason="test",
        )
        identity = client_order_id(RUN, self.sequence)
        approved = approve(intent, (self.instrument,), self.clock.now_ns())
        self.desk.orders.add(identity, intent, self.clock.now_ns())
        self.gateway.submit(SendOrder(client_order_id=identity, approved=approved))
        await self.gateway.drain(15)
        self.drain()
        return identity

    def status(self, identity: str) -> OrderStatus:
        """Say what we believe of one order."""
        order = self.desk.orders.get(identity)
        assert order is not None
        return order.status

    async def venue_order_count(self, identity: str) -> int:
        """Count the venue's orders under one client order id, past the proxy."""
        request = {"symbol": self.instrument.venue_id, "limit": 1000}
        rows = await self.exchange.fapiPrivateGetAllOrders(request)
        return sum(row["clientOrderId"] == identity for row in rows)

    async def agrees(self) -> bool:
        """Say whether ledger and open orders are the venue's."""
        account = await fetch_account(self.exchange, (self.instrument,), self.clock)
        theirs = {
            each.client_order_id
            for each in await fetch_open_orders(self.exchange, (self.instrument,))
        }
        ours = {each.client_order_id for each in self.desk.orders.open_orders()}
        ledger = self.desk.ledger
        return (
            theirs == ours
            and account.position_lots == (ledger.position_lots(0),)
            and account.wallet_quote_e8 == ledger.wallet_quote_e8
        )

    async def warm(self) -> None:
        """Let a connection of either way stand ready, so that a cut hits the order itself."""
        await self.cut_exchange.fapiPublicGetPing()
        async with asyncio.timeout(10):
            while self.gateway.socket is not None and not self.gateway.socket.is_up:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _scene(monkeypatch: pytest.MonkeyPatch, way: Way) -> AsyncIterator[Scene]:
    monkeypatch.setattr(orders_module, "NOT_FOUND_IS_FINAL_NS", FINAL_NS)
    # a socket cut every second would wait 10 s between attempts, and 2,000 cuts for hours
    monkeypatch.setattr(order_socket, "RECONNECT_MS_MAX", 100)
    simulated = SimulatedSettings(market="calm", latency_ms=0.0)
    settings = Settings(instruments=SYMBOLS, simulated=simulated)
    venue = await process.start(simulated, SYMBOLS)
    proxy = CuttingProxy(venue.access.host, venue.access.port)
    try:
        await proxy.start()
        exchange = await connect(settings, None, venue.access)
        cut_exchange = await connect(settings, None, replace(venue.access, port=proxy.port))
        instruments = load_instruments(exchange, SYMBOLS)
        lanes, clock, notes = Lanes(1, 100_000), SystemClock(), list[Note]()
        generator = np.random.default_rng(5)
        socket: OrderSocket | None = None
        if way == "ws-api":
            socket = OrderSocket(cut_exchange, clock, notes.append, generator=generator)
        gateway = OrderGateway(
            cut_exchange,
            instruments,
            lanes,
            clock,
            notes.append,
            lambda stage, spent_ns: None,
            generator=generator,
            socket=socket,
        )
        keeper = Supervisor(clock, notes.append, generator)
        if socket is not None:
            keeper.spawn_forever("order socket", socket.keep)
        opening = await fetch_account(exchange, instruments, clock)
        desk = Desk(
            instruments=instruments,
            settings=settings,
            run_id=RUN,
            opening=opening,
            notes=NoteBook(instruments, opening.received_ns),
        )
        try:
            yield Scene(
                proxy=proxy,
                cut_exchange=cut_exchange,
                exchange=exchange,
                instrument=instruments[0],
                lanes=lanes,
                gateway=gateway,
                desk=desk,
                clock=clock,
            )
        finally:
            await gateway.close()
            await keeper.close()
            await cut_exchange.close()
            await exchange.close()
        assert not [note for note in notes if note.event == "task_failed"], notes
    finally:
        await proxy.stop()
        await venue.stop()


async def _touch_ticks(scene: Scene) -> tuple[int, int]:
    row = await scene.exchange.fapiPublicGetTickerBookTicker({"symbol": scene.instrument.venue_id})
    instrument = scene.instrument
    return instrument.price_ticks(row["bidPrice"]), instrument.price_ticks(row["askPrice"])


async def _measure(scene: Scene, direction: Direction, kind: str) -> int:
    """Count the bytes of one whole exchange in one direction."""
    cut = Cut(direction=direction, after_bytes=10**9)
    await scene.warm()
    if kind == "create":
        scene.proxy.cut = cut
        await scene.send(OrderType.IOC, (await _touch_ticks(scene))[1] + 200)
    else:
        identity = await scene.send(OrderType.GTC, (await _touch_ticks(scene))[0] - 3_000)
        scene.proxy.cut = cut
        scene.gateway.cancel(CancelOrder(client_order_id=identity, instrument=0, reason="test"))
        await scene.gateway.drain(10)
    scene.proxy.cut = None
    await scene.settle()
    return cut.passed


async def _cut_creates(scene: Scene, direction: Direction, places: list[int]) -> tuple[int, int]:
    """Cut creates at these bytes; return how many orders the venue has, and how many it has not."""
    taken = absent = 0
    for after_bytes in places:
        await scene.warm()
        ask_ticks = (await _touch_ticks(scene))[1]
        scene.proxy.cut = cut = Cut(direction=direction, after_bytes=after_bytes)
        identity = await scene.send(OrderType.IOC, ask_ticks + 200)
        assert cut.is_done, f"nothing was cut after {after_bytes} bytes"
        scene.proxy.cut = None
        assert scene.status(identity) is not OrderStatus.REJECTED, "silence is no evidence"
        await scene.settle()
        count = await scene.venue_order_count(identity)
        assert count <= 1, f"doubled by a cut after {after_bytes} bytes of the {direction}"
        assert (scene.status(identity) is OrderStatus.REJECTED) is (count == 0)
        assert await scene.agrees(), f"after {after_bytes} bytes of the {direction}"
        taken, absent = taken + count, absent + (1 - count)
    return taken, absent


async def _cut_cancels(scene: Scene, direction: Direction, places: list[int]) -> tuple[int, int]:
    """Cut cancels at these bytes; return how many orders were gone then, and how many not yet."""
    gone = resting = 0
    for after_bytes in places:
        bid_ticks = (await _touch_ticks(scene))[0]
        identity = await scene.send(OrderType.GTC, bid_ticks - 3_000)
        await scene.warm()
        cancel = CancelOrder(client_order_id=identity, instrument=0, reason="test")
        scene.proxy.cut = cut = Cut(direction=direction, after_bytes=after_bytes)
        scene.gateway.cancel(cancel)
        await scene.gateway.drain(10)
        assert cut.is_done, f"nothing was cut after {after_bytes} bytes"
        scene.proxy.cut = None
        await scene.settle()
        assert await scene.agrees(), f"after {after_bytes} bytes of the {direction}"
        order = scene.desk.orders.get(identity)
        assert order is not None
        gone += order.is_settled
        resting += not order.is_settled
        while not order.is_settled:  # to certainty
            scene.gateway.cancel(cancel)
            await scene.settle()
        assert order.status is OrderStatus.CANCELLED
        assert await scene.venue_order_count(identity) == 1
    return gone, resting


CUTS = {"create": _cut_creates, "cancel": _cut_cancels}


async def _sweep(
    monkeypatch: pytest.MonkeyPatch, way: Way, kind: str, count_max: int | None
) -> str:
    lines = []
    directions: tuple[Direction, ...] = ("request", "answer")
    for direction in directions:
        async with _scene(monkeypatch, way) as scene:
            whole = min([await _measure(scene, direction, kind) for _ in range(2)])
        places = list(range(1, whole + 1))
        if count_max is not None:
            inner = np.linspace(1, whole, count_max).astype(int).tolist()
            places = sorted({*inner, whole - 1})
        present = absent = 0
        for first in range(0, len(places), PLACES_PER_VENUE):
            async with _scene(monkeypatch, way) as scene:
                chunk = places[first : first + PLACES_PER_VENUE]
                counts = await CUTS[kind](scene, direction, chunk)
            present, absent = present + counts[0], absent + counts[1]
        assert present + absent == len(places)
        if direction == "answer":
            assert absent == 0, "the whole request had gone out"
        lines.append(
            f"{way} {kind} {direction}: {len(places)} cuts of {whole} bytes, "
            f"{present} done and {absent} not, 0 lost, 0 doubled"
        )
    return "; ".join(lines)


@pytest.mark.parametrize("kind", ["create", "cancel"])
@pytest.mark.parametrize("way", WAYS)
async def test_cut_connection_leaves_one_order_or_none(
    way: Way, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of all bytes: nothing lost, nothing doubled, the ledger is the venue's."""
    print(await _sweep(monkeypatch, way, kind, 8))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", ["create", "cancel"])
@pytest.mark.parametrize("way", WAYS)
async def test_connection_cut_at_every_byte(
    way: Way, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of request and answer; the counts are printed."""
    print(await _sweep(monkeypatch, way, kind, None))
