"""Streams: framing equals the library's, fan-out reaches exactly the subscribers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from daemon.simulated.stream_connection import Target, parse_target
from daemon.simulated.streams import Route, StreamHub, combined, text_frame


class Listener:
    """A subscriber that keeps what it is given."""

    def __init__(self, is_combined: bool = False) -> None:
        self.is_combined = is_combined
        self.pending: list[bytes] = []
        self.received: list[bytes] = []

    def enqueue(self, framed: bytes) -> None:
        """Keep one message."""
        self.pending.append(framed)

    def flush(self) -> None:
        """Count what is pending as received."""
        self.received += self.pending
        self.pending.clear()

    def close(self, code: int, reason: str) -> None:
        """Do nothing."""


@given(length=st.sampled_from([0, 1, 125, 126, 65_535, 65_536, 70_000]), byte=st.integers(32, 126))
def test_framing_is_that_of_the_library(length: int, byte: int) -> None:
    """Every length class of RFC 6455 frames to the same bytes as websockets makes."""
    payload = bytes([byte]) * length
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_message_reaches_exactly_the_subscribers_at_the_flush() -> None:
    """Raw and combined subscribers get their own form, others nothing, nobody twice."""
    starts: list[int] = []
    hub = StreamHub(lambda: starts.append(1))
    raw, wrapped, other = Listener(), Listener(is_combined=True), Listener()
    hub.add_user(other, "key")
    assert starts == []
    for _ in range(2):
        hub.subscribe(raw, "btcusdt@trade")
    hub.subscribe(wrapped, "btcusdt@trade")
    hub.subscribe(other, "ethusdt@trade")
    assert starts == [1]
    hub.publish("btcusdt@trade", b'{"p":1}')
    hub.publish("solusdt@trade", b'{"p":2}')
    assert raw.received == []
    hub.flush()
    hub.flush()
    assert raw.received == [text_frame(b'{"p":1}')]
    assert wrapped.received == [text_frame(combined("btcusdt@trade", b'{"p":1}'))]
    assert json.loads(combined("a@b", b'{"p":1}')) == {"stream": "a@b", "data": {"p": 1}}
    assert other.received == []
    assert hub.sent == {"btcusdt@trade": 2}


def test_unsubscribed_and_dropped_listeners_get_nothing() -> None:
    """After the end of a subscription no byte of its stream arrives."""
    hub = StreamHub(lambda: None)
    first, second = Listener(), Listener()
    for listener in (first, second):
        hub.subscribe(listener, "s@trade")
        hub.add_user(listener, "key")
    hub.unsubscribe(first, "s@trade")
    hub.unsubscribe(first, "never@trade")
    hub.publish("s@trade", b"{}")
    hub.drop(second)
    hub.flush()
    assert first.received == second.received == []
    assert not hub.has("s@trade")
    hub.publish_user(b'{"e":1}')
    assert first.received == [text_frame(b'{"e":1}')]
    hub.end_user_streams("key", b'{"e":2}')
    hub.publish_user(b'{"e":3}')
    assert first.received == [text_frame(b'{"e":1}'), text_frame(b'{"e":2}')]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/public/ws/0", (Route.PUBLIC, False, (), "")),
        ("/market/ws/12", (Route.MARKET, False, (), "")),
        ("/private/ws?listenKey=abc", (Route.PRIVATE, False, (), "abc")),
        ("/private/ws/abc", (Route.PRIVATE, False, (), "abc")),
        ("/ws/btcusdt@trade", (Route.PUBLIC, False, ("btcusdt@trade",), "")),
        ("/stream?streams=a@trade/b@depth", (Route.PUBLIC, True, ("a@trade", "b@depth"), "")),
        ("/public/stream?streams=a@trade", (Route.PUBLIC, True, ("a@trade",), "")),
    ],
)
def test_stream_urls(path: str, target: tuple[Route, bool, tuple[str, ...], str]) -> None:
    """Route, form, streams and listen key are read from the URL."""
    route, is_combined, names, listen_key = target
    assert parse_target(path) == Target(
        route=route, is_combined=is_combined, names=names, listen_key=listen_key
    )


@pytest.mark.parametrize("path", ["/", "/wss", "/public", "/other/ws", "/fapi/v1/time"])
def test_other_urls_are_no_streams(path: str) -> None:
    """Whatever is no stream endpoint is refused at the handshake."""
    assert parse_target(path) is None
