"""Writes the raw public streams of a venue down, in the format that ``run --capture`` replays.

One record a line: local receive time in UNIX nanoseconds (19 digits), a blank, the document. A
frame is wrapped as a combined stream would send it, its own bytes untouched; the REST snapshot of
every instrument follows without wrapper, after the first frames, so that the changes it joins are
in the file.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from ccxt.base.errors import BaseError

from config.settings import FeedSettings
from daemon.clock import Clock
from daemon.effects import Note
from daemon.venues.links import Link, LinkPlan
from daemon.venues.market_rules import public_streams
from daemon.venues.normalize import ColdFrame
from daemon.venues.supervision import Backoff, Supervisor
from daemon.venues.tap import Tap, refusal_of
from kernels.units import Instrument

DEPTH_RATE = "0ms"
"""The depth stream of a capture: the one that carries each change, where the market has it."""

SNAPSHOT_LEVELS = 1_000
PART_SUFFIX = ".part"


class _Outline(msgspec.Struct):
    """What of a frame decides where it belongs."""

    e: str = ""
    s: str = ""
    id: int | None = None
    error: msgspec.Raw | None = None
    U: int = 0
    pu: int = -1
    u: int = -1

    @property
    def kind(self) -> str:
        """Name the event; spot leaves that out of its best bid/ask."""
        return self.e or ("bookTicker" if self.u >= 0 else "")

    @property
    def previous_id(self) -> int:
        """Give the id that this update continues; spot says only where it begins."""
        return self.pu if self.pu >= 0 else self.U - 1


class Recorder:
    """One socket with depth, trades and best bid/ask of all instruments, into one gzip file.

    The file has its name only once it is whole: until ``close`` it ends in ``.part``. Counters:
    ``line_counts`` by stream name (snapshots under ``snapshot``), ``gap_count`` of the depth
    streams, ``refused_count`` of frames that could not be read.
    """

    def __init__(
        self,
        exchange: Tap,
        instruments: Sequence[Instrument],
        path: Path,
        clock: Clock,
        note: Callable[[Note], None],
        *,
        settings: FeedSettings,
        generator: np.random.Generator,
    ) -> None:
        """Create the file; OSError when that fails."""
        self.line_counts: Counter[str] = Counter()
        self.gap_count = self.refused_count = 0
        self._exchange = exchange
        self._instruments = tuple(instruments)
        self._path = path
        self._clock = clock
        self._note = note
        self._settings = settings
        self._generator = generator
        self._part = path.with_name(path.name + PART_SUFFIX)
        self._file = gzip.open(self._part, "wb", compresslevel=6)  # noqa: SIM115 - closed by close
        self._decode = msgspec.json.Decoder(_Outline).decode
        self._names = {each.venue_id for each in self._instruments}
        self._last_ids: dict[str, int] = {}
        self._supervisor = Supervisor(clock, note, generator)
        rate = exchange.rules.depth_rate or DEPTH_RATE
        self._stream_by_kind = {
            "depthUpdate": f"depth@{rate}",
            "trade": "trade",
            "bookTicker": "bookTicker",
        }
        self._link = Link(
            plan=LinkPlan(name="public", streams=public_streams(self._instruments, rate)),
            exchange=exchange,
            owner=self,
            read=self.read,
            backoff=self._backoff(),
            clock=clock,
            note=note,
        )

    def start(self) -> None:
        """Start recording; returns at once."""
        self._supervisor.spawn_forever("record", self._link.keep)

    async def close(self) -> None:
        """End the socket, finish the file and give it its name."""
        await self._supervisor.close()
        self._file.close()
        self._part.replace(self._path)

    def read(self, frame_text: str) -> bool:
        """Write one raw frame; every frame is ours."""
        received_ns = self._clock.now_ns()
        try:
            outline = self._decode(frame_text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.refused_count += 1
            return True
        if outline.id is not None:
            has_error = outline.error is not None
            self._link.on_answer(ColdFrame(event="", request_id=outline.id, is_error=has_error))
            return True
        kind = self._stream_by_kind.get(outline.kind)
        if kind is None or outline.s not in self._names or "\n" in frame_text:
            self.refused_count += 1
            return True
        if outline.e == "depthUpdate":
            if self._last_ids.get(outline.s, outline.previous_id) != outline.previous_id:
                self.gap_count += 1
            self._last_ids[outline.s] = outline.u
        stream = f"{outline.s.lower()}@{kind}"
        line = f'{received_ns} {{"stream":"{stream}","data":{frame_text}}}\n'
        self._file.write(line.encode())
        self.line_counts[stream] += 1
        return True

    # what the link asks of its owner --------------------------------------------------------

    async def url_of(self, link: Link) -> str:
        """Return the address of the public streams."""
        return self._exchange.rules.stream_url(link.name)

    async def on_link_up(self, link: Link) -> None:
        """Ask for the books, while the changes they join are already being written."""
        self._supervisor.spawn("snapshots", self._write_snapshots())

    def on_link_down(self, link: Link, why: str) -> None:
        """Forget the chain: a new connection begins another."""
        self._last_ids.clear()

    async def _write_snapshots(self) -> None:
        for instrument in self._instruments:
            await self._write_snapshot(instrument)

    async def _write_snapshot(self, instrument: Instrument) -> None:
        """Write a book that reaches at least to the first change written."""
        backoff = self._backoff()
        while True:
            while instrument.venue_id not in self._last_ids:
                await asyncio.sleep(0.01)
            first_id = self._last_ids[instrument.venue_id]
            try:
                answer = await self._exchange.rules.depth(instrument.venue_id, SNAPSHOT_LEVELS)
            except BaseError as error:
                fields = {
                    "kind": "snapshot",
                    "instrument": instrument.symbol,
                    "reason": refusal_of(error).reason,
                }
                now_ns = self._clock.now_ns()
                self._note(Note(event="feed_frame_refused", event_ns=now_ns, fields=fields))
            else:
                if int(answer["lastUpdateId"]) >= first_id:
                    if len(self._instruments) > 1:
                        answer = {**answer, "symbol": instrument.venue_id}
                    document = msgspec.json.encode(answer)
                    self._file.write(b"%d %b\n" % (self._clock.now_ns(), document))
                    self.line_counts["snapshot"] += 1
                    return
            await asyncio.sleep(backoff.next_s())

    def _backoff(self) -> Backoff:
        settings = self._settings
        return Backoff(settings.reconnect_ms_min, settings.reconnect_ms_max, self._generator)
