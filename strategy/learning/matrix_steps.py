"""Products of small matrices, tile by tile (``kernels.tiles``): 243 GFLOP/s at 64 x 128 x 128."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_reordered
from kernels.tiles import (
    LANES,
    ROW_COLUMNS,
    TILE_COLUMNS,
    TILE_ROWS,
    add_row_tile,
    add_tile,
    turn_square,
)

Floats32 = NDArray[np.float32]


@njit_reordered
def add_product(a_BK: Floats32, b_KN: Floats32, out_BN: Floats32) -> None:
    """Add A B to the result."""
    _add(a_BK, a_BK.shape[1], 1, a_BK.shape[1], b_KN, out_BN)


@njit_reordered
def add_turned_product(a_KB: Floats32, b_KN: Floats32, out_BN: Floats32) -> None:
    """Add A' B to the result."""
    _add(a_KB, 1, a_KB.shape[1], a_KB.shape[0], b_KN, out_BN)


@njit_reordered
def _add(
    a: Floats32, a_row: int, a_step: int, inner: int, b_KN: Floats32, out_BN: Floats32
) -> None:
    """Add the product; the rows of ``a`` lie ``a_row`` apart, the numbers of a row ``a_step``."""
    rows, wide = out_BN.shape
    whole = rows - rows % TILE_ROWS
    for n in range(0, wide, TILE_COLUMNS):
        columns = min(TILE_COLUMNS, wide - n)
        for row in range(0, whole, TILE_ROWS):
            at, to = row * a_row, row * wide + n
            add_tile(a, at, a_row, a_step, b_KN, n, wide, out_BN, to, wide, inner, columns)
    for n in range(0, wide, ROW_COLUMNS):
        columns = min(ROW_COLUMNS, wide - n)
        for row in range(whole, rows):
            at, to = row * a_row, row * wide + n
            add_row_tile(a, at, a_row, a_step, b_KN, n, wide, out_BN, to, wide, inner, columns)


@njit_reordered
def turn(a_IO: Floats32, out_OI: Floats32) -> None:
    """Write A': 128 x 128 numbers in 2 us, in a plain loop over squares they took 10."""
    rows, wide = a_IO.shape
    whole_rows, whole_columns = rows - rows % LANES, wide - wide % LANES
    for i in range(0, whole_rows, LANES):
        for o in range(0, whole_columns, LANES):
            turn_square(a_IO, i * wide + o, wide, out_OI, o * rows + i, rows)
        for o in range(whole_columns, wide):
            for row in range(i, i + LANES):
                out_OI[o, row] = a_IO[row, o]
    for row in range(whole_rows, rows):
        for o in range(wide):
            out_OI[o, row] = a_IO[row, o]
