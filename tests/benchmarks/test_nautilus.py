"""From a tick to an order, beside nautilus_trader where an interpreter that has it is named.

``METAENSEMBLE_NAUTILUS_PYTHON`` names it (a virtual environment with nautilus_trader from PyPI).
Theirs begins with a quote tick as an object and ends at OrderSubmitted. Ours begins with the
frame's bytes and ends with the signed order's, with features, networks, weights, gate and journal
between, so the bar asks for more than equal work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.fakes.daemon_process import ROOT, environment

PYTHON = os.environ.get("METAENSEMBLE_NAUTILUS_PYTHON", "")
ROUNDS = 3
RATIO_MIN = 1.5
OURS = "bytes of a tick to bytes of a signed order"


def printed(*command: str) -> dict[str, Any]:
    """Run a program and read the JSON object of its last line."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.skipif(not PYTHON, reason="METAENSEMBLE_NAUTILUS_PYTHON names no interpreter")
def test_a_tick_becomes_an_order_sooner_than_in_nautilus() -> None:
    """Processes in turn, a ratio for each turn; the median is held against the bar."""
    script = str(Path(__file__).with_name("nautilus_ticks.py"))
    ratios = []
    for _ in range(ROUNDS):
        theirs = printed(PYTHON, script)
        report = printed(
            *(sys.executable, "-m", "daemon", "bench", "--only", "tick", "--rounds", "3", "--json")
        )
        timings = {row["name"]: row for row in report["stages"]["tick"]["timings"]}
        ours_ns = timings[OURS]["p50_ns"]
        ratios.append(theirs["p50_ns"] / ours_ns)
        print(
            f"nautilus_trader {theirs['version']}: {theirs['p50_ns'] / 1e3:.1f} us of "
            f"{theirs['orders']} orders; ours {ours_ns / 1e3:.1f} us: {ratios[-1]:.2f}x"
        )
    assert median(ratios) >= RATIO_MIN
