"""``metaensemble check``: what it accepts, what it refuses, with which place and code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from config.load import PRESETS
from daemon import check
from strategy.bundle import DEFAULT_BUNDLE_PATH


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a copy of the shipped bundle, to be damaged."""
    return Path(shutil.copytree(DEFAULT_BUNDLE_PATH, tmp_path / "bundle"))


def test_what_is_shipped_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """With no argument every preset and the shipped bundle are checked, one line each."""
    assert check.run((), as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PRESETS) + 1
    assert all(line.startswith("ok ") for line in lines)
    assert "trained on 60000 bars of the synthetic market trending" in lines[-1]


def test_refused_configuration_has_file_line_key_and_code_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem is a line of its own with its place."""
    file = tmp_path / "my.yaml"
    file.write_text("preset: balanced\nlimits:\n  leverage: 2\nmeta:\n  lookback: 3\n")
    assert check.run((file,), as_json=False) == 78
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["refused", f"{file}:3:", "limits.leverage:"],
        ["refused", f"{file}:5:", "meta.lookback:"],
    ]


def test_json_carries_the_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine gets path, kind, key and line apart, good and bad files in order."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("preset: aggressive\n")
    bad.write_text("log:\n  level: loud\n")
    assert check.run((good, bad), as_json=True) == 78
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [(row["kind"], row["ok"]) for row in report["files"]] == [
        ("config", True),
        ("config", False),
    ]
    assert report["files"][1]["key"] == "log.level"
    assert report["files"][1]["line"] == 2


@pytest.mark.parametrize("name", ["absent.yaml", "absent", "notes.txt"])
def test_what_is_neither_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A missing file and a file of another kind are named."""
    (tmp_path / "notes.txt").write_text("hello")
    assert check.run((tmp_path / name,), as_json=False) in {2, 78}
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: (path / "golden.npz").unlink(), "golden.npz"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json"),
        (lambda path: (path / "manifest.json").write_text("[" * 100_000), "manifest.json"),
        (lambda path: (path / "ensemble.pt").write_bytes(b"half"), "ensemble.pt"),
        (lambda path: (path / "notes.txt").write_text("hello"), "notes.txt"),
    ],
)
def test_damaged_bundle_is_code_2(
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
    damage: object,
    word: str,
) -> None:
    """A bundle that is not exactly right is refused with the file that is at fault."""
    assert callable(damage)
    damage(bundle)
    assert check.run((bundle,), as_json=False) == 2
    line = capsys.readouterr().out
    assert line.startswith(f"refused  {bundle}: ")
    assert word in line
    assert line.count("\n") == 1


def test_bundle_that_a_configuration_names_is_checked(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good file that points to a bad bundle does not pass."""
    file = tmp_path / "my.yaml"
    file.write_text(f"model:\n  bundle: {bundle}\n")
    assert check.run((file,), as_json=False) == 0
    (bundle / "golden.npz").write_bytes(b"")
    assert check.run((file,), as_json=False) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "refused"]
