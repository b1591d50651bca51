"""The unit in a real systemd: start, kill -9, hang, stop, keys, refused configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
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


PREFIX = Path("/opt/metaensemble-under-test")
PYTHON = Path("/usr/bin/python3.11")
"""The installed environment's interpreter: outside of home folders, bound where it is absent."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install this checkout as ``make install`` does, its files of /etc in a folder apart."""
    if not PYTHON.exists():
        pytest.skip(
            f"{PYTHON} is not there: the service cannot run an interpreter in a home folder"
        )
    folder = tmp_path_factory.mktemp("stage")
    words = [f"PREFIX={PREFIX}", f"DESTDIR={folder}", f"PYTHON={PYTHON}"]
    subprocess.run(["make", "-C", str(ROOT), "install", *words], check=True, timeout=800)
    yield folder
    subprocess.run(["make", "-C", str(ROOT), "uninstall", *words], check=True, timeout=600)
    assert not PREFIX.exists()
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("suite", "version"), [("bookworm", "252"), ("trixie", "257")])
def test_installed_services_hold_their_promises(
    stage: Path, tmp_path: Path, suite: str, version: str
) -> None:
    """Daemon, instances, guard and alert unit: start, reload, hang, kill, fail, stop, uninstall."""
    command = [BOOT, "--suite", suite, "--project", str(ROOT), "--out", str(tmp_path)]
    command += ["--bind-ro", str(PREFIX), "--bind-ro", f"{stage}:/srv/stage"]
    if suite != "bookworm":  # its own Python is newer than the one that our wheels are built for
        command += ["--bind-ro", str(PYTHON), "--bind-ro", "/usr/lib/python3.11"]
    command += ["--setenv", f"PREFIX={PREFIX}", "--timeout", "1500"]
    command += ["--", "python3", "-m", "tests.system.installed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    print(measured)
    assert measured["systemd"] == version
    assert measured["restart_after_hang_s"] < 60
    assert measured["score"]["metaensemble.service"] <= 1.2
    assert measured["score"]["metaensemble-guard.service"] <= 1.2
