"""Tasks end aloud, pauses grow within their bounds and repeat with the seed."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.clock import ManualClock
from daemon.effects import Note
from daemon.venues.supervision import Backoff, Supervisor


@settings(max_examples=100, deadline=None)
@given(
    ms_min=st.integers(1, 1000),
    ms_max=st.integers(1, 60_000),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
)
def test_pauses_stay_in_bounds_and_repeat(ms_min: int, ms_max: int, seed: int, count: int) -> None:
    """Every pause lies in the upper half of its step, below the cap; the seed decides all."""
    first = Backoff(ms_min, ms_max, np.random.default_rng(seed))
    again = Backoff(ms_min, ms_max, np.random.default_rng(seed))
    cap_ms = max(ms_min, ms_max)
    for attempt in range(count):
        pause_s = first.next_s()
        assert pause_s == again.next_s()
        step_ms = min(ms_min * 2.0**attempt, cap_ms)
        assert step_ms / 2 <= pause_s * 1000.0 <= step_ms + 1e-9
    first.reset()
    assert first.next_s() * 1000.0 <= ms_min


def _supervisor(notes: list[Note]) -> Supervisor:
    return Supervisor(ManualClock(), notes.append, np.random.default_rng(1))


async def test_a_failing_task_says_so() -> None:
    """An exception becomes a note with the place it came from, and does not spread."""
    notes: list[Note] = []
    supervisor = _supervisor(notes)

    async def fail() -> None:
        raise KeyError("missing")

    await supervisor.spawn("job", fail())
    assert [note.event for note in notes] == ["task_failed"]
    assert notes[0].fields["task"] == "job"
    assert notes[0].fields["error"] == "KeyError"
    assert supervisor.failed_count == 1
    assert supervisor.task_count == 0


async def test_a_lasting_task_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that fails, or merely ends, is noted and run again."""
    monkeypatch.setattr("daemon.venues.supervision.RESTART_MS_MIN", 1)
    notes: list[Note] = []
    supervisor = _supervisor(notes)
    runs = 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise OSError("gone")
        if runs > 2:
            await asyncio.sleep(60)

    supervisor.spawn_forever("job", job)
    async with asyncio.timeout(5):
        while runs < 3:
            await asyncio.sleep(0.001)
    assert [note.fields["error"] for note in notes] == ["OSError", "RuntimeError"]
    await supervisor.close()
    assert supervisor.task_count == 0


async def test_drain_tells_whether_all_ended() -> None:
    """Draining waits for short jobs and gives up on long ones; closing ends those."""
    supervisor = _supervisor([])
    supervisor.spawn("short", asyncio.sleep(0))
    assert await supervisor.drain(5.0)
    supervisor.spawn("long", asyncio.sleep(60))
    assert not await supervisor.drain(0.01)
    await supervisor.close()
    assert await supervisor.drain(0.0)


async def test_a_swallowed_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that swallows its cancellation once still ends when its owner closes."""
    monkeypatch.setattr("daemon.venues.supervision.CANCEL_INTERVAL_S", 0.01)
    supervisor = _supervisor([])

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    supervisor.spawn("stubborn", stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(supervisor.close(), 5.0)
    assert supervisor.task_count == 0


async def test_library_errors_are_noted_without_their_text() -> None:
    """The text of a ccxt error may hold a signed URL, so it is left out."""
    from ccxt.base.errors import RequestTimeout

    notes: list[Note] = []
    supervisor = _supervisor(notes)

    async def fail() -> None:
        raise RequestTimeout("GET https://host?signature=deadbeef")

    await supervisor.spawn("job", fail())
    assert "deadbeef" not in str(notes[0])
