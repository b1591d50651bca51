"""One instrument's proof: sequences, numbering, ages and clocks, all without I/O."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import FeedSettings
from daemon.venues.integrity import (
    BUFFERED_DIFFS_MAX,
    SKEW_WINDOW_NS,
    InstrumentTrack,
    Links,
    SkewEstimate,
)
from kernels.book import Continuity
from kernels.events import DepthDiff, DepthSnapshot, Quote, Verdict
from kernels.units import Instrument

MS = 1_000_000
NOW_NS = 1_700_000_000_000 * MS
BTC = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=10_000_000,
    lot_size_e8=100_000,
    lots_min=1,
    lots_max=10**6,
    notional_min_quote_e8=5 * 10**8,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)
UP = Links(public=True, user=True, was_complete=True)
EMPTY_N2 = np.empty((0, 2), dtype=np.int64)


def _diff(first: int, last: int, previous: int, now_ns: int = NOW_NS) -> DepthDiff:
    return DepthDiff(
        instrument=0,
        event_ns=now_ns,
        received_ns=now_ns,
        first_update_id=first,
        last_update_id=last,
        previous_update_id=previous,
        bid_levels_n2=EMPTY_N2,
        ask_levels_n2=EMPTY_N2,
    )


def _snapshot(last: int) -> DepthSnapshot:
    return DepthSnapshot(
        instrument=0,
        event_ns=NOW_NS,
        received_ns=NOW_NS,
        last_update_id=last,
        bid_levels_n2=EMPTY_N2,
        ask_levels_n2=EMPTY_N2,
    )


def _quote(bid_ticks: int = 10, ask_ticks: int = 11) -> Quote:
    return Quote(
        instrument=0,
        event_ns=NOW_NS,
        received_ns=NOW_NS,
        update_id=1,
        bid_ticks=bid_ticks,
        bid_lots=1,
        ask_ticks=ask_ticks,
        ask_lots=1,
    )


def _track() -> InstrumentTrack:
    return InstrumentTrack(BTC, FeedSettings(), NOW_NS)


def _healthy() -> InstrumentTrack:
    track = _track()
    track.on_snapshot(_snapshot(10))
    assert track.on_diff(_diff(9, 12, 8)) is Continuity.BRIDGE
    track.on_quote(_quote())
    track.mark_ns = NOW_NS
    return track


def test_healthy_is_ok() -> None:
    """Everything in place is OK, and only then."""
    assert _healthy().judge(NOW_NS, SkewEstimate(), UP) == (Verdict.OK, "")


def test_what_was_buffered_follows_the_snapshot() -> None:
    """Old events go, the bridging one and those after it are handed on in order."""
    track = _track()
    for first, last, previous in ((1, 4, 0), (5, 9, 4), (10, 12, 9), (13, 20, 12)):
        assert track.on_diff(_diff(first, last, previous)) is Continuity.BUFFER
    following = track.on_snapshot(_snapshot(7))
    assert following is not None
    assert [diff.last_update_id for diff in following] == [9, 12, 20]
    assert track.sequence.is_synchronised
    assert track.on_diff(_diff(21, 22, 20)) is Continuity.NEXT


def test_a_snapshot_older_than_the_buffer_is_refused_and_nothing_is_lost() -> None:
    """The stream began after the snapshot: a later snapshot still finds every buffered event."""
    track = _track()
    track.on_diff(_diff(10, 12, 9))
    track.on_diff(_diff(13, 20, 12))
    assert track.on_snapshot(_snapshot(5)) is None
    following = track.on_snapshot(_snapshot(11))
    assert following is not None
    assert [diff.last_update_id for diff in following] == [12, 20]


def test_a_hole_inside_the_buffer_is_found() -> None:
    """A gap among buffered events refuses the snapshot and keeps what comes after the hole."""
    track = _track()
    track.on_diff(_diff(1, 4, 0))
    track.on_diff(_diff(9, 12, 8))
    assert track.on_snapshot(_snapshot(2)) is None
    following = track.on_snapshot(_snapshot(10))
    assert following is not None
    assert [diff.last_update_id for diff in following] == [12]


def test_a_snapshot_that_ends_where_the_stream_goes_on_is_joined() -> None:
    """In a quiet market no event overlaps the snapshot: the event's own pu proves the joint."""
    live = _track()
    assert live.on_snapshot(_snapshot(9)) == []
    assert live.on_diff(_diff(11, 14, 9)) is Continuity.BRIDGE
    assert live.on_diff(_diff(15, 16, 14)) is Continuity.NEXT
    buffered = _track()
    buffered.on_diff(_diff(11, 14, 9))
    following = buffered.on_snapshot(_snapshot(9))
    assert following is not None
    assert [diff.last_update_id for diff in following] == [14]


def test_a_snapshot_too_old_for_the_live_stream_is_no_gap() -> None:
    """Nothing of the stream is missing when the snapshot was taken before it began."""
    track = _track()
    assert track.on_snapshot(_snapshot(5)) == []
    assert track.on_diff(_diff(11, 14, 9)) is Continuity.GAP
    assert track.gap_count == 0
    assert track.judge(NOW_NS, SkewEstimate(), UP)[0] is Verdict.WARMING
    following = track.on_snapshot(_snapshot(12))
    assert following is not None
    assert len(following) == 1


def test_a_gap_makes_the_book_unusable_until_resynchronised() -> None:
    """OK turns to GAP with the first event that does not join, and back with a joined snapshot."""
    track = _healthy()
    track.turn(Verdict.OK, "", NOW_NS)
    assert track.on_diff(_diff(30, 31, 29)) is Continuity.GAP
    assert track.judge(NOW_NS, SkewEstimate(), UP)[0] is Verdict.GAP
    assert track.gap_count == 1
    assert track.on_diff(_diff(32, 33, 31)) is Continuity.BUFFER
    following = track.on_snapshot(_snapshot(31))
    assert following is not None
    assert [diff.last_update_id for diff in following] == [31, 33]
    assert track.judge(NOW_NS, SkewEstimate(), UP)[0] is Verdict.OK


def test_the_buffer_is_bounded() -> None:
    """A snapshot that never comes does not fill the memory."""
    track = _track()
    for number in range(BUFFERED_DIFFS_MAX + 50):
        track.on_diff(_diff(number, number, number - 1))
    assert len(track.buffered) == BUFFERED_DIFFS_MAX


@settings(max_examples=100, deadline=None)
@given(trade_ids=st.lists(st.integers(0, 60), max_size=60))
def test_trade_numbering(trade_ids: list[int]) -> None:
    """Only the next id moves on; a later one tells what is missing, an older one is a repeat."""
    track = _track()
    passed: list[int] = []
    for trade_id in trade_ids:
        step = track.on_trade_id(trade_id)
        if step == 0:
            passed.append(trade_id)
        elif step > 0:
            assert step == trade_id - passed[-1] - 1
        else:
            assert trade_id <= passed[-1]
    if passed:
        assert passed == list(range(passed[0], passed[0] + len(passed)))
    assert track.lost_trade_count == 0


@pytest.mark.parametrize(
    ("links", "verdict"),
    [
        (Links(public=False, user=True), Verdict.WARMING),
        (Links(public=False, user=True, was_complete=True), Verdict.RECONNECTING),
        (Links(public=True, user=False, was_complete=True), Verdict.RECONNECTING),
    ],
)
def test_links_come_first(links: Links, verdict: Verdict) -> None:
    """Without every needed connection nothing is OK."""
    assert _healthy().judge(NOW_NS, SkewEstimate(), links)[0] is verdict


@pytest.mark.parametrize("name", ["quote_ns", "depth_ns", "mark_ns"])
def test_silence_of_any_stream_is_stale(name: str) -> None:
    """Each stream has its own age; one that stops is noticed whatever the others do."""
    track = _healthy()
    later_ns = NOW_NS + 6_000 * MS
    for each in ("quote_ns", "depth_ns", "mark_ns"):
        setattr(track, each, later_ns)
    assert track.judge(later_ns, SkewEstimate(), UP)[0] is Verdict.OK
    setattr(track, name, NOW_NS)
    assert track.judge(later_ns, SkewEstimate(), UP)[0] is Verdict.STALE


def test_crossed_touch() -> None:
    """A best bid at or above the best ask is no market; an empty side is not crossed."""
    track = _healthy()
    assert track.on_quote(_quote(11, 11))
    assert track.judge(NOW_NS, SkewEstimate(), UP)[0] is Verdict.CROSSED
    assert not track.on_quote(_quote(12, 11))
    assert track.on_quote(_quote(12, 0))
    assert track.judge(NOW_NS, SkewEstimate(), UP)[0] is Verdict.OK


@pytest.mark.parametrize(
    ("lag_ms", "verdict"),
    [(-1270, Verdict.SKEWED), (1270, Verdict.SKEWED), (5, Verdict.OK), (-900, Verdict.OK)],
)
def test_skewed_clocks(lag_ms: int, verdict: Verdict) -> None:
    """A venue clock too far from ours either way stops trading."""
    skew = SkewEstimate()
    skew.observe(lag_ms * MS, NOW_NS)
    assert _healthy().judge(NOW_NS, skew, UP)[0] is verdict


@settings(max_examples=100, deadline=None)
@given(
    frames=st.lists(
        st.tuples(st.integers(0, 2 * SKEW_WINDOW_NS), st.integers(-(10**10), 10**10)),
        min_size=1,
        max_size=50,
    )
)
def test_skew_is_a_recent_minimum(frames: list[tuple[int, int]]) -> None:
    """The estimate is at most every lag of the last window and no less than the smallest of two."""
    skew = SkewEstimate()
    now_ns = 0
    seen: list[tuple[int, int]] = []
    for step_ns, lag_ns in frames:
        now_ns += step_ns
        skew.observe(lag_ns, now_ns)
        seen.append((now_ns, lag_ns))
    recent = [lag for at, lag in seen if now_ns - at < SKEW_WINDOW_NS / 2]
    longer = [lag for at, lag in seen if now_ns - at <= 2 * SKEW_WINDOW_NS]
    assert skew.lag_ns >= min(longer)
    assert skew.lag_ns <= max(recent)


@pytest.mark.parametrize(
    ("update_ids", "late_ids"),
    [
        ([10, 12, 11, 13], [11]),  # two that changed places
        ([10, 12, 10, 11, 13], [10, 11]),  # two late ones in a row
        ([10, 99, 11, 12, 13, 14], [11, 12]),  # one misread: the third below it is believed
        ([10, 99, 12, 11, 13, 12, 14], [12, 11, 13, 12, 14]),  # no run of three that rises
    ],
)
def test_without_a_time_of_the_venue_order_is_told_by_ids(
    update_ids: list[int], late_ids: list[int]
) -> None:
    """Spot: a lower id is late, until three rise in a row below a newest that was misread."""
    track = InstrumentTrack(BTC, FeedSettings(), NOW_NS, quotes_tell_time=False)
    late = []
    for at, update_id in enumerate(update_ids):
        quote = replace(
            _quote(), update_id=update_id, received_ns=NOW_NS + at, event_ns=NOW_NS + at
        )
        if track.is_late(quote):
            late.append(update_id)
        else:
            track.on_quote(quote)
    assert late == late_ids
    assert track.late_quote_count == len(late_ids)


def test_a_quote_without_time_is_as_old_as_the_depth_beside_it() -> None:
    """The delay of the newest depth update counts for a second, then nothing is known."""
    track = InstrumentTrack(BTC, FeedSettings(), NOW_NS, quotes_tell_time=False)
    track.on_snapshot(_snapshot(10))
    track.on_diff(_diff(9, 12, 8), 700)
    assert track.depth_delay(NOW_NS + 1_000_000_000) == 700
    assert track.depth_delay(NOW_NS + 1_000_000_001) == 0


def test_time_not_ok_is_accounted() -> None:
    """Nanoseconds under each verdict but OK add up."""
    track = _track()
    track.turn(Verdict.OK, "", NOW_NS + 7)
    track.turn(Verdict.STALE, "quiet", NOW_NS + 10)
    assert track.not_ok_until(NOW_NS + 15) == {"WARMING": 7, "STALE": 5}
    assert not track.turn(Verdict.STALE, "still", NOW_NS + 16)
