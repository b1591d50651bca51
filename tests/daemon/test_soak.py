"""Hours of trading at ten times the speed of the market while faults strike: nothing drifts.

``METAENSEMBLE_SOAK_S`` sets the length, 7,200 seconds unless given; below ``SLOPE_S_MIN`` memory
still fills its rings and caches, and its slope is printed but not judged.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import SimulatedSettings
from daemon.intent_ring import HEAD_BYTES, SLOT_BYTES, SLOT_COUNT
from daemon.journal_tables import ROWS_KEPT
from daemon.socket_lines import LineError, ask
from kernels.events import OrderStatus
from tests.fakes.daemon_process import ROOT, command, ended, environment, replay_run
from tests.fakes.memory_series import parts_of, resident_mb, slope_of
from tests.fakes.storm import Storm
from tests.fakes.watched_account import watched_account

SOAK_S = int(os.environ.get("METAENSEMBLE_SOAK_S", "7200"))
SPEED = 10.0
SAMPLE_S = 2.0
SLOPE_S_MIN = 2_400
WARM_FRAC = 0.25
"""Share of the run in which memory may still grow: caches, rings and tables fill."""

PRINT_S = 60.0

EVENTS_MB, SEGMENT_MB = 64, 8
MB = 1024 * 1024
WAL_MB_MAX = 24
SETTINGS = {
    "decision.interval_ms": 100,
    "execution.hysteresis_frac": 0.01,
    "journal.events_mb_max": EVENTS_MB,
    "journal.segment_mb": SEGMENT_MB,
    # hours of fees and of random trading must not end the run
    "limits.daily_loss_frac_max": 0.9,
    "limits.drawdown_frac_max": 0.95,
    "limits.agent_daily_loss_frac_max": 0.9,
    "limits.agent_executions_max": 100_000,
}
EXCHANGE = SimulatedSettings(
    market="regimes", speed=SPEED, seed=61, taker_fee_bps=0.2, maker_fee_bps=0.0
)


def unit_environment() -> dict[str, str]:
    """Return what the systemd unit asks of the allocators: threads and arenas."""
    text = (ROOT / "systemd" / "metaensemble.service").read_text(encoding="utf-8")
    found = dict(re.findall(r"\b(OMP_NUM_THREADS|MALLOC_ARENA_MAX)=(\d+)", text))
    assert len(found) == 2, found
    return found


@dataclass(slots=True)
class Watch:
    """What was seen of the running daemon from outside."""

    at_s: list[float] = field(default_factory=list)
    held_mb: list[float] = field(default_factory=list)
    exchange_mb: list[float] = field(default_factory=list)
    resumed: Counter[str] = field(default_factory=Counter)
    events_mb_max: float = 0.0
    wal_mb_max: float = 0.0
    threads_max: int = 0
    descriptors_max: int = 0
    printed_s: float = 0.0

    def sample(self, at_s: float, pid: int, exchange_pid: int, directory: Path) -> None:
        """Look once; OSError when somebody is gone."""
        self.at_s.append(at_s)
        self.held_mb.append(resident_mb(pid))
        self.exchange_mb.append(resident_mb(exchange_pid))
        sizes = [path.stat().st_size for path in (directory / "events").glob("*.events")]
        self.events_mb_max = max(self.events_mb_max, sum(sizes) / MB)
        wal = directory / "journal.sqlite-wal"
        self.wal_mb_max = max(self.wal_mb_max, wal.stat().st_size / MB if wal.exists() else 0.0)
        self.threads_max = max(self.threads_max, len(os.listdir(f"/proc/{pid}/task")))
        self.descriptors_max = max(self.descriptors_max, len(os.listdir(f"/proc/{pid}/fd")))
        if at_s >= self.printed_s:
            self.printed_s += PRINT_S
            print(
                f"{at_s:6.0f} s  daemon {self.held_mb[-1]:.1f} MB ({parts_of(pid)})  exchange "
                f"{self.exchange_mb[-1]:.1f} MB  event log {self.events_mb_max:.1f} MB",
                flush=True,
            )

    def tend(self, socket: Path) -> None:
        """Do an operator's work: resume trading where a fault has tripped the breaker."""
        try:
            breaker = ask(socket, {"command": "status"}, 10.0)["breaker"]
            if breaker["state"] != "NORMAL":
                self.resumed[str(breaker["trigger"])] += 1
                ask(socket, {"command": "resume", "reason": "soak"}, 10.0)
        except LineError:
            self.resumed["no answer"] += 1


async def trade_through(
    directory: Path, access: Path, storm: Storm, exchange_pid: int
) -> tuple[Watch, Any]:
    """Run one daemon for the whole soak and watch it; return what was seen and how it ended."""
    pairs = {"simulated.attach": access, **SETTINGS}
    words = [word for name, value in pairs.items() for word in ("--set", f"{name}={value}")]
    watch, calm = Watch(), asyncio.Event()
    out, log = directory / "stdout", directory / "log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command(directory, *words, "--for", f"{SOAK_S}s"),
            cwd=ROOT,
            env=environment() | unit_environment(),
            stdout=stdout,
            stderr=stderr,
        )
        try:
            while b'"run_ready"' not in log.read_bytes():
                assert process.returncode is None, log.read_text()[-2_000:]
                await asyncio.sleep(0.5)
            blowing = asyncio.create_task(storm.blow(calm))
            began_s = asyncio.get_running_loop().time()
            while (at_s := asyncio.get_running_loop().time() - began_s) < SOAK_S - 15.0:
                watch.sample(at_s, process.pid, exchange_pid, directory / "sim")
                await asyncio.to_thread(watch.tend, directory / "sim" / "control.sock")
                await asyncio.sleep(SAMPLE_S)
            calm.set()  # the last seconds are calm: what is unknown gets its proof
            await blowing
            await asyncio.wait_for(process.wait(), 90.0)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
    return watch, ended(process.returncode or 0, out.read_text(), log.read_text())


def tell(watch: Watch, storm: Storm, report: dict[str, Any], summary: dict[str, Any]) -> None:
    """Print what happened."""
    figures = {
        "duration_s": summary["duration_s"],
        "market_s": summary["duration_s"] * SPEED,
        "events": summary["events"],
        "decisions": summary["decisions"],
        "orders": summary["orders"],
        "feed": {name: summary["feed"][name] for name in ("gaps", "resyncs", "reconnects")},
        "alerts": summary["alerts"],
        "faults_armed": dict(storm.armed),
        "faults_fired": report["faults_fired"],
        "resumed": dict(watch.resumed),
        "events_mb_max": round(watch.events_mb_max, 1),
        "wal_mb_max": round(watch.wal_mb_max, 1),
        "threads_max": watch.threads_max,
        "descriptors_max": watch.descriptors_max,
    }
    print("\n" + json.dumps(figures, indent=1))


def assert_files_are_bounded(watch: Watch, directory: Path) -> None:
    """Event log within its retention, write-ahead log and ring within theirs, rows counted."""
    assert watch.events_mb_max <= EVENTS_MB + SEGMENT_MB + 2
    assert watch.wal_mb_max <= WAL_MB_MAX
    assert (directory / "intents.ring").stat().st_size == HEAD_BYTES + SLOT_COUNT * SLOT_BYTES
    with closing(sqlite3.connect(directory / "journal.sqlite")) as journal:
        for table, kept in ROWS_KEPT.items():
            (rows,) = journal.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert rows <= kept


def assert_every_order_is_accounted_for(directory: Path, report: dict[str, Any]) -> None:
    """Each intent has a proven end, and the venue took each of the others exactly once."""
    with closing(sqlite3.connect(directory / "journal.sqlite")) as journal:
        ends = [end for (end,) in journal.execute("SELECT final_status FROM intents")]
        (fills,) = journal.execute("SELECT count(*) FROM fills").fetchone()
    assert None not in ends, "an intent without a proven end"
    assert report["orders"]["accepted"] == len(ends) - ends.count(OrderStatus.REJECTED)
    assert report["fills"] == fills


@pytest.mark.nightly
@pytest.mark.timeout(SOAK_S + 900)
async def test_soak_with_random_faults_drifts_nowhere(tmp_path: Path) -> None:
    """No mismatch, ledger and venue equal to the last fee, memory and files where they were."""
    async with watched_account(tmp_path, EXCHANGE) as account:
        storm = Storm(control=account.control, generator=np.random.default_rng(SOAK_S))
        watch, last = await trade_through(tmp_path, account.access_path, storm, account.pid)
        report = await storm.report()
    assert last.summary is not None, last.stderr[-3_000:]
    tell(watch, storm, report, last.summary)
    skipped = int(len(watch.at_s) * WARM_FRAC)
    slope = slope_of(watch.at_s[skipped:], watch.held_mb[skipped:])
    print(f"daemon   {slope}")
    print(f"exchange {slope_of(watch.at_s[skipped:], watch.exchange_mb[skipped:])}")
    assert last.exit_code == 0
    assert last.summary["exit"] == "clean"
    assert not last.events("position_mismatch")
    assert last.summary["orders"]["open_at_end"] == report["orders"]["open"] == 0
    assert last.summary["position_lots"] == last.summary["venue_position_lots"]
    assert last.summary["position_lots"] == report["position_lots"]
    assert last.summary["fees_quote"] == report["fees_quote"], "a fill is missing or twice"
    assert last.summary["decisions"] > SOAK_S * 2
    assert len(report["faults_fired"]) >= min(10, SOAK_S // 30)
    assert_every_order_is_accounted_for(tmp_path / "sim", report)
    assert_files_are_bounded(watch, tmp_path / "sim")
    assert SOAK_S < SLOPE_S_MIN or not slope.is_distinguishable, slope
    compared = await asyncio.to_thread(replay_run, tmp_path, float(SOAK_S + 600))
    assert compared["equal"] is True, compared["difference"]


def test_leak_is_told_from_noise() -> None:
    """Steps and drift that return are no slope; two megabytes an hour on top of them are."""
    draws = np.random.default_rng(5)
    at_s = np.arange(0.0, 5_760.0, SAMPLE_S)
    noise_mb = np.zeros(len(at_s))
    for place in range(1, len(at_s)):  # remembers its last minutes, as an allocator does
        noise_mb[place] = 0.98 * noise_mb[place - 1] + draws.normal(0.0, 0.02)
    level = slope_of(at_s, 500.0 + noise_mb)
    assert not level.is_distinguishable, level
    leaking = slope_of(at_s, 500.0 + noise_mb + at_s / 3_600.0 * 2.0)
    assert leaking.is_distinguishable, leaking
    assert leaking.low > 0.0
