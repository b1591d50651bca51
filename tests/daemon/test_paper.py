"""Mode paper: the venue's public feed, orders filled here as the simulated exchange fills them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from config.settings import PaperSettings, Settings
from daemon.checklist import examine_venue
from daemon.clock import ManualClock, SystemClock
from daemon.simulated import market_documents, paper_log, process
from daemon.simulated.listings import listed_instruments
from daemon.simulated.market_source import Frame
from daemon.simulated.paper_latency import MEASURED_MIN, RoundTrips
from daemon.simulated.paper_log import PaperLogError
from daemon.simulated.paper_venue import PaperVenue
from daemon.simulated.private_calls import PrivateCalls
from daemon.simulated.synthetic_source import SyntheticSource
from daemon.simulated.venue import Venue
from daemon.simulated.venue_errors import VenueError
from daemon.venues.connect import build
from daemon.venues.normalize import Normalizer
from daemon.venues.tap import ForbiddenHostError
from kernels.events import DepthDiff, DepthSnapshot, FeedStatus, MarkPrice, Verdict
from kernels.units import E8, Instrument
from tests.fakes.daemon_process import replay_run, run_daemon, running_daemon, wait_for_event

SYMBOL = "BTC/USDT:USDT"
FRAMES = 30_000
MARK_EVERY, ORDER_EVERY, FUNDING_EVERY = 500, 23, 9_000
AT_ONCE = PaperSettings(latency="drawn", round_trip_ms=0.0, round_trip_sigma=0.0)
S = 1_000_000_000
Words = dict[str, str]


def contracts() -> tuple[Instrument, ...]:
    return listed_instruments((SYMBOL,), maker_fee_bps=2.0, taker_fee_bps=5.0)


def untimed(document: Any) -> Any:
    """Leave out when: only what happened is compared."""
    if isinstance(document, dict):
        names = document.keys() - {"E", "T", "time", "updateTime"}
        return {name: untimed(document[name]) for name in sorted(names)}
    return [untimed(each) for each in document] if isinstance(document, list) else document


class Twins:
    """The exchange, which plays a market, and a paper venue that sees its wire only."""

    def __init__(self, directory: Path) -> None:
        (self.instrument,) = instruments = contracts()
        self.clock = ManualClock()
        self.told_there: list[Any] = []
        self.told_here: list[Any] = []
        self.there = Venue(
            instruments, 100_000 * E8, self.now_ms, self.told_there.append, lambda key, last: None
        )
        self.calls = PrivateCalls(self.there)
        self.here = PaperVenue(instruments, AT_ONCE, self.clock, directory / "account.log")
        self.here.deliver = lambda text: self.told_here.append(orjson.loads(text))
        self.normalizer = Normalizer(instruments)

    @property
    def now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000

    def play(self, frame: Frame) -> None:
        """Let the exchange move, and tell the paper venue in the exchange's words."""
        self.there.apply(frame.event, self.now_ms)
        if isinstance(frame.event, DepthSnapshot):
            market = self.there.markets[0]
            words = orjson.loads(
                orjson.dumps(market_documents.depth_document(market, 1_000, self.now_ms))
            )
            event: Any = self.normalizer.snapshot(
                words, self.instrument.venue_id, self.clock.now_ns()
            )
        else:
            event = self.normalizer.market(frame.render(self.now_ms), self.clock.now_ns())
        self.here.take(event)

    def mark(self) -> None:
        """Renew the mark price there and send it."""
        self.there.renew_mark(0)
        document = market_documents.mark_event(self.there.markets[0], self.now_ms)
        event = self.normalizer.market(orjson.dumps(document), self.clock.now_ns())
        assert isinstance(event, MarkPrice)
        self.here.take(event)

    async def send(self, method: str, name: str, words: Words) -> tuple[Any, Any]:
        """Send one request to both; return both answers, refusals as their documents."""
        call = {"POST": self.calls.place_order, "DELETE": self.calls.cancel_order}[method]
        answers: list[Any] = []
        for answer in (call(words, self.now_ms), self.here.answer(method, name, words)):
            try:
                answers.append(untimed(orjson.loads(orjson.dumps(await answer))))
            except VenueError as refusal:
                answers.append(refusal.document())
        return answers[0], answers[1]


def orders(twins: Twins, generator: np.random.Generator) -> Iterator[tuple[str, Words]]:
    """Draw requests around the touch for ever: takers, makers, post-only, reducers, cancels."""
    number = 0
    while True:
        bid_ticks, _, ask_ticks, _ = twins.there.markets[0].book.best()
        working = twins.there.desk.working_orders()
        if working and generator.random() < 0.3:
            order = working[int(generator.integers(len(working)))]
            yield (
                "DELETE",
                {"symbol": "BTCUSDT", "origClientOrderId": order.request.client_order_id},
            )
            continue
        number += 1
        is_buy = generator.random() < 0.5
        offset = int(generator.integers(-4, 5))
        ticks = (bid_ticks if is_buy else ask_ticks) + offset
        yield (
            "POST",
            {
                "symbol": "BTCUSDT",
                "side": "BUY" if is_buy else "SELL",
                "type": "LIMIT",
                "timeInForce": str(generator.choice(["GTC", "IOC", "GTX", "FOK"])),
                "price": twins.instrument.price_text(ticks),
                "quantity": twins.instrument.quantity_text(int(generator.integers(2, 400))),
                "reduceOnly": "true" if generator.random() < 0.15 else "false",
                "newClientOrderId": f"twin-{number}",
            },
        )


@pytest.mark.parametrize("market", ["volatile", "flash_crash"])
async def test_paper_and_sim_give_the_same_fills_on_the_same_events(
    tmp_path: Path, market: str
) -> None:
    """Same market, same orders: every answer, every order event and the account are the same."""
    twins = Twins(tmp_path)
    requests = orders(twins, np.random.default_rng(3))
    sent = 0
    for number, frame in enumerate(SyntheticSource(contracts(), market, 5).frames()):
        if number == FRAMES:
            break
        twins.clock.advance(1_000_000)
        twins.play(frame)
        if number % MARK_EVERY == 1:
            twins.mark()
        if number % FUNDING_EVERY == FUNDING_EVERY - 1:
            twins.mark()
            twins.there.pay_funding(twins.now_ms)
            twins.here.venue.pay_funding(twins.now_ms)
        if number % ORDER_EVERY == ORDER_EVERY - 1:
            method, words = next(requests)
            there, here = await twins.send(method, "/fapi/v1/order", words)
            assert there == here, words
            sent += 1
    await asyncio.sleep(0.01)
    kinds = [each["o"]["X"] for each in twins.told_here if "o" in each]
    makers = sum(each["o"]["m"] for each in twins.told_here if "o" in each)
    partial = kinds.count("PARTIALLY_FILLED")
    print(f"{market}: {sent} requests, {kinds.count('FILLED')} filled, {partial} partial fills")
    assert sent > 1_000
    assert min(kinds.count("FILLED"), kinds.count("CANCELED"), kinds.count("EXPIRED")) > 100
    assert min(partial, makers) > 20
    orders_there = [untimed(each["o"]) for each in twins.told_there if "o" in each]
    assert [untimed(each["o"]) for each in twins.told_here if "o" in each] == orders_there
    theirs, ours = twins.there.account.ledger, twins.here.venue.account.ledger
    assert theirs.wallet_quote_e8 == ours.wallet_quote_e8
    assert theirs.fees_quote_e8 == ours.fees_quote_e8 != 0
    assert theirs.funding_quote_e8 == ours.funding_quote_e8 != 0
    assert twins.there.account.position_lots(0) == twins.here.venue.account.position_lots(0)
    twins.here.close()


async def traded(directory: Path) -> Twins:
    """Trade for some thousand frames."""
    twins = Twins(directory)
    requests = orders(twins, np.random.default_rng(4))
    for number, frame in enumerate(SyntheticSource(contracts(), "volatile", 6).frames()):
        if number == 6_000:
            break
        twins.clock.advance(1_000_000)
        twins.play(frame)
        if number % ORDER_EVERY == ORDER_EVERY - 1:
            await twins.send(*(lambda one: (one[0], "/fapi/v1/order", one[1]))(next(requests)))
    twins.here.venue.pay_funding(twins.now_ms)
    await asyncio.sleep(0)
    return twins


@pytest.mark.parametrize("bytes_max", [paper_log.BYTES_MAX, 40_000])
async def test_account_outlives_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_max: int
) -> None:
    """A new process finds wallet, positions and fills; orders that rested are expired."""
    monkeypatch.setattr(paper_log, "BYTES_MAX", bytes_max)
    twins = await traded(tmp_path)  # never closed: as after a kill
    path = tmp_path / "account.log"
    before = twins.here.venue
    with path.open("ab") as stream:
        stream.write(b'{"e":"ORDER_TRADE_UPD')  # killed inside a write
    after = PaperVenue(contracts(), AT_ONCE, twins.clock, path)
    assert after.account_name == twins.here.account_name
    theirs, ours = before.account.ledger, after.venue.account.ledger
    assert ours.wallet_quote_e8 == theirs.wallet_quote_e8
    assert ours.position_lots(0) == theirs.position_lots(0) != 0
    assert ours.entry_quote_e8(0) == theirs.entry_quote_e8(0)
    assert not after.venue.desk.working_orders()
    rested = {order.request.client_order_id for order in before.desk.working_orders()}
    assert rested
    for order in list(after.venue.desk.orders())[-40:]:
        twin = before.desk.order(order.order_id)
        assert twin is not None
        assert order.request == twin.request
        assert order.filled_lots == twin.filled_lots
        is_rested = order.request.client_order_id in rested
        assert order.status == ("EXPIRED" if is_rested else twin.status)
    fills = list(before.desk.fills)
    assert [each.fill for each in after.venue.desk.fills][-10:] == [f.fill for f in fills[-10:]]
    sizes = [each.stat().st_size for each in tmp_path.iterdir()]
    assert max(sizes) < bytes_max + 2_000
    assert len(sizes) == (1 if bytes_max > 10**6 else 2)
    after.close()
    again = PaperVenue(contracts(), AT_ONCE, twins.clock, path)
    assert again.venue.account.ledger.wallet_quote_e8 == ours.wallet_quote_e8
    again.close()
    twins.here.close()


async def test_position_of_an_instrument_that_is_gone_is_refused(tmp_path: Path) -> None:
    """What is held must be traded: the account is not silently opened without it."""
    twins = await traded(tmp_path)
    twins.here.close()
    others = listed_instruments(("ETH/USDT:USDT",), maker_fee_bps=2.0, taker_fee_bps=5.0)
    first = (tmp_path / "account.log").read_bytes().splitlines()[0]
    words = orjson.loads(first)
    words["rows"]["BTCUSDT"] = twins.here.venue.account.ledger.state.tolist()[9:]
    (tmp_path / "account.log").write_bytes(orjson.dumps(words) + b"\n")
    with pytest.raises(PaperLogError, match="holds BTCUSDT"):
        PaperVenue(others, AT_ONCE, twins.clock, tmp_path / "account.log")


async def test_order_is_out_of_reach_while_the_book_is_not_known(tmp_path: Path) -> None:
    """An outage of the feed is one of the venue: 503, of unknown fate, and nothing happened."""
    twins = Twins(tmp_path)
    for number, frame in enumerate(SyntheticSource(contracts(), "volatile", 5).frames()):
        twins.play(frame)
        if number == 200:
            break
    status = FeedStatus(instrument=0, received_ns=0, verdict=Verdict.GAP, reason="test")
    twins.here.take(status)
    _, words = next(orders(twins, np.random.default_rng(3)))
    with pytest.raises(VenueError) as refused:
        await twins.here.answer("POST", "/fapi/v1/order", words)
    assert (refused.value.code, refused.value.status) == (-1001, 503)
    assert not list(twins.here.venue.desk.orders())
    twins.here.close()


def test_round_trips_are_measured_once_there_are_enough() -> None:
    """Drawn at first, then those of this run; no request overtakes another."""
    trips = RoundTrips(uses_measured=True, median_ms=50.0, sigma=0.0, seed=1)
    assert trips.arrival_ns(0) == 50_000_000
    assert trips.arrival_ns(10) == 50_000_010
    for _ in range(MEASURED_MIN):
        trips.add(3_000_000)
    assert trips.arrival_ns(20) == 50_000_010, "the earlier one is still under way"
    assert trips.arrival_ns(S) == S + 3_000_000
    drawn = RoundTrips(uses_measured=False, median_ms=50.0, sigma=0.5, seed=1)
    for _ in range(MEASURED_MIN):
        drawn.add(3_000_000)
    found = np.array([drawn.arrival_ns(n * S) - n * S for n in range(2_000)])
    assert abs(np.median(found) / 50e6 - 1.0) < 0.1
    assert 0.4 < np.log(found).std() < 0.6


async def test_request_that_needs_a_key_cannot_leave() -> None:
    """Neither by name nor by address: there is no key, and orders have no host."""
    exchange = build(Settings(mode="paper", venue="binanceusdm"), None, None)
    try:
        with pytest.raises(ForbiddenHostError):
            await exchange.sapiGetAccountApiRestrictions()
        with pytest.raises(ForbiddenHostError):
            await exchange.fapiPrivatePostOrder({})
        for host in ("ws-fapi.binance.com", "api.binance.com", "demo-fapi.binance.com"):
            with pytest.raises(ForbiddenHostError):
                exchange.guard(f"https://{host}/fapi/v1/order")
        assert not exchange.apiKey
    finally:
        await exchange.close()


def access_file(directory: Path, exchange: process.SimulatedExchange) -> Path:
    """Write down where an exchange serves, with keys that open nothing."""
    access = exchange.access
    words = {"url": f"https://{access.host}:{access.port}", "ca_pem_path": access.ca_pem_path}
    path = directory / "access.json"
    path.write_text(json.dumps(words | {"api_key": "none", "api_secret": "none", "pid": 1}))
    return path


async def test_paper_run_is_killed_and_goes_on(tmp_path: Path) -> None:
    """The real daemon: trades without a key, is killed, continues its account, and replays."""
    exchange = await process.start(Settings().simulated, Settings().instruments)
    attached = access_file(tmp_path, exchange)
    arguments = ("--set", "mode=paper", "--set", f"simulated.attach={attached}")
    try:
        with running_daemon(tmp_path, *arguments, "--set", "decision.warm_up_bars=2") as first:
            await asyncio.to_thread(wait_for_event, first, "order_filled")
            await asyncio.sleep(0.2)
            first.send_signal(signal.SIGKILL)
            first.wait()
        second = await asyncio.to_thread(run_daemon, tmp_path, *arguments, "--for", "5s")
    finally:
        await exchange.stop()
    summary = second.summary
    assert summary is not None, second.stderr[-2_000:]
    assert second.events("run_continued")
    assert not second.events("position_mismatch")
    assert summary["mode"] == "paper"
    assert summary["position_lots"] == summary["venue_position_lots"]
    assert any(summary["position_lots"].values())
    assert summary["exchange"]["wallet_quote"] != "100000.00000000"
    assert summary["orders"]["rejected"] == summary["orders"]["open_at_end"] == 0
    report = exchange.report()
    asked = {name for name in report["requests"] if "order" in name.lower() or "listen" in name}
    assert not asked, "the venue was asked about orders"
    assert report["orders"]["accepted"] == 0
    replayed = await asyncio.to_thread(replay_run, tmp_path / "paper")
    assert replayed["equal"], replayed


async def test_order_meets_the_book_that_comes_a_round_trip_later(tmp_path: Path) -> None:
    """What was offered when the order left is gone when it arrives: it expires unfilled."""
    settings = PaperSettings(latency="drawn", round_trip_ms=80.0, round_trip_sigma=0.0)
    paper = PaperVenue(contracts(), settings, SystemClock(), tmp_path / "account.log")
    none = np.empty((0, 2), dtype=np.int64)
    times = {"instrument": 0, "event_ns": 0, "received_ns": 0}
    paper.take(
        DepthSnapshot(
            **times,
            last_update_id=1,
            bid_levels_n2=np.array([[600_000, 100]], dtype=np.int64),
            ask_levels_n2=np.array([[600_001, 100], [600_009, 100]], dtype=np.int64),
        )
    )
    words = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC"}
    words |= {"price": "60000.1", "quantity": "0.010"}
    sending = asyncio.create_task(paper.answer("POST", "/fapi/v1/order", words))
    await asyncio.sleep(0.01)
    gone = np.array([[600_001, 0]], dtype=np.int64)
    ids = {"first_update_id": 2, "last_update_id": 2, "previous_update_id": 1}
    paper.take(DepthDiff(**times, **ids, bid_levels_n2=none, ask_levels_n2=gone))
    order = await sending
    assert (order["status"], order["executedQty"]) == ("EXPIRED", "0.000")
    in_time = await paper.answer("POST", "/fapi/v1/order", words | {"price": "60000.9"})
    assert (in_time["status"], in_time["avgPrice"]) == ("FILLED", "60000.90000")
    paper.close()


async def test_doctor_asks_the_venue_without_a_key(tmp_path: Path) -> None:
    """Clock and instruments are read from the public feed's host; no right is asked for."""
    exchange = await process.start(Settings().simulated, Settings().instruments)
    try:
        attached = access_file(tmp_path, exchange)
        simulated = Settings().simulated.model_copy(update={"attach": str(attached)})
        settings = Settings(mode="paper", simulated=simulated)
        rows = await asyncio.to_thread(lambda: list(examine_venue(settings, {})))
    finally:
        await exchange.stop()
    found = {row.name: row.state for row in rows}
    assert {found[name] for name in ("mode", "venue", "venue clock", "instruments", "guard")} == {
        "ok"
    }
    assert not {"keys", "key rights"} & set(found)
