"""ccxt's own connection with a tap in front: hot frames are seen as raw text, before its JSON.

A ``Tap`` is ccxt's client for URLs, signing, markets and REST. Its sockets hand every text
frame to our reader first; what the reader does not consume goes on to ccxt. Errors of REST calls
carry the venue's code and the HTTP status, because ccxt's exception classes do not tell what an
order needs to know. Every host is checked against an allow-list before a byte goes out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar

import aiohttp
from aiohttp import WSMsgType
from ccxt.async_support.base.exchange import Exchange
from ccxt.async_support.base.ws.client import Client
from ccxt.base.errors import BaseError, ExchangeError, NetworkError
from ccxt.pro.binanceusdm import binanceusdm

from daemon.venues.market_rules import MarketRules, UsdmRules
from daemon.venues.outcomes import Outcome, Refusal, classify

FrameReader = Callable[[str], bool]
"""Takes the raw text of one frame; True when it was consumed and ccxt need not see it."""

BYTES_HANDED_OVER: ContextVar[Callable[[], None] | None] = ContextVar(
    "bytes_handed_over", default=None
)
"""Called by the session's trace when a request body goes to the socket, in the caller's context."""

CLOSE_TIMEOUT_S = 0.5
"""Time to write the closing frame; a dead peer must not delay the next connection."""

_NORMAL_CLOSURE = (1000).to_bytes(2, "big")

_LOST = "lost"  # name of the future that ccxt rejects when a socket goes
_REASON_CHARACTERS_MAX = 200


class StreamLostError(ConnectionError):
    """A websocket could not be opened, or is gone."""


class ForbiddenHostError(ExchangeError):  # type: ignore[misc]  # ccxt ships no types
    """A request to a host that this mode may not talk to; nothing was sent."""

    tap_refusal = Refusal(
        outcome=Outcome.REFUSED, code=0, http_status=0, reason="host is not allowed in this mode"
    )


class TapClient(Client):  # type: ignore[misc]  # ccxt ships no types
    """ccxt's websocket client, read by us first and unable to die without saying so."""

    on_frame: FrameReader | None = None
    _pongs: ClassVar[set[asyncio.Future[None]]] = set()  # the loop holds its tasks weakly

    def handle_message(self, message: aiohttp.WSMessage) -> None:
        """Offer text to our reader, leave the rest to ccxt; any error closes the socket aloud.

        ccxt calls this from a loop callback: an exception out of here would end its receive loop
        for good while the socket stays open.
        """
        try:
            if (
                message.type is WSMsgType.TEXT
                and self.on_frame is not None
                and self.on_frame(message.data)
            ):
                return
            if message.type is WSMsgType.PING:
                self._pongs.add(pong := asyncio.ensure_future(self._pong(message.data)))
                pong.add_done_callback(self._pongs.discard)
                return
            super().handle_message(message)
        except Exception as error:
            self.on_error(NetworkError(f"reader failed: {type(error).__name__}: {error}"))

    async def _pong(self, payload: bytes) -> None:
        """Answer a ping; ccxt's own answer leaves its failure on a closing socket unread."""
        with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
            await self.connection.pong(payload)


class Stream:
    """One open websocket: say something, wait for its loss, close it."""

    def __init__(self, client: TapClient, lost: asyncio.Future[Any]) -> None:
        """Wrap a connected client and the future that ccxt rejects on loss."""
        self._client = client
        self._lost = lost

    async def send(self, words: Mapping[str, Any] | str) -> None:
        """Send one JSON request or its finished text; StreamLostError when the socket is gone."""
        try:
            await self._client.send(words)
        except (ConnectionError, RuntimeError) as error:
            raise StreamLostError(f"send failed: {error}") from error

    async def lost(self) -> str:
        """Wait until the socket is gone and say why."""
        await asyncio.wait((self._lost,))
        return _why(self._lost)

    async def close(self) -> None:
        """Say goodbye and drop the connection at once; never raises, never waits for the peer.

        aiohttp's own close waits for a marker in the queue that ccxt's receive loop takes out when
        frames come fast: on a busy stream it never returns and the socket stays open.
        """
        client = self._client
        client.on_frame = _swallow  # late frames of this socket must not mix with the next's
        if client.ping_looper:
            client.ping_looper.cancel()
        connection = client.connection
        if connection is not None and not connection.closed:
            inner = connection._conn  # as ccxt itself reaches for it
            transport = None if inner is None else inner.transport
            with contextlib.suppress(
                ConnectionError, RuntimeError, TimeoutError, aiohttp.ClientError
            ):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.send_frame(_NORMAL_CLOSURE, WSMsgType.CLOSE)
            connection._response.close()  # gives the connection back to the session
            if transport is not None:
                transport.abort()
        for future in list(client.futures.values()):
            future.cancel()


class Tap(Exchange):  # type: ignore[misc]  # ccxt ships no types
    """One market through ccxt, with tapped sockets, judged errors and guarded hosts.

    Stands before ccxt's class of the market among the bases. ``allowed_hosts`` None means that the
    resolver of the session is the guard (loopback). ``rules`` say what the market does its own way.
    """

    rules: MarketRules
    clients: dict[str, TapClient]
    timeout_on_exit = 0  # ours is closed after its streams, nothing lingers

    def __init__(self, config: Mapping[str, Any], allowed_hosts: frozenset[str] | None) -> None:
        """Configure ccxt; the session in ``config`` belongs to this object and is closed by it."""
        self.allowed_hosts = allowed_hosts
        self._http: aiohttp.ClientSession | None = config.get("session")
        super().__init__(dict(config))

    @property
    def account_id(self) -> str:
        """What tells this account from others, empty where there is none."""
        return str(self.apiKey or "")

    def client(self, url: str) -> TapClient:
        """Return ccxt's socket client for this URL, made a tapped one; the host must be allowed."""
        self.guard(url)
        client = super().client(url)
        if type(client) is not TapClient:
            client.__class__ = TapClient  # ccxt names its class in a method too long to copy
        return client  # type: ignore[no-any-return]  # made one just above

    async def open_stream(self, url: str, on_frame: FrameReader) -> Stream:
        """Connect a fresh websocket whose frames go to ``on_frame``; StreamLostError on failure."""
        self.open()
        stale = self.clients.pop(url, None) if self.clients else None
        if stale is not None:
            await Stream(stale, stale.future(_LOST)).close()
        client = self.client(url)
        client.on_frame = on_frame
        lost = client.future(_LOST)
        lost.add_done_callback(_consume)
        connected = client.connect(self.session)
        await asyncio.wait((connected, lost), return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            await Stream(client, lost).close()
            raise StreamLostError(_why(lost))
        return Stream(client, lost)

    def on_close(self, client: TapClient, error: Any) -> None:
        """Let ccxt forget a closed client, unless another has taken over its URL."""
        if self.clients.get(client.url) is client:
            super().on_close(client, error)

    def on_error(self, client: TapClient, error: Any) -> None:
        """Let ccxt forget a failed client, unless another has taken over its URL."""
        if self.clients.get(client.url) is client:
            super().on_error(client, error)

    async def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: Any = None,
        body: Any = None,
    ) -> Any:
        """Make one REST request, to an allowed host only."""
        self.guard(url)
        return await super().fetch(url, method, headers, body)

    def handle_errors(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        response: Any,
        request_headers: Any,
        request_body: Any,
    ) -> None:
        """Raise what ccxt raises, with status and venue code attached for ``refusal_of``."""
        try:
            super().handle_errors(
                code, reason, url, method, headers, body, response, request_headers, request_body
            )
            super().handle_http_status_code(code, reason, url, method, body)
        except BaseError as error:
            words = response if isinstance(response, dict) else {}
            error.tap_refusal = classify(code, _code(words), str(words.get("msg", reason)))
            raise

    async def close(self, clean_instance_data: bool = False) -> None:
        """Close sockets and the session."""
        for client in list((self.clients or {}).values()):
            await Stream(client, client.future(_LOST)).close()
        self.clients = {}
        await super().close(clean_instance_data)
        if self._http is not None:
            await self._http.close()
            self._http = None

    def guard(self, url: str) -> None:
        """Raise ForbiddenHostError unless this mode may talk to the URL's host."""
        if self.allowed_hosts is None or "://" not in url:
            return
        host = url.split("/", 3)[2].partition(":")[0].partition("?")[0]
        if host not in self.allowed_hosts:
            raise ForbiddenHostError(f"host {host} is not allowed in this mode")


class TapBinanceUsdm(Tap, binanceusdm):  # type: ignore[misc]  # ccxt ships no types
    """Binance USD-M through ccxt."""

    def __init__(self, config: Mapping[str, Any], allowed_hosts: frozenset[str] | None) -> None:
        """Configure ccxt; the session in ``config`` belongs to this object and is closed by it."""
        super().__init__(config, allowed_hosts)
        self.rules = UsdmRules(self)


def refusal_of(error: BaseException) -> Refusal:
    """Judge any error of a REST call; without an answer of the venue it is UNKNOWN.

    The reason never holds ccxt's text of a failed request: its URL is signed.
    """
    known = getattr(error, "tap_refusal", None)
    if isinstance(known, Refusal):
        return Refusal(
            outcome=known.outcome,
            code=known.code,
            http_status=known.http_status,
            reason=known.reason[:_REASON_CHARACTERS_MAX],
        )
    cause = error.__cause__
    names = type(error).__name__ + (f" from {type(cause).__name__}" if cause else "")
    return classify(0, 0, names)


def make_trace() -> aiohttp.TraceConfig:
    """Make the session trace that reports when a request body is handed to the socket."""
    trace = aiohttp.TraceConfig()

    async def on_chunk(*_: object) -> None:
        report = BYTES_HANDED_OVER.get()
        if report is not None:
            report()

    trace.on_request_chunk_sent.append(on_chunk)
    return trace


def _code(words: Mapping[str, Any]) -> int:
    try:
        return int(words.get("code", 0))
    except (TypeError, ValueError):
        return 0


def _why(lost: asyncio.Future[Any]) -> str:
    if lost.cancelled():
        return "closed by us"
    error = lost.exception()
    return str(error)[:_REASON_CHARACTERS_MAX] if error else "closed"


def _swallow(frame_text: str) -> bool:
    return True


def _consume(lost: asyncio.Future[Any]) -> None:
    if not lost.cancelled():
        lost.exception()
