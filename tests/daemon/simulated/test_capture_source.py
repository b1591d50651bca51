"""Captures: read whole, refused with file and line before anything is served."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daemon.simulated.capture_source import (
    CaptureDialect,
    CaptureError,
    CaptureSource,
    capture_venue_ids,
)
from daemon.simulated.listings import listed_instruments
from daemon.simulated.market_source import NO_STAMP
from kernels.events import DepthDiff, DepthSnapshot, Quote, Trade
from tests.fakes.recording import NAMES, btc, recording_lines, write_recording

CAPTURES = Path(__file__).resolve().parents[4] / "shared" / "data" / "captures"
USDM_CAPTURE = CAPTURES / "binance_usdm_btcusdt_20240808.gz"
needs_captures = pytest.mark.skipif(
    not USDM_CAPTURE.is_file(), reason="recorded streams are not here (../shared/data/captures)"
)
LINES = recording_lines(400)
SNAPSHOT_LINE = next(at for at, line in enumerate(LINES) if b"lastUpdateId" in line)


def test_every_record_becomes_a_frame_in_order(tmp_path: Path) -> None:
    """Count, order, pace and bytes are those of the file; the snapshot is not a stream."""
    source = CaptureSource(write_recording(tmp_path / "good.gz", LINES), (btc(),))
    frames = list(source.frames())
    assert len(frames) == len(LINES)
    stamps = [int(line[:19]) for line in LINES]
    assert [frame.due_ns for frame in frames] == [stamp - stamps[0] for stamp in stamps]
    assert source.duration_ns == stamps[-1] - stamps[0]
    for line, frame in zip(LINES, frames, strict=True):
        if isinstance(frame.event, DepthSnapshot):
            assert frame.stream == ""
        else:
            assert frame.stream.encode() in line
            assert frame.payload in line
    assert {type(frame.event) for frame in frames} == {Quote, Trade, DepthDiff, DepthSnapshot}
    assert list(source.frames()) == frames


def test_plain_text_is_read_like_gzip(tmp_path: Path) -> None:
    """Compression is recognised by content, not by name."""
    path = tmp_path / "capture.txt"
    path.write_bytes(b"".join(LINES))
    assert len(list(CaptureSource(path, (btc(),)).frames())) == len(LINES)
    assert capture_venue_ids(path) == ("BTCUSDT",)


def test_frames_of_other_instruments_are_skipped(tmp_path: Path) -> None:
    """A capture of more than is traded plays what is traded."""
    other = [line.replace(b"btcusdt", b"solusdt") for line in LINES[SNAPSHOT_LINE + 1 :]]
    both = [*LINES, other[-1]]
    source = CaptureSource(write_recording(tmp_path / "two.gz", both), (btc(),))
    assert len(list(source.frames())) == len(LINES)


Spoil = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    ("spoil", "line", "reason"),
    [
        (lambda lines: [*lines[:7], lines[7][:40], *lines[8:]], 8, "not a stream record"),
        (lambda lines: [*lines[:3], b"hello\n", *lines[3:]], 4, "19 digits and a blank"),
        (lambda lines: [lines[0], lines[9], lines[1]], 3, "runs back"),
        (lambda lines: [lines[0].replace(b'","data"', b'_1m","data"')], 1, "can be replayed"),
        (lambda lines: [lines[0].replace(b'"E":', b'"Q":')], 1, "missing required field"),
        (lambda lines: [lines[0].split(b" ")[0] + b' {"a":1}\n'], 1, "neither a stream"),
        (lambda lines: [lines[0].split(b" ")[0] + b" [1]\n"], 1, "not a stream record"),
        (lambda lines: lines[:SNAPSHOT_LINE], 0, "no depth snapshot"),
        (lambda lines: [], 0, "no records"),
    ],
)
def test_defect_is_named_with_its_line(
    tmp_path: Path, spoil: Spoil, line: int, reason: str
) -> None:
    """Each kind of damage is refused at the line where it stands."""
    path = write_recording(tmp_path / "bad.gz", spoil(list(LINES)))
    with pytest.raises(CaptureError, match=reason) as caught:
        CaptureSource(path, (btc(),))
    assert caught.value.line == line
    assert str(path) in str(caught.value)


def test_level_off_the_grid_is_refused(tmp_path: Path) -> None:
    """A price between two ticks is no price of this instrument."""
    at = next(at for at, line in enumerate(LINES) if b"@bookTicker" in line)
    start = LINES[at].index(b'"b":"') + 5
    spoiled = LINES[at][:start] + b"60000.05" + LINES[at][LINES[at].index(b'"', start) :]
    path = write_recording(tmp_path / "grid.gz", [*LINES[:at], spoiled, *LINES[at + 1 :]])
    with pytest.raises(CaptureError, match="off the grid") as caught:
        CaptureSource(path, (btc(),))
    assert caught.value.line == at + 1


def test_cut_off_gzip_is_refused_where_it_ends(tmp_path: Path) -> None:
    """Half a compressed file says at which line it stopped."""
    whole = gzip.compress(b"".join(LINES))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaptureError) as caught:
        CaptureSource(path, (btc(),))
    assert 0 < caught.value.line <= len(LINES)


@pytest.mark.parametrize("content", [b"\x1f\x8b garbage", b"\x00\x01\x02", b"PK\x03\x04zip"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """What is no capture at all is refused at its first line."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="line 1"):
        CaptureSource(path, (btc(),))


def test_missing_file_and_missing_instrument(tmp_path: Path) -> None:
    """No file, or no stream of what shall be traded."""
    with pytest.raises(CaptureError, match="no such file"):
        CaptureSource(tmp_path / "absent", (btc(),))
    path = write_recording(tmp_path / "good.gz", LINES)
    both = listed_instruments(NAMES, maker_fee_bps=2.0, taker_fee_bps=5.0)
    with pytest.raises(CaptureError, match=r"no stream of ETHUSDT \(it holds BTCUSDT\)"):
        CaptureSource(path, both)


@needs_captures
def test_recorded_usdm_capture_is_read_whole() -> None:
    """The recorded file gives every frame that its description counts."""
    source = CaptureSource(USDM_CAPTURE, (btc(),))
    kinds = [type(frame.event) for frame in source.frames()]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {DepthDiff: 6_551, Quote: 66_089, Trade: 21_313, DepthSnapshot: 1}


@needs_captures
@pytest.mark.parametrize(
    "name", ["binance_spot_btcusdt_20240808.gz", "binance_coinm_btcusd_perp_20240808.gz"]
)
def test_recordings_of_other_markets_are_refused(name: str) -> None:
    """Spot and coin-margined streams are not mistaken for USD-M."""
    with pytest.raises(CaptureError):
        CaptureSource(CAPTURES / name, (btc(),))


def as_spot(line: bytes) -> bytes:
    """Rewrite a line of USD-M streams as spot would have sent it."""
    stamp, _, text = line.partition(b" ")
    record = json.loads(text)
    if "stream" not in record:
        kept: Any = {name: record[name] for name in ("lastUpdateId", "bids", "asks")}
    elif record["stream"].endswith("@bookTicker"):
        words = {name: value for name, value in record["data"].items() if name not in "eTE"}
        kept = {"stream": record["stream"], "data": words}
    elif record["stream"].endswith("@depth@0ms"):
        words = {name: v for name, v in record["data"].items() if name not in ("T", "pu")}
        kept = {"stream": record["stream"].replace("@0ms", "@100ms"), "data": words}
    else:
        kept = record
    return stamp + b" " + json.dumps(kept, separators=(",", ":")).encode() + b"\n"


def test_spot_streams_are_a_dialect_of_their_own(tmp_path: Path) -> None:
    """Spot recordings give the same events, their quotes no times, and are refused as USD-M."""
    path = write_recording(tmp_path / "spot.gz", [as_spot(line) for line in LINES])
    futures = write_recording(tmp_path / "usdm.gz", LINES)
    frames = list(CaptureSource(path, (btc(),), CaptureDialect.SPOT).frames())
    assert len(frames) == len(LINES)
    for spot, usdm in zip(frames, CaptureSource(futures, (btc(),)).frames(), strict=True):
        assert type(spot.event) is type(usdm.event)
        if isinstance(spot.event, Quote):
            assert (spot.event_time_at, spot.transaction_time_at) == (NO_STAMP, NO_STAMP)
            assert spot.render(1_800_000_000_000) == spot.payload
        elif isinstance(spot.event, DepthDiff):
            assert spot.stream == "btcusdt@depth@100ms"
            assert spot.event.previous_update_id == spot.event.first_update_id - 1
            assert json.loads(spot.render(1_800_000_000_000))["E"] == 1_800_000_000_000
    with pytest.raises(CaptureError, match=r"missing required field|only depth@0ms"):
        CaptureSource(path, (btc(),))
    with pytest.raises(CaptureError, match="only depth@100ms"):
        CaptureSource(futures, (btc(),), CaptureDialect.SPOT)


def test_old_lots_of_spot_are_rounded(tmp_path: Path) -> None:
    """A level finer than today's lot is taken to the nearest lots, at least one, on spot only."""
    at = next(at for at, line in enumerate(LINES) if b"@depth" in line)
    record = json.loads(LINES[at].partition(b" ")[2])
    record["data"]["b"] = [["50000.0", "25.4261"], ["50000.1", "0.0001"], ["50000.2", "0.000"]]
    spoiled = LINES[at][:20] + json.dumps(record, separators=(",", ":")).encode() + b"\n"
    lines = [*LINES[:at], spoiled, *LINES[at + 1 :]]
    path = write_recording(tmp_path / "spot.gz", [as_spot(line) for line in lines])
    event = list(CaptureSource(path, (btc(),), CaptureDialect.SPOT).frames())[at].event
    assert isinstance(event, DepthDiff)
    assert event.bid_levels_n2[:, 1].tolist() == [25_426, 1, 0]
    with pytest.raises(CaptureError, match="off the grid"):
        CaptureSource(write_recording(tmp_path / "usdm.gz", lines), (btc(),))


def test_a_recording_can_keep_its_own_time(tmp_path: Path) -> None:
    """With keeps_time every document is sent as it was recorded."""
    path = write_recording(tmp_path / "good.gz", LINES)
    for frame in CaptureSource(path, (btc(),), keeps_time=True).frames():
        assert frame.render(1_800_000_000_000) == frame.payload


@needs_captures
def test_recorded_spot_capture_is_read_whole() -> None:
    """The recorded spot file gives every frame that its description counts, without a gap."""
    pair = replace(btc(), tick_size_e8=1_000_000, lot_size_e8=1_000)
    path = CAPTURES / "binance_spot_btcusdt_20240808.gz"
    frames = list(CaptureSource(path, (pair,), CaptureDialect.SPOT).frames())
    kinds = [type(frame.event) for frame in frames]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {DepthDiff: 3_451, Quote: 28_040, Trade: 9_757, DepthSnapshot: 1}
    diffs = [frame.event for frame in frames if isinstance(frame.event, DepthDiff)]
    assert all(b.previous_update_id == a.last_update_id for a, b in pairwise(diffs))
