"""Where the exchange's market comes from: frames in due order, rendered once, stamped when sent.

A source knows nothing of sockets or clocks. The server pulls ``frames()`` lazily, applies each
frame's event to its own book and matching when ``due_ns / speed`` has passed since the first
subscription, and sends the stamped bytes to every subscriber of the frame's stream.

Only three streams per instrument come from a source: ``<id>@depth@0ms``, ``<id>@trade`` and
``<id>@bookTicker`` (id in lower case). Slower depth, aggregated trades and mark prices are derived
from them by the server. Each instrument's first frame that matters is a ``DepthSnapshot`` with an
empty stream name: it is never sent, the REST depth call is answered from the book it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kernels.events import DepthDiff, DepthSnapshot, Quote, Trade
from kernels.units import Instrument

SourceEvent = Quote | Trade | DepthDiff | DepthSnapshot

STAMP_DIGITS = 13
"""Digits of a UNIX time in milliseconds, from 2001 to 2286."""

NO_STAMP = -1
EVENT_TIME_KEY = b'"E":'
TRANSACTION_TIME_KEY = b'"T":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message of one stream: when, to whom, which bytes, and what it means to the book.

    ``due_ns`` is elapsed since the start at speed 1. ``payload`` is the raw-stream JSON document;
    its times are placeholders of 13 digits at the two byte offsets (``NO_STAMP`` for none), which
    ``render`` overwrites. ``transaction_lag_ms`` is how much older T is than E.
    """

    due_ns: int
    stream: str
    event: SourceEvent
    payload: bytes
    event_time_at: int
    transaction_time_at: int
    transaction_lag_ms: int

    def render(self, now_ms: int) -> bytes:
        """Return the document with E = ``now_ms`` and T = E - lag, both UNIX milliseconds."""
        stamped = bytearray(self.payload)
        if self.event_time_at != NO_STAMP:
            stamped[self.event_time_at : self.event_time_at + STAMP_DIGITS] = b"%013d" % now_ms
        if self.transaction_time_at != NO_STAMP:
            stamped[self.transaction_time_at : self.transaction_time_at + STAMP_DIGITS] = (
                b"%013d" % (now_ms - self.transaction_lag_ms)
            )
        return bytes(stamped)


def frame_of(due_ns: int, stream: str, event: SourceEvent, payload: bytes) -> Frame:
    """Locate the times of a raw-stream document and make a frame of it.

    The document's own E and T tell the lag; both must be numbers of 13 digits where present.
    ValueError when they are not.
    """
    event_time_at = _stamp_offset(payload, EVENT_TIME_KEY)
    transaction_time_at = _stamp_offset(payload, TRANSACTION_TIME_KEY)
    lag_ms = 0
    if NO_STAMP not in (event_time_at, transaction_time_at):
        lag_ms = int(payload[event_time_at : event_time_at + STAMP_DIGITS]) - int(
            payload[transaction_time_at : transaction_time_at + STAMP_DIGITS]
        )
    return Frame(
        due_ns=due_ns,
        stream=stream,
        event=event,
        payload=payload,
        event_time_at=event_time_at,
        transaction_time_at=transaction_time_at,
        transaction_lag_ms=lag_ms,
    )


def _stamp_offset(payload: bytes, key: bytes) -> int:
    found = payload.find(key)
    if found < 0:
        return NO_STAMP
    start = found + len(key)
    digits = payload[start : start + STAMP_DIGITS]
    if len(digits) < STAMP_DIGITS or not digits.isdigit():
        raise ValueError(f"no time of {STAMP_DIGITS} digits after {key.decode()}")
    return start


class MarketSource(Protocol):
    """A market to be served: finite when recorded, endless when synthetic."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments in configuration order; events name them by index."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield every frame from the start, ``due_ns`` never falling; the same for every call."""
        ...
