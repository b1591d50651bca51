"""kill -9 of the real daemon, again and again, on one exchange that goes on: nothing lost, doubled.

The exchange lives in a process of its own and its account outlives every daemon. After the last
restart the venue's orders are exactly the approved intents that reached it, once each, and ledger
and venue hold the same.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.daemon_process import (
    ROOT,
    START_TIMEOUT_S,
    Ended,
    environment,
    replay_run,
    run_daemon,
    running_daemon,
    wait_for_event,
)

DECISIONS = ("--set", "decision.interval_ms=100", "--set", "execution.hysteresis_frac=0.01")


@contextmanager
def exchange(directory: Path, report: list[dict[str, Any]]) -> Iterator[Path]:
    """Run an exchange of its own; ``report`` gets what it counted, after its end."""
    access = directory / "exchange.json"
    with access.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "exchange", "--json"],
            cwd=ROOT,
            env=environment(),
            stdout=out,
            stderr=subprocess.PIPE,
        )
    try:
        for _ in range(START_TIMEOUT_S * 10):
            if access.stat().st_size or process.poll() is not None:
                break
            time.sleep(0.1)
        yield access
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        report.append(json.loads(access.read_text().splitlines()[-1]))


def kill_and_restart(directory: Path, kills: int, seed: int) -> tuple[Ended, dict[str, Any]]:
    """Kill that many daemons at drawn moments of their trading, then let one end in order."""
    draws = np.random.default_rng(seed)
    report: list[dict[str, Any]] = []
    with exchange(directory, report) as access:
        arguments = ("--set", f"simulated.attach={access}", *DECISIONS)
        for _ in range(kills):
            with running_daemon(directory, *arguments) as process:
                wait_for_event(process, "order_sent")
                time.sleep(float(draws.uniform(0.0, 1.5)))
                process.send_signal(signal.SIGKILL)
        last = run_daemon(directory, *arguments, "--for", "6s")
    return last, report[0]


def assert_nothing_lost_or_doubled(directory: Path, last: Ended, report: dict[str, Any]) -> None:
    """Compare the last daemon, the exchange's own books and the journal."""
    assert last.exit_code == 0, last.stderr[-3000:]
    assert last.summary is not None
    assert last.summary["exit"] == "clean"
    assert last.summary["orders"]["open_at_end"] == 0
    assert last.summary["position_lots"] == last.summary["venue_position_lots"]
    assert last.summary["position_lots"] == report["position_lots"]
    assert last.summary["fees_quote"] == report["fees_quote"], "a fill is missing or twice"
    assert not last.events("position_mismatch")
    assert not last.events("order_illegal_transition")
    (continued,) = last.events("run_continued")
    assert continued["is_warm"] is True
    assert report["orders"]["open"] == 0
    with sqlite3.connect(directory / "sim" / "journal.sqlite") as journal:
        rows = dict(journal.execute("SELECT client_order_id, final_status FROM intents"))
        (fills,) = journal.execute("SELECT count(*) FROM fills").fetchone()
    journal.close()
    assert None not in rows.values(), "an intent without a proven end"
    rejected = sum(status == 7 for status in rows.values())
    assert report["orders"]["accepted"] == len(rows) - rejected
    assert fills == report["fills"]
    compared = replay_run(directory)
    assert compared["equal"] is True, compared["difference"]


def test_killed_daemons_lose_and_double_nothing(tmp_path: Path) -> None:
    """Three kills in the middle of trading, each followed by a restart."""
    last, report = kill_and_restart(tmp_path, 3, seed=1)
    assert_nothing_lost_or_doubled(tmp_path, last, report)


def test_killed_daemon_begins_anew_without_counting_a_fill_twice(tmp_path: Path) -> None:
    """Right after an order was sent; the next run takes the venue's account, fill included."""
    report: list[dict[str, Any]] = []
    with exchange(tmp_path, report) as access:
        arguments = ("--set", f"simulated.attach={access}", *DECISIONS)
        cold = (*arguments, "--set", "recovery.warm=false")
        for _ in range(3):
            with running_daemon(tmp_path, *cold) as process:
                wait_for_event(process, "order_sent")
                process.send_signal(signal.SIGKILL)
        last = run_daemon(tmp_path, *cold, "--for", "6s")
    assert last.exit_code == 0, last.stderr[-3000:]
    assert last.summary is not None
    assert last.summary["orders"]["rejected"] == 0, "reduces a position that is not there"
    assert not last.events("position_mismatch")
    assert last.summary["position_lots"] == report[0]["position_lots"]
    with sqlite3.connect(tmp_path / "sim" / "journal.sqlite") as journal:
        (fills,) = journal.execute("SELECT count(*) FROM fills").fetchone()
    journal.close()
    assert fills == report[0]["fills"]


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_two_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """The same for 200 kills, in ten rounds with exchanges of their own."""
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        last, report = kill_and_restart(directory, 20, seed=number)
        assert_nothing_lost_or_doubled(directory, last, report)
