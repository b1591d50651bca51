"""A feed on a scripted venue: everything a test needs to speak as the venue and hear the lanes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from config.settings import FeedSettings, Settings
from daemon.clock import SystemClock
from daemon.effects import Note
from daemon.lanes import Lanes
from daemon.venues.connect import connect, load_instruments
from daemon.venues.feeds import Feed
from daemon.venues.tap import TapBinanceUsdm
from kernels.events import Event, FeedStatus, Trade, Verdict
from kernels.units import Instrument
from tests.fakes.scripted_venue import ScriptedVenue, answer, serve

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
FAST = {"reconnect_ms_min": 5, "reconnect_ms_max": 50}


@dataclass(slots=True, kw_only=True)
class FeedRig:
    """The pieces, and short ways to speak and to wait."""

    venue: ScriptedVenue
    exchange: TapBinanceUsdm
    instruments: tuple[Instrument, ...]
    lanes: Lanes
    clock: SystemClock
    feed: Feed
    notes: list[Note]
    events: list[Event] = field(default_factory=list)
    update_id: int = 100
    trade_id: int = 1000

    def now_ms(self) -> int:
        """Tell the venue's time, which is ours."""
        return self.clock.now_ns() // 1_000_000

    async def quote(self, bid: str = "60000.0", ask: str = "60000.1", **more: Any) -> None:
        """Send a best bid and ask."""
        words = {"e": "bookTicker", "u": 1, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "1"}
        await self.venue.send("public", words | {"E": self.now_ms()} | more)

    async def trade(self, trade_id: int | None = None, **more: Any) -> None:
        """Send a trade, the next in the numbering unless told otherwise."""
        self.trade_id = self.trade_id + 1 if trade_id is None else trade_id
        words = {"e": "trade", "s": "BTCUSDT", "t": self.trade_id, "p": "60000.0", "q": "0.001"}
        await self.venue.send("public", words | {"E": self.now_ms(), "m": True} | more)

    async def diff(self, skip: int = 0, **more: Any) -> None:
        """Send a depth update that joins the last, or skips some."""
        previous = self.update_id + skip
        self.update_id = previous + 10
        words = {"e": "depthUpdate", "s": "BTCUSDT", "U": previous + 1, "u": self.update_id}
        words |= {"pu": previous, "b": [["60000.0", "1"]], "a": [["60000.1", "0"]]}
        await self.venue.send("public", words | {"E": self.now_ms()} | more)

    async def mark(self) -> None:
        """Send a mark price."""
        words = {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "60000.05", "r": "0.0001"}
        await self.venue.send("market", words | {"E": self.now_ms()})

    def offer_snapshot(self, last_update_id: int | None = None) -> None:
        """Serve a REST book as of the last depth update, or of any id."""
        last = self.update_id if last_update_id is None else last_update_id
        words = {"lastUpdateId": last, "bids": [["60000.0", "2"]], "asks": [["60000.1", "3"]]}
        self.venue.handlers["GET /fapi/v1/depth"] = answer(words)

    def offer_book(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        """Serve a REST book as of the last depth update."""
        words = {"lastUpdateId": self.update_id, "bids": bids, "asks": asks}
        self.venue.handlers["GET /fapi/v1/depth"] = answer(words)

    def offer_trades(self, trade_ids: Sequence[int]) -> None:
        """Serve these trades by REST: the newest thousand, and all of them by id."""
        words = {"price": "60000.0", "qty": "0.001", "isBuyerMaker": True}
        now_ms = self.now_ms()
        rows = [{"id": each, "time": now_ms, **words} for each in trade_ids]

        async def by_id(request: web.Request) -> web.StreamResponse:
            first_id, limit = int(request.query["fromId"]), int(request.query["limit"])
            return web.json_response(rows[first_id - trade_ids[0] :][:limit])

        self.venue.handlers["GET /fapi/v1/trades"] = answer(rows[-1000:])
        self.venue.handlers["GET /fapi/v1/historicalTrades"] = by_id

    def trade_ids(self) -> list[int]:
        """List the ids of the trades that came through the lanes, in order."""
        self.events.extend(self.lanes.drain(10_000))
        return [event.trade_id for event in self.events if isinstance(event, Trade)]

    async def until(self, done: Callable[[], bool], *, what: str = "condition") -> None:
        """Wait for a condition while draining the lanes; TimeoutError with what was waited for."""
        try:
            async with asyncio.timeout(10):
                while not done():
                    self.events.extend(self.lanes.drain(10_000))
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise TimeoutError(f"{what}; notes {self.notes[-5:]}") from None
        self.events.extend(self.lanes.drain(10_000))

    def verdicts(self) -> list[Verdict]:
        """List every verdict of the first instrument, in order."""
        self.events.extend(self.lanes.drain(10_000))
        return [e.verdict for e in self.events if isinstance(e, FeedStatus) and not e.instrument]

    def noted(self, event: str) -> list[Note]:
        """List the notes of one kind."""
        return [note for note in self.notes if note.event == event]

    async def until_verdict(self, verdict: Verdict, count: int = 1) -> None:
        """Wait until the first instrument's verdict has been this so many times."""
        await self.until(
            lambda: self.verdicts().count(verdict) >= count, what=f"{verdict.name} times {count}"
        )

    async def make_ok(self) -> None:
        """Bring the first instrument to OK: book, quote and mark."""
        await self.venue.connected("public", 1)
        await self.venue.connected("market", 1)
        self.offer_snapshot()
        self.update_id -= 10  # the next update bridges the snapshot
        await self.diff()
        await self.quote()
        await self.mark()
        await self.until_verdict(Verdict.OK)


async def _end_receivers() -> None:
    """End what ccxt's client leaves of a socket that was flooded: a receive that nobody awaits."""
    left = [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "") == "ClientWebSocketResponse.receive"
    ]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def feed_rig(
    directory: Path,
    *,
    with_user_stream: bool = False,
    on_user_connect: Callable[[], Awaitable[None]] | None = None,
    events_max: int = 10_000,
    **feed_settings: Any,
) -> AsyncIterator[FeedRig]:
    """Serve, connect and start a feed of two instruments."""
    async with serve(directory) as venue:
        settings = Settings(feed=FeedSettings(**(FAST | feed_settings)))
        exchange = await connect(settings, None, venue)
        instruments = load_instruments(exchange, SYMBOLS)
        if not with_user_stream:
            exchange.apiKey = ""
        clock = SystemClock()
        lanes = Lanes(len(instruments), events_max)
        notes: list[Note] = []
        feed = Feed(
            exchange,
            instruments,
            lanes,
            settings.feed,
            clock,
            notes.append,
            generator=np.random.default_rng(7),
            on_user_connect=on_user_connect,
        )
        rig = FeedRig(
            venue=venue,
            exchange=exchange,
            instruments=instruments,
            lanes=lanes,
            clock=clock,
            feed=feed,
            notes=notes,
        )
        rig.offer_snapshot()
        await feed.start()
        try:
            yield rig
        finally:
            await feed.close()
            await exchange.close()
            await _end_receivers()
        assert not rig.noted("task_failed"), rig.noted("task_failed")
