"""The exchange's process: it starts, refuses, dies with its parent, and reports."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from config.settings import SimulatedSettings
from daemon.simulated.process import ROOT, ExchangeError, start
from tests.fakes.exchange_client import production_client
from tests.fakes.recording import NAMES, recording_lines, write_recording

WAIT_S = 30.0
PARENT = """
import asyncio
from config.settings import SimulatedSettings
from daemon.simulated.process import start

async def main():
    exchange = await start(SimulatedSettings(), ("BTC/USDT:USDT",))
    print(exchange.access.pid, exchange.access.ca_pem_path, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def gone(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    for _ in range(int(WAIT_S / 0.05)):
        if not Path(f"/proc/{pid}").exists():
            return True
        await asyncio.sleep(0.05)
    return False


async def test_start_stop_report() -> None:
    """An idle exchange starts, stops twice without harm, leaves a report and no files."""
    exchange = await start(SimulatedSettings(wallet_quote=5_000.0), NAMES)
    assert exchange.exit_code is None
    assert exchange.access.api_secret not in repr(exchange.access)
    ca_pem_path = Path(exchange.access.ca_pem_path)
    assert "PRIVATE" not in ca_pem_path.read_text()
    with pytest.raises(ExchangeError):
        exchange.report()
    await exchange.stop()
    await exchange.stop()
    report = exchange.report()
    assert exchange.exit_code == 0
    assert report["equity_quote"] == "5000.00000000"
    assert report["position_lots"] == dict.fromkeys(NAMES, 0)
    assert not ca_pem_path.parent.exists()


async def test_child_dies_with_a_killed_parent() -> None:
    """kill -9 of the parent closes the child's stdin; the child ends and removes its files."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    try:
        line = await asyncio.wait_for(parent.stdout.readline(), 120)
        child_pid, ca_pem_path = line.decode().split()
        assert Path(f"/proc/{child_pid}").exists()
    finally:
        parent.kill()
        await parent.wait()
    assert await gone(int(child_pid))
    assert not Path(ca_pem_path).exists()


async def test_child_outlives_the_signals_of_a_stopping_service() -> None:
    """SIGINT and SIGTERM reach the whole group; the exchange stays until stdin closes."""
    exchange = await start(SimulatedSettings(), NAMES[:1])
    os.kill(exchange.access.pid, signal.SIGINT)
    os.kill(exchange.access.pid, signal.SIGTERM)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(exchange.wait_exited(), 0.5)
    await exchange.stop()
    assert exchange.exit_code == 0


async def test_killed_child_is_noticed_and_leaves_no_report() -> None:
    """A crash is visible as an exit code, and there is nothing to report."""
    exchange = await start(SimulatedSettings(), NAMES[:1])
    os.kill(exchange.access.pid, signal.SIGKILL)
    assert await asyncio.wait_for(exchange.wait_exited(), WAIT_S) == -signal.SIGKILL
    await exchange.stop()
    with pytest.raises(ExchangeError):
        exchange.report()


async def test_bad_capture_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    """The reason names file and line."""
    lines = recording_lines(60)
    path = write_recording(tmp_path / "bad.gz", [*lines[:41], b"cut", *lines[42:]])
    with pytest.raises(ExchangeError, match=r"bad\.gz line 42: ") as caught:
        await start(SimulatedSettings(capture=str(path)), NAMES)
    assert caught.value.is_refused


async def test_child_that_cannot_start_is_reported_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that ends without a word is an error of ours, not a refusal."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(5):
        with pytest.raises(ExchangeError, match=r"did not start \(exit 1\)") as caught:
            await start(SimulatedSettings(), NAMES)
        assert not caught.value.is_refused


async def test_unlisted_instrument_and_taken_port_are_refused() -> None:
    """What cannot be traded or bound is said in one line."""
    with pytest.raises(ExchangeError, match="DOGE/USDT:USDT is not listed") as caught:
        await start(SimulatedSettings(), ("DOGE/USDT:USDT",))
    assert caught.value.is_refused
    first = await start(SimulatedSettings(), NAMES[:1])
    try:
        with pytest.raises(ExchangeError, match="cannot listen on port") as caught:
            await start(SimulatedSettings(port=first.access.port), NAMES[:1])
        assert caught.value.is_refused
    finally:
        await first.stop()


async def test_capture_lists_only_what_it_holds(tmp_path: Path) -> None:
    """Of the named instruments those with a recording are traded."""
    path = write_recording(tmp_path / "good.gz", recording_lines(60))
    exchange = await start(SimulatedSettings(capture=str(path)), NAMES)
    await exchange.stop()
    assert list(exchange.report()["position_lots"]) == list(NAMES[:1])


async def test_orders_take_the_simulated_way_there_and_back() -> None:
    """A query of orders needs two latencies, a public call none."""
    loop = asyncio.get_running_loop()
    exchange = await start(SimulatedSettings(latency_ms=150.0), NAMES[:1])
    try:
        async with production_client(exchange.access) as (client, _):
            await client.load_markets()
            took_s: list[float] = []
            for call in (client.fetch_time, lambda: client.fetch_open_orders(NAMES[0])):
                await call()
                started_s = loop.time()
                await call()
                took_s.append(loop.time() - started_s)
    finally:
        await exchange.stop()
    assert took_s[0] < 0.3 <= took_s[1]
