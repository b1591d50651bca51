"""The unit in a real systemd: start, kill -9, hang, stop, keys, refused configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOOT = os.environ.get("METAENSEMBLE_BOOT_SYSTEMD", "")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not BOOT, reason="METAENSEMBLE_BOOT_SYSTEMD names no script that boots one"),
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a systemd needs root"),
]


def _booted(module: str, out: Path) -> dict[str, Any]:
    """Run a module of ours inside a booted systemd; return the JSON object it prints last."""
    site_packages = sysconfig.get_path("purelib")
    command = [BOOT, "--suite", "bookworm"]  # its Python is the one our wheels are built for
    command += ["--project", str(ROOT), "--bind-ro", f"{site_packages}:/opt/site-packages"]
    command += ["--out", str(out), "--", "python3", "-m", f"tests.system.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(measured, dict)
    print(measured)
    return measured


def test_service_lives_and_dies_as_promised(tmp_path: Path) -> None:
    """Start, kill -9, hang, stop, keys, missing keys: each as the unit says, and in time."""
    measured = _booted("lifecycle", tmp_path)
    assert measured["restart_after_kill_s"] < 15
    assert 2 < measured["restart_after_hang_s"] < 25


def test_real_daemon_trades_inside_the_sandbox(tmp_path: Path) -> None:
    """Cold start, fills, kill -9, recovery and a clean stop, below two gigabytes."""
    measured = _booted("real_daemon", tmp_path)
    assert measured["memory_bytes"] < 2 * 1024**3
    assert measured["warm_ready_s"] < 30
    assert measured["restart_after_kill_s"] < 40
