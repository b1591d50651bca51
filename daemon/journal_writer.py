"""The journal's second connection: a thread that writes what may wait, in small batches.

It shares one lock with the first, holds it for one small transaction at a time, and also
does the housekeeping: checkpoints of the write-ahead log and the removal of the oldest rows.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from daemon.journal_tables import (
    INSERT_INTENT,
    ROWS_KEPT,
    SETTLE_INTENT,
    IntentWords,
    intent_row,
)

Values = tuple[Any, ...]
Row = tuple[str, Values | Callable[[], Values]]
"""A statement and its values, or how to make them: the maker is called by the writer.

``INSERT_INTENT`` comes with what ``intent_row`` takes.
"""

QUEUE_ROWS_MAX = 100_000
BATCH_ROWS_MAX = 64  # about 0.4 ms, the longest that a reader has to wait for the lock
_GATHER_S = 0.02
_IDLE_S = 1.0
_RETRY_S = 0.5
_CHECKPOINT_ROWS = 1_000
_PRUNE_ROWS = 5_000
_PRUNE_STEP_ROWS = 500
_NOT_STORABLE = (sqlite3.Error, OverflowError, ValueError)  # beyond 64 bits, half a surrogate pair


class JournalWriter:
    """Write queued rows until closed.

    Rows beyond ``queue_rows_max`` are dropped and counted. While the database cannot be written
    (disk full) the rows wait and are tried again; a single row that can never be stored is dropped
    and counted. ``error`` tells the last failure until a batch gets through again.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: threading.Lock,
        queue_rows_max: int = QUEUE_ROWS_MAX,
        on_settled: Callable[[str], None] | None = None,
    ) -> None:
        """Take over the connection and start the thread.

        ``on_settled`` takes the client order id of an intent whose end is committed.
        """
        self._on_settled = on_settled
        self.error: str | None = None
        self._connection = connection
        self._lock = lock
        self._queue_rows_max = queue_rows_max
        self._rows: deque[Row] = deque()
        self._since_checkpoint_count = 0
        self._since_prune_count = _PRUNE_ROWS
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._progress = threading.Condition()
        self._put_count = 0  # counted by the thread that puts
        self._refused_count = 0
        self._done_count = 0  # counted by the writer
        self._lost_count = 0
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, *rows: Row) -> None:
        """Queue rows; those of one call are never torn apart by the bound of the queue."""
        if self._closing.is_set() or len(self._rows) + len(rows) > self._queue_rows_max:
            self._refused_count += len(rows)
            return
        self._put_count += len(rows)
        self._rows.extend(rows)
        self._woken.set()

    def put_intents(self, intents: Sequence[IntentWords]) -> None:
        """Queue intents, whatever the bound says."""
        for words in intents:
            self._rows.append((INSERT_INTENT, words))
        self._put_count += len(intents)
        self._woken.set()

    @property
    def dropped_count(self) -> int:
        """Rows that were lost."""
        return self._refused_count + self._lost_count

    @property
    def queued_count(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing waits; False when the time is over or writing fails."""
        target = self._put_count
        self._woken.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._done_count >= target, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write what waits, end the thread and the connection; False when rows were left."""
        self._closing.set()
        self._woken.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._rows and self.dropped_count == 0

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._woken.wait(_IDLE_S)
                self._closing.wait(_GATHER_S)  # let a batch gather, unless this is the end
                self._woken.clear()
                while self._rows and self._write_batch():
                    pass
                if self._rows:
                    self._closing.wait(_RETRY_S)
                else:
                    self._housekeep()
            while self._rows and self._write_batch():
                pass
        except BaseException as error:  # our own bug: the interpreter prints it, we show it
            self.error = f"the writer thread ended: {error!r}"
            raise
        finally:
            self._connection.close()

    def _write_batch(self) -> bool:
        """Write up to one batch; False when the database refuses writing for now."""
        batch = [self._rows[i] for i in range(min(BATCH_ROWS_MAX, len(self._rows)))]
        try:
            self._write(batch)
            self._finish(len(batch))
            self.error = None
        except sqlite3.OperationalError as error:
            self.error = str(error)
            return False
        except _NOT_STORABLE:
            return self._write_one_by_one(batch)
        return True

    def _write_one_by_one(self, batch: list[Row]) -> bool:
        """Write a batch of which some row cannot be stored, and lose that row only."""
        for row in batch:
            try:
                self._write([row])
            except sqlite3.OperationalError as error:
                self.error = str(error)
                return False
            except _NOT_STORABLE as error:
                self.error = str(error)
                self._lost_count += 1
            self._finish(1)
        return True

    def _finish(self, row_count: int) -> None:
        for _ in range(row_count):
            self._rows.popleft()
        with self._progress:
            self._done_count += row_count
            self._progress.notify_all()

    def _write(self, rows: list[Row]) -> None:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                settled: list[str] = []
                for statement, made in rows:
                    values = made() if callable(made) else made
                    if statement is INSERT_INTENT:
                        values = intent_row(*values)
                    self._connection.execute(statement, values)
                    if statement is SETTLE_INTENT:
                        settled.append(values[1])
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        if self._on_settled is not None:
            for client_order_id in settled:
                self._on_settled(client_order_id)
        self._since_checkpoint_count += len(rows)
        self._since_prune_count += len(rows)

    def _housekeep(self) -> None:
        try:
            if self._since_prune_count >= _PRUNE_ROWS:
                self._since_prune_count = 0
                for table, rows_kept in ROWS_KEPT.items():
                    self._prune(table, rows_kept)
            if self._since_checkpoint_count >= _CHECKPOINT_ROWS:
                self._since_checkpoint_count = 0
                # passive: waits for no reader
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self.error = str(error)

    def _prune(self, table: str, rows_kept: int) -> None:
        """Remove the oldest rows beyond what is kept, a few at a time; never an open intent."""
        condition = " AND final_status IS NOT NULL" if table == "intents" else ""
        (newest,) = self._connection.execute(f"SELECT max(id) FROM {table}").fetchone()
        statement = (
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table}"
            f" WHERE id <= ?{condition} ORDER BY id LIMIT {_PRUNE_STEP_ROWS})"
        )
        while newest is not None and not self._closing.is_set():
            with self._lock:
                if not self._connection.execute(statement, (newest - rows_kept,)).rowcount:
                    return
