"""Recordings of spot pairs: telling them from those of futures, and replaying them as spot.

Nothing in a file's name counts. Spot's own ``bookTicker`` has no event type and its ``depthUpdate``
no ``pu``; the streams themselves are named alike in both markets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from daemon.simulated.capture_source import (
    SYMBOL_SCAN_LINES,
    CaptureDialect,
    CaptureError,
    CaptureSource,
    capture_records,
    capture_venue_ids,
)
from daemon.simulated.market_source import Frame
from daemon.simulated.spot_listings import STREAM_PREFIX, find_spot_listing
from kernels.units import Instrument


class _Document(msgspec.Struct):
    e: str = ""
    pu: int | None = None


class _Wrapper(msgspec.Struct):
    stream: str = ""
    data: _Document | None = None


_WRAPPER = msgspec.json.Decoder(_Wrapper)


def is_spot_capture(path: Path) -> bool:
    """Tell whether a capture holds spot streams, by its first depth or bookTicker record.

    False where the first lines hold neither; ``CaptureError`` like ``CaptureSource``.
    """
    for line_number, _, document in capture_records(path):
        if line_number > SYMBOL_SCAN_LINES:
            break
        try:
            record = _WRAPPER.decode(document)
        except msgspec.DecodeError as error:
            raise CaptureError(path, line_number, f"not a stream record: {error}") from None
        if record.data is None:
            continue
        if "@depth" in record.stream:
            return record.data.pu is None
        if record.stream.endswith("@bookTicker"):
            return not record.data.e
    return False


def held_pairs(path: Path, pairs: Sequence[str]) -> tuple[str, ...]:
    """Choose those of the named pairs that a spot capture holds; CaptureError for none."""
    held = capture_venue_ids(path)
    chosen = tuple(name for name in pairs if find_spot_listing(name).venue_id in held)
    if not chosen:
        raise CaptureError(
            path, 0, f"holds the spot streams of {', '.join(held)}; name a pair such as BTC/USDT"
        )
    return chosen


class SpotCaptureSource(CaptureSource):
    """A recording whose streams are published as spot's."""

    def __init__(
        self, path: Path, instruments: Sequence[Instrument], *, keeps_time: bool = False
    ) -> None:
        """Read and check the whole file; streams of other pairs are skipped."""
        super().__init__(path, instruments, CaptureDialect.SPOT, keeps_time=keeps_time)
        self._frames = [
            replace(frame, stream=STREAM_PREFIX + frame.stream) if frame.stream else frame
            for frame in self._frames
        ]

    def frames(self) -> Iterator[Frame]:
        """Yield the recorded frames from the first."""
        return iter(self._frames)
