"""The journal: nothing that was promised is ever missing, and trouble is told, not hidden."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import journal_tables, journal_writer
from daemon.effects import Note
from daemon.identity import client_order_id
from daemon.intent_ring import FILE_NAME as RING_NAME
from daemon.intent_ring import IntentRing
from daemon.journal import FILE_NAME, Journal, JournalError, journal_directory
from kernels.events import (
    TERMINAL_STATUSES,
    Fill,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
)

ROOT = Path(__file__).parents[2]
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
RUN, NEXT_RUN = "000000000001", "000000000002"


def _open(folder: Path, run_id: str = RUN, sync: Any = "ring") -> Journal:
    return Journal(folder, run_id, sync, instruments=SYMBOLS, started_ns=7)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open an empty journal and close it afterwards."""
    opened = _open(tmp_path)
    yield opened
    opened.close(9)


def _intent(sequence: int = 0, **changes: Any) -> OrderIntent:
    values: dict[str, Any] = {
        "sequence": sequence,
        "instrument": 1,
        "side": Side.SELL,
        "quantity_lots": 12,
        "price_ticks": 260_000,
        "order_type": OrderType.POST_ONLY,
        "reduce_only": True,
        "decided_ns": 10**18 + sequence,
        "reason": "target",
        "agent_share_A": (0.5, 0.25, 0.125, 0.125, 0.0),
    }
    return OrderIntent(**(values | changes))


def _update(name: str, status: OrderStatus, **changes: Any) -> OrderUpdate:
    values: dict[str, Any] = {
        "instrument": 1,
        "event_ns": 1,
        "received_ns": 2,
        "client_order_id": name,
        "status": status,
        "filled_lots": 3,
        "code": 0,
        "reason": "",
    }
    return OrderUpdate(**(values | changes))


def _fill(name: str, trade_id: int) -> Fill:
    return Fill(
        instrument=1,
        event_ns=1,
        received_ns=2,
        client_order_id=name,
        trade_id=trade_id,
        side=Side.SELL,
        price_ticks=260_000,
        quantity_lots=3,
        fee_quote_e8=-5,
        is_maker=True,
    )


def _rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / FILE_NAME)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("sync", ["ring", "strict"])
def test_intent_is_stored_when_the_call_returns(tmp_path: Path, sync: str) -> None:
    """Whoever maps the ring reads the intent at once; the queryable copy follows."""
    journal = _open(tmp_path, sync=sync)
    journal.record_intent("me-000000000001-0", _intent(), 55)
    other = IntentRing(tmp_path / RING_NAME)
    (found,) = other.found.intents
    other.close()
    assert (found.client_order_id, found.run_id, found.symbol) == (
        "me-000000000001-0",
        RUN,
        "ETH/USDT:USDT",
    )
    assert (found.approved_ns, found.intent) == (55, _intent())
    assert journal.flush(5)
    rows = _rows(tmp_path, "SELECT client_order_id, run_id, symbol, approved_ns FROM intents")
    assert rows == [("me-000000000001-0", RUN, "ETH/USDT:USDT", 55)]
    journal.close(9)


def test_slot_is_free_again_once_the_end_of_its_order_is_committed(tmp_path: Path) -> None:
    """An order that ended leaves the ring; one that is open stays in it, through every restart."""
    journal = _open(tmp_path)
    for number in range(3):
        journal.record_intent(client_order_id(RUN, number), _intent(number), 1)
    journal.record_update(_update(client_order_id(RUN, 1), OrderStatus.FILLED))
    assert journal.flush(5)
    journal.close(9)
    for run_id in ("000000000003", "000000000004"):
        later = _open(tmp_path, run_id)
        names = [one.client_order_id for one in later.open_intents()]
        assert names == [client_order_id(RUN, 0), client_order_id(RUN, 2)]
        assert [one.client_order_id for one in later._ring.found.intents] == names
        later.close(10)


INT64 = st.integers(-(2**63), 2**63 - 1)
INTENTS = st.builds(
    OrderIntent,
    sequence=st.integers(0, 2**63 - 1),
    instrument=st.integers(0, 1),
    side=st.sampled_from(Side),
    quantity_lots=INT64,
    price_ticks=INT64,
    order_type=st.sampled_from(OrderType),
    reduce_only=st.booleans(),
    decided_ns=INT64,
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    agent_share_A=st.lists(st.floats(-1, 1), max_size=5).map(tuple),
)


@given(st.lists(st.tuples(INTENTS, INT64), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_any_intent_comes_back_unchanged_in_the_next_run(
    tmp_path_factory: pytest.TempPathFactory, approved: list[tuple[OrderIntent, int]]
) -> None:
    """What an earlier run left open is read back value by value, in order, with its symbol."""
    folder = tmp_path_factory.mktemp("journal")
    first = _open(folder)
    for number, (intent, approved_ns) in enumerate(approved):
        first.record_intent(client_order_id(RUN, number), intent, approved_ns)
    assert first.open_intents() == ()
    first.close(8)
    second = _open(folder, NEXT_RUN)
    found = second.open_intents()
    second.close(9)
    assert [(one.intent, one.approved_ns) for one in found] == approved
    assert [one.client_order_id for one in found] == [
        client_order_id(RUN, number) for number in range(len(approved))
    ]
    assert {one.run_id for one in found} == {RUN}
    assert [one.symbol for one in found] == [SYMBOLS[one.intent.instrument] for one in found]


@pytest.mark.parametrize("status", list(OrderStatus))
def test_only_terminal_statuses_settle_an_intent(tmp_path: Path, status: OrderStatus) -> None:
    """An order is open in the next run unless the venue said that it ended."""
    first = _open(tmp_path)
    name = client_order_id(RUN, 0)
    first.record_intent(name, _intent(), 1)
    first.record_update(_update(name, status))
    first.close(2)
    second = _open(tmp_path, NEXT_RUN)
    assert bool(second.open_intents()) is (status not in TERMINAL_STATUSES)
    # evidence found by the next run settles it for good
    second.record_update(_update(name, OrderStatus.CANCELLED))
    second.close(3)
    third = _open(tmp_path, "000000000003")
    assert third.open_intents() == ()
    third.close(4)


def test_everything_queued_is_written(tmp_path: Path, journal: Journal) -> None:
    """Updates, fills, decisions, notes and the run's description arrive in their tables."""
    name = client_order_id(RUN, 0)
    journal.record_update(_update(name, OrderStatus.WORKING, code=-2019, reason="margin"))
    for trade_id in (1, 2, 2):
        journal.record_fill(_fill(name, trade_id))
    journal.record_decision(5, 1, lambda: {"weights": np.array([0.5, 0.5]), "nan": float("nan")})
    journal.record_note(Note(event="order_sent", event_ns=6, fields={"api_key": "hunter2"}))
    journal.record_note(Note(event="order_unknown", event_ns=7, fields={"side": Side.BUY}))
    journal.record_run({"mode": "sim", "settings_sha256": "ab"})
    assert journal.flush(5)
    assert journal.queued_count == 0
    assert _rows(tmp_path, "SELECT status, filled_lots, code, reason FROM order_updates") == [
        (int(OrderStatus.WORKING), 3, -2019, "margin")
    ]
    assert _rows(tmp_path, "SELECT trade_id, fee_quote_e8, is_maker, side FROM fills") == [
        (1, -5, 1, -1),
        (2, -5, 1, -1),
    ]
    assert _rows(tmp_path, "SELECT fields FROM decisions") == [
        ('{"weights":[0.5,0.5],"nan":null}',)
    ]
    assert _rows(tmp_path, "SELECT code, fields FROM notes") == [
        ("ME402", '{"api_key":"[redacted]"}'),
        ("ME407", '{"side":"BUY"}'),
    ]
    assert _rows(tmp_path, "SELECT code FROM alerts") == [("ME407",)]
    assert _rows(tmp_path, "SELECT started_ns, instruments, fields FROM runs") == [
        (7, '["BTC/USDT:USDT","ETH/USDT:USDT"]', '{"mode":"sim","settings_sha256":"ab"}')
    ]


def test_clean_end_is_marked_and_an_unclean_one_seen(tmp_path: Path) -> None:
    """A closed run carries its time; a run without the mark is named to the next one."""
    first = _open(tmp_path)
    assert first.close(42)
    crashed = _open(tmp_path, NEXT_RUN)
    crashed._writer.close(5)  # the descriptor goes as in a crash: without the mark
    crashed._connection.close()
    os.close(crashed._held)
    third = _open(tmp_path, "000000000003")
    assert third.unclosed_run_ids() == (NEXT_RUN,)
    third.close(44)
    assert _rows(tmp_path, "SELECT run_id, closed_ns FROM runs ORDER BY 1") == [
        (RUN, 42),
        (NEXT_RUN, None),
        ("000000000003", 44),
    ]


def test_group_with_one_that_cannot_be_stored_is_not_stored_at_all(tmp_path: Path) -> None:
    """What leaves together is kept together: the ones before the bad one are let go as well."""
    journal = _open(tmp_path)
    names = [client_order_id(RUN, number) for number in range(3)]
    bad = _intent(2, quantity_lots=2**63)
    with pytest.raises(JournalError):
        journal.record_intents(
            [(names[0], _intent(0), 1), (names[1], _intent(1), 1), (names[2], bad, 1)]
        )
    assert journal._ring.open_count == 0
    journal.record_intents([(names[0], _intent(0), 1), (names[1], _intent(1), 1)])
    assert journal._ring.open_count == 2
    journal.follow_up()
    assert journal.flush(5)
    assert _rows(tmp_path, "SELECT count(*) FROM intents") == [(2,)]
    journal.close(9)


def test_same_order_name_twice_is_refused(journal: Journal) -> None:
    """A client order id is used once, whatever the caller believes."""
    journal.record_intent("me-000000000001-0", _intent(), 1)
    with pytest.raises(JournalError, match="stored already"):
        journal.record_intent("me-000000000001-0", _intent(), 1)


def test_unstorable_intent_is_an_error_not_a_crash(journal: Journal) -> None:
    """Numbers beyond 64 bits and broken text deny the one intent and leave the journal usable."""
    for intent in (_intent(quantity_lots=2**63), _intent(reason="\ud800")):
        with pytest.raises(JournalError):
            journal.record_intent("me-000000000001-0", intent, 1)
    journal.record_intent("me-000000000001-0", _intent(quantity_lots=np.int64(5)), 1)


def test_unstorable_row_is_lost_alone(tmp_path: Path, journal: Journal) -> None:
    """One impossible row among good ones is dropped and counted; the others are written."""
    for number in range(5):
        name = client_order_id(RUN, number)
        lots = 2**70 if number == 2 else number
        journal.record_update(_update(name, OrderStatus.WORKING, filled_lots=lots))
    assert journal.flush(5)
    assert journal.dropped_count == 1
    assert [row[0] for row in _rows(tmp_path, "SELECT filled_lots FROM order_updates")] == [
        0,
        1,
        3,
        4,
    ]


def test_second_daemon_is_refused(tmp_path: Path, journal: Journal) -> None:
    """One directory serves one daemon; after the first is gone the place is free."""
    with pytest.raises(JournalError, match="another daemon"):
        _open(tmp_path, NEXT_RUN)
    journal.record_intent("me-000000000001-0", _intent(), 1)


def test_unusable_places_are_refused(tmp_path: Path) -> None:
    """A file in the way, a foreign file, another version and a used run id are said plainly."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="exists"):
        _open(tmp_path / "file")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / FILE_NAME).write_text("this is not a database, but long enough to be taken for one")
    with pytest.raises(JournalError, match="not a database"):
        _open(foreign)
    newer = tmp_path / "newer"
    _open(newer).close(1)
    connection = sqlite3.connect(newer / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="version 99"):
        _open(newer, NEXT_RUN)
    _open(tmp_path / "used").close(1)
    with pytest.raises(JournalError, match="UNIQUE"):
        _open(tmp_path / "used")
    with pytest.raises(JournalError, match="not a database"):  # the lock was let go each time
        _open(foreign)


def test_files_are_for_us_alone(tmp_path: Path) -> None:
    """Positions and orders are nobody else's business, whatever the umask."""
    mask = os.umask(0)
    try:
        opened = _open(tmp_path / "new")
        opened.record_intent("me-000000000001-0", _intent(), 1)
    finally:
        os.umask(mask)
    for path in (tmp_path / "new").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    opened.close(2)


def test_outside_writer_does_not_delay_an_intent(tmp_path: Path, journal: Journal) -> None:
    """A foreign transaction that stays open holds up the queryable copy only."""
    connection = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    start_ns = time.monotonic_ns()
    journal.record_intent("me-000000000001-0", _intent(), 1)
    assert time.monotonic_ns() - start_ns < 100_000_000
    connection.execute("ROLLBACK")
    connection.close()
    assert journal.flush(10)
    assert _rows(tmp_path, "SELECT count(*) FROM intents") == [(1,)]


def test_queue_is_bounded() -> None:
    """Rows beyond the bound are dropped and counted, those of one call together."""
    lock = threading.Lock()
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(journal_tables.SCHEMA)
    with lock:  # the writer stands still
        writer = journal_writer.JournalWriter(connection, lock, queue_rows_max=5)
        row = (journal_tables.INSERT_DECISION, ("run", 1, 0, "{}"))
        for _ in range(4):
            writer.put(row)
        writer.put(row, row)
        writer.put(row)
        writer.put(row)
        assert (writer.queued_count, writer.dropped_count) == (5, 3)
    assert writer.flush(5)
    assert not writer.close(5)  # something was lost: not a whole journal


def test_oldest_rows_go_and_open_intents_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables stop growing at their bound; an intent without an end is never removed."""
    monkeypatch.setattr(journal_writer, "ROWS_KEPT", {"decisions": 700, "intents": 3})
    monkeypatch.setattr(journal_writer, "_PRUNE_ROWS", 100)
    first = _open(tmp_path)
    for number in range(6):
        name = client_order_id(RUN, number)
        first.record_intent(name, _intent(number), 1)
        if number != 1:
            first.record_update(_update(name, OrderStatus.FILLED))
    for number in range(2_000):
        first.record_decision(number, 0, lambda: {})
    assert first.flush(20)
    first.close(1)
    second = _open(tmp_path, NEXT_RUN)
    second.record_decision(2_000, 0, lambda: {})
    assert second.flush(20)
    deadline_ns = time.monotonic_ns() + 10_000_000_000
    statement = "SELECT count(*), max(decided_ns) FROM decisions"
    while _rows(tmp_path, statement)[0][0] > 700 and time.monotonic_ns() < deadline_ns:
        time.sleep(0.05)
    assert _rows(tmp_path, statement) == [(700, 2_000)]
    deadline_ns = time.monotonic_ns() + 10_000_000_000
    statement = "SELECT sequence FROM intents ORDER BY id"
    while len(_rows(tmp_path, statement)) > 4 and time.monotonic_ns() < deadline_ns:
        time.sleep(0.05)
    assert _rows(tmp_path, statement) == [(1,), (3,), (4,), (5,)]
    assert [one.intent.sequence for one in second.open_intents()] == [1]
    second.close(2)


def test_write_ahead_log_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log beside the file is worked off while the run goes on, also with intents alone."""
    monkeypatch.setattr(journal_writer, "_CHECKPOINT_ROWS", 50)
    monkeypatch.setattr(journal_writer, "_IDLE_S", 0.01)
    opened = _open(tmp_path)
    before_bytes = (tmp_path / FILE_NAME).stat().st_size
    for number in range(300):
        opened.record_intent(client_order_id(RUN, number), _intent(number), 1)
        opened.follow_up()
    deadline_ns = time.monotonic_ns() + 10_000_000_000
    while (tmp_path / FILE_NAME).stat().st_size <= before_bytes:
        assert time.monotonic_ns() < deadline_ns
        time.sleep(0.02)
    opened.close(1)
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()


def test_directory_is_configured_or_systemd_s_or_the_user_s() -> None:
    """The journal's place follows the configuration, then the unit, then the user."""
    environ = {"STATE_DIRECTORY": "/var/lib/metaensemble:/var/lib/x", "HOME": "/home/u"}
    assert journal_directory("/srv/j", environ) == Path("/srv/j")
    assert journal_directory("", environ) == Path("/var/lib/metaensemble")
    assert journal_directory("", {"HOME": "/home/u"}) == Path("/home/u/.local/state/metaensemble")
    assert journal_directory("", {"XDG_STATE_HOME": "/s"}) == Path("/s/metaensemble")
