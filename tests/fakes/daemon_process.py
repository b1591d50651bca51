"""The real daemon in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strategy.bundle import UNTRAINED_BUNDLE_PATH

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 400
"""First start on a machine without a kernel cache compiles everything: a minute, with others at
work on its two cores more than three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A daemon that has ended: exit code, summary (None without one), log lines, stderr."""

    exit_code: int
    summary: dict[str, Any] | None
    lines: list[dict[str, Any]]
    stderr: str

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [line for line in self.lines if line.get("event") == name]


def command(directory: Path, *arguments: str) -> list[str]:
    """Compose the command line of a run that keeps its journal in ``directory``.

    Untrained networks decide unless told: they trade all the time, the shipped ones seldom.
    """
    settings = (f"journal.directory={directory}", f"model.bundle={UNTRAINED_BUNDLE_PATH}")
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "daemon", "run", "--json", *words, *arguments]


def environment() -> dict[str, str]:
    """Return this environment without anything that could arm or address a venue."""
    return {name: value for name, value in os.environ.items() if "METAENSEMBLE" not in name}


def run_daemon(directory: Path, *arguments: str, timeout_s: float = START_TIMEOUT_S) -> Ended:
    """Run the daemon to its end."""
    done = subprocess.run(
        command(directory, *arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return ended(done.returncode, done.stdout, done.stderr)


def run_until(directory: Path, event: str, *arguments: str) -> Ended:
    """Run the daemon until its log says ``event``, then ask it to stop and wait for its end.

    For tests that need something to have happened, however slow the machine is.
    """
    with running_daemon(directory, *arguments) as process:
        seen = wait_for_event(process, event)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = rest_of(process, START_TIMEOUT_S)
        return ended(process.returncode, stdout, "".join(seen) + stderr)


def replay_run(directory: Path, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
    """Replay the newest run of a journal in a process of its own; return what it compared."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "replay", str(directory), "--json"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def ended(exit_code: int, stdout: str, stderr: str) -> Ended:
    """Read what an ended daemon left."""
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    last = stdout.splitlines()[-1] if stdout else ""
    summary = json.loads(last) if last.startswith("{") else None
    return Ended(exit_code=exit_code, summary=summary, lines=lines, stderr=stderr)


@contextmanager
def running_daemon(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a daemon and make sure that it is gone at the end."""
    process = subprocess.Popen(
        command(directory, *arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rest_of(process: subprocess.Popen[str], timeout_s: float = 60.0) -> tuple[str, str]:
    """Read stdout and stderr to their ends and wait; a daemon that takes too long is killed.

    ``communicate`` reads the pipes themselves and so loses the lines that ``wait_for_event`` has
    left in the buffer of stderr.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    watchdog = threading.Timer(timeout_s, process.kill)
    watchdog.start()
    try:
        stderr = process.stderr.read()
        stdout = process.stdout.read()  # a summary: less than a pipe holds
        process.wait()
    finally:
        watchdog.cancel()
    return stdout, stderr


def wait_for_event(process: subprocess.Popen[str], name: str, lines_max: int = 5000) -> list[str]:
    """Read the log until an event of that name; AssertionError when the daemon ends before."""
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if f'"event":"{name}"' in line:
            return seen
        if len(seen) > lines_max:
            break
    raise AssertionError(f"no {name} in the log:\n" + "".join(seen[-20:]))
