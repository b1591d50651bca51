"""The one recovery path, scenario by scenario: what an earlier run left, and what others did.

The venue is the paper venue: real orders, account and matching in this process, real ccxt in front.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from config.settings import PaperSettings, Settings
from daemon.clock import SystemClock
from daemon.identity import client_order_id
from daemon.journal import Journal
from daemon.simulated.attach import attach
from daemon.simulated.listings import listed_instruments
from daemon.simulated.paper_venue import PaperVenue
from daemon.venues.connect import build, connect
from daemon.venues.orders import NOT_FOUND_IS_FINAL_NS, order_request
from daemon.venues.paper import PaperBinanceUsdm
from daemon.venues.reconcile import ReconcileError, fetch_account, fetch_open_orders
from daemon.venues.recovery import Recovery, recover
from kernels.events import DepthSnapshot, FeedStatus, OrderIntent, OrderType, Side, Verdict
from kernels.units import Instrument
from tests.fakes.daemon_process import run_daemon, running_daemon, wait_for_event
from tests.fakes.watched_account import watched_account

EARLIER, NOW_RUN = "0000000000cc", "0000000000dd"
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
BID, ASK = 600_000, 600_001
AT_ONCE = PaperSettings(latency="drawn", round_trip_ms=0.0, round_trip_sigma=0.0)
LONG_AGO_NS = NOT_FOUND_IS_FINAL_NS + 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Site:
    """A venue with a book, what an earlier run wrote down, and the run that recovers."""

    exchange: PaperBinanceUsdm
    paper: PaperVenue
    instruments: tuple[Instrument, ...]
    directory: Path
    clock: SystemClock
    sequence: int = 0

    async def send(
        self,
        side: Side,
        lots: int,
        price_ticks: int,
        *,
        name: str = "",
        arrives: bool = True,
        age_ns: int = 0,
    ) -> str:
        """Let the earlier run journal an intent and send it; one with a ``name`` is not ours."""
        self.sequence += 1
        intent = OrderIntent(
            sequence=self.sequence,
            instrument=0,
            side=side,
            quantity_lots=lots,
            price_ticks=price_ticks,
            order_type=OrderType.GTC,
            reduce_only=False,
            decided_ns=self.clock.now_ns() - age_ns,
            reason="test",
        )
        identity = name or client_order_id(EARLIER, self.sequence)
        if not name:
            earlier = self.journal(EARLIER)
            earlier.record_intents([(identity, intent, self.clock.now_ns() - age_ns)])
            earlier.close(1)
        if arrives:
            await self.exchange.fapiPrivatePostOrder(
                order_request(identity, intent, self.instruments[0])
            )
        return identity

    def journal(self, run_id: str) -> Journal:
        """Open the journal as one run; the earlier one was as many as it sent orders."""
        name = f"{run_id[:-2]}{self.sequence:02d}" if run_id == EARLIER else run_id
        return Journal(self.directory, name, "ring", instruments=SYMBOLS, started_ns=7)

    async def recover(self, foreign: str = "halt") -> tuple[Recovery, int]:
        """Recover as a start does; return what was found and how many intents stay open."""
        journal = self.journal(NOW_RUN)
        generator = np.random.default_rng(5)
        try:
            found = await recover(
                *(self.exchange, self.instruments, journal, self.clock, generator), foreign=foreign
            )
        finally:
            journal.close(9)
        after = self.journal("0000000000ee")
        left = len(after.open_intents())
        after.close(10)
        return found, left

    async def open_names(self) -> set[str]:
        """Name what is open at the venue."""
        orders = await fetch_open_orders(self.exchange, self.instruments)
        return {each.client_order_id for each in orders}

    async def positions(self) -> tuple[int, ...]:
        """Read what a start would adopt."""
        return (await fetch_account(self.exchange, self.instruments, self.clock)).position_lots


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Site]:
    instruments = listed_instruments(SYMBOLS, maker_fee_bps=2.0, taker_fee_bps=5.0)
    clock = SystemClock()
    exchange = build(Settings(mode="paper", venue="binanceusdm"), None, None)
    assert isinstance(exchange, PaperBinanceUsdm)
    paper = exchange.open_account(instruments, AT_ONCE, clock, directory / "account.log")
    paper.take(
        DepthSnapshot(
            instrument=0,
            event_ns=0,
            received_ns=0,
            last_update_id=1,
            bid_levels_n2=np.array([[BID - i, 100] for i in range(10)], dtype=np.int64),
            ask_levels_n2=np.array([[ASK + i, 100] for i in range(10)], dtype=np.int64),
        )
    )
    try:
        yield Site(
            exchange=exchange,
            paper=paper,
            instruments=instruments,
            directory=directory / "journal",
            clock=clock,
        )
    finally:
        await exchange.close()
        paper.close()


async def test_reconcile_open_orders(tmp_path: Path) -> None:
    """Orders of ours that still work are cancelled, that is verified, and their intents end."""
    async with opened(tmp_path) as site:
        names = {await site.send(Side.BUY, 10, BID - n) for n in range(3)}
        assert await site.open_names() == names
        found, left = await site.recover()
        assert (found.open_intent_count, found.proven_count, left) == (3, 3, 0)
        assert found.foreign == ()
        assert await site.open_names() == set()


async def test_reconcile_filled_orders(tmp_path: Path) -> None:
    """An order that filled unseen is proven by the venue; a part-filled one keeps its part."""
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, ASK)
        await site.send(Side.BUY, 150, ASK)  # 90 are left there
        found, left = await site.recover()
        assert (found.open_intent_count, found.proven_count, left) == (2, 2, 0)
        assert await site.open_names() == set()
        assert await site.positions() == (100, 0)


@pytest.mark.parametrize(("side", "lots"), [(Side.BUY, 40), (Side.SELL, -40)])
async def test_reconcile_open_position(tmp_path: Path, side: Side, lots: int) -> None:
    """A long or short position of an earlier run is read exactly."""
    async with opened(tmp_path) as site:
        await site.send(side, 40, ASK if side is Side.BUY else BID)
        await site.recover()
        assert await site.positions() == (lots, 0)


async def test_lost_order_that_never_arrived_is_closed_once_it_cannot_arrive(
    tmp_path: Path,
) -> None:
    """ "No such order" proves an old intent unsent, and a young one nothing: it is asked again."""
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, BID, arrives=False, age_ns=LONG_AGO_NS)
        await site.send(Side.BUY, 10, BID, arrives=False)
        began_s = time.monotonic()
        found, left = await site.recover()
        assert (found.open_intent_count, found.proven_count, left) == (2, 2, 0)
        assert time.monotonic() - began_s > 5.0, "a request may be under way for so long"


async def test_order_without_a_proven_end_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the venue does not say what an order did, its account cannot be taken for ours."""
    monkeypatch.setattr("daemon.venues.recovery.SETTLE_S", 1.0)
    async with opened(tmp_path) as site:
        name = await site.send(Side.BUY, 10, BID, arrives=False)
        with pytest.raises(ReconcileError, match=f"1 orders have no proven end: {name}"):
            await site.recover()


async def test_trades_that_the_venue_tells_no_more_do_not_refuse_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filled order of long ago has a proven end; that its trades are missing is told."""
    monkeypatch.setattr("daemon.venues.recovery.SETTLE_S", 1.0)
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, ASK)

        async def tell_nothing(request: object) -> list[object]:
            return []

        monkeypatch.setattr(site.exchange, "fapiPrivateGetUserTrades", tell_nothing)
        found, left = await site.recover()
        assert (found.proven_count, found.untold_lots, left) == (1, 10, 0)


async def test_fills_of_settled_orders_reach_the_journal_once(tmp_path: Path) -> None:
    """What filled unseen is written down at the start, and by a second start not again."""
    async with opened(tmp_path) as site:
        name = await site.send(Side.BUY, 10, ASK)
        await site.recover()
        journal = site.journal("0000000000ff")
        await recover(
            *(site.exchange, site.instruments, journal, site.clock, np.random.default_rng(5))
        )
        journal.close(11)
        with closing(sqlite3.connect(site.directory / "journal.sqlite")) as tables:
            rows = tables.execute("SELECT client_order_id, quantity_lots FROM fills").fetchall()
        assert rows == [(name, 10)]


async def test_lost_order_is_not_given_up_when_the_venue_cannot_be_reached(tmp_path: Path) -> None:
    """A name-service outage or an overloaded venue is no "not found": the start is refused."""
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, BID, age_ns=LONG_AGO_NS)
        status = FeedStatus(instrument=0, received_ns=0, verdict=Verdict.GAP, reason="test")
        site.paper.take(status)
        with pytest.raises(ReconcileError, match="-1001"):
            await site.recover()
        status = FeedStatus(instrument=0, received_ns=0, verdict=Verdict.OK, reason="")
        site.paper.take(status)
        journal = site.journal("0000000000ff")
        assert len(journal.open_intents()) == 1
        journal.close(11)


@pytest.mark.parametrize(("foreign", "stays"), [("adopt", False), ("ignore", True), ("halt", True)])
async def test_orders_of_others(tmp_path: Path, foreign: str, stays: bool) -> None:
    """They are reported; only ``adopt`` touches them, and ours are cancelled in every case."""
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, BID - 1)
        await site.send(Side.SELL, 10, ASK + 1, name="web_by_hand")
        found, left = await site.recover(foreign)
        assert [each.client_order_id for each in found.foreign] == ["web_by_hand"]
        assert await site.open_names() == ({"web_by_hand"} if stays else set())
        assert left == 0


async def test_recovery_twice_changes_nothing(tmp_path: Path) -> None:
    """What was settled stays settled: a second start finds nothing to do."""
    async with opened(tmp_path) as site:
        await site.send(Side.BUY, 10, ASK)
        await site.send(Side.BUY, 10, BID)
        await site.recover()
        fills = len(site.paper.venue.desk.fills)
        journal = site.journal("0000000000ff")
        found = await recover(
            *(site.exchange, site.instruments, journal, site.clock, np.random.default_rng(5))
        )
        journal.close(11)
        assert (found.open_intent_count, found.proven_count, found.foreign) == (0, 0, ())
        assert len(site.paper.venue.desk.fills) == fills == 1


async def test_order_of_another_halts_the_start(tmp_path: Path) -> None:
    """The real daemon: an order that is not ours ends trading until an operator looks."""
    async with watched_account(tmp_path) as account:
        await place_by_hand(account.access_path)
        chosen = ("--set", f"simulated.attach={account.access_path}", "--for", "4s")
        run = await asyncio.to_thread(run_daemon, tmp_path, *chosen)
        assert await account.open_orders() == 1
    assert run.summary is not None, run.stderr[-2_000:]
    assert run.events("order_foreign")[0]["client_order_ids"] == ["web_by_hand"]
    assert run.summary["breaker"] == "HALTED"
    assert run.summary["orders"]["sent"] == 0


async def test_ignored_order_that_appears_later_outlives_the_stop(tmp_path: Path) -> None:
    """The real daemon under ``ignore``: it goes on trading, and its stop cancels only its own."""
    async with watched_account(tmp_path) as account:
        words = (f"simulated.attach={account.access_path}", "recovery.foreign=ignore")
        chosen = [part for word in words for part in ("--set", word)]
        with running_daemon(tmp_path, *chosen) as process:
            await asyncio.to_thread(wait_for_event, process, "run_ready")
            await place_by_hand(account.access_path)
            await asyncio.to_thread(wait_for_event, process, "order_foreign")
            process.send_signal(signal.SIGTERM)
            out, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert await account.open_orders() == 1
    summary = json.loads(out.splitlines()[-1])
    assert (summary["exit"], summary["breaker"]) == ("clean", "NORMAL")


async def place_by_hand(access_path: Path) -> None:
    """Place an order far below the market, as its owner would on the venue's page."""
    exchange = await connect(Settings(), None, attach(access_path).access)
    try:
        row = await exchange.fapiPublicGetTickerBookTicker({"symbol": "BTCUSDT"})
        await exchange.fapiPrivatePostOrder(
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.010",
                "price": f"{float(row['bidPrice']) * 0.97:.1f}",
                "newClientOrderId": "web_by_hand",
            }
        )
    finally:
        await exchange.close()
