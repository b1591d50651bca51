"""Who gets which stream: subscriptions, fan-out, user streams. The sockets are one file further.

A message is framed once and the same bytes go to every subscriber; what a loop iteration produced
leaves in one write per connection (``flush``).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from daemon.simulated.spot_listings import STREAM_PREFIX

USER_STREAM = "user"
"""Name of the user stream where streams are counted or aimed at."""

SPOT_USER_STREAM = f"{STREAM_PREFIX}{USER_STREAM}"
"""The same of spot, whose user events travel on ws-api."""

TEXT_FRAME_HEAD = 0x81
"""Final frame, text."""

PUBLIC_CHANNELS = frozenset(
    {"depth@0ms", "depth@100ms", "depth", "depth@500ms", "bookTicker", "trade"}
)
MARKET_CHANNELS = frozenset({"aggTrade", "markPrice", "markPrice@1s", "miniTicker", "kline_1m"})
SPOT_CHANNELS = frozenset(
    {"depth@100ms", "depth", "bookTicker", "trade", "aggTrade", "miniTicker", "kline_1m"}
)


class Route(StrEnum):
    """First element of a futures stream URL, or spot; decides what a connection can carry."""

    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"
    SPOT = "spot"


CHANNELS: dict[Route, frozenset[str]] = {
    Route.PUBLIC: PUBLIC_CHANNELS,
    Route.MARKET: MARKET_CHANNELS,
    Route.PRIVATE: frozenset(),
    Route.SPOT: SPOT_CHANNELS,
}


class Subscriber(Protocol):
    """What the hub needs of a connection."""

    is_combined: bool

    def enqueue(self, framed: bytes) -> None:
        """Keep a framed message for the next flush."""
        ...

    def flush(self) -> None:
        """Hand everything kept to the socket in one write."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the websocket."""
        ...


def text_frame(payload: bytes) -> bytes:
    """Frame one text message as a server sends it: unmasked, uncompressed (RFC 6455, 5.2)."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", TEXT_FRAME_HEAD, length) + payload
    if length < 65_536:
        return struct.pack("!BBH", TEXT_FRAME_HEAD, 126, length) + payload
    return struct.pack("!BBQ", TEXT_FRAME_HEAD, 127, length) + payload


def combined(stream: str, payload: bytes) -> bytes:
    """Wrap a raw-stream document for a combined connection."""
    return b'{"stream":"%b","data":%b}' % (stream.removeprefix(STREAM_PREFIX).encode(), payload)


class StreamHub:
    """Subscription table of all connections; ``on_first`` runs at the first market stream."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        """Start without connections."""
        self._on_first: Callable[[], None] | None = on_first
        self._subscribers: dict[str, dict[Subscriber, None]] = {}
        self._users: dict[Subscriber, str] = {}
        self._touched: dict[Subscriber, None] = {}
        self.sent: Counter[str] = Counter()
        self.slow_count = 0
        self.is_shut = False
        """New connections are refused with 503."""
        self.tamper: Callable[[str, bytes], Sequence[bytes]] | None = None
        """What leaves instead of a message, while faults are at work."""

    def subscribe(self, subscriber: Subscriber, stream: str) -> None:
        """Let a connection have a stream from the next message on; the first starts the market."""
        self._subscribers.setdefault(stream, {})[subscriber] = None
        if self._on_first is not None:
            start, self._on_first = self._on_first, None
            start()

    def unsubscribe(self, subscriber: Subscriber, stream: str) -> None:
        """End one subscription; nothing happens when there is none."""
        holders = self._subscribers.get(stream)
        if holders is not None:
            holders.pop(subscriber, None)
            if not holders:
                del self._subscribers[stream]

    def add_user(self, subscriber: Subscriber, listen_key: str) -> None:
        """Let a connection have the user stream."""
        self._users[subscriber] = listen_key

    def drop(self, subscriber: Subscriber) -> None:
        """Forget a connection."""
        for stream in [name for name, held in self._subscribers.items() if subscriber in held]:
            self.unsubscribe(subscriber, stream)
        self._users.pop(subscriber, None)
        self._touched.pop(subscriber, None)

    def has(self, stream: str) -> bool:
        """Tell whether anybody would get a message of this stream."""
        return stream in self._subscribers

    def publish(self, stream: str, payload: bytes) -> None:
        """Queue one raw-stream document for every subscriber of a market stream."""
        if self.tamper is not None:
            for passed in self.tamper(stream, payload):
                self.put(stream, passed)
            return
        self.put(stream, payload)

    def put(self, stream: str, payload: bytes) -> None:
        """Queue one document past all faults."""
        holders = self._subscribers.get(stream)
        if not holders:
            return
        raw_framed = combined_framed = b""
        for subscriber in holders:
            if subscriber.is_combined:
                combined_framed = combined_framed or text_frame(combined(stream, payload))
                subscriber.enqueue(combined_framed)
            else:
                raw_framed = raw_framed or text_frame(payload)
                subscriber.enqueue(raw_framed)
            self._touched[subscriber] = None
        self.sent[stream] += len(holders)

    def publish_user(self, payload: bytes) -> None:
        """Send one user event to every user stream at once."""
        if self.tamper is not None:
            for passed in self.tamper(USER_STREAM, payload):
                self.put_user(passed)
            return
        self.put_user(payload)

    def put_user(self, payload: bytes) -> None:
        """Send one user event past all faults."""
        for subscriber, key in list(self._users.items()):
            subscriber.enqueue(text_frame(_for(subscriber, key, payload)))
            subscriber.flush()
            self.sent[USER_STREAM] += 1

    def end_user_streams(self, listen_key: str, payload: bytes) -> None:
        """Send the last event to the connections of a listen key; they get nothing more."""
        for subscriber in [held for held, key in self._users.items() if key == listen_key]:
            subscriber.enqueue(text_frame(_for(subscriber, listen_key, payload)))
            subscriber.flush()
            del self._users[subscriber]

    def flush(self) -> None:
        """Write out what was queued since the last flush."""
        touched, self._touched = self._touched, {}
        for subscriber in touched:
            subscriber.flush()


def _for(subscriber: Subscriber, stream: str, payload: bytes) -> bytes:
    return combined(stream, payload) if subscriber.is_combined else payload
