"""More than fifty broken files and a SIGHUP for each: no restart, no missed decision point."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.config.test_problems import BROKEN
from tests.fakes.daemon_process import rest_of, running_daemon, wait_for_event

S = 1_000_000_000
PAUSE_S = 0.1
"""Between two files, so that all of them together span several decision points."""


def test_no_broken_file_costs_a_decision(tmp_path: Path) -> None:
    """Each refusal names file and line and keeps the old settings; the good file after it applies.

    Every second from the first decision to the last has its decision for both instruments.
    """
    file = tmp_path / "settings.yaml"
    file.write_text("preset: balanced\n")
    lines: list[dict[str, Any]] = []
    with running_daemon(
        tmp_path, "--config", str(file), "--set", "meta.detailed_logging=true"
    ) as process:

        def heard(name: str) -> dict[str, Any]:
            seen = [json.loads(each) for each in wait_for_event(process, name) if each[0] == "{"]
            lines.extend(seen)
            found: dict[str, Any] = seen[-1]
            return found

        heard("run_ready")
        heard("decision")
        for text, line, part in BROKEN:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
            process.send_signal(signal.SIGHUP)
            refused = heard("config_refused")
            place = str(file) if line is None else f"{file}:{line}:"
            assert refused["reason"].startswith(place), text
            assert part in refused["reason"] or "[redacted]" in refused["reason"]
            assert refused["changes"] == []
            time.sleep(PAUSE_S)
        file.write_text("preset: balanced\nlimits:\n  leverage_max: 0.5\n")
        process.send_signal(signal.SIGHUP)
        applied = heard("config_reloaded")
        decided = heard("decision")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = rest_of(process)
    lines.extend(json.loads(each) for each in stderr.splitlines() if each.startswith("{"))
    summary = json.loads(stdout.splitlines()[-1])
    assert (process.returncode, summary["exit"], summary["restarts"]) == (0, "clean", 0)
    assert [row["key"] for row in applied["changes"]] == ["limits.leverage_max"]
    assert decided["event_ns"] - applied["event_ns"] < 1.5 * S
    assert len(BROKEN) >= 50
    for symbol in summary["instruments"]:
        at_s = [
            one["event_ns"] // S
            for one in lines
            if one["event"] == "decision" and one["instrument"] == symbol
        ]
        assert all(later - earlier == 1 for earlier, later in pairwise(at_s)), at_s
        assert len(at_s) >= 5
