"""Order latency: constant or lognormal, seeded, independent ways, nothing overtakes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.latencies import LATENCY_MS_MAX, NS_PER_MS, OrderLatency


def test_constant_is_the_constant() -> None:
    """Every draw of both ways is the same time."""
    latency = OrderLatency("constant", 1.5, 0.7, 1)
    draws = {latency.inward.draw_ns() for _ in range(5)}
    assert draws == {latency.outward.draw_ns()} == {1_500_000}


def test_lognormal_has_its_median_and_spread() -> None:
    """Draws have the median and the standard deviation of logarithm asked for."""
    latency = OrderLatency("lognormal", 2.0, 0.5, 3)
    logs = np.log([latency.inward.draw_ns() / NS_PER_MS for _ in range(20_000)])
    assert np.median(logs) == pytest.approx(np.log(2.0), abs=0.02)
    assert logs.std() == pytest.approx(0.5, abs=0.02)


def test_ways_do_not_disturb_each_other() -> None:
    """The way in draws the same whether or not the way out is used; seeds differ."""
    alone, busy, other = (OrderLatency("lognormal", 1.0, 0.5, seed) for seed in (7, 7, 8))
    drawn = []
    for _ in range(6_000):
        busy.outward.draw_ns()
        drawn.append(busy.inward.draw_ns())
    assert drawn == [alone.inward.draw_ns() for _ in range(6_000)]
    assert drawn != [other.inward.draw_ns() for _ in range(6_000)]
    assert drawn != [alone.outward.draw_ns() for _ in range(6_000)]


@settings(max_examples=50)
@given(
    gaps=st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60),
    median_ms=st.floats(0.0, 1e4),
    sigma=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_nothing_overtakes_and_nothing_is_endless(
    gaps: list[int], median_ms: float, sigma: float, seed: int
) -> None:
    """Arrivals follow the order of sending, after it and within the bound."""
    way = OrderLatency("lognormal", median_ms, sigma, seed).inward
    sent_ns = last_ns = 0
    for gap in gaps:
        sent_ns += gap
        arrival_ns = way.arrival_ns(sent_ns)
        assert arrival_ns >= max(sent_ns, last_ns)
        assert arrival_ns <= sent_ns + LATENCY_MS_MAX * NS_PER_MS
        last_ns = arrival_ns


def test_bad_arguments_are_refused() -> None:
    """Unknown shapes, negative and infinite numbers raise."""
    for kind, median_ms, sigma in (
        ("uniform", 1.0, 0.5),
        ("constant", -1.0, 0.5),
        ("lognormal", float("inf"), 0.5),
        ("lognormal", 1.0, float("nan")),
    ):
        with pytest.raises(ValueError, match=r"latency of|not a valid LatencyKind"):
            OrderLatency(kind, median_ms, sigma, 1)
