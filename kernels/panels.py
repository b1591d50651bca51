"""Products of several rows with one panel of weights, told to the compiler in its own words.

A loop over rows and lanes is what this says, but a compiler that must fear that an output overlaps
another takes the slow version of such a loop: 12 GMAC/s on the machine this was written on, 23 with
one row at a time, 48 so. Each sum is the one that the loop over a single row makes, in its order,
and may be contracted to fused multiply-adds as that may: the bits are the same.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # numba's own, it ships no types
from numba import types
from numba.extending import intrinsic

PANEL_INPUTS = 8
PANEL_OUTPUTS = 16
PANEL_ROWS = 4
"""One panel: 8 inputs by 16 outputs, the weights of an input side by side; 4 rows share it."""

CONTRACT = ("contract",)
INT32, INT64 = ir.IntType(32), ir.IntType(64)
LANES = ir.VectorType(ir.FloatType(), PANEL_OUTPUTS)
FIRST_LANE = ir.Constant(ir.VectorType(INT32, PANEL_OUTPUTS), [0] * PANEL_OUTPUTS)


class _Panel:
    """Builds the code for one call."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        self.context, self.builder, self.signature, self.given = context, builder, signature, given

    def data(self, place: int) -> Any:
        """Return the pointer to an array argument's first number."""
        array = self.context.make_array(self.signature.args[place])
        return array(self.context, self.builder, self.given[place]).data

    def index(self, first: int, width: int, rows: int, lane: int = 0) -> Any:
        """Return where row ``rows`` of an array begins, ``lane`` numbers further."""
        b = self.builder
        begin = b.add(self.given[first], b.mul(self.given[width], ir.Constant(INT64, rows)))
        return b.add(begin, ir.Constant(INT64, lane))

    def lanes(self, pointer: Any, index: Any) -> tuple[Any, Any]:
        """Return the place of 16 numbers, and those numbers."""
        b = self.builder
        place = b.bitcast(b.gep(pointer, [index]), LANES.as_pointer())
        loaded = b.load(place)
        loaded.align = 4
        return place, loaded

    def spread(self, pointer: Any, index: Any) -> Any:
        """Return one number in all lanes."""
        b, nothing = self.builder, ir.Constant(LANES, ir.Undefined)
        first = b.insert_element(nothing, b.load(b.gep(pointer, [index])), ir.Constant(INT32, 0))
        return b.shuffle_vector(first, nothing, FIRST_LANE)

    def build(self) -> Any:
        """Write ``out += x W`` for the four rows."""
        b = self.builder
        x, flat, out = self.data(0), self.data(3), self.data(5)
        weights = [
            self.lanes(flat, b.add(self.given[4], ir.Constant(INT64, PANEL_OUTPUTS * i)))[1]
            for i in range(PANEL_INPUTS)
        ]
        for row in range(PANEL_ROWS):
            total = None
            for i, weight in enumerate(weights):
                product = b.fmul(self.spread(x, self.index(1, 2, row, i)), weight, flags=CONTRACT)
                total = product if total is None else b.fadd(total, product, flags=CONTRACT)
            place, before = self.lanes(out, self.index(6, 7, row))
            b.store(b.fadd(before, total, flags=CONTRACT), place).align = 4
        return self.context.get_dummy_value()


def _add_panel(
    typing_context: Any,
    x: Any,
    x_at: Any,
    x_width: Any,
    flat: Any,
    at: Any,
    out: Any,
    out_at: Any,
    out_width: Any,
) -> Any:
    """Add four rows of 8 inputs times one panel of weights to four rows of 16 outputs.

    ``x``, ``flat`` and ``out`` are contiguous float32 arrays of any shape; ``x_at``, ``at`` and
    ``out_at`` count numbers from their begin, rows lie ``x_width`` and ``out_width`` numbers apart.
    Nothing is checked: a place outside the arrays is the caller's fault.
    """
    for array in (x, flat, out):
        if not (isinstance(array, types.Array) and array.dtype == types.float32):
            return None
    whole = types.int64
    signature = types.void(x, whole, whole, flat, whole, out, whole, whole)
    return signature, lambda *given: _Panel(*given).build()


add_panel: Any = intrinsic(_add_panel)
