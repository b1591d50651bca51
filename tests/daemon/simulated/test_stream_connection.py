"""One websocket without a socket: keep-alive, lifetime, the bound on what a client may owe."""

from __future__ import annotations

import asyncio

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from daemon.simulated.stream_connection import WRITE_BUFFER_BYTES_MAX, StreamConnection
from daemon.simulated.streams import StreamHub, text_frame

STREAM = "btcusdt@trade"


class Pipe(asyncio.Transport):
    """A transport that keeps what is written, with a buffer size that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.buffered = 0
        self.is_aborted = False
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        """Keep bytes."""
        self.written += data

    def get_write_buffer_size(self) -> int:
        """Say what the test wants."""
        return self.buffered

    def abort(self) -> None:
        """Note the cut."""
        self.is_aborted = True

    def close(self) -> None:
        """Note the end."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Tell whether the end was noted."""
        return self.is_closed


class Line:
    """A client's protocol joined to a server's connection; time stands still unless moved."""

    def __init__(self, path: str = f"/public/ws/{STREAM}") -> None:
        self.now_s = 1_000.0
        self.hub = StreamHub(lambda: None)
        self.connections: set[StreamConnection] = set()
        self.server = StreamConnection(
            self.hub, lambda key: key == "good", self.connections, lambda: self.now_s
        )
        self.pipe = Pipe()
        self.server.connection_made(self.pipe)
        self.client = ClientProtocol(parse_uri(f"ws://localhost{path}"))
        self.client.send_request(self.client.connect())
        self.exchange()

    def exchange(self) -> list[Frame]:
        """Carry bytes both ways until silence; return the frames that the client got."""
        frames: list[Frame] = []
        while True:
            to_server = b"".join(self.client.data_to_send())
            if to_server:
                self.server.data_received(to_server)
            to_client, self.pipe.written = bytes(self.pipe.written), bytearray()
            if to_client:
                self.client.receive_data(to_client)
            frames += [e for e in self.client.events_received() if isinstance(e, Frame)]
            if not (to_server or to_client):
                return frames


async def test_pings_come_and_answered_ones_keep_the_line() -> None:
    """A ping every twenty seconds; a client that pongs stays for hours."""
    line = Line()
    for _ in range(200):
        line.now_s += 21.0
        line.server.keep_alive()
        assert [frame.opcode for frame in line.exchange()] == [Opcode.PING]
    assert not line.pipe.is_closed
    assert line.hub.has(STREAM)


async def test_silent_client_is_dropped_after_a_minute() -> None:
    """Without pongs the connection ends with 1008 and gets no more messages."""
    line = Line()
    for _ in range(4):
        line.now_s += 21.0
        line.server.keep_alive()
    frames = line.exchange()
    assert [frame.opcode for frame in frames] == [Opcode.PING, Opcode.PING, Opcode.CLOSE]
    assert Close.parse(bytes(frames[-1].data)).code == 1008
    assert line.pipe.is_closed
    assert not line.hub.has(STREAM)


async def test_connection_ends_after_a_day() -> None:
    """Twenty-four hours are the longest life, however lively the client."""
    line = Line()
    line.now_s += 24 * 3600.0 + 1.0
    line.server.keep_alive()
    frames = line.exchange()
    assert Close.parse(bytes(frames[-1].data)).code == 1001


async def test_debtor_is_cut_off_and_forgotten() -> None:
    """Beyond the bound of unread bytes the connection is aborted, not closed politely."""
    line = Line()
    line.hub.publish(STREAM, b'{"a":1}')
    line.pipe.buffered = WRITE_BUFFER_BYTES_MAX
    line.hub.flush()
    assert bytes(line.pipe.written) == text_frame(b'{"a":1}')
    line.hub.publish(STREAM, b'{"a":2}')
    line.pipe.buffered += 1
    line.hub.flush()
    assert line.pipe.is_aborted
    assert line.hub.slow_count == 1
    assert not line.hub.has(STREAM)


async def test_private_line_needs_the_listen_key() -> None:
    """The good key opens the user stream; another one opens nothing."""
    good = Line("/private/ws?listenKey=good")
    good.hub.publish_user(b'{"e":"ACCOUNT_UPDATE"}')
    assert [bytes(frame.data) for frame in good.exchange()] == [b'{"e":"ACCOUNT_UPDATE"}']
    bad = Line("/private/ws?listenKey=bad")
    assert bad.client.handshake_exc is not None
    assert bad.pipe.is_closed


@pytest.mark.parametrize("method", ["SUBSCRIBE", "UNSUBSCRIBE"])
async def test_subscriptions_are_listed_as_they_stand(method: str) -> None:
    """LIST_SUBSCRIPTIONS answers what the URL and the commands so far amount to."""
    line = Line()
    line.client.send_text(
        f'{{"method":"{method}","params":["{STREAM}","x@depth"],"id":1}}'.encode()
    )
    line.client.send_text(b'{"method":"LIST_SUBSCRIPTIONS","id":2}')
    answers = [bytes(frame.data) for frame in line.exchange()]
    names = f'"{STREAM}","x@depth"' if method == "SUBSCRIBE" else ""
    assert answers == [b'{"result":null,"id":1}', f'{{"result":[{names}],"id":2}}'.encode()]


async def test_lost_connection_leaves_nothing_behind() -> None:
    """After the end of the transport the hub and the list of connections are empty."""
    line = Line()
    assert line.connections == {line.server}
    line.server.connection_lost(None)
    assert line.connections == set()
    assert not line.hub.has(STREAM)
