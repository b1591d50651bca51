"""Bundles dropped on the real daemon: broken ones never trade, good ones earn their way in."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.archive import script_bytes
from strategy.bundle import MANIFEST_NAME
from tests.fakes.bundle_drops import (
    PUBLIC_KEY,
    broken,
    copy_bundle,
    drop,
    slow_bundle,
    turning_bundle,
)
from tests.fakes.daemon_process import ROOT, environment, replay_run, running_daemon
from tests.fakes.small_bundle import edit_manifest, replace_file
from tests.strategy.test_bundle import FILE_CASES, GOLDEN_CASES, Answering, put

WAIT_S = 60.0
KNOBS = {
    "decision.interval_ms": "250",
    "model.shadow_decisions": "6",
    "model.canary_decisions": "6",
    "model.probation_decisions": "20",
    "model.action_shift_frac_max": "1.0",
    "model.latency_us_max": "20000",
    "model.public_key": PUBLIC_KEY,
}


class Watched:
    """A running daemon whose log is read as it grows."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process, self.directory = process, directory
        self.models = directory / "models"
        self.prepared = directory / "prepared"
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{"):
                self.lines.append(json.loads(line))

    def events(self, name: str, bundle: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines of one event, of one bundle."""
        return [
            line
            for line in list(self.lines)
            if line["event"] == name and bundle in (None, line.get("bundle"))
        ]

    def wait(self, name: str, bundle: str | None = None) -> dict[str, Any]:
        """Wait for an event."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            if found := self.events(name, bundle):
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no {name} of {bundle}: {self.lines[-20:]}")

    def ask(self, *words: str) -> dict[str, Any]:
        """Ask as an operator would."""
        socket = str(self.directory / "sim" / "control.sock")
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "models", *words, "--json", "--socket", socket],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert (done.returncode == 0) == bool(answer["ok"])
        return answer

    def stop(self) -> dict[str, Any]:
        """End it and return its summary."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        summary: dict[str, Any] = json.loads(self.process.stdout.read().splitlines()[-1])
        self.process.wait(timeout=30)
        self._reader.join(timeout=10)
        return summary


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A daemon with a models directory and short stages; the last test ends it."""
    tmp_path = tmp_path_factory.mktemp("hotswap")
    (tmp_path / "models").mkdir()
    (tmp_path / "prepared").mkdir()
    settings = {**KNOBS, "model.directory": str(tmp_path / "models")}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with running_daemon(tmp_path, *words) as process:
        daemon = Watched(process, tmp_path)
        daemon.wait("run_ready")
        yield daemon


def replaced(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what puts other content into a bundle, hashes and all."""
    return lambda path: replace_file(path, name, content((path / name).read_bytes()))


def edited(*keys: str | int, value: Any) -> Callable[[Path], None]:
    """Return what sets one value in the manifest."""
    return lambda path: edit_manifest(path, put(*keys, value=value))


def no_json(path: Path) -> None:
    """Leave half a manifest."""
    (path / MANIFEST_NAME).write_bytes(b"{")


def unreadable(path: Path) -> None:
    """Point the script at itself: a loop that no user can read."""
    (path / "ensemble.pt").unlink()
    (path / "ensemble.pt").symlink_to(path / "ensemble.pt")


BROKEN: dict[str, Callable[[Path], None]] = {
    **{
        name.replace(" ", "-"): change
        for name, change, _ in FILE_CASES
        if name in ("truncated script", "bit flip in golden", "pickle file", "linked script")
        or name in ("linked manifest", "no golden", "pipe", "folder", "oversize golden")
    },
    **{
        f"golden-{name.replace(' ', '-')}": replaced("golden.npz", rewrite)
        for name, rewrite, _ in GOLDEN_CASES
        if name in ("NaN", "pickled", "other action", "bomb")
    },
    "no-json": no_json,
    "expired": edited("expires_ns", value=1_000),
    "schema": edited("observation", "feature_schema_sha256", value="0" * 64),
    "outside": edited("files", 0, "name", value="../ensemble.pt"),
    "link-loop": unreadable,
    "other-shape": replaced("ensemble.pt", lambda _: script_bytes(Answering("shape"))),
    "nan-answers": replaced("ensemble.pt", lambda _: script_bytes(Answering("nan"))),
    "raises": replaced("ensemble.pt", lambda _: script_bytes(Answering("raises"))),
}


def test_broken_bundles_never_trade(watched: Watched) -> None:
    """More than twenty kinds, a rename storm and a half copy: the old bundle decides throughout."""
    for name, change in BROKEN.items():
        drop(broken(watched.prepared / name, change), watched.models)
    drop(slow_bundle(watched.prepared / "slow", DEFAULT_FEATURE_NAMES), watched.models)
    drop(copy_bundle(watched.prepared / "bare", "bare"), watched.models, is_signed=False)
    half = copy_bundle(watched.prepared / "half", "half")
    (half / MANIFEST_NAME).unlink()
    half.rename(watched.models / "half")
    (watched.models / "loop").symlink_to(watched.models)
    storm = broken(watched.prepared / "storm-0", edited("expires_ns", value=1_000))
    for number in range(1, 200):
        storm = storm.rename(watched.models / f"storm-{number}")
    for name in (*BROKEN, "slow", "bare", "loop"):
        reason = watched.wait("bundle_refused", name)["reason"]
        assert reason, name
    assert "us, allowed" in watched.wait("bundle_refused", "slow")["reason"]
    assert "unsigned" in watched.wait("bundle_refused", "bare")["reason"]
    assert len(BROKEN) + 5 >= 15
    listed = watched.ask("list")
    assert listed["deciding"]["name"] == "untrained"
    assert listed["stage"] == "settled"
    refused = watched.ask("promote", "nan-answers")
    assert not refused["ok"]
    assert "golden mismatch" in refused["error"]
    assert not watched.ask("promote", "../../etc")["ok"]
    assert not watched.ask("rollback")["ok"]
    assert not watched.events("model_shadowing")
    assert not watched.events("bundle_refused", "half")
    store = watched.directory / "sim" / "models"
    assert not store.exists() or not [each for each in store.iterdir() if len(each.name) == 64]


def test_good_bundle_is_promoted_and_a_bad_one_rolled_back(watched: Watched) -> None:
    """The whole ladder, a damaged twin, a promotion, a rollback, and an exact replay."""
    drop(copy_bundle(watched.prepared / "second", "second"), watched.models)
    stages = ("model_shadowing", "model_canary", "model_promoted", "model_settled")
    for event in stages:
        watched.wait(event, "second")
    records = watched.directory / "sim" / "models" / "records.json"
    twin = copy_bundle(watched.prepared / "twin", "second")
    (twin / "golden.npz").write_bytes(b"")
    drop(twin, watched.models)
    assert "golden.npz has 0 bytes" in watched.wait("bundle_refused", "twin")["reason"]
    drop(copy_bundle(watched.prepared / "again", "second"), watched.models)
    watched.wait("bundle_known", "again")
    pinned = json.loads(records.read_text())["good"]
    assert pinned["name"] == "second"
    assert (Path(pinned["path"]) / "golden.npz").stat().st_size > 0
    turning = turning_bundle(watched.prepared / "turning", DEFAULT_FEATURE_NAMES)
    shutil.move(turning, watched.directory / "turning")
    verified = watched.ask("verify", str(watched.directory / "turning"))
    assert verified["name"] == "turning"
    drop(watched.directory / "turning", watched.models)
    watched.ask("promote", "turning")  # refused only where it is a canary already
    rolled = watched.wait("model_rolled_back", "turning")
    assert "unhealthy" in rolled["reason"]
    assert rolled["deciding"] == "second"
    assert watched.ask("list")["deciding"]["name"] == "second"
    summary = watched.stop()
    assert summary["model"]["bundle"] == "second"
    assert summary["exit"] == "clean"
    assert not watched.events("agent_unhealthy"), "no decision rested on a sick ensemble"
    assert not watched.events("ensemble_abstained")
    compared = replay_run(watched.directory)
    assert compared["equal"] is True, compared["difference"]
    assert compared["events"]["BundleOffered"] >= 2
    backups = watched.directory / "sim" / "models" / "backups"
    assert any(each.name.endswith("-untrained") for each in backups.iterdir())
