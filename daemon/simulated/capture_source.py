"""A recorded market: one file of raw Binance streams, read and checked whole before serving.

USD-M futures and spot are two dialects: spot has no previous update id, no times in its quotes and
depth only every 100 ms.

Format: one record a line, the local receive time in UNIX nanoseconds (19 digits), a blank, one JSON
document: a combined-stream wrapper, or the REST depth snapshot without one. Gzip or plain text.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO, NoReturn, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.simulated.market_source import NO_STAMP, Frame, SourceEvent, frame_of
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.units import E8, Instrument

GZIP_MAGIC = b"\x1f\x8b"
RECEIVED_DIGITS = 19
LINE_BYTES_MAX = 8 * 1024 * 1024
SYMBOL_SCAN_LINES = 5_000
NS_PER_MS = 1_000_000
GRID_TOLERANCE_STEPS = 1e-4
"""Room for float64 rounding: prices and quantities are up to about 1e11 steps."""


class CaptureError(Exception):
    """A file that is no usable capture; ``line`` counts from 1, 0 means the whole file."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        """Keep the place and make the one-line message of it."""
        self.path = path
        self.line = line
        self.reason = reason
        where = f"{path} line {line}" if line else f"{path}"
        super().__init__(f"{where}: {reason}")


class _Record(msgspec.Struct):
    """Either a wrapper (stream, data) or a snapshot (lastUpdateId, bids, asks)."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    lastUpdateId: int = -1  # wire name
    symbol: str = ""
    E: int = 0
    bids: list[tuple[float, float]] = []
    asks: list[tuple[float, float]] = []


class _SpotDepth(msgspec.Struct):
    E: int
    U: int
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class _Depth(_SpotDepth):
    T: int
    pu: int


class _SpotBookTicker(msgspec.Struct):
    u: int
    b: float
    B: float
    a: float
    A: float


class _BookTicker(_SpotBookTicker):
    E: int
    T: int


class _Trade(msgspec.Struct):
    E: int
    T: int
    t: int
    p: float
    q: float
    m: bool


_RECORD = msgspec.json.Decoder(_Record, strict=False)  # lax: the wire's decimal strings to floats
_DEPTH = msgspec.json.Decoder(_Depth, strict=False)
_BOOK_TICKER = msgspec.json.Decoder(_BookTicker, strict=False)
_SPOT_DEPTH = msgspec.json.Decoder(_SpotDepth, strict=False)
_SPOT_BOOK_TICKER = msgspec.json.Decoder(_SpotBookTicker, strict=False)
_TRADE = msgspec.json.Decoder(_Trade, strict=False)


class CaptureDialect(StrEnum):
    """Whose streams a recording holds."""

    USDM = "usdm"
    SPOT = "spot"


class CaptureSource:
    """A finite source: every frame of the file, in the file's order, at the file's pace.

    Times in the documents are overwritten when sent, so that the recording happens now; with
    ``keeps_time`` they stay what they were, with the skew of their day. Reading happens in the
    constructor and raises ``CaptureError`` for a file that is missing, cut off, not a capture,
    without a depth snapshot, or without a stream of a wanted instrument.
    """

    def __init__(
        self,
        path: Path,
        instruments: Sequence[Instrument],
        dialect: CaptureDialect = CaptureDialect.USDM,
        *,
        keeps_time: bool = False,
    ) -> None:
        """Read and check the whole file; streams of other instruments are skipped."""
        self.path = path
        self._instruments = tuple(instruments)
        self._frames = _Reader(path, self._instruments, dialect, keeps_time).read()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments in configuration order."""
        return self._instruments

    @property
    def duration_ns(self) -> int:
        """Elapsed time from the first to the last record, at speed 1."""
        return self._frames[-1].due_ns

    def frames(self) -> Iterator[Frame]:
        """Yield the recorded frames from the first."""
        return iter(self._frames)


def capture_venue_ids(path: Path) -> tuple[str, ...]:
    """Name the instruments (``BTCUSDT``) that the first lines of a capture hold, sorted.

    Reads at most ``SYMBOL_SCAN_LINES`` lines; raises ``CaptureError`` like ``CaptureSource``.
    """
    found: set[str] = set()
    for line_number, _, document in capture_records(path):
        if line_number > SYMBOL_SCAN_LINES:
            break
        stream = _decode_record(path, line_number, document).stream
        if stream:
            found.add(stream.partition("@")[0].upper())
    return tuple(sorted(found))


class _Reader:
    """One pass over the file; keeps what the checks at its end need."""

    def __init__(
        self,
        path: Path,
        instruments: tuple[Instrument, ...],
        dialect: CaptureDialect,
        keeps_time: bool,
    ) -> None:
        self._path = path
        self._dialect = dialect
        self._keeps_time = keeps_time
        self._by_prefix = {item.venue_id.lower(): item for item in instruments}
        self._instruments = instruments
        self._seen_streams: set[str] = set()
        self._snapshots: set[int] = set()
        self._line = 0

    def read(self) -> list[Frame]:
        frames: list[Frame] = []
        first_ns = last_ns = 0
        for line_number, received_ns, document in capture_records(self._path):
            self._line = line_number
            if not first_ns:
                first_ns = last_ns = received_ns
            if received_ns < last_ns:
                self._refuse("the receive time runs back")
            last_ns = received_ns
            record = _decode_record(self._path, self._line, document)
            try:
                frame = self._frame(received_ns - first_ns, received_ns, record)
            except (msgspec.DecodeError, ValueError) as error:
                self._refuse(f"{record.stream or 'depth snapshot'}: {error}")
            if frame is not None:
                frames.append(frame)
        self._check_complete()
        return frames

    def _frame(self, due_ns: int, received_ns: int, record: _Record) -> Frame | None:
        if not record.stream:
            return self._snapshot_frame(due_ns, received_ns, record)
        prefix, _, channel = record.stream.partition("@")
        self._seen_streams.add(prefix)
        instrument = self._by_prefix.get(prefix)
        if instrument is None:
            return None
        payload = bytes(record.data)
        event = self._event(instrument, channel, received_ns, payload)
        frame = frame_of(due_ns, record.stream, event, payload)
        if self._keeps_time:
            frame = replace(frame, event_time_at=NO_STAMP, transaction_time_at=NO_STAMP)
        return frame

    def _event(
        self, instrument: Instrument, channel: str, received_ns: int, payload: bytes
    ) -> SourceEvent:
        match self._dialect, channel:
            case _, "trade":
                return _trade_event(instrument, received_ns, _TRADE.decode(payload))
            case CaptureDialect.USDM, "depth@0ms":
                depth = _DEPTH.decode(payload)
                return _depth_event(instrument, received_ns, depth, depth.pu)
            case CaptureDialect.USDM, "bookTicker":
                quote = _BOOK_TICKER.decode(payload)
                return _quote_event(instrument, received_ns, quote, quote.E * NS_PER_MS)
            case CaptureDialect.SPOT, "depth@100ms":
                spot_depth = _SPOT_DEPTH.decode(payload)
                return _depth_event(instrument, received_ns, spot_depth, spot_depth.U - 1)
            case CaptureDialect.SPOT, "bookTicker":
                spot_quote = _SPOT_BOOK_TICKER.decode(payload)
                return _quote_event(instrument, received_ns, spot_quote, received_ns)
            case CaptureDialect.USDM, _:
                raise ValueError("only depth@0ms, bookTicker and trade of USD-M can be replayed")
            case _:
                raise ValueError("only depth@100ms, bookTicker and trade of spot can be replayed")

    def _snapshot_frame(self, due_ns: int, received_ns: int, record: _Record) -> Frame | None:
        if record.lastUpdateId < 0:
            raise ValueError("neither a stream record nor a depth snapshot")
        if record.symbol:
            instrument = self._by_prefix.get(record.symbol.lower())
            if instrument is None:
                return None
        elif len(self._seen_streams) == 1:
            instrument = self._by_prefix.get(next(iter(self._seen_streams)))
            if instrument is None:
                return None
        else:
            raise ValueError(
                "a depth snapshot without symbol, and not exactly one symbol before it"
            )
        self._snapshots.add(instrument.index)
        has_old_lots = self._dialect is CaptureDialect.SPOT
        event = DepthSnapshot(
            instrument=instrument.index,
            event_ns=record.E * NS_PER_MS,
            received_ns=received_ns,
            last_update_id=record.lastUpdateId,
            bid_levels_n2=_levels(instrument, record.bids, has_old_lots=has_old_lots),
            ask_levels_n2=_levels(instrument, record.asks, has_old_lots=has_old_lots),
        )
        return frame_of(due_ns, "", event, b"")

    def _check_complete(self) -> None:
        if not self._seen_streams:
            raise CaptureError(self._path, 0, "holds no records")
        held = ", ".join(sorted(name.upper() for name in self._seen_streams))
        for instrument in self._instruments:
            if instrument.venue_id.lower() not in self._seen_streams:
                raise CaptureError(
                    self._path, 0, f"holds no stream of {instrument.venue_id} (it holds {held})"
                )
            if instrument.index not in self._snapshots:
                raise CaptureError(
                    self._path, 0, f"holds no depth snapshot of {instrument.venue_id}: no book"
                )

    def _refuse(self, reason: str) -> NoReturn:
        raise CaptureError(self._path, self._line, reason)


def capture_records(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number from 1, received_ns, JSON document); CaptureError at the first defect."""
    line_number = 0
    try:
        with _open(path) as lines:
            for line_number, line in enumerate(lines, start=1):
                if len(line) > LINE_BYTES_MAX:
                    raise CaptureError(path, line_number, f"longer than {LINE_BYTES_MAX} bytes")
                stamp, blank, document = line.partition(b" ")
                if not blank or len(stamp) != RECEIVED_DIGITS or not stamp.isdigit():
                    raise CaptureError(
                        path,
                        line_number,
                        f"does not start with {RECEIVED_DIGITS} digits and a blank",
                    )
                yield line_number, int(stamp), document
    except FileNotFoundError:
        raise CaptureError(path, 0, "no such file") from None
    except EOFError:
        raise CaptureError(path, line_number + 1, "the compressed file is cut off here") from None
    except (OSError, zlib.error) as error:
        raise CaptureError(path, line_number + 1, f"cannot be read: {error}") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        is_gzip = probe.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast(IO[bytes], gzip.open(path, "rb")) if is_gzip else path.open("rb")


def _decode_record(path: Path, line_number: int, document: bytes) -> _Record:
    try:
        return _RECORD.decode(document)
    except msgspec.DecodeError as error:
        raise CaptureError(path, line_number, f"not a stream record: {error}") from None


def _levels(
    instrument: Instrument, levels: list[tuple[float, float]], *, has_old_lots: bool = False
) -> NDArray[np.int64]:
    """Convert (price, quantity) rows to int64 (ticks, lots); ValueError when off the grid.

    On spot, orders from before a change of the lot still rest far away: with ``has_old_lots`` such
    a quantity becomes the nearest lots, at least one.
    """
    wire_n2 = np.array(levels, dtype=np.float64).reshape(-1, 2)
    steps_n2 = wire_n2 * E8 / (instrument.tick_size_e8, instrument.lot_size_e8)
    rounded_n2 = np.rint(steps_n2)
    if has_old_lots:
        rounded_n2[:, 1] = np.maximum(rounded_n2[:, 1], steps_n2[:, 1] > 0.0)
        steps_n2[:, 1] = rounded_n2[:, 1]
    if not np.all(np.abs(steps_n2 - rounded_n2) <= GRID_TOLERANCE_STEPS):
        raise ValueError(f"a level is off the grid of {instrument.venue_id}")
    if np.any(rounded_n2[:, 0] <= 0) or np.any(rounded_n2[:, 1] < 0):
        raise ValueError("a level with a price that is not positive or a negative quantity")
    return rounded_n2.astype(np.int64)


def _steps(value: float, step_e8: int) -> int:
    steps = value * E8 / step_e8
    rounded = round(steps)
    if abs(steps - rounded) > GRID_TOLERANCE_STEPS:
        raise ValueError(f"{value} is off the grid")
    if rounded <= 0:
        raise ValueError(f"{value} is not positive")
    return rounded


def _depth_event(
    instrument: Instrument, received_ns: int, depth: _SpotDepth, previous_update_id: int
) -> DepthDiff:
    has_old_lots = not isinstance(depth, _Depth)
    return DepthDiff(
        instrument=instrument.index,
        event_ns=depth.E * NS_PER_MS,
        received_ns=received_ns,
        first_update_id=depth.U,
        last_update_id=depth.u,
        previous_update_id=previous_update_id,
        bid_levels_n2=_levels(instrument, depth.b, has_old_lots=has_old_lots),
        ask_levels_n2=_levels(instrument, depth.a, has_old_lots=has_old_lots),
    )


def _quote_event(
    instrument: Instrument, received_ns: int, ticker: _SpotBookTicker, event_ns: int
) -> Quote:
    tick_e8, lot_e8 = instrument.tick_size_e8, instrument.lot_size_e8
    return Quote(
        instrument=instrument.index,
        event_ns=event_ns,
        received_ns=received_ns,
        update_id=ticker.u,
        bid_ticks=_steps(ticker.b, tick_e8),
        bid_lots=_steps(ticker.B, lot_e8),
        ask_ticks=_steps(ticker.a, tick_e8),
        ask_lots=_steps(ticker.A, lot_e8),
    )


def _trade_event(instrument: Instrument, received_ns: int, trade: _Trade) -> Trade:
    return Trade(
        instrument=instrument.index,
        event_ns=trade.E * NS_PER_MS,
        received_ns=received_ns,
        trade_id=trade.t,
        price_ticks=_steps(trade.p, instrument.tick_size_e8),
        quantity_lots=_steps(trade.q, instrument.lot_size_e8),
        aggressor=Side.SELL if trade.m else Side.BUY,
    )
