"""A frame's way from the socket's text to the features, and the same frames by ccxt itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from config.load import load_settings
from config.settings import Settings
from daemon.bench.bench_frames import FrameSet, WireFrame
from daemon.bench.stopwatch import Form, Goal, Stage
from daemon.clock import SystemClock
from daemon.decisions import Decider
from daemon.effects import Note
from daemon.engine import Engine
from daemon.instrument_state import InstrumentState
from daemon.lanes import Lanes
from daemon.metrics import Metrics
from daemon.model_loading import load_model
from daemon.probe import StageProbe
from daemon.simulated.market_documents import exchange_document, level_rows
from daemon.venues.feeds import Feed
from daemon.venues.normalize import Normalizer
from daemon.venues.socketless import SocketlessVenue, text_message
from kernels.events import AccountState, DepthDiff, Event, Quote, Trade
from kernels.features import DEFAULT_FEATURE_NAMES
from kernels.units import E8, Instrument

BAR_NS = 1_000_000_000
CHUNK_FRAMES = 100
SAMPLES = 3_000
TICK_NS_MAX = 5_000.0
CPU_RATIO_MIN = 2.5

TICK = "decode + book top + 50 features, bookTicker"
WAY = "socket read to engine, bookTicker, all checks and counters"
DECODE, PLAIN_JSON = "decode bookTicker to event", "json.loads of the same frame"
OURS = {kind: f"tap to lanes, {kind}" for kind in ("all kinds", "bookTicker", "trade", "depth")}
THEIRS = {kind: f"ccxt watch_* handler, {kind}" for kind in OURS}
KINDS: dict[str, type[object] | None] = {
    "all kinds": None,
    "bookTicker": Quote,
    "trade": Trade,
    "depth": DepthDiff,
}


class StartedFeed(Feed):
    """A feed whose books were loaded and whose links count as up, without any connection."""

    def begin(self, frames: FrameSet) -> None:
        """Take the books that the frames start from; remember the texts from before."""
        self._links.public = self._links.user = True
        for frame in frames.earlier:
            self._normalizer.market(frame.text, frame.received_ns)
        for snapshot in frames.snapshots:
            self.take_snapshot(self._tracks[snapshot.instrument], snapshot)


class RoundClock(SystemClock):
    """The machine's clock, set anew at every round: the frames carry the same stamps each time."""

    __slots__ = ()

    def set_to(self, now_ns: int) -> None:
        """Stand at ``now_ns`` and go on from there; for rounds of less than a second."""
        super().__init__()
        self._anchor_wall_ns = now_ns


class FeedRig:
    """Our feed and ccxt's handlers, both waiting for frames."""

    def __init__(self, frames: FrameSet, settings: Settings, clock: RoundClock) -> None:
        """Prepare both sides for the instruments of the frames."""
        self.frames = frames
        self.metrics = Metrics()
        self.lanes = Lanes(len(frames.instruments), 100_000)
        self._settings = settings
        self._clock = clock
        self.venue = SocketlessVenue(exchange_document(frames.instruments, 0, []))
        self.hand_to_ccxt = self.venue.reader_for(None)
        self.hand_to_us = self._fresh_reader()

    def reset(self) -> None:
        """Begin again at the snapshots, on both sides: a repeated trade would be cheap."""
        self._clock.set_to(self.frames.start_ns)
        self.lanes.drain(1_000_000)
        self.hand_to_us = self._fresh_reader()
        self.lanes.drain(1_000_000)
        for snapshot in self.frames.snapshots:
            instrument = self.frames.instruments[snapshot.instrument]
            self.venue.load_book(
                instrument.symbol,
                level_rows(instrument, snapshot.bid_levels_n2),
                level_rows(instrument, snapshot.ask_levels_n2),
                snapshot.last_update_id,
            )

    def events_of(self, chosen: Sequence[WireFrame]) -> list[Event]:
        """Read frames through our tap and return what reached the engine's side of the lanes."""
        self.reset()
        events: list[Event] = []
        for frame in chosen:
            self.hand_to_us(text_message(frame.text))
            events.extend(self.lanes.drain(1_000))
        return events

    def _fresh_reader(self) -> Callable[..., None]:
        feed = StartedFeed(
            self.venue.exchange,
            self.frames.instruments,
            self.lanes,
            self._settings.feed,
            self._clock,
            _forget_note,
            generator=np.random.default_rng(1),
            record=self.metrics.record,
        )
        feed.begin(self.frames)
        return self.venue.reader_for(feed.read_public)


def feed_stage(frames: FrameSet) -> tuple[Stage, FeedRig]:
    """Build the stage; the rig must be closed after it ran. AssertionError if answers differ."""
    settings = load_settings(None, None, [])
    clock = RoundClock()
    rig = FeedRig(frames, settings, clock)
    facts = _equal_answers(rig)
    quotes = frames.of_kind(Quote)[:SAMPLES]
    forms = [*_single_frames(frames, quotes), _whole_way(rig, quotes, settings, clock)]
    goals = [
        Goal(form=TICK, p50_ns_max=TICK_NS_MAX),
        Goal(form=WAY, p50_ns_max=TICK_NS_MAX),
        Goal(form=DECODE, base=PLAIN_JSON),
    ]
    for kind, event_class in KINDS.items():
        chosen = frames.frames if event_class is None else frames.of_kind(event_class)
        forms.extend(_both_sides(rig, kind, chosen))
        limit = CPU_RATIO_MIN if event_class is None else None
        goals.append(Goal(form=OURS[kind], base=THEIRS[kind], ratio_min=limit))
    return Stage(name="feed", forms=forms, goals=goals, facts=facts), rig


class SingleFrames:
    """Decoder and market states alone; every round knows the texts from before, and no others."""

    def __init__(self, frames: FrameSet) -> None:
        """Begin afresh."""
        self._frames = frames
        self.reset()

    def reset(self) -> None:
        """Forget the timed frames: a text seen before would be cheap."""
        self._read = Normalizer(self._frames.instruments).market
        self._markets = [_new_market(instrument) for instrument in self._frames.instruments]
        for frame in self._frames.earlier:
            self._read(frame.text, frame.received_ns)

    def decode(self, text: str, received_ns: int) -> object:
        """Read one frame."""
        return self._read(text, received_ns)

    def tick(self, text: str, received_ns: int) -> None:
        """Read one bookTicker and fold it into its market."""
        quote = self._read(text, received_ns)
        self._markets[quote.instrument].on_quote(quote)  # type: ignore[union-attr,arg-type]  # only quotes come here


def _single_frames(frames: FrameSet, quotes: Sequence[WireFrame]) -> list[Form]:
    single = SingleFrames(frames)
    rows = [(frame.text, frame.received_ns) for frame in quotes]
    return [
        Form(name=TICK, function=single.tick, rows=rows, before_round=single.reset),
        Form(name=DECODE, function=single.decode, rows=rows, before_round=single.reset),
        Form(name=PLAIN_JSON, function=json.loads, rows=[(frame.text,) for frame in quotes]),
    ]


def _new_market(instrument: Instrument) -> InstrumentState:
    return InstrumentState(instrument, DEFAULT_FEATURE_NAMES, BAR_NS)


def _whole_way(
    rig: FeedRig, quotes: Sequence[WireFrame], settings: Settings, clock: RoundClock
) -> Form:
    """Everything that the daemon does per quote: tap, proof, lanes, engine, probes."""
    instruments = rig.frames.instruments
    model, _ = load_model(settings, clock)
    account = AccountState(
        received_ns=clock.now_ns(),
        wallet_quote_e8=100_000 * E8,
        position_lots=(0,) * len(instruments),
    )
    engine = Engine(
        instruments=instruments,
        settings=settings,
        run_id="0" * 12,
        decider=Decider(model, settings, len(instruments)),
        opening=account,
        probe=StageProbe(clock, rig.metrics),
    )
    lanes = rig.lanes

    def way(message: object) -> None:
        rig.hand_to_us(message)
        for event in lanes.drain(4_096):
            engine.step(event)

    rows = [(text_message(frame.text),) for frame in quotes]
    return Form(name=WAY, function=way, rows=rows, before_round=rig.reset)


def _both_sides(rig: FeedRig, kind: str, chosen: Sequence[WireFrame]) -> list[Form]:
    """Time chunks of successive frames, so that every kind counts by its share."""
    messages = [text_message(frame.text) for frame in chosen]
    count = len(messages) - len(messages) % CHUNK_FRAMES
    rows = [(messages[at : at + CHUNK_FRAMES],) for at in range(0, count, CHUNK_FRAMES)]
    drain = rig.lanes.drain

    def ours(chunk: Sequence[object]) -> None:
        hand = rig.hand_to_us
        for message in chunk:
            hand(message)
        drain(4_096)

    def theirs(chunk: Sequence[object]) -> None:
        hand = rig.hand_to_ccxt
        for message in chunk:
            hand(message)  # type: ignore[arg-type]  # made by text_message

    return [
        Form(
            name=names[kind],
            function=function,
            rows=rows,
            operations=CHUNK_FRAMES,
            before_round=rig.reset,
        )
        for names, function in ((OURS, ours), (THEIRS, theirs))
    ]


def _equal_answers(rig: FeedRig) -> dict[str, object]:
    """Hold our events against the frames' own, and ccxt's last word against ours."""
    frames = rig.frames
    markets = [_new_market(instrument) for instrument in frames.instruments]
    for snapshot in frames.snapshots:
        markets[snapshot.instrument].on_snapshot(snapshot)
    events = rig.events_of(frames.frames)
    seen = [event for event in events if isinstance(event, Quote | Trade | DepthDiff)]
    assert len(seen) == len(frames.frames), (len(seen), len(frames.frames))
    for event, frame in zip(seen, frames.frames, strict=True):
        wanted = frame.event
        assert type(event) is type(wanted)
        market = markets[event.instrument]
        if isinstance(event, Quote):
            market.on_quote(event)
        elif isinstance(event, DepthDiff):
            assert market.on_diff(event), "the book's top contradicts the quote"
        rig.hand_to_ccxt(text_message(frame.text))
    for market in markets:
        instrument = market.instrument
        bid, _, ask, _ = market.book.best()
        tick = instrument.tick_size
        ours = (bid * tick, ask * tick)
        quoted = (market.bid_ticks * tick, market.ask_ticks * tick)
        assert np.allclose(ours, rig.venue.best_of_book(instrument.symbol), rtol=1e-12)
        assert np.allclose(quoted, rig.venue.best_quoted(instrument.symbol), rtol=1e-12)
    return {"frames": len(seen), "books compared": sum(m.top_checked_count for m in markets)}


def _forget_note(note: Note) -> None:
    """Write nothing."""
