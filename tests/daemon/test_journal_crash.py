"""The journal of a process that dies, and on a disk that is full."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from daemon.identity import client_order_id, new_run_id
from tests.daemon.test_journal import ROOT
from tests.daemon.test_journal import _open as open_journal
from tests.daemon.test_journal import _rows as rows

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests/daemon"]
import test_journal as t
from daemon.journal import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = t._open(Path(sys.argv[1]))
journal.record_intent(t.client_order_id(t.RUN, 0), t._intent(), 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
journal.record_decision(1, 0, lambda: {"text": "x" * 400_000})
stored, denied = 1, 0
for number in range(1, 5000):
    try:
        journal.record_intent(t.client_order_id(t.RUN, number), t._intent(number), 1)
        stored += 1
    except JournalError:
        denied += 1
assert not journal.flush(0.5), "the big row cannot be written"
assert journal.writer_error, "nobody was told"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert journal.flush(10), "room again, and still nothing written"
journal.record_update(t._update(t.client_order_id(t.RUN, 1), t.OrderStatus.FILLED))
assert journal.flush(10), "room again, and still nothing written"
journal.record_intent(t.client_order_id(t.RUN, 5000), t._intent(5000), 1)
assert journal.writer_error is None
assert journal.close(2)
print(stored + 1, denied)
"""


def test_full_disk_denies_and_recovers(tmp_path: Path) -> None:
    """Intents fit until the ring is full of unsettled ones; with room again nothing was lost."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stored, denied = map(int, done.stdout.split())
    assert denied > 0
    assert rows(tmp_path, "SELECT count(*) FROM intents") == [(stored,)]
    assert rows(tmp_path, "SELECT length(fields) > 400000 FROM decisions") == [(1,)]
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


CRASH_WRITER = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests/daemon"]
import test_journal as t
from kernels.events import OrderStatus
run_id = sys.argv[3]
journal = t._open(Path(sys.argv[1]), run_id)
for number in range(1_000_000):
    name = t.client_order_id(run_id, number)
    while journal.queued_count > 300:  # what is not written yet stays in the ring for ever
        t.time.sleep(0.001)
    journal.record_intent(name, t._intent(number), number)
    os.write(1, b"%d\\n" % number)  # unbuffered: what the parent reads was promised
    journal.record_decision(number, 0, lambda: {"number": number})
    if number % 3 or number % 100 == 99:
        journal.record_update(t._update(name, OrderStatus.FILLED))
"""


def test_no_promised_intent_is_lost_by_kill(tmp_path: Path) -> None:
    """A writer killed at random moments left every intent whose record_intent had returned."""
    rng = np.random.default_rng(11)
    promised: dict[str, int] = {}
    for round_number in range(6):
        run_id = new_run_id(10**18 + round_number * 10**9, rng.bytes(8))
        child = subprocess.Popen(
            [sys.executable, "-c", CRASH_WRITER, str(tmp_path), str(ROOT), run_id],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        first = child.stdout.readline()  # it is writing now
        time.sleep(float(rng.uniform(0, 0.15)))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait(10)
        child.stdout.close()
        promised[run_id] = (first + rest).count(b"\n")
        assert promised[run_id] > 0
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    last = open_journal(tmp_path, "zzzzzzzzzzzz")
    assert set(last.unclosed_run_ids()) == set(promised)
    open_names = {one.client_order_id for one in last.open_intents()}
    last.close(1)
    stored = dict(rows(tmp_path, "SELECT client_order_id, final_status FROM intents"))
    for run_id, count in promised.items():
        for number in range(count):
            name = client_order_id(run_id, number)
            assert name in stored
            assert (name in open_names) is (stored[name] is None)
            assert stored[name] is None or number % 3 or number % 100 == 99
    assert len(stored) <= sum(promised.values()) + len(promised)  # at most one unpromised per run
