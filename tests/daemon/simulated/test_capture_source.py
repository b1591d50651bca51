"""Captures: read whole, refused with file and line before anything is served."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.simulated.capture_source import CaptureError, CaptureSource, capture_venue_ids
from daemon.simulated.listings import listed_instruments
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
