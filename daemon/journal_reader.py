"""Reads the journal beside its writer: why was this order sent, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from daemon.shortfall import Execution, measure
from kernels.events import OrderStatus, OrderType, Side

WAIT_S = 2.0
ROWS_MAX = 200


IntentRow = tuple[str, str, str, int, int, int, float | None]
"""Client order id, run, symbol, side, lots, time of the decision and its mid in ticks."""

FillRow = tuple[str, int, int, int, int, int]
"""Client order id, price in ticks, lots, fee in 1e-8 quote, time received, whether as maker."""


class UnknownOrderError(Exception):
    """The journal holds no such order."""


class JournalUnreadableError(Exception):
    """The journal cannot be read."""


def explain(
    path: Path, client_order_id: str, tick_lot_quote_e8: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Collect the intent, the decision behind it, the venue's news and the fills of one order.

    ``tick_lot_quote_e8``, the value of one tick of one lot by symbol, adds fees to the shortfall.

    Raises UnknownOrderError for an id that was never written, JournalUnreadableError for an
    unreadable file. Opens it read-only, so this may run beside the daemon and in any thread.
    """
    try:
        return _explain(path, client_order_id, tick_lot_quote_e8 or {})
    except sqlite3.Error as error:
        raise JournalUnreadableError(f"{path}: {error}") from error


_DECIDED_INTENTS = (
    "SELECT client_order_id, i.run_id, symbol, side, quantity_lots, i.decided_ns, mid"
    " FROM intents AS i LEFT JOIN (SELECT run_id, instrument, decided_ns, max(id),"
    " json_extract(fields, '$.mid_ticks') AS mid FROM decisions GROUP BY 1, 2, 3) AS d"
    " ON d.run_id = i.run_id AND d.instrument = i.instrument AND d.decided_ns = i.decided_ns"
    " ORDER BY i.id"
)
"""Intents with the mid of their decision; grouped, so that the join has an index: 1 s for 10^5."""

_ALL_FILLS = (
    "SELECT client_order_id, price_ticks, quantity_lots, fee_quote_e8, received_ns, is_maker"
    " FROM fills ORDER BY id"
)


def read_orders(path: Path) -> tuple[list[IntentRow], list[FillRow]]:
    """Return every intent and every fill, oldest first; JournalUnreadableError as ``explain``."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as journal:
            intents = journal.execute(_DECIDED_INTENTS).fetchall()
            return intents, journal.execute(_ALL_FILLS).fetchall()
    except sqlite3.Error as error:
        raise JournalUnreadableError(f"{path}: {error}") from error


def _explain(
    path: Path, client_order_id: str, tick_lot_quote_e8: Mapping[str, int]
) -> dict[str, Any]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as journal:
        journal.row_factory = sqlite3.Row
        found = _rows(journal, "SELECT * FROM intents WHERE client_order_id = ?", client_order_id)
        if not found:
            raise UnknownOrderError(f"no order {client_order_id} in {path}")
        intent = found[0]
        decision = _decision(journal, intent)
        fills = _rows(journal, _FILLS, client_order_id)
        return {
            "order": client_order_id,
            "run_id": intent["run_id"],
            "intent": _intent(intent),
            "decision": decision,
            "updates": [_update(row) for row in _rows(journal, _UPDATES, client_order_id)],
            "moves": [_move(row) for row in _rows(journal, _MOVES, client_order_id)],
            "fills": [_fill(row) for row in fills],
            "shortfall": _shortfall(
                intent, decision, fills, tick_lot_quote_e8.get(intent["symbol"])
            ),
        }


_UPDATES = "SELECT * FROM order_updates WHERE client_order_id = ? ORDER BY id"
_FILLS = "SELECT * FROM fills WHERE client_order_id = ? ORDER BY id"
_MOVES = (
    "SELECT event_ns, fields FROM notes WHERE event = 'order_amended'"
    " AND json_extract(fields, '$.client_order_id') = ? ORDER BY id"
)
_DECISION = (
    "SELECT * FROM decisions WHERE run_id = ? AND instrument = ? AND decided_ns = ?"
    " ORDER BY id DESC"
)


def _rows(journal: sqlite3.Connection, statement: str, *values: object) -> list[dict[str, Any]]:
    found = journal.execute(f"{statement} LIMIT {ROWS_MAX}", values).fetchall()
    return [dict(row) for row in found]


def _intent(row: dict[str, Any]) -> dict[str, Any]:
    status = row["final_status"]
    return {
        "instrument": row["symbol"],
        "side": Side(row["side"]).name,
        "quantity_lots": row["quantity_lots"],
        "price_ticks": row["price_ticks"],
        "order_type": OrderType(row["order_type"]).name,
        "reduce_only": bool(row["reduce_only"]),
        "reason": row["reason"],
        "agent_share": orjson.loads(row["agent_share"]),
        "decided_ns": row["decided_ns"],
        "approved_ns": row["approved_ns"],
        "final_status": None if status is None else OrderStatus(status).name,
    }


def _decision(journal: sqlite3.Connection, intent: dict[str, Any]) -> dict[str, Any] | None:
    """Return the decision that the order came from; a closing order comes from none."""
    key = (intent["run_id"], intent["instrument"], intent["decided_ns"])
    found = _rows(journal, _DECISION, *key)
    return orjson.loads(found[0]["fields"]) if found else None


def _move(row: dict[str, Any]) -> dict[str, Any]:
    fields = orjson.loads(row["fields"])
    return {"event_ns": row["event_ns"], "price": fields["price"], "remaining": fields["remaining"]}


def _shortfall(
    intent: dict[str, Any],
    decision: dict[str, Any] | None,
    fills: list[dict[str, Any]],
    tick_lot_quote_e8: int | None,
) -> dict[str, Any] | None:
    """Measure against the decision's mid; a closing order was decided at no price."""
    if decision is None or not decision.get("mid_ticks"):
        return None
    return measure(
        side=intent["side"],
        decision_mid_ticks=float(decision["mid_ticks"]),
        quantity_lots=intent["quantity_lots"],
        tick_lot_quote_e8=tick_lot_quote_e8,
        fills=[
            Execution(
                price_ticks=row["price_ticks"],
                quantity_lots=row["quantity_lots"],
                fee_quote_e8=row["fee_quote_e8"],
            )
            for row in fills
        ],
        delay_ns=fills[0]["received_ns"] - intent["decided_ns"] if fills else None,
    ).words()


def _update(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "received_ns": row["received_ns"],
        "status": OrderStatus(row["status"]).name,
        "filled_lots": row["filled_lots"],
        "venue_code": row["code"],
        "reason": row["reason"],
    }


def _fill(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("received_ns", "trade_id", "price_ticks", "quantity_lots", "fee_quote_e8")
    return {**{name: row[name] for name in kept}, "is_maker": bool(row["is_maker"])}
