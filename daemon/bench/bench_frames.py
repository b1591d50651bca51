"""The frames that are timed: a seeded synthetic market in the venue's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from daemon.simulated.listings import listed_instruments
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.units import Instrument

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
MARKET = "regimes"
SEED = 7
NS_PER_MS = 1_000_000
STAMP_SLOWNESS = 1_000
BOOK_LEVELS = 4_096


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
    which they are timed: a feed on such a clock sees neither skew nor delay. ``earlier`` are as
    many frames from before, which bring memories to where they stand in a running daemon.
    """

    start_ns: int
    earlier: tuple[WireFrame, ...]
    instruments: tuple[Instrument, ...]
    snapshots: tuple[DepthSnapshot, ...]
    frames: tuple[WireFrame, ...]

    def of_kind(self, kind: type[object]) -> list[WireFrame]:
        """Return the frames of one kind, in order."""
        return [frame for frame in self.frames if type(frame.event) is kind]


def synthetic_frames(
    count: int,
    start_ns: int,
    symbols: Sequence[str] = SYMBOLS,
    seed: int = SEED,
    stamp_slowness: int = STAMP_SLOWNESS,
) -> FrameSet:
    """Make ``count`` frames of a synthetic market, and as many before them.

    The first of all is received at ``start_ns``; the snapshots are the books in the middle.
    """
    instruments = listed_instruments(tuple(symbols), maker_fee_bps=2.0, taker_fee_bps=5.0)
    source = SyntheticSource(instruments, MARKET, seed)
    books = [Book() for _ in instruments]
    frames: list[WireFrame] = []
    for frame in islice(source.frames(), 2 * count + len(instruments)):
        event = frame.event
        if isinstance(event, DepthSnapshot):
            books[event.instrument].load(event)
            continue
        if isinstance(event, DepthDiff) and len(frames) < count:
            books[event.instrument].apply(event)
        received_ns = start_ns + frame.due_ns
        stamp_ms = (start_ns + frame.due_ns // stamp_slowness) // NS_PER_MS
        text = frame.render(stamp_ms).decode()
        frames.append(WireFrame(text=text, received_ns=received_ns, event=event))
    return FrameSet(
        start_ns=start_ns,
        instruments=instruments,
        snapshots=tuple(_snapshot(index, book, start_ns) for index, book in enumerate(books)),
        earlier=tuple(frames[:count]),
        frames=tuple(frames[count : 2 * count]),
    )


def _snapshot(instrument: int, book: Book, now_ns: int) -> DepthSnapshot:
    return DepthSnapshot(
        instrument=instrument,
        event_ns=now_ns,
        received_ns=now_ns,
        last_update_id=book.last_update_id,
        bid_levels_n2=book.levels(Side.BUY, BOOK_LEVELS),
        ask_levels_n2=book.levels(Side.SELL, BOOK_LEVELS),
    )
