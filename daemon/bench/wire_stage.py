"""From a tick on the wire to an order on the wire, beside an echo in the same placement.

This process plays the venue: a blocking socket per trading side, so that nothing of asyncio stands
in the figure. Its clock runs from before the tick is written until the answer has been read: one
clock, one message under way. A wire figure means something only beside the echo of the same
placement, because most of it is system calls and waking up: 8 us when both ends share a core, 72
when two cores sleep. No TLS and no network card are in it.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, closing

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from daemon.bench.bench_frames import synthetic_frames
from daemon.bench.stopwatch import Form, Goal, Stage
from daemon.bench.tick_stage import FRAMES, START_NS, SYMBOL, TICKS
from daemon.bench.wire_client import CONTROL, ECHO, NOTHING, OURS, PROTOTYPE
from kernels.events import Quote

RATIO_MAX = 3.5
"""Tick to order against the echo."""

START_TIMEOUT_S, LOOK_S = 120.0, 0.5
ANSWER_TIMEOUT_S = 30.0
HEAD_BYTES, MASK_BYTES = 2, 4
LENGTH_BITS = 0x7F
TWO_BYTES_FOLLOW = 126
"""Instead of a length of 126 to 65,535 bytes (RFC 6455, 5.2); ours are shorter than that."""

SAME_CORE, FREE = "both ends on one core", "unpinned"
KINDS = {ECHO: "echo", OURS: "tick to order", PROTOTYPE: "the same by the prototype"}


class WireError(Exception):
    """The trading side did not come up, or went away."""


class TradingSide:
    """One child process and the websocket that it opened to us."""

    def __init__(self, form: str) -> None:
        """Start the process and take its connection; WireError when none comes."""
        self._cores = os.sched_getaffinity(0)
        self._pending = bytearray()
        self._socket: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(LOOK_S)
            address = f"ws://127.0.0.1:{listener.getsockname()[1]}/public/ws/0"
            command = [sys.executable, "-m", "daemon.bench.wire_client", form, address]
            self._child = subprocess.Popen(command)
            self._socket = self._accept(listener)
        if self._socket is None:
            self.close()
            raise WireError(f"the trading side {form!r} did not connect")
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._shake_hands(self._socket)
        except (WireError, OSError):
            self.close()
            raise

    def place(self, placement: str) -> None:
        """Put both ends on one core, or leave them where the scheduler puts them."""
        cores = {min(self._cores)} if placement == SAME_CORE else self._cores
        for pid in (0, self._child.pid):
            os.sched_setaffinity(pid, cores)

    def tell(self, words: str) -> None:
        """Say something of the stage's own and wait until it is done."""
        self.ask(text_frame(CONTROL + words))

    def ask(self, framed: bytes) -> int:
        """Write a frame and read the answer; return the answer's length in bytes."""
        if self._socket is None:
            raise WireError("the trading side is closed")
        self._socket.sendall(framed)
        pending = self._pending
        while True:
            head_bytes, payload_bytes = frame_parts(pending)
            if head_bytes and len(pending) >= head_bytes + payload_bytes:
                del pending[: head_bytes + payload_bytes]
                return payload_bytes
            received = self._socket.recv(65_536)
            if not received:
                raise WireError("the trading side went away")
            pending += received

    def close(self) -> None:
        """End the connection; the process then ends by itself, or is ended. Cores as before."""
        os.sched_setaffinity(0, self._cores)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        try:
            self._child.wait(10.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        """Wait for the child's connection; None when it has ended, or takes too long."""
        for _ in range(round(START_TIMEOUT_S / LOOK_S)):
            try:
                return listener.accept()[0]
            except TimeoutError:
                if self._child.poll() is not None:
                    break
        return None

    def _shake_hands(self, connection: socket.socket) -> None:
        """Accept the opening handshake; the library knows its rules."""
        protocol = ServerProtocol()
        while True:
            received = connection.recv(65_536)
            if not received:
                raise WireError("the trading side went away before it said anything")
            protocol.receive_data(received)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    protocol.send_response(protocol.accept(event))
                    connection.sendall(b"".join(protocol.data_to_send()))
                    return


def text_frame(text: str) -> bytes:
    """Frame a text as a server sends it."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def wire_stage(stack: ExitStack) -> Stage:
    """Time every form in both placements; WireError unless ticks lead to orders."""
    frames = synthetic_frames(FRAMES, START_NS, symbols=(SYMBOL,), stamp_slowness=1)
    framed = [text_frame(frame.text) for frame in frames.of_kind(Quote)[:TICKS]]
    sides = {form: stack.enter_context(closing(TradingSide(form))) for form in KINDS}
    sides[OURS].tell("reset")
    silent_count = 0
    for number, tick in enumerate(framed):
        sides[OURS].tell(str(number))
        silent_count += sides[OURS].ask(tick) <= len(NOTHING)
    if silent_count > 0.05 * len(framed):
        raise WireError(f"{silent_count} of {len(framed)} ticks led to no order")
    forms = [
        _form(sides[form], form, placement, framed)
        for placement in (SAME_CORE, FREE)
        for form in KINDS
    ]
    goals = [
        Goal(form=_name(OURS, placement), base=_name(ECHO, placement), ratio_max=RATIO_MAX)
        for placement in (SAME_CORE, FREE)
    ]
    facts = {"ticks": len(framed), "orders": len(framed) - silent_count, "TLS": "none"}
    return Stage(name="wire", forms=forms, goals=goals, facts=facts)


def _form(side: TradingSide, form: str, placement: str, framed: list[bytes]) -> Form:
    def before_round() -> None:
        side.place(placement)
        side.tell("reset")

    def before_row(number: int) -> None:
        side.tell(str(number))

    return Form(
        name=_name(form, placement),
        function=lambda number: side.ask(framed[number]),
        rows=[(number,) for number in range(len(framed))],
        before_round=before_round,
        before_row=before_row,
    )


def _name(form: str, placement: str) -> str:
    return f"{KINDS[form]}, {placement}"


def frame_parts(pending: bytearray) -> tuple[int, int]:
    """Return the bytes of head and payload of the client's frame that begins here.

    Zeros while they are not known. Fifteen lines of RFC 6455 because a library's reader takes as
    long as the echo itself.
    """
    if len(pending) < HEAD_BYTES:
        return 0, 0
    length = pending[1] & LENGTH_BITS
    if length < TWO_BYTES_FOLLOW:
        return HEAD_BYTES + MASK_BYTES, length
    if len(pending) < HEAD_BYTES + 2:
        return 0, 0
    (length,) = struct.unpack_from(">H", pending, HEAD_BYTES)
    return HEAD_BYTES + 2 + MASK_BYTES, int(length)
