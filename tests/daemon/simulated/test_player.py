"""The player: every frame to every subscriber, at its pace, the book synchronised throughout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.capture_source import CaptureSource
from daemon.simulated.market_source import Frame
from daemon.simulated.player import Player
from daemon.simulated.process import SimulatedExchange, start
from daemon.simulated.streams import StreamHub
from daemon.simulated.synthetic_source import SyntheticSource
from daemon.simulated.venue import Venue
from kernels.book import Book, Continuity, DepthSequence
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side
from kernels.units import E8, Instrument
from tests.fakes.exchange_client import production_client
from tests.fakes.recording import NAMES, btc, recording_lines, write_recording

CAPTURE = (
    Path(__file__).resolve().parents[4] / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
)
DEPTH, TRADE, QUOTE = "btcusdt@depth@0ms", "btcusdt@trade", "btcusdt@bookTicker"
WAIT_S = 30.0


class Listener:
    """A raw subscriber that counts flushes and keeps documents."""

    is_combined = False

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.documents: list[dict[str, Any]] = []

    def enqueue(self, framed: bytes) -> None:
        """Keep one message."""
        self.pending.append(framed)

    def flush(self) -> None:
        """Read what is pending."""
        for framed in self.pending:
            self.documents.append(orjson.loads(framed[framed.index(b"{") :]))
        self.pending.clear()

    def close(self, code: int, reason: str) -> None:
        """Do nothing."""


class Floor:
    """A venue, a hub and a player over one source, without sockets."""

    def __init__(self, source: Any, speed: float) -> None:
        self.hub = StreamHub(lambda: self.player.start())
        self.venue = Venue(
            source.instruments, E8, 0, lambda document: None, lambda key, document: None
        )
        self.player = Player(source, self.venue, self.hub, SystemClock(), speed)


def rows_of(levels: Any) -> Any:
    """Read the wire's levels of BTC as rows of ticks and lots."""
    instrument = btc()
    pairs = [
        (instrument.price_ticks(price), instrument.quantity_lots(lots)) for price, lots in levels
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def diff_of(document: dict[str, Any]) -> DepthDiff:
    """Read one depthUpdate of BTC."""
    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=document["U"],
        last_update_id=document["u"],
        previous_update_id=document["pu"],
        bid_levels_n2=rows_of(document["b"]),
        ask_levels_n2=rows_of(document["a"]),
    )


async def test_market_waits_for_its_first_subscriber(tmp_path: Path) -> None:
    """Nothing is played before; then every frame of the file is, in order, with present times."""
    lines = recording_lines(800)
    source = CaptureSource(write_recording(tmp_path / "c.gz", lines), (btc(),))
    floor = Floor(source, speed=500.0)
    playing = asyncio.create_task(floor.player.run())
    await asyncio.sleep(0.05)
    assert floor.player.frames_played == 0
    assert not await floor.player.opened(0, 0.01)
    listener, late = Listener(), Listener()
    started_ms = SystemClock().now_ns() // 1_000_000
    for stream in (DEPTH, TRADE, QUOTE):
        floor.hub.subscribe(listener, stream)
    floor.hub.subscribe(late, QUOTE)
    await asyncio.wait_for(playing, WAIT_S)
    assert floor.player.is_finished
    assert floor.player.frames_played == len(lines)
    recorded = [orjson.loads(line[20:]) for line in lines]
    expected = [each["data"] for each in recorded if "data" in each]
    for document in (*expected, *listener.documents):
        assert abs(document["E"] - document["T"]) <= 1
        document.pop("T")
    sent_ms = [document.pop("E") for document in listener.documents]
    assert started_ms <= sent_ms[0] <= sent_ms[-1] <= started_ms + 10_000
    assert sent_ms == sorted(sent_ms)
    for document in expected:
        document.pop("E")
    assert listener.documents == expected
    assert len(late.documents) == sum(each["e"] == "bookTicker" for each in expected)


async def test_slow_depth_and_marks_are_derived(tmp_path: Path) -> None:
    """The 100 ms stream leads to the exchange's own last book; marks come once a second."""
    source = CaptureSource(write_recording(tmp_path / "c.gz", recording_lines(1_500)), (btc(),))
    floor = Floor(source, speed=200.0)
    slow, marks = Listener(), Listener()
    floor.hub.subscribe(slow, "btcusdt@depth@100ms")
    floor.hub.subscribe(marks, "btcusdt@markPrice@1s")
    await asyncio.wait_for(floor.player.run(), WAIT_S)
    chain = [(each["pu"], each["u"]) for each in slow.documents]
    assert [before[1] for before in chain[:-1]] == [after[0] for after in chain[1:]]
    assert chain[-1][1] == floor.venue.markets[0].book.last_update_id
    seconds = source.duration_ns / 1e9
    assert seconds / 0.1 * 0.5 < len(slow.documents) <= seconds / 0.1 + 2
    assert seconds - 1 <= len(marks.documents) <= seconds + 2
    bid, _, ask, _ = floor.venue.markets[0].book.best()
    assert float(marks.documents[-1]["p"]) == pytest.approx((bid + ask) / 20, rel=0.01)


async def test_a_window_is_whole_for_who_comes_back_before_its_end(tmp_path: Path) -> None:
    """Left and joined again at every change: each event still leads from its U to its u."""
    recorded = CaptureSource(write_recording(tmp_path / "c.gz", recording_lines(600)), (btc(),))
    slow, listening = "btcusdt@depth@100ms", Listener()
    states: dict[int, Any] = {}

    class Restless:
        instruments = recorded.instruments

        def frames(self) -> Iterator[Frame]:
            book = Book()
            for frame in recorded.frames():
                if isinstance(frame.event, DepthSnapshot):
                    book.load(frame.event)
                    states.clear()  # before it there is no whole book
                elif isinstance(frame.event, DepthDiff):
                    book.apply(frame.event)
                    if len(states) % 3:
                        floor.hub.subscribe(listening, slow)
                    else:
                        floor.hub.unsubscribe(listening, slow)
                states[book.last_update_id] = book.state.copy()
                yield frame

    floor = Floor(Restless(), speed=100.0)
    floor.hub.subscribe(listening, TRADE)
    await asyncio.wait_for(floor.player.run(), WAIT_S)
    held, whole, joined_count = Book(), Book(), 0
    for document in (each for each in listening.documents if each["e"] == "depthUpdate"):
        if document["u"] not in states:
            continue
        whole.state[:] = states[document["u"]]
        for update_id in (each for each in states if document["U"] <= each < document["u"]):
            held.state[:] = states[update_id]
            held.apply(diff_of(document))
            for side in Side:
                levels, wanted = (book.levels(side, 10_000) for book in (held, whole))
                assert np.array_equal(levels, wanted), (update_id, document)
            joined_count += 1
    assert joined_count > 50


async def test_endless_market_is_open_at_once_and_pulled_lazily() -> None:
    """The opening snapshots need no subscriber; an unplayed market makes no frames."""

    class Counting:
        def __init__(self, instruments: tuple[Instrument, ...]) -> None:
            self.inner = SyntheticSource(instruments, "calm", 1)
            self.instruments = instruments
            self.made = 0

        def frames(self) -> Iterator[Frame]:
            for frame in self.inner.frames():
                self.made += 1
                yield frame

    source = Counting((btc(),))
    floor = Floor(source, speed=1.0)
    assert await floor.player.opened(0, 0.01)
    assert source.made == 2  # the snapshot, and one frame that waits for its time
    playing = asyncio.create_task(floor.player.run())
    floor.hub.subscribe(Listener(), QUOTE)
    await asyncio.sleep(0.3)
    playing.cancel()
    assert 2 < floor.player.frames_played < 200
    assert source.made == floor.player.frames_played + 1


def test_recording_made_here_has_the_trap_of_real_ones() -> None:
    """The change that bridges the snapshot stands before the snapshot line."""
    lines = recording_lines(300)
    at = next(number for number, line in enumerate(lines) if b"lastUpdateId" in line)
    last_update_id = orjson.loads(lines[at][20:])["lastUpdateId"]
    earlier = [orjson.loads(line[20:])["data"] for line in lines[:at] if b"@depth" in line]
    assert any(each["U"] <= last_update_id <= each["u"] for each in earlier)


async def collect(running: SimulatedExchange, streams: str) -> tuple[list[Any], Any, float]:
    """Read a combined stream until it falls silent, and the REST book early on and at the end."""
    base = f"http://127.0.0.1:{running.access.plain_port}"
    received: list[Any] = []
    async with aiohttp.ClientSession(base) as session:
        async with session.ws_connect(f"/public/stream?streams={streams}") as websocket:

            async def book() -> Any:
                async with session.get("/fapi/v1/depth?symbol=BTCUSDT&limit=1000") as answer:
                    return await answer.json()

            early = asyncio.create_task(book())
            started = asyncio.get_running_loop().time()
            ended = started
            while True:
                try:
                    message = await websocket.receive(timeout=1.5)
                except TimeoutError:
                    break
                if message.type is aiohttp.WSMsgType.TEXT:
                    received.append(message.data)
                    ended = asyncio.get_running_loop().time()
        return received, (await early, await book()), ended - started


def replayed_book(documents: list[Any], snapshot: Any) -> Book:
    """Follow the depth stream from an early snapshot as a careful client does."""
    book, sequence = Book(8192), DepthSequence()
    book.load(
        DepthSnapshot(
            instrument=0,
            event_ns=0,
            received_ns=0,
            last_update_id=snapshot["lastUpdateId"],
            bid_levels_n2=rows_of(snapshot["bids"]),
            ask_levels_n2=rows_of(snapshot["asks"]),
        )
    )
    sequence.snapshot(snapshot["lastUpdateId"])
    for each in documents:
        if each["e"] != "depthUpdate":
            continue
        verdict = sequence.check(each["U"], each["u"], each["pu"])
        assert verdict is not Continuity.GAP
        if verdict in (Continuity.BRIDGE, Continuity.NEXT):
            book.apply(diff_of(each))
    assert sequence.is_synchronised
    return book


@pytest.mark.skipif(not CAPTURE.is_file(), reason="../shared/data/captures is not here")
async def test_recorded_day_replays_whole_at_speed_and_synchronises() -> None:
    """All 93,953 stream frames arrive in time, and the followed book is the exchange's own."""
    speed = 100.0
    settings = SimulatedSettings(capture=str(CAPTURE), speed=speed)
    running = await start(settings, NAMES, is_plain=True)
    try:
        received, (early, last), took_s = await collect(running, "/".join((DEPTH, TRADE, QUOTE)))
    finally:
        await running.stop()
    report = running.report()
    assert report["source_finished"]
    assert report["frames_sent"] == {DEPTH: 6_551, QUOTE: 66_089, TRADE: 21_313}
    documents = [orjson.loads(text)["data"] for text in received]
    assert len(documents) == 93_953
    trade_ids = [each["t"] for each in documents if each["e"] == "trade"]
    assert trade_ids == list(range(trade_ids[0], trade_ids[0] + 21_313))
    assert took_s < 344.803 / speed + 15.0  # leaves a loaded machine its time
    book = replayed_book(documents, early)
    assert book.last_update_id == last["lastUpdateId"]
    best = [[int(level[0]), int(level[1])] for level in book.levels(Side.BUY, 200)]
    instrument = btc()
    assert best == [
        [instrument.price_ticks(price), instrument.quantity_lots(lots)]
        for price, lots in last["bids"][:200]
    ]


async def test_ccxt_follows_a_replayed_market_and_its_orders_match(tmp_path: Path) -> None:
    """A capture is tradable: orders take the recorded book, the last book stays at the end."""
    path = write_recording(tmp_path / "c.gz", recording_lines(2_500))
    settings = SimulatedSettings(capture=str(path), speed=20.0, latency_ms=0.0)
    running = await start(settings, NAMES)
    try:
        async with production_client(running.access) as (client, _):
            await client.load_markets()
            book = await asyncio.wait_for(client.watch_order_book(NAMES[0]), WAIT_S)
            ask = book["asks"][0][0]
            order = await client.create_order(
                NAMES[0], "limit", "buy", 0.01, round(ask * 1.01, 1), {"timeInForce": "IOC"}
            )
            assert order["filled"] > 0
            assert order["average"] == pytest.approx(ask, rel=0.01)
            source = CaptureSource(path, (btc(),))
            await asyncio.sleep(source.duration_ns / 1e9 / 20.0 + 0.3)
            after = await client.fetch_order_book(NAMES[0], 5)
            quotes = [f.event for f in source.frames() if isinstance(f.event, Quote)]
            assert after["bids"][0][0] == pytest.approx(quotes[-1].bid_ticks / 10, rel=0.001)
    finally:
        await running.stop()
    assert running.report()["source_finished"]
