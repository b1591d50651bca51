"""Files of bars: read whole or in part, and refused with file and row when anything is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon import bar_files
from daemon.bar_files import BarFileError, read_bars

ROWS = 10


def columns() -> dict[str, list[Any]]:
    """Return ten good bars of a minute, open at 1,000,000 s."""
    return {
        "ts": [1_000_000_000 + 60_000 * row for row in range(ROWS)],
        "open": [100.0 + row for row in range(ROWS)],
        "high": [102.0 + row for row in range(ROWS)],
        "low": [99.0 + row for row in range(ROWS)],
        "close": [101.0 + row for row in range(ROWS)],
        "volume": [float(row) for row in range(ROWS)],
        "trades": list(range(ROWS)),
    }


def written(path: Path, changed: dict[str, list[Any]]) -> Path:
    """Write a table of bars."""
    pq.write_table(pa.table(changed), path)
    return path


def test_bars_are_read_as_written(tmp_path: Path) -> None:
    """Times become nanoseconds, prices keep their columns, the interval is found."""
    table = read_bars(written(tmp_path / "bars.parquet", columns()))
    assert len(table) == ROWS
    assert table.interval_ns == 60 * 10**9
    assert table.open_ns_T.tolist() == [ts * 10**6 for ts in columns()["ts"]]
    assert table.prices_T4[3].tolist() == [103.0, 105.0, 102.0, 104.0]
    assert table.volume_T.tolist() == columns()["volume"]


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_a_span_is_read_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    """Only bars that open in the span come back, wherever the batches of the file end."""
    monkeypatch.setattr(bar_files, "BATCH_ROWS", batch_rows)
    path = written(tmp_path / "bars.parquet", columns())
    stamps = [ts * 10**6 for ts in columns()["ts"]]
    table = read_bars(path, stamps[2] - 5, stamps[7])
    assert table.open_ns_T.tolist() == stamps[2:7]


@pytest.mark.parametrize(
    ("column", "row", "value", "reason"),
    [
        ("ts", 4, 1_000_000_000, "row 5: not later than the bar before it"),
        ("close", 6, float("nan"), "row 7: a price is not finite"),
        ("low", 2, 0.0, "row 3: a price is not positive"),
        ("volume", 9, -1.0, "row 10: volume is not 0 or more"),
        ("volume", 0, float("inf"), "row 1: volume is not 0 or more"),
        ("high", 8, 108.5, "row 9: open or close lies outside low and high"),
    ],
)
def test_a_bad_bar_is_named(
    tmp_path: Path, column: str, row: int, value: float, reason: str
) -> None:
    """The message names the row, counted in the file, and what is wrong with it."""
    changed = columns()
    changed[column][row] = value
    path = written(tmp_path / "bars.parquet", changed)
    with pytest.raises(BarFileError, match=reason):
        read_bars(path)


def test_rows_are_counted_in_the_file_also_in_a_span(tmp_path: Path) -> None:
    """A span that begins later does not shift the row that is named."""
    changed = columns()
    changed["volume"][6] = -1.0
    path = written(tmp_path / "bars.parquet", changed)
    with pytest.raises(BarFileError, match="row 7: volume"):
        read_bars(path, changed["ts"][4] * 10**6)


def test_files_that_are_no_bars_are_refused(tmp_path: Path) -> None:
    """Missing, not parquet, cut off, without a column, with gaps or words: one sentence each."""
    good = written(tmp_path / "good.parquet", columns())
    with pytest.raises(BarFileError, match="no such file"):
        read_bars(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("ts,open\n1,2\n" * 50)
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-20])
    for name in ("text", "cut"):
        with pytest.raises(BarFileError, match="cannot be read as parquet"):
            read_bars(tmp_path / f"{name}.parquet")
    lacking = {name: values for name, values in columns().items() if name not in ("low", "volume")}
    with pytest.raises(BarFileError, match="has no column low, volume"):
        read_bars(written(tmp_path / "lacking.parquet", lacking))
    for value in (None, "many"):
        changed = columns()
        changed["volume"] = [value, *([None] * 9 if value is None else ["few"] * 9)]
        with pytest.raises(BarFileError, match="column volume is not numbers without gaps"):
            read_bars(written(tmp_path / "odd.parquet", changed))
    with pytest.raises(BarFileError, match="fewer than two bars"):
        read_bars(good, from_ns=10**18)


def test_the_length_of_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of more bars than any history is refused before it is read."""
    monkeypatch.setattr(bar_files, "BARS_MAX", 9)
    with pytest.raises(BarFileError, match="more than 9 bars"):
        read_bars(written(tmp_path / "bars.parquet", columns()))


def test_arrays_are_the_types_promised(tmp_path: Path) -> None:
    """Integer columns in the file become float prices and integer times."""
    changed = {name: [int(value) for value in values] for name, values in columns().items()}
    table = read_bars(written(tmp_path / "bars.parquet", changed))
    assert table.open_ns_T.dtype == np.int64
    assert table.prices_T4.dtype == table.volume_T.dtype == np.float64
