"""``metaensemble train`` for several seeds: the same bundles here, in processes and on Ray."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from daemon.cli import main
from daemon.train_seeds import spreads
from kernels.events import AGENTS
from strategy.bundle import MANIFEST_NAME
from strategy.evaluation.trials import TRIALS_FILE, read_trials
from tests.house.house_rules import ROOT
from tests.strategy.learning.test_training import bars_of

pytestmark = pytest.mark.timeout(1_200)  # cold kernels on a busy machine take minutes

WEIGHTS_FILE = "weights.safetensors"


@pytest.fixture(scope="module")
def bars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of drawn hourly bars."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=3)
    columns = {"ts": open_ns_T // 1_000_000, "volume": volume_T}
    columns |= dict(zip(("open", "high", "low", "close"), prices_T4.T, strict=True))
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def words(bars_path: Path, out: Path, *more: str) -> list[str]:
    """Return a command that trains seeds 3 and 4 for seconds."""
    plan = ["--effort", "0.002", "--seed", "3", "--seeds", "2", "--json"]
    return ["train", "--data", str(bars_path), "--out", str(out), *plan, *more]


@pytest.fixture(scope="module")
def here(bars_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return folder and answer of both seeds, trained one after the other."""
    out = tmp_path_factory.mktemp("here") / "models"
    return out, told(words(bars_path, out))


def told(command: list[str]) -> dict[str, Any]:
    """Return the answer of a command in a process of its own."""
    made = subprocess.run(
        [sys.executable, "-m", "daemon", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=560.0,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    answer: dict[str, Any] = json.loads(made.stdout)
    return answer


def test_every_seed_has_its_bundle_and_its_trial(here: tuple[Path, dict[str, Any]]) -> None:
    """Two folders, two lines in the ledger, and how far the seeds lie apart."""
    out, answer = here
    assert sorted(path.name for path in out.glob("seed-*")) == ["seed-3", "seed-4"]
    assert [trial.seed for trial in read_trials(out / TRIALS_FILE)] == [3, 4]
    assert [each["seed"] for each in answer["bundles"]] == [3, 4]
    first, second = ((out / f"seed-{seed}" / WEIGHTS_FILE).read_bytes() for seed in (3, 4))
    assert first != second
    for spread in answer["spreads"]:
        own = [each["validation"][spread["agent"]]["sharpe"] for each in answer["bundles"]]
        assert spread["sharpes"] == own
        known = [sharpe for sharpe in own if sharpe is not None]  # none: it never moved
        assert spread["mean"] == (pytest.approx(sum(known) / len(known)) if known else None)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(("--jobs", "2"), id="processes"),
        pytest.param(
            ("--jobs", "2", "--ray"),
            id="ray",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ray)"
            ),
        ),
    ],
)
def test_side_by_side_gives_the_same_weights(
    where: tuple[str, ...], bars_path: Path, here: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Weights to the last bit, verdicts to the last digit; the manifest has another time alone."""
    out, answer = here
    other = told(words(bars_path, tmp_path / "models", *where))
    for seed in (3, 4):
        own, others = (folder / f"seed-{seed}" for folder in (out, tmp_path / "models"))
        assert (own / WEIGHTS_FILE).read_bytes() == (others / WEIGHTS_FILE).read_bytes()
        mine, theirs = (json.loads((path / MANIFEST_NAME).read_text()) for path in (own, others))
        assert mine["provenance"] == theirs["provenance"]
    assert answer["spreads"] == other["spreads"]


def test_what_cannot_be_used_is_refused(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No seed at all, and a file that is none: one line, exit 2."""
    command = words(bars_path, tmp_path / "a")
    assert main([*command, "--seeds", "0"]) == 2
    assert "--seeds 0" in capsys.readouterr().err
    assert main(words(tmp_path / "none.parquet", tmp_path / "b")) == 2
    error = capsys.readouterr().err
    assert "none.parquet: no such file" in error
    assert len(error.splitlines()) == 1


def test_a_seed_without_a_sharpe_is_left_out_of_the_mean() -> None:
    """An agent that never moved has none; one seed has no deviation."""
    answers = [
        {"validation": {agent: {"sharpe": sharpe} for agent in AGENTS}} for sharpe in (None, 1.5)
    ]
    for spread in spreads(answers):
        assert spread.sharpes == (None, 1.5)
        assert (spread.mean, spread.deviation) == (1.5, None)
