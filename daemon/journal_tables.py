"""The tables of the journal and how our records become rows. Pure.

Every number goes through ``int``: SQLite takes no numpy integer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from daemon.log_events import EVENTS
from daemon.log_lines import redact_fields, render_fields
from kernels.events import TERMINAL_STATUSES, Fill, OrderIntent, OrderType, OrderUpdate, Side

if TYPE_CHECKING:
    from daemon.effects import Note

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, started_ns INTEGER NOT NULL, instruments TEXT NOT NULL,
    fields TEXT NOT NULL DEFAULT '{}', closed_ns INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE intents (
    id INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL,
    symbol TEXT NOT NULL, sequence INTEGER NOT NULL, instrument INTEGER NOT NULL,
    side INTEGER NOT NULL, quantity_lots INTEGER NOT NULL, price_ticks INTEGER NOT NULL,
    order_type INTEGER NOT NULL, reduce_only INTEGER NOT NULL, decided_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, agent_share TEXT NOT NULL, approved_ns INTEGER NOT NULL,
    final_status INTEGER
) STRICT;
CREATE INDEX intents_open ON intents (id) WHERE final_status IS NULL;
CREATE TABLE order_updates (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, client_order_id TEXT NOT NULL,
    instrument INTEGER NOT NULL, event_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    status INTEGER NOT NULL, filled_lots INTEGER NOT NULL, code INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX order_updates_by_order ON order_updates (client_order_id);
CREATE TABLE fills (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, client_order_id TEXT NOT NULL,
    instrument INTEGER NOT NULL, event_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    trade_id INTEGER NOT NULL, side INTEGER NOT NULL, price_ticks INTEGER NOT NULL,
    quantity_lots INTEGER NOT NULL, fee_quote_e8 INTEGER NOT NULL, is_maker INTEGER NOT NULL,
    UNIQUE (client_order_id, trade_id)
) STRICT;
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, decided_ns INTEGER NOT NULL,
    instrument INTEGER NOT NULL, fields TEXT NOT NULL
) STRICT;
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, event_ns INTEGER NOT NULL, event TEXT NOT NULL,
    code TEXT NOT NULL, severity TEXT NOT NULL, alert INTEGER NOT NULL, fields TEXT NOT NULL
) STRICT;
CREATE VIEW alerts AS SELECT * FROM notes WHERE alert = 1;
"""

INSERT_INTENT = (
    "INSERT OR IGNORE INTO intents (client_order_id, run_id, symbol, sequence, instrument, side,"
    " quantity_lots, price_ticks, order_type, reduce_only, decided_ns, reason, agent_share,"
    " approved_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_UPDATE = (
    "INSERT INTO order_updates (run_id, client_order_id, instrument, event_ns, received_ns,"
    " status, filled_lots, code, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_FILL = (
    "INSERT OR IGNORE INTO fills (run_id, client_order_id, instrument, event_ns, received_ns,"
    " trade_id, side, price_ticks, quantity_lots, fee_quote_e8, is_maker)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_DECISION = (
    "INSERT INTO decisions (run_id, decided_ns, instrument, fields) VALUES (?, ?, ?, ?)"
)
INSERT_NOTE = (
    "INSERT INTO notes (run_id, event_ns, event, code, severity, alert, fields)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
SETTLE_INTENT = (
    "UPDATE intents SET final_status = ? WHERE client_order_id = ? AND final_status IS NULL"
)
SELECT_FINAL_STATUS = "SELECT final_status FROM intents WHERE client_order_id = ?"
SELECT_LATE_INTENTS = (
    "SELECT client_order_id, run_id, symbol, sequence, instrument, side, quantity_lots,"
    " price_ticks, order_type, reduce_only, decided_ns, reason, agent_share, approved_ns"
    " FROM intents WHERE run_id <> ? AND approved_ns >= ? ORDER BY id"
)
SELECT_OPEN_INTENTS = (
    "SELECT client_order_id, run_id, symbol, sequence, instrument, side, quantity_lots,"
    " price_ticks, order_type, reduce_only, decided_ns, reason, agent_share, approved_ns"
    " FROM intents WHERE final_status IS NULL AND run_id <> ? ORDER BY id"
)

ROWS_KEPT: Mapping[str, int] = {
    "intents": 1_000_000,
    "order_updates": 4_000_000,
    "fills": 2_000_000,
    "decisions": 1_000_000,
    "notes": 500_000,
}
"""Newest rows of each table that stay; about 1 GB when all are full. Open intents always stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """An intent of an earlier run that no terminal status was recorded for.

    ``symbol`` is the unified name: ``intent.instrument`` is an index of that run's configuration.
    """

    client_order_id: str
    run_id: str
    symbol: str
    approved_ns: int
    intent: OrderIntent


IntentWords = tuple[str, str, str, OrderIntent, int]
"""Client order id, run id, symbol, intent and when it was approved."""


def intent_row(
    client_order_id: str, run_id: str, symbol: str, intent: OrderIntent, approved_ns: int
) -> tuple[Any, ...]:
    """Lay out one intent as ``INSERT_INTENT`` takes it."""
    return (
        client_order_id,
        run_id,
        symbol,
        int(intent.sequence),
        int(intent.instrument),
        int(intent.side),
        int(intent.quantity_lots),
        int(intent.price_ticks),
        int(intent.order_type),
        int(intent.reduce_only),
        int(intent.decided_ns),
        intent.reason,
        orjson.dumps(list(map(float, intent.agent_share_A))).decode(),
        approved_ns,
    )


def open_intent(row: tuple[Any, ...]) -> OpenIntent:
    """Read one row of ``SELECT_OPEN_INTENTS`` back."""
    intent = OrderIntent(
        sequence=row[3],
        instrument=row[4],
        side=Side(row[5]),
        quantity_lots=row[6],
        price_ticks=row[7],
        order_type=OrderType(row[8]),
        reduce_only=bool(row[9]),
        decided_ns=row[10],
        reason=row[11],
        agent_share_A=tuple(orjson.loads(row[12])),
    )
    return OpenIntent(
        client_order_id=row[0], run_id=row[1], symbol=row[2], approved_ns=row[13], intent=intent
    )


def update_row(run_id: str, update: OrderUpdate) -> tuple[Any, ...]:
    """Lay out one order update as ``INSERT_UPDATE`` takes it."""
    return (
        run_id,
        update.client_order_id,
        int(update.instrument),
        int(update.event_ns),
        int(update.received_ns),
        int(update.status),
        int(update.filled_lots),
        int(update.code),
        update.reason,
    )


def fill_row(run_id: str, fill: Fill) -> tuple[Any, ...]:
    """Lay out one fill as ``INSERT_FILL`` takes it; the same trade twice is stored once."""
    return (
        run_id,
        fill.client_order_id,
        int(fill.instrument),
        int(fill.event_ns),
        int(fill.received_ns),
        int(fill.trade_id),
        int(fill.side),
        int(fill.price_ticks),
        int(fill.quantity_lots),
        int(fill.fee_quote_e8),
        int(fill.is_maker),
    )


def decision_row(
    run_id: str, decided_ns: int, instrument: int, fields: Callable[[], Mapping[str, Any]]
) -> tuple[Any, ...]:
    """Lay out one decision as ``INSERT_DECISION`` takes it; the fields may hold numpy arrays."""
    return (run_id, decided_ns, instrument, to_json(fields()))


def note_row(run_id: str, note: Note) -> tuple[Any, ...]:
    """Lay out one note as ``INSERT_NOTE`` takes it; an unknown event is our own bug (KeyError)."""
    spec = EVENTS[note.event]
    severity, alert = spec.severity, int(spec.alert)
    return (run_id, note.event_ns, spec.name, spec.code, severity, alert, to_json(note.fields))


def settle_row(update: OrderUpdate) -> tuple[Any, ...] | None:
    """Lay out what ``SETTLE_INTENT`` takes, None unless the order has ended."""
    if update.status not in TERMINAL_STATUSES:
        return None
    return (int(update.status), update.client_order_id)


def to_json(fields: Mapping[str, Any]) -> str:
    """Print fields as JSON, secrets blanked out as in the log."""
    return render_fields(redact_fields(None, "", dict(fields)))
