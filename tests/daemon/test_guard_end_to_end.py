"""The guard against real processes: hung, killed and commanded daemons leave nothing open."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon import latch
from risk.breaker import BreakerState, Trigger
from tests.fakes.daemon_process import ROOT, environment, running_daemon, wait_for_event
from tests.fakes.watched_account import WatchedAccount, watched_account
from tests.fakes.webhook import FIVE_SECONDS, webhook

NOTHING_OPEN_S = 5.0
FLAT_S = 15.0
QUICK = ("decision.interval_ms=250", "decision.warm_up_bars=1")
MAKER = (
    "execution.style=passive",
    "execution.passive_ms_max=60000",
    "execution.requote_ms=60000",
    "execution.working_ms_max=60000",
    *QUICK,
)
FLATTENING = ("guard.on_loss=flatten", "guard.timeout_ms=2000")


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[WatchedAccount]:
    """An exchange that outlives the daemon under test."""
    async with watched_account(tmp_path) as account:
        yield account


@contextmanager
def attached(
    account: WatchedAccount, directory: Path, *assignments: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a daemon on that exchange."""
    words = [f"simulated.attach={account.access_path}", *assignments]
    arguments = [part for word in words for part in ("--set", word)]
    with running_daemon(directory, *arguments) as process:
        yield process


def operate(directory: Path, *words: str) -> dict[str, Any]:
    """Run an operator's command and return its answer."""
    socket = str(directory / "sim" / "control.sock")
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *words, "--json", "--socket", socket],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def with_position_and_order(account: WatchedAccount) -> None:
    """Wait until the venue itself shows a position and a resting order."""
    await account.until(lambda orders, held: orders > 0 and any(held), 60.0)


async def test_hung_daemon_leaves_no_orders_and_no_position(
    account: WatchedAccount, tmp_path: Path
) -> None:
    """No open order within 5 s, flat within 15 s, by the word of the venue alone; then HALTED."""
    with attached(account, tmp_path, *MAKER, *FLATTENING) as process:
        await asyncio.to_thread(wait_for_event, process, "run_ready")
        await with_position_and_order(account)
        process.send_signal(signal.SIGSTOP)
        await expect_nothing_left(account)
        # the guard latches once it has proven the venue clean, a moment after the venue is
        for _ in range(100):
            found = latch.read(tmp_path / "sim", 1)
            if found.trigger is not None:
                break
            await asyncio.sleep(0.05)
        assert (found.state, found.trigger) == (BreakerState.HALTED, Trigger.GUARD)
        await revived_daemon_knows(account, process, tmp_path)


async def expect_nothing_left(account: WatchedAccount) -> None:
    """Hold both promises against the venue."""
    lost_s = time.monotonic()
    await account.until(lambda orders, _: orders == 0, NOTHING_OPEN_S)
    await account.until(lambda orders, held: not (orders or any(held)), FLAT_S)
    assert time.monotonic() - lost_s < FLAT_S


async def test_killed_daemon_is_cleaned_up_after_by_the_guard_service(
    account: WatchedAccount, tmp_path: Path
) -> None:
    """After kill -9 the service acts, and then watches the next daemon."""
    socket = tmp_path / "service" / "guard.sock"
    service = (f"guard.socket={socket}", "guard.start=service", *FLATTENING)
    with guard_service(account, tmp_path, *service) as guard:
        await asyncio.to_thread(wait_for_event, guard, "guard_started")
        with attached(account, tmp_path, *MAKER, *service) as process:
            await asyncio.to_thread(wait_for_event, process, "run_ready")
            await with_position_and_order(account)
            process.send_signal(signal.SIGKILL)
            await expect_nothing_left(account)
        await asyncio.to_thread(wait_for_event, guard, "guard_done")
        with attached(account, tmp_path, *QUICK, *service) as process:
            seen = await asyncio.to_thread(wait_for_event, process, "guard_started")
            assert [line for line in seen if '"breaker_latched"' in line]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        guard.send_signal(signal.SIGTERM)
        assert guard.wait(10) == 0


@contextmanager
def guard_service(
    account: WatchedAccount, directory: Path, *assignments: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a guard as a service would."""
    words = [
        f"simulated.attach={account.access_path}",
        f"journal.directory={directory}",
        *assignments,
    ]
    arguments = [part for word in words for part in ("--set", word)]
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "guard", *arguments],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_killed_daemon_of_the_built_in_exchange_is_cleaned_up_after(tmp_path: Path) -> None:
    """The exchange outlives its daemon for as long as the guard has work there, and no longer."""
    assignments = [part for word in QUICK for part in ("--set", word)]
    with running_daemon(tmp_path, *assignments) as process:
        seen = wait_for_event(process, "order_filled")
        pids = [json.loads(line)["pid"] for line in seen if '"pid"' in line]
        process.send_signal(signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL
        (done,) = [json.loads(line) for line in wait_for_event(process, "guard_done")[-1:]]
        assert done["open_orders"] == 0
        deadline_s = time.monotonic() + 10.0
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline_s, "guard or exchange stayed behind"
            time.sleep(0.05)


async def revived_daemon_knows(
    account: WatchedAccount, process: subprocess.Popen[str], directory: Path
) -> None:
    """A daemon that wakes up after its guard has acted does not trade on."""
    process.send_signal(signal.SIGCONT)
    deadline_s = time.monotonic() + 10.0
    while (answer := await asyncio.to_thread(operate, directory, "status"))["breaker"][
        "state"
    ] != "HALTED":
        assert time.monotonic() < deadline_s, answer["breaker"]
    await asyncio.sleep(1.5)
    assert await account.open_orders() == 0
    assert not any(await account.positions())


async def test_kill_reaches_a_daemon_that_hangs(account: WatchedAccount, tmp_path: Path) -> None:
    """The operator's last word needs nothing of the daemon, and the next start remembers it."""
    with attached(account, tmp_path, *MAKER, "guard.timeout_ms=600000") as process:
        await asyncio.to_thread(wait_for_event, process, "run_ready")
        await with_position_and_order(account)
        process.send_signal(signal.SIGSTOP)
        asked_s = time.monotonic()
        answer = await asyncio.to_thread(
            operate, tmp_path, "kill", "--flatten", "--reason", "it hangs"
        )
        assert answer["ok"], answer
        assert answer["killed_pid"] == process.pid
        assert time.monotonic() - asked_s < FLAT_S
        assert await account.open_orders() == 0
        assert not any(await account.positions())
        assert process.wait(5) == -signal.SIGKILL
    with attached(account, tmp_path, *QUICK) as process:
        seen = await asyncio.to_thread(wait_for_event, process, "run_ready")
        latched = [json.loads(line) for line in seen if '"breaker_latched"' in line]
        assert [line["state"] for line in latched] == ["HALTED"]
        before = await asyncio.to_thread(operate, tmp_path, "status")
        await asyncio.sleep(1.5)
        status = await asyncio.to_thread(operate, tmp_path, "status")
        assert status["breaker"]["state"] == "HALTED"
        assert status["decisions"] > before["decisions"]
        assert status["orders"]["sent"] == before["orders"]["sent"]
        resumed = await asyncio.to_thread(operate, tmp_path, "resume", "--reason", "looked at it")
        assert resumed["breaker"]["state"] == "NORMAL"


EAGER_ALERTS = (
    "alerts.check_interval_ms=200",
    "alerts.sample_interval_ms=50",
    "alerts.sharpe_samples_min=3",
    "alerts.sharpe_min=1e12",
    "alerts.drawdown_frac_max=0",
    "alerts.stability_min=1",
    "alerts.memory_mb_max=1",
)
"""Limits so tight that an ordinary run breaks each of them."""
ALERTS = {"sharpe_low", "drawdown_recent", "memory_high", "guard_lost", "breaker_changed"}


async def test_alerts_arrive_while_the_operator_flattens_and_the_guard_comes_back(
    account: WatchedAccount, tmp_path: Path
) -> None:
    """Each reaches the webhook within five seconds of what it is about."""
    async with webhook() as (receiver, url):
        words = (*EAGER_ALERTS, f"alerts.webhook_url={url}")
        await operator_flattens_and_lost_guard_comes_back(account, tmp_path, words)
        async with asyncio.timeout(FIVE_SECONDS):
            while not {alert["event"] for alert in receiver.got} >= ALERTS:
                await asyncio.sleep(0.05)
    for alert in receiver.got:
        assert alert["arrived_ns"] - alert["event_ns"] < FIVE_SECONDS * 1e9, alert


async def operator_flattens_and_lost_guard_comes_back(
    account: WatchedAccount, tmp_path: Path, assignments: Iterable[str]
) -> None:
    """A killed guard is replaced; FLATTEN ends flat by the venue's word, then HALTED."""
    with attached(account, tmp_path, *QUICK, *assignments) as process:
        await asyncio.to_thread(wait_for_event, process, "order_filled")
        guard = (await asyncio.to_thread(operate, tmp_path, "status"))["guard"]
        assert guard["state"] == "armed"
        os.kill(guard["pid"], signal.SIGKILL)
        await account.until(lambda _, held: any(held), 30.0)
        answer = await asyncio.to_thread(operate, tmp_path, "flatten", "--reason", "test")
        assert answer["breaker"]["state"] == "FLATTEN"
        await account.until(lambda orders, held: not (orders or any(held)), FLAT_S)
        deadline_s = time.monotonic() + 15.0
        while True:
            status = await asyncio.to_thread(operate, tmp_path, "status")
            if status["breaker"]["state"] == "HALTED" and status["guard"]["state"] == "armed":
                break
            assert time.monotonic() < deadline_s, status
        assert status["guard"]["restarts"] == 1
        assert status["guard"]["pid"] != guard["pid"]
