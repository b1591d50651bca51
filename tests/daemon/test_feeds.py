"""The feed against a venue that misbehaves: every fault becomes a verdict, then heals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.settings import FeedSettings
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Fill,
    Funding,
    OrderUpdate,
    Quote,
    Trade,
    Verdict,
)
from tests.fakes.feed_rig import feed_rig
from tests.fakes.scripted_venue import refuse


async def test_subscribes_once_per_socket_and_becomes_ok(tmp_path: Path) -> None:
    """One public and one market socket carry all streams of all instruments."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        assert rig.verdicts() == [Verdict.WARMING, Verdict.OK]
        assert len(rig.venue.sockets["public"]) == len(rig.venue.sockets["market"]) == 1
        first_snapshot = next(e for e in rig.events if isinstance(e, DepthSnapshot))
        assert first_snapshot.bid_levels_n2.tolist() == [[600_000, 2000]]
        counters = rig.feed.counters
        assert (counters.depth_count, counters.quote_count, counters.mark_count) == (1, 1, 1)
        assert counters.lost_count == counters.gap_count == counters.reconnect_count == 0


async def test_a_gap_is_announced_before_anything_after_it(tmp_path: Path) -> None:
    """GAP stands in the lanes before the snapshot that heals it; no update slips in between."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        rig.events.clear()
        await rig.diff(skip=1000)
        await rig.until(lambda: bool(rig.noted("feed_gap")))
        rig.offer_snapshot()
        await rig.until_verdict(Verdict.OK)
        assert rig.verdicts() == [Verdict.GAP, Verdict.OK]
        kinds = [type(e) for e in rig.events if isinstance(e, DepthDiff | DepthSnapshot)]
        assert kinds[:2] == [DepthSnapshot, DepthDiff]
        assert rig.feed.counters.gap_count == 1
        assert rig.feed.counters.resync_count == 2


async def test_a_refused_snapshot_is_asked_again(tmp_path: Path) -> None:
    """The book is loaded as soon as the venue gives one; errors in between change nothing."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        rig.venue.handlers["GET /fapi/v1/depth"] = refuse(-1001, 503)
        await rig.diff(skip=5)
        await rig.until(lambda: len(rig.venue.asked("GET /fapi/v1/depth")) >= 5)
        rig.offer_snapshot()
        await rig.until_verdict(Verdict.OK, 2)


async def test_missing_trades_are_fetched_in_their_place(tmp_path: Path) -> None:
    """A hole in the numbering is GAP until REST has filled it; ids arrive in order, each once."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        rig.offer_trades(range(1, 8))
        for trade_id in (1, 2, 5, 5, 4, 6):
            await rig.trade(trade_id)
        await rig.until(lambda: rig.feed.counters.trade_count >= 6)
        await rig.until_verdict(Verdict.OK, 2)
        assert Verdict.GAP in rig.verdicts()
        await rig.trade(7)
        await rig.until(lambda: rig.feed.counters.trade_count >= 7)
        assert rig.trade_ids() == [1, 2, 3, 4, 5, 6, 7]
        counters = rig.feed.counters
        assert counters.lost_count == 0
        assert counters.recovered_count >= 1
        assert rig.noted("feed_trades_recovered")
        assert not rig.noted("feed_trades_lost")


async def test_trades_that_cannot_be_fetched_are_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that does not tell them: the rest passes after a while, repeats are dropped."""
    monkeypatch.setattr("daemon.venues.backfill.GIVE_UP_NS", 100_000_000)
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        for trade_id in (1, 2, 5, 5, 4, 6):
            await rig.trade(trade_id)
        await rig.until(lambda: rig.feed.counters.trade_count >= 5)
        assert rig.trade_ids() == [1, 2, 4, 5, 6]
        assert rig.feed.counters.lost_count == 1
        assert rig.feed.counters.repeated_count == 1
        assert rig.noted("feed_trades_lost")[0].fields["lost"] == 1
        await rig.until_verdict(Verdict.OK, 2)


async def test_trades_out_of_reach_are_given_up_at_once(tmp_path: Path) -> None:
    """Without a key only the newest trades can be had: what is older is lost, the rest fetched."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.trade(1)
        rig.offer_trades(range(10, 15))
        await rig.trade(15)
        await rig.until(lambda: rig.feed.counters.trade_count >= 7)
        assert rig.trade_ids() == [1, *range(10, 16)]
        assert rig.feed.counters.lost_count == 8


async def test_older_trades_are_read_page_by_page(tmp_path: Path) -> None:
    """With a key the history is read by id until it joins what the stream brought."""
    async with feed_rig(tmp_path, with_user_stream=True) as rig:
        await rig.make_ok()
        await rig.trade(1)
        rig.offer_trades(range(1, 2000))
        await rig.venue.close_sockets("public")
        await rig.venue.connected("public", 2)
        await rig.until(lambda: rig.feed.counters.trade_count >= 1999)
        assert rig.trade_ids() == list(range(1, 2000))
        pages = rig.venue.asked("GET /fapi/v1/historicalTrades")
        assert [page["fromId"] for page in pages] == ["2", "502"]
        assert rig.feed.counters.lost_count == 0


async def test_an_orderly_end_is_no_outage(tmp_path: Path) -> None:
    """Closing the feed changes no verdict, warns of nothing and counts no time as not OK."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.feed.close()
        before = rig.feed.counters.not_ok_ns
        assert rig.verdicts() == [Verdict.WARMING, Verdict.OK]
        assert not rig.noted("feed_disconnected")
        assert set(before["BTC/USDT:USDT"]) == {"WARMING"}
        await asyncio.sleep(0.05)
        assert rig.feed.counters.not_ok_ns == before


async def test_an_audit_finds_a_wrong_book(tmp_path: Path) -> None:
    """A level that differs from the venue's own book is AUDIT_FAILED, then a new book."""
    async with feed_rig(tmp_path, audit_interval_s=1) as rig:
        await rig.make_ok()
        rig.offer_book([["60000.0", "1"], ["59999.0", "7"]], [["60000.2", "1"]])
        await rig.until_verdict(Verdict.AUDIT_FAILED)
        note = rig.noted("feed_audit_failed")[0]
        assert note.fields["reason"] == "BUY 599990 ticks: 0 lots here, 7000 at the venue"
        await rig.diff()
        await rig.until_verdict(Verdict.OK, 2)
        assert rig.feed.counters.audit_failed_count == 1


async def test_audits_of_a_right_book_change_nothing(tmp_path: Path) -> None:
    """Audits go on quietly as long as the venue agrees, also while updates come in."""
    async with feed_rig(tmp_path, audit_interval_s=1) as rig:
        await rig.make_ok()
        rig.offer_book([["60000.0", "1"]], [])
        while rig.feed.counters.audit_count < 2:
            await rig.until(lambda: True)
            await rig.quote()
            await rig.mark()
            await asyncio.sleep(0.05)
        assert rig.verdicts() == [Verdict.WARMING, Verdict.OK]
        assert rig.feed.counters.audit_failed_count == 0


async def test_a_quote_of_the_same_update_judges_the_book(tmp_path: Path) -> None:
    """A best bid that the book of the same id does not show is AUDIT_FAILED at once."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        rig.offer_book([["60000.0", "2"]], [["60000.1", "1"]])
        await rig.quote(u=rig.update_id, B="9")
        await rig.until_verdict(Verdict.AUDIT_FAILED)
        await rig.diff()
        await rig.quote(u=rig.update_id + 1)
        await rig.until_verdict(Verdict.OK, 2)


async def test_a_crossed_book_is_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A book whose sides overlap is CROSSED, and loaded anew when it stays so."""
    monkeypatch.setattr("daemon.venues.feeds.CROSSED_NS_MAX", 150_000_000)
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.diff(a=[["59999.0", "1"]])
        await rig.until_verdict(Verdict.CROSSED)
        await rig.until_verdict(Verdict.AUDIT_FAILED)
        rig.offer_book([["60000.0", "2"]], [["60000.1", "1"]])
        await rig.diff()
        await rig.until_verdict(Verdict.OK, 2)


async def test_an_older_quote_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """A late quote is dropped and counted; ids that start again with later times are taken."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        now_ms = rig.now_ms()
        await rig.quote(u=50, E=now_ms)
        await rig.quote(bid="59999.0", u=49, E=now_ms)
        await rig.quote(bid="59998.0", u=3, E=now_ms + 1)
        await rig.until(lambda: rig.feed.counters.quote_count >= 4)
        bids = [e.bid_ticks for e in rig.events if isinstance(e, Quote)]
        assert 599_990 not in bids
        assert bids[-1] == 599_980
        assert rig.feed.counters.late_count == 1


async def test_frames_that_were_long_under_way_are_old(tmp_path: Path) -> None:
    """A queue that comes late keeps the feed STALE: age is counted from the venue."""
    async with feed_rig(tmp_path, quote_stale_ms=300, skew_ms_max=60_000) as rig:
        await rig.make_ok()
        await rig.until_verdict(Verdict.STALE)
        for _ in range(4):
            await rig.quote(E=rig.now_ms() - 2_000)
            await asyncio.sleep(0.06)
        await rig.until(lambda: rig.feed.counters.quote_count >= 5)
        assert rig.verdicts()[-1] is Verdict.STALE
        await rig.quote()
        await rig.until_verdict(Verdict.OK, 2)


async def test_a_half_open_socket_is_found_within_five_seconds(tmp_path: Path) -> None:
    """With the settings as shipped: no pong, no frame, no FIN, and the feed dials anew."""
    shipped = FeedSettings()
    async with feed_rig(tmp_path, keepalive_ms=shipped.keepalive_ms) as rig:
        await rig.make_ok()
        await asyncio.sleep(
            shipped.keepalive_ms / 1000 + 0.1
        )  # the worst moment: just after a pong
        rig.venue.answers_pings = False
        died_ns = rig.clock.monotonic_ns()
        await rig.until(lambda: bool(rig.noted("feed_disconnected")))
        assert rig.clock.monotonic_ns() - died_ns < 5_000_000_000


async def test_a_forced_disconnect_recovers(tmp_path: Path) -> None:
    """The socket closes: RECONNECTING, WARMING, OK, with a fresh book and a counted reconnect."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.venue.close_sockets("public")
        await rig.venue.connected("public", 2)
        rig.offer_snapshot()
        rig.update_id -= 10
        await rig.diff()
        await rig.quote()
        await rig.until_verdict(Verdict.OK, 2)
        assert rig.verdicts() == [
            Verdict.WARMING,
            Verdict.OK,
            Verdict.RECONNECTING,
            Verdict.WARMING,
            Verdict.OK,
        ]
        assert rig.feed.counters.reconnect_count == 1
        not_ok = rig.feed.counters.not_ok_ns["BTC/USDT:USDT"]
        assert set(not_ok) == {"WARMING", "RECONNECTING"}


async def test_a_disconnect_from_our_side_recovers_as_well(tmp_path: Path) -> None:
    """Dropping the socket ourselves takes the same road back."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.feed.reconnect("test")
        await rig.venue.connected("public", 2)
        assert Verdict.RECONNECTING in rig.verdicts()
        assert rig.noted("feed_disconnected")[0].fields["reason"] == "test"


async def test_a_flooded_socket_can_be_left(tmp_path: Path) -> None:
    """Frames that come without a pause do not keep a socket open that we want to leave."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        leaving = asyncio.Event()

        async def flood() -> None:
            (socket,) = rig.venue.sockets["public"]
            text = (
                '{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1","E":1}'
            )
            while not socket.closed:
                for _ in range(200):
                    await socket.send_str(text)
                leaving.set()
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        await asyncio.wait_for(leaving.wait(), 5.0)
        await asyncio.wait_for(rig.feed.reconnect("flooded"), 2.0)
        await rig.venue.connected("public", 2)
        await asyncio.wait_for(asyncio.wait((flooding,)), 5.0)
        flooding.exception()
        assert len(rig.venue.sockets["public"]) == 1


async def test_a_dead_peer_is_noticed_by_its_missing_pongs(tmp_path: Path) -> None:
    """A socket that stays open but answers no ping is given up."""
    async with feed_rig(tmp_path, keepalive_ms=50) as rig:
        await rig.make_ok()
        rig.venue.answers_pings = False
        await rig.until(lambda: bool(rig.noted("feed_disconnected")))


async def test_an_unacknowledged_subscription_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that swallows the subscription is left and dialled anew."""
    monkeypatch.setattr("daemon.venues.links.ACKNOWLEDGE_TIMEOUT_S", 0.1)
    async with feed_rig(tmp_path) as rig:
        rig.venue.acknowledges = False
        await rig.venue.close_sockets("public")
        await rig.until(lambda: len(rig.noted("feed_reconnecting")) >= 2)
        rig.venue.acknowledges = True
        await rig.make_ok()


async def test_silence_becomes_stale(tmp_path: Path) -> None:
    """No quote for longer than allowed is STALE although the socket is fine."""
    async with feed_rig(tmp_path, quote_stale_ms=200) as rig:
        await rig.make_ok()
        await rig.until_verdict(Verdict.STALE)
        await rig.quote()
        await rig.until_verdict(Verdict.OK, 2)


async def test_a_crossed_touch_and_a_skewed_clock(tmp_path: Path) -> None:
    """Crossed quotes and a clock far off are verdicts of their own."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.quote(bid="60000.2")
        await rig.until_verdict(Verdict.CROSSED)
        await rig.quote()
        await rig.until_verdict(Verdict.OK, 2)
        await rig.quote(E=rig.now_ms() + 60_000)
        await rig.until_verdict(Verdict.SKEWED)
        assert rig.feed.counters.skew_ns < -50 * 10**9


@pytest.mark.parametrize(
    "frame",
    [
        '{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"pu":0,"E":1,"b":[["1.05","1"]],"a":[]}',
        '{"e":"depthUpdate","s":"BTCUSDT"',
        '{"e":"bookTicker","s":"BTCUSDT","u":1,"b":"x","B":"1","a":"1","A":"1","E":1}',
        "nonsense",
        "[[[[",
    ],
)
async def test_unreadable_frames_never_end_the_feed(tmp_path: Path, frame: str) -> None:
    """Whatever comes is counted and noted, the socket lives on, the book is proven afterwards."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.venue.send("public", frame)
        await rig.until(lambda: rig.feed.counters.refused_count == 1)
        assert rig.noted("feed_frame_refused")
        rig.offer_snapshot()
        await rig.diff()
        await rig.quote()
        await rig.until(lambda: rig.verdicts()[-1] is Verdict.OK)
        assert rig.feed.counters.reconnect_count == 0


async def test_full_lanes_close_the_instrument_and_heal(tmp_path: Path) -> None:
    """An engine that does not drain gets GAP, then a fresh book once it has caught up."""
    async with feed_rig(tmp_path, events_max=20) as rig:
        await rig.make_ok()
        for _ in range(30):
            await rig.trade()
        async with asyncio.timeout(10):
            while not rig.noted("lane_overflow"):
                await asyncio.sleep(0.005)
        await rig.until_verdict(Verdict.GAP)
        asked = len(rig.venue.asked("GET /fapi/v1/depth"))
        await rig.until(lambda: len(rig.venue.asked("GET /fapi/v1/depth")) > asked)
        rig.update_id -= 10  # the next update bridges the snapshot that is still offered
        await rig.diff()
        await rig.until_verdict(Verdict.OK, 2)
        counters = rig.feed.counters
        seen = sum(isinstance(event, Trade) for event in rig.events)
        assert seen + counters.lost_count == counters.trade_count == 30
        assert counters.lost_count > 0


async def test_the_venue_announces_its_shutdown(tmp_path: Path) -> None:
    """serverShutdown is answered by reconnecting before the venue closes."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        await rig.venue.send("public", {"e": "serverShutdown", "E": rig.now_ms()})
        await rig.venue.connected("public", 2)
        await rig.venue.connected("market", 2)


ORDER = {
    "s": "BTCUSDT",
    "c": "me-run-1",
    "S": "BUY",
    "x": "TRADE",
    "X": "FILLED",
    "i": 9,
    "l": "0.004",
    "z": "0.004",
    "L": "60000.1",
    "N": "USDT",
    "n": "0.12",
    "t": 5,
    "m": False,
}


async def test_user_stream_is_awaited_and_reconciled(tmp_path: Path) -> None:
    """Without the user stream nothing is OK; every connection of it calls for reconciliation."""
    reconciled = 0

    async def reconcile() -> None:
        nonlocal reconciled
        reconciled += 1

    async with feed_rig(tmp_path, with_user_stream=True, on_user_connect=reconcile) as rig:
        await rig.make_ok()
        assert reconciled == 1
        await rig.venue.send("private", {"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": ORDER})
        account = {"m": "FUNDING_FEE", "B": [{"a": "USDT", "wb": "99999", "bc": "-1"}], "P": []}
        await rig.venue.send("private", {"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": account})
        await rig.until(lambda: rig.feed.counters.user_count == 2)
        kinds = [type(e) for e in rig.events if isinstance(e, OrderUpdate | Fill | Funding)]
        assert kinds == [OrderUpdate, Fill, Funding]
        assert rig.feed.user_stream.wallet_quote_e8 == 99_999 * 10**8
        await rig.venue.send("private", {"e": "listenKeyExpired", "E": 1, "listenKey": "abc"})
        await rig.venue.connected("private", 2)
        await rig.until_verdict(Verdict.OK, 2)
        assert Verdict.RECONNECTING in rig.verdicts()
        assert reconciled == 2
        assert len(rig.venue.asked("POST /fapi/v1/listenKey")) == 2


async def test_an_unreadable_user_frame_calls_for_reconciliation(tmp_path: Path) -> None:
    """Something of ours happened and could not be read: the account is asked."""
    reconciled = asyncio.Event()

    async def reconcile() -> None:
        reconciled.set()

    async with feed_rig(tmp_path, with_user_stream=True, on_user_connect=reconcile) as rig:
        await rig.venue.connected("private", 1)
        await rig.until(reconciled.is_set)
        reconciled.clear()
        await rig.venue.send("private", '{"e":"ORDER_TRADE_UPDATE","E":1,"T":1,"o":{}}')
        await asyncio.wait_for(reconciled.wait(), 5)


async def test_a_failing_reconciliation_keeps_the_feed_from_ok(tmp_path: Path) -> None:
    """Until the account is known the verdict is not OK, and the connection is tried again."""
    attempts = 0

    async def reconcile() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError("no account")

    async with feed_rig(tmp_path, with_user_stream=True, on_user_connect=reconcile) as rig:
        await rig.make_ok()
        assert attempts == 3
        assert "no account" in str(rig.noted("feed_disconnected")[0].fields["reason"])


async def test_an_error_in_the_reader_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours in the reader closes the socket with its name instead of silencing it."""
    async with feed_rig(tmp_path) as rig:
        await rig.make_ok()
        with monkeypatch.context() as patch:
            patch.setattr(rig.lanes, "put", lambda event: 1 / 0)
            await rig.quote()
            async with asyncio.timeout(5):
                while not rig.venue.connected_counts["public"] or not rig.noted(
                    "feed_disconnected"
                ):
                    await asyncio.sleep(0.005)
        assert "ZeroDivisionError" in str(rig.noted("feed_disconnected")[0].fields["reason"])
        rig.notes[:] = [note for note in rig.notes if note.event != "task_failed"]
