"""The doctor measures this machine, changes nothing on it, and survives what is broken."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from config.settings import JournalSettings, Settings
from daemon import doctor

ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = [
    "python",
    "cores",
    "open files",
    "clock",
    "loopback",
    "state",
    "space",
    "disk sync",
    "packages",
    "kernels",
    "uvloop",
    "numba",
    "torch",
    "mode",
    "alerts",
    "guard",
]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Keep what is written in the test's folder; let the checkout count as installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    monkeypatch.setattr(metadata, "requires", lambda _name: project["dependencies"])
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    return Settings(journal=JournalSettings(directory=str(tmp_path / "state")))


def test_report_is_whole_and_this_machine_can_trade(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row is there, the tests' own environment passes, the state directory is not made."""
    assert doctor.run(settings, as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["rows"]] == ROWS
    assert report["ok"] is True
    assert not (tmp_path / "state").exists()


def test_line_says_state_name_finding_and_advice(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each row; a failing one makes the exit code 1."""
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.0)
    assert doctor.run(settings, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ROWS)
    torch = "fail  torch        no answer within 0 s; install again: make venv"
    assert lines[ROWS.index("torch")] == torch


def test_place_that_cannot_be_written_is_a_row(tmp_path: Path) -> None:
    """A file in the way of the state directory fails its rows and ends nothing."""
    (tmp_path / "file").write_text("")
    settings = Settings(journal=JournalSettings(directory=str(tmp_path / "file" / "state")))
    rows = {}
    for row in doctor.examine(settings):
        rows[row.name] = row
        if row.name == "disk sync":
            break
    assert rows["state"].state == "fail"
    assert rows["disk sync"].state == "fail"


@pytest.mark.parametrize(
    ("probe", "answer"),
    [
        ("print('noise'); print('{\"sum\": 1}')", {"sum": 1}),
        ("raise RuntimeError('broken wheel')", "RuntimeError: broken wheel"),
        ("import os; os._exit(3)", "ended with status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9"),
        ("print('no answer')", "gave no answer"),
        ("pass", "gave no answer"),
    ],
)
def test_probe_that_breaks_is_an_answer(probe: str, answer: object) -> None:
    """A library that raises, exits, crashes or babbles is reported, not propagated."""
    assert doctor._ask(probe) == answer
