"""Loads books by REST and audits them: ask, wait, ask again, one job at a time per instrument."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ccxt.base.errors import BaseError

from config.settings import FeedSettings
from daemon.clock import Clock
from daemon.venues.integrity import InstrumentTrack
from daemon.venues.normalize import FrameRefusedError, Normalizer
from daemon.venues.supervision import Backoff, Supervisor
from daemon.venues.tap import Tap, refusal_of
from kernels.events import DepthSnapshot

AUDIT_WAIT_S = 3.0
"""How long the stream may take to reach a snapshot that is ahead of it."""

AUDIT_POLL_S = 0.02

CALM_NS = 10_000_000_000
"""A book that held this long is loaded again at once; one that fails sooner has to wait."""


class BookOwner(Protocol):
    """What the loader asks of the feed that owns the books."""

    @property
    def is_public_up(self) -> bool:
        """Whether depth updates are coming in."""
        ...

    def take_snapshot(self, track: InstrumentTrack, snapshot: DepthSnapshot) -> bool:
        """Pass on a snapshot; False when it is too old to join the stream."""
        ...

    def on_audit(self, track: InstrumentTrack, reason: str) -> None:
        """Take the answer of an audit, empty for a book that is right."""
        ...

    def on_refused(self, refusal: FrameRefusedError, received_ns: int) -> None:
        """Count and note what could not be read."""
        ...

    def say(self, event: str, now_ns: int = 0, **fields: object) -> None:
        """Note something."""
        ...


class BookLoader:
    """Brings every book to its stream, and holds it against the venue's own afterwards."""

    def __init__(
        self,
        *,
        exchange: Tap,
        normalizer: Normalizer,
        clock: Clock,
        settings: FeedSettings,
        supervisor: Supervisor,
        owner: BookOwner,
        make_backoff: Callable[[], Backoff],
    ) -> None:
        """Prepare; nothing is asked before ``load`` or ``audit``."""
        self._exchange = exchange
        self._normalizer = normalizer
        self._clock = clock
        self._settings = settings
        self._supervisor = supervisor
        self._owner = owner
        self._make_backoff = make_backoff
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._backoffs: dict[int, Backoff] = {}
        self._loaded_ns: dict[int, int] = {}

    def load(self, track: InstrumentTrack) -> None:
        """Ask for snapshots until one joins the stream; does nothing while that is under way."""
        running = self._loading.get(track.instrument.index)
        if running is None or running.done():
            name = f"resync {track.instrument.symbol}"
            self._loading[track.instrument.index] = self._supervisor.spawn(name, self._load(track))

    def load_afresh(self, track: InstrumentTrack) -> None:
        """Load for a new connection: a job of before may sleep long, or hold an answer of then."""
        running = self._loading.pop(track.instrument.index, None)
        if running is not None:
            running.cancel()
        self._loaded_ns.pop(track.instrument.index, None)
        self.load(track)

    async def _load(self, track: InstrumentTrack) -> None:
        index = track.instrument.index
        backoff = self._backoffs.setdefault(index, self._make_backoff())
        if self._clock.monotonic_ns() - self._loaded_ns.get(index, -CALM_NS) >= CALM_NS:
            backoff.reset()
        else:
            await asyncio.sleep(backoff.next_s())
        while self._owner.is_public_up and not track.is_overflowed:
            snapshot = await self._ask(track)
            if (
                snapshot is not None
                and self._owner.is_public_up
                and self._owner.take_snapshot(track, snapshot)
            ):
                self._loaded_ns[index] = self._clock.monotonic_ns()
                return
            await asyncio.sleep(backoff.next_s())

    async def audit(self, track: InstrumentTrack) -> None:
        """Compare a book with a fresh snapshot; a venue that does not answer proves nothing."""
        proof = track.proof
        proof.begin_audit()
        try:
            snapshot = await self._ask(track)
            if snapshot is None:
                return
            deadline_ns = self._clock.monotonic_ns() + int(AUDIT_WAIT_S * 1e9)
            while track.sequence.is_synchronised and self._clock.monotonic_ns() < deadline_ns:
                reason = proof.audit(snapshot)
                if reason is not None:
                    self._owner.on_audit(track, reason)
                    return
                await asyncio.sleep(AUDIT_POLL_S)
        finally:
            proof.end_audit()

    async def _ask(self, track: InstrumentTrack) -> DepthSnapshot | None:
        venue_id = track.instrument.venue_id
        try:
            answer = await self._exchange.rules.depth(venue_id, self._settings.snapshot_levels)
            return self._normalizer.snapshot(answer, venue_id, self._clock.now_ns())
        except FrameRefusedError as refusal:
            self._owner.on_refused(refusal, self._clock.now_ns())
        except BaseError as error:
            reason = refusal_of(error).reason
            self._owner.say(
                "feed_frame_refused", kind="snapshot", instrument=venue_id, reason=reason
            )
        return None
