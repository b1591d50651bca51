"""The unit in a real systemd: start, kill -9, hang, stop, keys, refused configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOOT = os.environ.get("METAENSEMBLE_BOOT_SYSTEMD", "")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not BOOT, reason="METAENSEMBLE_BOOT_SYSTEMD names no script that boots one"),
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a systemd needs root"),
]


def test_service_lives_and_dies_as_promised(tmp_path: Path) -> None:
    """Every step of ``lifecycle.py`` passes; the times it took are within their bounds."""
    site_packages = sysconfig.get_path("purelib")
    done = subprocess.run(
        [
            BOOT,
            "--suite",
            "bookworm",  # its Python is the one our wheels are built for
            "--project",
            str(ROOT),
            "--bind-ro",
            f"{site_packages}:/opt/site-packages",
            "--out",
            str(tmp_path),
            "--",
            "python3",
            "tests/system/lifecycle.py",
        ],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    print(measured)
    assert measured["restart_after_kill_s"] < 15
    assert 2 < measured["restart_after_hang_s"] < 25
