"""Reloading settings of the real daemon: SIGHUP and the operator's command, good files and bad."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.daemon_process import (
    ROOT,
    environment,
    rest_of,
    running_daemon,
    wait_for_event,
)

GOOD = "preset: balanced\nlimits:\n  leverage_max: {leverage}\n"
BROKEN = (
    "limits:\n  leverage_max: -1\n",
    "limitz:\n  leverage_max: 1\n",
    "limits: [\n",
    "limits:\n  leverage_max: many\n",
    "limits:\n  leverage_max: 1\n  leverage_max: 2\n",
    "decision:\n  interval_ms: 500\n",
    "instruments: [ETH/USDT:USDT]\n",
    "mode: live\n",
    "",
    "- a list\n",
)


def ask_reload(directory: Path) -> dict[str, Any]:
    """Ask as an operator would, through the command line."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "daemon", "reload", "--json"),
            *("--socket", str(directory / "sim" / "control.sock")),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    return {"ok": False, "error": done.stderr + done.stdout, "code": done.returncode}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path, Path]]:
    """A daemon that runs on a file, the file and the daemon's directory."""
    file = tmp_path / "settings.yaml"
    file.write_text(GOOD.format(leverage=1.0))
    with running_daemon(tmp_path, "--config", str(file)) as process:
        wait_for_event(process, "run_ready")
        yield process, file, tmp_path


def test_broken_files_change_nothing_and_good_ones_apply(
    started: tuple[subprocess.Popen[str], Path, Path],
) -> None:
    """Every bad file is refused with its reason; the daemon goes on and takes the next good one."""
    process, file, directory = started
    for text in BROKEN:
        file.write_text(text)
        answer = ask_reload(directory)
        assert not answer["ok"], text
        assert str(file) in answer["error"] or "needs a restart" in answer["error"], answer
    file.write_text(GOOD.format(leverage=0.5))
    answer = ask_reload(directory)
    assert [(row["key"], row["new"]) for row in answer["applied"]] == [("limits.leverage_max", 0.5)]
    assert ask_reload(directory)["applied"] == []
    process.send_signal(signal.SIGTERM)
    stdout, stderr = rest_of(process)
    summary = json.loads(stdout.splitlines()[-1])
    assert process.returncode == 0
    assert summary["exit"] == "clean"
    assert summary["restarts"] == 0
    events = [json.loads(line)["event"] for line in stderr.splitlines() if line.startswith("{")]
    assert events.count("config_refused") == len(BROKEN)
    assert events.count("config_reloaded") == 1


def test_hangup_reloads_within_a_decision(
    started: tuple[subprocess.Popen[str], Path, Path],
) -> None:
    """SIGHUP applies an edited file; the log says what changed from what to what."""
    process, file, _ = started
    file.write_text(GOOD.format(leverage=0.25))
    asked_s = time.monotonic()
    process.send_signal(signal.SIGHUP)
    seen = wait_for_event(process, "config_reloaded")
    assert time.monotonic() - asked_s < 5.0
    line = json.loads(seen[-1])
    assert line["asked_by"] == "SIGHUP"
    assert line["changes"] == [{"key": "limits.leverage_max", "old": 1.0, "new": 0.25, "hot": True}]
