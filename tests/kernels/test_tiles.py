"""Tiles of a product against the plain product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from kernels.jit import njit_contracted
from kernels.tiles import (
    LANES,
    ROW_COLUMNS,
    TILE_COLUMNS,
    TILE_ROWS,
    add_row_tile,
    add_tile,
    turn_square,
)


@njit_contracted
def add(a: Any, a_at: int, a_row: int, a_step: int, b: Any, b_at: int, b_row: int, to: Any) -> None:
    """Add a tile whose sizes and place in the result stand in ``to``."""
    out, out_at, out_row, inner, columns = to
    add_tile(a, a_at, a_row, a_step, b, b_at, b_row, out, out_at, out_row, inner, columns)


@njit_contracted
def add_one(
    a: Any, a_at: int, a_row: int, a_step: int, b: Any, b_at: int, b_row: int, to: Any
) -> None:
    """Add a tile of one row."""
    out, out_at, out_row, inner, columns = to
    add_row_tile(a, a_at, a_row, a_step, b, b_at, b_row, out, out_at, out_row, inner, columns)


@given(
    st.sampled_from([(add, TILE_ROWS, TILE_COLUMNS), (add_one, 1, ROW_COLUMNS)]),
    st.integers(0, 20),
    st.integers(1, ROW_COLUMNS),
    st.booleans(),
    st.integers(0, 9),
    st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None)
def test_a_tile_is_a_product(
    kernel: tuple[Any, int, int], inner: int, columns: int, is_turned: bool, at: int, seed: int
) -> None:
    """Wherever it lies, turned or not, at any width: the product is added, nothing else changes."""
    multiply, rows, columns_max = kernel
    columns = min(columns, columns_max)
    draws = np.random.default_rng(seed)
    a, b, out = (draws.normal(size=4_000).astype(np.float32) for _ in range(3))
    wide, deep, far = rows + 3, inner + 2, columns + 5
    row, step = (1, wide) if is_turned else (deep, 1)
    left = np.lib.stride_tricks.as_strided(a[at:], (rows, inner), (4 * row, 4 * step))
    right = np.lib.stride_tricks.as_strided(b[at:], (inner, columns), (4 * far, 4))
    wanted = out.copy()
    shown = np.lib.stride_tricks.as_strided(wanted[at:], (rows, columns), (4 * far, 4))
    shown += left @ right
    multiply(a, at, row, step, b, at, far, (out, at, far, inner, columns))
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
    is_other = np.ones(len(out), np.bool_)
    np.lib.stride_tricks.as_strided(is_other[at:], (rows, columns), (far, 1))[:] = False
    np.testing.assert_array_equal(out[is_other], wanted[is_other])


@njit_contracted
def turned(a: Any, a_at: int, a_row: int, out: Any, out_at: int, out_row: int) -> None:
    """Turn one square."""
    turn_square(a, a_at, a_row, out, out_at, out_row)


def test_a_square_is_turned() -> None:
    """Rows become columns wherever both squares lie; nothing else changes."""
    a = np.arange(1_000, dtype=np.float32)
    out = np.full(1_000, -1.0, np.float32)
    wanted = out.copy()
    rows = np.lib.stride_tricks.as_strided(a[7:], (LANES, LANES), (4 * (LANES + 3), 4))
    np.lib.stride_tricks.as_strided(wanted[11:], (LANES, LANES), (4 * (LANES + 5), 4))[:] = rows.T
    turned(a, 7, LANES + 3, out, 11, LANES + 5)
    np.testing.assert_array_equal(out, wanted)


def test_other_numbers_are_refused() -> None:
    """Arrays of float64 do not compile: their addresses would be wrong."""
    wide = np.zeros(200)
    with pytest.raises(TypingError):
        add(wide, 0, 8, 1, wide, 0, 8, (wide, 0, 8, 3, 3))
    with pytest.raises(TypingError):
        turned(wide, 0, 8, wide, 0, 8)
