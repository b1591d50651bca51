"""The rescue: through throttling, refusals and silence until the venue shows nothing left."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.safety import GuardSettings
from daemon.clock import ManualClock
from daemon.note import Note
from daemon.rescue import Rescue, Rescued
from daemon.venues.emergency import Top
from kernels.events import Side
from tests.fakes.gate_scene import INSTRUMENTS
from tests.fakes.rescued_venue import RescuedVenue, refusal

SETTINGS = GuardSettings(flatten_bps_first=10.0, flatten_bps_max=100.0)


class Rescuing:
    """A rescue in time that passes only in its pauses."""

    def __init__(self, venue: RescuedVenue) -> None:
        self.venue = venue
        self.clock = ManualClock()
        self.notes: list[Note] = []
        self.pauses_s: list[float] = []
        self.rescue = Rescue(
            venue,
            INSTRUMENTS,
            SETTINGS,
            note=self.notes.append,
            clock=self.clock,
            generator=np.random.default_rng(7),
        )

    async def run(
        self, monkeypatch: pytest.MonkeyPatch, *, is_flatten: bool = True, silent_s_max: float = 60
    ) -> Rescued:
        really_sleep = asyncio.sleep

        async def pause(seconds: float) -> None:
            self.pauses_s.append(seconds)
            self.clock.advance(round(seconds * 1e9))
            await really_sleep(0)

        monkeypatch.setattr("asyncio.sleep", pause)
        return await self.rescue.run(is_flatten=is_flatten, silent_s_max=silent_s_max)


async def test_cancels_closes_and_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain case: orders gone, long sold, short bought, two clean answers in a row."""
    rescuing = Rescuing(RescuedVenue(open_orders=[2, 1], held_lots=[30, -40]))
    rescued = await rescuing.run(monkeypatch)
    assert rescued.is_clean
    assert (rescued.open_order_count, rescued.position_lots) == (0, (0, 0))
    sides = [(each.side, each.quantity_lots) for each in rescuing.venue.closings]
    assert sides == [(Side.SELL, 30), (Side.BUY, 40)]
    assert rescuing.venue.requests[-3:].count("orders") == 2


async def test_cancel_alone_leaves_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the order to flatten nothing is closed."""
    rescuing = Rescuing(RescuedVenue(open_orders=[2, 1], held_lots=[30, 0]))
    assert (await rescuing.run(monkeypatch, is_flatten=False)).is_clean
    assert rescuing.venue.closings == []
    assert rescuing.venue.held_lots == [30, 0]


async def test_storm_of_429_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer for a while is 429: the rescue waits as told, and ends clean."""
    venue = RescuedVenue(open_orders=[2, 1], held_lots=[30, 0])
    venue.troubles = deque(repeat(refusal(429, -1003, retry_after_s=3.0), 25))
    rescuing = Rescuing(venue)
    assert (await rescuing.run(monkeypatch)).is_clean
    assert rescuing.pauses_s.count(3.0) >= 5
    assert any(note.event == "guard_retrying" for note in rescuing.notes)


async def test_errors_without_advice_are_met_with_growing_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """5xx and silence say nothing of when: each pause is drawn from twice the range before."""
    venue = RescuedVenue(open_orders=[1, 0], held_lots=[0, 0])
    venue.troubles = deque(repeat(refusal(503), 30))
    rescuing = Rescuing(venue)
    assert (await rescuing.run(monkeypatch)).is_clean
    waits_s = rescuing.pauses_s[:5]
    assert waits_s == sorted(waits_s)
    assert max(rescuing.pauses_s) <= 2.0


async def test_order_that_arrives_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that was on its way when all was cancelled does not survive the second look."""
    venue = RescuedVenue(open_orders=[0, 0], held_lots=[0, 0])
    looks = 0

    async def late(instrument: object) -> int:
        nonlocal looks
        looks += 1
        return 1 if looks in (3, 4) else 0  # the second look finds one

    monkeypatch.setattr(venue, "open_order_count", late)
    rescuing = Rescuing(venue)
    assert (await rescuing.run(monkeypatch)).is_clean
    assert looks >= 8
    assert venue.requests.count("cancel") >= 4


@pytest.mark.parametrize(
    ("kind", "accepts"),
    [
        ("only far limits", lambda c: c.price_ticks and c.price_ticks <= 991),
        ("only market orders", lambda c: c.price_ticks == 0),
        ("only resting limits", lambda c: c.time_in_force == "GTC"),
    ],
)
async def test_flat_whatever_kind_of_order_the_venue_refuses(
    monkeypatch: pytest.MonkeyPatch, kind: str, accepts: object
) -> None:
    """Limits reach further and further, then other kinds are tried: one of them gets through."""
    venue = RescuedVenue(open_orders=[0, 0], held_lots=[30, 0])
    venue.refuses = lambda closing: not accepts(closing)  # type: ignore[operator]  # a lambda above
    rescuing = Rescuing(venue)
    assert (await rescuing.run(monkeypatch)).is_clean, kind
    assert venue.held_lots == [0, 0]
    assert len(venue.closings) < 12


async def test_unfilled_limits_widen_to_the_bound_and_not_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each limit is worse than the one before, none is beyond the configured width."""
    venue = RescuedVenue(open_orders=[0, 0], held_lots=[30, 0])
    venue.accepts = lambda closing: closing.price_ticks == 0
    rescuing = Rescuing(venue)
    await rescuing.run(monkeypatch)
    prices = [each.price_ticks for each in venue.closings if each.price_ticks]
    assert prices == sorted(prices, reverse=True)
    assert min(prices) >= 1000 * (1 - SETTINGS.flatten_bps_max / 10_000) - 1


async def test_silent_venue_is_given_up_only_after_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer at all for longer than allowed: the rescue says that it failed, and why."""
    venue = RescuedVenue(open_orders=[1, 0], held_lots=[0, 0])
    venue.troubles = deque(repeat(refusal(0), 100_000))
    rescuing = Rescuing(venue)
    rescued = await rescuing.run(monkeypatch, silent_s_max=20.0)
    assert not rescued.is_clean
    assert "does not answer" in rescued.reason
    assert 20.0 < rescued.took_s < 25.0


@settings(max_examples=60, deadline=None)
@given(
    open_orders=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    held=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    statuses=st.lists(st.sampled_from([0, 400, 418, 429, 500, 503]), max_size=30),
)
def test_ends_clean_after_any_finite_trouble(
    open_orders: tuple[int, int], held: tuple[int, int], statuses: list[int]
) -> None:
    """Whatever the venue answers for a while, in the end nothing is open and nothing is held."""
    venue = RescuedVenue(open_orders=list(open_orders), held_lots=list(held))
    venue.troubles = deque(refusal(status) for status in statuses)
    with pytest.MonkeyPatch.context() as monkeypatch:
        rescued = asyncio.run(Rescuing(venue).run(monkeypatch, silent_s_max=float("inf")))
    assert rescued.is_clean
    assert venue.open_orders == [0, 0]
    assert venue.held_lots == [0, 0]


@pytest.mark.parametrize("side", list(Side))
def test_without_a_quote_the_mark_will_do_and_without_both_the_market(side: Side) -> None:
    """A price is not invented."""
    rescue = Rescuing(RescuedVenue(open_orders=[0, 0], held_lots=[0, 0])).rescue
    price_ticks, _ = rescue.closing_terms(Top(bid_ticks=0, ask_ticks=0, mark_ticks=5000), side, 0)
    assert price_ticks == (5005 if side is Side.BUY else 4995)
    assert rescue.closing_terms(Top(bid_ticks=0, ask_ticks=0, mark_ticks=0), side, 0)[0] == 0
