"""From the start of a process to its first decision, after the daemon before it was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.daemon.test_kill import DECISIONS, exchange
from tests.fakes.daemon_process import ROOT, environment, running_daemon, wait_for_event

pytestmark = pytest.mark.bench

RESTARTS = 5
GOAL_S = 3.0
BASE = "import torch, ccxt.pro, numba, aiohttp"


def begun_s(directory: Path, *arguments: str) -> tuple[float, float, bool]:
    """Start a daemon, kill it after a decision; seconds to ready and to that, and whether warm."""
    began_s = time.monotonic()
    with running_daemon(directory, *arguments) as process:
        seen = wait_for_event(process, "run_ready")
        ready_s = time.monotonic() - began_s
        wait_for_event(process, "decision")
        decided_s = time.monotonic() - began_s
        time.sleep(3.0)  # turns beyond the first decision: the kill leaves a log, not only a state
        process.send_signal(signal.SIGKILL)
    lines = [json.loads(line) for line in seen if '"run_continued"' in line]
    return ready_s, decided_s, bool(lines and lines[0]["is_warm"])


def import_s() -> float:
    """Time the libraries alone, in a process of their own."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", BASE], cwd=ROOT, env=environment(), check=True)
    return time.monotonic() - began_s


@pytest.mark.timeout(1_200)
def test_warm_restart_decides_soon(tmp_path: Path) -> None:
    """Sooner than its libraries take to be imported; seconds are printed beside the goal of 3."""
    with exchange(tmp_path, []) as access:
        words = (
            *("--set", f"simulated.attach={access}", *DECISIONS),
            *("--set", "meta.detailed_logging=true"),
        )
        begun_s(tmp_path, *words)
        rows = [(*begun_s(tmp_path, *words), import_s()) for _ in range(RESTARTS)]
    assert all(is_warm for _, _, is_warm, _ in rows)
    ready_s, decided_s = median(row[0] for row in rows), median(row[1] for row in rows)
    base_s = median(row[3] for row in rows)
    print(
        f"ready {ready_s:.2f} s, first decision {decided_s:.2f} s (goal {GOAL_S} s), "
        f"{BASE!r} alone {base_s:.2f} s; of {RESTARTS} restarts, medians"
    )
    assert decided_s < 1.5 * base_s
