"""Bars from files as a market: several instruments on one clock, the bars kept to the lot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.bar_files import BarFileError
from daemon.simulated.bars_source import BarsSource, utc_ns
from daemon.simulated.listings import listed_instruments
from daemon.simulated.market_source import Frame, MarketSource
from kernels.events import DepthSnapshot, Trade
from tests.naive.rebuilt_bars import rebuild

MINUTE_MS = 60_000
NS_PER_MS = 1_000_000
START_MS = 1_652_313_600_000  # 2022-05-12 00:00
RECORDED = Path(__file__).resolve().parents[3].parent / "shared/data/bars"
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def write_bars(
    path: Path, price: float, count: int = 20, step_ms: int = MINUTE_MS, first_ms: int = START_MS
) -> Path:
    """Write a walk of bars with one bar missing."""
    generator = np.random.default_rng(int(price))
    close = price * np.exp(np.cumsum(generator.normal(0.0, 1e-3, count)))
    opened = np.concatenate([[price], close[:-1]])
    reach = 1.0 + np.abs(generator.normal(0.0, 5e-4, (2, count)))
    stamps = first_ms + step_ms * np.arange(count)
    columns: dict[str, Any] = {
        "ts": stamps,
        "open": opened,
        "high": np.maximum(opened, close) * reach[0],
        "low": np.minimum(opened, close) / reach[1],
        "close": close,
        "volume": generator.exponential(30.0, count),
    }
    kept = np.arange(count) != count // 2
    pq.write_table(pa.table({name: values[kept] for name, values in columns.items()}), path)
    return path


def source_of(paths: Sequence[Path], symbols: tuple[str, ...] = SYMBOLS, **more: Any) -> BarsSource:
    """Open files of bars as a market."""
    instruments = listed_instruments(symbols, maker_fee_bps=2.0, taker_fee_bps=5.0)
    return BarsSource(paths, instruments, 7, **more)


def check_rebuilt(source: BarsSource, frames: list[Frame], interval_ns: int) -> None:
    """Compare the bars counted from the frames' trades with the source's own."""
    for instrument in source.instruments:
        elapsed_ns, bars_T5 = source.bars(instrument.index)
        trades = [
            frame.event
            for frame in frames
            if isinstance(frame.event, Trade) and frame.event.instrument == instrument.index
        ]
        assert rebuild(trades, elapsed_ns.tolist(), interval_ns) == bars_T5.tolist()


def test_frames_rebuild_the_bars_of_both_instruments(tmp_path: Path) -> None:
    """Frames come in order of time, name their streams, and their trades are the files' bars."""
    paths = [write_bars(tmp_path / "a.parquet", 30_000.0), write_bars(tmp_path / "b.parquet", 2e3)]
    source = source_of(paths)
    served: MarketSource = source
    frames = list(served.frames())
    assert [type(frame.event) for frame in frames[:2]] == [DepthSnapshot, DepthSnapshot]
    dues = [frame.due_ns for frame in frames]
    assert dues == sorted(dues)
    assert source.thin_counts == (0, 0)
    check_rebuilt(source, frames, MINUTE_MS * NS_PER_MS)
    for frame in frames[2:2_000:50]:
        document = json.loads(frame.payload)
        assert frame.stream.startswith(document["s"].lower() + "@")
    assert source.duration_ns == 20 * MINUTE_MS * NS_PER_MS
    missing_ns = 10 * MINUTE_MS * NS_PER_MS
    assert not any(missing_ns <= due < missing_ns + MINUTE_MS * NS_PER_MS for due in dues)


def test_bars_are_put_on_the_grid_to_the_nearest(tmp_path: Path) -> None:
    """Ticks and lots are those of the instrument; a volume in quote is divided by the price."""
    path = write_bars(tmp_path / "a.parquet", 30_000.0)
    table = pq.read_table(path).to_pydict()
    _, bars_T5 = source_of([path], SYMBOLS[:1]).bars(0)
    assert bars_T5[:, 3].tolist() == [round(close / 0.1) for close in table["close"]]
    assert bars_T5[:, 4].tolist() == [round(volume / 0.001) for volume in table["volume"]]
    _, quoted_T5 = source_of([path], SYMBOLS[:1], volume_unit="quote").bars(0)
    typical = (table["high"][3] + table["low"][3] + table["close"][3]) / 3.0
    assert quoted_T5[3, 4] == round(table["volume"][3] / typical / 0.001)


def test_instruments_share_the_time_that_both_have(tmp_path: Path) -> None:
    """The market spans the common time, ``start`` cuts it; bars of 5 minutes join those of 1."""
    minutes = write_bars(tmp_path / "a.parquet", 30_000.0)
    later_ms = START_MS + 5 * MINUTE_MS
    fives = write_bars(tmp_path / "b.parquet", 2e3, step_ms=5 * MINUTE_MS, first_ms=later_ms)
    source = source_of([minutes, fives])
    assert source.origin_ns == later_ms * NS_PER_MS
    assert source.duration_ns == 15 * MINUTE_MS * NS_PER_MS
    assert [len(source.bars(index)[0]) for index in (0, 1)] == [14, 3]
    cut = source_of([minutes], SYMBOLS[:1], start="2022-05-12T00:12")
    assert cut.origin_ns == (START_MS + 12 * MINUTE_MS) * NS_PER_MS


def test_every_pass_gives_the_same_frames(tmp_path: Path) -> None:
    """Two passes and two sources agree to the byte."""
    paths = [write_bars(tmp_path / "a.parquet", 30_000.0), write_bars(tmp_path / "b.parquet", 2e3)]
    source = source_of(paths)
    first, again, other = (
        [(frame.due_ns, frame.payload) for frame in islice(one.frames(), 4_000)]
        for one in (source, source, source_of(paths))
    )
    assert first == again == other


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    """Unpaired files, no date, no common time and prices off the grid: one clear sentence."""
    path = write_bars(tmp_path / "a.parquet", 30_000.0)
    late = write_bars(tmp_path / "b.parquet", 2e3, first_ms=START_MS + 10**9)
    penny = write_bars(tmp_path / "c.parquet", 0.05)
    with pytest.raises(ValueError, match="1 files of bars for 2 instruments"):
        source_of([path])
    with pytest.raises(ValueError, match="'yesterday' is no date"):
        source_of([path], SYMBOLS[:1], start="yesterday")
    with pytest.raises(BarFileError, match="shares no time with the other files"):
        source_of([path, late])
    with pytest.raises(BarFileError, match="as BTCUSDT: a price outside 100"):
        source_of([penny], SYMBOLS[:1])
    with pytest.raises(BarFileError, match="fewer than two bars"):
        source_of([path], SYMBOLS[:1], start="2030-01-01")


def test_dates_are_utc() -> None:
    """A date, a time of day and a zone all mean one instant."""
    assert utc_ns("") == 0
    assert utc_ns("2022-05-12") == START_MS * NS_PER_MS
    assert utc_ns("2022-05-12T02:00:00+02:00") == START_MS * NS_PER_MS
    assert utc_ns("1970-01-01T00:00:00.000001") == 1_000


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"needs recorded bars in {RECORDED}")
def test_recorded_bars_come_back_to_the_lot() -> None:
    """An hour of the crash of May 2022: minutes of one coin, five minutes of another."""
    names = (
        "btcusdt_binance_spot_1m_202201_202306.parquet",
        "solusdt_binance_spot_5m_202201_202306.parquet",
    )
    symbols = ("BTC/USDT:USDT", "SOL/USDT:USDT")
    source = source_of([RECORDED / name for name in names], symbols, start="2022-05-12T06:00")
    hour_ns = 3_600 * 10**9
    frames = []
    for frame in source.frames():
        if frame.due_ns >= hour_ns:
            break
        frames.append(frame)
    for instrument, interval_ns in zip(source.instruments, (60 * 10**9, 300 * 10**9), strict=True):
        elapsed_ns, bars_T5 = source.bars(instrument.index)
        first = int(np.searchsorted(elapsed_ns, hour_ns))
        trades = [
            frame.event
            for frame in frames
            if isinstance(frame.event, Trade) and frame.event.instrument == instrument.index
        ]
        found = rebuild(trades, elapsed_ns[:first].tolist(), interval_ns)
        assert found == bars_T5[:first].tolist()
