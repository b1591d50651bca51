"""A venue that replays a recording in virtual time, and may spoil what it sends, not what it knows.

The recording is the truth: REST answers come from it, and every book the daemon would decide on is
held against it. What travels is a list of frames that the caller may have mutated.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np

from config.settings import FeedSettings
from daemon.effects import Note
from daemon.instrument_state import InstrumentState
from daemon.lanes import Lanes
from daemon.venues.feeds import Feed
from daemon.venues.market_rules import UsdmRules
from daemon.venues.normalize import Normalizer
from daemon.venues.spot_normalize import SpotNormalizer
from daemon.venues.spot_rules import SpotRules
from daemon.venues.spot_tap import TapBinanceSpot
from daemon.venues.tap import FrameReader, Tap, TapBinanceUsdm
from kernels.book import Book
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Event,
    FeedStatus,
    MarkPrice,
    Quote,
    Side,
    Trade,
    Verdict,
)
from kernels.features import DEFAULT_FEATURE_NAMES
from kernels.units import Instrument
from tests.fakes.virtual_time import VirtualClock, VirtualTimeLoop

Timed = TypeVar("Timed")

NS_PER_MS = 1_000_000
REST_S = 0.02
"""Time of a REST call, both ways."""

MARK_INTERVAL_S = 1.0
DECIDE_NS = 50 * NS_PER_MS
LEVELS_COMPARED = 200
EVERY_LEVEL = 2**31
DIFFS_PER_OPENING = 50
LAG_NS = 5 * NS_PER_MS
"""Transport time of the fastest frame after the recording's own clock difference is taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One frame on its way: when it arrives, counted from the first, and its text."""

    due_ns: int
    text: str
    kind: str
    at: int


@dataclass(slots=True, kw_only=True, repr=False)
class Recording:
    """A recording, read once: frames as they arrived, and what they prove.

    ``openings`` are moments, in nanoseconds since the first frame, and the whole book of each: a
    stretch of the recording can begin there as if it were one of its own.
    """

    instrument: Instrument
    frames: list[Sent]
    base_ns: int
    snapshot: DepthSnapshot
    snapshot_due_ns: int
    diffs: list[tuple[int, DepthDiff]] = field(default_factory=list)
    trades: list[tuple[int, Trade]] = field(default_factory=list)
    book_by_id: dict[int, bytes] = field(default_factory=dict)
    openings: list[tuple[int, DepthSnapshot]] = field(default_factory=list)

    @property
    def duration_ns(self) -> int:
        """From the first frame to the last."""
        return self.frames[-1].due_ns

    def stretch(self, opening: int, duration_ns: int) -> Recording:
        """Cut out so much of what follows an opening; texts and truth are shared."""
        from_ns, snapshot = self.openings[opening]
        until_ns = from_ns + duration_ns
        return Recording(
            instrument=self.instrument,
            frames=[
                replace(frame, due_ns=frame.due_ns - from_ns)
                for frame in self.frames
                if from_ns < frame.due_ns <= until_ns
            ],
            base_ns=self.base_ns + from_ns,
            snapshot=snapshot,
            snapshot_due_ns=0,
            diffs=_between(self.diffs, from_ns, until_ns),
            trades=_between(self.trades, from_ns, until_ns),
            book_by_id=self.book_by_id,
        )


def read_recording(lines: Sequence[bytes], instrument: Instrument) -> Recording:
    """Read the lines of a capture; ValueError when it holds no snapshot."""
    normalizer = normalizer_of(instrument)
    first_ns = int(lines[0][:19])
    frames: list[Sent] = []
    diffs: list[tuple[int, DepthDiff]] = []
    trades: list[tuple[int, Trade]] = []
    snapshot: tuple[int, DepthSnapshot] | None = None
    lag_ns = 2**62
    for line in lines:
        received_ns, document = int(line[:19]), line[20:].decode()
        words = json.loads(document)
        due_ns = received_ns - first_ns
        if "stream" not in words:
            snapshot = due_ns, normalizer.snapshot(words, instrument.venue_id, received_ns)
            continue
        text = document[document.index('"data":') + 7 :].strip()[:-1]
        event = normalizer.market(text, received_ns)
        kind = words["data"].get("e", "bookTicker")
        frames.append(Sent(due_ns=due_ns, text=text, kind=kind, at=len(frames)))
        if isinstance(event, DepthDiff):
            diffs.append((due_ns, event))
        elif isinstance(event, Trade):
            trades.append((due_ns, event))
        if isinstance(event, DepthDiff if is_pair(instrument) else Quote):
            lag_ns = min(lag_ns, received_ns - event.event_ns)
    if snapshot is None:
        raise ValueError("the recording holds no snapshot")
    recording = Recording(
        instrument=instrument,
        frames=frames,
        base_ns=first_ns - lag_ns + LAG_NS,
        snapshot=snapshot[1],
        snapshot_due_ns=snapshot[0],
        diffs=diffs,
        trades=trades,
    )
    _fold(recording)
    return recording


def is_pair(instrument: Instrument) -> bool:
    """Tell a spot pair from a contract by its unified name."""
    return ":" not in instrument.symbol


def normalizer_of(instrument: Instrument) -> Normalizer:
    """Make the reader of an instrument's frames."""
    return SpotNormalizer((instrument,)) if is_pair(instrument) else Normalizer((instrument,))


def _between(rows: Sequence[tuple[int, Timed]], from_ns: int, until_ns: int) -> list[Any]:
    """Keep what came after one moment and not after another, counted from the first."""
    return [(due_ns - from_ns, each) for due_ns, each in rows if from_ns < due_ns <= until_ns]


def _fold(recording: Recording) -> None:
    book = Book()
    book.load(recording.snapshot)
    for due_ns, diff in recording.diffs:
        if diff.last_update_id >= recording.snapshot.last_update_id:
            book.apply(diff)
            recording.book_by_id[diff.last_update_id] = digest(book)
            if len(recording.book_by_id) % DIFFS_PER_OPENING == 0:
                recording.openings.append((due_ns, _whole(book, diff)))


def _whole(book: Book, diff: DepthDiff) -> DepthSnapshot:
    """Take the book as it is after a change."""
    return DepthSnapshot(
        instrument=diff.instrument,
        event_ns=diff.event_ns,
        received_ns=diff.received_ns,
        last_update_id=diff.last_update_id,
        bid_levels_n2=book.levels(Side.BUY, EVERY_LEVEL).copy(),
        ask_levels_n2=book.levels(Side.SELL, EVERY_LEVEL).copy(),
    )


@lru_cache(maxsize=2**18)
def _text(write: Callable[[int], str], steps: int) -> str:
    """Print a number of steps; a book repeats its prices from one answer to the next."""
    return write(steps)


def digest(book: Book) -> bytes:
    """Reduce the best levels of both sides to bytes that differ when they do."""
    sides = (book.levels(side, LEVELS_COMPARED).tobytes() for side in (Side.BUY, Side.SELL))
    return b"|".join(sides)


class _Stream:
    """One socket to the virtual venue."""

    def __init__(self, venue: VirtualVenue, kind: str, read: FrameReader) -> None:
        self.kind = kind
        self.read = read
        self._venue = venue
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(self, words: Mapping[str, Any]) -> None:
        text = json.dumps({"result": None, "id": words["id"]})
        asyncio.get_running_loop().call_later(REST_S, self._open, text)

    def _open(self, text: str) -> None:
        self._venue.streams.append(self)
        self.read(text)

    def cut(self) -> None:
        if self in self._venue.streams:
            self._venue.streams.remove(self)
        if not self._lost.done():
            self._lost.set_result("cut")

    async def lost(self) -> str:
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        self.cut()


class VirtualVenue:
    """What the feed takes for its exchange: sockets and REST calls, all from one recording."""

    def __init__(self, recording: Recording, clock: VirtualClock, api_key: str = "") -> None:
        """Serve the recording from the clock's present on."""
        self.account_id = api_key
        self.urls = {"api": {"ws": {"spot": "wss://venue/public/ws"}}}
        self.rules: UsdmRules | SpotRules = (
            SpotRules(cast(TapBinanceSpot, self))
            if is_pair(recording.instrument)
            else UsdmRules(cast(TapBinanceUsdm, self))
        )
        self.recording = recording
        self.streams: list[_Stream] = []
        self._clock = clock
        self._began_ns = clock.now_ns()
        self._book = Book()
        self._folded = 0
        self._trade_dues = [due_ns for due_ns, _ in recording.trades]

    def get_ws_url(self, market_type: str, kind: str) -> str:
        """Name an address."""
        return f"wss://venue/{kind}/ws"

    async def open_stream(self, url: str, read: FrameReader) -> _Stream:
        """Connect."""
        await asyncio.sleep(REST_S)
        return _Stream(self, url.split("/")[3], read)

    def deliver(self, kind: str, text: str) -> None:
        """Hand a frame to every open socket of a kind."""
        for stream in tuple(self.streams):
            if stream.kind == kind:
                stream.read(text)

    def cut(self, kind: str) -> None:
        """Drop every socket of a kind."""
        for stream in tuple(self.streams):
            if stream.kind == kind:
                stream.cut()

    def elapsed_ns(self) -> int:
        """Return how much of the recording has passed."""
        return self._clock.now_ns() - self._began_ns

    async def fapiPublicGetDepth(  # noqa: N802 - ccxt's name of the call
        self, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Answer with the true book of now."""
        await asyncio.sleep(REST_S / 2)
        while self.elapsed_ns() < self.recording.snapshot_due_ns:
            await asyncio.sleep(0.01)
        book = self.book()
        instrument = self.recording.instrument

        def rows(side: Side) -> list[list[str]]:
            return [
                [_text(instrument.price_text, ticks), _text(instrument.quantity_text, lots)]
                for ticks, lots in book.levels(side, int(request["limit"])).tolist()
            ]

        answer = {"lastUpdateId": book.last_update_id, "bids": rows(Side.BUY)}
        answer |= {"asks": rows(Side.SELL), "E": self._clock.now_ns() // NS_PER_MS}
        await asyncio.sleep(REST_S / 2)
        return answer

    async def fapiPublicGetTrades(  # noqa: N802 - the same
        self, request: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Answer with the newest trades of now."""
        await asyncio.sleep(REST_S / 2)
        known = bisect_right(self._trade_dues, self.elapsed_ns())
        first = max(0, known - int(request["limit"]))
        rows = [self._row(trade) for _, trade in self.recording.trades[first:known]]
        await asyncio.sleep(REST_S / 2)
        return rows

    publicGetDepth = fapiPublicGetDepth
    publicGetTrades = fapiPublicGetTrades

    def book(self) -> Book:
        """Return the true book of now."""
        recording = self.recording
        if not self._folded:
            self._book.load(recording.snapshot)
        elapsed_ns = self.elapsed_ns()
        while self._folded < len(recording.diffs):
            due_ns, diff = recording.diffs[self._folded]
            if due_ns > elapsed_ns:
                break
            self._folded += 1
            if diff.last_update_id >= recording.snapshot.last_update_id:
                self._book.apply(diff)
        return self._book

    def _row(self, trade: Trade) -> dict[str, Any]:
        instrument = self.recording.instrument
        return {
            "id": trade.trade_id,
            "price": instrument.price_text(trade.price_ticks),
            "qty": instrument.quantity_text(trade.quantity_lots),
            "time": trade.event_ns // NS_PER_MS,
            "isBuyerMaker": trade.aggressor is Side.SELL,
        }


@dataclass(slots=True, kw_only=True, repr=False)
class Witness:
    """What a daemon would have seen and decided on, and whether the truth agrees.

    ``statuses`` and ``wrong_decisions`` carry nanoseconds since the first frame.
    """

    recording: Recording
    state: InstrumentState
    trades: list[Trade] = field(default_factory=list)
    statuses: list[tuple[int, Verdict, str]] = field(default_factory=list)
    wrong_decisions: list[int] = field(default_factory=list)
    decision_count: int = 0
    notes: list[tuple[int, Note]] = field(default_factory=list)
    last_decision_ns: int = 0

    def take(self, events: Sequence[Event], now_ns: int) -> None:
        """Fold drained events as the engine does, then decide where that is allowed."""
        state = self.state
        for event in events:
            if isinstance(event, Quote):
                state.on_quote(event)
            elif isinstance(event, Trade):
                state.on_trade(event)
                self.trades.append(event)
            elif isinstance(event, DepthDiff):
                state.on_diff(event)
            elif isinstance(event, DepthSnapshot):
                state.on_snapshot(event)
            elif isinstance(event, MarkPrice):
                state.on_mark(event)
            elif isinstance(event, FeedStatus):
                state.on_status(event)
                self.statuses.append((now_ns, event.verdict, event.reason))
        self.decide(now_ns)

    def decide(self, now_ns: int) -> None:
        """Decide where that is allowed and due, and hold the book of the decision to the truth."""
        state = self.state
        if state.verdict is Verdict.OK and now_ns - self.last_decision_ns >= DECIDE_NS:
            self.last_decision_ns = now_ns
            self.decision_count += 1
            truth = self.recording.book_by_id.get(state.book.last_update_id)
            if truth != digest(state.book):
                self.wrong_decisions.append(now_ns)

    def first(self, since_ns: int, is_sign: Callable[[str], bool]) -> int | None:
        """Return when the first verdict or note with such a name came, None when none did."""
        times = [at for at, verdict, _ in self.statuses if is_sign(verdict.name)]
        times += [at for at, note in self.notes if is_sign(note.event)]
        return min((at for at in times if at >= since_ns), default=None)


@dataclass(slots=True, kw_only=True)
class Replayed:
    """The end of one replay."""

    witness: Witness
    feed: Feed


async def replay(
    recording: Recording,
    sent: Sequence[Sent],
    *,
    audit_interval_s: int = 5,
    seed: int = 7,
    cuts_ns: Sequence[int] = (),
) -> Replayed:
    """Send frames through a real feed in virtual time; cut the public socket at the given times."""
    clock = VirtualClock(recording.base_ns)
    venue = VirtualVenue(recording, clock)
    lanes = Lanes(1, 1_000_000)
    witness = Witness(
        recording=recording,
        state=InstrumentState(recording.instrument, DEFAULT_FEATURE_NAMES, 1_000_000_000),
    )
    feed = Feed(
        cast(Tap, venue),
        (recording.instrument,),
        lanes,
        FeedSettings(audit_interval_s=audit_interval_s, reconnect_ms_min=50, reconnect_ms_max=400),
        clock,
        lambda note: witness.notes.append((venue.elapsed_ns(), note)),
        generator=np.random.default_rng(seed),
    )
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    await feed.start()
    marking = asyncio.create_task(_mark(venue, clock))
    for cut_ns in cuts_ns:
        loop.call_later(cut_ns / 1e9, venue.cut, "public")
    for frame in sent:
        while (wait_ns := frame.due_ns - venue.elapsed_ns()) > 0:
            wait_s = min(wait_ns, DECIDE_NS) / 1e9
            if loop.skip(wait_s):
                witness.decide(venue.elapsed_ns())
                continue
            await asyncio.sleep(wait_s)
            witness.take(lanes.drain(1_000_000), venue.elapsed_ns())
        venue.deliver("public", frame.text)
        witness.take(lanes.drain(1_000_000), venue.elapsed_ns())
    await _settle(feed, lanes, witness, venue)
    marking.cancel()
    await feed.close()
    return Replayed(witness=witness, feed=feed)


async def _settle(feed: Feed, lanes: Lanes, witness: Witness, venue: VirtualVenue) -> None:
    """Let a backfill under way at the end finish; nothing else comes any more."""
    for _ in range(100):
        await asyncio.sleep(0.02)
        witness.take(lanes.drain(1_000_000), venue.elapsed_ns())


async def _mark(venue: VirtualVenue, clock: VirtualClock) -> None:
    """Send the mark price once a second, as of the true book."""
    while True:
        await asyncio.sleep(MARK_INTERVAL_S)
        bid_ticks, _, ask_ticks, _ = venue.book().best()
        price = venue.recording.instrument.price_text((bid_ticks + ask_ticks) // 2)
        words = {"e": "markPriceUpdate", "s": venue.recording.instrument.venue_id, "p": price}
        now_ms = clock.now_ns() // NS_PER_MS - LAG_NS // NS_PER_MS
        venue.deliver("market", json.dumps(words | {"r": "0.0001", "E": now_ms}))
