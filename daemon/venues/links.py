"""One supervised websocket: open, subscribe, serve, and come back with growing pauses.

A link is up only after its subscription was acknowledged and its owner has caught up; it is down
the moment the socket goes, whoever closed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.effects import Note
from daemon.venues.normalize import ColdFrame
from daemon.venues.supervision import Backoff
from daemon.venues.tap import Stream, StreamLostError, Tap, refusal_of

ACKNOWLEDGE_TIMEOUT_S = 5.0
"""A subscription that is not answered in this time counts as a lost connection."""

HEALTHY_S = 10.0
"""A connection that lived this long was a good one: the next pause is the shortest again."""


class LinkOwner(Protocol):
    """What a link asks of the feed that owns it."""

    async def url_of(self, link: Link) -> str:
        """Return the address to connect to; may ask the venue for it."""
        ...

    async def on_link_up(self, link: Link) -> None:
        """Catch up after a connection; the link counts as up when this returns."""
        ...

    def on_link_down(self, link: Link, why: str) -> None:
        """Withdraw what depended on the link."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPlan:
    """What one socket is for: its name in notes, and what it asks for once it is open, if anything.

    ``request`` takes the id of the request; without it the streams are subscribed by name.
    """

    name: str
    streams: Sequence[str]
    request: Callable[[int], Mapping[str, Any] | None] | None = None


class Link:
    """One websocket that is kept open; ``reconnect_count`` counts connections after the first."""

    def __init__(
        self,
        *,
        plan: LinkPlan,
        exchange: Tap,
        owner: LinkOwner,
        read: Callable[[str], bool],
        backoff: Backoff,
        clock: Clock,
        note: Callable[[Note], None],
    ) -> None:
        """Prepare a link that is down."""
        self.name = plan.name
        self.is_up = False
        self.connect_count = 0
        self.opened_ns = 0
        self._plan = plan
        self._exchange = exchange
        self._owner = owner
        self._read = read
        self._backoff = backoff
        self._clock = clock
        self._note = note
        self._request_id = 0
        self._answer: asyncio.Future[ColdFrame] | None = None
        self._stream: Stream | None = None
        self._close_reason = ""

    @property
    def reconnect_count(self) -> int:
        """Connections after the first."""
        return max(self.connect_count - 1, 0)

    async def keep(self) -> None:
        """Keep the link up for ever."""
        while True:
            opened_at_ns = self._clock.monotonic_ns()
            why = await self._serve_once()
            lived_s = (self._clock.monotonic_ns() - opened_at_ns) / 1e9
            if lived_s >= HEALTHY_S:
                self._backoff.reset()
            pause_s = self._backoff.next_s()
            self._say("feed_reconnecting", pause_ms=round(pause_s * 1000.0), reason=why)
            await asyncio.sleep(pause_s)

    def on_answer(self, frame: ColdFrame) -> None:
        """Take the venue's answer to a subscription."""
        answer = self._answer
        if answer is not None and not answer.done() and frame.request_id == self._request_id:
            answer.set_result(frame)

    async def drop(self, reason: str) -> None:
        """Close the socket now; ``keep`` opens another."""
        self._close_reason = reason
        if self._stream is not None:
            await self._stream.close()

    async def _serve_once(self) -> str:
        """Open, subscribe and serve until the socket is gone; return why it went."""
        why = "closed"
        self._close_reason = ""
        was_connected = is_ending = False
        try:
            url = await self._owner.url_of(self)
            self._stream = await self._exchange.open_stream(url, self._read)
            was_connected = True
            self.connect_count += 1
            self.opened_ns = self._clock.now_ns()
            await self._serve(self._stream)
            why = await self._stream.lost()
        except StreamLostError as error:
            why = str(error)
        except BaseError as error:  # a REST call on the way: its text may hold a signed URL
            why = refusal_of(error).reason
        except asyncio.CancelledError:
            is_ending = True  # only the feed's own end cancels a link: nobody waits for the news
            raise
        finally:
            why = self._close_reason or why
            stream, self._stream = self._stream, None
            self.is_up = False
            if was_connected and not is_ending:
                self._say("feed_disconnected", reason=why)
            if not is_ending:
                self._owner.on_link_down(self, why)
            if stream is not None:
                await stream.close()
        return why

    async def _serve(self, stream: Stream) -> None:
        self._request_id += 1
        words = self._words()
        if words is not None:
            await self._subscribe(stream, words)
        self._say("feed_connected", streams=len(self._plan.streams))
        try:
            await self._owner.on_link_up(self)
        except BaseError as error:  # its text may hold a signed URL
            raise StreamLostError(f"catching up failed: {refusal_of(error).reason}") from None
        except Exception as error:
            detail = f"{type(error).__name__}: {str(error)[:200]}"
            raise StreamLostError(f"catching up failed: {detail}") from error
        self.is_up = True

    def _words(self) -> Mapping[str, Any] | None:
        """Return the request that opens the streams; None where the address alone does."""
        if self._plan.request is not None:
            return self._plan.request(self._request_id)
        if not self._plan.streams:
            return None
        streams = list(self._plan.streams)
        return {"method": "SUBSCRIBE", "params": streams, "id": self._request_id}

    async def _subscribe(self, stream: Stream, words: Mapping[str, Any]) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        await stream.send(words)
        lost = asyncio.ensure_future(stream.lost())
        try:
            done, _ = await asyncio.wait(
                (self._answer, lost),
                timeout=ACKNOWLEDGE_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            lost.cancel()
        if self._answer not in done:
            raise StreamLostError("subscription was not acknowledged")
        if self._answer.result().is_error:
            raise StreamLostError("subscription was refused")

    def _say(self, event: str, **fields: object) -> None:
        fields = {"link": self.name, **fields}
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


OnUserConnect = Callable[[], Awaitable[None]]
"""Reconciles after every connection of the user stream, which repeats nothing it missed."""
