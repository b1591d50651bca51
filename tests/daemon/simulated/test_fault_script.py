"""The exchange with a script of faults and with drawn latencies, as a user starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.settings import SimulatedSettings
from daemon.simulated.process import ExchangeError, start
from tests.fakes.daemon_process import ROOT, environment
from tests.fakes.fault_rig import fault_rig
from tests.fakes.recording import NAMES

SCRIPT = """\
faults:
  - kind: rate_limited
    name: impatient
    target: GET /fapi/v1/time
    skip: 1
    count: 1
  - kind: close_streams
    at_s: 0.3
"""


async def test_script_strikes_on_its_own(tmp_path: Path) -> None:
    """Faults of the file are armed when the exchange serves; market times wait for the market."""
    path = tmp_path / "faults.yaml"
    path.write_text(SCRIPT)
    async with fault_rig(faults=str(path)) as rig:
        assert rig.exchange.faults == ("impatient", "close_streams-2")
        statuses = [
            (await rig.call("GET", "/fapi/v1/time", is_signed=False)).status for _ in range(3)
        ]
        assert statuses == [200, 429, 200]
        await asyncio.sleep(0.4)
        assert (await rig.fault("close_streams-2"))["fired"] == 0
        async with rig.stream("/public/ws/btcusdt@bookTicker") as stream:
            async with asyncio.timeout(5):
                while not (await stream.websocket.receive()).type.name.startswith("CLOS"):
                    pass
            assert stream.websocket.close_code == 1001
        assert rig.exchange.source_finished is False
    fired = rig.exchange.report()["faults_fired"]
    assert fired == {"close_streams": 1, "rate_limited": 1}


async def test_wrong_script_is_refused_with_its_line(tmp_path: Path) -> None:
    """Nothing is served; the reason names file, line and key."""
    path = tmp_path / "faults.yaml"
    path.write_text("faults:\n  - kind: close_streams\n    close_code: 7\n")
    with pytest.raises(ExchangeError, match=r"faults\.yaml:3: faults\[0\]\.close_code") as caught:
        await start(SimulatedSettings(faults=str(path)), NAMES)
    assert caught.value.is_refused


async def test_drawn_latencies_reach_the_wire() -> None:
    """Lognormal latencies differ from order to order, and the median is about the one set."""
    drawn: dict[str, Any] = {"latency_ms": 20.0, "latency_kind": "lognormal", "latency_sigma": 0.8}
    async with fault_rig(**drawn) as rig:
        await rig.call("GET", "/fapi/v1/time", is_signed=False)
        loop = asyncio.get_running_loop()
        took_s = []
        for number in range(12):
            began_s = loop.time()
            assert (await rig.rest_far(f"o{number}")).status == 200
            took_s.append(loop.time() - began_s)
        began_s = loop.time()
        await rig.call("GET", "/fapi/v1/time", is_signed=False)
        assert loop.time() - began_s < min(took_s) + 0.02
    assert 0.02 < sorted(took_s)[6] < 0.2
    assert max(took_s) > 1.5 * min(took_s)


def test_foreground_prints_where_and_what(tmp_path: Path) -> None:
    """The JSON banner names control port, instruments and armed faults; Ctrl-C ends with 130."""
    path = tmp_path / "faults.yaml"
    path.write_text(SCRIPT)
    command = [sys.executable, "-m", "daemon", "exchange", "--plain", "--json"]
    with subprocess.Popen(
        [*command, "--faults", str(path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        banner = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert banner["faults"] == ["impatient", "close_streams-2"]
    assert banner["instruments"] == list(NAMES)
    assert banner["control_url"].startswith("http://127.0.0.1:")
    assert json.loads(stdout)["orders"]["open"] == 0
    assert (process.returncode, stderr) == (130, "")
