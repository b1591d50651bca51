"""The arithmetic of running statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rolling import (
    correlation,
    decay,
    ewma,
    merged_fourth,
    merged_mean,
    merged_second,
    merged_third,
    ratio,
)
from tests.naive.naive_features import mean_then_exponential

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(values=numbers, weight=st.sampled_from([1 / 14, 2 / 13, 0.06, 0.5]))
@settings(max_examples=60, deadline=None)
def test_ewma_is_a_mean_first_and_exponential_then(values: list[float], weight: float) -> None:
    """The average equals the mean while 1/count is above the weight, and its twin always."""
    average = 0.0
    for count, value in enumerate(values, start=1):
        average = ewma(average, value, count, weight)
        if count <= 1 / weight:
            assert average == pytest.approx(float(np.mean(values[:count])), rel=1e-10, abs=1e-9)
    expected = mean_then_exponential(np.array(values), weight)
    assert average == pytest.approx(expected, rel=1e-10, abs=1e-9)


@given(left=numbers, right=numbers)
@settings(max_examples=80, deadline=None)
def test_merged_moments_equal_moments_of_the_whole(left: list[float], right: list[float]) -> None:
    """Two summaries merge into the summary of both, up to the fourth moment."""
    a, b = np.array(left), np.array(right)
    whole = np.concatenate([a, b])
    na, nb, step = float(len(a)), float(len(b)), float(b.mean() - a.mean())
    scale = max(1.0, float(np.abs(whole).max()) * 2)

    def moment(x: np.ndarray, power: int) -> float:
        return float(np.sum((x - x.mean()) ** power))

    mean = merged_mean(float(a.mean()), float(b.mean()), na, nb)
    second = merged_second(moment(a, 2), moment(b, 2), step, step, na, nb)
    third = merged_third(moment(a, 3), moment(b, 3), moment(a, 2), moment(b, 2), step, na, nb)
    fourth = merged_fourth(
        moment(a, 4), moment(b, 4), moment(a, 3), moment(b, 3), moment(a, 2), moment(b, 2),
        step, na, nb,
    )  # fmt: skip
    assert mean == pytest.approx(float(whole.mean()), abs=1e-12 * scale)
    for power, merged in ((2, second), (3, third), (4, fourth)):
        assert merged == pytest.approx(moment(whole, power), abs=1e-10 * scale**power)


def test_decay_halves_where_it_should() -> None:
    """The weight left is 1 at once, 1/e after one constant, 0 after ages."""
    assert decay(0.0, 5.0) == 1.0
    assert decay(5.0, 5.0) == pytest.approx(math.exp(-1.0))
    assert decay(1e18, 1.0) == 0.0


def test_degenerate_ratios_are_zero() -> None:
    """A ratio to nothing and a correlation with a constant are 0, and a correlation is bounded."""
    assert ratio(3.0, 0.0) == 0.0
    assert ratio(3.0, -1.0) == 0.0
    assert ratio(3.0, 2.0) == 1.5
    assert correlation(1.0, 0.0, 2.0) == 0.0
    assert correlation(1.0 + 1e-9, 1.0, 1.0) == 1.0
