"""ws-api: requests about orders, and their answers, over one websocket that is kept open.

ccxt opens the socket and knows the address; the signature is ours (signer.py). Its own
``create_order_ws`` is not used for three reasons that were measured or read: it returns ccxt's
unified order, so the venue's code and raw status are gone; it waits for ever for an answer that
never comes; and it queues a request while the socket is away and sends it when the socket returns,
after its caller was told of the loss. Here a request leaves at once or not at all, and every one
ends in an answer or in a refusal.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from daemon.clock import Clock
from daemon.note import Note
from daemon.venues.outcomes import Outcome, Refusal, classify
from daemon.venues.signer import request_text, signs_for
from daemon.venues.supervision import Backoff
from daemon.venues.tap import Stream, StreamLostError, TapBinanceUsdm

ANSWER_TIMEOUT_S = 5.0
"""A request without an answer for this long is of unknown fate, and its socket is given up."""

HEALTHY_S = 10.0
RECONNECT_MS_MIN, RECONNECT_MS_MAX = 100, 10_000
RENEW_S = 23 * 3_600.0
"""The venue closes a connection after 24 hours; ours goes first, at a moment without requests."""

NOT_SENT = Refusal(outcome=Outcome.REFUSED, code=0, http_status=0, reason="ws-api is down")
"""Nothing was sent: the request may go another way."""


class _Answer(msgspec.Struct):
    id: int | str | None = None
    status: int = 0
    result: Any = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


class OrderSocket:
    """One websocket for requests; down until ``keep`` runs as a task."""

    def __init__(
        self,
        exchange: TapBinanceUsdm,
        clock: Clock,
        note: Callable[[Note], None],
        *,
        generator: np.random.Generator,
    ) -> None:
        """Prepare; nothing is opened yet."""
        self.url = str(exchange.urls["api"]["ws"]["ws-api"]["linear"])
        self.connect_count = 0
        self._exchange = exchange
        self._signs = signs_for(exchange)
        self._clock = clock
        self._note = note
        self._backoff = Backoff(RECONNECT_MS_MIN, RECONNECT_MS_MAX, generator)
        self._stream: Stream | None = None
        self._waiting: dict[str, asyncio.Future[_Answer]] = {}
        self._ids = itertools.count(1)

    @property
    def is_up(self) -> bool:
        """Whether a request would leave now."""
        return self._stream is not None

    async def keep(self) -> None:
        """Keep the socket open for ever, with growing pauses between attempts."""
        while True:
            opened_ns = self._clock.monotonic_ns()
            why = await self._serve_once()
            if self._clock.monotonic_ns() - opened_ns >= HEALTHY_S * 1e9:
                self._backoff.reset()
            pause_s = self._backoff.next_s()
            self._say("feed_reconnecting", pause_ms=round(pause_s * 1000.0), reason=why)
            await asyncio.sleep(pause_s)

    async def call(
        self, method: str, request: Mapping[str, Any], handed_over: Callable[[], None] | None
    ) -> Any | Refusal:
        """Make one request; return the venue's document, or what its failure proves.

        ``handed_over`` is called once the bytes are with the socket. ``NOT_SENT`` itself comes back
        when no byte left; every other silence or loss is UNKNOWN.
        """
        stream = self._stream
        if stream is None:
            return NOT_SENT
        name = f"{next(self._ids):08d}"
        words = request_text(name, method, self._signs(request))
        self._waiting[name] = answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await stream.send(words)
                if handed_over is not None:
                    handed_over()
                return _judge(await answer)
        except StreamLostError as error:
            return classify(0, 0, f"ws-api: {error}")
        except TimeoutError:
            await stream.close()  # whatever it is, it does not answer: the next goes by REST
            return classify(0, 0, "ws-api: no answer in time")
        finally:
            self._waiting.pop(name, None)

    async def _serve_once(self) -> str:
        stream: Stream | None = None
        try:
            stream = await self._exchange.open_stream(self.url, self._read)
            self._stream = stream
            self.connect_count += 1
            self._say("feed_connected", streams=0)
            try:
                async with asyncio.timeout(RENEW_S):
                    why = await stream.lost()
            except TimeoutError:
                why = "renewed before the venue ends it"
            self._say("feed_disconnected", reason=why)
            return why
        except StreamLostError as error:
            return str(error)
        finally:
            self._stream = None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(StreamLostError("the connection was lost"))
            if stream is not None:
                await stream.close()

    def _read(self, frame_text: str) -> bool:
        """Take every frame: a socket for requests carries nothing that ccxt should see."""
        try:
            answer = _ANSWER.decode(frame_text)
        except msgspec.DecodeError:
            self._say("feed_frame_refused", kind="ws-api", reason="no answer to a request")
            return True
        waiting = self._waiting.get(str(answer.id))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        return True

    def _say(self, event: str, **fields: object) -> None:
        fields = {"link": "orders", **fields}
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


def _judge(answer: _Answer) -> Any | Refusal:
    if answer.status == 200 and answer.error is None:
        return answer.result
    words = answer.error if isinstance(answer.error, dict) else {}
    code = words.get("code")
    return classify(
        answer.status,
        code if isinstance(code, int) else 0,
        str(words.get("msg", "error without words"))[:200],
    )
