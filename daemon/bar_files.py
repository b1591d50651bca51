"""Bars on disk: the one reader of parquet files of open, high, low, close and volume.

Columns: ``ts``, UNIX milliseconds of a bar's open, and ``open high low close volume``; others are
not read. The length of a bar is not written anywhere: it is the smallest distance between two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

NS_PER_MS = 1_000_000
PRICE_COLUMNS = ("open", "high", "low", "close")
BATCH_ROWS = 65_536
BARS_MAX = 20_000_000
"""Bounds what one file may take: 38 years of minutes."""


class BarFileError(ValueError):
    """A file that holds no usable bars; ``row`` counts from 1, 0 means the whole file."""

    def __init__(self, path: Path, row: int, reason: str) -> None:
        """Keep the place and make the one-line message of it."""
        self.path = path
        self.row = row
        self.reason = reason
        super().__init__(f"{path} row {row}: {reason}" if row else f"{path}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BarTable:
    """Bars of one instrument, T of them, in order of time.

    ``open_ns_T`` UNIX time of each bar's open; ``prices_T4`` open, high, low, close in quote
    currency; ``volume_T`` as the file counts it. Bars may be missing, never repeated.
    """

    open_ns_T: NDArray[np.int64]
    prices_T4: NDArray[np.float64]
    volume_T: NDArray[np.float64]
    interval_ns: int

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.open_ns_T)


def read_bars(path: Path, from_ns: int = 0, to_ns: int = 2**63 - 1) -> BarTable:
    """Read the bars that open in [``from_ns``, ``to_ns``), UNIX time, and check every one.

    Raises ``BarFileError`` for a file that is missing or not parquet, lacks a column, has fewer
    than two bars in the span, or holds a bar out of order, not finite, with a price that is not
    positive, a negative volume, or open or close outside low and high.
    """
    from_ms, to_ms = -(-from_ns // NS_PER_MS), -(-to_ns // NS_PER_MS)
    columns = ("ts", *PRICE_COLUMNS, "volume")
    parts: list[list[NDArray[np.float64]]] = []
    stamps: list[NDArray[np.int64]] = []
    rows_before = rows_read = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise BarFileError(path, 0, f"has no column {', '.join(missing)}")
            if file.metadata.num_rows > BARS_MAX:
                raise BarFileError(path, 0, f"holds more than {BARS_MAX} bars")
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                stamp_ms = _column(path, batch, "ts").astype(np.int64)
                wanted = (stamp_ms >= from_ms) & (stamp_ms < to_ms)
                if wanted.any():
                    if not stamps:
                        rows_before = rows_read + int(np.argmax(wanted))
                    stamps.append(stamp_ms[wanted])
                    parts.append([_column(path, batch, name)[wanted] for name in columns[1:]])
                rows_read += len(stamp_ms)
    except FileNotFoundError:
        raise BarFileError(path, 0, "no such file") from None
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BarFileError(path, 0, f"cannot be read as parquet: {reason}") from None
    if sum(map(len, stamps)) < 2:
        raise BarFileError(path, 0, "holds fewer than two bars in the span asked for")
    values = [np.concatenate(column) for column in zip(*parts, strict=True)]
    stamps_ms = np.concatenate(stamps)
    table = BarTable(
        open_ns_T=stamps_ms * NS_PER_MS,
        prices_T4=np.column_stack(values[:4]),
        volume_T=values[4],
        interval_ns=int(np.diff(stamps_ms).min()) * NS_PER_MS,
    )
    _check(path, rows_before, table)
    return table


def _column(path: Path, batch: pyarrow.RecordBatch, name: str) -> NDArray[np.float64]:
    column = batch.column(name)
    if column.null_count or not (
        pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type)
    ):
        raise BarFileError(path, 0, f"column {name} is not numbers without gaps")
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values if name == "ts" else values.astype(np.float64)


def _check(path: Path, rows_before: int, table: BarTable) -> None:
    opened, high, low, close = table.prices_T4.T
    faults = (
        (np.diff(table.open_ns_T, prepend=-1) <= 0, "not later than the bar before it"),
        (~np.isfinite(table.prices_T4).all(axis=1), "a price is not finite"),
        (table.prices_T4.min(axis=1) <= 0.0, "a price is not positive"),
        (~(np.isfinite(table.volume_T) & (table.volume_T >= 0.0)), "volume is not 0 or more"),
        (
            (np.maximum(opened, close) > high) | (np.minimum(opened, close) < low),
            "open or close lies outside low and high",
        ),
    )
    for is_faulty_T, reason in faults:
        if is_faulty_T.any():
            raise BarFileError(path, rows_before + int(np.argmax(is_faulty_T)) + 1, reason)
