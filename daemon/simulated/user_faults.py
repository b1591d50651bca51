"""What faults do to the events of the user stream, and to the orders behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from config.fault_specs import Site
from daemon.simulated.faults import ArmedFault, FaultBoard

Document = dict[str, object]
Later = Callable[[ArmedFault, int], None]

OCCASIONS = {
    "duplicate_fill": ("TRADE", ""),
    "fill_before_ack": ("NEW", ""),
    "fill_after_cancel": ("CANCELED", ""),
    "overfill": ("TRADE", "FILLED"),
}
"""Execution type and order status at which each kind may strike; any status when empty."""


def _order_words(document: Document) -> Any:
    """Return the part of an event that speaks of an order, None where there is none.

    Both dialects call its fields alike; spot has them at the top.
    """
    match document.get("e"):
        case "ORDER_TRADE_UPDATE":
            return document["o"]
        case "executionReport":
            return document
        case _:
            return None


def _client_id(words: Any) -> str:
    """Return the order's own client id; spot tells that of the cancellation as ``c``."""
    return str(words.get("C") or words["c"])


class UserFaults:
    """Stands between a desk and its user stream; every event passes."""

    def __init__(self, board: FaultBoard, now_s: Callable[[], float], do_later: Later) -> None:
        """Let ``do_later`` act on the order (by venue id) where a fault strikes it."""
        self._board = board
        self._now_s = now_s
        self._do_later = do_later
        self._held: dict[int, Document] = {}

    def passed(self, document: Document) -> list[Document]:
        """Return what leaves instead of this event, in this order."""
        words = _order_words(document)
        if words is None:
            return [document]
        order_id = int(words["i"])
        fault = self._struck(words)
        held = self._held.pop(order_id, None)
        match fault.spec.kind if fault is not None else "":
            case "fill_before_ack":
                self._held[order_id] = document
                return [] if held is None else [held]
            case "duplicate_fill":
                sent = [document, document]
            case "fill_after_cancel" | "overfill":
                assert fault is not None
                self._do_later(fault, order_id)
                sent = [document]
            case _:
                sent = [document]
        if held is None:
            return sent
        return [*sent, held] if words["x"] == "TRADE" else [held, *sent]

    def _struck(self, words: Any) -> ArmedFault | None:
        """Offer the event to the faults that wait for its kind only."""
        faults = self._board.at(Site.USER)
        if not faults:
            return None
        now_s = self._now_s()
        market_s = self._board.market_s(now_s)
        for fault in faults:
            execution_type, status = OCCASIONS[fault.spec.kind]
            if words["x"] != execution_type or status not in ("", words["X"]):
                continue
            if fault.spec.kind == "overfill" and words["z"] != words["q"]:
                continue  # its own doing
            is_open = fault.is_open(now_s, market_s)
            if is_open and fault.matches(_client_id(words)) and fault.strikes():
                return fault
        return None
