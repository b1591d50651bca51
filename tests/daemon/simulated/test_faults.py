"""The schedule of faults: when each strikes, how often, at whom, and the same for a seed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.fault_specs import FAULT_KINDS, FaultSpec, Site
from daemon.clock import ManualClock
from daemon.simulated.faults import ARMED_MAX, ArmedFault, FaultBoard
from daemon.simulated.frame_faults import FrameFaults
from daemon.simulated.user_faults import UserFaults
from daemon.simulated.venue_clock import VenueClock


def spec(kind: str = "drop_frames", **words: Any) -> FaultSpec:
    """Make a fault."""
    return FaultSpec.model_validate({"kind": kind, **words})


@given(
    st.integers(0, 20),
    st.integers(1, 7),
    st.integers(0, 9),
    st.floats(0.0, 1.0),
    st.integers(0, 2**32),
    st.integers(0, 200),
)
def test_occasions_are_counted(
    skip: int, every: int, count: int, chance: float, seed: int, occasions: int
) -> None:
    """Never before ``skip``, only each ``every``-th, never more than ``count``, seeded."""

    def struck() -> list[int]:
        fault = ArmedFault(
            spec(skip=skip, every=every, count=count, chance=chance, seed=seed), "x", 0.0
        )
        return [
            place
            for place in range(1, occasions + 1)
            if fault.is_open(0.0, 0.0) and fault.strikes()
        ]

    places = struck()
    assert places == struck()
    assert all(place > skip and (place - skip) % every == 0 for place in places)
    possible = max(0, occasions - skip) // every
    assert len(places) <= possible
    if chance == 1.0:
        assert len(places) == (min(count, possible) if count else possible)
    elif count:
        assert len(places) <= count


def test_times_open_and_close_the_window() -> None:
    """``after_s`` counts from arming, ``at_s`` from the market's start, ``for_s`` ends it."""
    board = FaultBoard()
    board.arm(spec(after_s=2.0, for_s=3.0, count=0), now_s=10.0)
    strikes = [bool(board.strike(Site.FRAME, "s", now_s)) for now_s in (11.0, 12.0, 14.9, 15.0)]
    assert strikes == [False, True, True, False]
    board.disarm_all()
    board.arm(spec(at_s=5.0, count=0), now_s=20.0)
    assert board.strike(Site.FRAME, "s", 100.0) is None
    board.start_market(100.0)
    assert board.strike(Site.FRAME, "s", 104.0) is None
    assert board.strike(Site.FRAME, "s", 105.0) is not None


def test_timed_faults_fall_due_at_their_pace() -> None:
    """Timed kinds strike ``count`` times, ``every_s`` apart, from ``after_s`` on."""
    board = FaultBoard()
    board.arm(spec("expire_listen_key", after_s=1.0, every_s=2.0, count=3), now_s=0.0)
    due = [now_s for now_s in range(12) if board.due(float(now_s))]
    assert due == [1, 3, 5]
    assert board.fired_counts() == {"expire_listen_key": 3}


def test_targets_are_patterns_and_the_first_armed_goes_first() -> None:
    """A fault sees what its pattern matches; one behind a fault that strikes sees nothing."""
    board = FaultBoard()
    board.arm(spec(target="btc*@depth*", count=1, name="first"), 0.0)
    board.arm(spec(target="*", count=0, name="second"), 0.0)
    names = []
    for stream in ("btcusdt@depth@0ms", "btcusdt@depth@0ms", "ethusdt@trade"):
        fault = board.strike(Site.FRAME, stream, 1.0)
        assert fault is not None
        names.append(fault.name)
    assert names == ["first", "second", "second"]
    assert [row["seen"] for row in board.listing()] == [1, 2]


def test_names_and_room() -> None:
    """Names are unique, and the board is bounded; counts outlive their faults."""
    board = FaultBoard()
    board.arm(spec(name="a"), 0.0)
    with pytest.raises(ValueError, match="armed already"):
        board.arm(spec(name="a"), 0.0)
    board.strike(Site.FRAME, "s", 0.0)
    assert board.disarm("a")
    assert not board.disarm("a")
    assert board.fired_counts() == {"drop_frames": 1}
    for _ in range(ARMED_MAX):
        board.arm(spec(), 0.0)
    with pytest.raises(ValueError, match="no more than"):
        board.arm(spec(), 0.0)
    assert board.disarm_all() == ARMED_MAX


@given(st.lists(st.sampled_from(["NEW", "TRADE", "CANCELED", "EXPIRED"]), max_size=12), st.data())
def test_user_faults_lose_no_event(types: list[str], data: st.DataObject) -> None:
    """Every event leaves at least once and in its order, except a NEW held for its fill."""
    kinds = [name for name, kind in FAULT_KINDS.items() if kind.site is Site.USER]
    board = FaultBoard()
    for kind in data.draw(st.lists(st.sampled_from(kinds), max_size=3)):
        board.arm(spec(kind, count=data.draw(st.integers(0, 2))), 0.0)
    faults = UserFaults(board, lambda: 0.0, lambda fault, order_id: None)
    events: list[dict[str, object]] = [
        {
            "e": "ORDER_TRADE_UPDATE",
            "n": number,
            "o": {"i": 1, "x": each, "X": "FILLED", "c": "me", "z": "1", "q": "1"},
        }
        for number, each in enumerate(types)
    ]
    sent = [event["n"] for one in events for event in faults.passed(one)]
    missing = {event["n"] for event in events} - set(sent)
    assert all(types[int(str(number))] == "NEW" for number in missing)
    assert len(missing) <= 1
    rest = [number for number in dict.fromkeys(sent) if types[int(str(number))] != "NEW"]
    assert rest == sorted(rest, key=lambda number: int(str(number)))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-5e5, 5e5)), max_size=6))
def test_venue_clock_can_be_set_right(changes: list[tuple[float, float]]) -> None:
    """After any jumps and drifts the clock agrees again; the drift itself never jumps."""
    true = ManualClock(1_700_000_000_000_000_000)
    clock = VenueClock(true)
    for offset_ms, drift_ppm in changes:
        clock.jump(offset_ms)
        before_ns = clock.now_ns()
        clock.run_at(drift_ppm)
        assert abs(clock.now_ns() - before_ns) <= 1
        true.advance(1_000_000_000)
        gained_ns = clock.now_ns() - before_ns - 1_000_000_000
        assert abs(gained_ns - drift_ppm * 1_000) <= 2
    clock.set_right()
    assert clock.now_ns() == true.now_ns()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["duplicate_frames", "reorder_frames", "delay_frames", "drop_frames"]),
            st.integers(0, 6),
            st.integers(1, 3),
            st.integers(1, 4),
        ),
        max_size=4,
    ),
    st.integers(0, 30),
)
def test_no_message_is_lost_but_by_dropping(
    armed: list[tuple[str, int, int, int]], count: int
) -> None:
    """Messages leave once, twice where repeated, never where dropped; one may still be held."""
    board = FaultBoard()
    for kind, skip, every, limit in armed:
        board.arm(spec(kind, skip=skip, every=every, count=limit), 0.0)
    faults = FrameFaults(board, (), lambda: 0.0)
    sent = [text for number in range(count) for _, text in faults.passed("s@trade", b"%d" % number)]
    fired = board.fired_counts()
    lost = count - len(set(sent))
    assert lost - fired.get("drop_frames", 0) in (0, 1)
    assert len(sent) - len(set(sent)) == fired.get("duplicate_frames", 0)
    if not fired:
        assert sent == [b"%d" % number for number in range(count)]


@given(st.binary(min_size=2, max_size=300), st.integers(0, 2**32))
def test_corrupt_message_is_no_json(noise: bytes, seed: int) -> None:
    """Whatever is cut or blotted where: nobody can read it."""
    board = FaultBoard()
    board.arm(spec("corrupt_frames", seed=seed), 0.0)
    faults = FrameFaults(board, (), lambda: 0.0)
    ((_, spoiled),) = faults.passed("s@trade", orjson.dumps({"e": "trade", "n": noise.hex()}))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(spoiled)
