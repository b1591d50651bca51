"""Tick to order: booked once per order, and orders that never left do not pile up."""

from __future__ import annotations

from daemon.clock import ManualClock
from daemon.metrics import Metrics
from daemon.probe import AWAITED_MAX, SendWatch, StageProbe


def test_judgement_time_is_that_of_the_newest_judgement() -> None:
    """Only the models' stage counts, the newest replaces the one before, none is None."""
    clock = ManualClock(0)
    probe = StageProbe(clock, Metrics())
    seen = []
    for stage, took_ns in (("gate", 5), ("decide", 70), ("book", 9), ("decide", 40)):
        probe.begin()
        clock.advance(took_ns)
        probe.lap(stage)
        seen.append(probe.judgement_ns)
    assert seen == [None, 70, 70, 40]


def test_time_from_news_to_bytes_is_booked_once() -> None:
    """A second hand-over of the same order, or one nobody announced, books nothing."""
    metrics = Metrics()
    watch = SendWatch(metrics)
    watch.begin("a", 1_000)
    watch.sent("a", 5_000)
    watch.sent("a", 9_000)
    watch.sent("b", 9_000)
    figures = metrics.summary()["tick_to_order"]
    assert (figures["count"], figures["max"]) == (1, 4_000)


def test_orders_that_never_left_do_not_pile_up() -> None:
    """Requests that fail before their first byte are given up, the oldest first."""
    metrics = Metrics()
    watch = SendWatch(metrics)
    for number in range(AWAITED_MAX + 1):
        watch.begin(str(number), 0)
    for number in range(AWAITED_MAX + 1):
        watch.sent(str(number), 1)
    assert metrics.summary()["tick_to_order"]["count"] == AWAITED_MAX
