"""Any exchange through ``watch_*``: proven by driving Binance through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from config.settings import FeedSettings, SimulatedSettings
from daemon.clock import SystemClock
from daemon.effects import Note
from daemon.lanes import Lanes
from daemon.simulated import process
from daemon.venues.connect import VenueError
from daemon.venues.connect_generic import close_generic, open_generic, watched_markets
from daemon.venues.generic import GenericFeed, GenericTrack, OffGridError, WatchedMarket
from daemon.venues.integrity import SkewEstimate
from daemon.venues.support_table import SHOWN, support_table
from kernels.book import Book
from kernels.events import DepthSnapshot, Event, FeedStatus, MarkPrice, Quote, Trade, Verdict
from tests.fakes.recording import btc

FUTURES = ("BTC/USDT:USDT", "ETH/USDT:USDT")
SPOT = ("BTC/USDT", "ETH/USDT")


@pytest.mark.parametrize(
    ("exchange_id", "symbols", "tick_sizes_e8"),
    [
        ("binanceusdm", FUTURES, [10_000_000, 1_000_000]),
        ("binance", SPOT, [1_000_000, 1_000_000]),
    ],
)
async def test_binance_through_the_generic_path(
    exchange_id: str, symbols: tuple[str, ...], tick_sizes_e8: list[int]
) -> None:
    """Books, quotes, trades and marks of two instruments arrive, OK is reached, nothing fails."""
    simulated = SimulatedSettings(market="volatile", seed=9)
    venue = await process.start(simulated, (*FUTURES, *SPOT))
    settings = FeedSettings()
    lanes, clock = Lanes(2, 100_000), SystemClock()
    notes: list[Note] = []
    events: list[Event] = []
    try:
        exchange = await open_generic(exchange_id, settings, venue.access)
        markets = watched_markets(exchange, symbols)
        assert [each.instrument.tick_size_e8 for each in markets] == tick_sizes_e8
        feed = GenericFeed(
            exchange,
            markets,
            lanes,
            settings,
            clock,
            notes.append,
            generator=np.random.default_rng(3),
        )
        await feed.start()
        async with asyncio.timeout(30):
            while feed.counters.trade_count < 100 or feed.counters.depth_count < 40:
                await lanes.wait(0.05)
                events += lanes.drain(100_000)
        await feed.close()
        counters = feed.counters
        await close_generic(exchange)
    finally:
        await venue.stop()
    assert {type(event) for event in events} == {
        DepthSnapshot,
        FeedStatus,
        MarkPrice,
        Quote,
        Trade,
    }
    verdicts = [e.verdict for e in events if isinstance(e, FeedStatus) and e.instrument == 0]
    assert verdicts == [Verdict.WARMING, Verdict.OK]
    assert counters.refused_count == counters.lost_count == counters.reconnect_count == 0
    assert not [note for note in notes if note.event == "task_failed"]
    for index in (0, 1):
        ids = [e.trade_id for e in events if isinstance(e, Trade) and e.instrument == index]
        assert ids == sorted(set(ids))
        books = [e for e in events if isinstance(e, DepthSnapshot) and e.instrument == index]
        book = Book()
        for snapshot in books:
            book.load(snapshot)
            assert not book.is_crossed()
        assert min(len(books[-1].bid_levels_n2), len(books[-1].ask_levels_n2)) > 10


async def test_an_exchange_that_does_not_exist_is_refused() -> None:
    """One sentence that names it."""
    with pytest.raises(VenueError, match=r"ccxt\.pro has no exchange 'mtgox'"):
        await open_generic("mtgox", FeedSettings())


class _Failing:
    """An exchange whose calls fail until they are told to work."""

    def __init__(self) -> None:
        self.has = {"watchBidsAsks": False}
        self.is_down = False

    async def watch_order_book(self, symbol: str) -> dict[str, object]:
        await asyncio.sleep(0.01)
        if self.is_down:
            raise TimeoutError
        return {"bids": [[60000.0, 1.0]], "asks": [[60000.1, 2.0]], "timestamp": None}

    async def watch_trades(self, symbol: str) -> list[dict[str, object]]:
        await asyncio.sleep(0.01)
        row = {"id": "a1", "price": 60000.0, "amount": 0.5, "side": "buy", "timestamp": None}
        return [row]


async def test_failures_become_a_verdict_and_heal() -> None:
    """Without streams of quotes and marks the book stands in; a failing call is RECONNECTING."""
    exchange, lanes = _Failing(), Lanes(1, 1_000)
    market = WatchedMarket(instrument=btc(), amount_step=0.001, has_mark=False)
    settings = FeedSettings(reconnect_ms_min=5, reconnect_ms_max=20)
    feed = GenericFeed(
        exchange,
        (market,),
        lanes,
        settings,
        SystemClock(),
        lambda note: None,
        generator=np.random.default_rng(1),
    )
    events: list[Event] = []

    async def until(verdict: Verdict) -> None:
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0.01)
                fresh = lanes.drain(1_000)
                events.extend(fresh)
                if any(isinstance(e, FeedStatus) and e.verdict is verdict for e in fresh):
                    return

    await feed.start()
    await until(Verdict.OK)
    exchange.is_down = True
    await until(Verdict.RECONNECTING)
    exchange.is_down = False
    await until(Verdict.OK)
    await feed.close()
    assert sum(isinstance(event, Trade) for event in events) == 1
    assert feed.counters.repeated_count > 0
    assert any(isinstance(event, MarkPrice) for event in events)
    assert set(feed.counters.not_ok_ns["BTC/USDT:USDT"]) == {"WARMING", "RECONNECTING"}


def test_verdicts_of_age_and_clock() -> None:
    """Silence is STALE, a clock far off SKEWED, off-grid numbers are refused."""
    settings, skew = FeedSettings(), SkewEstimate()
    track = GenericTrack(WatchedMarket(instrument=btc(), amount_step=0.001, has_mark=False), 0)
    now_ns = 10**18
    track.book_ns = track.quote_ns = now_ns
    assert track.judge(now_ns, settings, skew) == (Verdict.OK, "")
    assert track.judge(now_ns + 4 * 10**9, settings, skew)[0] is Verdict.STALE
    skew.observe(-2 * 10**9, now_ns)
    assert track.judge(now_ns, settings, skew)[0] is Verdict.SKEWED
    track.is_crossed = True
    assert track.judge(now_ns, settings, skew)[0] is Verdict.CROSSED
    with pytest.raises(OffGridError):
        track.ticks(60000.05)


def test_the_table_of_exchanges_is_ccxts_own() -> None:
    """At least ten exchanges, a row each, all with an order book stream."""
    table = support_table().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2 : 2 + len(SHOWN)]]
    assert len(rows) >= 10
    assert [row[0] for row in rows] == list(SHOWN)
    assert all(row[1] == "yes" for row in rows)
    assert {cell for row in rows for cell in row[1:]} <= {"yes", "no", "?", "raw"}
    shown = "\n".join(table[: 2 + len(SHOWN)])
    assert shown in (Path(__file__).parents[2] / "README.md").read_text()
