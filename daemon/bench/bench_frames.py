"""The frames that are timed: a seeded synthetic market in the venue's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from daemon.simulated.listings import listed_instruments
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.events import DepthDiff, DepthSnapshot, Quote, Trade
from kernels.units import Instrument

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
MARKET = "regimes"
SEED = 7
NS_PER_MS = 1_000_000
STAMP_SLOWNESS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFrame:
    """One raw text frame, when it is received, and what it must be read as."""

    text: str
    received_ns: int
    event: Quote | Trade | DepthDiff


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """Successive frames of some instruments and the books that they start from.

    ``received_ns`` of the frames goes at the market's pace, so that bars close as they would. The
    venue's stamp in the texts goes a thousand times slower from ``start_ns`` on, about the pace at
    which they are timed: a feed on such a clock sees neither skew nor delay.
    """

    start_ns: int
    instruments: tuple[Instrument, ...]
    snapshots: tuple[DepthSnapshot, ...]
    frames: tuple[WireFrame, ...]

    def of_kind(self, kind: type[object]) -> list[WireFrame]:
        """Return the frames of one kind, in order."""
        return [frame for frame in self.frames if type(frame.event) is kind]


def synthetic_frames(
    count: int, start_ns: int, symbols: Sequence[str] = SYMBOLS, seed: int = SEED
) -> FrameSet:
    """Make the first ``count`` frames of a synthetic market that begins at ``start_ns``."""
    instruments = listed_instruments(tuple(symbols), maker_fee_bps=2.0, taker_fee_bps=5.0)
    source = SyntheticSource(instruments, MARKET, seed)
    snapshots: list[DepthSnapshot] = []
    frames: list[WireFrame] = []
    for frame in islice(source.frames(), count + len(instruments)):
        if isinstance(frame.event, DepthSnapshot):
            snapshots.append(frame.event)
            continue
        received_ns = start_ns + frame.due_ns
        stamp_ms = (start_ns + frame.due_ns // STAMP_SLOWNESS) // NS_PER_MS
        text = frame.render(stamp_ms).decode()
        frames.append(WireFrame(text=text, received_ns=received_ns, event=frame.event))
    return FrameSet(
        start_ns=start_ns,
        instruments=instruments,
        snapshots=tuple(snapshots),
        frames=tuple(frames[:count]),
    )
