"""A full run under trouble leaves no key, token, password or address in anything that it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.fakes.daemon_process import ROOT, environment
from tests.fakes.free_port import free_port

WEBHOOK_PART = "T0123SECRETPART9876"
HEARTBEAT_PART = "heartbeat-secret-5521"
FOR_A_WHILE = ("--for", "14s", "--json")
PASSWORD = "smtp-password-9137"
FAULTS: tuple[dict[str, object], ...] = (
    {"kind": "rest_error", "target": "POST /fapi/v1/order", "count": 2},
    {"kind": "truncate_answer", "target": "GET /fapi/v3/account", "count": 1},
    {"kind": "expire_listen_key"},
    {"kind": "reset_streams", "target": "private"},
    {"kind": "unknown_status", "target": "POST /fapi/v1/order", "count": 1},
)


def _written(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, binary or not; sockets hold nothing."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_nothing_that_a_run_wrote_holds_a_secret(tmp_path: Path) -> None:
    """Faults, reconnects, failing alerts, a reload, replay and every view: grep finds nothing."""
    exchange = subprocess.Popen(
        [sys.executable, "-m", "daemon", "exchange", "--json"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert exchange.stdout is not None
        access = json.loads(line := exchange.stdout.readline())
        place = tmp_path / "access.json"
        place.write_text(line)
        printed = _run_under_trouble(tmp_path, place, access["control_url"])
    finally:
        exchange.terminate()
        exchange.communicate(timeout=60)
    state = tmp_path / "state"
    token = (state / "sim" / "views.token").read_text().strip()
    secrets = {
        "API key": access["api_key"],
        "API secret": access["api_secret"],
        "token of the page": token,
        "webhook": WEBHOOK_PART,
        "address of the life sign": HEARTBEAT_PART,
        "mail password": PASSWORD,
    }
    files = {**_written(state), **printed}
    assert len(files) > 8, "there was something to look at"
    assert token.encode() in files.pop("sim/views.token"), "a secret would be found"
    for what, secret in secrets.items():
        found = [name for name, text in files.items() if secret.encode() in text]
        assert found == [], f"{what} in {found}"
    assert any(b"ME609" in text for text in printed.values()), "alerts were tried and failed"


def _configuration(folder: Path, place: Path, port: int, dead: int) -> dict[str, Any]:
    """Return settings whose every alert goes to a port where nobody listens."""
    return {
        "journal": {"directory": str(folder / "state")},
        "simulated": {"attach": str(place)},
        "recovery": {"foreign": "adopt"},
        "views": {"port": port},
        "log": {"level": "debug"},
        "meta": {"detailed_logging": True},
        "alerts": {
            "webhook_url": f"http://127.0.0.1:{dead}/{WEBHOOK_PART}",
            "heartbeat_url": f"http://127.0.0.1:{dead}/{HEARTBEAT_PART}",
            "heartbeat_interval_ms": 1000,
            "email_to": ["a@example.com"],
            "email_from": "b@example.com",
            "smtp_host": "127.0.0.1",
            "smtp_port": dead,
            "smtp_user": "daemon",
            "check_interval_ms": 1000,
            "sample_interval_ms": 500,
            "memory_mb_max": 1,
        },
    }


def _run_under_trouble(folder: Path, place: Path, control_url: str) -> dict[str, bytes]:
    """Run, reload and look at everything; return what was printed, by where."""
    port, dead = free_port(), free_port()
    config = folder / "run.yaml"
    words = _configuration(folder, place, port, dead)
    config.write_text(json.dumps(words))
    environ = {**environment(), "METAENSEMBLE_SMTP_PASSWORD": PASSWORD}
    socket = str(folder / "state" / "sim" / "control.sock")

    def command(*arguments: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    with (folder / "log").open("wb") as log:
        run = subprocess.Popen(
            [*(sys.executable, "-m", "daemon", "run"), *("--config", str(config)), *FOR_A_WHILE],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    printed: dict[str, bytes] = {}
    try:
        for _ in range(1200):
            if b"run_ready" in (folder / "log").read_bytes():
                break
            assert run.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        for fault in FAULTS:
            request = urllib.request.Request(
                f"{control_url}/faults",
                data=json.dumps(fault).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status in (200, 201)
        config.write_text(json.dumps({**words, "limits": {"order_notional_quote_max": 20_000}}))
        printed["reload"] = command("reload", "--socket", socket)
        config.write_text(json.dumps({**words, "nonsense": 1}))
        printed["refused"] = command("reload", "--socket", socket)
        for name in ("status", "positions", "weights", "top", "models"):
            words_of = [name, "list"] if name == "models" else [name]
            printed[name] = command(*words_of, "--socket", socket, "--json")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            printed["metrics"] = answer.read()
        out, _ = run.communicate(timeout=120)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    assert run.returncode == 0, (folder / "log").read_text()[-3000:]
    printed["summary"] = out
    printed["log"] = (folder / "log").read_bytes()
    printed["replay"] = command("replay", str(folder / "state" / "sim"), "--json")
    printed["doctor"] = command("doctor", "--set", f"journal.directory={folder / 'state'}")
    return printed
