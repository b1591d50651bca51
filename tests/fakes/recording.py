"""A capture made by the project itself: the synthetic market written as a recording."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from daemon.simulated.listings import listed_instruments
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.units import Instrument

FIRST_NS = 1_723_161_255_030_314_667
SKEW_MS = 1_270
SNAPSHOT_AFTER_DIFFS = 5
NAMES = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def btc() -> Instrument:
    """Give the instrument of the recordings made here."""
    return listed_instruments(NAMES[:1], maker_fee_bps=2.0, taker_fee_bps=5.0)[0]


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
        lines.append(f'{received_ns} {{"stream":"{frame.stream}","data":{payload}}}\n'.encode())
        if isinstance(frame.event, DepthDiff):
            book.apply(frame.event)
            diff_count += 1
            if diff_count == SNAPSHOT_AFTER_DIFFS:
                lines.append(_snapshot_line(received_ns, book, instrument))
        if len(lines) >= frame_count:
            return lines
    raise AssertionError("a synthetic market has no end")


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
