"""Runs inside a booted systemd, as root, in the project's directory: the unit's life, step by step.

Prints one JSON object; every step that fails raises. Needs only the standard library here, the
service itself finds its packages in SITE_PACKAGES.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path.cwd()
SITE_PACKAGES = "/opt/site-packages"
UNIT = "metaensemble.service"
STATE = Path("/var/lib/metaensemble")
ENVIRONMENT = Path("/etc/metaensemble/environment")
CREDSTORE = Path("/etc/credstore")


def systemctl(*arguments: str, check: bool = True) -> str:
    """Run systemctl and return what it prints."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"systemctl {arguments}: {done.stderr}"
    return done.stdout.strip()


def show(name: str) -> str:
    """Return one property of the unit."""
    return systemctl("show", "--value", "-p", name, UNIT)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 150.0) -> float:
    """Wait for a condition and return how long it took, in seconds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, f"timed out: {what}; {journal_tail()}"
        time.sleep(0.02)
    return time.monotonic() - start


def journal_tail() -> str:
    """Return the unit's last log lines."""
    command = ["journalctl", "-u", UNIT, "-n", "25", "--no-pager", "-o", "cat"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def journal_records() -> list[dict[str, str]]:
    """Return the unit's own log records with their fields."""
    subprocess.run(["journalctl", "--sync"], check=True)
    command = ["journalctl", "-u", UNIT, "-o", "json", "--no-pager"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def install() -> None:
    """Install the unit as shipped, with a drop-in that names the interpreter of this machine."""
    shutil.copy(PROJECT / "systemd" / UNIT, "/etc/systemd/system/")
    drop_in = Path(f"/etc/systemd/system/{UNIT}.d/test.conf")
    drop_in.parent.mkdir()
    drop_in.write_text(
        "[Service]\nExecStart=\n"
        f"ExecStart=/usr/bin/python3 {PROJECT}/tests/system/stand_in_daemon.py $METAENSEMBLE_ARGS\n"
        f"Environment=PYTHONPATH={PROJECT}:{SITE_PACKAGES}\n"
    )
    systemctl("daemon-reload")


def killed(number: int) -> str:
    """Send a signal to the running service and return the process it went to."""
    main_pid = show("MainPID")
    assert int(main_pid) > 1
    os.kill(int(main_pid), number)
    return main_pid


def restarted(previous_pid: str) -> float:
    """Wait until another process is ready; return the seconds it took."""
    return wait_until(
        lambda: show("ActiveState") == "active" and show("MainPID") not in ("0", previous_pid),
        "restart",
    )


def main() -> dict[str, object]:
    """Walk through the life of the service; return what was measured."""
    measured: dict[str, object] = {"systemd": systemctl("--version").split()[1]}
    install()

    start = time.monotonic()
    systemctl("start", UNIT)  # returns when READY=1 has come
    measured["ready_s"] = round(time.monotonic() - start, 2)
    assert show("ActiveState") == "active", journal_tail()
    assert show("StatusText").startswith("mode sim, key none, earlier 0"), show("StatusText")
    measured["status"] = show("StatusText")
    assert show("WatchdogUSec") == "5s"
    process = Path("/proc") / show("MainPID")
    assert 61_184 <= process.stat().st_uid <= 65_519, "not a dynamic user"
    assert STATE.stat().st_mode & 0o777 == 0o700 or STATE.is_symlink()
    assert (STATE / "journal.sqlite").exists(), "the journal is not in the state directory"

    first = killed(signal.SIGKILL)
    measured["restart_after_kill_s"] = round(restarted(first), 2)
    assert "earlier 1" in show("StatusText"), "the intent of the killed run is not found"

    second = killed(signal.SIGUSR1)  # the loop turns, the engine stands still
    measured["restart_after_hang_s"] = round(restarted(second), 2)
    assert show("NRestarts") == "2"
    assert any(record.get("UNIT_RESULT") == "watchdog" for record in journal_records())

    systemctl("stop", UNIT)
    assert (show("ActiveState"), show("Result")) == ("inactive", "success"), journal_tail()
    assert (STATE / "journal.sqlite").exists(), "the journal went with the service"

    records = journal_records()
    denied = [record for record in records if '"ME401"' in record["MESSAGE"]]
    assert denied, journal_tail()
    assert all(record["PRIORITY"] == "4" for record in denied), "priority prefix not understood"
    assert all(record["MESSAGE"].startswith("{") for record in denied), "prefix left in the text"

    CREDSTORE.mkdir(mode=0o700, exist_ok=True)
    for name, text in (("exchange-key", "K" * 64), ("exchange-secret", "S" * 64)):
        path = CREDSTORE / f"metaensemble.{name}"
        path.write_text(text + "\n")
        path.chmod(0o600)
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    ENVIRONMENT.write_text("METAENSEMBLE_ARGS=mode=testnet venue=binanceusdm\n")
    systemctl("start", UNIT)
    assert "mode testnet, key 4" in show("StatusText") or "key none" not in show("StatusText")
    environment = (Path("/proc") / show("MainPID") / "environ").read_bytes()
    assert b"K" * 64 not in environment
    assert b"S" * 64 not in environment
    assert "K" * 64 not in journal_tail()
    systemctl("stop", UNIT)

    for path in CREDSTORE.iterdir():
        path.unlink()
    systemctl("start", UNIT, check=False)
    wait_until(lambda: show("ActiveState") == "failed", "failure without credentials")
    time.sleep(1.0)  # twice RestartSec: it must stay down
    assert (show("ActiveState"), show("ExecMainStatus")) == ("failed", "78"), journal_tail()
    assert show("NRestarts") == "0"
    return measured


if __name__ == "__main__":
    print(json.dumps(main()))
