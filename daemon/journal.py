"""The journal: every intent is stored before it is sent; all else follows in batches.

An intent goes into the intent ring: mapped memory that survives ``kill -9`` of the daemon, and with
sync ``strict`` one ``fdatasync`` for all that leave together, which survives a power cut as well.
A thread then writes intents, updates, fills, decisions and notes into one SQLite file in WAL mode,
to be queried; a slot of the ring is free again once that file knows how the order ended. One daemon
per directory: a lock file refuses the second.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from daemon import journal_tables as tables
from daemon.intent_ring import FILE_NAME as RING_NAME
from daemon.intent_ring import IntentRing, RingError, RingIntent
from daemon.journal_tables import OpenIntent
from daemon.journal_writer import JournalWriter
from daemon.places import journal_directory
from kernels.events import Fill, OrderIntent, OrderUpdate

if TYPE_CHECKING:
    from daemon.effects import Note

__all__ = ["Journal", "JournalError", "OpenIntent", "hold_directory", "journal_directory"]

FILE_NAME = "journal.sqlite"
_OUTSIDER_WAIT_S = 5.0  # a writer from outside is waited for so long
_WAL_BYTES_KEPT = 16 * 1024 * 1024
_RUNS_KEPT = 10_000
_SYNCHRONOUS = {"ring": "NORMAL", "strict": "FULL"}
Approvals = Sequence[tuple[str, OrderIntent, int]]
"""Client order id, intent, and when it was approved; not changed once it is handed over."""


class JournalError(Exception):
    """The journal cannot be opened or an intent cannot be stored; nothing may be sent."""


class Journal:
    """The open journal of one run; ``instruments`` are unified symbols in configuration order.

    Raises JournalError when the directory cannot be used, another daemon uses it, or the file is
    no journal of this version. Calls come from one thread at a time.
    """

    def __init__(
        self,
        directory: Path,
        run_id: str,
        sync: Literal["ring", "strict"],
        *,
        instruments: Sequence[str],
        started_ns: int,
    ) -> None:
        """Open or create the journal and enter this run into it."""
        self.run_id = run_id
        self.path = directory / FILE_NAME
        self._symbols = tuple(instruments)
        self._stored: list[Approvals] = []
        self._lock = threading.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = hold_directory(directory)
        except OSError as error:
            raise JournalError(f"{directory}: {error.strerror}") from error
        with ExitStack() as on_failure:
            on_failure.callback(os.close, self._held)
            try:
                self._connection = _connect(self.path, sync, _OUTSIDER_WAIT_S)
                on_failure.callback(self._connection.close)
                _prepare(self._connection)
                self._connection.execute(
                    "INSERT INTO runs (run_id, started_ns, instruments) VALUES (?, ?, ?)",
                    (run_id, started_ns, orjson.dumps(self._symbols).decode()),
                )
                second = _connect(self.path, sync, _OUTSIDER_WAIT_S)
                on_failure.callback(second.close)
                self._is_strict = sync == "strict"
                self._ring = IntentRing(directory / RING_NAME, is_synced=self._is_strict)
                on_failure.callback(self._ring.close)
                self._take_over(self._ring.found.intents)
            except (sqlite3.Error, OSError, RingError) as error:
                raise JournalError(f"{self.path}: {error}") from error
            on_failure.pop_all()
        self.torn_count = self._ring.found.torn_count
        self._writer = JournalWriter(second, self._lock, on_settled=self._ring.settle)

    def record_intent(self, client_order_id: str, intent: OrderIntent, approved_ns: int) -> None:
        """Store one approved intent, as ``record_intents`` does."""
        self.record_intents(((client_order_id, intent, approved_ns),))

    def record_intents(self, approved: Approvals) -> None:
        """Store approved intents; when this returns they are kept and may be sent.

        Each is (client order id, intent, approved_ns). With sync ``strict`` one sync serves all.
        Raises JournalError when one is not stored, also for a client order id that is still open;
        none of them may be sent then.
        """
        if self._is_strict:
            self._store_synced(approved)
        else:
            run_id, symbols, store = self.run_id, self._symbols, self._ring.store
            count = 0
            try:
                for name, intent, approved_ns in approved:
                    store(name, run_id, symbols[intent.instrument], intent, approved_ns)
                    count += 1
            except RingError as error:
                for before in approved[:count]:
                    self._ring.settle(before[0])
                raise JournalError(f"intents are not stored: {error}") from error
        self._stored.append(approved)

    def follow_up(self) -> None:
        """Do what could wait until the orders were sent: queue their rows, ready the ring.

        To wake the writer on an idle core takes the one that asks 20 us and more.
        """
        self._queue_stored()
        self._ring.prepare()

    def record_update(self, update: OrderUpdate) -> None:
        """Queue an order update; a terminal one settles its intent, of whichever run."""
        self._queue_stored()
        settled = tables.settle_row(update)
        rows = [(tables.INSERT_UPDATE, tables.update_row(self.run_id, update))]
        if settled is not None:
            rows.append((tables.SETTLE_INTENT, settled))
        self._writer.put(*rows)

    def record_fill(self, fill: Fill) -> None:
        """Queue a fill; the same trade of the same order is stored once."""
        self._writer.put((tables.INSERT_FILL, tables.fill_row(self.run_id, fill)))

    def record_decision(
        self, decided_ns: int, instrument: int, fields: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Queue one decision; the writer calls ``fields`` for whatever led to it."""
        row = partial(tables.decision_row, self.run_id, decided_ns, instrument, fields)
        self._writer.put((tables.INSERT_DECISION, row))

    def record_note(self, note: Note) -> None:
        """Queue a note; alerts can be read from the view ``alerts``."""
        self._writer.put((tables.INSERT_NOTE, partial(tables.note_row, self.run_id, note)))

    def record_run(self, fields: Mapping[str, Any]) -> None:
        """Queue what describes this run: mode, fingerprints of settings and model, and the like."""
        statement = "UPDATE runs SET fields = ? WHERE run_id = ?"
        self._writer.put((statement, (tables.to_json(fields), self.run_id)))

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Return the intents of earlier runs whose orders are not known to have ended."""
        return tuple(map(tables.open_intent, self._select(tables.SELECT_OPEN_INTENTS)))

    def late_intents(self, since_ns: int) -> tuple[OpenIntent, ...]:
        """Return the intents of earlier runs approved since then, ended or not."""
        rows = self._select(tables.SELECT_LATE_INTENTS, since_ns)
        return tuple(map(tables.open_intent, rows))

    def unclosed_run_ids(self) -> tuple[str, ...]:
        """Return the earlier runs that ended without closing the journal, oldest first."""
        statement = "SELECT run_id FROM runs WHERE closed_ns IS NULL AND run_id <> ? ORDER BY 1"
        return tuple(row[0] for row in self._select(statement))

    @property
    def writer_error(self) -> str | None:
        """Why the last batch was not written, None when it was."""
        return self._writer.error

    @property
    def dropped_count(self) -> int:
        """Queued rows that were lost; intents are never among them."""
        return self._writer.dropped_count

    @property
    def queued_count(self) -> int:
        """Rows that wait for the writer thread."""
        return self._writer.queued_count

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is written; False when it is not within the time."""
        self._queue_stored()
        return self._writer.flush(timeout_s)

    def close(self, closed_ns: int, timeout_s: float = 5.0) -> bool:
        """Write what waits, mark the run closed if all of it was written, and let go.

        False when rows were lost or the mark failed: the next start then sees a run that did not
        end in order.
        """
        self._queue_stored()
        is_whole = self._writer.close(timeout_s)
        try:
            if is_whole:
                with self._lock:
                    statement = "UPDATE runs SET closed_ns = ? WHERE run_id = ?"
                    self._connection.execute(statement, (closed_ns, self.run_id))
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            is_whole = False  # the caller says so: the log outlives the journal
        finally:
            self._connection.close()
            self._ring.close()
            os.close(self._held)
        return is_whole

    def _queue_stored(self) -> None:
        """Queue the rows of intents that are in the ring; an update must come after them."""
        for approved in self._stored:
            self._writer.put_intents(self._words_of(approved))
        self._stored.clear()

    def _store_synced(self, approved: Approvals) -> None:
        try:
            self._ring.store_synced(self._words_of(approved))
        except (RingError, OSError) as error:
            raise JournalError(f"intents are not stored: {error}") from error

    def _words_of(self, approved: Approvals) -> list[tables.IntentWords]:
        run_id, symbols = self.run_id, self._symbols
        return [(name, run_id, symbols[each.instrument], each, ns) for name, each, ns in approved]

    def _take_over(self, found: Sequence[RingIntent]) -> None:
        """Copy what an earlier run stored and its writer did not get to; free what has ended."""
        for each in found:
            row = (each.client_order_id, each.run_id, each.symbol, each.intent, each.approved_ns)
            self._connection.execute(tables.INSERT_INTENT, tables.intent_row(*row))
            (status,) = self._connection.execute(
                tables.SELECT_FINAL_STATUS, (each.client_order_id,)
            ).fetchone()
            if status is not None:
                self._ring.settle(each.client_order_id)

    def _select(self, statement: str, *values: int) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, (self.run_id, *values)).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}") from error


def hold_directory(directory: Path) -> int:
    """Lock a journal's directory for as long as this process lives or the descriptor is open.

    JournalError when a daemon holds it, OSError when it cannot be used.
    """
    path = directory / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalError(f"{path.parent}: another daemon uses this journal") from error
    return descriptor


def _connect(path: Path, sync: str, wait_s: float) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for us alone
    connection = sqlite3.connect(
        path, timeout=wait_s, isolation_level=None, check_same_thread=False
    )
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalError(f"{path}: this file system allows no write-ahead log")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[sync]}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer's, off the hot path
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in a new file, refuse another version, forget the oldest runs."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(
            f"BEGIN; {tables.SCHEMA} PRAGMA user_version = {tables.SCHEMA_VERSION}; COMMIT;"
        )
    elif version != tables.SCHEMA_VERSION:
        wanted = tables.SCHEMA_VERSION
        raise JournalError(f"journal has version {version}, this program writes {wanted}")
    connection.execute(
        "DELETE FROM runs WHERE run_id NOT IN"
        " (SELECT run_id FROM runs ORDER BY run_id DESC LIMIT ?)",
        (_RUNS_KEPT,),
    )
