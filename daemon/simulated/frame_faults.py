"""What faults do to the messages of a stream: lose, repeat, reorder, delay, spoil, falsify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from config.fault_specs import Site
from daemon.simulated.faults import ArmedFault, FaultBoard
from daemon.simulated.spot_listings import STREAM_PREFIX
from daemon.simulated.venue_market import BOOK_CAPACITY, VenueMarket
from daemon.simulated.wire_text import price_wire, quantity_wire
from kernels.events import Side

BLOT = b"\x00" * 8
"""A control character is legal nowhere in JSON, so that a blotted message is never readable."""

FALSE_BOOKS = frozenset({"cross_book", "empty_book"})
"""Kinds that look into a contract's book, and so let spot streams alone."""

NOW_S = 0.0
Sending = tuple[float, bytes]
"""Seconds to wait, then the message."""


class FrameFaults:
    """Stands between the exchange and the hub; every message of every stream passes."""

    def __init__(
        self, board: FaultBoard, markets: tuple[VenueMarket, ...], now_s: Callable[[], float]
    ) -> None:
        """Look into the ``markets`` for what an honest book would show."""
        self._board = board
        self._markets = {market.instrument.venue_id: market for market in markets}
        self._now_s = now_s
        self._held: dict[str, bytes] = {}
        self._lies: dict[str, list[tuple[Side, int]]] = {}

    def passed(self, stream: str, payload: bytes) -> list[Sending]:
        """Return what leaves instead of this message, in this order."""
        now_s = self._now_s()
        is_spot = stream.startswith(STREAM_PREFIX)
        fault = self._board.strike(
            Site.FRAME, stream, now_s, FALSE_BOOKS if is_spot else frozenset()
        )
        if fault is None:
            sent = [(NOW_S, self._healed(stream, payload))]
        elif fault.spec.kind == "reorder_frames" and stream not in self._held:
            self._held[stream] = payload
            return []
        else:
            sent = self._struck(fault, stream, payload)
        late = self._held.pop(stream, None) if sent else None
        return sent if late is None else [*sent, (NOW_S, late)]

    def _struck(self, fault: ArmedFault, stream: str, payload: bytes) -> list[Sending]:
        match fault.spec.kind:
            case "drop_frames" | "depth_gap" | "stall_stream":
                return []
            case "duplicate_frames":
                return [(NOW_S, payload), (NOW_S, payload)]
            case "delay_frames":
                return [(fault.spec.delay_ms / 1000, payload)]
            case "corrupt_frames":
                return [(NOW_S, _spoiled(fault, payload))]
            case "cross_book" | "empty_book":
                return [(NOW_S, self._falsified(fault, stream, payload))]
            case _:
                return [(NOW_S, payload)]

    def _falsified(self, fault: ArmedFault, stream: str, payload: bytes) -> bytes:
        document = orjson.loads(payload)
        market = self._markets.get(str(document.get("s")))
        if market is None or not market.is_open:
            return payload
        is_cross = fault.spec.kind == "cross_book"
        match document.get("e"):
            case "bookTicker" if is_cross:
                document["b"], document["a"] = document["a"], document["b"]
                document["B"], document["A"] = document["A"], document["B"]
            case "bookTicker":
                for price, quantity in _quote_sides(fault.spec.side):
                    document[price] = price_wire(market.instrument, 0)
                    document[quantity] = quantity_wire(market.instrument, 0)
            case "depthUpdate":
                lies = (
                    _crossing(market, fault.spec.ticks)
                    if is_cross
                    else _every_level(market, fault.spec.side)
                )
                lots = market.instrument.lots_min if is_cross else 0
                self._lies.setdefault(stream, []).extend(lies)
                _put(document, market, [(side, ticks, lots) for side, ticks in lies])
        return orjson.dumps(document)

    def _healed(self, stream: str, payload: bytes) -> bytes:
        """Take the lies of a depth stream back with its next honest message."""
        lies = self._lies.pop(stream, None)
        if not lies:
            return payload
        document = orjson.loads(payload)
        market = self._markets[str(document["s"])]
        shown = {
            (side, ticks): lots
            for side in Side
            for ticks, lots in market.book.levels(side, BOOK_CAPACITY).tolist()
        }
        _put(document, market, [(*level, shown.get(level, 0)) for level in lies])
        return orjson.dumps(document)


def _spoiled(fault: ArmedFault, payload: bytes) -> bytes:
    at = 1 + fault.draw(max(1, len(payload) - 1))
    if fault.draw(2):
        return payload[:at]
    return payload[: at - 1] + BLOT + payload[at - 1 + len(BLOT) :]


def _quote_sides(side: str) -> list[tuple[str, str]]:
    return {"bids": [("b", "B")], "asks": [("a", "A")]}.get(side, [("b", "B"), ("a", "A")])


def _crossing(market: VenueMarket, ticks: int) -> list[tuple[Side, int]]:
    ask_ticks = market.book.best()[2]
    return [(Side.BUY, ask_ticks + ticks)] if ask_ticks else []


def _every_level(market: VenueMarket, side: str) -> list[tuple[Side, int]]:
    sides = {"bids": [Side.BUY], "asks": [Side.SELL]}.get(side, list(Side))
    return [
        (each, ticks)
        for each in sides
        for ticks, _ in market.book.levels(each, BOOK_CAPACITY).tolist()
    ]


def _put(document: dict[str, Any], market: VenueMarket, rows: list[tuple[Side, int, int]]) -> None:
    """Write levels into a depth message, over those that it names itself."""
    for side, ticks, lots in rows:
        price = price_wire(market.instrument, ticks)
        key = "b" if side is Side.BUY else "a"
        document[key] = [row for row in document[key] if row[0] != price]
        document[key].append([price, quantity_wire(market.instrument, lots)])
