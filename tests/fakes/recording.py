"""Captures made by the project itself: the synthetic market as a recording, of each kind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from daemon.simulated.listings import listed_instruments
from daemon.simulated.spot_listings import spot_instruments, spot_price, spot_quantity
from daemon.simulated.spot_streams import SpotDepthWindow
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.units import Instrument

FIRST_NS = 1_723_161_255_030_314_667
SKEW_MS = 1_270
SNAPSHOT_AFTER_DIFFS = 5
SPOT_DEPTH_NS = 100_000_000
NAMES = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def btc() -> Instrument:
    """Give the instrument of the recordings made here."""
    return listed_instruments(NAMES[:1], maker_fee_bps=2.0, taker_fee_bps=5.0)[0]


def spot_btc() -> Instrument:
    """Give the pair of the spot recordings made here."""
    return spot_instruments(("BTC/USDT",), first_index=0, maker_fee_bps=10.0, taker_fee_bps=10.0)[0]


def recording_lines(frame_count: int, seed: int = 3) -> list[bytes]:
    """Write BTCUSDT frames as lines; the snapshot comes after the change that bridges it.

    As in real recordings the clock of the receiver is behind the venue's.
    """
    instrument = btc()
    book = Book()
    lines: list[bytes] = []
    diff_count = 0
    for frame in SyntheticSource((instrument,), "volatile", seed).frames():
        if isinstance(frame.event, DepthSnapshot):
            book.load(frame.event)
            continue
        received_ns = FIRST_NS + frame.due_ns
        payload = frame.render(received_ns // 1_000_000 + SKEW_MS).decode()
        lines.append(_wrapped(received_ns, frame.stream, payload))
        if isinstance(frame.event, DepthDiff):
            book.apply(frame.event)
            diff_count += 1
            if diff_count == SNAPSHOT_AFTER_DIFFS:
                lines.append(_snapshot_line(received_ns, book, instrument))
        if len(lines) >= frame_count:
            return lines
    raise AssertionError("a synthetic market has no end")


def spot_recording_lines(frame_count: int, seed: int = 3) -> list[bytes]:
    """Write frames of the pair as lines: depth in windows of 100 ms, the snapshot within one."""
    instrument = spot_btc()
    book, window = Book(), SpotDepthWindow(instrument, SPOT_DEPTH_NS)
    lines: list[bytes] = []
    window_count = 0
    for frame in SyntheticSource((instrument,), "volatile", seed).frames():
        if isinstance(frame.event, DepthSnapshot):
            book.load(frame.event)
            continue
        received_ns = FIRST_NS + frame.due_ns
        now_ms = received_ns // 1_000_000 + SKEW_MS
        closed = window.close(frame.due_ns, now_ms)
        if closed is not None:
            lines.append(_wrapped(received_ns, "btcusdt@depth@100ms", _compact(closed)))
            window_count += 1
        if isinstance(frame.event, DepthDiff):
            book.apply(frame.event)
            window.add(frame.event, frame.due_ns)
            if window_count == SNAPSHOT_AFTER_DIFFS:
                lines.append(_spot_snapshot_line(received_ns, book, instrument))
                window_count += 1
        else:
            stream = frame.stream.removeprefix("spot/")
            lines.append(_wrapped(received_ns, stream, frame.render(now_ms).decode()))
        if len(lines) >= frame_count:
            return lines
    raise AssertionError("a synthetic market has no end")


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


def _wrapped(received_ns: int, stream: str, document: str) -> bytes:
    return f'{received_ns} {{"stream":"{stream}","data":{document}}}\n'.encode()


def _spot_snapshot_line(received_ns: int, book: Book, instrument: Instrument) -> bytes:
    def rows(side: Side) -> list[list[str]]:
        return [
            [spot_price(instrument, ticks), spot_quantity(instrument, lots)]
            for ticks, lots in book.levels(side, 1000).tolist()
        ]

    document = {
        "lastUpdateId": book.last_update_id,
        "bids": rows(Side.BUY),
        "asks": rows(Side.SELL),
    }
    return f"{received_ns} {_compact(document)}\n".encode()


def write_recording(path: Path, lines: list[bytes]) -> Path:
    """Write lines as a gzip file and return its path."""
    path.write_bytes(gzip.compress(b"".join(lines), compresslevel=1))
    return path


def _snapshot_line(received_ns: int, book: Book, instrument: Instrument) -> bytes:
    def rows(side: Side) -> list[list[str]]:
        return [
            [instrument.price_text(ticks), instrument.quantity_text(lots)]
            for ticks, lots in book.levels(side, 1000).tolist()
        ]

    document = {
        "lastUpdateId": book.last_update_id,
        "E": received_ns // 1_000_000 + SKEW_MS,
        "T": received_ns // 1_000_000 + SKEW_MS,
        "bids": rows(Side.BUY),
        "asks": rows(Side.SELL),
    }
    return f"{received_ns} {json.dumps(document)}\n".encode()
