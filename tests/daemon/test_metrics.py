"""Latency histograms: within one percent of the sorted truth, exact where it can be."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.metrics import STAGES, Histogram, Metrics

DURATIONS = st.lists(
    st.integers(0, 200) | st.integers(0, 10**7) | st.integers(0, 2**63 - 1), min_size=1, max_size=60
)
FRACTIONS = (0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)


def _filled(durations_ns: list[int]) -> Histogram:
    histogram = Histogram()
    for duration_ns in durations_ns:
        histogram.record(duration_ns)
    return histogram


@given(DURATIONS)
@settings(max_examples=150, deadline=None)
def test_quantiles_are_within_one_percent_of_the_sorted_values(durations_ns: list[int]) -> None:
    """Every quantile is the nearest-rank value of the sorted list, to 1 % (exact below 128)."""
    ordered = sorted(durations_ns)
    found = _filled(durations_ns).quantiles(FRACTIONS)
    for fraction, value in zip(FRACTIONS, found, strict=True):
        exact = ordered[max(1, math.ceil(fraction * len(ordered))) - 1]
        assert abs(value - exact) <= (exact // 100 if exact >= 128 else 0)
        assert value <= ordered[-1]


@given(DURATIONS)
@settings(max_examples=50, deadline=None)
def test_count_and_maximum_are_exact(durations_ns: list[int]) -> None:
    """The number of values and the largest of them carry no rounding."""
    summary = _filled(durations_ns).summary()
    assert summary["count"] == len(durations_ns)
    assert summary["max"] == max(durations_ns)
    assert summary["p50"] <= summary["p99"] <= summary["p999"] <= summary["max"]


@given(DURATIONS, DURATIONS)
@settings(max_examples=50, deadline=None)
def test_merging_is_recording_both(one: list[int], other: list[int]) -> None:
    """Two histograms merged say what one would that saw all values."""
    merged = _filled(one)
    merged.merge(_filled(other))
    assert merged.summary() == _filled(one + other).summary()


def test_values_off_the_scale_are_held_to_it() -> None:
    """Negative durations count as zero, absurd ones as the largest that fits."""
    histogram = _filled([-5, 2**70])
    lowest, highest = histogram.quantiles((0.0, 1.0))
    assert (lowest, histogram.max_ns) == (0, 2**63 - 1)
    assert highest == pytest.approx(2**63, rel=0.01)


def test_large_sample_against_numpy() -> None:
    """A million-fold spread of log-normal latencies agrees with numpy's quantiles to 1 %."""
    values = np.random.default_rng(5).lognormal(9, 2, 20_000).astype(np.int64)
    found = _filled(values.tolist()).quantiles((0.5, 0.99, 0.999))
    exact = np.quantile(values, (0.5, 0.99, 0.999), method="inverted_cdf")
    assert found == pytest.approx(exact, rel=0.01)


def test_empty_stage_is_all_zeros() -> None:
    """A stage where nothing happened is reported as zeros, not left out."""
    summary = Metrics().summary()
    assert tuple(summary) == STAGES
    assert summary["gate"] == {"count": 0, "p50": 0, "p99": 0, "p999": 0, "max": 0}


def test_stages_are_kept_apart() -> None:
    """A value goes into its own stage; the bound recorder is the same thing faster."""
    metrics = Metrics()
    metrics.record("gate", 100)
    metrics.recorder("send")(50)
    assert metrics.summary()["gate"]["max"] == 100
    assert metrics.summary()["send"] == {"count": 1, "p50": 50, "p99": 50, "p999": 50, "max": 50}
    assert metrics.histogram("send").count == 1
    with pytest.raises(KeyError):
        metrics.record("nonsense", 1)


def test_recording_is_cheap() -> None:
    """One record stays far below ten microseconds even on a busy machine (about 0.2 measured)."""
    record = Metrics().recorder("decode")
    best_ns = min(_time_ns(record) for _ in range(5))
    assert best_ns / 1000 < 10_000


def _time_ns(record: object) -> int:
    assert callable(record)
    start_ns = time.perf_counter_ns()
    for duration_ns in range(50_000, 51_000):
        record(duration_ns)
    return time.perf_counter_ns() - start_ns
