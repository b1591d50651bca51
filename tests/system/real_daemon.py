"""Runs inside a booted systemd, as root: the unit with the real daemon on its simulated exchange.

Prints one JSON object; every step that fails raises. The first start compiles all kernels into the
unit's cache directory, the second finds them there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.system.lifecycle import (
    PROJECT,
    SITE_PACKAGES,
    UNIT,
    install,
    journal_records,
    journal_tail,
    killed,
    restarted,
    show,
    systemctl,
)

TRADING_S = float(os.environ.get("TRADING_S", "15"))


def name_executable() -> None:
    """Let the unit start the daemon from the project instead of /opt/metaensemble/venv."""
    install()
    Path(f"/etc/systemd/system/{UNIT}.d/test.conf").write_text(
        "[Service]\nExecStart=\n"
        "ExecStart=/usr/bin/python3 -m daemon run $METAENSEMBLE_ARGS "
        f"--set model.bundle={PROJECT}/strategy/bundles/untrained\n"
        f"Environment=PYTHONPATH={PROJECT}:{SITE_PACKAGES}\n"
    )
    systemctl("daemon-reload")


def started() -> float:
    """Start the unit and return the seconds until READY=1."""
    start = time.monotonic()
    systemctl("start", UNIT, check=False)
    assert show("ActiveState") == "active", journal_tail()
    return round(time.monotonic() - start, 2)


def events() -> list[str]:
    """Return the names of all events in the log, oldest first."""
    messages = [record["MESSAGE"] for record in journal_records()]
    return [json.loads(text)["event"] for text in messages if text.startswith('{"event"')]


def memory_bytes() -> int:
    """Return the resident memory of all processes of the unit."""
    group = Path("/sys/fs/cgroup") / show("ControlGroup").lstrip("/") / "cgroup.procs"
    pages = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in group.read_text().split()
    ]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> dict[str, object]:
    """Start cold and warm, trade, be killed, recover, stop; return what was measured."""
    measured: dict[str, object] = {}
    name_executable()
    measured["cold_ready_s"] = started()
    measured["status"] = show("StatusText")
    time.sleep(TRADING_S)
    assert show("NRestarts") == "0", journal_tail()
    measured["memory_bytes"] = memory_bytes()
    assert memory_bytes() < 2 * 1024**3
    first = killed(signal.SIGKILL)
    measured["restart_after_kill_s"] = round(restarted(first), 2)
    time.sleep(2.0)
    start = time.monotonic()
    systemctl("stop", UNIT)
    measured["stop_s"] = round(time.monotonic() - start, 2)
    assert (show("ActiveState"), show("Result")) == ("inactive", "success"), journal_tail()
    measured["warm_ready_s"] = started()
    systemctl("stop", UNIT)
    print(measured, file=sys.stderr)
    names = events()
    for name in ("run_started", "run_ready", "order_filled", "run_stopped"):
        assert name in names, f"{name} is not in the log: {sorted(set(names))}"
    measured["events"] = {name: names.count(name) for name in sorted(set(names))}
    left = subprocess.run(["pgrep", "-f", "daemon.simulated"], capture_output=True, check=False)
    assert left.returncode == 1, "the simulated exchange outlived the service"
    return measured


if __name__ == "__main__":
    print(json.dumps(main()))
