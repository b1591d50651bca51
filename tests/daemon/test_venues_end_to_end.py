"""The whole room against the simulated exchange: real sockets, real signatures, real books."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from config.settings import Settings, SimulatedSettings
from daemon.clock import SystemClock
from daemon.effects import CancelOrder, Note, SendOrder
from daemon.lanes import Lanes
from daemon.simulated import process
from daemon.venues.connect import connect, load_instruments
from daemon.venues.feeds import Feed
from daemon.venues.orders import OrderGateway
from daemon.venues.reconcile import cancel_everything, fetch_account, fetch_open_orders
from daemon.venues.tap import TapBinanceUsdm
from kernels.book import Book
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Event,
    FeedStatus,
    Fill,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Quote,
    Side,
    Trade,
    Verdict,
)
from kernels.units import Instrument
from tests.fakes.approving import approve

CAPTURE = Path(__file__).parents[3] / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
WHOLE_CAPTURE = {"btcusdt@bookTicker": 66_089, "btcusdt@trade": 21_313, "btcusdt@depth@0ms": 6_551}

needs_capture = pytest.mark.skipif(
    not CAPTURE.is_file(), reason=f"recorded streams are not here: {CAPTURE}"
)


@dataclass(slots=True, kw_only=True)
class _Run:
    exchange: TapBinanceUsdm
    instruments: tuple[Instrument, ...]
    lanes: Lanes
    clock: SystemClock
    feed: Feed
    gateway: OrderGateway
    notes: list[Note]
    report: dict[str, dict[str, int]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    book: Book = field(default_factory=Book)
    quote: Quote | None = None

    def drain(self) -> None:
        """Take what waits, keep the first instrument's book and quote."""
        for event in self.lanes.drain(100_000):
            if isinstance(event, DepthSnapshot) and event.instrument == 0:
                self.book.load(event)
            elif isinstance(event, DepthDiff) and event.instrument == 0:
                self.book.apply(event)
            elif isinstance(event, Quote) and event.instrument == 0:
                self.quote = event
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
        """List the first instrument's verdicts."""
        return [e.verdict for e in self.events if isinstance(e, FeedStatus) and not e.instrument]

    def updates(self, identity: str) -> list[OrderStatus]:
        """List what was heard of one order."""
        news = [e for e in self.events if isinstance(e, OrderUpdate)]
        return [update.status for update in news if update.client_order_id == identity]

    def fills(self, identity: str) -> dict[int, Fill]:
        """Map the fills of one order by trade id."""
        fills = [e for e in self.events if isinstance(e, Fill)]
        return {fill.trade_id: fill for fill in fills if fill.client_order_id == identity}


@asynccontextmanager
async def _run(simulated: SimulatedSettings, symbols: tuple[str, ...]) -> AsyncIterator[_Run]:
    settings = Settings(instruments=symbols, simulated=simulated)
    venue = await process.start(simulated, symbols)
    try:
        exchange = await connect(settings, None, venue.access)
        instruments = load_instruments(exchange, symbols)
        lanes, clock = Lanes(len(instruments), settings.feed.lane_events_max), SystemClock()
        notes: list[Note] = []
        generator = np.random.default_rng(5)
        feed = Feed(
            exchange, instruments, lanes, settings.feed, clock, notes.append, generator=generator
        )
        gateway = OrderGateway(
            exchange,
            instruments,
            lanes,
            clock,
            notes.append,
            lambda stage, spent_ns: None,
            generator=generator,
        )
        run = _Run(
            exchange=exchange,
            instruments=instruments,
            lanes=lanes,
            clock=clock,
            feed=feed,
            gateway=gateway,
            notes=notes,
        )
        await feed.start()
        try:
            yield run
        finally:
            await gateway.close()
            await feed.close()
            await exchange.close()
        assert not [note for note in notes if note.event == "task_failed"], notes
    finally:
        await venue.stop()
        run.report = venue.report()


def _capture(speed: float) -> SimulatedSettings:
    return SimulatedSettings(capture=str(CAPTURE), speed=speed)


@needs_capture
async def test_recorded_streams_arrive_whole_and_survive_a_disconnect() -> None:
    """Ten times real time: nothing lost, no gap; a cut socket comes back with a proven book."""
    async with _run(_capture(10.0), ("BTC/USDT:USDT",)) as run:
        await run.until(lambda: run.feed.counters.quote_count > 3_000)
        counters = run.feed.counters
        assert (counters.lost_count, counters.gap_count, counters.refused_count) == (0, 0, 0)
        assert counters.resync_count == 1
        assert run.verdicts() == [Verdict.WARMING, Verdict.OK]
        assert not run.book.is_crossed()
        await run.feed.reconnect("cut by the test")
        await run.until(lambda: run.verdicts().count(Verdict.OK) == 2)
        assert run.verdicts()[2:] == [Verdict.RECONNECTING, Verdict.WARMING, Verdict.OK]
        before = run.feed.counters.depth_count
        await run.until(lambda: run.feed.counters.depth_count > before + 50)
        after = run.feed.counters
        assert (after.reconnect_count, after.resync_count, after.gap_count) == (1, 2, 0)
        assert not run.book.is_crossed()


@pytest.mark.nightly
@needs_capture
async def test_the_whole_recording_arrives() -> None:
    """Every frame of 345 recorded seconds at ten times real time, each counted at both ends."""
    async with _run(_capture(10.0), ("BTC/USDT:USDT",)) as run:
        total = sum(WHOLE_CAPTURE.values())
        await run.until(
            lambda: (
                sum(
                    (
                        run.feed.counters.quote_count,
                        run.feed.counters.trade_count,
                        run.feed.counters.depth_count,
                    )
                )
                >= total
            ),
            timeout_s=90.0,
        )
        counters = run.feed.counters
        seen = Counter(type(event).__name__ for event in run.events)
        assert (counters.lost_count, counters.gap_count, counters.refused_count) == (0, 0, 0)
        assert seen["Trade"] == WHOLE_CAPTURE["btcusdt@trade"]
        assert seen["Quote"] + run.lanes.conflated_count == WHOLE_CAPTURE["btcusdt@bookTicker"]
        assert not run.book.is_crossed()
    sent = run.report["frames_sent"]
    assert {name: sent[name] for name in WHOLE_CAPTURE} == WHOLE_CAPTURE


async def _trade_on(run: _Run, ok_count: int) -> None:
    """Wait until the verdict has been OK so many times and fifty more trades have come."""
    await run.until(lambda: run.verdicts().count(Verdict.OK) >= ok_count)
    before = run.feed.counters.trade_count
    await run.until(lambda: run.feed.counters.trade_count > before + 50)


async def test_no_trade_is_missing_after_real_disconnects() -> None:
    """Cut three times while the market moves: REST fills every hole, ids stay an unbroken row."""
    simulated = SimulatedSettings(market="volatile", seed=17)
    async with _run(simulated, ("BTC/USDT:USDT", "ETH/USDT:USDT")) as run:
        await _trade_on(run, 1)
        for count in (2, 3, 4):
            await run.feed.reconnect("cut by the test")
            await _trade_on(run, count)
        counters = run.feed.counters
        for index in (0, 1):
            trades = [e for e in run.events if isinstance(e, Trade) and e.instrument == index]
            ids = [trade.trade_id for trade in trades]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert counters.recovered_count > 0
    assert (counters.lost_count, counters.gap_count, counters.audit_failed_count) == (0, 0, 0)
    assert counters.reconnect_count == 3


def _send(run: _Run, identity: str, **changes: object) -> None:
    assert run.quote is not None
    words: dict[str, object] = {
        "sequence": 1,
        "instrument": 0,
        "side": Side.BUY,
        "quantity_lots": 20,
        "price_ticks": run.quote.ask_ticks + 100,
        "order_type": OrderType.IOC,
        "reduce_only": False,
        "decided_ns": run.clock.now_ns(),
        "reason": "test",
    }
    intent = OrderIntent(**(words | changes))  # type: ignore[arg-type]  # words fit its fields
    approved = approve(intent, run.instruments)
    run.gateway.submit(SendOrder(client_order_id=identity, approved=approved))


async def test_orders_live_and_end_as_the_venue_says() -> None:
    """Fill, rest, cancel, refusal and question: both channels agree, and so does the account."""
    simulated = SimulatedSettings(market="calm", seed=11, latency_ms=0.5)
    async with _run(simulated, ("BTC/USDT:USDT", "ETH/USDT:USDT")) as run:
        await run.until(lambda: Verdict.OK in run.verdicts() and run.quote is not None)

        _send(run, "me-e2e-1")
        await run.until(lambda: OrderStatus.FILLED in run.updates("me-e2e-1"))
        await run.until(lambda: sum(f.quantity_lots for f in run.fills("me-e2e-1").values()) == 20)
        heard = run.fills("me-e2e-1")
        assert all(fill.side is Side.BUY and not fill.is_maker for fill in heard.values())
        assert all(fill.fee_quote_e8 > 0 for fill in heard.values())
        account = await fetch_account(run.exchange, run.instruments, run.clock)
        assert account.position_lots == (20, 0)
        await run.until(lambda: run.feed.user_stream.position_lots[0] == 20)

        run.gateway.query_unknown("me-e2e-1", 0)
        assert await run.gateway.drain(10.0)
        run.drain()
        assert run.fills("me-e2e-1") == {
            trade: fill for trade, fill in run.fills("me-e2e-1").items() if trade in heard
        }

        assert run.quote is not None
        low_ticks = run.quote.bid_ticks - 2_000
        _send(run, "me-e2e-2", order_type=OrderType.GTC, price_ticks=low_ticks)
        _send(run, "me-e2e-3", order_type=OrderType.POST_ONLY, price_ticks=low_ticks)
        await run.until(
            lambda: all(OrderStatus.WORKING in run.updates(i) for i in ("me-e2e-2", "me-e2e-3"))
        )
        orders = await fetch_open_orders(run.exchange, run.instruments)
        assert {order.client_order_id for order in orders} == {"me-e2e-2", "me-e2e-3"}
        run.gateway.cancel(CancelOrder(client_order_id="me-e2e-2", instrument=0, reason="test"))
        await run.until(lambda: OrderStatus.CANCELLED in run.updates("me-e2e-2"))
        generator = np.random.default_rng(1)
        remaining = await cancel_everything(run.exchange, run.instruments, generator=generator)
        assert remaining == []
        await run.until(lambda: OrderStatus.CANCELLED in run.updates("me-e2e-3"))

        _send(run, "me-e2e-4", order_type=OrderType.POST_ONLY)
        await run.until(lambda: OrderStatus.REJECTED in run.updates("me-e2e-4"))
        _send(run, "me-e2e-1")  # an id that exists: the venue refuses, we must not call it dead
        await run.until(lambda: OrderStatus.UNKNOWN in run.updates("me-e2e-1"))
        assert run.feed.counters.user_count > 0
    assert run.report["position_lots"] == {"BTC/USDT:USDT": 20, "ETH/USDT:USDT": 0}
