"""Lanes against a naive model: order, conflation, refusal, and no silent loss."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.lanes import LaneOverflowError, Lanes
from kernels.events import Command, CommandName, Event, Quote, Side, Trade


def _quote(instrument: int, number: int) -> Quote:
    return Quote(
        instrument=instrument,
        event_ns=number,
        received_ns=number,
        update_id=number,
        bid_ticks=1,
        bid_lots=1,
        ask_ticks=2,
        ask_lots=1,
    )


def _trade(instrument: int, number: int) -> Trade:
    return Trade(
        instrument=instrument,
        event_ns=number,
        received_ns=number,
        trade_id=number,
        price_ticks=1,
        quantity_lots=1,
        aggressor=Side.BUY,
    )


def _command(number: int) -> Command:
    return Command(received_ns=number, name=CommandName.HALT, reason="test")


_MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("quote"), st.integers(0, 2)),
        st.tuples(st.just("trade"), st.integers(0, 2)),
        st.tuples(st.just("command"), st.just(0)),
        st.tuples(st.just("drain"), st.integers(0, 6)),
        st.tuples(st.just("reopen"), st.integers(0, 2)),
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(moves=_MOVES, events_max=st.integers(1, 8))
def test_equals_the_naive_model(moves: list[tuple[str, int]], events_max: int) -> None:
    """A plain list with the same rules gives the same answers, events and counters."""
    lanes = Lanes(3, events_max)
    waiting: list[Event] = []
    closed = [False] * 3
    refused = [0] * 3
    conflated = 0
    for number, (move, argument) in enumerate(moves):
        if move == "drain":
            expected, waiting = waiting[:argument], waiting[argument:]
            assert lanes.drain(argument) == expected
        elif move == "reopen":
            lanes.reopen(argument)
            closed[argument] = False
        elif move == "command":
            if len(waiting) < events_max * 10:
                assert lanes.put(_command(number))
                waiting.append(_command(number))
        else:
            event = _quote(argument, number) if move == "quote" else _trade(argument, number)
            older = [e for e in waiting if isinstance(e, Quote) and e.instrument == argument]
            if move == "quote" and older:
                waiting.remove(older[0])
                conflated += 1
            elif closed[argument] or len(waiting) >= events_max:
                closed[argument] = True
                refused[argument] += 1
                assert not lanes.put(event)
                continue
            assert lanes.put(event)
            waiting.append(event)
        assert lanes.waiting_count == len(waiting)
        assert lanes.overflowed == any(closed)
    assert lanes.drain(10**6) == waiting
    assert lanes.conflated_count == conflated
    assert lanes.refused_counts == refused
    assert lanes.waiting_count == 0


def test_memory_stays_bounded_without_a_drain() -> None:
    """A million conflated quotes leave a list no longer than a small multiple of the bound."""
    lanes = Lanes(2, 100)
    for number in range(50_000):
        lanes.put(_quote(number % 2, number))
        assert len(lanes._events) <= 100 + 2 + 1
    assert [event.received_ns for event in lanes.drain(10) if isinstance(event, Quote)] == [
        49_998,
        49_999,
    ]


def test_full_lanes_close_one_instrument_only_until_reopened() -> None:
    """Refusal is per instrument, is counted, and ends when the feed reopens it."""
    lanes = Lanes(2, 4)
    for number in range(4):
        assert lanes.put(_trade(0, number))
    assert not lanes.put(_trade(0, 5))
    assert lanes.is_closed(0)
    assert not lanes.is_closed(1)
    assert not lanes.can_reopen()
    lanes.drain(2)
    assert lanes.can_reopen()
    assert not lanes.put(_trade(0, 6))
    assert lanes.put(_trade(1, 7))
    lanes.reopen(0)
    assert lanes.put(_trade(0, 8))
    assert lanes.refused_counts == [2, 0]


def test_commands_are_taken_beyond_the_bound_but_not_for_ever() -> None:
    """Account events and commands fill ten times the bound, then say that the engine is dead."""
    lanes = Lanes(1, 2)
    for number in range(20):
        assert lanes.put(_command(number))
    with pytest.raises(LaneOverflowError):
        lanes.put(_command(20))


def test_counts_by_kind_and_high_water() -> None:
    """Accepted events are counted by type and the longest wait is remembered."""
    lanes = Lanes(1, 10)
    lanes.put(_trade(0, 1))
    lanes.put(_quote(0, 2))
    lanes.put(_quote(0, 3))
    lanes.drain(10)
    assert lanes.counts == {"Trade": 1, "Quote": 2}
    assert lanes.waiting_count_max == 2


@pytest.mark.parametrize(("instrument_count", "events_max"), [(0, 1), (1, 0)])
def test_refuses_an_empty_shape(instrument_count: int, events_max: int) -> None:
    """Lanes without instruments or without room are a mistake."""
    with pytest.raises(ValueError, match="lanes need"):
        Lanes(instrument_count, events_max)


async def test_wait_returns_at_once_when_something_waits() -> None:
    """No time passes when the lanes are not empty."""
    lanes = Lanes(1, 10)
    lanes.put(_trade(0, 1))
    await asyncio.wait_for(lanes.wait(60.0), 1.0)


async def test_wait_wakes_on_the_first_event() -> None:
    """A put from another task ends the wait."""
    lanes = Lanes(1, 10)
    waiting = asyncio.create_task(lanes.wait(60.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    lanes.put(_trade(0, 1))
    lanes.put(_trade(0, 2))
    await asyncio.wait_for(waiting, 1.0)


async def test_wait_ends_after_the_time_limit() -> None:
    """Nothing comes: the wait ends by itself."""
    await asyncio.wait_for(Lanes(1, 10).wait(0.01), 1.0)


async def test_a_cancelled_wait_leaves_no_waiter() -> None:
    """Cancelling the consumer leaves lanes that another consumer can wait on."""
    lanes = Lanes(1, 10)
    waiting = asyncio.create_task(lanes.wait(60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    lanes.put(_trade(0, 1))
    await asyncio.wait_for(lanes.wait(60.0), 1.0)
