"""What the paper account has been through, so that it outlives the process as a venue's would.

A file of JSON lines: the account as it stood, then every event of its user stream that moved it,
written as it happens. The events are the venue's own documents, so there is no second format. Two
files are kept (``.1`` is the older); each begins with the account, and together they bound what the
paper venue remembers. They survive the death of the process, not that of the machine: the journal
is what must.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from daemon.simulated.order_request import OrderRequest, VenueOrderType
from daemon.simulated.venue import Venue
from daemon.simulated.venue_order import EXPIRED, WORKING, VenueFill, VenueOrder
from kernels.events import AccountState, Fill, Funding, Side
from kernels.ledger import ROW_COUNT, TICK_LOT, TOTALS_COUNT
from kernels.matching import TimeInForce
from kernels.units import Instrument, to_e8

NS_PER_MS = 1_000_000
BYTES_MAX = 8 * 1024 * 1024
"""Of one file; then the next begins."""

Document = dict[str, Any]


class PaperLogError(OSError):
    """The paper account cannot be read or written; the message says what to do."""


class PaperLog:
    """Restores a fresh venue from the files, then keeps what happens to it."""

    def __init__(self, path: Path, venue: Venue, account_name: str) -> None:
        """Restore ``venue``; PaperLogError where the files hold another account than it can.

        ``account_name`` names a new account; ``self.account_name`` is the name of the one found.
        """
        self.account_name = account_name
        self._path = path
        self._venue = venue
        self._by_venue_id = {each.venue_id: each for each in venue.instruments}
        self._orders: dict[int, VenueOrder] = {}
        self._written = 0
        try:
            lines = _whole_lines(path)
            self._written = sum(len(line) + 1 for line in lines)
            for line in _whole_lines(path.with_suffix(".1"))[1:]:
                self._take(line, is_booked=False)
            if lines:
                self._take_account(lines[0])
            for line in lines[1:]:
                self._take(line, is_booked=True)
            self._file: BinaryIO = self._go_on() if lines else self._begin()
        except OSError as error:
            raise PaperLogError(f"paper account {path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise PaperLogError(
                f"paper account {path}: {reason}; move it away to begin anew"
            ) from error

    @property
    def unended(self) -> list[VenueOrder]:
        """Orders that worked when the earlier process ended: the venue expired them then."""
        return [order for order in self._orders.values() if order.status in WORKING]

    def keep(self, document: Document) -> None:
        """Write down one event of the user stream, where it moves orders or money."""
        kind = document["e"]
        if kind != "ORDER_TRADE_UPDATE" and document.get("a", {}).get("m", "ORDER") == "ORDER":
            return
        line = orjson.dumps(document) + b"\n"
        self._file.write(line)
        self._written += len(line)
        if self._written > BYTES_MAX:  # after the line: the next account begins with what it told
            self._file.close()
            self._file = self._begin()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _go_on(self) -> BinaryIO:
        """Write after the last whole line."""
        stream = self._path.open("r+b", buffering=0)
        stream.truncate(self._written)
        stream.seek(self._written)
        return stream

    def _begin(self) -> BinaryIO:
        """Move the file aside where there is one, and begin the next with the account as it is."""
        if self._path.exists():
            os.replace(self._path, self._path.with_suffix(".1"))
        stream = self._path.open("wb", buffering=0)
        os.fchmod(stream.fileno(), 0o600)
        self._written = stream.write(orjson.dumps(self._account()) + b"\n") or 0
        return stream

    def _account(self) -> Document:
        state = self._venue.account.ledger.state.tolist()
        rows = state[TOTALS_COUNT:]
        return {
            "account": self.account_name,
            "totals": state[:TOTALS_COUNT],
            "rows": {
                each.venue_id: rows[each.index * ROW_COUNT : (each.index + 1) * ROW_COUNT]
                for each in self._venue.instruments
            },
        }

    def _take_account(self, line: bytes) -> None:
        """Put the account into the venue's ledger; instruments may have come, or gone flat."""
        words = orjson.loads(line)
        ledger = self._venue.account.ledger
        state = ledger.state
        state[:TOTALS_COUNT] = words["totals"]
        for venue_id, row in words["rows"].items():
            instrument = self._by_venue_id.get(venue_id)
            if instrument is None:
                if row[0]:
                    raise ValueError(f"it holds {venue_id}, which is not among the instruments")
                continue
            start = TOTALS_COUNT + instrument.index * ROW_COUNT
            tick_lot = state[start + TICK_LOT]
            state[start : start + ROW_COUNT] = row
            state[start + TICK_LOT] = tick_lot if not row[0] else row[TICK_LOT]
        ledger.restore(np.asarray(state, dtype=np.int64))
        self.account_name = str(words["account"])

    def _take(self, line: bytes, *, is_booked: bool) -> None:
        document = orjson.loads(line)
        if document["e"] == "ACCOUNT_UPDATE":
            if is_booked:
                self._take_change(document)
            return
        words = document["o"]
        instrument = self._by_venue_id.get(words["s"])
        if instrument is None:
            return  # of an earlier choice of instruments, and flat: ``_take_account`` saw to that
        order = self._order(words, instrument, document["E"])
        order.status, order.updated_ms = words["X"], document["E"]
        order.filled_lots = instrument.quantity_lots(words["z"])
        if words["l"] != "0":
            self._take_fill(order, words, instrument, document["E"], is_booked=is_booked)

    def _order(self, words: Document, instrument: Instrument, now_ms: int) -> VenueOrder:
        """Find or make the order that an event is about, at the terms that it tells."""
        kind = VenueOrderType(words["o"]) if words["o"] in ("LIMIT", "MARKET") else None
        request = OrderRequest(
            instrument=instrument.index,
            side=Side[words["S"]],
            order_type=kind or VenueOrderType.LIMIT,
            time_in_force=TimeInForce[words["f"]],
            price_ticks=instrument.price_ticks(words["p"]),
            quantity_lots=instrument.quantity_lots(words["q"]),
            reduce_only=words["R"],
            client_order_id=words["c"],
        )
        order = self._orders.get(words["i"])
        if order is None:
            order = VenueOrder(
                order_id=words["i"],
                request=request,
                quantity_lots=request.quantity_lots,
                created_ms=now_ms,
                updated_ms=now_ms,
            )
            self._orders[order.order_id] = order
            self._venue.desk.remember(order)
        order.request, order.quantity_lots = request, request.quantity_lots
        return order

    def _take_fill(
        self,
        order: VenueOrder,
        words: Document,
        instrument: Instrument,
        now_ms: int,
        *,
        is_booked: bool,
    ) -> None:
        fill = Fill(
            instrument=instrument.index,
            event_ns=now_ms * NS_PER_MS,
            received_ns=now_ms * NS_PER_MS,
            client_order_id=words["c"],
            trade_id=words["t"],
            side=order.request.side,
            price_ticks=instrument.price_ticks(words["L"]),
            quantity_lots=instrument.quantity_lots(words["l"]),
            fee_quote_e8=to_e8(words["n"]),
            is_maker=words["m"],
        )
        notional_e8 = instrument.notional_quote_e8(fill.price_ticks, fill.quantity_lots)
        order.filled_notional_e8 += notional_e8
        record = VenueFill(
            fill=fill, order_id=order.order_id, realised_e8=to_e8(words["rp"]), time_ms=now_ms
        )
        self._venue.desk.remember_fill(record)
        if is_booked:
            self._venue.account.book_fill(fill, now_ms)

    def _take_change(self, document: Document) -> None:
        """Book a payment that no order made: funding, or what the insurance fund cleared."""
        account, now_ns = self._venue.account, document["E"] * NS_PER_MS
        words = document["a"]
        amount_e8 = to_e8(words["B"][0]["bc"])
        if words["m"] == "FUNDING_FEE":
            held = self._by_venue_id.get(words["P"][0]["s"])
            funding = Funding(
                instrument=held.index if held else 0,
                event_ns=now_ns,
                received_ns=now_ns,
                amount_quote_e8=amount_e8,
            )
            account.book_funding(funding, document["E"])
            return
        account.ledger.adopt(
            AccountState(
                received_ns=now_ns,
                wallet_quote_e8=account.ledger.wallet_quote_e8 + amount_e8,
                position_lots=tuple(
                    account.position_lots(each.index) for each in self._venue.instruments
                ),
            )
        )


def expire(order: VenueOrder, now_ms: int) -> None:
    """End an order that worked in an earlier process: its place in the queue is gone."""
    order.status, order.updated_ms = EXPIRED, now_ms


def _whole_lines(path: Path) -> list[bytes]:
    """Read a file's lines, none where there is no file; a torn last line never happened."""
    if not path.exists():
        return []
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1].splitlines()
