"""``metaensemble evaluate`` from files to a report, or to one line of refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon import evaluation
from daemon.cli import main
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.archive import write_bundle
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from strategy.evaluation import contests
from strategy.evaluation.detectors import Finding
from strategy.evaluation.trials import read_trials
from tests.daemon.test_backtesting import write_drawn_bars
from tests.fakes.small_bundle import small_recipe
from tests.strategy.learning.test_training import HOUR_NS

BARS = 700
FIRST_NS = 1_600_000_000 // 3_600 * HOUR_NS


@pytest.fixture(scope="module")
def bars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one file for all."""
    return write_drawn_bars(tmp_path_factory.mktemp("bars") / "bars.parquet", bars=BARS)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    monkeypatch.setattr(contests, "REPETITIONS", 100)


def words(bundle: Path, bars_path: Path, folder: Path, *more: str) -> list[str]:
    ledger = str(folder / "trials.jsonl")
    out = str(folder / "results")
    given = [str(bundle), "--data", str(bars_path), "--ledger", ledger, "--out", out]
    return ["evaluate", *given, *more]


def test_a_report_is_written_and_the_trial_counted(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Headline, facts and detectors in text and JSON; the second look is the second trial."""
    assert main(words(UNTRAINED_BUNDLE_PATH, bars_path, tmp_path)) == 0
    told = capsys.readouterr().out
    assert told.startswith("The ensemble is not distinguishable from equal weight")
    report = json.loads((tmp_path / "results" / "report.json").read_text())
    assert report["is_clean"]
    assert {finding["name"] for finding in report["findings"]} == {
        *("truncation", "streaming", "ledger", "mixture", "best agent", "placebo")
    }
    for fact in ("bundle_sha256", "bars_sha256", "config_sha256", "resampling_seed", "created"):
        assert report[fact]
    assert main(words(UNTRAINED_BUNDLE_PATH, bars_path, tmp_path, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["certainty"]["trials"] == 2
    assert [trial.kind for trial in read_trials(tmp_path / "trials.jsonl")] == ["evaluate"] * 2


def test_a_fault_fails_the_command(
    tmp_path: Path,
    bars_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit 1, no claim, and the report says which detector it was."""
    leak = Finding(name="ledger", is_clean=False, said="planted")
    monkeypatch.setattr(evaluation.Prepared, "check", lambda *_, is_thorough: (leak,))
    assert main(words(UNTRAINED_BUNDLE_PATH, bars_path, tmp_path)) == 1
    assert "No claim: a detector found ledger: planted." in capsys.readouterr().out
    (trial,) = read_trials(tmp_path / "trials.jsonl")
    assert trial.note.startswith("No claim")


def test_bars_of_the_training_do_not_judge(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test begins behind what the training saw and a gap; another beginning is refused."""
    bundle = tmp_path / "taught"
    last_ns = FIRST_NS + 300 * HOUR_NS
    recipe = small_recipe(
        feature_names=DEFAULT_FEATURE_NAMES,
        bar_interval_ms=3_600_000,
        expires_ns=None,
        provenance={"last_ns": str(last_ns)},
    )
    write_bundle(bundle, recipe)
    assert main(words(bundle, bars_path, tmp_path, "--test-from", "2020-09-20")) == 2
    error = capsys.readouterr().err
    assert "was trained on bars up to 2020-09-26 00:00" in error
    assert main(words(bundle, bars_path, tmp_path, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["test_from_ns"] == last_ns + 201 * HOUR_NS


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--test-from", "2020-10-10"), "100 must be left"),
        (("--test-from", "2019-01-01"), "at least 2 must"),
        (("--slippage-bps", "-1"), "slippage_frac"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    tmp_path: Path,
    bars_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    """One line with the reason, exit 2, no report and no trial."""
    assert main(words(UNTRAINED_BUNDLE_PATH, bars_path, tmp_path, *more)) == 2
    told = capsys.readouterr()
    assert reason in told.err
    assert told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_ledger_is_refused(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A count that cannot be trusted is none."""
    (tmp_path / "trials.jsonl").write_text('{"kind": "evalu')
    assert main(words(UNTRAINED_BUNDLE_PATH, bars_path, tmp_path)) == 2
    assert "trials.jsonl:1: no trial" in capsys.readouterr().err
