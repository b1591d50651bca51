"""The sliding window against its definition: any length, any inputs, no drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import feature_slots as at
from kernels import feature_windows as win
from tests.naive.naive_windows import naive_record, natural_scale

Floats = NDArray[np.float64]


def new_state(bars: int) -> Floats:
    """Lay out a state with one window and a ring of inputs just long enough for it."""
    size = at.VARIABLE_PART + bars * win.IN_WIDTH + win.window_size(bars)
    state = np.zeros(size)
    state[at.INPUTS_AT] = at.VARIABLE_PART
    state[at.LONG_BARS] = bars
    window_at = at.VARIABLE_PART + bars * win.IN_WIDTH
    state[window_at], state[window_at + 1] = bars, bars // 2
    return state


def slide(state: Floats, bars: int, index: int, inputs_i: Floats) -> Floats:
    """Push one bar and return the result record."""
    start = at.VARIABLE_PART + (index % bars) * win.IN_WIDTH
    state[start : start + win.IN_WIDTH] = inputs_i
    win.derive_inputs(state[start : start + win.IN_WIDTH])
    window_at = at.VARIABLE_PART + bars * win.IN_WIDTH
    win.slide_window(state, window_at, index, start)
    result = win.result_of(window_at)
    return state[result : result + win.WIDTH]


def random_inputs(seed: int, count: int, offset: float, ties: bool) -> Floats:
    """Draw rows of inputs of several magnitudes, sometimes rounded so that extremes tie."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, win.IN_WIDTH)) * 10.0 ** rng.integers(-6, 3)
    if ties:
        rows = np.round(rows * 2)
    rows[:, win.IN_PRICE] += offset
    rows[:, win.IN_INDEX] = np.arange(count)
    return rows


@given(
    seed=st.integers(0, 2**32),
    bars=st.integers(2, 33),
    offset=st.sampled_from([0.0, 10.0, -3.0]),
    ties=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_field_equals_its_definition(seed: int, bars: int, offset: float, ties: bool) -> None:
    """Growing and full, every statistic equals its definition to 1e-12 of its size."""
    state = new_state(bars)
    rows = random_inputs(seed, 4 * bars + 3, offset, ties)
    for index, row in enumerate(rows):
        result = slide(state, bars, index, row)
        window = rows[max(0, index - bars + 1) : index + 1]
        scale = np.maximum(natural_scale(window), 1e-300)
        error = np.abs(result - naive_record(window)) / scale
        assert float(error.max()) < 1e-12, int(error.argmax())


@pytest.mark.parametrize("bars", [10, 101])
def test_nothing_remains_of_what_left_the_window(bars: int) -> None:
    """A jump a billion times the rest leaves no trace in the variance once it has left."""
    state = new_state(bars)
    rows = random_inputs(4, 3 * bars, 0.0, ties=False)
    rows[:, : win.IN_INDEX] *= 1e-6
    rows[bars // 2, : win.IN_INDEX] = 1e6
    for index, row in enumerate(rows):
        result = slide(state, bars, index, row).copy()
    assert result == pytest.approx(naive_record(rows[-bars:]), rel=1e-10, abs=1e-30)


def test_constant_window_has_exactly_no_variance() -> None:
    """Equal inputs give second moments of exactly 0, whatever came before."""
    bars = 15
    state = new_state(bars)
    rows = random_inputs(9, 3 * bars, 5.0, ties=False)
    rows[bars:, : win.IN_INDEX] = 0.1234567
    for index, row in enumerate(rows):
        result = slide(state, bars, index, row)
    for field in (win.SECOND_PRICE, win.SECOND_RETURN, win.FOURTH_RETURN, win.SECOND_VOLUME):
        assert result[field] == 0.0


def test_many_bars_do_not_drift() -> None:
    """After 60,000 bars the answer is as close to its definition as after the first window."""
    bars = 50
    state = new_state(bars)
    rows = random_inputs(2, 1000, 10.0, ties=False)
    for index in range(60_000):
        row = rows[index % 1000]
        row[win.IN_INDEX] = index
        result = slide(state, bars, index, row)
    window = rows[np.arange(60_000 - bars, 60_000) % 1000]
    error = np.abs(result - naive_record(window)) / natural_scale(window)
    assert float(error.max()) < 1e-12


def test_window_of_one_bar_is_refused() -> None:
    """A window has at least two bars."""
    with pytest.raises(ValueError, match="at least 2"):
        win.window_size(1)
