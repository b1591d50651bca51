"""A whole recording through decode, continuity, book and features, on one core."""

from __future__ import annotations

from pathlib import Path

from daemon.bench.stopwatch import Form, Goal, Stage
from daemon.instrument_state import InstrumentState
from daemon.simulated.capture_source import CaptureSource, capture_venue_ids
from daemon.simulated.listings import LISTINGS, listed_instruments
from daemon.venues.normalize import Normalizer
from kernels.book import Continuity, DepthSequence
from kernels.events import DepthDiff, DepthSnapshot, Quote, Trade
from kernels.features import DEFAULT_FEATURE_NAMES
from kernels.units import Instrument

BAR_NS = 1_000_000_000
CAPTURE_NS_MAX = 2e9


class Recording:
    """One capture in memory, ready to be folded as often as wanted."""

    def __init__(self, path: Path) -> None:
        """Read the file; CaptureError when it is none, ValueError when nothing in it is listed."""
        symbols = _listed_symbols(path)
        self.instruments = listed_instruments(symbols, maker_fee_bps=2.0, taker_fee_bps=5.0)
        frames = list(CaptureSource(path, self.instruments).frames())
        self.rows: list[tuple[str, int, DepthSnapshot | None]] = [
            (
                frame.payload.decode(),
                frame.event.received_ns,
                frame.event if isinstance(frame.event, DepthSnapshot) else None,
            )
            for frame in frames
        ]
        self.checked_count = self.mismatch_count = self.gap_count = self.applied_count = 0

    def fold(self) -> None:
        """Decode every frame, keep books in sequence, compute all features; from nothing."""
        read = Normalizer(self.instruments).market
        lanes = [_Follower(instrument) for instrument in self.instruments]
        for text, received_ns, snapshot in self.rows:
            if snapshot is not None:
                lanes[snapshot.instrument].load(snapshot)
                continue
            event = read(text, received_ns)
            kind = type(event)
            if kind is Quote:
                lanes[event.instrument].market.on_quote(event)  # type: ignore[union-attr,arg-type]  # narrowed by kind, which costs less
            elif kind is Trade:
                lanes[event.instrument].market.on_trade(event)  # type: ignore[union-attr,arg-type]  # the same
            else:
                assert isinstance(event, DepthDiff)
                lanes[event.instrument].follow(event)
        self.checked_count = sum(each.market.top_checked_count for each in lanes)
        self.mismatch_count = sum(each.market.top_mismatch_count for each in lanes)
        self.gap_count = sum(each.gap_count for each in lanes)
        self.applied_count = sum(each.applied_count for each in lanes)


class _Follower:
    """One instrument's book, joined to its snapshot by the venue's rule."""

    def __init__(self, instrument: Instrument) -> None:
        self.market = InstrumentState(instrument, DEFAULT_FEATURE_NAMES, BAR_NS)
        self.gap_count = self.applied_count = 0
        self._sequence = DepthSequence()
        self._early: list[DepthDiff] = []

    def load(self, snapshot: DepthSnapshot) -> None:
        self._sequence.snapshot(snapshot.last_update_id)
        self.market.on_snapshot(snapshot)
        early, self._early = self._early, []
        for diff in early:
            self.follow(diff)

    def follow(self, diff: DepthDiff) -> None:
        joins = self._sequence.check(
            diff.first_update_id, diff.last_update_id, diff.previous_update_id
        )
        if joins is Continuity.NEXT or joins is Continuity.BRIDGE:
            self.market.on_diff(diff)
            self.applied_count += 1
        elif joins is Continuity.BUFFER:
            self._early.append(diff)
        elif joins is Continuity.GAP:
            self.gap_count += 1


def capture_stage(path: Path) -> Stage:
    """Build the stage; AssertionError when a book contradicts a quote of the same update id."""
    recording = Recording(path)
    recording.fold()
    assert recording.gap_count == 0, f"{recording.gap_count} gaps"
    assert recording.mismatch_count == 0, f"{recording.mismatch_count} tops differ"
    count = len(recording.rows)
    whole = f"whole capture, {count} records"
    facts: dict[str, object] = {
        "file": path.name,
        "records": count,
        "depth updates applied": recording.applied_count,
        "book tops equal at the same update id": recording.checked_count,
    }
    return Stage(
        name="capture",
        forms=[Form(name=whole, function=recording.fold, rows=[()])],
        goals=[Goal(form=whole, p50_ns_max=CAPTURE_NS_MAX)],
        facts=facts,
    )


def _listed_symbols(path: Path) -> tuple[str, ...]:
    """Name what the capture holds and the simulated exchange knows; ValueError when nothing."""
    held = capture_venue_ids(path)
    symbols = tuple(listing.symbol for listing in LISTINGS if listing.venue_id in held)
    if not symbols:
        raise ValueError(f"{path}: none of {', '.join(held) or 'no streams'} is listed")
    return symbols
