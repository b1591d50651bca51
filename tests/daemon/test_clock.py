"""The clock never runs back, follows the wall clock slowly, and steps only after a long sleep."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import clock as clock_module
from daemon.clock import REANCHOR_INTERVAL_NS, STEP_AHEAD_NS, ManualClock, SystemClock

SECOND_NS = 1_000_000_000


class _Machine:
    """Stands in for the time module: both clocks are set by the test."""

    def __init__(self) -> None:
        self.wall_ns = 1_700_000_000 * SECOND_NS
        self.steady_ns = 5 * SECOND_NS

    def time_ns(self) -> int:
        return self.wall_ns

    def monotonic_ns(self) -> int:
        return self.steady_ns

    def advance(self, step_ns: int) -> None:
        self.wall_ns += step_ns
        self.steady_ns += step_ns


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Machine:
    """Replace the time module inside daemon.clock."""
    stand_in = _Machine()
    monkeypatch.setattr(clock_module, "time", stand_in)
    return stand_in


@settings(max_examples=100, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.integers(0, 20 * SECOND_NS),  # monotonic time that passes
            st.integers(-5 * SECOND_NS, 5 * SECOND_NS),  # the wall clock is set by this much
        ),
        max_size=40,
    )
)
def test_never_runs_back(moves: list[tuple[int, int]]) -> None:
    """Whatever the wall clock does, stamps never decrease."""
    stand_in = _Machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock_module, "time", stand_in)
        clock = SystemClock()
        last_ns = clock.now_ns()
        for elapsed_ns, wall_step_ns in moves:
            stand_in.advance(elapsed_ns)
            stand_in.wall_ns += wall_step_ns
            now_ns = clock.now_ns()
            assert now_ns >= last_ns
            last_ns = now_ns


def test_converges_after_the_wall_clock_was_set_back(machine: _Machine) -> None:
    """A wall clock set back by 100 ms is caught up with at 5 %, without a step."""
    clock = SystemClock()
    machine.wall_ns -= 100_000_000
    before_ns = clock.now_ns()
    for _ in range(5):
        machine.advance(SECOND_NS)
        after_ns = clock.now_ns()
        assert after_ns - before_ns >= 0.94 * SECOND_NS
        before_ns = after_ns
    assert clock.now_ns() == machine.wall_ns


def test_a_long_pause_does_not_overshoot(machine: _Machine) -> None:
    """A correction chosen for one interval stops after it, even when nobody asks for a minute."""
    clock = SystemClock()
    machine.wall_ns += 40_000_000
    machine.advance(REANCHOR_INTERVAL_NS)
    clock.now_ns()
    machine.advance(60 * SECOND_NS)
    assert clock.now_ns() == machine.wall_ns


def test_steps_ahead_after_a_sleep(machine: _Machine) -> None:
    """A machine that slept for an hour is believed at once."""
    clock = SystemClock()
    machine.wall_ns += 3600 * SECOND_NS + STEP_AHEAD_NS
    machine.advance(REANCHOR_INTERVAL_NS)
    assert clock.now_ns() == machine.wall_ns


def test_system_clock_is_the_machines() -> None:
    """Stamps lie between two readings of the machine's own clock."""
    clock = SystemClock()
    assert abs(clock.now_ns() - time.time_ns()) < SECOND_NS
    assert clock.monotonic_ns() <= clock.monotonic_ns()


def test_manual_clock_moves_only_when_told() -> None:
    """The manual clock stands still, advances, and refuses to run back."""
    clock = ManualClock(10)
    assert (clock.now_ns(), clock.monotonic_ns()) == (10, 0)
    clock.advance(7)
    assert (clock.now_ns(), clock.monotonic_ns()) == (17, 7)
    with pytest.raises(ValueError, match="run back"):
        clock.advance(-1)
