"""The latency contract: budgets on what was measured since the last look, by stage."""

from __future__ import annotations

import os

import pytest

from config.latency import LatencySettings
from config.settings import Settings
from daemon.alerts import Standing
from daemon.latency_watch import SAMPLES_MIN, LatencyWatch, keep_to_cores
from daemon.metrics import STAGES, Metrics

INTERVAL_NS = 1_000_000


def make_watch(metrics: Metrics, **budgets_us: int) -> LatencyWatch:
    """Look every millisecond."""
    return LatencyWatch(LatencySettings(**budgets_us), metrics, interval_ms=1)


def test_every_budget_is_of_a_stage_that_is_measured() -> None:
    """A budget without a stage would never be breached; round trips are the venue's to promise."""
    assert set(STAGES) - set(LatencySettings.stages()) == {"answer_ws", "answer_rest"}
    assert set(LatencySettings.stages()) <= set(STAGES)


def test_only_what_is_new_counts_and_only_enough_of_it() -> None:
    """A slow start is forgotten with its window; few durations give no verdict."""
    metrics = Metrics()
    watch = make_watch(metrics, gate=10, decide=10)
    for _ in range(SAMPLES_MIN):
        metrics.record("gate", 50_000)
    assert watch.look(0) == []
    for _ in range(SAMPLES_MIN):
        metrics.record("gate", 9_000)
        metrics.record("decide", 30_000)
    for _ in range(SAMPLES_MIN - 1):
        metrics.record("journal", 10**10)
    assert watch.look(INTERVAL_NS - 1) == []
    (found,) = watch.look(INTERVAL_NS)
    assert (found.event, found.fields["stage"], found.fields["limit"]) == (
        "latency_high",
        "decide",
        10,
    )
    assert found.fields["p99_us"] == pytest.approx(30.0, rel=0.01)
    assert found.fields["samples"] == SAMPLES_MIN
    assert watch.look(INTERVAL_NS + 1) == [found]
    assert watch.look(2 * INTERVAL_NS) == []


def test_a_tail_of_more_than_a_hundredth_is_a_breach() -> None:
    """Two slow ones in a hundred are over budget, one in two hundred is not."""
    for slow, is_breach in ((4, True), (1, False)):
        metrics = Metrics()
        watch = make_watch(metrics, features=10)
        watch.look(0)
        for place in range(200):
            metrics.record("features", 90_000 if place < slow else 1_000)
        assert bool(watch.look(INTERVAL_NS)) is is_breach


def test_stages_stand_apart_and_recover_by_name() -> None:
    """Each stage's alert comes and goes on its own."""
    metrics = Metrics()
    watch, standing = make_watch(metrics, gate=10, decide=10), Standing(10**12)
    watch.look(0)
    for stage in ("gate", "decide"):
        for _ in range(SAMPLES_MIN):
            metrics.record(stage, 50_000)
    said = standing.news(watch.look(INTERVAL_NS), 1)
    assert [each.fields["stage"] for each in said] == ["decide", "gate"]
    for _ in range(SAMPLES_MIN):
        metrics.record("gate", 50_000)
    (over,) = standing.news(watch.look(2 * INTERVAL_NS), 2)
    assert over.fields == {"alert_event": "latency_high", "stage": "decide"}


def test_thread_keeps_to_the_cores_it_was_given() -> None:
    """A core that is there is kept to, one that is not is refused by the key's name."""
    usable = os.sched_getaffinity(0)
    try:
        keep_to_cores((min(usable),))
        assert os.sched_getaffinity(0) == {min(usable)}
        with pytest.raises(ValueError, match=r"latency\.cpu_affinity: core 4095"):
            keep_to_cores((4095,))
        keep_to_cores(())
        assert os.sched_getaffinity(0) == {min(usable)}
    finally:
        os.sched_setaffinity(0, usable)
    assert Settings().latency.cpu_affinity == ()
