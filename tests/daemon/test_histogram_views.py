"""What charts and Prometheus see of a histogram is what was recorded, counted a second way."""

from __future__ import annotations

import bisect

from hypothesis import given
from hypothesis import strategies as st

from daemon.metric_families import CATALOGUE, Family
from daemon.metrics import Histogram, expose

durations = st.lists(st.integers(0, 2**40), max_size=200)


def _recorded(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(durations)
def test_buckets_count_exactly_what_is_at_most_their_bound(values: list[int]) -> None:
    """Cumulative counts equal a search in the sorted list; the total is within 0.8 %."""
    buckets = _recorded(values).buckets()
    ordered = sorted(values)
    for bound_ns, count in buckets.reached:
        assert count == bisect.bisect_right(ordered, bound_ns)
    assert buckets.number == len(values)
    assert abs(buckets.total_ns - sum(values)) <= sum(values) / 120 + len(values)


@given(durations)
def test_spread_loses_nothing(values: list[int]) -> None:
    """Bars are in order, begin and end with something, and hold all that was recorded."""
    bars = _recorded(values).spread()
    ordered, below = sorted(values), 0
    for bound_ns, count in bars:
        below += count
        assert below == bisect.bisect_right(ordered, bound_ns)
    assert below == len(values)
    assert not bars or (bars[0][1] and bars[-1][1])


@given(durations)
def test_quantiles_equal_a_walk_over_every_bucket(values: list[int]) -> None:
    """Skipping whole blocks finds the same durations as the nearest rank in a sorted list."""
    histogram, ordered = _recorded(values), sorted(values)
    for fraction, found in zip(
        (0.0, 0.5, 0.99, 1.0), histogram.quantiles((0.0, 0.5, 0.99, 1.0)), strict=True
    ):
        rank = max(1, -int(-fraction * len(values) // 1))
        exact = ordered[rank - 1] if ordered else 0
        assert abs(found - exact) <= exact / 120 + 1


def test_a_family_is_printed_with_its_heading_and_escaped_labels() -> None:
    """Text format 0.0.4: help, type, samples; a quote in a label cannot end it."""
    spec = CATALOGUE["orders_denied_total"]
    text = expose(Family(spec=spec, samples=[(('say "no"',), 3.0)])).decode()
    assert text.splitlines() == [
        "# HELP metaensemble_orders_denied_total intents the gate refused",
        "# TYPE metaensemble_orders_denied_total counter",
        'metaensemble_orders_denied_total{code="say \\"no\\""} 3.0',
    ]
