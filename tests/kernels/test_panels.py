"""Panels of weights against a plain product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from kernels.jit import njit_contracted
from kernels.panels import PANEL_INPUTS, PANEL_OUTPUTS, PANEL_ROWS, add_panel


@njit_contracted
def add(
    x: Any, x_at: int, x_width: int, flat: Any, at: int, out: Any, where: int, wide: int
) -> None:
    add_panel(x, x_at, x_width, flat, at, out, where, wide)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_panel_is_a_product(x_at: int, at: int, out_at: int, seed: int) -> None:
    """Wherever the rows lie: the product is added there, nothing else is touched."""
    draws = np.random.default_rng(seed)
    x, out = (draws.normal(size=200).astype(np.float32) for _ in range(2))
    flat = draws.normal(size=at + PANEL_INPUTS * PANEL_OUTPUTS).astype(np.float32)
    weight_IO = flat[at:].reshape(PANEL_INPUTS, PANEL_OUTPUTS)
    x_width, out_width = PANEL_INPUTS + 3, PANEL_OUTPUTS + 5
    wanted = out.copy()
    for row in range(PANEL_ROWS):
        begin, place = x_at + row * x_width, out_at + row * out_width
        wanted[place : place + PANEL_OUTPUTS] += x[begin : begin + PANEL_INPUTS] @ weight_IO
    before = out.copy()
    add(x, x_at, x_width, flat, at, out, out_at, out_width)
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
    is_other = np.ones(200, np.bool_)
    for row in range(PANEL_ROWS):
        is_other[out_at + row * out_width : out_at + row * out_width + PANEL_OUTPUTS] = False
    np.testing.assert_array_equal(out[is_other], before[is_other])


def test_other_numbers_are_refused() -> None:
    """Arrays of float64 do not compile: their addresses would be wrong."""
    wide = np.zeros(200)
    with pytest.raises(TypingError):
        add(wide, 0, 8, wide, 0, wide, 0, 16)
