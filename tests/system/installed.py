"""Runs inside a booted systemd, as root: everything that ``make install`` puts on a machine.

The installed environment is bound where it was made, the files of /etc lie in STAGE. The real
daemon trades on its simulated exchange. Prints one JSON object; a step that fails raises.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.system.sandbox import look

PREFIX = os.environ["PREFIX"]
STAGE = Path("/srv/stage")
COMMAND = f"{PREFIX}/venv/bin/metaensemble"
MAIN, GUARD = "metaensemble.service", "metaensemble-guard.service"
ETC = Path("/etc/metaensemble")
HOOK_PORT = 8099
START_S = 400.0


def systemctl(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run systemctl."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{arguments}: {done.stderr}\n{tail(arguments[-1])}"
    return done


def show(unit: str, name: str) -> str:
    """Return one property of a unit."""
    return systemctl("show", "--value", "-p", name, unit).stdout.strip()


def tail(unit: str) -> str:
    """Return a unit's last log lines."""
    command = ["journalctl", "-u", unit, "-n", "30", "--no-pager", "-o", "cat"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def records(unit: str) -> list[dict[str, Any]]:
    """Return the JSON lines that a unit's process logged, oldest first."""
    subprocess.run(["journalctl", "--sync"], check=True)
    command = ["journalctl", "-u", unit, "-o", "cat", "--no-pager"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"event"')]


def count(unit: str, event: str) -> int:
    """Count the lines of one event."""
    return sum(line["event"] == event for line in records(unit))


def until(condition: Callable[[], bool], what: str, unit: str, timeout_s: float = 60.0) -> float:
    """Wait for a condition and return how long it took, in seconds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, f"timed out: {what}\n{tail(unit)}"
        time.sleep(0.05)
    return round(time.monotonic() - start, 2)


def restarted(unit: str, before: str) -> float:
    """Wait until another process of a unit is ready."""
    return until(
        lambda: (
            show(unit, "ActiveState") == "active" and show(unit, "MainPID") not in ("0", before)
        ),
        "restart",
        unit,
        START_S,
    )


def send(unit: str, number: int) -> str:
    """Send a signal to a unit's main process and return which it was."""
    pid = show(unit, "MainPID")
    assert int(pid) > 1
    os.kill(int(pid), number)
    return pid


def ask(*words: str) -> dict[str, Any]:
    """Ask the running daemon as an operator does."""
    done = subprocess.run([COMMAND, *words, "--json"], capture_output=True, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def configure(**more: Any) -> None:
    """Write the daemon's configuration, JSON being YAML, and name it.

    Untrained networks decide: they trade all the time, the trained ones seldom.
    """
    (packages,) = Path(f"{PREFIX}/venv/lib").glob("python3*/site-packages")
    words = {
        "preset": "balanced",
        "model": {"bundle": str(packages / "strategy/bundles/untrained")},
        "alerts": {"webhook_url": f"http://127.0.0.1:{HOOK_PORT}/hook"},
        **more,
    }
    (ETC / "main.yaml").write_text(json.dumps(words, indent=1))
    named = "--config /etc/metaensemble/main.yaml"
    lines = [f"METAENSEMBLE_{kind}ARGS={named}" for kind in ("", "GUARD_", "ALERT_")]
    (ETC / "environment").write_text("\n".join(lines) + "\n")


@contextmanager
def hook() -> Iterator[list[dict[str, Any]]]:
    """Receive alerts like a webhook."""
    got: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", HOOK_PORT), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield got
    server.shutdown()


def install() -> None:
    """Do what setup.sh does on a machine with a running systemd."""
    shutil.copytree(STAGE / "etc", "/etc", dirs_exist_ok=True)
    for kind in ("sysusers", "tmpfiles"):
        action = ["--create"] if kind == "tmpfiles" else []
        subprocess.run([f"systemd-{kind}", *action, f"/etc/{kind}.d/metaensemble.conf"], check=True)
    systemctl("daemon-reload")
    assert ETC.is_dir()
    assert Path("/etc/credstore").stat().st_mode & 0o777 == 0o700


def exposure(unit: str) -> float:
    """Return the security score of a loaded unit."""
    command = ["systemd-analyze", "security", "--no-pager", unit]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return float(lines[-1].split(":")[1].split()[0])


def start_and_reload(measured: dict[str, Any]) -> None:
    """Cold start, trade, reload good and bad settings, without missing a decision."""
    configure()
    began = time.monotonic()
    systemctl("start", MAIN)
    measured["cold_ready_s"] = round(time.monotonic() - began, 2)
    assert show(MAIN, "StatusText").startswith("trading 2 instruments, sim")
    user = pwd.getpwnam("metaensemble")
    assert Path(f"/proc/{show(MAIN, 'MainPID')}").stat().st_uid == user.pw_uid
    until(lambda: count(MAIN, "order_filled") > 0, "a fill", MAIN)
    pid = show(MAIN, "MainPID")
    configure(limits={"order_notional_quote_max": 20_000})
    began = time.monotonic()
    systemctl("reload", MAIN)
    measured["reload_s"] = round(time.monotonic() - began, 2)
    assert "reloaded, 1 settings changed" in show(MAIN, "StatusText")
    decisions = ask("status")["decisions"]
    (ETC / "main.yaml").write_text("limits:\n  leverage_max: much\n")
    refused = systemctl("reload", MAIN, check=False)
    assert refused.returncode != 0, "a refused reload looks like a good one"
    assert "leverage_max" in show(MAIN, "StatusText")
    assert show(MAIN, "MainPID") == pid
    until(lambda: ask("status")["decisions"] > decisions + 3, "decisions go on", MAIN)
    assert ask("status")["breaker"]["state"] == "NORMAL"
    configure(limits={"order_notional_quote_max": 20_000})
    measured["sandbox"] = {MAIN: look(show(MAIN, "MainPID"))}
    measured["score"] = {unit: exposure(unit) for unit in (MAIN, GUARD)}


def lift_what_the_hang_latched() -> bool:
    """Resume where the process noticed, before it died, how long it had stood still.

    systemd wakes it to end it. Of its threads one prints where each stands, as asked for by
    PYTHONFAULTHANDLER, and meanwhile the loop may see the standstill and latch REDUCE_ONLY: both
    ends are right, and after the second an operator has to look.
    """
    breaker = ask("status")["breaker"]
    if breaker["state"] == "NORMAL":
        return False
    assert (breaker["state"], breaker["trigger"]) == ("REDUCE_ONLY", "heartbeat"), breaker
    assert ask("resume", "--reason", "the hang is over")["breaker"]["state"] == "NORMAL"
    return True


def hang_and_kill(measured: dict[str, Any]) -> None:
    """A hang is ended by the watchdog, a kill is survived; both trade again."""
    measured["restart_after_hang_s"] = restarted(MAIN, send(MAIN, signal.SIGSTOP))
    measured["noticed_its_hang"] = lift_what_the_hang_latched()
    fills = count(MAIN, "order_filled")
    until(lambda: count(MAIN, "order_filled") > fills, "trading after the hang", MAIN)
    measured["restart_after_kill_s"] = restarted(MAIN, send(MAIN, signal.SIGKILL))
    fills = count(MAIN, "order_filled")
    until(lambda: count(MAIN, "order_filled") > fills, "trading after the kill", MAIN)
    assert count(MAIN, "recovery_finished") >= 2
    assert show(MAIN, "NRestarts") == "2"
    began = time.monotonic()
    systemctl("stop", MAIN)
    measured["stop_s"] = round(time.monotonic() - began, 2)
    assert (show(MAIN, "ActiveState"), show(MAIN, "Result")) == ("inactive", "success")
    assert list(Path("/var/lib/metaensemble/sim").glob("journal.sqlite"))


def two_instances(measured: dict[str, Any]) -> None:
    """Two accounts side by side: own state, own sockets, own pages, one glob for both."""
    names = ("one", "two")
    for name in names:
        (ETC / f"{name}.environment").write_text("METAENSEMBLE_ARGS=--preset conservative\n")
        systemctl("start", "--no-block", f"metaensemble@{name}.service")
    for name in names:
        unit = f"metaensemble@{name}.service"
        until(lambda unit=unit: show(unit, "ActiveState") == "active", "start", unit, START_S)  # type: ignore[misc]  # bound now
    answers = [ask("status", "--socket", f"/run/metaensemble-{n}/control.sock") for n in names]
    assert len({answer["run_id"] for answer in answers}) == 2
    assert len({answer["page"] for answer in answers}) == 2
    assert all(Path(f"/var/lib/metaensemble-{name}/sim").is_dir() for name in names)
    listed = subprocess.run(
        ["journalctl", "-u", "metaensemble@*", "-o", "json", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f'"metaensemble@{name}.service"' in listed for name in names)
    systemctl("stop", *(f"metaensemble@{name}.service" for name in names))
    measured["instances"] = len(names)


def guard(measured: dict[str, Any]) -> None:
    """The guard's unit watches the daemon, acts when that is killed, and survives a kill itself."""
    place = Path("/run/exchange/exchange.json")
    subprocess.run(
        [
            *("systemd-run", "--unit=exchange", "-p", "User=metaensemble"),
            *("-p", "RuntimeDirectory=exchange", "-p", "RuntimeDirectoryMode=0700"),
            *("-E", "TMPDIR=/run/exchange", "-E", "NUMBA_CACHE_DIR=/run/exchange/numba"),
            *("sh", "-c", f"exec {COMMAND} exchange --json >{place}"),
        ],
        check=True,
        capture_output=True,
    )
    until(lambda: place.exists() and '"url"' in place.read_text(), "exchange", "exchange", START_S)
    configure(
        simulated={"attach": str(place)},
        guard={"start": "service", "on_loss": "flatten"},
        recovery={"foreign": "adopt"},
    )
    systemctl("start", GUARD)
    systemctl("start", MAIN)
    measured["sandbox"][GUARD] = look(show(GUARD, "MainPID"))
    assert ask("status")["guard"]["state"] == "armed"
    fills = count(MAIN, "order_filled")
    until(lambda: count(MAIN, "order_filled") > fills, "a fill", MAIN)
    guard_pid = send(GUARD, signal.SIGKILL)
    measured["guard_restart_s"] = restarted(GUARD, guard_pid)
    until(lambda: ask("status")["guard"]["state"] == "armed", "the guard is armed again", MAIN)
    slow = Path(f"/run/systemd/system/{MAIN}.d")
    slow.mkdir(parents=True, exist_ok=True)
    (slow / "slow.conf").write_text("[Service]\nRestartSec=20s\n")
    systemctl("daemon-reload")
    began = time.monotonic()
    killed = send(MAIN, signal.SIGKILL)
    until(lambda: count(GUARD, "guard_done") > 0, "the guard cleans up", GUARD)
    measured["guard_done_s"] = round(time.monotonic() - began, 2)
    assert count(GUARD, "daemon_lost") > 0
    restarted(MAIN, killed)
    for unit in (MAIN, GUARD):  # in this order, as After= has it: the guard sees the daemon off
        began = time.monotonic()
        systemctl("stop", unit)
        assert (show(unit, "ActiveState"), show(unit, "Result")) == ("inactive", "success")
        measured[f"stop_{unit.split('.')[0]}_s"] = round(time.monotonic() - began, 2)
    systemctl("stop", "exchange")
    shutil.rmtree(slow)
    systemctl("daemon-reload")


def failures(measured: dict[str, Any], got: list[dict[str, Any]]) -> None:
    """What cannot work fails once, says why, stays down, and somebody is told."""
    for what, change in (
        ("missing keys", {"mode": "testnet", "venue": "binanceusdm"}),
        ("unknown key", {"limitz": 1}),
    ):
        got.clear()
        configure(**change)
        if "limitz" in change:  # the alert's own configuration must be sound
            sound = {"alerts": {"webhook_url": f"http://127.0.0.1:{HOOK_PORT}/hook"}}
            (ETC / "alert.yaml").write_text(json.dumps(sound))
            text = (ETC / "environment").read_text()
            old = "ALERT_ARGS=--config /etc/metaensemble/main.yaml"
            (ETC / "environment").write_text(
                text.replace(old, "ALERT_ARGS=--config /etc/metaensemble/alert.yaml")
            )
        systemctl("reset-failed", MAIN, check=False)
        systemctl("start", MAIN, check=False)
        until(lambda: show(MAIN, "ActiveState") == "failed", what, MAIN)
        assert show(MAIN, "ExecMainStatus") == "78", f"{what}\n{tail(MAIN)}"
        until(lambda: any(a["event"] == "unit_failed" for a in got), "the alert", MAIN)
        told = next(alert for alert in got if alert["event"] == "unit_failed")
        assert told["fields"]["unit"] == MAIN
        assert told["fields"]["status"] == "78"
        assert show(MAIN, "NRestarts") == "0"
    measured["alert_fields"] = told["fields"]


def main() -> dict[str, Any]:
    """Walk through all of it; return what was measured."""
    measured: dict[str, Any] = {"systemd": systemctl("--version").stdout.split()[1]}
    install()
    with hook() as got:
        start_and_reload(measured)
        hang_and_kill(measured)
        two_instances(measured)
        guard(measured)
        failures(measured, got)
    print(measured, file=sys.stderr)
    return measured


if __name__ == "__main__":
    print(json.dumps(main()))
