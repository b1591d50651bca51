"""Book levels straight from wire text to integers: exact, strict, and without a Python object each.

A depth update holds up to some thousand ``["price","quantity"]`` pairs; making strings, then
numbers of them costs more than everything else that happens to the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kernels.jit import BYTES, FLAG, INTEGER, LEVELS, direct, njit
from kernels.units import Instrument

MALFORMED = -1
OFF_GRID = -2
TOO_LARGE = -3

_WHOLE_MAX = 90_000_000_000  # times 1e8 still fits int64
_QUOTE, _COMMA, _DOT, _ZERO, _NINE, _OPEN, _CLOSE = 34, 44, 46, 48, 57, 91, 93
_REASONS = {
    MALFORMED: "levels are not pairs of positive decimal strings",
    OFF_GRID: "a level is off the instrument's grid",
    TOO_LARGE: "a level is larger than 64 bits hold",
}


class LevelsError(ValueError):
    """Level text that cannot be represented exactly."""


def parse_levels(
    text: bytes, instrument: Instrument, *, has_old_lots: bool = False
) -> NDArray[np.int64]:
    """Read a JSON list of ``["price","quantity"]`` pairs into rows of (price_ticks, quantity_lots).

    Raises LevelsError for anything else: other JSON, signs, exponents, a price of zero, values off
    the instrument's grid or beyond int64. Quantity 0 is kept: it removes a level. With
    ``has_old_lots`` a quantity between two lots, of orders older than the lot, becomes the nearest
    number of them, at least one.
    """
    levels_n2 = np.empty((max(text.count(b"[") - 1, 0), 2), dtype=np.int64)
    count = _read()(
        np.frombuffer(text, dtype=np.uint8),
        instrument.tick_size_e8,
        instrument.lot_size_e8,
        has_old_lots,
        levels_n2,
    )
    if count < 0:
        raise LevelsError(f"{instrument.symbol}: {_REASONS[count]}")
    return levels_n2


@cache
def _read() -> Callable[..., int]:
    """Compile, or load, the reader of a side."""
    return direct(read_levels, BYTES, INTEGER, INTEGER, FLAG, LEVELS)


@njit
def read_levels(
    text_u8: NDArray[np.uint8],
    tick_size_e8: int,
    lot_size_e8: int,
    has_old_lots: bool,
    out_n2: NDArray[np.int64],
) -> int:
    """Fill ``out_n2`` from JSON text; return the number of levels, which must be all its rows.

    A negative answer is MALFORMED, OFF_GRID or TOO_LARGE and leaves ``out_n2`` half written.
    """
    end = text_u8.size
    at = _skip_blanks(text_u8, 0)
    if at >= end or text_u8[at] != _OPEN:
        return MALFORMED
    at = _skip_blanks(text_u8, at + 1)
    count = 0
    while at < end and text_u8[at] == _OPEN:
        if count >= out_n2.shape[0]:
            return MALFORMED
        at = _skip_blanks(text_u8, at + 1)
        at, price_e8 = _read_decimal(text_u8, at)
        if price_e8 < 0:
            return price_e8
        at = _skip_blanks(text_u8, at)
        if at >= end or text_u8[at] != _COMMA:
            return MALFORMED
        at = _skip_blanks(text_u8, at + 1)
        at, quantity_e8 = _read_decimal(text_u8, at)
        if quantity_e8 < 0:
            return quantity_e8
        at = _skip_blanks(text_u8, at)
        if at >= end or text_u8[at] != _CLOSE or price_e8 == 0:
            return MALFORMED
        if price_e8 % tick_size_e8 != 0:
            return OFF_GRID
        lots = quantity_e8 // lot_size_e8
        rest_e8 = quantity_e8 - lots * lot_size_e8
        if rest_e8 != 0:
            if not has_old_lots:
                return OFF_GRID
            if lots == 0 or 2 * rest_e8 >= lot_size_e8:
                lots += 1
        out_n2[count, 0] = price_e8 // tick_size_e8
        out_n2[count, 1] = lots
        count += 1
        at = _skip_blanks(text_u8, at + 1)
        if at < end and text_u8[at] == _COMMA:
            at = _skip_blanks(text_u8, at + 1)
            if at >= end or text_u8[at] != _OPEN:
                return MALFORMED
    if at >= end or text_u8[at] != _CLOSE or _skip_blanks(text_u8, at + 1) != end:
        return MALFORMED
    return count if count == out_n2.shape[0] else MALFORMED


@njit
def _skip_blanks(text_u8: NDArray[np.uint8], at: int) -> int:
    while at < text_u8.size and (
        text_u8[at] == 32 or text_u8[at] == 9 or text_u8[at] == 10 or text_u8[at] == 13
    ):
        at += 1
    return at


@njit
def _read_decimal(text_u8: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Read a quoted unsigned decimal in 1e-8 units; (position behind it, value or error)."""
    end = text_u8.size
    if at >= end or text_u8[at] != _QUOTE:
        return at, MALFORMED
    at += 1
    whole = 0
    digit_count = 0
    while at < end and _ZERO <= text_u8[at] <= _NINE:
        whole = whole * 10 + (int(text_u8[at]) - _ZERO)
        if whole > _WHOLE_MAX:
            return at, TOO_LARGE
        digit_count += 1
        at += 1
    fraction_e8 = 0
    scale = 10_000_000
    if at < end and text_u8[at] == _DOT:
        at += 1
        while at < end and _ZERO <= text_u8[at] <= _NINE:
            digit = int(text_u8[at]) - _ZERO
            if scale == 0 and digit != 0:
                return at, OFF_GRID
            fraction_e8 += digit * scale
            scale //= 10
            digit_count += 1
            at += 1
    if digit_count == 0 or at >= end or text_u8[at] != _QUOTE:
        return at, MALFORMED
    return at + 1, whole * 100_000_000 + fraction_e8
