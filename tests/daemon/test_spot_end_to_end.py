"""Spot's feed against the simulated exchange: real sockets and signatures, faults on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from config.settings import FeedSettings, Settings, SimulatedSettings
from daemon import cli
from daemon.clock import SystemClock
from daemon.effects import Note
from daemon.lanes import Lanes
from daemon.simulated import process
from daemon.venues.connect import VenueError
from daemon.venues.connect_spot import connect_feed, connect_spot, load_pairs
from daemon.venues.feeds import Feed
from daemon.venues.spot_tap import TapBinanceSpot
from kernels.book import Book
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Event,
    FeedStatus,
    Fill,
    MarkPrice,
    OrderStatus,
    OrderUpdate,
    Trade,
    Verdict,
)
from tests.fakes.fault_rig import FaultRig, fault_rig

PAIRS = ("BTC/USDT", "ETH/USDT")
DETECTION_S_MAX = 5.0
CAPTURE = Path(__file__).parents[3] / "shared/data/captures/binance_spot_btcusdt_20240808.gz"


@dataclass(slots=True, kw_only=True)
class _Run:
    exchange: TapBinanceSpot
    lanes: Lanes
    feed: Feed
    notes: list[Note]
    clock: SystemClock
    reconciled: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    book: Book = field(default_factory=Book)

    def drain(self) -> None:
        """Take what waits, keep the first pair's book."""
        for event in self.lanes.drain(100_000):
            if isinstance(event, DepthSnapshot) and event.instrument == 0:
                self.book.load(event)
            elif isinstance(event, DepthDiff) and event.instrument == 0:
                self.book.apply(event)
            self.events.append(event)

    async def until(self, done: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Drain until a condition holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    await self.lanes.wait(0.05)
                    self.drain()
        except TimeoutError:
            raise TimeoutError(f"{[n.event for n in self.notes]} {self.feed.counters}") from None

    def verdicts(self) -> list[Verdict]:
        """List the first pair's verdicts."""
        return [e.verdict for e in self.events if isinstance(e, FeedStatus) and not e.instrument]

    async def until_ok(self, count: int = 1) -> None:
        """Wait until the first pair has become OK so many times."""
        await self.until(lambda: self.verdicts().count(Verdict.OK) >= count)

    def of(self, kind: type[Any], identity: str) -> list[Any]:
        """List the events of one kind about one order."""
        found = [event for event in self.events if isinstance(event, kind)]
        return [event for event in found if event.client_order_id == identity]

    def trade_ids(self, index: int) -> list[int]:
        """List the ids of a pair's trades in the order of their arrival."""
        return [e.trade_id for e in self.events if isinstance(e, Trade) and e.instrument == index]


@asynccontextmanager
async def _feed(access: Any, symbols: tuple[str, ...] = PAIRS) -> AsyncIterator[_Run]:
    settings = Settings(
        instruments=symbols, feed=FeedSettings(reconnect_ms_min=20, reconnect_ms_max=200)
    )
    exchange = await connect_spot(settings, None, access)
    instruments = load_pairs(exchange, symbols)
    lanes, clock = Lanes(len(instruments), settings.feed.lane_events_max), SystemClock()
    notes: list[Note] = []
    reconciled: list[int] = []

    async def reconcile() -> None:
        account = await exchange.privateGetAccount()
        reconciled.append(len(account["balances"]))

    feed = Feed(
        exchange,
        instruments,
        lanes,
        settings.feed,
        clock,
        notes.append,
        generator=np.random.default_rng(5),
        on_user_connect=reconcile,
    )
    run = _Run(exchange=exchange, lanes=lanes, feed=feed, notes=notes, clock=clock)
    run.reconciled = reconciled
    await feed.start()
    try:
        yield run
    finally:
        await feed.close()
        await exchange.close()
    assert not [note for note in notes if note.event == "task_failed"], notes


shared_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange with two pairs and a control port."""
    async with fault_rig(PAIRS) as running:
        yield running


@shared_loop
async def test_orders_are_heard_and_survive_the_loss_of_their_socket(rig: FaultRig) -> None:
    """Fill, fee, cancel and balances arrive as events; a reset socket is opened and caught up."""
    async with _feed(rig.exchange.access) as run:
        await run.until_ok()
        assert run.verdicts() == [Verdict.WARMING, Verdict.OK]
        assert any(isinstance(event, MarkPrice) for event in run.events)
        words = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        await run.exchange.privatePostOrder(words | {"newClientOrderId": "me-1"})
        await run.until(lambda: bool(run.of(Fill, "me-1")))
        fills = run.of(Fill, "me-1")
        assert sum(fill.quantity_lots for fill in fills) == 1_000
        assert all(fill.fee_quote_e8 > 0 and not fill.is_maker for fill in fills)
        assert run.of(OrderUpdate, "me-1")[-1].status is OrderStatus.FILLED
        await run.until(lambda: run.feed.user_stream.position_lots[0] == 999)  # less the fee
        assert run.feed.user_stream.wallet_quote_e8 is not None

        bid_ticks, *_ = run.book.best()
        words |= {"type": "LIMIT", "timeInForce": "GTC", "price": f"{bid_ticks * 0.0097:.2f}"}
        await run.exchange.privatePostOrder(words | {"newClientOrderId": "me-2"})
        before = len(run.reconciled)
        await rig.arm("reset_streams", target="public")  # what the fault calls ws-api
        await run.until(lambda: len(run.reconciled) > before)
        await run.until_ok(2)
        request = {"symbol": "BTCUSDT", "origClientOrderId": "me-2"}
        await run.exchange.privateDeleteOrder(request)
        await run.until(lambda: bool(run.of(OrderUpdate, "me-2")))
        await run.until(lambda: run.of(OrderUpdate, "me-2")[-1].status is OrderStatus.CANCELLED)
        assert run.feed.counters.user_count > 0
        assert run.feed.counters.refused_count == 0


@shared_loop
async def test_no_trade_is_missing_after_real_disconnects(rig: FaultRig) -> None:
    """Cut three times by the venue's side while the market moves: ids stay an unbroken row."""
    async with _feed(rig.exchange.access) as run:
        for count in (1, 2, 3, 4):
            await run.until_ok(count)
            before = run.feed.counters.trade_count
            await run.until(lambda before=before: run.feed.counters.trade_count > before + 40)  # type: ignore[misc]  # the default binds the loop's value
            if count < 4:
                await rig.arm("reset_streams", target="spot")
        counters = run.feed.counters
        for index in (0, 1):
            ids = run.trade_ids(index)
            assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert counters.recovered_count > 0
    assert (counters.lost_count, counters.gap_count, counters.audit_failed_count) == (0, 0, 0)
    assert counters.reconnect_count >= 3


@shared_loop
async def test_a_gap_in_depth_is_announced_and_mended(rig: FaultRig) -> None:
    """One update left out: U no longer follows u, GAP is said, a snapshot brings OK back."""
    async with _feed(rig.exchange.access) as run:
        await run.until_ok()
        await rig.arm("depth_gap", target="spot/btcusdt@depth*", count=1)
        await run.until(lambda: Verdict.GAP in run.verdicts())
        await run.until_ok(2)
        counters = run.feed.counters
        assert counters.gap_count == 1
        assert counters.resync_count == 3  # two at the start, one after the gap
        assert counters.audit_failed_count == 0
        assert not run.book.is_crossed()


@shared_loop
async def test_a_half_open_socket_is_found_within_five_seconds(rig: FaultRig) -> None:
    """Nothing moves on the open socket: it is given up for another before five seconds passed."""
    async with _feed(rig.exchange.access) as run:
        await run.until_ok()
        began_ns = run.clock.monotonic_ns()
        await rig.arm("mute_streams", target="spot", for_s=0.1)
        await run.until(lambda: Verdict.RECONNECTING in run.verdicts())
        assert run.clock.monotonic_ns() - began_ns < DETECTION_S_MAX * 1e9
        await run.until_ok(2)


async def test_mixed_quotes_and_contracts_are_refused() -> None:
    """A symbol that is no pair is named; a feed of pairs and contracts together is none."""
    simulated = SimulatedSettings(market="calm", seed=3)
    venue = await process.start(simulated, ("BTC/USDT", "BTC/USDT:USDT"))
    try:
        settings = Settings(instruments=("DOGE/USDT",), simulated=simulated)
        with pytest.raises(VenueError, match="DOGE/USDT is no spot pair"):
            await connect_feed(settings, venue.access)
        mixed = Settings(instruments=("BTC/USDT", "BTC/USDT:USDT"), simulated=simulated)
        with pytest.raises(VenueError, match="BTC/USDT is no linear perpetual"):
            await connect_feed(mixed, venue.access)
    finally:
        await venue.stop()


@pytest.mark.skipif(not CAPTURE.is_file(), reason=f"recorded streams are not here: {CAPTURE}")
async def test_recorded_spot_streams_are_followed() -> None:
    """Five times real time: the real book opens, nothing is refused, nothing lost."""
    simulated = SimulatedSettings(capture=str(CAPTURE), speed=5.0)
    venue = await process.start(simulated, PAIRS[:1])
    try:
        async with _feed(venue.access, PAIRS[:1]) as run:
            await run.until(lambda: run.feed.counters.quote_count > 1_000)
            counters = run.feed.counters
            assert run.verdicts() == [Verdict.WARMING, Verdict.OK]
            assert (counters.lost_count, counters.gap_count, counters.refused_count) == (0, 0, 0)
            assert not run.book.is_crossed()
    finally:
        await venue.stop()


def test_the_command_watches_pairs(capfd: pytest.CaptureFixture[str]) -> None:
    """Pairs alone on the built-in exchange mean spot: OK at the end, nothing lost."""
    pairs = f"instruments=[{','.join(PAIRS)}]"
    assert cli.main(["watch", "--for", "4s", "--json", "--set", pairs]) == 0
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert told["verdicts"] == dict.fromkeys(PAIRS, "OK")
    assert told["counters"]["lost_count"] == 0
    assert told["events"]["Trade"] > 0


def test_run_does_not_trade_on_spot(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon refuses venue binance in one line that says what is possible instead."""
    assert cli.main(["run", "--set", "venue=binance", "--set", "mode=testnet"]) == 78
    assert "metaensemble watch --venue binance" in capsys.readouterr().err
