"""From a bookTicker's bytes to a signed order's bytes, and the same pipeline as a prototype would.

Every timed tick decides and sends. Between two of them, untimed, the order before is declared dead,
the account is set so that the ensemble wants another one, and everything else the market said is
taken in. Time is the market's own, so ages, bars and windows are what they would be live.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from config.load import load_settings
from daemon.bench.bench_frames import WireFrame, synthetic_frames
from daemon.bench.feed_stage import StartedFeed
from daemon.bench.prototype import Prototype
from daemon.bench.stopwatch import Form, Goal, Stage
from daemon.clock import SystemClock
from daemon.decisions import Decider
from daemon.effects import Note, SendOrder
from daemon.engine import Engine
from daemon.identity import new_run_id
from daemon.journal import Journal
from daemon.lanes import Lanes
from daemon.metrics import Metrics
from daemon.model_loading import load_model
from daemon.probe import StageProbe
from daemon.simulated.market_documents import exchange_document
from daemon.venues.normalize import Normalizer
from daemon.venues.orders import order_request
from daemon.venues.signer import HmacSigner, request_text
from daemon.venues.socketless import Message, SocketlessVenue, text_message
from kernels.events import (
    AccountState,
    DayVolume,
    DrainEnd,
    FeedStatus,
    MarkPrice,
    OrderStatus,
    OrderUpdate,
    Quote,
    Verdict,
)
from kernels.units import E8

SYMBOL = "BTC/USDT:USDT"
START_NS = 1_700_000_000_000_000_000
FRAMES = 6_000
TICKS = 1_200
NS_PER_MS = 1_000_000
MARK_EVERY_NS = 1_000_000_000
"""As the venue sends mark prices."""

OVERRIDES = (
    f"instruments=['{SYMBOL}']",
    "decision.trigger=event",
    "decision.min_gap_ms=1",
    "limits.messages_per_s_max=1000000",
    "limits.messages_burst_max=1000000",
    "limits.agent_executions_max=1000000",
    "limits.duplicate_window_ms=1",
)
HELD_LOTS = 1_000
"""A position far beyond every small target: closing it is always worth an order."""
KEY, SECRET, WINDOW_MS = "benchmark", "nobody's secret", 5_000

OURS = "bytes of a tick to bytes of a signed order"
PROTOTYPE = "the same by json, torch eager and Python between"
RATIO_MIN = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One timed frame, its message as the socket gives it, and the frames before it."""

    frame: WireFrame
    message: Message
    before: tuple[WireFrame, ...]


class MarketClock:
    """Wall time as the market's frames say, monotonic time as the machine says."""

    __slots__ = ("wall_ns",)

    def __init__(self, wall_ns: int) -> None:
        """Stand at that UNIX time."""
        self.wall_ns = wall_ns

    def now_ns(self) -> int:
        """Return the time last set."""
        return self.wall_ns

    monotonic_ns = SystemClock.monotonic_ns


class TickRig:
    """Feed, engine, journal and signature as the daemon wires them, without the sockets."""

    def __init__(self) -> None:
        """Load the shipped bundle and make the market."""
        self.settings = load_settings(None, None, list(OVERRIDES))
        self.frames = synthetic_frames(FRAMES, START_NS, symbols=(SYMBOL,), stamp_slowness=1)
        self.clock = MarketClock(START_NS)
        self.model, _ = load_model(self.settings, self.clock)
        self.venue = SocketlessVenue(exchange_document(self.frames.instruments, 0, []))
        self.order_count = 0
        self._folder = tempfile.TemporaryDirectory()
        self._round = 0
        signer = HmacSigner(KEY, SECRET, WINDOW_MS, lambda: self.clock.wall_ns // NS_PER_MS)
        self._sign = signer.sign
        self._open()

    def __enter__(self) -> Self:
        """Hand out the rig."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the journal and remove its folder."""
        self._journal.close(self.clock.wall_ns)
        self._folder.cleanup()

    @property
    def ticks(self) -> list[Tick]:
        """The quotes to time, each with what the market said since the one before."""
        ticks: list[Tick] = []
        before: list[WireFrame] = []
        for frame in self.frames.frames:
            if type(frame.event) is not Quote:
                before.append(frame)
                continue
            message = text_message(frame.text)
            ticks.append(Tick(frame=frame, message=message, before=tuple(before)))
            before = []
        return ticks[:TICKS]

    def reset(self) -> None:
        """Begin again in the middle of the market, with memories of its first half."""
        self._journal.close(self.clock.wall_ns)
        self._open()

    def prepare(self, tick: Tick) -> None:
        """Take in what came before a tick, end the order before, want another one."""
        now_ns, step = tick.frame.received_ns, self.engine.step
        for frame in tick.before:
            self.clock.wall_ns = frame.received_ns
            self._hand(text_message(frame.text))
        for event in self._lanes.drain(4_096):
            step(event)
        self.clock.wall_ns = now_ns
        market, desk = self.engine.markets[0], self.engine.desk
        if now_ns - market.mark_received_ns >= MARK_EVERY_NS:
            self._value(now_ns)
        for order in desk.orders.open_orders():
            step(_death_of(order.client_order_id, now_ns))
        wanted = self.engine.history[-1].target_lots if self.engine.history else 0
        held = AccountState(
            received_ns=now_ns,
            wallet_quote_e8=100_000 * E8,
            position_lots=(0 if abs(wanted) >= HELD_LOTS // 2 else HELD_LOTS,),
        )
        desk.ledger.adopt(held)

    def tick(self, tick: Tick) -> str:
        """Do what the daemon does from a frame in hand to an order's bytes; empty without one."""
        self._hand(tick.message)
        step, words = self.engine.step, ""
        events = self._lanes.drain(4_096)
        for event in events:
            step(event)
        effects = step(DrainEnd(received_ns=tick.frame.received_ns, drained_count=len(events)))
        sends = [effect for effect in effects if isinstance(effect, SendOrder)]
        if sends:
            self._journal.record_intents(
                [(s.client_order_id, s.approved.intent, s.approved.approved_ns) for s in sends]
            )
            for send in sends:
                instrument = self.frames.instruments[send.approved.intent.instrument]
                request = order_request(send.client_order_id, send.approved.intent, instrument)
                words = request_text("00000001", "order.place", self._sign(request))
            self.order_count += 1
        return words

    def _value(self, now_ns: int) -> None:
        """Say what the venue says once a second or once a minute."""
        step, mid_ticks = self.engine.step, self.engine.markets[0].mid_ticks
        step(
            MarkPrice(
                instrument=0,
                event_ns=now_ns,
                received_ns=now_ns,
                mark_ticks=int(mid_ticks) or 1,
                funding_rate_frac=0.0,
            )
        )
        step(DayVolume(instrument=0, received_ns=now_ns, volume_lots=10**9))
        step(FeedStatus(instrument=0, received_ns=now_ns, verdict=Verdict.OK, reason="benchmark"))

    def _open(self) -> None:
        """Make everything that remembers; decisions begin with warm features."""
        frames, clock = self.frames, self.clock
        self._round += 1
        run_id = new_run_id(START_NS, self._round.to_bytes(4, "big"))
        folder = Path(self._folder.name) / str(self._round)
        self._journal = Journal(folder, run_id, "ring", instruments=(SYMBOL,), started_ns=START_NS)
        metrics = Metrics()
        self.engine = Engine(
            instruments=frames.instruments,
            settings=self.settings,
            run_id=run_id,
            decider=Decider(self.model, self.settings, 1),
            opening=AccountState(
                received_ns=START_NS, wallet_quote_e8=100_000 * E8, position_lots=(0,)
            ),
            probe=StageProbe(clock, metrics),
        )
        read = Normalizer(frames.instruments).market
        for frame in frames.earlier:
            event = read(frame.text, frame.received_ns)
            if isinstance(event, Quote):
                self.engine.step(event)
                self.engine.markets[0].features.close_bars(frame.received_ns)
        clock.wall_ns = frames.frames[0].received_ns
        self._lanes = Lanes(1, 100_000)
        feed = StartedFeed(
            self.venue.exchange,
            frames.instruments,
            self._lanes,
            self.settings.feed,
            clock,
            _forget_note,
            generator=np.random.default_rng(1),
            record=metrics.record,
        )
        feed.begin(frames)
        self._hand = self.venue.reader_for(feed.read_public)
        self._lanes.drain(1_000)


def tick_stage(rig: TickRig) -> Stage:
    """Time the whole way beside the prototype's; AssertionError unless ticks lead to orders."""
    ticks = rig.ticks
    sent = _count_orders(rig, ticks)
    prototype = Prototype(rig.frames, KEY, SECRET)
    forms = [
        Form(
            name=OURS,
            function=rig.tick,
            rows=[(tick,) for tick in ticks],
            before_round=rig.reset,
            before_row=rig.prepare,
        ),
        Form(
            name=PROTOTYPE,
            function=prototype.tick,
            rows=[(tick.frame.text, tick.frame.received_ns) for tick in ticks],
        ),
    ]
    facts = {"ticks": len(ticks), "orders": sent, "form of the models": rig.model.runtime}
    goals = [Goal(form=OURS, base=PROTOTYPE, ratio_min=RATIO_MIN)]
    return Stage(name="tick", forms=forms, goals=goals, facts=facts)


def _count_orders(rig: TickRig, ticks: Sequence[Tick]) -> int:
    """Go once through all ticks; a stage that did not send would time something else."""
    rig.reset()
    sent = 0
    for tick in ticks:
        rig.prepare(tick)
        sent += bool(rig.tick(tick))
    assert sent >= 0.95 * len(ticks), (sent, len(ticks), dict(rig.engine.skip_counts))
    return sent


def _death_of(client_order_id: str, now_ns: int) -> OrderUpdate:
    return OrderUpdate(
        instrument=0,
        event_ns=now_ns,
        received_ns=now_ns,
        client_order_id=client_order_id,
        status=OrderStatus.EXPIRED,
        filled_lots=0,
        code=0,
        reason="benchmark",
    )


def _forget_note(note: Note) -> None:
    """Nobody listens to a benchmark."""
