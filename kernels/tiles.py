"""Products of small matrices, a tile of the result at a time, in the compiler's own words.

A loop that adds to a result in memory reached 71 GFLOP/s at 64 x 128 x 128 on one core, OpenBLAS
111, torch 99; a tile whose sums stay in registers until they are done reaches 243. At the edges it
reads and writes under a mask, so that a product with three columns needs no code of its own. The
order of every sum is that of the inner index, whatever the shape.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # numba's own, it ships no types
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]  # the same
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

HAS_WIDE_REGISTERS = bool(get_host_cpu_features().get("avx512f"))
LANES = 16 if HAS_WIDE_REGISTERS else 8
TILE_ROWS = 8 if HAS_WIDE_REGISTERS else 4
TILE_VECTORS = 2
ROW_VECTORS = 8
LANE = range(LANES)
TILE_COLUMNS = TILE_VECTORS * LANES
ROW_COLUMNS = ROW_VECTORS * LANES
"""One tile's sums fill half of the processor's vector registers: 16 of 32, or 8 of 16.

A tile of one row is wider: with two sums alone each addition would wait for the one before."""

CONTRACT = ("contract",)
INT1, INT32, INT64 = (ir.IntType(bits) for bits in (1, 32, 64))
VECTOR = ir.VectorType(ir.FloatType(), LANES)
MASK = ir.VectorType(INT1, LANES)
PLACES = ir.VectorType(INT64, LANES)
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)
FIRST_LANE = ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES)
FLOAT_BYTES = ir.Constant(INT32, 4)

declared: Any = cgutils.get_or_insert_function


class _Tile:
    """Builds the code for one call; tables of values are lists of rows of vectors."""

    def __init__(
        self, shape: tuple[int, int], context: Any, builder: Any, signature: Any, given: Any
    ) -> None:
        (self.rows, self.vectors), self.context, self.builder = shape, context, builder
        self.signature, self.given = signature, given
        pointer, suffix = VECTOR.as_pointer(), f"v{LANES}f32.p0"
        self.masked_load = declared(
            builder.module,
            ir.FunctionType(VECTOR, (pointer, INT32, MASK, VECTOR)),
            f"llvm.masked.load.{suffix}",
        )
        self.masked_store = declared(
            builder.module,
            ir.FunctionType(ir.VoidType(), (VECTOR, pointer, INT32, MASK)),
            f"llvm.masked.store.{suffix}",
        )
        self.masks = self.columns_below(given[11])

    def data(self, place: int) -> Any:
        """Return the pointer to an array argument's first number."""
        array = self.context.make_array(self.signature.args[place])
        return array(self.context, self.builder, self.given[place]).data

    def at(self, begin: Any, step: Any, count: Any, lane: int = 0) -> Any:
        """Return the place ``count`` steps and ``lane`` numbers from a beginning."""
        b = self.builder
        return b.add(b.add(begin, b.mul(step, count)), ir.Constant(INT64, lane))

    def spread(self, value: Any, kind: Any) -> Any:
        """Return one number in all lanes."""
        b, nothing = self.builder, ir.Constant(kind, ir.Undefined)
        return b.shuffle_vector(
            b.insert_element(nothing, value, ir.Constant(INT32, 0)), nothing, FIRST_LANE
        )

    def columns_below(self, columns: Any) -> list[Any]:
        """Return the mask of every vector: which of its lanes are columns of the result."""
        wide = self.spread(columns, PLACES)
        return [
            self.builder.icmp_signed(
                "<", ir.Constant(PLACES, list(range(LANES * v, LANES * (v + 1)))), wide
            )
            for v in range(self.vectors)
        ]

    def vector(self, pointer: Any, place: Any) -> Any:
        """Return the pointer to the vector that begins at a place."""
        return self.builder.bitcast(self.builder.gep(pointer, [place]), VECTOR.as_pointer())

    def read(self, pointer: Any, place: Any, mask: Any) -> Any:
        """Return the numbers under a mask, zeros beside it."""
        given = (self.vector(pointer, place), FLOAT_BYTES, mask, ZEROS)
        return self.builder.call(self.masked_load, given)

    def grown(self, sums: list[list[Any]], k: Any) -> list[list[Any]]:
        """Return the sums with the products of inner index ``k`` added."""
        b, (a_at, a_row, a_step), (b_at, b_row) = self.builder, self.given[1:4], self.given[5:7]
        a, right = self.data(0), self.data(4)
        factors = [
            self.read(right, self.at(b_at, b_row, k, LANES * v), self.masks[v])
            for v in range(self.vectors)
        ]
        along, added = self.at(a_at, a_step, k), []
        for row, totals in enumerate(sums):
            place = self.at(along, a_row, ir.Constant(INT64, row))
            scale = self.spread(b.load(b.gep(a, [place])), VECTOR)
            products = [b.fmul(scale, factor, flags=CONTRACT) for factor in factors]
            added.append(
                [b.fadd(t, p, flags=CONTRACT) for t, p in zip(totals, products, strict=True)]
            )
        return added

    def table(self, make: Any) -> list[list[Any]]:
        """Return what ``make`` gives for every row and vector of the tile."""
        return [[make(r, v) for v in range(self.vectors)] for r in range(self.rows)]

    def build(self) -> Any:
        """Write ``out += a b``: read the tile, loop over the inner index, write the tile."""
        b, (out_at, out_row, inner) = self.builder, self.given[8:11]
        out, zero = self.data(7), ir.Constant(INT64, 0)
        places = self.table(lambda r, v: self.at(out_at, out_row, ir.Constant(INT64, r), LANES * v))
        found = self.table(lambda r, v: self.read(out, places[r][v], self.masks[v]))
        before = b.block
        loop, after = b.append_basic_block("tile.loop"), b.append_basic_block("tile.after")
        b.cbranch(b.icmp_signed(">", inner, zero), loop, after)

        b.position_at_end(loop)
        k = b.phi(INT64)
        sums = self.table(lambda r, v: b.phi(VECTOR))
        added = self.grown(sums, k)
        following = b.add(k, ir.Constant(INT64, 1))
        b.cbranch(b.icmp_signed("<", following, inner), loop, after)
        k.add_incoming(zero, before)
        k.add_incoming(following, loop)

        b.position_at_end(after)
        totals = self.table(lambda r, v: b.phi(VECTOR))
        for r in range(self.rows):
            for v in range(self.vectors):
                for joined in (sums[r][v], totals[r][v]):
                    joined.add_incoming(found[r][v], before)
                    joined.add_incoming(added[r][v], loop)
                to = self.vector(out, places[r][v])
                b.call(self.masked_store, (totals[r][v], to, FLOAT_BYTES, self.masks[v]))
        return self.context.get_dummy_value()


def _tile_of(rows: int, vectors: int) -> Any:
    """Return the kernel of a tile with so many rows and vectors in each."""

    def add_tile(
        typing_context: Any,
        a: Any,
        a_at: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        b_row: Any,
        out: Any,
        out_at: Any,
        out_row: Any,
        inner: Any,
        columns: Any,
    ) -> Any:
        """Add one tile of a product to ``out``; at most as many ``columns`` as its vectors have.

        ``a``, ``b`` and ``out`` are contiguous float32 arrays of any shape; ``_at`` counts numbers
        from their begin, ``_row`` lies between two rows, ``a_step`` between two numbers of a row of
        ``a`` (so ``a`` may lie turned). Nothing is checked: a place outside is the caller's fault.
        """
        for array in (a, b, out):
            if not (isinstance(array, types.Array) and array.dtype == types.float32):
                return None
        n = types.int64
        signature = types.void(a, n, n, n, b, n, n, out, n, n, n, n)
        return signature, lambda *given: _Tile((rows, vectors), *given).build()

    return intrinsic(add_tile)


add_tile: Any = _tile_of(TILE_ROWS, TILE_VECTORS)
add_row_tile: Any = _tile_of(1, ROW_VECTORS)


class _Turn:
    """Builds the code that turns one square of numbers, a vector a row."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        self.context, self.builder = context, builder
        self.signature, self.given = signature, given

    def row(self, place: int, number: int) -> Any:
        """Return the pointer to a row of the square that argument ``place`` begins."""
        b, (begin, apart) = self.builder, self.given[place + 1 : place + 3]
        array = self.context.make_array(self.signature.args[place])
        data = array(self.context, b, self.given[place]).data
        index = b.add(begin, b.mul(apart, ir.Constant(INT64, number)))
        return b.bitcast(b.gep(data, [index]), VECTOR.as_pointer())

    def build(self) -> Any:
        """Exchange the off-diagonal halves, then those of each half, down to single numbers."""
        b, rows = self.builder, []
        for lane in range(LANES):
            rows.append(b.load(self.row(0, lane)))
            rows[-1].align = 4
        distance = LANES // 2
        while distance:
            from_upper = [lane if not lane & distance else LANES + lane - distance for lane in LANE]
            from_lower = [LANES + lane if lane & distance else lane + distance for lane in LANE]
            upper, lower = (
                ir.Constant(ir.VectorType(INT32, LANES), mask) for mask in (from_upper, from_lower)
            )
            for i in LANE:
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    rows[i] = b.shuffle_vector(*pair, upper)
                    rows[i + distance] = b.shuffle_vector(*pair, lower)
            distance //= 2
        for lane in LANE:
            b.store(rows[lane], self.row(3, lane)).align = 4
        return self.context.get_dummy_value()


def _turn_square(
    typing_context: Any, a: Any, a_at: Any, a_row: Any, out: Any, out_at: Any, out_row: Any
) -> Any:
    """Write a square of LANES by LANES numbers turned; arrays and places as ``add_tile``'s."""
    for array in (a, out):
        if not (isinstance(array, types.Array) and array.dtype == types.float32):
            return None
    n = types.int64
    return types.void(a, n, n, out, n, n), lambda *given: _Turn(*given).build()


turn_square: Any = intrinsic(_turn_square)
