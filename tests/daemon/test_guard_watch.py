"""The heartbeat: only progress counts, a loss is noticed once, a goodbye ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.safety import GuardSettings
from daemon.guard_watch import Watch, WatchState

MS = 1_000_000
SETTINGS = GuardSettings(timeout_ms=1000, heartbeat_ms=100, stop_ms_max=5000)


def watched() -> Watch:
    watch = Watch(SETTINGS)
    watch.on_hello(0)
    return watch


def test_nobody_is_missed_who_never_came() -> None:
    """Without a hello there is nothing to lose."""
    watch = Watch(SETTINGS)
    assert watch.check(10**12) is None
    assert watch.on_gone() is None


def test_beats_without_progress_are_no_life() -> None:
    """A process that answers while its engine stands still is lost."""
    watch = watched()
    for at_ms in range(0, 1001, 100):
        watch.on_beat(7, 0, at_ms * MS)
        assert watch.check(at_ms * MS) is None
    watch.on_beat(7, 0, 1001 * MS)
    loss = watch.check(1001 * MS)
    assert loss is not None
    assert loss.may_flatten


@given(gaps_ms=st.lists(st.integers(1, 1000), max_size=40))
def test_progress_in_time_is_never_a_loss(gaps_ms: list[int]) -> None:
    """However irregular the beats, within the time-out nothing happens."""
    watch, now_ms = watched(), 0
    for turn, gap_ms in enumerate(gaps_ms):
        now_ms += gap_ms
        assert watch.check(now_ms * MS) is None
        watch.on_beat(turn, 0, now_ms * MS)


def test_loss_is_noticed_once() -> None:
    """One loss is one rescue."""
    watch = watched()
    assert watch.check(1001 * MS) is not None
    assert watch.check(1002 * MS) is None
    assert watch.on_gone() is None
    assert watch.state is WatchState.LOST


def test_process_that_is_gone_is_lost_at_once() -> None:
    """The end of the connection without a goodbye needs no time-out."""
    assert watched().on_gone() is not None


@pytest.mark.parametrize("is_clean", [True, False])
def test_goodbye_ends_the_watch(is_clean: bool) -> None:
    """A clean stop is no loss; one that proved nothing is, but closes no position."""
    watch = watched()
    watch.on_stopping(0)
    loss = watch.on_goodbye(is_clean)
    assert (loss is None) is is_clean
    assert loss is None or not loss.may_flatten
    assert watch.on_gone() is None


def test_orderly_stop_has_its_own_time() -> None:
    """A stop may take longer than a heartbeat, but not for ever."""
    watch = watched()
    watch.on_stopping(0)
    assert watch.check(5000 * MS) is None
    loss = watch.check(5001 * MS)
    assert loss is not None
    assert not loss.may_flatten


def test_silent_venue_is_told_once_and_closes_nothing() -> None:
    """A daemon that lives but hears nothing of the venue cannot cancel: the guard does."""
    watch = watched()
    silence_ms = SETTINGS.venue_silence_ms_max + 1
    watch.on_beat(1, silence_ms, 100 * MS)
    loss = watch.check(100 * MS)
    assert loss is not None
    assert not loss.may_flatten
    watch.on_beat(2, silence_ms + 100, 200 * MS)
    assert watch.check(200 * MS) is None
    watch.on_beat(3, 0, 300 * MS)
    watch.on_beat(4, silence_ms, 400 * MS)
    assert watch.check(400 * MS) is not None
